//! From a request to its form, and from a form to the call.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header, request::Parts};
use hyper::body::Incoming;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::body::{self, BadBody};
use super::gate::{Gate, Running};
use super::{easymicro_headers, jsonrpc, plain, rpcx_headers, streams};
use crate::call::Names;
use crate::context::ConnectionInfo;
use crate::context::MaybeMetadata;
use crate::net::http_body::OutBody;
use crate::net::pairs;
use crate::server::Core;
use crate::service::reply_over_limit;
use crate::{Body, Call, Code, Context, Metadata, Reply, Result, Serialization, Service, Status};

/// What all requests of a connection share.
pub(super) struct Gateway<S> {
    pub(super) core: Arc<Core<S>>,
    pub(super) info: Arc<ConnectionInfo>,
    /// A token was refused here and that was logged: a caller that tries on does not fill the log.
    pub(super) refused: AtomicBool,
}

/// An answer; its body is whole but for those of methods that stream.
pub(super) type Answer = Response<OutBody>;

/// A request whose body has been read, or why it could not be.
pub(super) struct Asked {
    pub(super) parts: Parts,
    pub(super) body: Result<Bytes, BadBody>,
    pub(super) arrived: Instant,
}

/// One call as a form of request describes it.
pub(super) struct Wanted {
    pub(super) service: String,
    pub(super) method: String,
    pub(super) serialization: Serialization,
    pub(super) one_way: bool,
    pub(super) metadata: Metadata,
    pub(super) deadline: Option<Instant>,
    pub(super) body: Body,
}

/// The forms of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    JsonRpc,
    Rpcx,
    Easymicro,
    Plain,
}

impl Form {
    fn of(headers: &HeaderMap) -> Self {
        let has = |prefix: &str, but: Option<&HeaderName>| {
            headers.keys().any(|name| name.as_str().starts_with(prefix) && Some(name) != but)
        };
        if headers.get("x-jsonrpc-2.0").is_some_and(|value| value == "true") {
            Self::JsonRpc
        } else if has("x-rpcx-", Some(&pairs::META)) {
            Self::Rpcx
        } else if has("easymicro-", None) {
            Self::Easymicro
        } else {
            Self::Plain
        }
    }
}

/// Answers one request.
pub(super) async fn answer<S: Service>(
    gateway: &Gateway<S>,
    gate: &Gate,
    running: Running,
    request: Request<Incoming>,
) -> Answer {
    let arrived = Instant::now();
    let (parts, body) = request.into_parts();
    #[cfg(feature = "gateway")]
    if let Some(front) = &gateway.core.front {
        return Box::pin(super::front::answer(gateway, &**front, gate, parts, body)).await;
    }
    let form = Form::of(&parts.headers);
    if form == Form::Plain && streams::are_meant(gateway, &parts) {
        return Box::pin(streams::answer(gateway, gate, running, parts, body, arrived)).await;
    }
    let headers = &parts.headers;
    let body = body::read(headers, body, gate, &gateway.core.limits).await;
    let close = body.as_ref().is_err_and(|bad| bad.close);
    if let Err(bad) = &body {
        bad.log(&gateway.info.peer, gate);
    }
    let asked = Asked { parts, body, arrived };
    let mut answer = match form {
        Form::JsonRpc => jsonrpc::answer(gateway, asked).await,
        Form::Rpcx => rpcx_headers::answer(gateway, asked).await,
        Form::Easymicro => easymicro_headers::answer(gateway, asked).await,
        Form::Plain => plain::answer(gateway, asked).await,
    };
    if close {
        gate.close();
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

impl<S: Service> Gateway<S> {
    /// Makes the call and waits for the whole reply.
    ///
    /// # Errors
    /// Among others: the method streams its reply, which only the plain form carries.
    pub(super) async fn call(&self, wanted: Wanted) -> Result<(Bytes, Metadata)> {
        let router = &self.core.router;
        let gives = || router.describe(wanted.service.as_bytes(), wanted.method.as_bytes());
        if router.has_streams() && gives().is_some_and(|method| method.gives_stream) {
            let text = "the method streams its reply, which this form of request cannot carry; POST to \
                        /Service/Method without its headers";
            return Err(Status::new(Code::Unsupported, text).not_begun());
        }
        let deadline = wanted.deadline;
        let (body, metadata) = self.reply(wanted).await?.into_parts();
        let limit = self.core.limits.body;
        let whole = body.whole(limit);
        let body = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, whole)
                .await
                .unwrap_or_else(|_| Err(Status::new(Code::DeadlineExceeded, "context deadline exceeded")))?,
            None => whole.await?,
        };
        if body.len() > limit { Err(reply_over_limit(limit)) } else { Ok((body, metadata)) }
    }

    /// Makes the call and waits for its reply, whose body may be a stream.
    pub(super) async fn reply(&self, wanted: Wanted) -> Result<Reply> {
        self.make_call(wanted).await.inspect_err(|status| {
            // The token layer alone says so.
            if status.ends_connection() && !self.refused.swap(true, Ordering::Relaxed) {
                tracing::warn!(peer = %self.info.peer, wire = "http", rule = status.message(), "refused");
            }
        })
    }

    async fn make_call(&self, wanted: Wanted) -> Result<Reply> {
        let core = &self.core;
        let route = core.router.find_route(wanted.service.as_bytes(), wanted.method.as_bytes());
        let names = route.map(|route| route.names.clone());
        let names = names.unwrap_or_else(|| Names::new(wanted.service.into(), wanted.method.into()));
        let context = Context {
            deadline: wanted.deadline,
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
            streams: false,
            body: wanted.body,
            context,
        };
        let call = match self.without_waiting(call, route.is_some_and(|route| route.spawned)).await {
            Ok(known) => return known.map(|_| Default::default()),
            Err(call) => call,
        };
        if route.is_some_and(|route| route.spawned) {
            let core = Arc::clone(core);
            // The set ends its task when it is dropped.
            let mut task = JoinSet::new();
            task.spawn(async move { core.stack.call(call).await });
            let stopped = || Status::new(Code::Internal, "the call's task was stopped");
            task.join_next().await.and_then(Result::ok).unwrap_or_else(|| Err(stopped()))
        } else {
            core.stack.call(call).await
        }
    }

    /// Makes a one-way call, and says what came of it at once: as it outlives its caller, so its caller does not wait
    /// for it. A call that wants an answer comes back, and so does one for which there is no place.
    async fn without_waiting(&self, call: Call, spawned: bool) -> Result<Result<()>, Call> {
        if !call.one_way {
            return Err(call);
        }
        let Ok(place) = Arc::clone(&self.core.outliving).try_acquire_owned() else { return Err(call) };
        // A server that stops waits for the call as it waits for a connection.
        let (core, watch) = (Arc::clone(&self.core), self.core.drain.watch());
        let mut work = Box::pin(async move {
            let _outlives = (place, watch);
            core.stack.call(call).await.map(drop)
        });
        if !spawned {
            let first = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
            if let Poll::Ready(known) = first {
                return Ok(known);
            }
        }
        tokio::spawn(work);
        Ok(Ok(()))
    }
}

