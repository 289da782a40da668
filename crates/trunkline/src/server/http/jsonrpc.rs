//! JSON-RPC 2.0, by its specification, with the words that rpcx's clients know.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{Method, StatusCode};
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::dispatch::{Answer, Asked, Gateway, Wanted, deadline, respond};
use super::plain;
use crate::net::pairs;
use crate::service::reply_over_limit;
use crate::{Code, Metadata, Result, Serialization, Service, Status};

const NO_JSON: i32 = -32700;
const NO_REQUEST: i32 = -32600;
const UNKNOWN_METHOD: i32 = -32601;
const BAD_PARAMS: i32 = -32602;
const CALL_FAILED: i32 = -32603;

/// A request object. What stands in it is kept as it was written.
#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    /// Absent in a notification; `null` is an id.
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Serialize)]
struct Reply<'a> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Error<'a>>,
    id: &'a RawValue,
}

#[derive(Serialize)]
struct Error<'a> {
    code: i32,
    message: &'a str,
    /// Always `null`, as Go writes it.
    data: (),
}

/// A failure: its code and its text.
struct Failure(i32, String);

impl Failure {
    fn new(code: i32, text: impl Into<String>) -> Self {
        Self(code, text.into())
    }
}

/// What is the same for all calls of one HTTP request.
struct Shared<'a, S> {
    gateway: &'a Gateway<S>,
    metadata: Metadata,
    deadline: Option<Instant>,
}

/// Answers a request with `X-JSONRPC-2.0: true`.
pub(super) async fn answer<S: Service>(gateway: &Gateway<S>, asked: Asked) -> Answer {
    if asked.parts.method != Method::POST {
        return plain::not_allowed(&asked, "POST");
    }
    let headers = &asked.parts.headers;
    let body = match asked.body {
        Ok(body) => body,
        // A client of JSON-RPC reads the error object and takes another status than 200 for a failure of what is
        // between, so a body over the limit is said in its words, too: there is nothing yet that could be a request
        // of JSON-RPC, hence -32600 and no id. The same goes for an X-Timeout or metadata that cannot be read.
        Err(bad) => {
            let text = failure(&Failure::new(NO_REQUEST, bad.status.message()), null());
            return respond(StatusCode::OK, JSON, text);
        }
    };
    let metadata = pairs::read(headers, &pairs::META, &gateway.core.limits);
    let shared = metadata.and_then(|metadata| {
        let deadline = deadline(headers, asked.arrived)?;
        Ok(Shared { gateway, metadata, deadline })
    });
    let text = match shared {
        Ok(shared) => answer_body(&shared, &body).await,
        Err(status) => Some(failure(&Failure::new(NO_REQUEST, status.message()), null())),
    };
    match text {
        Some(text) => respond(StatusCode::OK, JSON, text),
        None => respond(StatusCode::OK, "", ""),
    }
}

const JSON: &str = "application/json";

/// The answer's text; `None` where only notifications came.
async fn answer_body<S: Service>(shared: &Shared<'_, S>, body: &Bytes) -> Option<String> {
    let document: &RawValue = match serde_json::from_slice(body) {
        Ok(document) => document,
        Err(error) => return Some(failure(&Failure::new(NO_JSON, error.to_string()), null())),
    };
    if !document.get().starts_with('[') {
        return answer_one(shared, document).await;
    }
    let limits = &shared.gateway.core.limits;
    let Some(calls) = batch(document, limits.calls) else {
        let text = format!("the batch has more than {} calls, the limit", limits.calls);
        return Some(failure(&Failure::new(NO_REQUEST, text), null()));
    };
    if calls.is_empty() {
        return Some(failure(&Failure::new(NO_REQUEST, "the batch is empty"), null()));
    }
    let mut running: FuturesUnordered<_> = calls
        .iter()
        .enumerate()
        .map(|(index, call)| async move { (index, answer_one(shared, call).await) })
        .collect();
    let mut answers = vec![None; calls.len()];
    let mut length = 0usize;
    while let Some((index, answer)) = running.next().await {
        let (Some(text), Some(place)) = (answer, answers.get_mut(index)) else { continue };
        // Together they are one body, and its limit is kept while they come in.
        let text = if length.saturating_add(text.len()) > limits.body {
            let id = calls.get(index).and_then(|call| id_of(call)).unwrap_or(null());
            failure(&Failure::new(CALL_FAILED, reply_over_limit(limits.body).message()), id)
        } else {
            length = length.saturating_add(text.len());
            text
        };
        *place = Some(text);
    }
    let answers: Vec<String> = answers.into_iter().flatten().collect();
    (!answers.is_empty()).then(|| format!("[{}]", answers.join(",")))
}

