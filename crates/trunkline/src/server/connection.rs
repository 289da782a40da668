//! The server's side of a connection: from the session's events to the service, and back.

use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use trunkline_wire::{
    CallHead, Compression, Event, Failure, Mark, Metadata, Next, Pairs, Payload, ReplyFrame, Session, Step,
};

use super::Core;
use super::drain::DrainWatch;
use super::router::{Last, Route};
use super::streams::Outflow;
use super::uri;
use super::work::{ReplyTo, Spawned, Work, answer, deadline, failure, name, refusal};
use crate::asked::{Outcome, written_nowhere};
use crate::call::Names;
use crate::codec::gzip;
use crate::context::{ConnectionInfo, MaybeMetadata};
use crate::net::buffers::{owned, share};
use crate::net::compress;
use crate::net::driver::{Close, Received, Role, is_full};
use crate::net::inflows::Inflows;
use crate::net::pending::Pending;
use crate::service::{ReplyBuf, Request, Service, reply_over_limit};
use crate::{Asked, Body, Call, Code, Context, MethodId, Reply, Result, Status};

/// The server's role on one connection that speaks the wire `W`.
pub(crate) struct ServerRole<'a, W, S> {
    pub(super) session: W,
    pub(super) core: &'a Arc<Core<S>>,
    pub(super) info: Arc<ConnectionInfo>,
    drain: DrainWatch,
    /// The method that was called last.
    last: Option<Last>,
    /// Calls whose handler had to wait.
    pending: Pending<ReplyTo, Work<'a>>,
    /// How many bytes of bodies those calls came with.
    held: usize,
    /// Request bodies that still arrive.
    inflows: Inflows,
    /// Replies whose body goes out frame by frame.
    pub(super) outflows: Vec<Outflow>,
    peer_ended: bool,
    /// The server stops. From this moment on a connection without calls is closed: at once would lose calls that
    /// are on their way.
    draining: Option<Instant>,
    pub(super) closing: bool,
    /// A call was refused in a way that ends the connection: nothing more is begun, what was begun is answered.
    refused: bool,
    /// While calls wait unread, or a large one arrives slowly, so do the peer's heartbeats: when to say of our own
    /// accord that we are there.
    blocked_ping: Option<Instant>,
}

/// How often a peer that waits unread hears from us: half of the usual interval of heartbeats.
const BLOCKED_PING: Duration = Duration::from_millis(2500);

/// How long a connection without calls stays when the server stops: long enough for what has arrived already, and
/// where the peer was told, for the calls that it made before it heard; it closes by itself then.
const DRAIN_UNTOLD: Duration = Duration::from_millis(5);
const DRAIN_TOLD: Duration = Duration::from_secs(1);

impl<'a, W: Session, S: Service> ServerRole<'a, W, S> {
    pub(crate) fn new(core: &'a Arc<Core<S>>, info: Arc<ConnectionInfo>) -> Self {
        Self {
            session: W::server(&core.limits),
            core,
            info,
            drain: core.drain.watch(),
            last: None,
            pending: Pending::default(),
            held: 0,
            inflows: Inflows::default(),
            outflows: Vec::new(),
            peer_ended: false,
            draining: None,
            closing: false,
            refused: false,
            blocked_ping: None,
        }
    }

    #[inline]
    fn on_event(&mut self, event: &Event<'_>, batch: &Bytes, out: &mut Vec<u8>) {
        match event {
            Event::Call { head, .. } | Event::Refused { head, .. } if self.refused => {
                let text = "the connection ends: a call before this one was refused";
                let status = Status::new(Code::Unavailable, text).not_begun();
                self.write_failure_to(head, &status, out);
            }
            // Nothing is begun any more; the bodies of what was begun still come.
            Event::Call { head, .. } | Event::Refused { head, .. } if self.ends() => {
                self.session.forget(head.id, out);
            }
            Event::Call { head, body, end } => self.on_call(head, body, *end, batch, out),
            Event::Refused { head, reason } => {
                self.write_failure_to(head, &refusal(*reason), out);
            }
            Event::Data { id, body, end } => {
                self.inflows.hold(&mut self.session, *id, owned(body, batch), *end);
            }
            Event::Cancel { id } => self.on_cancel(*id, out),
            Event::Closed => self.closing = true,
            // A server asks nothing of its clients.
            _ => {}
        }
    }

