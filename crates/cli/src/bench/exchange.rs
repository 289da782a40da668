//! A wire as the load tool drives it: calls in, answers out. No I/O and no clock.

use trunkline::wire::rpcx::{Header, Rpcx};
use trunkline::wire::{CallFrame, Compression, Event, Limits, Next, Session};

use super::plan::Target;
use crate::endpoint::REPLY_LIMIT;

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

    /// Appends a call that [`call`](Exchange::call) has encoded on a connection of its own, with another id.
    fn repeat(&mut self, id: u64, call: &[u8], out: &mut Vec<u8>);

    /// Looks at the unread bytes: how many of them are dealt with, and what they say.
    ///
    /// # Errors
    /// The peer breaks the rules of the wire, and which: the connection must be closed.
    fn receive(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(usize, Heard), String>;

    /// The call is not waited for any longer. Whether the connection can go on; what tells the peer is appended.
    fn give_up(&mut self, id: u64, out: &mut Vec<u8>) -> bool;

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
}

impl Exchange for Rpcx {
    fn new(_: &Target) -> Self {
        let mut limits = Limits::default();
        limits.body = REPLY_LIMIT;
        Self::client(&limits)
    }

    fn greet(&mut self, out: &mut Vec<u8>) {
        Session::greet(self, out);
    }

    #[inline]
    fn call(&mut self, target: &Target, id: u64, body: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let frame = CallFrame {
            id,
            service: &target.service,
            method: &target.method,
            metadata: target.metadata.pairs(),
            extra: &[],
            serialization: target.codec,
            compression: Compression::None,
            one_way: false,
            body,
            end: true,
        };
        Session::call(self, &frame, out).map_err(|error| error.to_string())
    }

    #[inline]
    fn repeat(&mut self, id: u64, call: &[u8], out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(call);
        Header::renumber(out.get_mut(at..).unwrap_or_default(), id);
    }

    #[inline]
    fn receive(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(usize, Heard), String> {
        let step = Session::receive(self, input, out).map_err(|error| error.to_string())?;
        let heard = match step.next {
            Next::Event(Event::Reply { head, .. }) => match head.failure {
                None => Heard::Answer(head.id),
                Some(failure) => Heard::Failure(head.id, message(failure.message)),
            },
            Next::Event(Event::ReplyTooLarge { id, got, limit }) => {
                let text = format!("the reply's body of {got} bytes is over the limit of {limit}");
                Heard::Failure(id, text)
            }
            Next::Event(Event::Draining | Event::Closed) => Heard::Draining,
            Next::NeedMore(length) => Heard::NeedMore(length),
            // A client's session never holds calls of its peer back.
            Next::Blocked => Heard::NeedMore(0),
            Next::Event(_) | Next::Again => Heard::Nothing,
        };
        Ok((step.consumed, heard))
    }

    fn give_up(&mut self, id: u64, out: &mut Vec<u8>) -> bool {
        self.cancel(id, out);
        true
    }

    fn ping(&mut self, out: &mut Vec<u8>) {
        Session::ping(self, out);
    }
}

/// One encoded call with this body, to be repeated.
///
/// # Errors
/// The wire cannot say it, and why.
pub(super) fn encoded<X: Exchange>(target: &Target, body: &[u8]) -> Result<Vec<u8>, String> {
    let mut call = Vec::new();
    X::new(target).call(target, 0, body, &mut call)?;
    Ok(call)
}

/// A service's message as a text that is never empty.
pub(super) fn message(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "failed without a message".to_owned();
    }
    String::from_utf8_lossy(bytes).into_owned()
}
