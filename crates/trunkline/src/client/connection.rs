//! The client's side of a connection: calls join the write buffer, replies find their slots.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, broadcast};
use tokio::time::Instant;
use trunkline_wire::{CallFrame, Compression, Event, Limits, Next, Payload, ReplyHead, Session};

use super::calls::{Calls, Outcome};
use crate::codec::gzip;
use crate::metadata::SERVER_TIMEOUT;
use crate::net::buffers::{owned, share};
use crate::net::compress;
use crate::net::driver::{Close, Received, Role, is_full};
use crate::net::inflows::Inflows;
use crate::{Body, BodyStream, Call, Code, Origin, Push, Reply, Result, Status};

/// What a channel tells each of its connections.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    /// The most calls in flight on the connection; one more fails at once.
    pub(crate) calls: usize,
    /// A connection that was silent this long is asked whether it is there, and is given as long to answer.
    pub(crate) heartbeat: Duration,
    /// Names go out in lower case, as easymicro's server wants them.
    pub(crate) lower_case: bool,
    pub(crate) address: String,
}

/// Counts what came that nobody waits for.
#[derive(Debug, Default)]
pub(crate) struct Strays {
    pub(crate) replies: AtomicU64,
}

/// One connection of a channel, shared by its callers and its task.
pub(crate) struct Link<W> {
    state: Mutex<State<W>>,
    settings: Arc<Settings>,
    pushes: broadcast::Sender<Push>,
    strays: Arc<Strays>,
    /// Told when the server announces that it will stop.
    pub(crate) draining: Notify,
    /// Told when there is room in the write buffer again, or never will be.
    room: Notify,
}

/// How many bytes of calls wait to be written before a further call has to wait itself.
const WRITE_AHEAD: usize = 1 << 20;

struct State<W> {
    session: W,
    out: Vec<u8>,
    calls: Calls,
    /// The connection's task, where it sleeps and has to be woken for what is in `out`.
    task: Option<Waker>,
    outflows: Vec<(u64, BodyStream)>,
    /// No new calls: the server will stop, the channel is gone, or the connection is.
    closed: bool,
    /// The server has said something.
    heard: bool,
}

/// A call is on its way under this id, or was not begun and may be begun elsewhere.
pub(crate) enum Begun {
    Yes(u64),
    /// The connection takes no new calls.
    Elsewhere(Call),
    /// The server does not take what was written so far: see [`Link::room`].
    Later(Call),
}