    fn on_call(
        &mut self,
        head: &CallHead<'_>,
        body: &Payload<'_>,
        end: bool,
        batch: &Bytes,
        out: &mut Vec<u8>,
    ) {
        let found = self.core.router.find_again(&mut self.last, head.service, head.method);
        let inflated;
        let body = match head.compression {
            Compression::None => body,
            Compression::Gzip => match gzip::inflate(body.as_slice(), self.core.limits.body) {
                Ok(bytes) => {
                    inflated = Payload::Owned(bytes.into());
                    &inflated
                }
                Err(error) => return self.write_failure_to(head, &error.into(), out),
            },
        };
        if let Some((route, _)) = found
            && route.in_place
            && end
            && self.answer_in_place(route.id, head, body, batch, out)
        {
            return;
        }
        let held = body.as_slice().len();
        let said = if head.metadata.is_empty() && !head.uri.contains(&b'?') {
            (None, MaybeMetadata::default())
        } else {
            match self.said(head, batch) {
                Ok(said) => said,
                Err(status) => return self.write_failure_to(head, &status, out),
            }
        };
        let mut call = self.make_call(head, found, body, said, batch);
        if !end {
            self.open_body(&mut call, head.id);
        }
        if head.one_way || found.is_some_and(|(route, _)| route.spawned) {
            let spawned = Spawned::begin(self.core, call);
            return self.wait_for(ReplyTo::new(head, found, held, batch), Work::Spawned(spawned));
        }
        let core = self.core;
        let compress = head.compression != Compression::None;
        let mark = if compress { None } else { self.session.begin(head, out) };
        let buffer = mark.map(|_| ReplyBuf::new(out, core.limits.body));
        let mut asked = Asked::new(call, buffer);
        // Most handlers are ready at once. Only one that is not is kept, and asked again with a waker of its own.
        core.stack.start(&mut asked);
        if let (Outcome::Written, Some(mark)) = (&asked.outcome, mark) {
            return self.finish_written(mark, out);
        }
        let outcome = asked.outcome;
        if let Some(mark) = mark {
            out.truncate(mark.start);
        }
        let result = match outcome {
            Outcome::Waits(future) => {
                return self.wait_for(ReplyTo::new(head, found, held, batch), Work::Here(future));
            }
            Outcome::Ended(result) => result,
            Outcome::Written => Err(written_nowhere()),
        };
        match result {
            Ok(Reply { body: Body::Full(body), metadata }) => {
                self.write_waiting_pushes(out);
                self.write_reply(head, metadata.get(), &body, out);
            }
            result => self.finish(ReplyTo::new(head, found, 0, batch), result, out),
        }
    }

    /// Ends a reply that is in the buffer; what the call pushed goes before it.
    #[inline]
    fn finish_written(&mut self, mark: Mark, out: &mut Vec<u8>) {
        if W::PUSHES && self.info.pushes.may_have() {
            return self.finish_after_pushes(mark, out);
        }
        self.session.finish(mark, out);
    }

    #[cold]
    fn finish_after_pushes(&mut self, mark: Mark, out: &mut Vec<u8>) {
        self.session.finish(mark, out);
        let reply = out.split_off(mark.start);
        self.write_waiting_pushes(out);
        out.extend_from_slice(&reply);
    }

    fn wait_for(&mut self, to: ReplyTo, work: Work<'a>) {
        self.held = self.held.saturating_add(to.held);
        self.pending.insert(to, work);
    }

