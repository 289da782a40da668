//! The side that answers calls.

use super::frame::Head;
use super::header::{
    ERROR, FLAGS_AT, Header, ONE_WAY, RESPONSE, TOTAL_AT, compression_flags, serialization_bits,
};
use super::session::Rpcx;
use super::{NAME, encode, keys, too_large, unsupported};
use crate::metadata::append_pair;
use crate::role::Role;
use crate::{
    CallHead, Compression, Event, Failure, Mark, Pairs, Payload, PushFrame, Refusal, ReplyFrame, WireError,
};

impl Rpcx {
    #[inline]
    pub(super) fn called<'a>(
        &mut self,
        head: &Head<'a>,
        metadata: Pairs<'a>,
        body: &'a [u8],
        input: &'a [u8],
    ) -> Event<'a> {
        self.in_flight = self.in_flight.saturating_add(1);
        let call = call_head(head, metadata);
        self.usual.keep(head, &call, input);
        Event::Call { head: call, body: Payload::Input(body), end: true }
    }

    pub(super) fn refuse<'a>(
        &mut self,
        head: &Head<'a>,
        metadata: Pairs<'a>,
        got: u64,
        limit: u64,
    ) -> Event<'a> {
        self.in_flight = self.in_flight.saturating_add(1);
        Event::Refused { head: call_head(head, metadata), reason: Refusal::BodyTooLarge { got, limit } }
    }

    /// A call has ended: its place is free.
    #[inline]
    pub(super) fn ended(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    #[inline(always)]
    pub(super) fn encode_reply(
        &mut self,
        to: &CallHead<'_>,
        frame: &ReplyFrame<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        self.role.must_be(Role::Server, NAME, "a client does not answer calls")?;
        if !to.one_way {
            if !frame.end {
                return Err(unsupported("a body cannot be sent in several frames"));
            }
            match frame.failure {
                None => self.encode_good(to, frame.compression, frame.metadata, frame.body.len(), out)?,
                Some(failure) => self.encode_failure(to, frame, &failure, out)?,
            }
            out.extend_from_slice(frame.body);
        }
        self.ended();
        Ok(())
    }

    /// The head of a good reply.
    #[inline(always)]
    fn encode_good(
        &self,
        to: &CallHead<'_>,
        compression: Compression,
        metadata: Pairs<'_>,
        body: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        let flags = RESPONSE | compression_flags(compression);
        let short = metadata.is_empty() && body <= self.limits.body && !to.repeats.is_empty();
        if short && encode::repeat(to.repeats, flags, body, out) {
            return Ok(());
        }
        let header = reply_header(to, compression)?;
        let parts = encode::Parts { header, service: to.service, method: to.method, metadata, body };
        encode::head(&parts, std::iter::empty(), &self.limits, out)
    }

    /// The head of a reply that says why the call failed, to rpcx and easymicro alike.
    #[cold]
    fn encode_failure(
        &self,
        to: &CallHead<'_>,
        frame: &ReplyFrame<'_>,
        failure: &Failure<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        let header = reply_header(to, frame.compression)?;
        let code = failure.code.filter(|_| self.trunkline).map(|code| code.to_string());
        let details = failure.details.filter(|_| self.trunkline);
        let said = [
            Some((keys::RPCX_ERROR.as_bytes(), failure.message)),
            Some((keys::EASYMICRO_ERROR.as_bytes(), failure.message)),
            code.as_ref().map(|code| (keys::CODE.as_bytes(), code.as_bytes())),
            details.map(|details| (keys::DETAILS.as_bytes(), details)),
        ];
        // What a service hands on from a call of its own must not stand beside what is said here: which of
        // two equal keys counts differs from peer to peer.
        let own = frame.metadata.iter().filter(|(key, _)| !is_of_failure(key));
        let parts = encode::Parts {
            header: Header { flags: header.flags | ERROR, ..header },
            service: to.service,
            method: to.method,
            metadata: Pairs::empty(),
            body: frame.body.len(),
        };
        encode::head(&parts, said.into_iter().flatten().chain(own), &self.limits, out)
    }

    #[inline(always)]
    pub(super) fn begin_reply(&mut self, to: &CallHead<'_>, out: &mut Vec<u8>) -> Option<Mark> {
        if to.one_way || self.role != Role::Server {
            return None;
        }
        let start = out.len();
        self.encode_good(to, Compression::None, Pairs::empty(), 0, out).ok()?;
        Some(Mark { start, body: out.len(), id: to.id })
    }

    #[inline]
    pub(super) fn finish_reply(&mut self, mark: Mark, out: &mut Vec<u8>) {
        self.ended();
        let body = out.len().saturating_sub(mark.body);
        let total = out.len().saturating_sub(mark.start).saturating_sub(Header::LENGTH);
        match (u32::try_from(body), u32::try_from(total)) {
            (Ok(length), Ok(total)) if body <= self.limits.body => {
                encode::patch(out, mark.body.saturating_sub(4), &length.to_be_bytes());
                encode::patch(out, mark.start.saturating_add(TOTAL_AT), &total.to_be_bytes());
            }
            _ => self.fail_in_place(mark, body, out),
        }
    }

    /// The body that was written is too large: the same frame says so instead.
    #[cold]
    fn fail_in_place(&self, mark: Mark, body: usize, out: &mut Vec<u8>) {
        let text = too_large("reply body", body, self.limits.body, "body_limit").to_string();
        // The lengths of metadata and body stand before the body, both 0.
        let at = mark.body.saturating_sub(8);
        out.truncate(at);
        let mut pairs = Vec::new();
        append_pair(&mut pairs, keys::RPCX_ERROR.as_bytes(), text.as_bytes());
        append_pair(&mut pairs, keys::EASYMICRO_ERROR.as_bytes(), text.as_bytes());
        out.extend_from_slice(&u32::try_from(pairs.len()).unwrap_or(0).to_be_bytes());
        out.extend_from_slice(&pairs);
        out.extend_from_slice(&[0; 4]);
        let total = out.len().saturating_sub(mark.start).saturating_sub(Header::LENGTH);
        encode::patch(
            out,
            mark.start.saturating_add(TOTAL_AT),
            &u32::try_from(total).unwrap_or(0).to_be_bytes(),
        );
        if let Some(flags) = out.get_mut(mark.start.saturating_add(FLAGS_AT)) {
            *flags |= ERROR;
        }
    }

    pub(super) fn encode_push(&mut self, frame: &PushFrame<'_>, out: &mut Vec<u8>) -> Result<(), WireError> {
        self.role.must_be(Role::Server, NAME, "a client does not push")?;
        if frame.body.len() > self.limits.body {
            return Err(too_large("body", frame.body.len(), self.limits.body, "body_limit"));
        }
        let parts = encode::Parts {
            header: Header {
                version: 0,
                flags: ONE_WAY | compression_flags(frame.head.compression),
                format: serialization_bits(frame.head.serialization)?,
                seq: self.next_seq,
                total: 0,
            },
            service: frame.head.service,
            method: frame.head.method,
            metadata: frame.head.metadata,
            body: frame.body.len(),
        };
        encode::head(&parts, std::iter::empty(), &self.limits, out)?;
        out.extend_from_slice(frame.body);
        self.take_seq();
        Ok(())
    }
}

/// The head of a call. Its note holds what the reply repeats: the version, and the reserved bits.
#[inline]
fn call_head<'a>(head: &Head<'a>, metadata: Pairs<'a>) -> CallHead<'a> {
    let header = &head.header;
    CallHead {
        id: header.seq,
        service: head.service,
        method: head.method,
        again: false,
        metadata,
        serialization: header.serialization(),
        compression: header.compression(),
        one_way: header.is_one_way(),
        note: u64::from(u16::from_be_bytes([header.format & 0x0f, header.version])),
        repeats: head.names,
        uri: &[],
    }
}

#[inline]
fn reply_header(to: &CallHead<'_>, compression: Compression) -> Result<Header, WireError> {
    let [.., reserved, version] = to.note.to_be_bytes();
    Ok(Header {
        version,
        flags: RESPONSE | compression_flags(compression),
        format: serialization_bits(to.serialization)? | (reserved & 0x0f),
        seq: to.id,
        total: 0,
    })
}

fn is_of_failure(key: &[u8]) -> bool {
    [keys::RPCX_ERROR, keys::EASYMICRO_ERROR, keys::CODE, keys::DETAILS]
        .iter()
        .any(|reserved| reserved.as_bytes() == key)
}
