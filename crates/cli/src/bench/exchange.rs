//! A wire as the load tool drives it: calls in, answers out. No I/O and no clock.

use std::borrow::Cow;

use trunkline::metadata::SERVER_TIMEOUT;
use trunkline::wire::iip::Iip;
use trunkline::wire::netrpc::NetRpc;
use trunkline::wire::rpcx::{Header, Rpcx};
use trunkline::wire::{CallFrame, Compression, Event, Limits, Next, Session};

use super::plan::Target;
use crate::endpoint::REPLY_LIMIT;

/// How many channels an IIP connection has at most; each of its calls takes the one with the fewest in flight.
const CHANNELS: u32 = 4;

/// The client's side of one connection.
pub(super) trait Exchange: 'static {
    /// A new connection to call this.
    fn new(target: &Target) -> Self;

    /// Appends what a client says first.
    fn greet(&mut self, out: &mut Vec<u8>);

    /// Appends a call. `id` is in no other call in flight.
    ///
    /// # Errors
    /// The wire cannot say it, and why; nothing was appended.
    fn call(&mut self, target: &Target, id: u64, body: &[u8], out: &mut Vec<u8>) -> Result<(), String>;

    /// A call with this body in the form that [`repeat`](Exchange::repeat) takes: the body, once it is seen that the wire
    /// can say it, where a call differs each time by more than its id; else the whole call.
    ///
    /// # Errors
    /// The wire cannot say it, and why.
    fn prepare(target: &Target, body: &[u8]) -> Result<Vec<u8>, String>
    where
        Self: Sized,
    {
        Self::new(target).call(target, 0, body, &mut Vec::new())?;
        Ok(body.to_vec())
    }

    /// Appends a call that was [prepared](Exchange::prepare), with this id.
    ///
    /// # Errors
    /// As for [`call`](Exchange::call).
    #[inline]
    fn repeat(&mut self, target: &Target, id: u64, call: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        self.call(target, id, call, out)
    }

    /// Looks at the unread bytes: how many of them are dealt with, and what they say.
    ///
    /// # Errors
    /// The peer breaks the rules of the wire, and which: the connection must be closed.
    fn receive(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(usize, Heard), String>;

    /// The call is not waited for any longer. Whether the connection can go on; what tells the peer is appended.
    fn give_up(&mut self, id: u64, out: &mut Vec<u8>) -> bool;

    /// How many bytes of bodies came with answers since that was asked last, where anybody wants to know.
    fn take_bodies(&mut self) -> u64 {
        0
    }

    /// Appends what keeps an idle connection, if anything.
    fn ping(&mut self, out: &mut Vec<u8>);
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A call was answered.
    Answer(u64),
    /// A call was failed by the service, with this message.
    Failure(u64, String),
    /// Nothing that matters; look again.
    Nothing,
    /// The rest begins a frame of so many bytes (0: not yet known) that is not all there.
    NeedMore(usize),
    /// The peer takes no more calls on this connection.
    Draining,
    /// The peer is not the one that is meant, and why: there is nothing to call.
    Stranger(String),
}

impl Exchange for Rpcx {
    fn new(_: &Target) -> Self {
        Self::client(&limits())
    }

    fn greet(&mut self, out: &mut Vec<u8>) {
        Session::greet(self, out);
    }

    #[inline]
    fn call(&mut self, target: &Target, id: u64, body: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        call(self, target, id, body, out)
    }

    fn prepare(target: &Target, body: &[u8]) -> Result<Vec<u8>, String> {
        encoded::<Self>(target, body)
    }

    #[inline]
    fn repeat(&mut self, _: &Target, id: u64, call: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let at = out.len();
        out.extend_from_slice(call);
        Header::renumber(out.get_mut(at..).unwrap_or_default(), id);
        Ok(())
    }

    #[inline]
    fn receive(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(usize, Heard), String> {
        receive(self, input, out)
    }

    fn give_up(&mut self, id: u64, out: &mut Vec<u8>) -> bool {
        self.cancel(id, out);
        true
    }

    fn ping(&mut self, out: &mut Vec<u8>) {
        Session::ping(self, out);
    }
}

/// Calls have no id on this wire but a channel and a place in its order, so that the session writes each.
impl Exchange for Iip {
    fn new(target: &Target) -> Self {
        let mut limits = limits();
        limits.client_channels = target.in_flight.min(CHANNELS);
        Self::client(&limits)
    }

