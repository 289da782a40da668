//! Reads a frame without a copy; every length is checked before anybody waits for what it announces.

use super::header::Header;
use super::{encode, malformed, too_large};
use crate::{InvalidMetadata, Limits, Pairs, Reader, WireError};

/// A whole frame, borrowed from the bytes that brought it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The header; its total says how long the rest is.
    pub header: Header,
    /// The service path.
    pub service: &'a [u8],
    /// The method.
    pub method: &'a [u8],
    /// The metadata.
    pub metadata: Pairs<'a>,
    /// The body, compressed as the header says.
    pub body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the frame that the input begins with. `None` where the input ends before the frame does.
    ///
    /// # Errors
    /// A rule is broken, or a length is over its limit.
    pub fn decode(input: &'a [u8], limits: &Limits) -> Result<Option<Self>, WireError> {
        let Some(chunk) = input.first_chunk() else { return Ok(None) };
        let header = Header::decode(chunk)?;
        let Some(head) = Head::decode(header, input, limits)? else {
            return check_total(&header, limits).map(|()| None);
        };
        if head.body_length > limits.body {
            return Err(too_large("body", head.body_length, limits.body, "body_limit"));
        }
        let Some((body, _)) = head.rest.split_at_checked(head.body_length) else { return Ok(None) };
        let metadata = head.pairs(limits)?;
        Ok(Some(Self { header: head.header, service: head.service, method: head.method, metadata, body }))
    }

    /// How many bytes the frame has.
    #[must_use]
    pub fn length(&self) -> usize {
        usize::try_from(self.header.total).unwrap_or(usize::MAX).saturating_add(Header::LENGTH)
    }

    /// Appends the frame. The total in the header is not looked at but computed.
    ///
    /// # Errors
    /// A part is over its limit; nothing was appended.
    pub fn encode(&self, limits: &Limits, out: &mut Vec<u8>) -> Result<(), WireError> {
        let parts = encode::Parts {
            header: self.header,
            service: self.service,
            method: self.method,
            metadata: self.metadata,
            body: self.body.len(),
        };
        encode::head(&parts, std::iter::empty(), limits, out)?;
        out.extend_from_slice(self.body);
        Ok(())
    }
}

/// A frame up to its body: all lengths are known, add up, and are within what can be read past.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) header: Header,
    pub(crate) service: &'a [u8],
    pub(crate) method: &'a [u8],
    /// The bytes up to the end of the method.
    pub(crate) names: &'a [u8],
    /// The metadata, not yet checked.
    metadata: &'a [u8],
    metadata_at: usize,
    /// Where the body starts in the frame.
    pub(crate) length: usize,
    /// The body's length as announced; at most [`Limits::skip`].
    pub(crate) body_length: usize,
    /// The input from the body on.
    pub(crate) rest: &'a [u8],
}

impl<'a> Head<'a> {
    /// Reads what stands before the body. `None` where the input ends before that, and then no length that is
    /// there breaks a rule.
    #[inline]
    pub(crate) fn decode(
        header: Header,
        input: &'a [u8],
        limits: &Limits,
    ) -> Result<Option<Self>, WireError> {
        let mut reader = Reader::new(input);
        reader.bytes(Header::LENGTH);
        let total = usize::try_from(header.total).unwrap_or(usize::MAX);
        // Whatever is not of the frame must not be read as a part of it: `left` counts down what is.
        let mut left = total.checked_sub(16).ok_or_else(|| {
            malformed("the total is too small for the four lengths", super::header::TOTAL_AT)
        })?;

        let Some(length) = field(&mut reader, &mut left, "the path is longer than the frame")? else {
            return Ok(None);
        };
        if length > limits.names {
            return Err(too_large("service path", length, limits.names, "names"));
        }
        let Some(service) = reader.bytes(length) else { return Ok(None) };

        let Some(length) = field(&mut reader, &mut left, "the method is longer than the frame")? else {
            return Ok(None);
        };
        let both = service.len().saturating_add(length);
        if both > limits.names {
            return Err(too_large("service path and method", both, limits.names, "names"));
        }
        let Some(method) = reader.bytes(length) else { return Ok(None) };
        let names = input.get(..reader.offset()).unwrap_or_default();

        let Some(length) = field(&mut reader, &mut left, "the metadata is longer than the frame")? else {
            return Ok(None);
        };
        let most = header.metadata_limit(limits);
        if length > most {
            return Err(too_large("metadata", length, most, "metadata"));
        }
        let metadata_at = reader.offset();
        let Some(metadata) = reader.bytes(length) else { return Ok(None) };

        let at = reader.offset();
        let Some(body_length) = field(&mut reader, &mut left, "the body is longer than the frame")? else {
            return Ok(None);
        };
        if left != 0 {
            return Err(malformed("the lengths do not add up to the total", at));
        }
        if body_length > limits.skip() {
            return Err(too_large("body", body_length, limits.skip(), "body_limit"));
        }
        let (length, rest) = (reader.offset(), reader.rest());
        Ok(Some(Self { header, service, method, names, metadata, metadata_at, length, body_length, rest }))
    }

    /// The metadata, checked.
    #[inline]
    pub(crate) fn pairs(&self, limits: &Limits) -> Result<Pairs<'a>, WireError> {
        if self.metadata.is_empty() {
            return Ok(Pairs::empty());
        }
        let limits = Limits { metadata: self.header.metadata_limit(limits), ..limits.clone() };
        Pairs::parse(self.metadata, &limits).map_err(|InvalidMetadata { rule, offset }| {
            malformed(rule, self.metadata_at.saturating_add(offset))
        })
    }

    /// The value's offset in the frame, where the metadata has the key.
    pub(crate) fn value_at(&self, pairs: Pairs<'_>, key: &str) -> Option<usize> {
        let mut at = self.metadata_at;
        for (k, value) in pairs {
            at = at.saturating_add(8).saturating_add(k.len());
            if k == key.as_bytes() {
                return Some(at);
            }
            at = at.saturating_add(value.len());
        }
        None
    }
}

/// Refuses a total that no frame within the limits can have, for when nothing but the header is there yet.
#[cold]
pub(crate) fn check_total(header: &Header, limits: &Limits) -> Result<(), WireError> {
    let total = usize::try_from(header.total).unwrap_or(usize::MAX);
    let limit = limits.skip().saturating_add(most_but_body(header, limits));
    if total <= limit { Ok(()) } else { Err(too_large("frame", total, limit, "body_limit")) }
}

/// The most bytes that a total counts beside the body's own: four lengths, names, metadata.
pub(crate) fn most_but_body(header: &Header, limits: &Limits) -> usize {
    header.metadata_limit(limits).saturating_add(limits.names).saturating_add(16)
}

/// A length, which must not be more than what is `left` of the frame for texts.
#[inline]
fn field(reader: &mut Reader<'_>, left: &mut usize, rule: &'static str) -> Result<Option<usize>, WireError> {
    let at = reader.offset();
    let Some(length) = reader.u32() else { return Ok(None) };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    *left = left.checked_sub(length).ok_or_else(|| malformed(rule, at))?;
    Ok(Some(length))
}