    /// The fast path: a plain `fn` reads the body where it lies and writes its reply where it leaves from.
    fn answer_in_place(
        &mut self,
        method: MethodId,
        head: &CallHead<'_>,
        body: &Payload<'_>,
        batch: &Bytes,
        out: &mut Vec<u8>,
    ) -> bool {
        let limit = self.core.limits.body;
        let request = Request { method, head, body: body.as_slice(), peer: &self.info.peer };
        let compress = head.compression != Compression::None;
        let mark = if compress { None } else { self.session.begin(head, out) };
        let Some(mark) = mark else {
            let mut scratch = Vec::new();
            let result = answer(&self.core.stack, &request, &mut scratch, limit);
            let Some(result) = result else { return false };
            let to = ReplyTo::as_sent(head, batch);
            self.finish(to, result.map(|()| Reply::new(scratch)), out);
            return true;
        };
        match answer(&self.core.stack, &request, out, limit) {
            Some(Ok(())) => self.session.finish(mark, out),
            Some(Err(status)) => {
                out.truncate(mark.start);
                self.write_failure_to(head, &status, out);
            }
            None => {
                out.truncate(mark.start);
                return false;
            }
        }
        true
    }

    /// The call as its handler gets it, with what has come of its body.
    #[inline(always)]
    fn make_call(
        &self,
        head: &CallHead<'_>,
        found: Option<(Route, bool)>,
        body: &Payload<'_>,
        (deadline, metadata): (Option<Instant>, MaybeMetadata),
        batch: &Bytes,
    ) -> Call {
        let route = found.map(|(route, _)| route);
        let names = route.and_then(|route| self.core.router.names(route.id)).cloned();
        let names = names.unwrap_or_else(|| Names::new(name(head.service), name(head.method)));
        let looked_at = route.is_none_or(|route| route.context);
        Call {
            method: route.map(|route| route.id),
            serialization: head.serialization,
            one_way: head.one_way,
            idempotent: false,
            compress: false,
            streams: false,
            // Where it is made is where it stays: what is moved as soon as it is written waits for its own bytes.
            body: Body::Full(owned(body, batch)),
            context: Context {
                deadline,
                metadata,
                connection: looked_at.then(|| Arc::clone(&self.info)),
                names,
            },
        }
    }

    /// What the caller has said beside names and body: how long it waits, and metadata.
    fn said(&self, head: &CallHead<'_>, batch: &Bytes) -> Result<(Option<Instant>, MaybeMetadata)> {
        let limits = &self.core.limits;
        let metadata = if head.uri.is_empty() {
            head.metadata.share(|bytes| share(batch, bytes))
        } else {
            let own = self.session.metadata_of(head.uri, limits);
            let own = own.map_err(|error| Status::new(Code::InvalidInput, error.to_string()).not_begun())?;
            uri::metadata_of(head.uri, &own, limits)
        };
        Ok((deadline(metadata.pairs()), MaybeMetadata::new(metadata)))
    }

    /// The body of a call goes on after what has come.
    #[cold]
    fn open_body(&mut self, call: &mut Call, id: u64) {
        if let Body::Full(first) = std::mem::take(&mut call.body) {
            call.body = self.inflows.open(id, first, self.core.limits.body).into();
        }
        call.context.connection = Some(Arc::clone(&self.info));
    }

    fn on_cancel(&mut self, id: u64, out: &mut Vec<u8>) {
        if let Some(to) = self.pending.remove(|to| to.id == id) {
            self.held = self.held.saturating_sub(to.held);
            self.session.forget(id, out);
        }
        if let Some(index) = self.outflows.iter().position(|flow| flow.to.id == id) {
            self.outflows.swap_remove(index);
            self.session.forget(id, out);
        }
        drop(self.inflows.take(&mut self.session, id));
    }

