//! The client's side of a connection: what callers put there is written, replies find their slots.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::time::Instant;
use trunkline_wire::{Compression, Event, Metadata, Next, Payload, ReplyHead, Session, rpcx};

use super::calls::Outcome;
use super::heartbeat::Heartbeat;
use super::link::Link;
use super::links::{Links, State, WRITE_AHEAD};
use crate::codec::gzip;
use crate::net::buffers::{owned, share};
use crate::net::driver::{Close, Received, Role, is_full};
use crate::net::inflows::Inflows;
use crate::{Body, BodyStream, Code, Push, Reply, Result, Status};

/// The client's role on one connection.
pub(crate) struct ClientRole<W: Session> {
    link: Arc<Link<W>>,
    /// The link's, nearer at hand.
    links: Arc<Links<W>>,
    number: u64,
    own: Own,
}

/// What the connection's task has to itself: callers do not see it, and it needs no lock.
struct Own {
    /// Wakers of calls that ended in this round; they are woken when the lock is free.
    wakers: Vec<Waker>,
    /// Several callers were woken: they are let run before the task writes again, so that one write takes the
    /// calls of all of them.
    yields: bool,
    /// Reply bodies that still arrive.
    inflows: Inflows,
    heartbeat: Heartbeat,
    peer_ended: bool,
    /// As the link stood when it was looked at last: all is done; when the next call is over time.
    idle: bool,
    next_deadline: Option<Instant>,
    /// When it was looked at last.
    now: Instant,
}

impl<W: Session> ClientRole<W> {
    pub(crate) fn new(link: Arc<Link<W>>) -> Self {
        let now = Instant::now();
        let own = Own {
            wakers: Vec::new(),
            yields: false,
            inflows: Inflows::default(),
            heartbeat: Heartbeat::new(link.settings().heartbeat, now),
            peer_ended: false,
            idle: false,
            next_deadline: None,
            now,
        };
        Self { links: Arc::clone(&link.links), number: link.number, link, own }
    }
}

impl Own {
    /// Notes how the link stands. Whoever changes that wakes the task.
    fn note<W: Session>(&mut self, state: &mut State<W>) {
        self.next_deadline = state.calls.next_deadline();
        state.outlet.task_wakes_at = self.wake_at();
        self.idle = state.closed
            && state.calls.is_empty()
            && state.out.is_empty()
            && state.outflows.is_empty()
            && self.inflows.is_empty();
    }

    /// When the task looks at it all the same.
    fn wake_at(&self) -> Instant {
        let heartbeat = self.heartbeat.at();
        self.next_deadline.map_or(heartbeat, |deadline| deadline.min(heartbeat))
    }

    fn end<W: Session>(&mut self, link: &Link<W>, state: &mut State<W>, id: u64, outcome: Outcome) {
        let ended = state.calls.end(id, outcome);
        self.ended(link, ended);
    }

