//! Calls over HTTP: one request on a connection of its own, by hyper.

use std::io;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;
use trunkline::{Address, Body, Call, Code, Metadata, Origin, Reply, Result, Serialization, Service, Status};
use trunkline::{Limits, metadata};

use crate::endpoint::{DEFAULT_TIMEOUT, REPLY_LIMIT};

const META: HeaderName = HeaderName::from_static("x-rpcx-meta");
const ERROR_MESSAGE: HeaderName = HeaderName::from_static("x-rpcx-errormessage");
const STATUS_TYPE: HeaderName = HeaderName::from_static("x-rpcx-messagestatustype");
/// What stands in a path and in a pair as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A peer that speaks HTTP.
#[derive(Clone)]
pub(crate) struct Http {
    address: Address,
}

/// An answer: status, headers, whole body.
type Answer = (StatusCode, HeaderMap, Bytes);

impl Http {
    /// The peer at this address; nothing is dialled yet.
    pub(crate) fn new(address: Address) -> Self {
        Self { address }
    }

    /// Makes a JSON-RPC 2.0 call; gives its result.
    pub(crate) async fn json_rpc(&self, method: &str, params: Value, token: Option<&str>) -> Result<Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut request = self.request("/", body.to_string().into())?;
        let headers = request.headers_mut();
        headers.insert("x-jsonrpc-2.0", HeaderValue::from_static("true"));
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, value(&format!("Bearer {token}"))?);
        }
        let (_, _, body) = self.send(request, Instant::now() + DEFAULT_TIMEOUT).await?;
        let mut answer: Value = serde_json::from_slice(&body)
            .map_err(|error| self.status(Code::Internal, format!("the answer is not JSON: {error}")))?;
        match answer.pointer("/error/message").and_then(Value::as_str) {
            Some(message) => Err(self.status(Code::Failed, message.to_owned())),
            None => Ok(answer.get_mut("result").map(Value::take).unwrap_or_default()),
        }
    }

    fn status(&self, code: Code, text: impl Into<String>) -> Status {
        Status::new(code, text.into()).at(Origin {
            address: self.address.to_string(),
            wire: "http",
            attempt: 1,
        })
    }

    fn request(&self, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>> {
        let host = match &self.address {
            Address::Tcp(address) => address.as_str(),
            _ => "localhost",
        };
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, host)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body));
        request.map_err(|error| Status::new(Code::InvalidInput, error.to_string()).not_begun())
    }

    /// The call as a request: plain where the body is JSON or bytes and an answer is wanted, else with rpcx's
    /// headers, which can say the serialisation and that no answer is.
    fn encode(&self, call: Call, announced: Option<Instant>) -> Result<Request<Full<Bytes>>> {
        let (service, method) = (call.service().to_owned(), call.method().to_owned());
        let (serialization, one_way) = (call.serialization(), call.is_one_way());
        let (context, body) = call.into_parts();
        let Body::Full(body) = body else {
            return Err(self.status(Code::Unsupported, "a streamed body over http").not_begun());
        };
        let path = format!("/{}/{}", escape(&service), escape(&method));
        let mut request = self.request(&path, body)?;
        let headers = request.headers_mut();
        if let Some(at) = announced {
            let left = at.saturating_duration_since(Instant::now()).as_millis().max(1);
            headers.insert("x-timeout", value(&format!("{left}ms"))?);
        }
        let mut pairs = Vec::new();
        for (key, what) in context.metadata().iter() {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            if key == metadata::AUTH.as_bytes() {
                let token = text(what);
                let bearer = if token.starts_with("Bearer ") { token } else { format!("Bearer {token}") };
                headers.insert(AUTHORIZATION, value(&bearer)?);
            } else {
                pairs.push(format!("{}={}", escape(&text(key)), escape(&text(what))));
            }
        }
        if !pairs.is_empty() {
            headers.insert(META, value(&pairs.join("&"))?);
        }
        let plain = matches!(serialization, Serialization::Json | Serialization::Raw);
        if one_way || !plain {
            let number = serialize_type(serialization)?;
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            headers.insert("x-rpcx-servicepath", value(&service)?);
            headers.insert("x-rpcx-servicemethod", value(&method)?);
            headers.insert("x-rpcx-serializetype", HeaderValue::from_static(number));
            headers.insert("x-rpcx-messageid", HeaderValue::from_static("1"));
            if one_way {
                headers.insert("x-rpcx-oneway", HeaderValue::from_static("true"));
            }
        }
        Ok(request)
    }

    async fn send(&self, request: Request<Full<Bytes>>, deadline: Instant) -> Result<Answer> {
        let exchange = async {
            let begun = |error: io::Error| self.status(Code::Unavailable, error.to_string()).not_begun();
            match &self.address {
                Address::Tcp(address) => {
                    let stream = TcpStream::connect(address.as_str()).await.map_err(begun)?;
                    self.exchange(stream, request).await
                }
                Address::Unix(path) => {
                    let stream = UnixStream::connect(path).await.map_err(begun)?;
                    self.exchange(stream, request).await
                }
                _ => Err(self.status(Code::Unsupported, "http goes over tcp and unix sockets").not_begun()),
            }
        };
        let over = |_| Err(self.status(Code::DeadlineExceeded, "context deadline exceeded"));
        tokio::time::timeout_at(deadline, exchange).await.unwrap_or_else(over)
    }

    async fn exchange<S>(&self, stream: S, request: Request<Full<Bytes>>) -> Result<Answer>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let lost = |what: &str| self.status(Code::Unavailable, format!("the connection was lost: {what}"));
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| lost(&error.to_string()))?;
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(|error| lost(&error.to_string()))?;
            let (head, body) = answer.into_parts();
            match Limited::new(body, REPLY_LIMIT).collect().await {
                Ok(body) => Ok((head.status, head.headers, body.to_bytes())),
                Err(error) if error.is::<LengthLimitError>() => {
                    let text = format!("the reply's body is over the limit of {REPLY_LIMIT} bytes");
                    Err(self.status(Code::TooLarge, text))
                }
                Err(error) => Err(lost(&error.to_string())),
            }
        };
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            // The connection may end with the last byte of the answer.
            _ = connection => exchange.await,
        }
    }

    fn decode(&self, (status, headers, body): Answer) -> Result<Reply> {
        let text = |name: &HeaderName| headers.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
        let message = String::from_utf8_lossy(text(&ERROR_MESSAGE)).into_owned();
        let rpcx_failure = text(&STATUS_TYPE).eq_ignore_ascii_case(b"Error");
        if status.is_success() && !rpcx_failure {
            return Ok(Reply::new(body).with_metadata(pairs(&String::from_utf8_lossy(text(&META)))));
        }
        if rpcx_failure {
            return Err(self.status(code_of(None, status), message));
        }
        let failure: Option<Value> = serde_json::from_slice(&body).ok();
        let field = |name| failure.as_ref()?.get("error")?.get(name)?.as_str();
        let message = match field("message") {
            Some(message) => message.to_owned(),
            None => format!("HTTP status {status}"),
        };
        Err(self.status(code_of(field("code"), status), message))
    }
}

