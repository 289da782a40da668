//! The state of one connection, for both roles: what comes in is told apart here, once for each frame.

use std::sync::Arc;

use super::frame::{Head, check_total, most_but_body};
use super::header::{Header, MAGIC};
use super::usual::{Again, Usual};
use super::{NAME, encode, malformed, too_large, unsupported};
use crate::role::{Role, read_past};
use crate::{
    CallFrame, CallHead, Event, Limits, Mark, Next, Payload, PlainReply, PushFrame, ReplyFrame, Session,
    Step, WireError,
};

/// The rpcx session.
///
/// - Replies and pushes are written whole: a frame with `end` false is [`WireError::Unsupported`].
/// - [`ping`](Session::ping), [`cancel`](Session::cancel) and [`drain`](Session::drain) beyond what a Go peer
///   echoes are said only to a peer that is known to be Trunkline. A cancel that comes before that is known is
///   kept, and said when it is.
#[derive(Debug)]
pub struct Rpcx {
    pub(super) limits: Arc<Limits>,
    pub(super) role: Role,
    /// The peer has said that it is Trunkline too.
    pub(super) trunkline: bool,
    /// The question whether the peer is Trunkline was asked.
    pub(super) asked: bool,
    /// What only a client keeps.
    pub(super) client: Option<Box<OfClient>>,
    /// So many bytes of a body that is too large are still to be read past.
    skip: usize,
    /// Calls that were given to the driver and not yet answered.
    pub(super) in_flight: usize,
    /// The sequence number of the next heartbeat (client) or push (server).
    pub(super) next_seq: u64,
    /// The call before this one (server).
    pub(super) usual: Usual,
}

/// What a client keeps that a server has no use for.
#[derive(Debug)]
pub(super) struct OfClient {
    /// Calls that were cancelled before it was known what the server is; `None` when it is.
    pub(super) unsaid: Option<Vec<u64>>,
    /// The frame of the last plain call up to its body; empty before the first one.
    pub(super) last: Vec<u8>,
}

impl Default for OfClient {
    fn default() -> Self {
        Self { unsaid: Some(Vec::new()), last: Vec::new() }
    }
}

/// What a frame is, by its role and flags.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Call,
    Reply,
    Push,
    Heartbeat,
}

impl Rpcx {
    fn new(role: Role, limits: Arc<Limits>) -> Self {
        let next_seq = u64::from(role == Role::Server);
        let client = (role == Role::Client).then(Box::<OfClient>::default);
        let usual = Usual::default();
        Self { limits, role, trunkline: false, asked: false, client, skip: 0, in_flight: 0, next_seq, usual }
    }

    /// Whether the peer has said that it is Trunkline too.
    #[must_use]
    pub fn peer_is_trunkline(&self) -> bool {
        self.trunkline
    }

    /// The number for a frame of this side's own.
    pub(super) fn take_seq(&mut self) -> u64 {
        let seq = self.next_seq;
        self.next_seq = seq.wrapping_add(1);
        seq
    }

    #[inline]
    fn kind(&self, header: &Header) -> Result<Kind, WireError> {
        if header.is_heartbeat() {
            return Ok(Kind::Heartbeat);
        }
        match (self.role, header.is_response(), header.is_one_way()) {
            (Role::Server, false, _) => Ok(Kind::Call),
            (Role::Client, true, _) if header.status() < 2 => Ok(Kind::Reply),
            (Role::Client, false, true) => Ok(Kind::Push),
            (Role::Server, true, _) => Err(malformed("a client sends no response", 2)),
            (Role::Client, true, _) => Err(malformed("unknown status", 2)),
            (Role::Client, false, false) => {
                Err(malformed("a server sends no request that wants an answer", 2))
            }
        }
    }

    /// The head is not whole yet. A reply that is too large whatever its head still says is told at once: its caller
    /// need not wait for bytes that may never come.
    #[cold]
    fn head_begun<'a>(&mut self, kind: Kind, header: &Header, input: &[u8]) -> Result<Step<'a>, WireError> {
        check_total(header, &self.limits)?;
        let limit = self.limits.body;
        let total = usize::try_from(header.total).unwrap_or(usize::MAX);
        // What the body has at the least.
        let got = total.saturating_sub(most_but_body(header, &self.limits));
        if kind != Kind::Reply || got <= limit {
            return Ok(Step { consumed: 0, next: Next::NeedMore(0) });
        }
        let length = total.saturating_add(Header::LENGTH);
        let consumed = length.min(input.len());
        self.skip = length.saturating_sub(consumed);
        let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let event = Event::ReplyTooLarge { id: header.seq, got: wide(got), limit: wide(limit) };
        Ok(Step { consumed, next: Next::Event(event) })
    }

