//! From a request to its form, and from a form to the call.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{easymicro_headers, jsonrpc, plain, rpcx_headers};
use crate::call::Names;
use crate::context::ConnectionInfo;
use crate::context::MaybeMetadata;
use crate::net::pairs;
use crate::server::Core;
use crate::service::reply_over_limit;
use crate::{Call, Code, Context, Metadata, Result, Serialization, Service, Status};

/// What all requests of a connection share.
pub(super) struct Gateway<S> {
    pub(super) core: Arc<Core<S>>,
    pub(super) info: Arc<ConnectionInfo>,
}

/// An answer; its body is whole.
pub(super) type Answer = Response<Full<Bytes>>;

/// A request whose body has been read, or why it could not be.
pub(super) struct Asked {
    pub(super) parts: Parts,
    pub(super) body: Result<Bytes, BadBody>,
    pub(super) arrived: Instant,
}

/// A body that was not read to its end.
#[derive(Debug)]
pub(super) struct BadBody {
    pub(super) http: StatusCode,
    pub(super) status: Status,
    /// The rest of it is still to come.
    close: bool,
}

/// One call as a form of request describes it.
pub(super) struct Wanted {
    pub(super) service: String,
    pub(super) method: String,
    pub(super) serialization: Serialization,
    pub(super) one_way: bool,
    pub(super) metadata: Metadata,
    pub(super) deadline: Option<Instant>,
    pub(super) body: Bytes,
}

/// How long the next part of a body may take: 10 s for each 10 KiB, as on the other wires.
const BODY_TIME: Duration = Duration::from_secs(10);
const BODY_PART: usize = 10 << 10;

/// Answers one request.
pub(super) async fn answer<S: Service>(gateway: &Gateway<S>, request: Request<Incoming>) -> Answer {
    let arrived = Instant::now();
    let (parts, body) = request.into_parts();
    let body = read_body(body, gateway.core.limits.body, gateway.core.limits.skip()).await;
    let close = body.as_ref().is_err_and(|bad| bad.close);
    let headers = &parts.headers;
    let has = |prefix: &str, but: Option<&HeaderName>| {
        headers.keys().any(|name| name.as_str().starts_with(prefix) && Some(name) != but)
    };
    let is_json_rpc = headers.get("x-jsonrpc-2.0").is_some_and(|value| value == "true");
    let is_rpcx = has("x-rpcx-", Some(&pairs::META));
    let is_easymicro = has("easymicro-", None);
    let asked = Asked { parts, body, arrived };
    let mut answer = if is_json_rpc {
        jsonrpc::answer(gateway, asked).await
    } else if is_rpcx {
        rpcx_headers::answer(gateway, asked).await
    } else if is_easymicro {
        easymicro_headers::answer(gateway, asked).await
    } else {
        plain::answer(gateway, asked).await
    };
    if close {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// Reads a body under its limit. The rest of a larger one is read past, up to `skip` bytes.
async fn read_body(mut body: Incoming, limit: usize, skip: usize) -> Result<Bytes, BadBody> {
    let announced = body.size_hint().lower();
    let too_large = |close| {
        BadBody {
        http: StatusCode::PAYLOAD_TOO_LARGE,
        status: Status::new(
            Code::TooLarge,
            format!("the request's body is over the limit of {limit} bytes (setting body_limit, flag --body-limit)"),
        )
        .not_begun(),
        close,
    }
    };
    if announced > u64::try_from(skip).unwrap_or(u64::MAX) {
        return Err(too_large(true));
    }
    let mut whole = BytesMut::new();
    let (mut length, mut due, mut due_from) = (0usize, Instant::now() + BODY_TIME, 0usize);
    while let Some(frame) = next_frame(&mut body, due).await? {
        if length == 0 && u64::try_from(frame.len()) == Ok(announced) && frame.len() <= limit {
            return Ok(frame);
        }
        length = length.saturating_add(frame.len());
        if length > skip {
            return Err(too_large(true));
        }
        if length <= limit {
            whole.extend_from_slice(&frame);
        } else {
            whole = BytesMut::new();
        }
        if length >= due_from.saturating_add(BODY_PART) {
            (due, due_from) = (Instant::now() + BODY_TIME, length);
        }
    }
    if length > limit { Err(too_large(false)) } else { Ok(whole.freeze()) }
}

async fn next_frame(body: &mut Incoming, due: Instant) -> Result<Option<Bytes>, BadBody> {
    match tokio::time::timeout_at(due, body.frame()).await {
        Ok(Some(Ok(frame))) => Ok(Some(frame.into_data().unwrap_or_default())),
        Ok(None) => Ok(None),
        Ok(Some(Err(_))) => Err(BadBody {
            http: StatusCode::BAD_REQUEST,
            status: Status::new(Code::InvalidInput, "the request's body is broken off or badly chunked")
                .not_begun(),
            close: true,
        }),
        Err(_) => Err(BadBody {
            http: StatusCode::REQUEST_TIMEOUT,
            status: Status::new(Code::DeadlineExceeded, "the request's body comes too slowly").not_begun(),
            close: true,
        }),
    }
}

impl<S: Service> Gateway<S> {
    /// Makes the call and waits for the whole reply.
    pub(super) async fn call(&self, wanted: Wanted) -> Result<(Bytes, Metadata)> {
        let core = &self.core;
        let route =
            core.router.find(wanted.service.as_bytes(), wanted.method.as_bytes()).map(|(route, _)| route);
        let names = route.and_then(|route| core.router.names(route.id)).cloned();
        let names = names.unwrap_or_else(|| Names::new(wanted.service.into(), wanted.method.into()));
        let deadline = wanted.deadline;
        let context = Context {
            deadline,
            metadata: MaybeMetadata::new(wanted.metadata),
            connection: Some(Arc::clone(&self.info)),
            names,
        };
        let call = Call {
            method: route.map(|route| route.id),
            serialization: wanted.serialization,
            one_way: wanted.one_way,
            idempotent: false,
            compress: false,
            body: wanted.body.into(),
            context,
        };
        let reply = if route.is_some_and(|route| route.spawned) {
            let core = Arc::clone(core);
            // The set ends its task when it is dropped.
            let mut task = JoinSet::new();
            task.spawn(async move { core.stack.call(call).await });
            let stopped = || Status::new(Code::Internal, "the call's task was stopped");
            task.join_next().await.and_then(Result::ok).unwrap_or_else(|| Err(stopped()))?
        } else {
            core.stack.call(call).await?
        };
        let (body, metadata) = reply.into_parts();
        let limit = core.limits.body;
        let whole = body.whole(limit);
        let body = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, whole)
                .await
                .unwrap_or_else(|_| Err(Status::new(Code::DeadlineExceeded, "context deadline exceeded")))?,
            None => whole.await?,
        };
        if body.len() > limit { Err(reply_over_limit(limit)) } else { Ok((body, metadata)) }
    }
}