    /// Writes what came of a call, after what it pushed.
    fn finish(&mut self, to: ReplyTo, result: Result<Reply>, out: &mut Vec<u8>) {
        self.write_waiting_pushes(out);
        match result {
            Ok(Reply { body: Body::Full(body), metadata }) => {
                let core = self.core;
                self.write_reply(&to.head(&core.router), metadata.get(), &body, out);
            }
            Ok(Reply { body: Body::Stream(stream), metadata }) if W::STREAMS && !to.one_way => {
                let metadata = metadata.into_inner();
                self.outflows.push(Outflow { to, metadata, stream, begun: false });
            }
            Ok(Reply { body: Body::Stream(_), .. }) => {
                let text = format!("the {} wire cannot carry a streamed reply", W::NAME);
                self.write_failure(&to, &Status::new(Code::Unsupported, text), out);
            }
            Err(status) => self.write_failure(&to, &status, out),
        }
    }

    #[inline]
    fn write_reply(&mut self, to: &CallHead<'_>, metadata: &Metadata, body: &Bytes, out: &mut Vec<u8>) {
        if body.len() > self.core.limits.body {
            return self.write_failure_to(to, &reply_over_limit(self.core.limits.body), out);
        }
        let compressed = match to.compression {
            Compression::Gzip => compress::worth_it(body),
            Compression::None => None,
        };
        let frame = ReplyFrame {
            failure: None,
            metadata: metadata.pairs(),
            compression: if compressed.is_some() { Compression::Gzip } else { Compression::None },
            body: compressed.as_deref().unwrap_or(body),
            end: true,
        };
        if let Err(error) = self.session.reply(to, &frame, out) {
            self.write_failure_to(to, &Status::new(Code::Internal, error.to_string()), out);
        }
    }

    fn write_failure(&mut self, to: &ReplyTo, status: &Status, out: &mut Vec<u8>) {
        let core = self.core;
        self.write_failure_to(&to.head(&core.router), status, out);
    }

    #[cold]
    fn write_failure_to(&mut self, head: &CallHead<'_>, status: &Status, out: &mut Vec<u8>) {
        if status.ends_connection() && !self.refused {
            self.refused = true;
            // Whoever understands it makes its other calls elsewhere.
            self.session.drain(out);
        }
        drop(self.inflows.take(&mut self.session, head.id));
        let frame = ReplyFrame {
            failure: Some(failure(status)),
            metadata: Pairs::empty(),
            compression: Compression::None,
            body: &[],
            end: true,
        };
        if let Err(error) = self.session.reply(head, &frame, out) {
            // A wire that cannot say a failure's text or details can say the beginning of the text.
            tracing::warn!(wire = W::NAME, %error, "a failure could not be written whole");
            let text = status.message();
            let beginning = text.get(..text.floor_char_boundary(4096)).unwrap_or_default();
            let short = format!("{beginning}... (the text of {} bytes is cut: {error})", text.len());
            let short = Failure::text(short.as_bytes());
            if self.session.reply(head, &ReplyFrame { failure: Some(short), ..frame }, out).is_err() {
                self.session.forget(head.id, out);
            }
        }
    }

    /// Whether an answer is still to be written. One-way calls have none, and go on without their connection.
    fn is_waited_for(&self) -> bool {
        let one_way = self.pending.keys().filter(|to| to.one_way).count();
        self.session.in_flight() > one_way
    }

    /// Whether the connection ends with its last call: the server's stop has come to it, or a call was refused.
    fn ends(&self) -> bool {
        self.refused || self.draining.is_some_and(|at| at <= Instant::now())
    }

    /// Asks the calls that were woken, or are new among those that wait. Whether one has ended.
    fn poll_pending(&mut self, cx: &mut TaskContext<'_>, out: &mut Vec<u8>) -> bool {
        let mut ended = false;
        while !is_full(out) {
            let Poll::Ready((to, result)) = self.pending.poll_next(cx, Work::poll) else {
                break;
            };
            self.held = self.held.saturating_sub(to.held);
            self.finish(to, result, out);
            ended = true;
        }
        ended
    }