impl<W: Session> Link<W> {
    pub(crate) fn new(settings: Arc<Settings>, pushes: broadcast::Sender<Push>, strays: Arc<Strays>) -> Self {
        let mut session = W::client(&settings.limits);
        let mut out = Vec::new();
        session.greet(&mut out);
        let calls = Calls::new(settings.calls);
        let state =
            State { session, out, calls, task: None, outflows: Vec::new(), closed: false, heard: false };
        Self {
            state: Mutex::new(state),
            settings,
            pushes,
            strays,
            draining: Notify::new(),
            room: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn origin(&self) -> Origin {
        Origin { address: self.settings.address.clone(), wire: W::NAME, attempt: 1 }
    }

    fn status(&self, code: Code, message: impl Into<std::borrow::Cow<'static, str>>) -> Status {
        Status::new(code, message).at(self.origin())
    }

    /// Puts a call into the write buffer.
    ///
    /// # Errors
    /// The wire cannot carry it, or too many calls are in flight. Nothing was begun.
    pub(crate) fn begin(&self, call: Call, deadline: Instant, announce: bool) -> Result<Begun> {
        let compressed = match &call.body {
            Body::Full(body) if call.compress => compress::worth_it(body),
            _ => None,
        };
        let milliseconds;
        let mut extra: &[(&str, &str)] = &[];
        let timeout;
        if announce {
            let left = deadline.saturating_duration_since(Instant::now());
            milliseconds = left.as_millis().max(1).to_string();
            timeout = [(SERVER_TIMEOUT, milliseconds.as_str())];
            extra = &timeout;
        }
        let lowered;
        let (mut service, mut method) = (call.service(), call.method());
        if self.settings.lower_case {
            lowered = (service.to_ascii_lowercase(), method.to_ascii_lowercase());
            (service, method) = (&lowered.0, &lowered.1);
        }
        let (body, end) = match &call.body {
            Body::Full(body) => (compressed.as_deref().unwrap_or(body), true),
            Body::Stream(_) if W::STREAMS => (&[][..], false),
            Body::Stream(_) => return Err(self.cannot_stream()),
        };
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.closed {
            drop(guard);
            return Ok(Begun::Elsewhere(call));
        }
        if state.out.len() >= WRITE_AHEAD {
            drop(guard);
            return Ok(Begun::Later(call));
        }
        let Some((id, earliest)) = state.calls.insert(deadline) else {
            drop(guard);
            let text = format!("{} calls are in flight on the connection, its limit", self.settings.calls);
            return Err(self.status(Code::Limited, text).not_begun());
        };
        let frame = CallFrame {
            id,
            service,
            method,
            metadata: call.metadata().pairs(),
            extra,
            serialization: call.serialization,
            compression: if compressed.is_some() { Compression::Gzip } else { Compression::None },
            one_way: call.one_way,
            body,
            end,
        };
        if let Err(error) = state.session.call(&frame, &mut state.out) {
            state.calls.remove(id);
            drop(guard);
            return Err(self.status(Code::Unsupported, error.to_string()).not_begun());
        }
        if call.one_way {
            // Nothing will answer: it is done when it is written.
            let _ = state.calls.end(id, Ok(Reply::default()));
        }
        if let Body::Stream(stream) = call.body {
            state.outflows.push((id, stream));
        }
        let task = state.task.take();
        drop(guard);
        let _ = earliest; // The task looks at the deadlines whenever it was woken.
        if let Some(task) = task {
            task.wake();
        }
        Ok(Begun::Yes(id))
    }

    /// Whether the server has said anything.
    pub(crate) fn was_heard(&self) -> bool {
        self.lock().heard
    }

    /// Waits until a call may be put into the write buffer, or the connection is closed.
    pub(crate) async fn room(&self) {
        let mut room = std::pin::pin!(self.room.notified());
        // Before the look at the buffer, so that no notice is missed.
        room.as_mut().enable();
        let full = {
            let state = self.lock();
            !state.closed && state.out.len() >= WRITE_AHEAD
        };
        if full {
            room.await;
        }
    }

    fn cannot_stream(&self) -> Status {
        let text = format!("the {} wire cannot carry a streamed body", W::NAME);
        self.status(Code::Unsupported, text).not_begun()
    }

    /// How the call ended.
    pub(crate) fn poll(&self, id: u64, cx: &mut TaskContext<'_>) -> Poll<Outcome> {
        let mut guard = self.lock();
        let outcome = std::task::ready!(guard.calls.poll(id, cx));
        let task = guard.task_if_last();
        drop(guard);
        if let Some(task) = task {
            task.wake();
        }
        let twice = || Err(self.status(Code::Internal, "the call was asked for twice"));
        Poll::Ready(outcome.unwrap_or_else(twice))
    }

    /// Nobody waits for the call any more.
    pub(crate) fn abandon(&self, id: u64) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let waits = state.calls.waits(id);
        let outcome = state.calls.remove(id);
        state.outflows.retain(|(other, _)| *other != id);
        let told = waits && state.session.cancel(id, &mut state.out);
        let task = if told { state.task.take() } else { state.task_if_last() };
        drop(guard);
        drop(outcome);
        if let Some(task) = task {
            task.wake();
        }
    }

    /// No new calls on this connection; it ends when the last one has.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let task = state.task.take();
        drop(state);
        self.room.notify_waiters();
        if let Some(task) = task {
            task.wake();
        }
    }

