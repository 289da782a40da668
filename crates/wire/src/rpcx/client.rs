//! The side that makes calls.

use super::frame::Head;
use super::header::{Header, ONE_WAY, compression_flags, serialization_bits};
use super::session::Rpcx;
use super::{NAME, encode, keys, unsupported};
use crate::role::Role;
use crate::{CallFrame, Event, Failure, Pairs, Payload, PushHead, ReplyHead, WireError};

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
        encode::head(&parts, extra, &self.limits, out)?;
        out.extend_from_slice(frame.body);
        Ok(())
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
