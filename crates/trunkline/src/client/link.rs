//! One connection of a channel, as its callers see it: calls join the write buffer.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::{Notify, broadcast};
use tokio::time::Instant;
use trunkline_wire::{CallFrame, Compression, Limits, Session};

use super::calls::{Calls, Outcome};
use crate::metadata::SERVER_TIMEOUT;
use crate::net::compress;
use crate::net::driver::Close;
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

/// What a channel counts of its connections: what came that nobody waits for, and how many there were.
#[derive(Debug, Default)]
pub(crate) struct Strays {
    pub(crate) replies: AtomicU64,
    pub(crate) connections: AtomicU64,
}

/// One connection of a channel, shared by its callers and its task.
pub(crate) struct Link<W> {
    state: Mutex<State<W>>,
    pub(super) settings: Arc<Settings>,
    pub(super) pushes: broadcast::Sender<Push>,
    pub(super) strays: Arc<Strays>,
    /// Told when the server announces that it will stop.
    pub(crate) draining: Notify,
    /// Told when there is room in the write buffer again, or never will be.
    pub(super) room: Notify,
}

/// How many bytes of calls wait to be written before a further call has to wait itself.
pub(crate) const WRITE_AHEAD: usize = 1 << 20;

pub(crate) struct State<W> {
    pub(super) session: W,
    pub(crate) out: Vec<u8>,
    pub(super) calls: Calls,
    /// The connection's task, where it sleeps and has to be woken for what is in `out`.
    pub(super) task: Option<Waker>,
    pub(super) outflows: Vec<(u64, BodyStream)>,
    /// No new calls: the server will stop, the channel is gone, or the connection is.
    pub(super) closed: bool,
    /// The server has said something.
    pub(super) heard: bool,
    /// When the connection's task was polled or woken last.
    pub(super) now: Instant,
}

/// When a call ends that says nothing itself.
#[derive(Clone, Copy)]
pub(crate) enum Usual {
    /// So long after it was begun.
    After(Duration),
    At(Instant),
}

/// What a call needs before it is written, beside what all need.
#[derive(Default)]
struct Prepared {
    compressed: Option<Vec<u8>>,
    /// The time that is left, where the server is told.
    milliseconds: Option<String>,
    /// The names in lower case, where the server wants them so.
    lowered: Option<(String, String)>,
}

/// Most calls need nothing.
type MaybePrepared = Option<Prepared>;

/// Whether one more call can be written.
enum Place {
    Free,
    Full,
    Closed,
}

/// Why a group of calls was not begun to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// It was.
    Enough,
    /// The connection takes no new calls.
    Elsewhere,
    /// The server does not take what was written so far: see [`Link::room`].
    Later,
}

/// A call is on its way under this id, or was not begun and may be begun elsewhere.
pub(crate) enum Begun {
    Yes(u64),
    /// The connection takes no new calls.
    Elsewhere,
    /// The server does not take what was written so far: see [`Link::room`].
    Later,
}

