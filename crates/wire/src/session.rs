//! The trait that every wire implements.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::{
    CallHead, Compression, Event, Failure, InvalidMetadata, Limits, Metadata, MethodNumbers, Pairs, PushHead,
    Report, Serialization, Traffic, WireError,
};

/// What one look at the input brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step<'a> {
    /// How many bytes of the input are dealt with; the driver does not show them again.
    pub consumed: usize,
    /// What happened.
    pub next: Next<'a>,
}

/// What the driver does after a [`Step`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next<'a> {
    /// Something happened; look again with the rest of the input.
    Event(Event<'a>),
    /// Something was dealt with inside the session (a heartbeat, a system call); look again.
    Again,
    /// The input ends within a frame: look again when there is more. The number is how many bytes the whole
    /// frame has from the start of the unconsumed input, or 0 where that is not yet known. It is within the
    /// limits.
    NeedMore(usize),
    /// The limit of calls in flight is reached: look again after a call has ended.
    Blocked,
}

/// A whole reply that went well, without metadata and not compressed: what nearly all replies are. Made by
/// [`Session::plain_reply`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainReply {
    /// The call that it answers.
    pub id: u64,
    /// Where its body lies in the input. The reply ends where the body does.
    pub body: Range<usize>,
}

/// The state machine of one wire on one connection, for one role. See the crate's documentation.
///
/// Four kinds of methods: [`receive`](Session::receive) takes bytes in; `call`, `reply`, `data`, `push`,
/// `cancel`, `forget`, `ping`, `drain` append bytes to `out`; `hold` and `release` change the state only;
/// the rest are getters. `out` is only ever appended to, except by [`finish`](Session::finish).
///
/// Each [`Event::Call`] or [`Event::Refused`] takes one place of [`Limits::calls`]; the place is given back by
/// the `reply` or `data` that ends the answer, or by `forget`.
pub trait Session: Send + 'static {
    /// The wire's name, for logs and errors.
    const NAME: &'static str;

    /// Whether bodies can be streamed in several frames on this wire.
    const STREAMS: bool;

    /// Whether a server can send messages of its own on this wire.
    const PUSHES: bool;

    /// Whether a server's session counts what goes over it ([`report`](Session::report)).
    const REPORTS: bool = false;

    /// The session of the side that answers calls. Limits that are shared (`Arc<Limits>`) are not copied.
    fn server(limits: &(impl Into<Arc<Limits>> + Clone)) -> Self
    where
        Self: Sized;

    /// The session of the side that makes calls.
    fn client(limits: &(impl Into<Arc<Limits>> + Clone)) -> Self
    where
        Self: Sized;

    /// Appends what a client says first of all on a new connection, if anything.
    fn greet(&mut self, out: &mut Vec<u8>);

    /// Looks at the bytes that the peer sent and have not been consumed, and says what the first of them mean.
    /// Answers that the framework has no part in (heartbeats) are appended to `out`.
    ///
    /// What [`held`](Session::held) gave is an input like any other, and the session knows it again.
    ///
    /// # Errors
    /// The connection must be closed: nothing after the bad bytes can be trusted.
    fn receive<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> Result<Step<'a>, WireError>;

    /// The reply that the input begins with, where it is whole and plain and this wire can tell so at a glance (client).
    /// What [`receive`](Session::receive) would say of it is the same, and nothing of the session has changed. `None` says
    /// nothing: `receive` has to look.
    fn plain_reply(&self, input: &[u8]) -> Option<PlainReply> {
        let _ = input;
        None
    }

    /// Appends a call (client). Where `frame.end` is false its body goes on with [`data`](Session::data).
    ///
    /// # Errors
    /// The wire cannot say it; nothing was appended, and the connection is as good as before.
    fn call(&mut self, frame: &CallFrame<'_>, out: &mut Vec<u8>) -> Result<(), WireError>;

    /// Appends a call that is like the last [plain](CallFrame::is_plain) one that [`call`](Session::call) appended, but for
    /// its number and its body (client). Whether this was done; where it was not nothing was appended, and the call is to
    /// be made by `call`.
    fn call_again(&mut self, id: u64, body: &[u8], out: &mut Vec<u8>) -> bool {
        let _ = (id, body, out);
        false
    }

    /// Appends the reply to a call (server), now or, on a wire that keeps the order, as soon as it is its turn.
    /// Nothing is written for a one-way call. Where `frame.end` is false its body goes on with
    /// [`data`](Session::data). A body that has begun and fails midway is ended by a second `reply` with the
    /// failure; the client's session tells it as an [`Event::Reply`] with the failure.
    ///
    /// # Errors
    /// The wire cannot say it; nothing was appended, and the call still waits for a reply that it can.
    fn reply(
        &mut self,
        to: &CallHead<'_>,
        frame: &ReplyFrame<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError>;

    /// Begins a good reply whose body the caller then appends to `out` itself, and ends with
    /// [`finish`](Session::finish): the path without a copy. `None` where this wire cannot do that for this
    /// call, and then nothing was appended. Until `finish` nothing has changed: cutting `out` back undoes it.
    fn begin(&mut self, to: &CallHead<'_>, out: &mut Vec<u8>) -> Option<Mark>;

    /// Ends what [`begin`](Session::begin) began: all that was appended to `out` since is the body. Where that is
    /// over [`Limits::body`] the reply becomes a failure that names the limit; a driver that wants to say it in
    /// its own words looks at the length before, cuts `out` back to [`Mark::start`] and calls
    /// [`reply`](Session::reply) instead.
    fn finish(&mut self, mark: Mark, out: &mut Vec<u8>);

    /// Appends one more frame of a body that began with `end` false. It is called only while the call
    /// [`may_write`](Session::may_write).
    ///
    /// # Errors
    /// The wire cannot say it; nothing was appended.
    fn data(&mut self, id: u64, body: &[u8], end: bool, out: &mut Vec<u8>) -> Result<(), WireError>;

    /// Appends a message of the server's own (server).
    ///
    /// # Errors
    /// The wire has no such thing; nothing was appended.
    fn push(&mut self, frame: &PushFrame<'_>, out: &mut Vec<u8>) -> Result<(), WireError>;

    /// Whether a frame of this call's body (the reply's at a server, the request's at a client) can leave now. A
    /// wire that keeps the order says no until it is its turn, and the driver leaves the frames with their
    /// stream: so nobody has to keep a body of any length. The turn comes by a `reply`, `data`, `forget` or
    /// `cancel` of another call, at a client also by what it receives.
    fn may_write(&self, id: u64) -> bool {
        let _ = id;
        true
    }

    /// The call has ended without a reply that is worth writing. At a server the place in flight is free
    /// again, and a wire that keeps the order appends what stands for the reply; at a client a reply that still
    /// comes is consumed and completes nothing.
    fn forget(&mut self, id: u64, out: &mut Vec<u8>);

    /// Tells the server that nobody waits for the answer (client), where the peer can understand it; does what
    /// [`forget`](Session::forget) does too. Returns whether anything was appended.
    fn cancel(&mut self, id: u64, out: &mut Vec<u8>) -> bool;

    /// Appends a heartbeat. Returns whether the wire has one and the peer will answer it ([`Event::Pong`]).
    fn ping(&mut self, out: &mut Vec<u8>) -> bool;

    /// Announces that this side will stop (server), where the peer can understand it. Returns whether anything
    /// was appended.
    fn drain(&mut self, out: &mut Vec<u8>) -> bool;

    /// A frame that the session has kept back and that may be looked at now: whole, as it came. It is to be given to
    /// [`receive`](Session::receive) as an input of its own, so that the event borrows from it; until that has
    /// consumed it, the same frame is given again. What is kept is bounded: [`Next::Blocked`] beyond it.
    fn held(&mut self) -> Option<Bytes> {
        None
    }

    /// Metadata that a call or a reply carries in its URI, on a wire where the head's own pairs are always empty.
    ///
    /// # Errors
    /// It is there, but broken or over its limits.
    fn metadata_of(&self, uri: &[u8], limits: &Limits) -> Result<Metadata, InvalidMetadata> {
        let _ = (uri, limits);
        Ok(Metadata::new())
    }

    /// The text of a [`Failure`], without the escapes of a wire that sends it with some. What is no text is replaced.
    fn text(message: &[u8]) -> Cow<'_, str>
    where
        Self: Sized,
    {
        String::from_utf8_lossy(message)
    }

    /// No more frames of this call's body, please, until [`release`](Session::release). Returns whether the
    /// session can hold back this call alone, or knows that its peer soon does; what still comes until then is kept. Where
    /// it cannot, the driver stops reading the connection.
    fn hold(&mut self, id: u64) -> bool {
        let _ = id;
        false
    }

    /// The frames of this call's body may come again; the peer may have to be told.
    fn release(&mut self, id: u64, out: &mut Vec<u8>) {
        let _ = (id, out);
    }

    /// Counts what it sends by methods, too, from now on (server).
    fn count_methods(&mut self, numbers: MethodNumbers) {
        let _ = numbers;
    }

    /// What was sent by method since this was asked last, by the methods' numbers, in no order. Nothing is said of what
    /// was received.
    fn take_sent(&mut self) -> Vec<(u32, Traffic)> {
        Vec::new()
    }

    /// What went over the connection so far (server). It is made anew each time; nothing of it is kept.
    fn report(&self) -> Report {
        Report::default()
    }

    /// How many calls are in flight: begun by the peer and not yet answered (server).
    fn in_flight(&self) -> usize;
}

/// A place in `out` where a reply begins; made by [`Session::begin`].
#[derive(Debug, Clone, Copy)]
#[must_use = "a reply that was begun must be finished"]
pub struct Mark {
    /// Where the frame starts in `out`.
    pub start: usize,
    /// Where its body starts in `out`.
    pub body: usize,
    /// The call that it answers.
    pub id: u64,
}

/// One call on its way out.
#[derive(Debug, Clone, Copy)]
pub struct CallFrame<'a> {
    /// Ties the reply to the call; the caller chooses one that is not in flight.
    pub id: u64,
    /// The service's name.
    pub service: &'a str,
    /// The method's name.
    pub method: &'a str,
    /// The caller's metadata.
    pub metadata: Pairs<'a>,
    /// Metadata that the framework adds to this attempt (the time that is left, a trace).
    pub extra: &'a [(&'a str, &'a str)],
    /// How the body is serialised.
    pub serialization: Serialization,
    /// How the body is compressed already.
    pub compression: Compression,
    /// No answer is wanted.
    pub one_way: bool,
    /// The body, or its first frame.
    pub body: &'a [u8],
    /// The body is whole.
    pub end: bool,
}

impl CallFrame<'_> {
    /// Whether the call has nothing to say but its names and a whole body, and is answered: what nearly all calls are.
    #[inline]
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let silent = self.metadata.is_empty() && self.extra.is_empty();
        silent && self.end && !self.one_way && self.compression == Compression::None
    }
}

/// One reply on its way out.
#[derive(Debug, Clone, Copy)]
pub struct ReplyFrame<'a> {
    /// Why the call failed, if it did.
    pub failure: Option<Failure<'a>>,
    /// The service's metadata.
    pub metadata: Pairs<'a>,
    /// How the body is compressed already.
    pub compression: Compression,
    /// The body, or its first frame.
    pub body: &'a [u8],
    /// The body is whole.
    pub end: bool,
}

/// One message of the server's own on its way out.
#[derive(Debug, Clone, Copy)]
pub struct PushFrame<'a> {
    /// What it is about; its compression says how `body` is compressed already.
    pub head: PushHead<'a>,
    /// The body.
    pub body: &'a [u8],
}
