//! The side that makes calls.

use super::head::Head;
use super::scan::on_wire;
use super::session::NetRpc;
use super::{NAME, too_large, unsupported, wide};
use crate::gob::Message;
use crate::role::Role;
use crate::{
    CallFrame, Compression, Event, Failure, Next, Pairs, Payload, ReplyHead, Serialization, Step, WireError,
};

impl NetRpc {
    #[inline]
    pub(super) fn encode_call(&mut self, frame: &CallFrame<'_>, out: &mut Vec<u8>) -> Result<(), WireError> {
        self.role.must_be(Role::Client, NAME, "a server does not make calls")?;
        if !frame.end {
            return Err(unsupported("a body cannot be sent in several frames"));
        }
        if frame.compression != Compression::None {
            return Err(unsupported("a body cannot be compressed"));
        }
        if frame.serialization != Serialization::Gob {
            return Err(unsupported("a body that is not gob cannot be sent"));
        }
        let names = frame.service.len().saturating_add(frame.method.len());
        if names > self.limits.names {
            return Err(too_large("service and method", wide(names), self.limits.names, "names"));
        }
        let start = out.len();
        let name = [frame.service.as_bytes(), b".", frame.method.as_bytes()];
        self.head.write(name, frame.id, b"", out);
        match self.outgoing.graft(frame.body, out) {
            Ok(()) => {
                self.head.said();
                Ok(())
            }
            Err(error) => {
                out.truncate(start);
                Err(on_wire(error))
            }
        }
    }

    #[inline]
    pub(super) fn replied<'a>(&mut self, head: &Head<'a>, value: &Message<'a>, consumed: usize) -> Step<'a> {
        if !head.error.is_empty() {
            return Step { consumed, next: failed(head.seq, head.error) };
        }
        match self.incoming.body(value) {
            Ok(body) => {
                let head = reply_head(head.seq, None);
                Step { consumed, next: Next::Event(Event::Reply { head, body, end: true }) }
            }
            Err(_) => Step { consumed, next: failed(head.seq, b"gob: unknown type id or corrupted data") },
        }
    }

    pub(super) fn reply_too_large<'a>(&self, head: &Head<'a>, got: usize) -> Next<'a> {
        if !head.error.is_empty() {
            return failed(head.seq, head.error);
        }
        let (got, limit) = (wide(got), wide(self.limits.body));
        Next::Event(Event::ReplyTooLarge { id: head.seq, got, limit })
    }
}

/// What stands behind a failure is nothing.
#[cold]
fn failed(seq: u64, text: &[u8]) -> Next<'_> {
    let head = reply_head(seq, Some(Failure::text(text)));
    Next::Event(Event::Reply { head, body: Payload::Input(&[]), end: true })
}

#[inline]
fn reply_head<'a>(id: u64, failure: Option<Failure<'a>>) -> ReplyHead<'a> {
    ReplyHead {
        id,
        failure,
        metadata: Pairs::empty(),
        serialization: Serialization::Gob,
        compression: Compression::None,
        uri: &[],
    }
}