    /// A call has ended, or there was none.
    #[inline]
    fn ended<W: Session>(&mut self, link: &Link<W>, ended: Option<Option<Waker>>) {
        match ended {
            Some(Some(waker)) => self.wakers.push(waker),
            Some(None) => {}
            None => {
                link.strays.replies.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Takes the replies that are told at a glance, from there on: nearly all. Where the first other thing is.
    #[inline(always)]
    fn take_plain<W: Session>(
        &mut self,
        link: &Link<W>,
        state: &mut State<W>,
        batch: &Bytes,
        mut at: usize,
    ) -> usize {
        while let Some(reply) = batch.get(at..).and_then(|input| state.session.plain_reply(input)) {
            let Range { start, end } = reply.body;
            let (start, end) = (at.saturating_add(start), at.saturating_add(end));
            let outcome = || Ok(Reply::new(Body::Full(batch.slice(start..end))));
            let ended = state.calls.end_with(reply.id, outcome);
            self.ended(link, ended);
            at = end;
        }
        at
    }

    fn on_event<W: Session>(
        &mut self,
        link: &Link<W>,
        state: &mut State<W>,
        event: Event<'_>,
        batch: &Bytes,
    ) {
        match event {
            Event::Reply { head, body, end } => self.on_reply(link, state, &head, &body, end, batch),
            Event::ReplyTooLarge { id, got, limit } => {
                let text = format!(
                    "the reply's body of {got} bytes is over the limit of {limit} bytes (setting body_limit)"
                );
                let status = link.status(Code::TooLarge, text);
                self.end(link, state, id, Err(status));
            }
            Event::Data { id, body, end } => {
                self.inflows.hold(&mut state.session, id, owned(&body, batch), end);
            }
            Event::Push { head, body } => {
                // Where nobody listens nothing is kept.
                let _ =
                    link.pushes.send(Push::received(&head, owned(&body, batch), |bytes| share(batch, bytes)));
            }
            Event::Draining => self.retire(link, state),
            Event::Closed => self.peer_ended = true,
            _ => {}
        }
    }

    /// New calls go elsewhere; those in flight are waited for.
    fn retire<W: Session>(&self, link: &Link<W>, state: &mut State<W>) {
        state.closed = true;
        link.room.notify_waiters();
        link.draining.notify_one();
    }

    fn on_reply<W: Session>(
        &mut self,
        link: &Link<W>,
        state: &mut State<W>,
        head: &ReplyHead<'_>,
        body: &Payload<'_>,
        end: bool,
        batch: &Bytes,
    ) {
        let plain = head.failure.is_none() && head.compression == Compression::None;
        let silent = head.metadata.is_empty() && !head.uri.contains(&b'?');
        if plain && silent && end {
            let outcome = || Ok(Reply::new(Body::Full(owned(body, batch))));
            let ended = state.calls.end_with(head.id, outcome);
            return self.ended(link, ended);
        }
        let outcome = match head.failure {
            Some(failure) => {
                Self::end_outflow(state, head.id);
                let text = W::text(failure.message).into_owned();
                let status = match failure.code {
                    Some(code) => Status::from_wire(code, text),
                    None => Status::new(Code::of_go_text(failure.message), text),
                };
                let said = self.said(link, state, head);
                let details = said.pairs().get_bytes(rpcx::keys::DETAILS.as_bytes()).or(failure.details);
                let details = details.map(Bytes::copy_from_slice);
                let status = status.at(link.origin()).with_details_bytes(details);
                if let Some(sender) = self.inflows.take(&mut state.session, head.id, &mut state.out) {
                    return sender.fail(status); // The body has begun, and fails midway.
                }
                Err(status)
            }
            None => self.body(link, state, head, body, end, batch).map(|body| {
                let reply = Reply::new(body);
                if silent {
                    return reply;
                }
                reply.with_metadata(match head.metadata.is_empty() {
                    true => self.said(link, state, head),
                    false => head.metadata.share(|bytes| share(batch, bytes)),
                })
            }),
        };
        self.end(link, state, head.id, outcome);
    }

    /// What a reply says in its URI, where it has one. What is broken there says nothing.
    fn said<W: Session>(&self, link: &Link<W>, state: &State<W>, head: &ReplyHead<'_>) -> Metadata {
        state.session.metadata_of(head.uri, &link.settings().limits).unwrap_or_default()
    }

    fn body<W: Session>(
        &mut self,
        link: &Link<W>,
        state: &mut State<W>,
        head: &ReplyHead<'_>,
        body: &Payload<'_>,
        end: bool,
        batch: &Bytes,
    ) -> Result<Body> {
        let bytes = match head.compression {
            Compression::Gzip => gzip::inflate(body.as_slice(), link.settings().limits.body)?.into(),
            Compression::None => owned(body, batch),
        };
        if end {
            return Ok(Body::Full(bytes));
        }
        if !state.calls.waits(head.id) {
            return Ok(Body::default());
        }
        Ok(Body::Stream(self.inflows.open(head.id, bytes, link.settings().limits.body)))
    }

    /// Ends what is over time, and tells the server.
    fn expire<W: Session>(&mut self, link: &Link<W>, state: &mut State<W>, now: Instant) {
        let State { calls, session, out, outflows, .. } = state;
        let wakers = &mut self.wakers;
        calls.expire(
            now,
            || Err(link.status(Code::DeadlineExceeded, "context deadline exceeded")),
            |id, waker| {
                session.cancel(id, out);
                outflows.retain(|(other, _)| *other != id);
                wakers.extend(waker);
            },
        );
    }

    /// Tells the server of streamed replies that nobody reads any more.
    fn drop_unread<W: Session>(&mut self, state: &mut State<W>, cx: &mut Context<'_>) {
        let State { session, out, outflows, .. } = state;
        self.inflows.drop_unread(session, cx, |session, id| {
            session.cancel(id, out);
            outflows.retain(|(other, _)| *other != id);
        });
    }

    /// Nobody at the server reads the rest of a request that has failed: its writer is told, and it is ended so
    /// that a wire in order goes on.
    fn end_outflow<W: Session>(state: &mut State<W>, id: u64) {
        if let Some((_, stream)) = state.outflows.iter_mut().find(|(other, _)| *other == id) {
            let (sender, ended) = BodyStream::channel();
            sender.finish();
            *stream = ended;
        }
    }

    /// Takes what callers have written, behind what is there.
    fn take_calls<W: Session>(&mut self, link: &Link<W>, state: &mut State<W>, out: &mut Vec<u8>) {
        if state.out.is_empty() {
            return;
        }
        if state.out.len() >= WRITE_AHEAD {
            link.room.notify_waiters();
        }
        if out.is_empty() {
            std::mem::swap(out, &mut state.out);
        } else {
            out.append(&mut state.out);
        }
        self.heartbeat.said = self.now;
    }

    /// The rest of a call that was sent in part: nothing else may be written before it.
    #[inline(always)]
    fn take_cut<W: Session>(&mut self, link: &Link<W>, state: &mut State<W>, out: &mut Vec<u8>) {
        if std::mem::take(&mut state.outlet.cut) {
            self.take_calls(link, state, out);
        }
    }

    /// Writes the frames of streamed requests that are there and whose turn it is.
    fn write_outflows<W: Session>(&mut self, link: &Link<W>, state: &mut State<W>, cx: &mut Context<'_>) {
        let mut index = 0;
        while let Some((id, stream)) = state.outflows.get_mut(index) {
            let id = *id;
            if is_full(&state.out) {
                return cx.waker().wake_by_ref();
            }
            if !state.session.may_write(id) {
                index += 1;
                continue;
            }
            let Poll::Ready(next) = stream.poll_next(cx) else {
                index += 1;
                continue;
            };
            let (frame, end) = match next {
                Some(Ok(frame)) => (frame, stream.is_finished()),
                None => (Bytes::new(), true),
                Some(Err(status)) => {
                    state.outflows.swap_remove(index);
                    self.give_up(link, state, id, status.at(link.origin()));
                    index = 0;
                    continue;
                }
            };
            match state.session.data(id, &frame, end, &mut state.out) {
                Ok(()) if !end => {}
                Ok(()) => {
                    state.outflows.swap_remove(index);
                    // On a wire that keeps the order it may now be the turn of one that was looked at before.
                    index = 0;
                }
                Err(error) => {
                    state.outflows.swap_remove(index);
                    self.give_up(link, state, id, link.status(Code::Unsupported, error.to_string()));
                    index = 0;
                }
            }
        }
    }

    /// The request's body cannot be sent to its end: the call has failed, and nobody must take what was sent for
    /// the whole.
    fn give_up<W: Session>(&mut self, link: &Link<W>, state: &mut State<W>, id: u64, status: Status) {
        state.session.cancel(id, &mut state.out);
        if state.calls.waits(id) {
            self.end(link, state, id, Err(status));
        }
    }

    fn wake(&mut self) {
        self.yields |= self.wakers.len() > 1;
        self.wakers.drain(..).for_each(Waker::wake);
    }
}

impl<W: Session> Drop for ClientRole<W> {
    /// The connection is gone. Readers are told so, and not that the stream was cut: that is what its maker says.
    fn drop(&mut self) {
        self.own.inflows.fail_all(|| {
            let text = "the connection was lost within the reply";
            self.link.status(Code::Unavailable, text).connection_lost()
        });
    }
}

impl<W: Session> Role for ClientRole<W> {
    fn advance(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Result<(), Close> {
        let Self { link, links, number, own } = self;
        let mut guard = links.get(*number);
        let state = &mut *guard;
        let now = Instant::now();
        (own.now, state.now) = (now, now);
        own.heartbeat.said = state.outlet.sent_at.take().unwrap_or(own.heartbeat.said);
        own.take_cut(link, state, out);
        state.stuck = false;
        // Before all else, so that it never waits behind calls.
        own.heartbeat.beat(&mut state.session, now, out)?;
        own.expire(link, state, now);
        if !own.inflows.is_empty() {
            let State { session, out: calls_out, .. } = &mut *state;
            own.inflows.pass_on(session, cx, out, |session, id| {
                session.cancel(id, calls_out);
            });
            own.drop_unread(state, cx);
        }
        own.write_outflows(link, state, cx);
        own.take_calls(link, state, out);
        if own.yields {
            own.yields = false;
            state.task = None;
            cx.waker().wake_by_ref();
        } else {
            match &mut state.task {
                Some(task) => task.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        state.outlet.free = out.is_empty();
        own.note(state);
        drop(guard);
        own.wake();
        Ok(())
    }

    fn advance_unsent(&mut self, cx: &mut Context<'_>) -> bool {
        let Self { link, links, number, own } = self;
        let mut guard = links.get(*number);
        own.now = Instant::now();
        guard.now = own.now;
        guard.stuck = true;
        own.expire(link, &mut guard, own.now);
        guard.task = Some(cx.waker().clone());
        guard.outlet.free = false;
        own.note(&mut guard);
        drop(guard);
        own.wake();
        // Answers are read although the server takes no calls: it may wait for just that.
        true
    }

    fn receive(
        &mut self,
        batch: &Bytes,
        start: usize,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Received, Close> {
        self.heard();
        let Self { link, links, number, own } = self;
        let mut guard = links.get(*number);
        let state = &mut *guard;
        // A caller may have sent since the task was advanced, on another thread.
        own.take_cut(link, state, out);
        state.heard = true;
        let waiting = state.waiting_outflows();
        let mut at = start;
        let received = loop {
            let State { session, out: calls_out, .. } = &mut *state;
            let tell = |session: &mut W, id| {
                session.cancel(id, calls_out);
            };
            if own.inflows.pass_on(session, cx, out, tell) {
                break Ok(Received::Blocked(at));
            }
            if own.inflows.is_empty() {
                at = own.take_plain(link, state, batch, at);
            }
            let input = batch.get(at..).unwrap_or_default();
            let step = match state.session.receive(input, out) {
                Ok(step) => step,
                Err(error) => break Err(error.into()),
            };
            at = at.saturating_add(step.consumed);
            match step.next {
                Next::Event(event) => own.on_event(link, state, event, batch),
                Next::Again => {}
                Next::NeedMore(frame) => break Ok(Received::Upto(at, frame)),
                Next::Blocked => break Ok(Received::Blocked(at)),
            }
        };
        if !own.inflows.is_empty() {
            own.drop_unread(state, cx);
        }
        if state.waiting_outflows() < waiting {
            // What came has given a streamed request its turn, or room.
            cx.waker().wake_by_ref();
        }
        state.outlet.free &= out.is_empty();
        own.note(state);
        drop(guard);
        own.wake();
        received
    }

    fn peer_ended(&mut self) -> bool {
        false
    }

    fn is_done(&self) -> bool {
        self.own.peer_ended || self.own.idle
    }

    fn unheard(&mut self) {
        let Self { link, own, .. } = self;
        own.retire(link, &mut link.lock());
    }

    fn heard(&mut self) {
        self.own.heartbeat.heard(self.own.now);
    }

    fn wake_at(&self, unsent: bool) -> Option<Instant> {
        if unsent {
            return self.own.next_deadline; // How long the peer may take to read is the driver's to watch.
        }
        Some(self.own.wake_at())
    }

    fn looked_at(&self) -> Option<Instant> {
        Some(self.own.now)
    }

    const ANSWERS: bool = false;
}
