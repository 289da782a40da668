//! What waits to be written to one node, or to one connection of a caller: calls and answers join a buffer.
//!
//! The buffer is bounded: a call waits for room beyond [`WRITE_AHEAD`], a notify is refused; a connection whose answers go
//! here is not read beyond [`ANSWERS_AHEAD`]; and beyond [`MOST`] an answer is lost, and counted.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;
use trunkline_wire::saber;

use super::calls::Calls;

/// How many bytes wait to be written before a further call has to wait itself.
pub(super) const WRITE_AHEAD: usize = 1 << 20;

/// How many bytes wait to be written before no more calls are read whose answers go there. It is more than calls can take:
/// two nodes that both call a lot must not stop to read each other for that.
pub(super) const ANSWERS_AHEAD: usize = 8 << 20;

/// How many bytes of answers wait at most, beside the last one.
const MOST: usize = 64 << 20;

/// Where frames to one peer wait.
pub(super) struct Line {
    state: Mutex<State>,
    /// Told when there is room again, or never will be.
    room: Notify,
}

/// How the peer can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// It is being dialled; what is written waits for that.
    Dialling,
    /// It is connected.
    Up,
    /// It is connected, and stops: it takes no more calls.
    Stopping,
    /// It cannot be reached now, and why.
    Down(Arc<str>),
    /// What is there is still written; then the connection ends.
    Closing,
}

/// What is known of the program at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    Unknown,
    Trunkline,
    /// It answers, and has never said hello.
    Other,
}

pub(super) struct State {
    pub(super) out: Vec<u8>,
    pub(super) phase: Phase,
    pub(super) calls: Calls,
    pub(super) program: Program,
    /// How many answers are in `out`.
    answers: u64,
    /// The connection's task, where it sleeps and has to be woken for what is in `out`.
    task: Option<Waker>,
    /// Connections that are not read before there is room here.
    held: Vec<Waker>,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Line").field("phase", &state.phase).field("calls", &state.calls.len()).finish()
    }
}

impl Line {
    /// `calls` may be in flight at most.
    pub(super) fn new(phase: Phase, calls: usize) -> Self {
        let state = State {
            out: Vec::new(),
            phase,
            calls: Calls::new(calls),
            program: Program::Unknown,
            answers: 0,
            task: None,
            held: Vec::new(),
        };
        Self { state: Mutex::new(state), room: Notify::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `append` add to the buffer, and wakes whoever writes it.
    pub(super) fn write<T>(&self, append: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let done = append(&mut state);
        let task = state.task.take();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
        done
    }

    /// As [`write`](Self::write), for one answer; whether it was taken.
    pub(super) fn answer(&self, append: impl FnOnce(&mut State)) -> bool {
        self.answer_if(State::is_open, append)
    }

    /// The same where the peer is connected to.
    pub(super) fn answer_at_once(&self, append: impl FnOnce(&mut State)) -> bool {
        self.answer_if(State::is_connected, append)
    }

    fn answer_if(&self, may: impl FnOnce(&State) -> bool, append: impl FnOnce(&mut State)) -> bool {
        self.write(|state| {
            let takes = may(state) && state.out.len() < MOST;
            if takes {
                append(state);
                state.answers = state.answers.saturating_add(1);
            }
            takes
        })
    }

    /// Waits until a call may be written, or fails at once.
    pub(super) async fn room(&self) {
        let mut room = std::pin::pin!(self.room.notified());
        // Before the look at the buffer, so that no notice is missed.
        room.as_mut().enable();
        let full = {
            let state = self.lock();
            state.is_open() && state.is_full()
        };
        if full {
            room.await;
        }
    }

    /// Whether answers may go here: else the task is woken when they may.
    pub(super) fn poll_answers(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if !state.is_open() || state.out.len() < ANSWERS_AHEAD {
            return Poll::Ready(());
        }
        if !state.held.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.held.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Moves what waits behind what is in `out`, and remembers whom to wake for more, unless the task will look again by
    /// itself. Whether the connection is to end when that is written.
    pub(super) fn take(&self, out: &mut Vec<u8>, again: bool, cx: &Context<'_>) -> bool {
        let mut state = self.lock();
        let was_full = state.is_full();
        if out.is_empty() {
            std::mem::swap(out, &mut state.out);
        } else {
            out.append(&mut state.out);
        }
        state.answers = 0;
        state.watch((!again).then_some(cx));
        let held = std::mem::take(&mut state.held);
        let ends = state.phase == Phase::Closing;
        drop(state);
        if was_full {
            self.room.notify_waiters();
        }
        held.into_iter().for_each(Waker::wake);
        ends
    }

    /// Remembers whom to wake.
    pub(super) fn watch(&self, cx: &Context<'_>) {
        self.lock().watch(Some(cx));
    }

    /// The peer is reached by another connection from now on, or not at all: all that waits is lost, and calls end by
    /// `outcome`. Gives how many answers were lost.
    pub(super) fn lose(&self, phase: Phase, outcome: impl FnMut() -> super::calls::Outcome) -> u64 {
        let mut state = self.lock();
        if state.phase != Phase::Closing {
            state.phase = phase;
        }
        state.out = Vec::new();
        state.program = Program::Unknown;
        let wakers = state.calls.end_all(outcome);
        let held = std::mem::take(&mut state.held);
        let lost = std::mem::take(&mut state.answers);
        drop(state);
        self.room.notify_waiters();
        wakers.into_iter().chain(held).for_each(Waker::wake);
        lost
    }

    /// The node at the other end takes no more calls: it is told, behind the last one, that this was heard.
    pub(super) fn no_more_calls(&self) {
        self.write(|state| {
            if state.phase == Phase::Up {
                state.phase = Phase::Stopping;
                saber::write_stop(&mut state.out);
            }
        });
        self.room.notify_waiters();
    }

    /// Takes nothing more; what is there is still written. Calls that wait end by `outcome`.
    pub(super) fn close(&self, outcome: impl FnMut() -> super::calls::Outcome) {
        let mut state = self.lock();
        state.phase = Phase::Closing;
        let wakers = state.calls.end_all(outcome);
        let task = state.task.take();
        drop(state);
        self.room.notify_waiters();
        wakers.into_iter().chain(task).for_each(Waker::wake);
    }
}

impl State {
    /// Whether frames may be added.
    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Dialling || self.is_connected()
    }

    /// Whether the peer is reached now.
    pub(super) fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Up | Phase::Stopping)
    }

    /// Whether a call has to wait for room.
    pub(super) fn is_full(&self) -> bool {
        self.out.len() >= WRITE_AHEAD
    }

    fn watch(&mut self, cx: Option<&Context<'_>>) {
        match (cx, &mut self.task) {
            (Some(cx), Some(task)) => task.clone_from(cx.waker()),
            (Some(cx), none) => *none = Some(cx.waker().clone()),
            (None, task) => *task = None,
        }
    }
}