    /// Deals with bytes of `batch` from `start` on.
    pub(super) fn receive_from(
        &mut self,
        batch: &Bytes,
        start: usize,
        cx: &mut TaskContext<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Received, Close> {
        let mut at = start;
        loop {
            if self.closing {
                self.poll_pending(cx, out);
                return Ok(Received::Upto(batch.len(), 0));
            }
            if is_full(out) {
                return Ok(Received::Full(at));
            }
            if self.inflows.pass_on(&mut self.session, cx, |_, _| {}) {
                // The reader may be a handler that is new and has not been asked with a waker of its own.
                self.poll_pending(cx, out);
                return Ok(Received::Blocked(at));
            }
            if self.held >= self.core.limits.held && !self.poll_pending(cx, out) {
                return Ok(Received::Blocked(at));
            }
            let input = batch.get(at..).unwrap_or_default();
            // An event is large: it is looked at where it is, not moved.
            match self.session.receive(input, out) {
                Ok(Step { consumed, next: Next::Event(ref event) }) => {
                    at = at.saturating_add(consumed);
                    self.on_event(event, batch, out);
                }
                Ok(Step { consumed, next: Next::Again }) => at = at.saturating_add(consumed),
                Ok(Step { consumed, next: Next::NeedMore(frame) }) => {
                    self.poll_pending(cx, out);
                    return Ok(Received::Upto(at.saturating_add(consumed), frame));
                }
                Ok(Step { consumed, next: Next::Blocked }) => {
                    at = at.saturating_add(consumed);
                    if !self.poll_pending(cx, out) {
                        return Ok(Received::Blocked(at));
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl<W: Session, S: Service> Role for ServerRole<'_, W, S> {
    fn advance(&mut self, cx: &mut TaskContext<'_>, out: &mut Vec<u8>) -> Result<(), Close> {
        if self.draining.is_none() && self.drain.poll_begun(cx).is_ready() {
            let told = self.session.drain(out);
            self.draining = Some(Instant::now() + if told { DRAIN_TOLD } else { DRAIN_UNTOLD });
        }
        self.write_pushes(cx, out);
        if self.blocked_ping.is_some_and(|at| at <= Instant::now()) {
            self.session.ping(out);
            self.blocked_ping = Some(Instant::now() + BLOCKED_PING);
        }
        self.poll_pending(cx, out);
        if is_full(out) {
            cx.waker().wake_by_ref();
        }
        self.inflows.pass_on(&mut self.session, cx, |_, _| {});
        self.follow_up(cx, out).map(|_| ())
    }

    fn advance_unsent(&mut self, _: &mut TaskContext<'_>) -> bool {
        // Who does not read answers is not read from.
        false
    }

    fn receive(
        &mut self,
        batch: &Bytes,
        start: usize,
        cx: &mut TaskContext<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Received, Close> {
        let mut received = self.receive_from(batch, start, cx, out)?;
        while self.follow_up(cx, out)?
            && let Received::Blocked(from) = received
        {
            // What the session had kept back before it is dealt with, so its turn may have come.
            received = self.receive_from(batch, from, cx, out)?;
        }
        match received {
            Received::Blocked(_) => {
                self.blocked_ping.get_or_insert_with(|| Instant::now() + BLOCKED_PING);
            }
            _ => self.blocked_ping = None,
        }
        Ok(received)
    }

    fn peer_ended(&mut self) -> bool {
        self.peer_ended = true;
        self.is_waited_for()
    }

    fn leaves(&self) -> bool {
        self.draining.is_some()
    }

    fn heard(&mut self) {
        self.blocked_ping.get_or_insert_with(|| Instant::now() + BLOCKED_PING);
    }

    fn is_done(&self) -> bool {
        self.closing || (self.peer_ended || self.ends()) && !self.is_waited_for()
    }

    fn wake_at(&self, unsent: bool) -> Option<Instant> {
        if unsent {
            return None;
        }
        let draining = self.draining.filter(|at| self.session.in_flight() == 0 && Instant::now() < *at);
        [self.blocked_ping, draining].into_iter().flatten().min()
    }

    const ANSWERS: bool = true;
}

impl<W, S> Drop for ServerRole<'_, W, S> {
    fn drop(&mut self) {
        self.info.pushes.close();
    }
}