    /// A body over the limit: what was understood is said at once, the body is read past.
    #[cold]
    fn oversize<'a>(&mut self, kind: Kind, head: &Head<'a>) -> Result<Step<'a>, WireError> {
        self.usual.forget();
        let (got, limit) = (head.body_length, self.limits.body);
        let metadata = head.pairs(&self.limits)?;
        let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let event = match kind {
            Kind::Call => self.refuse(head, metadata, wide(got), wide(limit)),
            Kind::Reply => Event::ReplyTooLarge { id: head.header.seq, got: wide(got), limit: wide(limit) },
            Kind::Push => Event::PushTooLarge { got: wide(got), limit: wide(limit) },
            Kind::Heartbeat => return Err(too_large("heartbeat", got, limit, "body_limit")),
        };
        let here = got.min(head.rest.len());
        self.skip = got.saturating_sub(here);
        Ok(Step { consumed: head.length.saturating_add(here), next: Next::Event(event) })
    }

    /// A frame of any kind.
    #[inline(never)]
    fn receive_any<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> Result<Step<'a>, WireError> {
        if self.skip > 0 {
            return Ok(read_past(&mut self.skip, input));
        }
        let Some(chunk) = input.first_chunk() else {
            return match input.first() {
                Some(&first) if first != MAGIC => Err(malformed("the frame does not begin with 08", 0)),
                _ => Ok(Step { consumed: 0, next: Next::NeedMore(0) }),
            };
        };
        let header = Header::decode(chunk)?;
        let kind = self.kind(&header)?;
        if kind == Kind::Call && self.in_flight >= self.limits.calls {
            return Ok(Step { consumed: 0, next: Next::Blocked });
        }
        let Some(head) = Head::decode(header, input, &self.limits)? else {
            return self.head_begun(kind, &header, input);
        };
        if head.body_length > self.limits.body {
            return self.oversize(kind, &head);
        }
        let length = head.length.saturating_add(head.body_length);
        let Some(body) = head.rest.get(..head.body_length) else {
            return Ok(Step { consumed: 0, next: Next::NeedMore(length) });
        };
        let metadata = head.pairs(&self.limits)?;
        // Each arm ends in the return itself: an event is large, and one common end would copy it.
        let event = |event| Ok(Step { consumed: length, next: Next::Event(event) });
        match kind {
            Kind::Call => event(self.called(&head, metadata, body, input)),
            Kind::Reply => event(Self::replied(&head, metadata, body)),
            Kind::Push => event(Self::pushed(&head, metadata, body)),
            Kind::Heartbeat => {
                let next = self.heard(&head, metadata, input.get(..length).unwrap_or_default(), out);
                Ok(Step { consumed: length, next })
            }
        }
    }
}

impl Session for Rpcx {
    const NAME: &'static str = NAME;
    const STREAMS: bool = false;
    const PUSHES: bool = true;

    fn server(limits: &(impl Into<Arc<Limits>> + Clone)) -> Self {
        Self::new(Role::Server, limits.clone().into())
    }

    fn client(limits: &(impl Into<Arc<Limits>> + Clone)) -> Self {
        Self::new(Role::Client, limits.clone().into())
    }

    fn greet(&mut self, out: &mut Vec<u8>) {
        if self.role == Role::Client {
            self.heartbeat(out);
        }
    }

    #[inline(always)]
    fn receive<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> Result<Step<'a>, WireError> {
        // Nothing is known while a body is read past. An event is large: it is made where it is looked at, not moved.
        if self.in_flight < self.limits.calls
            && let Some(Again { head, body, length }) = self.usual.read(input, self.limits.body)
        {
            self.in_flight = self.in_flight.saturating_add(1);
            let event = Event::Call { head, body: Payload::Input(body), end: true };
            return Ok(Step { consumed: length, next: Next::Event(event) });
        }
        self.receive_any(input, out)
    }

    #[inline(always)]
    fn plain_reply(&self, input: &[u8]) -> Option<PlainReply> {
        if self.skip > 0 { None } else { self.at_a_glance(input) }
    }

    #[inline]
    fn call(&mut self, frame: &CallFrame<'_>, out: &mut Vec<u8>) -> Result<(), WireError> {
        self.encode_call(frame, out)
    }

    #[inline(always)]
    fn call_again(&mut self, id: u64, body: &[u8], out: &mut Vec<u8>) -> bool {
        let last = self.client.as_ref().map(|client| &*client.last);
        last.is_some_and(|head| !head.is_empty() && encode::again(head, id, body, out))
    }

    #[inline(always)]
    fn reply(
        &mut self,
        to: &CallHead<'_>,
        frame: &ReplyFrame<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        self.encode_reply(to, frame, out)
    }

    #[inline(always)]
    fn begin(&mut self, to: &CallHead<'_>, out: &mut Vec<u8>) -> Option<Mark> {
        self.begin_reply(to, out)
    }

    #[inline]
    fn finish(&mut self, mark: Mark, out: &mut Vec<u8>) {
        self.finish_reply(mark, out);
    }

    fn data(&mut self, _: u64, _: &[u8], _: bool, _: &mut Vec<u8>) -> Result<(), WireError> {
        Err(unsupported("a body cannot be sent in several frames"))
    }

    fn push(&mut self, frame: &PushFrame<'_>, out: &mut Vec<u8>) -> Result<(), WireError> {
        self.encode_push(frame, out)
    }

    fn forget(&mut self, _: u64, _: &mut Vec<u8>) {
        // A client keeps nothing about its calls; at a server the count is all there is.
        self.ended();
    }

    fn cancel(&mut self, id: u64, out: &mut Vec<u8>) -> bool {
        self.encode_cancel(id, out)
    }

    fn ping(&mut self, out: &mut Vec<u8>) -> bool {
        // A Go client may take the heartbeat of a server for the answer to a call of the same number.
        let answers = self.role == Role::Client || self.trunkline;
        if answers {
            self.heartbeat(out);
        }
        answers
    }

    fn drain(&mut self, out: &mut Vec<u8>) -> bool {
        self.encode_drain(out)
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }
}
