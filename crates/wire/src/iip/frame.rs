//! Reads and writes one frame; every length is checked before anybody waits for what it announces.

use super::{ANSWER, CLOSE, MOST_DATA, MOST_PATH, body_limit, malformed, too_large};
use crate::{Limits, Reader, WireError};

/// A whole frame, borrowed from the bytes that brought it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// 0 to 3 for requests, 4 to 7 for answers: first of several, the only one, a later one, the last of several.
    pub status: u8,
    /// The path with its query; neither is empty where it is there, and no byte of it is zero.
    pub path: &'a [u8],
    /// The channel.
    pub channel: u32,
    /// The data, from 1 to 16,777,216 bytes.
    pub data: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the frame that the input begins with. `None` where the input ends before the frame does.
    ///
    /// # Errors
    /// A rule is broken, or a length is over its limit. So is status 8, which is no frame.
    pub fn decode(input: &'a [u8], limits: &Limits) -> Result<Option<Self>, WireError> {
        let Some(head) = Head::decode(input, limits)? else { return Ok(None) };
        let limit = body_limit(head.path, limits);
        if head.data > limit {
            return Err(too_large("body", head.data, limit, "body_limit"));
        }
        let Some(data) = head.rest.get(..head.data) else { return Ok(None) };
        Ok(Some(Self { status: head.status, path: head.uri, channel: head.channel, data }))
    }

    /// How many bytes the frame has.
    #[must_use]
    pub fn length(&self) -> usize {
        around(self.path.len()).saturating_add(self.data.len())
    }

    /// Appends the frame.
    ///
    /// # Errors
    /// The reader of these limits would refuse it: a status that is none, a path that is empty, too long or has a zero
    /// byte, no data, or too much. Nothing was appended.
    pub fn encode(&self, limits: &Limits, out: &mut Vec<u8>) -> Result<(), WireError> {
        if self.status >= CLOSE {
            return Err(malformed("unknown status", 0));
        }
        if self.path.contains(&0) {
            return Err(malformed("a zero byte in the path", 1));
        }
        check_path(self.path, limits)?;
        let limit = body_limit(without_query(self.path), limits).min(MOST_DATA);
        if self.data.is_empty() || self.data.len() > limit {
            return Err(too_large("data", self.data.len(), limit, "body_limit"));
        }
        write(self.status, &[self.path], self.channel, self.data, out);
        Ok(())
    }
}

/// A frame up to its data: the path and the length are within what can be read past.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) status: u8,
    /// The path with its query.
    pub(crate) uri: &'a [u8],
    /// The path without it.
    pub(crate) path: &'a [u8],
    pub(crate) channel: u32,
    /// Where the data starts in the frame.
    pub(crate) length: usize,
    /// How long the data is, as announced.
    pub(crate) data: usize,
    /// The input from the data on.
    pub(crate) rest: &'a [u8],
}

impl<'a> Head<'a> {
    /// Reads what stands before the data. `None` where the input ends before that, and then nothing that is there breaks a
    /// rule.
    #[inline]
    pub(crate) fn decode(input: &'a [u8], limits: &Limits) -> Result<Option<Self>, WireError> {
        let mut reader = Reader::new(input);
        let Some(status) = reader.u8() else { return Ok(None) };
        if status >= CLOSE {
            return Err(malformed("unknown status", 0));
        }
        let rest = reader.rest();
        let within = rest.get(..most_uri(limits).saturating_add(1)).unwrap_or(rest);
        let Some(end) = within.iter().position(|byte| *byte == 0) else {
            return begun_path(within, limits).map(|()| None);
        };
        let uri = reader.bytes(end).unwrap_or_default();
        Self::decode_behind(input, uri, check_path(uri, limits)?, limits)
    }