/// The deadline that `X-Timeout` gives: `200ms`, `5s`, `1.5s`, `2m`.
///
/// # Errors
/// It cannot be read.
pub(super) fn deadline(headers: &HeaderMap, arrived: Instant) -> Result<Option<Instant>> {
    let Some(value) = headers.get("x-timeout") else { return Ok(None) };
    match value.to_str().ok().and_then(duration) {
        // A time that no clock can tell is no deadline.
        Some(time) => Ok(arrived.checked_add(time)),
        None => {
            let text = "X-Timeout is not a time like 200ms or 5s";
            Err(Status::new(Code::InvalidInput, text).not_begun())
        }
    }
}

fn duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number = number.parse::<f64>().ok().filter(|_| plain)?;
    Duration::try_from_secs_f64(number * seconds).ok()
}

/// An answer with a body of this type.
pub(super) fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    if !content_type.is_empty() {
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    answer
}

/// An answer in plain text to another method or path, as Go's servers give it.
pub(super) fn respond_text(status: StatusCode, text: &'static str, allow: &'static str) -> Answer {
    let mut answer = respond(status, "text/plain; charset=utf-8", text);
    if !allow.is_empty() {
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    answer
}

/// A text as a header's value: what no header may have becomes a blank, and it ends after 8 KiB.
pub(super) fn header_text(text: &str) -> HeaderValue {
    const MOST: usize = 8 << 10;
    let text = text.get(..text.floor_char_boundary(MOST)).unwrap_or(text);
    let clean: Vec<u8> =
        text.bytes().map(|byte| if super::head::is_control(byte) { b' ' } else { byte }).collect();
    HeaderValue::from_bytes(&clean).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, milliseconds) in [("200ms", 200), ("5s", 5000), ("1.5s", 1500), ("2m", 120_000), ("0s", 0)]
        {
            assert_eq!(duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "5", "s", "-5s", "5 s", "5S", "1e3s", "infs", "nans", "+5s", "5h", ".s", "1.2.3s"] {
            assert_eq!(duration(text), None, "{text}");
        }
        assert!(duration("99999999999999999999999s").is_none());
    }

    #[test]
    fn a_text_cannot_break_out_of_its_header() {
        assert_eq!(header_text("a\r\nX-Evil: b\0c").as_bytes(), b"a  X-Evil: b c");
        assert_eq!(header_text("größer").as_bytes(), "größer".as_bytes());
        assert_eq!(header_text(&"x".repeat(9000)).len(), 8192);
    }
}
