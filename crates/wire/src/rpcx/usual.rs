//! A call as most are: of the method that the connection called before, whole, and without metadata.
//!
//! Its frame begins as that of the call before but for number and total, so it is known by comparing bytes; nothing of
//! it has to be taken apart and checked again.

use super::frame::Head;
use super::header::Header;
use crate::{CallHead, Compression, Pairs, Serialization};

/// Longer names are not kept.
const LONGEST: usize = 256;

/// What frames of the method that was called last begin with.
#[derive(Debug, Default)]
pub(super) struct Usual {
    /// Magic number, version, flags and format.
    first: [u8; 4],
    serialization: Serialization,
    note: u16,
    /// How long the service's name is.
    service: u16,
    /// Both names with their lengths, and the length of the metadata, which is 0. Empty where nothing is known.
    names: Vec<u8>,
}

/// A call that is as the one before it.
pub(super) struct Again<'a> {
    pub(super) head: CallHead<'a>,
    pub(super) body: &'a [u8],
    pub(super) length: usize,
}

impl Usual {
    /// Nothing is known any more.
    pub(super) fn forget(&mut self) {
        self.names.clear();
    }

    /// The call that the input begins with, where it is whole, its body within the limit, and otherwise as the last.
    #[inline(always)]
    pub(super) fn read<'a>(&self, input: &'a [u8], limit: usize) -> Option<Again<'a>> {
        if self.names.is_empty() {
            return None;
        }
        let (header, rest) = input.split_first_chunk::<{ Header::LENGTH }>()?;
        let &[f0, f1, f2, f3, seq @ .., t0, t1, t2, t3] = header;
        let (names, rest) = rest.split_at_checked(self.names.len())?;
        if [f0, f1, f2, f3] != self.first || *names != *self.names {
            return None;
        }
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let total = usize::try_from(u32::from_be_bytes([t0, t1, t2, t3])).ok()?;
        // Neither sum can overflow: the body is in the input.
        let body = rest.get(..length)?;
        let rest = names.len().saturating_add(4).saturating_add(length);
        if length > limit || rest != total {
            return None;
        }
        let (service, method) = names.get(4..)?.split_at_checked(usize::from(self.service))?;
        let (method, _) = method.get(4..)?.split_last_chunk::<4>()?;
        let repeats = input.get(..Header::LENGTH.saturating_add(names.len()).saturating_sub(4))?;
        let head = CallHead {
            id: u64::from_be_bytes(seq),
            service,
            method,
            again: true,
            metadata: Pairs::empty(),
            serialization: self.serialization,
            compression: Compression::None,
            one_way: false,
            note: u64::from(self.note),
            repeats,
            uri: &[],
        };
        Some(Again { head, body, length: total.saturating_add(Header::LENGTH) })
    }

    /// Keeps what the next call of this kind begins with. `input` begins with this one, whose head was read and found good.
    pub(super) fn keep(&mut self, head: &Head<'_>, call: &CallHead<'_>, input: &[u8]) {
        self.forget();
        let plain = call.metadata.is_empty() && call.compression == Compression::None && !call.one_way;
        let Some((header, rest)) = input.split_first_chunk::<{ Header::LENGTH }>() else { return };
        let length = head.names.len().saturating_sub(Header::LENGTH).saturating_add(4);
        let (Ok(service), Ok(note)) = (u16::try_from(call.service.len()), u16::try_from(call.note)) else {
            return;
        };
        if let Some(names) = rest.get(..length)
            && plain
            && length <= LONGEST
        {
            let [f0, f1, f2, f3, ..] = *header;
            self.first = [f0, f1, f2, f3];
            (self.serialization, self.note, self.service) = (call.serialization, note, service);
            // Into the memory that is there: calls of two methods in turn must not take some for each.
            self.names.extend_from_slice(names);
        }
    }
}
