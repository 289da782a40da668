//! One connection of a channel, as its callers see it: calls join the write buffer.

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