/// The requests of a batch; `None` where there are more than `most`. They are not collected before that is known: a
/// list of single digits would take eight times its own memory.
fn batch(document: &RawValue, most: usize) -> Option<Vec<&RawValue>> {
    struct Batch(usize);
    impl<'de> Visitor<'de> for Batch {
        type Value = Option<Vec<&'de RawValue>>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a batch")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut calls = Vec::new();
            while let Some(call) = list.next_element::<&RawValue>()? {
                if calls.len() == self.0 {
                    while list.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok(None);
                }
                calls.push(call);
            }
            Ok(Some(calls))
        }
    }
    // It was read as JSON before, so it is a list here.
    serde_json::Deserializer::from_str(document.get()).deserialize_seq(Batch(most)).ok().flatten()
}

/// Answers one request object; `None` for a notification.
async fn answer_one<S: Service>(shared: &Shared<'_, S>, request: &RawValue) -> Option<String> {
    // An array would be taken for an object whose members have lost their names.
    let is_object = request.get().starts_with('{');
    let Some(object) = serde_json::from_str::<Object<'_>>(request.get()).ok().filter(|_| is_object) else {
        return Some(failure(
            &Failure::new(NO_REQUEST, "the request is not an object of JSON-RPC 2.0"),
            null(),
        ));
    };
    let id = object.id;
    if let Err(invalid) = check(&object) {
        return Some(failure(&invalid, id.filter(|id| is_id(id)).unwrap_or(null())));
    }
    let result = call(shared, &object).await;
    let id = id?;
    let text = match &result {
        Ok(body) => success(body, id),
        Err(failed) => failure(failed, id),
    };
    Some(text)
}

fn check(object: &Object<'_>) -> Result<(), Failure> {
    if object.jsonrpc.is_none_or(|version| version.get() != "\"2.0\"") {
        return Err(Failure::new(NO_REQUEST, "the member jsonrpc is not \"2.0\""));
    }
    if !object.method.is_some_and(|method| method.get().starts_with('"')) {
        return Err(Failure::new(NO_REQUEST, "the member method is missing or not a string"));
    }
    match object.id {
        Some(id) if !is_id(id) => Err(Failure::new(NO_REQUEST, "the id is not a number, a string or null")),
        _ => Ok(()),
    }
}

fn is_id(id: &RawValue) -> bool {
    id.get() == "null" || id.get().starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit())
}

fn id_of<'a>(request: &'a RawValue) -> Option<&'a RawValue> {
    serde_json::from_str::<Object<'a>>(request.get()).ok()?.id.filter(|id| is_id(id))
}

async fn call<S: Service>(shared: &Shared<'_, S>, object: &Object<'_>) -> Result<Bytes, Failure> {
    let method = object.method.map(RawValue::get).unwrap_or_default();
    let name: String =
        serde_json::from_str(method).map_err(|error| Failure::new(NO_REQUEST, error.to_string()))?;
    let Some((service, method)) = name.rsplit_once('.') else {
        // The text is rpcx's.
        return Err(Failure::new(UNKNOWN_METHOD, "must contains servicepath and method"));
    };
    let known = shared.gateway.core.router.find(service.as_bytes(), method.as_bytes()).is_some();
    let params = object.params.map_or("{}", RawValue::get);
    let wanted = Wanted {
        service: service.to_owned(),
        method: method.to_owned(),
        serialization: Serialization::Json,
        one_way: object.id.is_none(),
        metadata: shared.metadata.clone(),
        deadline: shared.deadline,
        body: Bytes::copy_from_slice(params.as_bytes()).into(),
    };
    let (body, _) = shared.gateway.call(wanted).await.map_err(|status| failed(&status, known))?;
    Ok(body)
}

fn failed(status: &Status, known: bool) -> Failure {
    let code = match status.code() {
        Code::NotFound if !known => UNKNOWN_METHOD,
        Code::InvalidInput => BAD_PARAMS,
        _ => CALL_FAILED,
    };
    Failure::new(code, status.message())
}

fn success(body: &[u8], id: &RawValue) -> String {
    let body = if body.is_empty() { b"null" } else { body };
    match serde_json::from_slice::<&RawValue>(body) {
        Ok(result) => write(&Reply { jsonrpc: "2.0", result: Some(result), error: None, id }),
        Err(_) => failure(&Failure::new(CALL_FAILED, "the reply is not JSON"), id),
    }
}

fn failure(failure: &Failure, id: &RawValue) -> String {
    let error = Error { code: failure.0, message: &failure.1, data: () };
    write(&Reply { jsonrpc: "2.0", result: None, error: Some(error), id })
}

fn write(reply: &Reply<'_>) -> String {
    // Texts and checked JSON can always be written.
    serde_json::to_string(reply).unwrap_or_default()
}

fn null() -> &'static RawValue {
    RawValue::NULL
}
