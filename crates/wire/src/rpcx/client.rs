//! The side that makes calls.

use super::frame::Head;
use super::header::{Header, MAGIC, ONE_WAY, RESPONSE, compression_flags, serialization_bits};
use super::session::Rpcx;
use super::{NAME, encode, keys, unsupported};
use crate::role::Role;
use crate::{CallFrame, Event, Failure, Pairs, Payload, PlainReply, PushHead, ReplyHead, WireError};

impl Rpcx {
    #[inline]
    pub(super) fn encode_call(&mut self, frame: &CallFrame<'_>, out: &mut Vec<u8>) -> Result<(), WireError> {
        self.role.must_be(Role::Client, NAME, "a server does not make calls")?;
        if !frame.end {
            return Err(unsupported("a body cannot be sent in several frames"));
        }
        let one_way = if frame.one_way { ONE_WAY } else { 0 };
        let parts = encode::Parts {
            header: Header {
                version: 0,
                flags: one_way | compression_flags(frame.compression),
                format: serialization_bits(frame.serialization)?,
                seq: frame.id,
                total: 0,
            },
            service: frame.service.as_bytes(),
            method: frame.method.as_bytes(),
            metadata: frame.metadata,
            body: frame.body.len(),
        };
        let extra = frame.extra.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes()));
        let start = out.len();
        encode::head(&parts, extra, &self.limits, out)?;
        if frame.is_plain()
            && let Some(client) = &mut self.client
        {
            client.last.clear();
            client.last.extend_from_slice(out.get(start..).unwrap_or_default());
        }
        out.extend_from_slice(frame.body);
        Ok(())
    }

    /// The reply that the input begins with, where all of it is there and nothing about it is special. Every check that
    /// [`Head::decode`] makes is made here; what fails one is left to it, to be told apart.
    #[inline(always)]
    pub(super) fn at_a_glance(&self, input: &[u8]) -> Option<PlainReply> {
        let (header, rest) = input.split_first_chunk::<{ Header::LENGTH }>()?;
        let &[MAGIC, _, RESPONSE, _, seq @ .., t0, t1, t2, t3] = header else { return None };
        let total = usize::try_from(u32::from_be_bytes([t0, t1, t2, t3])).ok()?;
        let frame = rest.get(..total)?;
        let (service, rest) = length(frame)?;
        let (method, rest) = length(rest.get(service..)?)?;
        let (metadata, rest) = length(rest.get(method..)?)?;
        let (body, rest) = length(rest)?;
        let names = service.saturating_add(method);
        let fits = names <= self.limits.names && body <= self.limits.body;
        let plain = metadata == 0 && body == rest.len() && fits && self.role == Role::Client;
        let end = total.saturating_add(Header::LENGTH);
        plain.then(|| PlainReply { id: u64::from_be_bytes(seq), body: end.saturating_sub(body)..end })
    }

    #[inline]
    pub(super) fn replied<'a>(head: &Head<'a>, metadata: Pairs<'a>, body: &'a [u8]) -> Event<'a> {
        let header = &head.header;
        let failure = if header.status() == 0 { None } else { Some(failure(metadata)) };
        Event::Reply {
            head: ReplyHead {
                id: header.seq,
                failure,
                metadata,
                serialization: header.serialization(),
                compression: header.compression(),
                uri: &[],
            },
            body: Payload::Input(body),
            end: true,
        }
    }

    pub(super) fn pushed<'a>(head: &Head<'a>, metadata: Pairs<'a>, body: &'a [u8]) -> Event<'a> {
        Event::Push {
            head: PushHead {
                service: head.service,
                method: head.method,
                metadata,
                serialization: head.header.serialization(),
                compression: head.header.compression(),
            },
            body: Payload::Input(body),
        }
    }
}

/// A length, and what follows.
#[inline(always)]
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    Some((usize::try_from(u32::from_be_bytes(*length)).ok()?, rest))
}

/// What the metadata says about a failure. easymicro's key counts only where rpcx's is not there.
#[cold]
fn failure(metadata: Pairs<'_>) -> Failure<'_> {
    let message = metadata
        .get_bytes(keys::RPCX_ERROR.as_bytes())
        .or_else(|| metadata.get_bytes(keys::EASYMICRO_ERROR.as_bytes()));
    Failure {
        message: message.unwrap_or_default(),
        code: metadata.get(keys::CODE).and_then(|code| code.parse().ok()),
        details: metadata.get_bytes(keys::DETAILS.as_bytes()),
    }
}
