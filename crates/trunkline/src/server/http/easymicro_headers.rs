//! The form of easymicro's gateway: the names in the path, the rest in `Easymicro-` headers.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::dispatch::{Answer, Asked, Gateway, Wanted, deadline, header_text, respond, respond_text};
use super::plain;
use super::rpcx_headers::{content_type, header_value, serialization};
use crate::net::pairs;
use crate::{Code, Result, Service, Status};

const META: HeaderName = HeaderName::from_static("easymicro-meta");
const VERSION: HeaderName = HeaderName::from_static("easymicro-version");
const MESSAGE_ID: HeaderName = HeaderName::from_static("easymicro-messageid");
const SERVICE_PATH: HeaderName = HeaderName::from_static("easymicro-servicepath");
const SERVICE_METHOD: HeaderName = HeaderName::from_static("easymicro-servicemethod");
const SERIALIZE_TYPE: HeaderName = HeaderName::from_static("easymicro-serializetype");
const ONEWAY: HeaderName = HeaderName::from_static("easymicro-oneway");
const STATUS_TYPE: HeaderName = HeaderName::from_static("easymicro-messagestatustype");
const ERROR_MESSAGE: HeaderName = HeaderName::from_static("easymicro-errormessage");

/// Answers a request with easymicro's headers.
pub(super) async fn answer<S: Service>(gateway: &Gateway<S>, mut asked: Asked) -> Answer {
    let Some(names) = plain::names(asked.parts.uri.path()) else {
        return respond_text(StatusCode::NOT_FOUND, "404 page not found\n", "");
    };
    if !matches!(asked.parts.method, Method::POST | Method::GET) {
        return respond_text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n", "POST, GET, OPTIONS");
    }
    let body = std::mem::replace(&mut asked.body, Ok(Bytes::new()));
    let wanted = match body {
        Err(bad) => return failed(&asked, &names, bad.http, bad.status.message()),
        Ok(body) => wanted(gateway, &asked, &names, body),
    };
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(status) => return failed(&asked, &names, StatusCode::BAD_REQUEST, status.message()),
    };
    let content_type = content_type(wanted.serialization);
    let one_way = wanted.one_way;
    match gateway.call(wanted).await {
        Ok((body, metadata)) => {
            let body = if one_way { Bytes::new() } else { body };
            let mut answer = respond(StatusCode::OK, content_type, body);
            repeat(&asked, &names, &mut answer);
            answer.headers_mut().insert(META, header_value(&pairs::write(&metadata)));
            answer
        }
        Err(status) => {
            let text = unknown(gateway, &names, &status).unwrap_or_else(|| status.message().to_owned());
            let http = match status.code() {
                Code::Unauthenticated => StatusCode::UNAUTHORIZED,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            failed(&asked, &names, http, &text)
        }
    }
}

fn wanted<S>(gateway: &Gateway<S>, asked: &Asked, names: &(String, String), body: Bytes) -> Result<Wanted> {
    let headers = &asked.parts.headers;
    let invalid = |text: &'static str| Status::new(Code::InvalidInput, text).not_begun();
    let id = headers.get(&MESSAGE_ID).and_then(|id| id.to_str().ok()?.parse::<u64>().ok());
    id.ok_or_else(|| invalid("invalid message id"))?;
    let number = headers.get(&SERIALIZE_TYPE).filter(|number| !number.is_empty());
    let number = number.ok_or_else(|| invalid("empty serialized type"))?;
    Ok(Wanted {
        service: names.0.clone(),
        method: names.1.clone(),
        serialization: serialization(number.as_bytes()).map_err(|_| invalid("invalid serialized type"))?,
        one_way: headers.get(&ONEWAY).is_some_and(|value| !value.is_empty()),
        metadata: pairs::read(headers, &META, &gateway.core.limits)?,
        deadline: deadline(headers, asked.arrived)?,
        body: body.into(),
    })
}

/// easymicro's words for a name that is not here; it looks for lower-case names.
fn unknown<S>(gateway: &Gateway<S>, (service, method): &(String, String), status: &Status) -> Option<String> {
    let router = &gateway.core.router;
    if status.code() != Code::NotFound || router.find(service.as_bytes(), method.as_bytes()).is_some() {
        return None;
    }
    Some(if router.services().any(|info| info.name.eq_ignore_ascii_case(service)) {
        format!("easymicro: can't find method {}", method.to_ascii_lowercase())
    } else {
        format!("easymicro: can't find service {}", service.to_ascii_lowercase())
    })
}

fn failed(asked: &Asked, names: &(String, String), http: StatusCode, text: &str) -> Answer {
    let mut answer = respond(http, "", "");
    repeat(asked, names, &mut answer);
    answer.headers_mut().insert(STATUS_TYPE, HeaderValue::from_static("Error"));
    answer.headers_mut().insert(ERROR_MESSAGE, header_text(text));
    answer
}

/// Repeats what the request said of itself.
fn repeat(asked: &Asked, (service, method): &(String, String), answer: &mut Answer) {
    let to = answer.headers_mut();
    for name in [VERSION, MESSAGE_ID] {
        let value = asked.parts.headers.get(&name).cloned();
        to.insert(name, value.unwrap_or(HeaderValue::from_static("")));
    }
    if let Some(value) = asked.parts.headers.get(&SERIALIZE_TYPE) {
        to.insert(SERIALIZE_TYPE, value.clone());
    }
    to.insert(SERVICE_PATH, header_text(service));
    to.insert(SERVICE_METHOD, header_text(method));
}