/// The deadline that `X-Timeout` gives, as Go writes durations: `200ms`, `5s`, `1.5h`, `1m30s`. More than
/// [`LONGEST`] is taken for that.
///
/// # Errors
/// It cannot be read.
pub(super) fn deadline(headers: &HeaderMap, arrived: Instant) -> Result<Option<Instant>> {
    let Some(value) = headers.get("x-timeout") else { return Ok(None) };
    match value.to_str().ok().and_then(duration) {
        Some(time) => Ok(arrived.checked_add(time)),
        None => {
            let text = "X-Timeout is not a time like 200ms, 5s or 1m30s";
            Err(Status::new(Code::InvalidInput, text).not_begun())
        }
    }
}

/// The longest time that a call may ask for: longer than any call lasts, and far from what a clock cannot tell.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut seconds = 0.0;
    loop {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at(unit_at);
        let next_at = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, next) = behind.split_at(next_at);
        let factor = match unit {
            "ns" => 1e-9,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * factor;
        if next.is_empty() {
            return Some(Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).min(LONGEST));
        }
        rest = next;
    }
}

/// An answer with a body of this type.
pub(super) fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(OutBody::from(body.into()));
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
    fn times_are_read_as_go_writes_them() {
        for (text, microseconds) in [
            ("200ms", 200_000),
            ("5s", 5_000_000),
            ("1.5s", 1_500_000),
            (".5s", 500_000),
            ("2.s", 2_000_000),
            ("2m", 120_000_000),
            ("0s", 0),
            ("0", 0),
            ("1h", 3_600_000_000),
            ("1m30s", 90_000_000),
            ("1h0m0.25s", 3_600_250_000),
            ("0h5us", 5),
            ("7\u{b5}s", 7),
            ("7\u{3bc}s", 7),
            ("3000ns", 3),
            ("1s1s", 2_000_000),
        ] {
            assert_eq!(duration(text), Some(Duration::from_micros(microseconds)), "{text}");
        }
        for text in [
            "", "5", "s", "-5s", "5 s", "5S", "1e3s", "infs", "nans", "+5s", "5d", ".s", "1.2.3s", "1m30",
            "00", "5sm", "1m s", "0x5s", "5s,", "\u{665}s",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
        for text in ["800h", "99999999999999999999999s", &format!("{}h", "9".repeat(400))] {
            assert_eq!(duration(text), Some(LONGEST), "{text}");
        }
    }

    #[test]
    fn a_text_cannot_break_out_of_its_header() {
        assert_eq!(header_text("a\r\nX-Evil: b\0c").as_bytes(), b"a  X-Evil: b c");
        assert_eq!(header_text("größer").as_bytes(), "größer".as_bytes());
        assert_eq!(header_text(&"x".repeat(9000)).len(), 8192);
    }
}