    /// The connection is gone: every call that waits fails.
    pub(crate) fn fail_all(&self, close: &Close) {
        let text = match close {
            Close::Done => "the connection was lost: the server closed it".to_owned(),
            close => format!("the connection was lost: {close}"),
        };
        let mut wakers = Vec::new();
        let mut state = self.lock();
        state.closed = true;
        state.outflows.clear();
        state
            .calls
            .end_all(|| Err(self.status(Code::Unavailable, text.clone())), |waker| wakers.extend(waker));
        drop(state);
        self.room.notify_waiters();
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl<W> State<W> {
    /// The connection's task, where it has to be woken because the last call of a connection that takes no new
    /// ones has ended.
    fn task_if_last(&mut self) -> Option<Waker> {
        if self.closed && self.calls.len() == 0 { self.task.take() } else { None }
    }
}

/// The client's role on one connection.
pub(crate) struct ClientRole<W> {
    link: Arc<Link<W>>,
    /// Wakers of calls that ended in this round; they are woken when the lock is free.
    wakers: Vec<Waker>,
    /// Several callers were woken: they are let run before the task writes again, so that one write takes the
    /// calls of all of them.
    yields: bool,
    /// Reply bodies that still arrive.
    inflows: Inflows,
    heard: Instant,
    said: Instant,
    /// The peer was asked whether it is there, and has said nothing since.
    asked: Option<Instant>,
    peer_ended: bool,
}

impl<W: Session> ClientRole<W> {
    pub(crate) fn new(link: Arc<Link<W>>) -> Self {
        let now = Instant::now();
        Self {
            link,
            wakers: Vec::new(),
            yields: false,
            inflows: Inflows::default(),
            heard: now,
            said: now,
            asked: None,
            peer_ended: false,
        }
    }

    fn end(&mut self, state: &mut State<W>, id: u64, outcome: Outcome) {
        match state.calls.end(id, outcome) {
            Some(waker) => self.wakers.extend(waker),
            None => {
                self.link.strays.replies.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn on_event(&mut self, state: &mut State<W>, event: Event<'_>, batch: &Bytes) {
        match event {
            Event::Reply { head, body, end } => self.on_reply(state, &head, body, end, batch),
            Event::ReplyTooLarge { id, got, limit } => {
                let text = format!(
                    "the reply's body of {got} bytes is over the limit of {limit} bytes (setting body_limit)"
                );
                let status = self.link.status(Code::TooLarge, text);
                self.end(state, id, Err(status));
            }
            Event::Data { id, body, end } => {
                self.inflows.hold(&mut state.session, id, owned(body, batch), end);
            }
            Event::Push { head, body } => {
                // Where nobody listens nothing is kept.
                let _ = self
                    .link
                    .pushes
                    .send(Push::received(&head, owned(body, batch), |bytes| share(batch, bytes)));
            }
            Event::Draining => {
                state.closed = true;
                self.link.room.notify_waiters();
                self.link.draining.notify_one();
            }
            Event::Closed => self.peer_ended = true,
            _ => {}
        }
    }

    fn on_reply(
        &mut self,
        state: &mut State<W>,
        head: &ReplyHead<'_>,
        body: Payload<'_>,
        end: bool,
        batch: &Bytes,
    ) {
        let outcome = match head.failure {
            Some(failure) => {
                let code = failure.code.map_or_else(|| Code::of_go_text(failure.message), Code::from_number);
                let text = String::from_utf8_lossy(failure.message).into_owned();
                let details = failure.details.map(Bytes::copy_from_slice);
                let status = self.link.status(code, text).with_details_bytes(details);
                if let Some(sender) = self.inflows.take(&mut state.session, head.id) {
                    return sender.fail(status); // The body has begun, and fails midway.
                }
                Err(status)
            }
            None => self.body(state, head, body, end, batch).map(|body| {
                let metadata = head.metadata.share(|bytes| share(batch, bytes));
                Reply { body, metadata }
            }),
        };
        self.end(state, head.id, outcome);
    }

    fn body(
        &mut self,
        state: &mut State<W>,
        head: &ReplyHead<'_>,
        body: Payload<'_>,
        end: bool,
        batch: &Bytes,
    ) -> Result<Body> {
        let bytes = match head.compression {
            Compression::Gzip => gzip::inflate(body.as_slice(), self.link.settings.limits.body)?.into(),
            Compression::None => owned(body, batch),
        };
        if end {
            return Ok(Body::Full(bytes));
        }
        if !state.calls.waits(head.id) {
            return Ok(Body::default());
        }
        Ok(Body::Stream(self.inflows.open(head.id, bytes)))
    }

    /// Ends what is over time, and tells the server.
    fn expire(&mut self, state: &mut State<W>, now: Instant) {
        let State { calls, session, out, outflows, .. } = state;
        let link = &self.link;
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

    /// Writes the frames of streamed requests that are there and whose turn it is.
    fn write_outflows(&mut self, state: &mut State<W>, cx: &mut TaskContext<'_>) {
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
                    self.give_up(state, id, status.at(self.link.origin()));
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
                    self.give_up(state, id, self.link.status(Code::Unsupported, error.to_string()));
                    index = 0;
                }
            }
        }
    }

    /// The request's body cannot be sent to its end: the call has failed, and nobody must take what was sent for
    /// the whole.
    fn give_up(&mut self, state: &mut State<W>, id: u64, status: Status) {
        state.session.cancel(id, &mut state.out);
        if state.calls.waits(id) {
            self.end(state, id, Err(status));
        }
    }

    fn wake(&mut self) {
        self.yields |= self.wakers.len() > 1;
        self.wakers.drain(..).for_each(Waker::wake);
    }

    /// Asks a silent peer whether it is there.
    ///
    /// # Errors
    /// It was asked, and has not answered in time.
    fn heartbeat(&mut self, state: &mut State<W>, now: Instant, out: &mut Vec<u8>) -> Result<(), Close> {
        let interval = self.link.settings.heartbeat;
        match self.asked {
            Some(asked) if now >= asked + interval => {
                return Err(Close::Slow("the peer does not answer heartbeats"));
            }
            None if now >= self.heard.min(self.said) + interval => {
                self.said = now;
                if state.session.ping(out) {
                    self.asked = Some(now);
                } else {
                    self.heard = now; // A wire without heartbeats: the transport's own keep-alive has to do.
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl<W: Session> Role for ClientRole<W> {
    fn advance(&mut self, cx: &mut TaskContext<'_>, out: &mut Vec<u8>) -> Result<(), Close> {
        let link = Arc::clone(&self.link);
        let mut guard = link.lock();
        let state = &mut *guard;
        let now = Instant::now();
        // Before all else, so that it never waits behind calls.
        self.heartbeat(state, now, out)?;
        self.expire(state, now);
        self.write_outflows(state, cx);
        if !state.out.is_empty() {
            if state.out.len() >= WRITE_AHEAD {
                link.room.notify_waiters();
            }
            if out.is_empty() {
                std::mem::swap(out, &mut state.out);
            } else {
                out.append(&mut state.out);
            }
            self.said = now;
        }
        if self.yields {
            self.yields = false;
            state.task = None;
            cx.waker().wake_by_ref();
        } else {
            match &mut state.task {
                Some(task) => task.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        drop(guard);
        self.wake();
        Ok(())
    }

    fn advance_unsent(&mut self, cx: &mut TaskContext<'_>) -> bool {
        let link = Arc::clone(&self.link);
        let mut guard = link.lock();
        self.expire(&mut guard, Instant::now());
        guard.task = Some(cx.waker().clone());
        drop(guard);
        self.wake();
        // Answers are read although the server takes no calls: it may wait for just that.
        true
    }

    fn receive(
        &mut self,
        batch: &Bytes,
        start: usize,
        cx: &mut TaskContext<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Received, Close> {
        self.heard();
        let link = Arc::clone(&self.link);
        let mut guard = link.lock();
        let state = &mut *guard;
        state.heard = true;
        let mut at = start;
        let received = loop {
            let State { session, out: calls_out, .. } = &mut *state;
            let tell = |session: &mut W, id| {
                session.cancel(id, calls_out);
            };
            if self.inflows.pass_on(session, cx, tell) {
                break Ok(Received::Blocked(at));
            }
            let input = batch.get(at..).unwrap_or_default();
            let step = match state.session.receive(input, out) {
                Ok(step) => step,
                Err(error) => break Err(error.into()),
            };
            at = at.saturating_add(step.consumed);
            match step.next {
                Next::Event(event) => self.on_event(state, event, batch),
                Next::Again => {}
                Next::NeedMore(frame) => break Ok(Received::Upto(at, frame)),
                Next::Blocked => break Ok(Received::Blocked(at)),
            }
        };
        drop(guard);
        self.wake();
        received
    }

    fn peer_ended(&mut self) -> bool {
        false
    }

    fn is_done(&self) -> bool {
        if self.peer_ended {
            return true;
        }
        let state = self.link.lock();
        state.closed && state.calls.len() == 0 && state.out.is_empty() && state.outflows.is_empty()
    }

    fn heard(&mut self) {
        self.heard = Instant::now();
        self.asked = None;
    }

    fn wake_at(&self, unsent: bool) -> Option<Instant> {
        let deadline = self.link.lock().calls.next_deadline();
        if unsent {
            return deadline; // How long the peer may take to read is the driver's to watch.
        }
        let heartbeat =
            self.asked.unwrap_or_else(|| self.heard.min(self.said)) + self.link.settings.heartbeat;
        Some(deadline.map_or(heartbeat, |deadline| deadline.min(heartbeat)))
    }

    // Replies that a slow reader has not taken must not be lost to the end of the connection behind them.
    const READS_AHEAD: bool = false;
}
