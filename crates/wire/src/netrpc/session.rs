//! The state of one connection, for both roles: the two values of each call are put together here.

use std::sync::Arc;

use super::head::{Head, HeadWriter, Heads};
use super::scan::{Behind, behind, define_all, on_wire};
use super::{MAX_ERROR, NAME, REQUEST, RESPONSE, too_large, unsupported, wide};
use crate::gob::{Incoming, MAX_DEFINITION, Message, Outgoing, length};
use crate::role::{Role, read_past};
use crate::{CallFrame, CallHead, Limits, Mark, Next, PushFrame, ReplyFrame, Session, Step, WireError};

/// The net/rpc session.
///
/// - Metadata of calls and replies is left out: the wire has none. Nor does it know calls without an answer; one is made
///   as any other, and its answer completes nothing.
/// - A body with `end` false, or a compressed one, is [`WireError::Unsupported`].
#[derive(Debug)]
pub struct NetRpc {
    pub(super) limits: Arc<Limits>,
    pub(super) role: Role,
    pub(super) incoming: Incoming,
    pub(super) outgoing: Outgoing,
    heads: Heads,
    pub(super) head: HeadWriter,
    /// So many bytes of a body that is too large are still to be read past.
    skip: usize,
    /// Calls that were given to the driver and not yet answered.
    pub(super) in_flight: usize,
}

impl NetRpc {
    fn new(role: Role, limits: Arc<Limits>) -> Self {
        let mut outgoing = Outgoing::new(&limits);
        let definition = if role == Role::Server { RESPONSE } else { REQUEST };
        Self {
            role,
            incoming: Incoming::new(&limits),
            limits,
            head: HeadWriter::new(definition, &mut outgoing),
            outgoing,
            heads: Heads::default(),
            skip: 0,
            in_flight: 0,
        }
    }

    /// The most bytes of a head's message.
    #[inline]
    fn head_limit(&self) -> usize {
        // The names of the fields' numbers and lengths take less than 64 bytes.
        let text = if self.role == Role::Client { MAX_ERROR } else { 0 };
        self.limits.names.saturating_add(text).saturating_add(64)
    }

    /// The two values of a call or a reply as Go's programs write them one after another: all there, and of types that
    /// are known. It is [`step`](Self::step) for them alone, without what it has to ask for all others.
    #[inline(always)]
    fn usual<'a>(&self, input: &'a [u8]) -> Option<(Head<'a>, Message<'a>, usize)> {
        if self.skip > 0 || self.role == Role::Server && self.in_flight >= self.limits.calls {
            return None;
        }
        let first = Message::usual(input)?;
        if first.length() > self.head_limit() {
            return None;
        }
        let head = self.heads.read_plain(&first)?;
        let value = Message::usual(input.get(first.length()..)?)?;
        let consumed = first.length().saturating_add(value.length());
        (!value.is_definition() && value.length() <= self.limits.body).then_some((head, value, consumed))
    }

    /// Looks at one message, or at the two of a call or a reply.
    fn step<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> Result<Step<'a>, WireError> {
        if self.skip > 0 {
            return Ok(read_past(&mut self.skip, input));
        }
        let limit = self.head_limit();
        let message = match Message::first(input, limit.max(MAX_DEFINITION)).map_err(on_wire)? {
            Some(message) if message.is_definition() => {
                self.incoming.define(&message).map_err(on_wire)?;
                return Ok(Step { consumed: message.length(), next: Next::Again });
            }
            Some(message) if message.length() > limit => {
                return Err(too_large("head", wide(message.length()), limit, "names"));
            }
            Some(message) => message,
            None => {
                let known = length(input).ok().flatten();
                let whole = known.map_or(0, |(width, length)| {
                    usize::try_from(length).unwrap_or(usize::MAX).saturating_add(width)
                });
                return Ok(Step { consumed: 0, next: Next::NeedMore(whole) });
            }
        };
        if self.role == Role::Server && self.in_flight >= self.limits.calls {
            return Ok(Step { consumed: 0, next: Next::Blocked });
        }
        let head = self.heads.read(self.incoming.types(), &message).map_err(on_wire)?;
        let begin = message.length();
        let (at, value) = match behind(input, begin, &self.incoming, &self.limits)? {
            Behind::More(whole) => return Ok(Step { consumed: 0, next: Next::NeedMore(whole) }),
            Behind::Whole(at, value) => (at, Ok(value)),
            Behind::Large(at, whole) => (at, Err(whole)),
        };
        define_all(&mut self.incoming, input.get(begin..at).unwrap_or_default())?;
        match value {
            Ok(value) => self.deal(&head, &value, at.saturating_add(value.length()), out),
            Err(whole) => self.oversize(&head, input, (at, whole), out),
        }
    }

    /// Both values of a call or a reply are there, and take so many bytes of the input.
    #[inline]
    fn deal<'a>(
        &mut self,
        head: &Head<'a>,
        value: &Message<'a>,
        consumed: usize,
        out: &mut Vec<u8>,
    ) -> Result<Step<'a>, WireError> {
        // Each arm ends in the return itself: an event is large, and one common end would copy it.
        match self.role {
            Role::Server => self.called(head, value, consumed, out),
            Role::Client => Ok(self.replied(head, value, consumed)),
        }
    }

    /// A body over the limit: what was understood is said at once, the body is read past.
    #[cold]
    fn oversize<'a>(
        &mut self,
        head: &Head<'a>,
        input: &'a [u8],
        (at, whole): (usize, usize),
        out: &mut Vec<u8>,
    ) -> Result<Step<'a>, WireError> {
        let next = match self.role {
            Role::Server => self.refuse(head, whole, out)?,
            Role::Client => self.reply_too_large(head, whole),
        };
        let here = whole.min(input.len().saturating_sub(at));
        self.skip = whole.saturating_sub(here);
        Ok(Step { consumed: at.saturating_add(here), next })
    }
}

impl Session for NetRpc {
    const NAME: &'static str = NAME;
    const STREAMS: bool = false;
    const PUSHES: bool = false;

    fn server(limits: &(impl Into<Arc<Limits>> + Clone)) -> Self {
        Self::new(Role::Server, limits.clone().into())
    }

    fn client(limits: &(impl Into<Arc<Limits>> + Clone)) -> Self {
        Self::new(Role::Client, limits.clone().into())
    }

    fn greet(&mut self, _: &mut Vec<u8>) {}

    #[inline]
    fn receive<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> Result<Step<'a>, WireError> {
        match self.usual(input) {
            Some((head, value, consumed)) => self.deal(&head, &value, consumed, out),
            None => self.step(input, out),
        }
    }

    #[inline]
    fn call(&mut self, frame: &CallFrame<'_>, out: &mut Vec<u8>) -> Result<(), WireError> {
        self.encode_call(frame, out)
    }

    #[inline]
    fn reply(
        &mut self,
        to: &CallHead<'_>,
        frame: &ReplyFrame<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        self.encode_reply(to, frame, out)
    }

    #[inline]
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

    fn push(&mut self, _: &PushFrame<'_>, _: &mut Vec<u8>) -> Result<(), WireError> {
        Err(unsupported("a server has no messages of its own"))
    }

    fn forget(&mut self, _: u64, _: &mut Vec<u8>) {
        // A client keeps nothing about its calls; at a server the count is all there is.
        self.ended();
    }

    fn cancel(&mut self, _: u64, _: &mut Vec<u8>) -> bool {
        false
    }

    fn ping(&mut self, _: &mut Vec<u8>) -> bool {
        false
    }

    fn drain(&mut self, _: &mut Vec<u8>) -> bool {
        false
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }
}