impl Service for Http {
    async fn call(&self, call: Call) -> Result<Reply> {
        let announced = call.context().deadline();
        let deadline = announced.unwrap_or_else(|| Instant::now() + DEFAULT_TIMEOUT);
        let request = self.encode(call, announced)?;
        self.decode(self.send(request, deadline).await?)
    }
}

/// The code by its name, where the peer gives one that we know, else by the status.
fn code_of(name: Option<&str>, status: StatusCode) -> Code {
    let named = name.and_then(|name| (1..=12).map(Code::from_number).find(|code| code.name() == name));
    named.unwrap_or(match status {
        StatusCode::BAD_REQUEST => Code::InvalidInput,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => Code::DeadlineExceeded,
        StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge,
        StatusCode::TOO_MANY_REQUESTS => Code::Limited,
        _ => Code::Failed,
    })
}

fn serialize_type(serialization: Serialization) -> Result<&'static str> {
    match serialization {
        Serialization::Raw => Ok("0"),
        Serialization::Json => Ok("1"),
        Serialization::Protobuf => Ok("2"),
        Serialization::MessagePack => Ok("3"),
        Serialization::Thrift => Ok("4"),
        other => Err(Status::new(Code::Unsupported, format!("{other:?} over http")).not_begun()),
    }
}

fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

fn value(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text)
        .map_err(|_| Status::new(Code::InvalidInput, format!("{text:?} does not fit a header")).not_begun())
}

/// Metadata from URL-encoded pairs; what is over the limits of metadata is none.
fn pairs(text: &str) -> Metadata {
    let decode = |part: &str| percent_decode_str(&part.replace('+', " ")).collect::<Vec<u8>>();
    let limit = Limits::default().metadata_pairs;
    let all = text.split('&').filter(|pair| !pair.is_empty()).take(limit);
    all.fold(Metadata::builder(), |to, pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        to.with_bytes(&decode(key), &decode(value))
    })
    .build()
}