    fn greet(&mut self, out: &mut Vec<u8>) {
        Session::greet(self, out);
    }

    #[inline]
    fn call(&mut self, target: &Target, id: u64, body: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        call(self, target, id, body, out)
    }

    #[inline]
    fn receive(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(usize, Heard), String> {
        receive(self, input, out)
    }

    /// The call keeps its place in the order of its channel.
    fn give_up(&mut self, id: u64, out: &mut Vec<u8>) -> bool {
        self.cancel(id, out);
        true
    }

    fn ping(&mut self, out: &mut Vec<u8>) {
        Session::ping(self, out);
    }
}

/// Which types a connection has had differs from one to the next, so that the session writes each call.
impl Exchange for NetRpc {
    fn new(_: &Target) -> Self {
        Self::client(&limits())
    }

    fn greet(&mut self, _: &mut Vec<u8>) {}

    #[inline]
    fn call(&mut self, target: &Target, id: u64, body: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        call(self, target, id, body, out)
    }

    #[inline]
    fn receive(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(usize, Heard), String> {
        receive(self, input, out)
    }

    /// The peer cannot be told; its answer will be one that nobody waits for.
    fn give_up(&mut self, _: u64, _: &mut Vec<u8>) -> bool {
        true
    }

    fn ping(&mut self, _: &mut Vec<u8>) {}
}

/// A whole call with the id 0.
pub(super) fn encoded<X: Exchange>(target: &Target, body: &[u8]) -> Result<Vec<u8>, String> {
    let mut call = Vec::new();
    X::new(target).call(target, 0, body, &mut call)?;
    Ok(call)
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.body = REPLY_LIMIT;
    limits
}

#[inline]
fn call<S: Session>(
    session: &mut S,
    target: &Target,
    id: u64,
    body: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let timeout = [(SERVER_TIMEOUT, target.timeout.as_deref().unwrap_or_default())];
    let frame = CallFrame {
        id,
        service: &target.service,
        method: &target.method,
        metadata: target.metadata.pairs(),
        extra: timeout.get(..usize::from(target.timeout.is_some())).unwrap_or_default(),
        serialization: target.codec,
        compression: Compression::None,
        one_way: false,
        body,
        end: true,
    };
    session.call(&frame, out).map_err(|error| error.to_string())
}

#[inline]
fn receive<S: Session>(session: &mut S, input: &[u8], out: &mut Vec<u8>) -> Result<(usize, Heard), String> {
    if input.is_empty() {
        return Ok((0, Heard::NeedMore(0)));
    }
    // An event is large: it is looked at where it is, not moved.
    match &session.receive(input, out) {
        Ok(step) => Ok((step.consumed, heard::<S>(&step.next))),
        Err(error) => Err(error.to_string()),
    }
}

#[inline]
fn heard<S: Session>(next: &Next<'_>) -> Heard {
    match next {
        Next::Event(Event::Reply { head, end, .. }) => match &head.failure {
            None if *end => Heard::Answer(head.id),
            None => Heard::Nothing,
            Some(failure) => Heard::Failure(head.id, message(S::text(failure.message))),
        },
        Next::Event(Event::Data { id, end: true, .. }) => Heard::Answer(*id),
        Next::Event(Event::ReplyTooLarge { id, got, limit }) => {
            let text = format!("the reply's body of {got} bytes is over the limit of {limit}");
            Heard::Failure(*id, text)
        }
        Next::Event(Event::Draining | Event::Closed) => Heard::Draining,
        Next::NeedMore(length) => Heard::NeedMore(*length),
        // A client's session never holds calls of its peer back.
        Next::Blocked => Heard::NeedMore(0),
        Next::Event(_) | Next::Again => Heard::Nothing,
    }
}

/// A service's message as a text that is never empty.
pub(super) fn message(text: Cow<'_, str>) -> String {
    if text.is_empty() { "failed without a message".to_owned() } else { text.into_owned() }
}
