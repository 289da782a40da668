//! The side that answers calls.

use super::head::Head;
use super::scan::on_wire;
use super::session::NetRpc;
use super::{EMPTY, MAX_ERROR, NAME, too_large, unsupported, wide};
use crate::gob::{Cursor, Message};
use crate::role::Role;
use crate::{
    CallHead, Compression, Event, Mark, Next, Pairs, Refusal, ReplyFrame, Serialization, Step, WireError,
};

/// A failure without a text would be none: gob leaves an empty text out.
const NO_TEXT: &[u8] = b"failed without a message";

impl NetRpc {
    #[inline]
    pub(super) fn called<'a>(
        &mut self,
        head: &Head<'a>,
        value: &Message<'a>,
        consumed: usize,
        out: &mut Vec<u8>,
    ) -> Result<Step<'a>, WireError> {
        let Some((service, method)) = names(head.name) else {
            return Ok(Step { consumed, next: self.answer(head, &unnamed(head.name), out)? });
        };
        match self.incoming.body(value) {
            Ok(body) => {
                self.in_flight = self.in_flight.saturating_add(1);
                let head = call_head(head, service, method);
                Ok(Step { consumed, next: Next::Event(Event::Call { head, body, end: true }) })
            }
            Err(error) => Ok(Step { consumed, next: self.answer(head, error.to_string().as_bytes(), out)? }),
        }
    }

    /// The call's body is too large.
    pub(super) fn refuse<'a>(
        &mut self,
        head: &Head<'a>,
        got: usize,
        out: &mut Vec<u8>,
    ) -> Result<Next<'a>, WireError> {
        let Some((service, method)) = names(head.name) else {
            return self.answer(head, &unnamed(head.name), out);
        };
        self.in_flight = self.in_flight.saturating_add(1);
        let reason = Refusal::BodyTooLarge { got: wide(got), limit: wide(self.limits.body) };
        Ok(Next::Event(Event::Refused { head: call_head(head, service, method), reason }))
    }

    /// Answers what was never a call of the framework's.
    #[cold]
    fn answer<'a>(
        &mut self,
        head: &Head<'_>,
        error: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Next<'a>, WireError> {
        self.write(head.seq, [head.name, b"", b""], Err(error), out)?;
        Ok(Next::Again)
    }

    /// A call has ended: its place is free.
    #[inline]
    pub(super) fn ended(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    #[inline]
    pub(super) fn encode_reply(
        &mut self,
        to: &CallHead<'_>,
        frame: &ReplyFrame<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        self.role.must_be(Role::Server, NAME, "a client does not answer calls")?;
        if !frame.end {
            return Err(unsupported("a body cannot be sent in several frames"));
        }
        if frame.compression != Compression::None {
            return Err(unsupported("a body cannot be compressed"));
        }
        let body = match frame.failure {
            None => Ok(frame.body),
            Some(failure) => Err(failure.message),
        };
        self.write(to.id, name_of(to), body, out)?;
        self.ended();
        Ok(())
    }

    /// Appends a whole answer, or nothing.
    fn write(
        &mut self,
        seq: u64,
        name: [&[u8]; 3],
        body: Result<&[u8], &[u8]>,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        let (body, error) = match body {
            Ok([]) => (EMPTY, &[][..]),
            Ok(body) => (body, &[][..]),
            Err([]) => (EMPTY, NO_TEXT),
            Err(error) => (EMPTY, error),
        };
        if body.len() > self.limits.body.max(EMPTY.len()) {
            return Err(too_large("body", wide(body.len()), self.limits.body, "body_limit"));
        }
        if error.len() > MAX_ERROR {
            return Err(too_large("text of a failure", wide(error.len()), MAX_ERROR, "the wire's own"));
        }
        let start = out.len();
        self.head.write(name, seq, error, out);
        match self.outgoing.graft(body, out) {
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
    pub(super) fn begin_reply(&mut self, to: &CallHead<'_>, out: &mut Vec<u8>) -> Option<Mark> {
        if self.role != Role::Server {
            return None;
        }
        let start = out.len();
        if to.repeats.is_empty() {
            self.head.write(name_of(to), to.id, b"", out);
        } else {
            self.head.repeat(to.repeats, out);
        }
        Some(Mark { start, body: out.len(), id: to.id })
    }

    #[inline]
    pub(super) fn finish_reply(&mut self, mark: Mark, out: &mut Vec<u8>) {
        self.ended();
        let length = out.len().saturating_sub(mark.body);
        if length == 0 {
            out.extend_from_slice(EMPTY);
        }
        let grafted = if length > self.limits.body {
            Err(too_large("reply body", wide(length), self.limits.body, "body_limit"))
        } else {
            self.outgoing.graft_in_place(mark.body, out).map_err(on_wire)
        };
        match grafted {
            Ok(()) => self.head.said(),
            Err(error) => self.fail_in_place(mark, &error, out),
        }
    }

    /// The body that was written cannot be sent: a failure takes its place.
    #[cold]
    fn fail_in_place(&mut self, mark: Mark, error: &WireError, out: &mut Vec<u8>) {
        let text = error.to_string();
        let written = out.get(mark.start..mark.body).unwrap_or_default();
        let name = written_name(written).to_vec();
        out.truncate(mark.start);
        // It is short, and a struct without fields: there is nothing in it that could not be said.
        let _ = self.write(mark.id, [&name, b"", b""], Err(text.as_bytes()), out);
    }
}

/// Service and method, cut at the last dot. A service without a name stands for paths of another wire here; in Go there
/// is none.
#[inline]
fn names(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let dot = name.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0)?;
    let (service, method) = name.split_at_checked(dot)?;
    Some((service, method.get(1..)?))
}

/// What Go says of a name that is none.
#[cold]
fn unnamed(name: &[u8]) -> Vec<u8> {
    let text: &[u8] = match name.contains(&b'.') {
        true => b"rpc: can't find service ",
        false => b"rpc: service/method request ill-formed: ",
    };
    [text, name].concat()
}

/// The name as the caller wrote it, in parts.
fn name_of<'a>(to: &CallHead<'a>) -> [&'a [u8]; 3] {
    [to.service, b".", to.method]
}

/// The name in the head of a reply that was begun, behind its definition where that is there.
fn written_name(head: &[u8]) -> &[u8] {
    let mut rest = head;
    while let Ok(Some(message)) = Message::first(rest, rest.len()) {
        if !message.is_definition() {
            let mut value = Cursor::new(message.rest());
            return match value.uint() {
                Ok(1) => value.bytes().unwrap_or_default(),
                _ => &[],
            };
        }
        rest = rest.get(message.length()..).unwrap_or_default();
    }
    &[]
}

#[inline]
fn call_head<'a>(head: &Head<'a>, service: &'a [u8], method: &'a [u8]) -> CallHead<'a> {
    CallHead {
        id: head.seq,
        service,
        method,
        again: false,
        metadata: Pairs::empty(),
        serialization: Serialization::Gob,
        compression: Compression::None,
        one_way: false,
        note: 0,
        repeats: if head.error.is_empty() { head.repeats } else { &[] },
        uri: &[],
    }
}
