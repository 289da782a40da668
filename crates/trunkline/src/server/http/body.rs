//! The body of a request: read under its limit and its times, and inflated.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::time::Instant;

use super::gate::Gate;
use super::plain;
use crate::codec::gzip;
use crate::{Code, Limits, Peer, Result, Status};

/// How long the next part of a body may take: 10 s for each 10 KiB, as on the other wires.
pub(super) const BODY_TIME: Duration = Duration::from_secs(10);
const BODY_PART: usize = 10 << 10;

/// What may stand in `Content-Encoding`.
pub(super) const CODINGS: &str = if cfg!(feature = "gzip") { "gzip, identity" } else { "identity" };

/// A body that cannot be given to a call.
#[derive(Debug)]
pub(super) struct BadBody {
    pub(super) http: StatusCode,
    pub(super) status: Status,
    /// The rest of it is still to come.
    pub(super) close: bool,
}

impl BadBody {
    fn new(http: StatusCode, code: Code, text: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self { http, status: Status::new(code, text).not_begun(), close: false }
    }

    /// A stream does not come compressed.
    pub(super) fn compressed_stream() -> Self {
        let text = "the body of a streamed request cannot be compressed";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::Unsupported, text)
    }

    fn too_large(limit: usize) -> Self {
        let text = format!(
            "the request's body is over the limit of {limit} bytes (setting body_limit, flag --body-limit)"
        );
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, Code::TooLarge, text)
    }

    pub(super) fn closing(self) -> Self {
        Self { close: true, ..self }
    }

    /// Says in the log why the connection is closed, unless its end will say that.
    pub(super) fn log(&self, peer: &Peer, gate: &Gate) {
        if self.close && gate.broken().is_none() {
            tracing::warn!(%peer, wire = "http", rule = self.status.message(), offset = gate.position(), "closed");
        }
    }
}

/// Reads a body and inflates it.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Incoming,
    gate: &Gate,
    limits: &Limits,
) -> Result<Bytes, BadBody> {
    // Who asks before it sends the body may not send it when it was told no, so nothing can follow.
    let asks = asks(headers);
    let coding = coding(headers);
    if asks && let Err(bad) = coding {
        return Err(bad.closing());
    }
    let most_announced = if asks { limits.body } else { limits.skip() };
    let body = whole(body, limits, most_announced, gate).await?;
    if !coding? {
        return Ok(body);
    }
    // A request without a body may say how it would be coded.
    if body.is_empty() {
        return Ok(body);
    }
    match gzip::inflate(&body, limits.body) {
        Ok(body) => Ok(body.into()),
        Err(error) if error.is_too_large() => Err(BadBody::too_large(limits.body)),
        Err(error) => {
            let text = format!("the request's body cannot be inflated: {error}");
            Err(BadBody::new(StatusCode::BAD_REQUEST, Code::InvalidInput, text))
        }
    }
}

/// Reads a body as it is on the wire, compressed or not.
#[cfg(feature = "gateway")]
pub(super) async fn as_it_came(
    headers: &HeaderMap,
    body: Incoming,
    gate: &Gate,
    limits: &Limits,
) -> Result<Bytes, BadBody> {
    let most_announced = if asks(headers) { limits.body } else { limits.skip() };
    whole(body, limits, most_announced, gate).await
}

/// Whether the caller waits for a word before it sends the body.
fn asks(headers: &HeaderMap) -> bool {
    headers.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(ASK))
}

const ASK: &[u8] = b"100-continue";

/// Whether the body is compressed by gzip.
///
/// # Errors
/// It is coded in a way that is not understood here.
pub(super) fn coding(headers: &HeaderMap) -> Result<bool, BadBody> {
    let mut gzip = false;
    let lines: Vec<&[u8]> =
        headers.get_all(header::CONTENT_ENCODING).iter().map(|line| line.as_bytes()).collect();
    let codings = lines.iter().flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    for coding in codings.filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")) {
        let known = [&b"gzip"[..], b"x-gzip"].iter().any(|name| coding.eq_ignore_ascii_case(name));
        // Coded twice is a bomb more often than a need.
        if !known || gzip || !cfg!(feature = "gzip") {
            let named = lines.join(&b", "[..]);
            let named = named.get(..64).unwrap_or(&named).escape_ascii();
            let text = format!("the Content-Encoding {named} is not accepted; one of these is: {CODINGS}");
            return Err(BadBody::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::Unsupported, text));
        }
        gzip = true;
    }
    Ok(gzip)
}

/// Reads a body under its limit. The rest of a larger one is read past, up to a limit of its own.
async fn whole(
    mut body: Incoming,
    limits: &Limits,
    most_announced: usize,
    gate: &Gate,
) -> Result<Bytes, BadBody> {
    let (limit, skip) = (limits.body, limits.skip());
    let announced = body.size_hint().lower();
    if announced > u64::try_from(most_announced).unwrap_or(u64::MAX) {
        return Err(BadBody::too_large(limit).closing());
    }
    let mut whole = BytesMut::new();
    let (mut length, mut due, mut due_from) = (0usize, Instant::now() + BODY_TIME, 0usize);
    while let Some(frame) = next_frame(&mut body, due, gate).await? {
        if length == 0 && u64::try_from(frame.len()) == Ok(announced) && frame.len() <= limit {
            return Ok(frame);
        }
        length = length.saturating_add(frame.len());
        if length > skip {
            return Err(BadBody::too_large(limit).closing());
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
    if length > limit { Err(BadBody::too_large(limit)) } else { Ok(whole.freeze()) }
}

async fn next_frame(body: &mut Incoming, due: Instant, gate: &Gate) -> Result<Option<Bytes>, BadBody> {
    match tokio::time::timeout_at(due, body.frame()).await {
        Ok(Some(Ok(frame))) => Ok(Some(frame.into_data().unwrap_or_default())),
        Ok(None) => Ok(None),
        Ok(Some(Err(_))) => {
            let (http, rule) = match gate.broken() {
                Some(refusal) => (plain::status(refusal), refusal.rule),
                None => (StatusCode::BAD_REQUEST, "the request's body is broken off or badly chunked"),
            };
            Err(BadBody::new(http, plain::code_of(http), rule).closing())
        }
        Err(_) => {
            let text = "the request's body comes too slowly";
            Err(BadBody::new(StatusCode::REQUEST_TIMEOUT, Code::DeadlineExceeded, text).closing())
        }
    }
}
