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

/// Counts what came that nobody waits for.
#[derive(Debug, Default)]
pub(crate) struct Strays {
    pub(crate) replies: AtomicU64,
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
}

/// What a call needs before it is written.
struct Prepared {
    compressed: Option<Vec<u8>>,
    /// The time that is left, where the server is told.
    milliseconds: Option<String>,
    /// The names in lower case, where the server wants them so.
    lowered: Option<(String, String)>,
}

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

    pub(crate) fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn origin(&self) -> Origin {
        Origin { address: self.settings.address.clone(), wire: W::NAME, attempt: 1 }
    }

    pub(super) fn status(&self, code: Code, message: impl Into<std::borrow::Cow<'static, str>>) -> Status {
        Status::new(code, message).at(self.origin())
    }

    /// Puts a call into the write buffer; `waker` is woken when it has ended.
    ///
    /// # Errors
    /// The wire cannot carry it, or too many calls are in flight. Nothing was begun.
    pub(crate) fn begin(&self, call: Call, deadline: Instant, announce: bool, waker: Waker) -> Result<Begun> {
        let prepared = self.prepare(&call, announce.then_some(deadline))?;
        let mut guard = self.lock();
        let (task, id) = match guard.place() {
            Place::Closed => return Ok(Begun::Elsewhere(call)),
            Place::Full => return Ok(Begun::Later(call)),
            Place::Free => {
                let inserted = guard.calls.insert(waker, deadline);
                let id = self.write(&mut guard, inserted, &call, &prepared)?;
                if let Body::Stream(stream) = call.body {
                    guard.outflows.push((id, stream.detached()));
                }
                (guard.task.take(), id)
            }
        };
        drop(guard);
        if let Some(task) = task {
            task.wake();
        }
        Ok(Begun::Yes(id))
    }

    /// Puts calls into the write buffer in one go, from the front, as long as there is room; each is given to
    /// `begun` with its id, or why it cannot be made. What is left in `calls` was not begun. With `each` their answers
    /// are wanted as they come. The group is the one given, or a new one.
    pub(crate) fn begin_group<K>(
        &self,
        calls: &mut VecDeque<(K, Call)>,
        deadline: Instant,
        group: &mut Option<usize>,
        each: bool,
        mut begun: impl FnMut(K, Result<u64>),
    ) -> Room {
        // No more than the write buffer may take, or what has to wait would be compressed again and again.
        let mut ahead = 0usize;
        let prepared: Vec<_> = calls
            .iter()
            .take_while(|(_, call)| {
                let fits = ahead < WRITE_AHEAD;
                ahead = ahead.saturating_add(call.body.known_length());
                fits
            })
            .map(|(_, call)| self.prepare(call, call.context.deadline))
            .collect();
        let mut guard = self.lock();
        let state = &mut *guard;
        let group = *group.get_or_insert_with(|| state.calls.group(each));
        let mut room = if prepared.len() < calls.len() { Room::Later } else { Room::Enough };
        for prepared in prepared {
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
            let Some((key, call)) = calls.pop_front() else { break };
            let written = prepared.and_then(|prepared| {
                let inserted = state.calls.insert_in(group, call.context.deadline.unwrap_or(deadline));
                self.write(state, inserted, &call, &prepared)
            });
            if let (Ok(id), Body::Stream(stream)) = (&written, call.body) {
                state.outflows.push((*id, stream.detached()));
            }
            begun(key, written);
        }
        let task = guard.task.take();
        drop(guard);
        if let Some(task) = task {
            task.wake();
        }
        room
    }

    /// What a call needs before it is written: nothing that the lock has to be held for.
    fn prepare(&self, call: &Call, announced: Option<Instant>) -> Result<Prepared> {
        if !W::STREAMS && (call.streams || matches!(call.body, Body::Stream(_))) {
            return Err(self.cannot_stream());
        }
        let compressed = match &call.body {
            Body::Full(body) if call.compress => compress::worth_it(body),
            _ => None,
        };
        let milliseconds = announced.map(|deadline| {
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
        call: &Call,
        prepared: &Prepared,
    ) -> Result<u64> {
        let Some(id) = inserted else {
            let text = format!("{} calls are in flight on the connection, its limit", self.settings.calls);
            return Err(self.status(Code::Limited, text).not_begun());
        };
        let timeout = prepared.milliseconds.as_deref().map(|text| [(SERVER_TIMEOUT, text)]);
        let (service, method) = match &prepared.lowered {
            Some((service, method)) => (service.as_str(), method.as_str()),
            None => (call.service(), call.method()),
        };
        let (body, end) = match &call.body {
            Body::Full(body) => (prepared.compressed.as_deref().unwrap_or(body), true),
            Body::Stream(_) => (&[][..], false),
        };
        let frame = CallFrame {
            id,
            service,
            method,
            metadata: call.metadata().pairs(),
            extra: timeout.as_ref().map(<[_; 1]>::as_slice).unwrap_or_default(),
            serialization: call.serialization,
            compression: if prepared.compressed.is_some() { Compression::Gzip } else { Compression::None },
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

    /// The connection's task, where it has to be woken because the last call of a connection that takes no new
    /// ones has ended.
    fn task_if_last(&mut self) -> Option<Waker> {
        if self.closed && self.calls.len() == 0 { self.task.take() } else { None }
    }
}