impl<W: Session> Link<W> {
    pub(crate) fn new(settings: Arc<Settings>, pushes: broadcast::Sender<Push>, strays: Arc<Strays>) -> Self {
        let mut session = W::client(&settings.limits);
        let mut out = Vec::new();
        session.greet(&mut out);
        let calls = Calls::new(settings.calls);
        let state = State {
            session,
            out,
            calls,
            task: None,
            outflows: Vec::new(),
            closed: false,
            heard: false,
            now: Instant::now(),
        };
        Self {
            state: Mutex::new(state),
            settings,
            pushes,
            strays,
            draining: Notify::new(),
            room: Notify::new(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn origin(&self) -> Origin {
        Origin { address: self.settings.address.clone(), wire: W::NAME, attempt: 1 }
    }

    pub(super) fn status(&self, code: Code, message: impl Into<std::borrow::Cow<'static, str>>) -> Status {
        Status::new(code, message).at(self.origin())
    }

    /// Puts a call into the write buffer; `waker` is woken when it has ended. What is left of a call that was begun is
    /// not looked at again.
    ///
    /// # Errors
    /// The wire cannot carry it, or too many calls are in flight. Nothing was begun.
    pub(crate) fn begin(&self, call: &mut Call, usual: Usual, waker: &Waker) -> Result<Begun> {
        let prepared = self.prepare(call)?;
        let mut guard = self.lock();
        match guard.place() {
            Place::Closed => return Ok(Begun::Elsewhere),
            Place::Full => return Ok(Begun::Later),
            Place::Free => {}
        }
        let deadline = call.context.deadline.unwrap_or_else(|| guard.deadline(usual));
        let inserted = guard.calls.insert(waker.clone(), deadline);
        let id = self.write(&mut guard, inserted, call, prepared.as_ref())?;
        let task = guard.task.take();
        drop(guard);
        if let Some(task) = task {
            task.wake();
        }
        Ok(Begun::Yes(id))
    }

    /// Puts calls into the write buffer in one go, from the front, as long as there is room; the number of each is given
    /// to `begun` with its id, or why it cannot be made. What is left in `calls` was not begun. With `each` their answers
    /// are wanted as they come. The group is the one given, or a new one.
    pub(crate) fn begin_group(
        &self,
        calls: &mut VecDeque<(usize, Call)>,
        deadline: Instant,
        group: &mut Option<usize>,
        each: bool,
        mut begun: impl FnMut(usize, Result<u64>),
    ) -> Room {
        let mut prepared = self.prepare_all(calls).into_iter();
        let some = if prepared.len() == 0 { calls.len() } else { prepared.len() };
        let mut room = if some < calls.len() { Room::Later } else { Room::Enough };
        let mut gone = 0;
        let mut guard = self.lock();
        let state = &mut *guard;
        let group = *group.get_or_insert_with(|| state.calls.group(each));
        for (number, call) in calls.iter_mut().take(some) {
            match state.place() {
                Place::Free => {}
                Place::Closed => {
                    room = Room::Elsewhere;
                    break;
                }
                Place::Full => {
                    room = Room::Later;
                    break;
                }
            }
            let prepared = prepared.next().unwrap_or(Ok(None));
            let written = prepared.and_then(|prepared| {
                let inserted = state.calls.insert_in(group, call.context.deadline.unwrap_or(deadline));
                self.write(state, inserted, call, prepared.as_ref())
            });
            begun(*number, written);
            gone += 1;
        }
        let task = guard.task.take();
        drop(guard);
        calls.drain(..gone);
        if let Some(task) = task {
            task.wake();
        }
        room
    }

    /// What each call of a group needs; empty where none needs anything. No more of them than the write buffer may take,
    /// or what has to wait would be compressed again and again.
    fn prepare_all(&self, calls: &VecDeque<(usize, Call)>) -> Vec<Result<MaybePrepared>> {
        if !calls.iter().any(|(_, call)| self.is_special(call)) {
            return Vec::new();
        }
        let mut ahead = 0usize;
        let fits = |(_, call): &&(usize, Call)| {
            let fits = ahead < WRITE_AHEAD;
            ahead = ahead.saturating_add(call.body.known_length());
            fits
        };
        calls.iter().take_while(fits).map(|(_, call)| self.prepare(call)).collect()
    }

    /// Whether there is anything to do for a call before it is written.
    fn is_special(&self, call: &Call) -> bool {
        call.compress
            || call.context.deadline.is_some()
            || self.settings.lower_case
            || call.streams
            || matches!(call.body, Body::Stream(_))
    }

    /// What a call needs before it is written: nothing that the lock has to be held for.
    #[inline]
    fn prepare(&self, call: &Call) -> Result<MaybePrepared> {
        if self.is_special(call) { self.prepare_special(call).map(Some) } else { Ok(None) }
    }

    #[cold]
    fn prepare_special(&self, call: &Call) -> Result<Prepared> {
        if !W::STREAMS && (call.streams || matches!(call.body, Body::Stream(_))) {
            return Err(self.cannot_stream());
        }
        let compressed = match &call.body {
            Body::Full(body) if call.compress => compress::worth_it(body),
            _ => None,
        };
        let milliseconds = call.context.deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            left.as_millis().max(1).to_string()
        });
        let lowered = self
            .settings
            .lower_case
            .then(|| (call.service().to_ascii_lowercase(), call.method().to_ascii_lowercase()));
        Ok(Prepared { compressed, milliseconds, lowered })
    }

    /// Writes a call that has a slot.
    #[inline]
    fn write(
        &self,
        state: &mut State<W>,
        inserted: Option<u64>,
        call: &mut Call,
        prepared: Option<&Prepared>,
    ) -> Result<u64> {
        let Some(id) = inserted else {
            let text = format!("{} calls are in flight on the connection, its limit", self.settings.calls);
            return Err(self.status(Code::Limited, text).not_begun());
        };
        let compressed = prepared.and_then(|prepared| prepared.compressed.as_deref());
        let timeout = prepared.and_then(|prepared| prepared.milliseconds.as_deref());
        let timeout = timeout.map(|text| [(SERVER_TIMEOUT, text)]);
        let (service, method) = match prepared.and_then(|prepared| prepared.lowered.as_ref()) {
            Some((service, method)) => (service.as_str(), method.as_str()),
            None => (call.service(), call.method()),
        };
        let (body, end) = match &call.body {
            Body::Full(body) => (compressed.unwrap_or(body), true),
            Body::Stream(_) => (&[][..], false),
        };
        let frame = CallFrame {
            id,
            service,
            method,
            metadata: call.metadata().pairs(),
            extra: timeout.as_ref().map(<[_; 1]>::as_slice).unwrap_or_default(),
            serialization: call.serialization,
            compression: if compressed.is_some() { Compression::Gzip } else { Compression::None },
            one_way: call.one_way,
            body,
            end,
        };
        if let Err(error) = state.session.call(&frame, &mut state.out) {
            state.calls.remove(id);
            return Err(self.status(Code::Unsupported, error.to_string()).not_begun());
        }
        if call.one_way {
            // Nothing will answer: it is done when it is written.
            let _ = state.calls.end(id, Ok(Reply::default()));
        }
        if !end && let Body::Stream(stream) = std::mem::take(&mut call.body) {
            state.outflows.push((id, stream.detached()));
        }
        Ok(id)
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
        let text = format!("the {} wire cannot carry streams", W::NAME);
        self.status(Code::Unsupported, text).not_begun()
    }

    /// How the call ended.
    pub(crate) fn poll(&self, id: u64, cx: &mut Context<'_>) -> Poll<Outcome> {
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

    /// Ready when all calls of the group have ended; how they ended is given to `each`.
    pub(crate) fn poll_all(
        &self,
        group: usize,
        ids: impl Iterator<Item = u64>,
        cx: &Context<'_>,
        mut each: impl FnMut(Outcome),
    ) -> Poll<()> {
        let mut guard = self.lock();
        std::task::ready!(guard.calls.poll_all(group, cx));
        for id in ids {
            let outcome = guard.calls.remove(id);
            each(outcome.unwrap_or_else(|| Err(self.status(Code::Internal, "the call was asked for twice"))));
        }
        let task = guard.task_if_last();
        drop(guard);
        if let Some(task) = task {
            task.wake();
        }
        Poll::Ready(())
    }

    /// The next call of the group that has ended; none where all were given.
    pub(crate) fn poll_each(&self, group: usize, cx: &Context<'_>) -> Poll<Option<(u64, Outcome)>> {
        let mut guard = self.lock();
        let ended = std::task::ready!(guard.calls.poll_each(group, cx));
        let task = guard.task_if_last();
        drop(guard);
        if let Some(task) = task {
            task.wake();
        }
        Poll::Ready(ended)
    }

    /// Nobody waits for a group any more.
    pub(crate) fn abandon_group(&self, group: usize, ids: impl Iterator<Item = u64>) {
        self.abandon_all(ids, |state| state.calls.remove_group(group));
    }

    /// Nobody waits for the call any more.
    pub(crate) fn abandon(&self, id: u64) {
        self.abandon_all(std::iter::once(id), |_| {});
    }

    fn abandon_all(&self, ids: impl Iterator<Item = u64>, then: impl FnOnce(&mut State<W>)) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let mut told = false;
        // Let go when the lock is free: a body may have readers and writers of its own.
        let mut outcomes = Vec::new();
        for id in ids {
            let waits = state.calls.waits(id);
            outcomes.extend(state.calls.remove(id));
            state.outflows.retain(|(other, _)| *other != id);
            told |= waits && state.session.cancel(id, &mut state.out);
        }
        then(state);
        let task = if told { state.task.take() } else { state.task_if_last() };
        drop(guard);
        drop(outcomes);
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

impl<W: Session> State<W> {
    /// How many streamed requests wait for their turn, or for room.
    pub(crate) fn waiting_outflows(&self) -> usize {
        self.outflows.iter().filter(|(id, _)| !self.session.may_write(*id)).count()
    }
}

impl<W> State<W> {
    fn place(&self) -> Place {
        if self.closed {
            Place::Closed
        } else if self.out.len() >= WRITE_AHEAD {
            Place::Full
        } else {
            Place::Free
        }
    }

    /// When a call ends that is begun now. The clock is read for the first call only since the task was polled.
    fn deadline(&mut self, usual: Usual) -> Instant {
        match usual {
            Usual::At(deadline) => deadline,
            Usual::After(time) => {
                if self.task.is_some() {
                    self.now = Instant::now();
                }
                self.now + time
            }
        }
    }

    /// The connection's task, where it has to be woken because the last call of a connection that takes no new
    /// ones has ended.
    fn task_if_last(&mut self) -> Option<Waker> {
        if self.closed && self.calls.len() == 0 { self.task.take() } else { None }
    }
}
