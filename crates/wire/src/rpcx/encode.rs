//! Writes a frame up to its body: lengths first checked, then written, nothing patched and nothing copied twice.

use super::header::Header;
use super::too_large;
use crate::metadata::append_pair;
use crate::{Limits, Pairs, WireError};

/// What a frame begins with. The total of the header is computed.
pub(crate) struct Parts<'a> {
    pub(crate) header: Header,
    pub(crate) service: &'a [u8],
    pub(crate) method: &'a [u8],
    pub(crate) metadata: Pairs<'a>,
    /// The body's length; the caller appends the body.
    pub(crate) body: usize,
}

/// Appends everything before the body, and makes room for it. The `extra` pairs come before the metadata.
#[inline(never)]
pub(crate) fn head<'x>(
    parts: &Parts<'_>,
    extra: impl Iterator<Item = (&'x [u8], &'x [u8])> + Clone,
    limits: &Limits,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    let &Parts { header, service, method, metadata, body } = parts;
    let names = service.len().saturating_add(method.len());
    if names > limits.names {
        return Err(too_large("service path and method", names, limits.names, "names"));
    }
    // How large a request may be is for its server to say; this side's limit is for what comes.
    if header.is_response() && body > limits.body {
        return Err(too_large("body", body, limits.body, "body_limit"));
    }
    let metadata_length = metadata_length(metadata, extra.clone(), header.metadata_limit(limits), limits)?;
    let rest = names.saturating_add(metadata_length).saturating_add(body).saturating_add(16);
    // One check for all: no part is longer than the sum.
    let (Ok(total), Ok(path), Ok(name), Ok(pairs), Ok(payload)) = (
        u32::try_from(rest),
        u32::try_from(service.len()),
        u32::try_from(method.len()),
        u32::try_from(metadata_length),
        u32::try_from(body),
    ) else {
        return Err(too_large(
            "frame",
            rest,
            usize::try_from(u32::MAX).unwrap_or(usize::MAX),
            "the wire's own",
        ));
    };
    out.reserve(rest.saturating_add(Header::LENGTH));
    // As few steps as can be: each looks at the room again.
    let mut first = [0; Header::LENGTH + 4];
    if let Some((start, length)) = first.split_first_chunk_mut() {
        *start = Header { total, ..header }.encode();
        length.copy_from_slice(&path.to_be_bytes());
    }
    out.extend_from_slice(&first);
    out.extend_from_slice(service);
    out.extend_from_slice(&name.to_be_bytes());
    out.extend_from_slice(method);
    if metadata_length > 0 {
        out.extend_from_slice(&pairs.to_be_bytes());
        for (key, value) in extra {
            append_pair(out, key, value);
        }
        out.extend_from_slice(metadata.as_bytes());
        out.extend_from_slice(&payload.to_be_bytes());
    } else {
        let [p0, p1, p2, p3] = payload.to_be_bytes();
        out.extend_from_slice(&[0, 0, 0, 0, p0, p1, p2, p3]);
    }
    Ok(())
}

/// Appends the head of a reply without metadata that begins as its call did: `call` is the call's frame up to the
/// end of the method. Makes room for the body. Whether the frame can be said at all; else nothing is appended.
#[inline(always)]
#[must_use]
pub(crate) fn repeat(call: &[u8], flags: u8, body: usize, out: &mut Vec<u8>) -> bool {
    let rest = call.len().saturating_sub(Header::LENGTH).saturating_add(body).saturating_add(8);
    let (Ok(total), Ok(payload)) = (u32::try_from(rest), u32::try_from(body)) else { return false };
    out.reserve(rest.saturating_add(Header::LENGTH));
    let start = out.len();
    out.extend_from_slice(call);
    if let Some([_, _, place, _, _, _, _, _, _, _, _, _, sum @ ..]) =
        out.get_mut(start..).and_then(|head| head.first_chunk_mut::<{ Header::LENGTH }>())
    {
        *place = flags;
        *sum = total.to_be_bytes();
    }
    let [p0, p1, p2, p3] = payload.to_be_bytes();
    out.extend_from_slice(&[0, 0, 0, 0, p0, p1, p2, p3]);
    true
}

/// Appends a call that begins as an earlier one did: `head` is the frame of that one up to its body. Whether the frame can be
/// said at all; else nothing is appended.
#[inline(always)]
#[must_use]
pub(crate) fn again(head: &[u8], seq: u64, body: &[u8], out: &mut Vec<u8>) -> bool {
    let rest = head.len().saturating_sub(Header::LENGTH).saturating_add(body.len());
    let (Ok(total), Ok(payload)) = (u32::try_from(rest), u32::try_from(body.len())) else { return false };
    out.reserve(head.len().saturating_add(body.len()));
    let start = out.len();
    out.extend_from_slice(head);
    if let Some([_, _, _, _, number @ .., s0, s1, s2, s3]) =
        out.get_mut(start..).and_then(|head| head.first_chunk_mut::<{ Header::LENGTH }>())
    {
        *number = seq.to_be_bytes();
        [*s0, *s1, *s2, *s3] = total.to_be_bytes();
    }
    if let Some(length) = out.last_chunk_mut() {
        *length = payload.to_be_bytes();
    }
    out.extend_from_slice(body);
    true
}

/// The length of all pairs together, within the limits.
#[inline]
fn metadata_length<'x>(
    metadata: Pairs<'_>,
    extra: impl Iterator<Item = (&'x [u8], &'x [u8])>,
    most: usize,
    limits: &Limits,
) -> Result<usize, WireError> {
    let mut length = metadata.as_bytes().len();
    let mut pairs = if length == 0 { 0 } else { metadata.iter().count() };
    for (key, value) in extra {
        length = length.saturating_add(8).saturating_add(key.len()).saturating_add(value.len());
        pairs = pairs.saturating_add(1);
    }
    if length > most {
        return Err(too_large("metadata", length, most, "metadata"));
    }
    if pairs > limits.metadata_pairs {
        return Err(too_large("number of metadata pairs", pairs, limits.metadata_pairs, "metadata_pairs"));
    }
    Ok(length)
}

/// Overwrites bytes that were written before.
#[inline]
pub(crate) fn patch(out: &mut [u8], at: usize, bytes: &[u8]) {
    let end = at.saturating_add(bytes.len());
    if let Some(place) = out.get_mut(at..end) {
        place.copy_from_slice(bytes);
    }
}