    /// Reads what stands between the path and the data: the input begins with a status and this URI, which is good.
    #[inline]
    pub(crate) fn decode_behind(
        input: &'a [u8],
        uri: &'a [u8],
        path: &'a [u8],
        limits: &Limits,
    ) -> Result<Option<Self>, WireError> {
        let mut reader = Reader::new(input);
        let status = reader.u8().unwrap_or_default();
        if status >= CLOSE {
            return Err(malformed("unknown status", 0));
        }
        reader.bytes(uri.len().saturating_add(1));
        let Some(channel) = reader.u32() else { return Ok(None) };
        let at = reader.offset();
        let Some(data) = reader.u32() else { return Ok(None) };
        let data = usize::try_from(data).unwrap_or(usize::MAX);
        if data == 0 {
            return Err(malformed("the data length is 0", at));
        }
        let most = body_limit(path, limits).max(limits.skip()).min(MOST_DATA);
        if data > most {
            return Err(too_large("data", data, most, "body_limit"));
        }
        let (length, rest) = (reader.offset(), reader.rest());
        Ok(Some(Self { status, uri, path, channel, length, data, rest }))
    }

    /// How many bytes the whole frame has.
    pub(crate) fn total(&self) -> usize {
        self.length.saturating_add(self.data)
    }

    /// Whether a message begins with this frame.
    pub(crate) fn is_first(&self) -> bool {
        self.status & 2 == 0
    }

    /// Whether a message ends with this frame.
    pub(crate) fn is_last(&self) -> bool {
        self.status & 1 == 1
    }

    /// Whether it is of an answer.
    pub(crate) fn is_answer(&self) -> bool {
        self.status >= ANSWER
    }
}

/// How many bytes a frame has beside its data, for a path of this length.
pub(crate) fn around(path: usize) -> usize {
    path.saturating_add(10)
}

/// The most bytes of a path with its query under these limits: metadata in base64 has to fit. 34 KiB by default; a Go
/// server takes 512 KiB.
#[must_use]
pub fn most_uri(limits: &Limits) -> usize {
    limits.metadata.saturating_mul(2).saturating_add(MOST_PATH)
}

/// The path without its query.
pub(crate) fn without_query(uri: &[u8]) -> &[u8] {
    uri.split(|byte| *byte == b'?').next().unwrap_or_default()
}

/// The path without its query, where both are within the limits. How long it is beyond that nobody waits to see.
pub(crate) fn check_path<'a>(uri: &'a [u8], limits: &Limits) -> Result<&'a [u8], WireError> {
    let path = without_query(uri);
    if path.is_empty() {
        return Err(malformed("the path is empty", 1));
    }
    let most = limits.names.min(MOST_PATH);
    if path.len() > most {
        return Err(too_large("path", most.saturating_add(1), most, "names"));
    }
    check_length(uri.len(), limits)?;
    Ok(path)
}

/// Checks the length of a path with its query.
pub(crate) fn check_length(uri: usize, limits: &Limits) -> Result<(), WireError> {
    let most = most_uri(limits);
    if uri > most {
        Err(too_large("path with its query", most.saturating_add(1), most, "metadata"))
    } else {
        Ok(())
    }
}

/// Refuses a path that is too long already, although its end has not come.
#[cold]
fn begun_path(begun: &[u8], limits: &Limits) -> Result<(), WireError> {
    if begun.is_empty() { Ok(()) } else { check_path(begun, limits).map(|_| ()) }
}

/// Appends a frame whose parts are known to be good; `path` is put together.
#[inline]
pub(crate) fn write(status: u8, path: &[&[u8]], channel: u32, data: &[u8], out: &mut Vec<u8>) {
    out.reserve(around(path.iter().map(|part| part.len()).sum()).saturating_add(data.len()));
    out.push(status);
    path.iter().for_each(|part| out.extend_from_slice(part));
    // At most [`MOST_DATA`], as all callers see to.
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let ([a, b, c, d], [e, f, g, h]) = (channel.to_be_bytes(), length.to_be_bytes());
    out.extend_from_slice(&[0, a, b, c, d, e, f, g, h]);
    out.extend_from_slice(data);
}
