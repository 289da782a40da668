//! Writes frames: the head first, then its body where it leaves from, then the length.

use super::own::cut;
use super::{FAILED, METHOD, NAME, REQUEST, RESPONSE, Request, Response, TEXT};
use crate::WireError;

/// A place in `out` where a frame begins whose body is still to come.
#[derive(Debug, Clone, Copy)]
#[must_use = "a frame that was begun must be finished, or cut off"]
pub struct Mark {
    /// Where the frame starts: cutting `out` back to here undoes it.
    pub start: usize,
    /// Where its body starts.
    pub body: usize,
}

/// Appends the head of a request; its body is appended by the caller, and [`finish`] ends it.
///
/// # Errors
/// The method's name is over [`METHOD`] bytes; nothing was appended.
pub fn begin_request(request: &Request<'_>, out: &mut Vec<u8>) -> Result<Mark, WireError> {
    let &Request { source, session, destination, method } = request;
    begin(REQUEST, source.0, session, destination.0, method, out)
}

/// Appends the head of a good response; its body is appended by the caller, and [`finish`] ends it. What `response` says
/// of a failure is not looked at.
///
/// # Errors
/// The method's name is over [`METHOD`] bytes; nothing was appended.
pub fn begin_response(response: &Response<'_>, out: &mut Vec<u8>) -> Result<Mark, WireError> {
    let &Response { source, session, destination, method, .. } = response;
    let mark = begin(RESPONSE, source.0, session, destination.0, method, out)?;
    out.extend_from_slice(&0_u32.to_be_bytes());
    Ok(Mark { body: out.len(), ..mark })
}

/// Ends a frame: all that was appended since it began is its body.
///
/// # Errors
/// The body is over the limit of bytes; the frame was cut off.
pub fn finish(mark: Mark, limit: usize, out: &mut Vec<u8>) -> Result<(), WireError> {
    let body = out.len().saturating_sub(mark.body);
    if body > limit {
        out.truncate(mark.start);
        let [got, limit] = [body, limit].map(|bytes| u64::try_from(bytes).unwrap_or(u64::MAX));
        return Err(WireError::TooLarge { wire: NAME, what: "body", got, limit, setting: "body_limit" });
    }
    set_length(mark.start, out);
    Ok(())
}

/// Appends the response of a call that failed. Of a text over [`TEXT`] bytes the beginning goes out, to the end of a
/// character.
///
/// # Errors
/// The method's name is over [`METHOD`] bytes; nothing was appended.
pub fn fail(response: &Response<'_>, text: &str, out: &mut Vec<u8>) -> Result<(), WireError> {
    let &Response { source, session, destination, method, failure } = response;
    let mark = begin(RESPONSE, source.0, session, destination.0, method, out)?;
    let code = failure.map_or(FAILED, |(code, _)| code.max(1));
    out.extend_from_slice(&code.to_be_bytes());
    let text = cut(text, TEXT);
    out.push(u8::try_from(text.len()).unwrap_or(0));
    out.extend_from_slice(text.as_bytes());
    set_length(mark.start, out);
    Ok(())
}

fn begin(
    kind: u8,
    source: u64,
    session: u32,
    destination: u64,
    method: &[u8],
    out: &mut Vec<u8>,
) -> Result<Mark, WireError> {
    let length = u8::try_from(method.len()).ok().filter(|length| usize::from(*length) <= METHOD);
    let length = length.ok_or(WireError::Unsupported {
        wire: NAME,
        what: "the name of a method has at most 64 bytes there",
    })?;
    let start = out.len();
    let [a, b, c, d, e, f, g, h] = source.to_be_bytes();
    let [i, j, k, l] = session.to_be_bytes();
    let [m, n, o, p, q, r, s, t] = destination.to_be_bytes();
    // One piece: to write it field by field is slower.
    let fixed: [u8; super::FIXED + 1] =
        [0, 0, 0, 0, kind, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, length];
    out.extend_from_slice(&fixed);
    out.extend_from_slice(method);
    Ok(Mark { start, body: out.len() })
}

/// Puts the length of the frame that begins at `start` in its place.
pub(super) fn set_length(start: usize, out: &mut [u8]) {
    let frame = out.get_mut(start..).and_then(<[u8]>::split_first_chunk_mut::<4>);
    if let Some((length, rest)) = frame {
        *length = u32::try_from(rest.len()).unwrap_or(u32::MAX).to_be_bytes();
    }
}
