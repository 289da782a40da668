//! The queue of a mailbox: bounded, with a lane for the system's commands before the messages.
//!
//! Whoever sends takes the lock once, and wakes the service only where it sleeps. The service takes several messages at
//! a time. What it has taken and not begun still counts, and goes back before it sleeps: so the bound holds, and the
//! oldest message that waits is one that can be dropped.

#![expect(clippy::box_collection, reason = "what is mostly empty is to take a word")]

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use crate::sync::{AtomicUsize, Mutex, MutexGuard, Ordering};

/// So many messages are taken under one lock at most.
pub(crate) const BATCH: usize = 32;

/// One in so many messages is timed from being sent to being taken.
const SAMPLED: u64 = 64;

/// A buffer that is larger than this, in bytes, is given back when the service sleeps.
const KEPT: usize = 256;

/// What the queue has to know of its entries.
pub(crate) trait Entry {
    /// Whether it may be dropped when there is no room: nobody waits for an answer.
    fn may_drop(&self) -> bool;
}

/// Who may put messages in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    /// The node stops: only what its own services send, to finish what they have.
    Inside,
    /// Nothing any more; what is there is handled.
    Shut,
}

/// Why a message was not taken; it comes back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused<E> {
    Full(E),
    Shut(E),
}

/// What the service is to do next.
#[derive(Debug)]
pub(crate) enum Next<E, C> {
    /// A command.
    Command(C),
    /// The one message that there is.
    Message(E),
    /// The messages that are in the batch now.
    Batch,
    /// Nothing. Its task is woken when that changes.
    Asleep,
    /// Nothing any more: the gate is shut and all has been handled.
    Drained,
}

/// What the queue says of itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct QueueFigures {
    pub(crate) depth: usize,
    pub(crate) sent: u64,
    pub(crate) dropped: u64,
    /// Of the messages that were timed.
    pub(crate) waited: Duration,
    pub(crate) timed: u64,
    pub(crate) longest: Duration,
}

/// See the module.
pub(crate) struct Queue<E, C> {
    state: Mutex<State<E, C>>,
    /// How many messages the service has taken and not begun. Only the service writes it.
    taken: AtomicUsize,
}

struct State<E, C> {
    messages: VecDeque<E>,
    /// These two are boxed, as they are mostly empty and there may be many services.
    commands: Option<Box<Vec<C>>>,
    /// The service's task, where it sleeps.
    asleep: Option<Waker>,
    /// Whether a message wakes it, too; a command always does.
    hungry: bool,
    gate: Gate,
    /// The service is gone: nobody takes commands any more.
    closed: bool,
    capacity: usize,
    /// Those who wait for room, in the order of their numbers. All of them are woken together, and forgotten.
    waiting: Option<Box<Vec<(u64, Waker)>>>,
    /// The last number that was given to one who waits.
    waits: u64,
    sent: u64,
    gone: u64,
    dropped: u64,
    mark: Option<(u64, Instant)>,
    /// Of the messages that were timed, in nanoseconds.
    waited: u64,
    longest: u64,
    timed: u64,
}

impl<E: Entry, C> Queue<E, C> {
    /// A queue for so many messages, at least one.
    pub(crate) fn new(capacity: usize) -> Self {
        let state = State {
            messages: VecDeque::new(),
            commands: None,
            asleep: None,
            hungry: false,
            gate: Gate::Open,
            closed: false,
            capacity: capacity.max(1),
            waiting: None,
            waits: 0,
            sent: 0,
            gone: 0,
            dropped: 0,
            mark: None,
            waited: 0,
            longest: 0,
            timed: 0,
        };
        Self { state: Mutex::new(state), taken: AtomicUsize::new(0) }
    }

    /// Puts a message in. Where there is no room and `evict` is set, the oldest message that may be dropped makes room
    /// and is given back.
    pub(crate) fn push(
        &self,
        message: E,
        evict: bool,
        inside: impl FnOnce() -> bool,
    ) -> Result<Option<E>, Refused<E>> {
        let mut state = self.lock();
        if state.gate != Gate::Open && (state.gate == Gate::Shut || !inside()) {
            return Err(Refused::Shut(message));
        }
        let mut evicted = None;
        if self.is_full(&state) {
            let oldest = if evict { state.messages.iter().position(Entry::may_drop) } else { None };
            let Some(oldest) = oldest else { return Err(Refused::Full(message)) };
            evicted = state.messages.remove(oldest);
            state.dropped = state.dropped.wrapping_add(1);
            state.gone = state.gone.wrapping_add(1);
        }
        let waker = state.add(message);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(evicted)
    }

    /// Puts a message in as soon as there is room. `number` is what the sender waits under, at first 0; one that stops
    /// to wait [leaves](Self::leave).
    pub(crate) fn poll_push(
        &self,
        message: &mut Option<E>,
        number: &mut u64,
        inside: impl FnOnce() -> bool,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Refused<E>>> {
        let Some(own) = message.take() else { return Poll::Ready(Ok(())) };
        let mut state = self.lock();
        if state.gate != Gate::Open && (state.gate == Gate::Shut || !inside()) {
            return Poll::Ready(Err(Refused::Shut(own)));
        }
        if self.is_full(&state) {
            state.wait(number, cx.waker());
            *message = Some(own);
            return Poll::Pending;
        }
        let waker = state.add(own);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Poll::Ready(Ok(()))
    }

    /// Gives a command. It overtakes all messages, and comes before the commands that wait already. Where the service is
    /// gone it is dropped.
    pub(crate) fn command(&self, command: C) {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            return drop(command);
        }
        state.commands.get_or_insert_default().push(command);
        let waker = state.asleep.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What to do next. `batch` gets further messages where it is empty and `takes` is set; else it goes back where the
    /// service has to sleep. `idle`: no handler waits.
    pub(crate) fn next(&self, batch: &mut VecDeque<E>, takes: bool, idle: bool, waker: &Waker) -> Next<E, C> {
        let mut state = self.lock();
        if let Some(command) = state.commands.as_mut().and_then(|commands| commands.pop()) {
            return Next::Command(command);
        }
        if takes && batch.is_empty() && !state.messages.is_empty() {
            let only = state.fill(batch);
            self.taken.store(batch.len(), Ordering::Relaxed);
            let waiting = state.waiting.take();
            drop(state);
            wake_all(waiting);
            return only.map_or(Next::Batch, Next::Message);
        }
        state.take_back(batch);
        self.taken.store(0, Ordering::Relaxed);
        let empty = state.messages.is_empty();
        if empty && idle && state.gate == Gate::Shut {
            return Next::Drained;
        }
        if empty && state.messages.capacity() * size_of::<E>() > KEPT {
            state.messages = VecDeque::new();
        }
        if batch.capacity() * size_of::<E>() > KEPT {
            *batch = VecDeque::new();
        }
        match &mut state.asleep {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        state.hungry = takes;
        // What was taken is back: there may be room for those who wait.
        let waiting = if self.is_full(&state) { None } else { state.waiting.take() };
        drop(state);
        wake_all(waiting);
        Next::Asleep
    }

    /// Gives back what was taken and not begun: the service's instance ends.
    pub(crate) fn put_back(&self, batch: &mut VecDeque<E>) {
        let mut state = self.lock();
        state.take_back(batch);
        self.taken.store(0, Ordering::Relaxed);
    }

    /// The service has begun one of the messages that it has taken.
    pub(crate) fn begun(&self, left: usize) {
        self.taken.store(left, Ordering::Relaxed);
    }

    /// Narrows who may put messages in; it is never widened. The service is woken to notice.
    pub(crate) fn narrow(&self, gate: Gate) {
        let mut state = self.lock();
        if state.gate == Gate::Open || gate == Gate::Shut {
            state.gate = gate;
        }
        let (asleep, waiting) = (state.asleep.take(), state.waiting.take());
        drop(state);
        asleep.into_iter().for_each(Waker::wake);
        wake_all(waiting);
    }

    /// The service is gone: nothing comes in any more, and what is there is given back, to be dropped.
    pub(crate) fn close(&self) -> (VecDeque<E>, Option<Box<Vec<C>>>) {
        self.narrow(Gate::Shut);
        let mut state = self.lock();
        state.closed = true;
        self.taken.store(0, Ordering::Relaxed);
        (std::mem::take(&mut state.messages), state.commands.take())
    }

    /// How many messages wait, and what became of the others.
    pub(crate) fn figures(&self) -> QueueFigures {
        let state = self.lock();
        QueueFigures {
            depth: state.messages.len() + self.taken.load(Ordering::Relaxed),
            sent: state.sent,
            dropped: state.dropped,
            waited: Duration::from_nanos(state.waited),
            timed: state.timed,
            longest: Duration::from_nanos(state.longest),
        }
    }

    fn is_full(&self, state: &State<E, C>) -> bool {
        state.messages.len() + self.taken.load(Ordering::Relaxed) >= state.capacity
    }
}

impl<E, C> Queue<E, C> {
    /// The sender of this number waits for room no more: nothing is kept of it.
    #[cold]
    pub(crate) fn leave(&self, number: u64) {
        let mut state = self.lock();
        let Some(waiting) = &mut state.waiting else { return };
        // What a waker does when it is dropped is not ours, so it is dropped outside the lock.
        let place = waiting.binary_search_by_key(&number, |(number, _)| *number);
        let gone = place.ok().map(|place| waiting.remove(place));
        drop(state);
        drop(gone);
    }

    fn lock(&self) -> MutexGuard<'_, State<E, C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E, C> State<E, C> {
    /// Adds a message, and says whom to wake.
    fn add(&mut self, message: E) -> Option<Waker> {
        if self.sent.is_multiple_of(SAMPLED) && self.mark.is_none() {
            self.mark = Some((self.sent, Instant::now()));
        }
        self.sent = self.sent.wrapping_add(1);
        if self.messages.capacity() == 0 {
            // Most services have one message at a time, and there may be many services.
            self.messages.reserve_exact(1);
        }
        self.messages.push_back(message);
        if self.hungry { self.asleep.take() } else { None }
    }

    /// Remembers a sender that waits for room, under its number or a new one.
    fn wait(&mut self, number: &mut u64, waker: &Waker) {
        let waiting = self.waiting.get_or_insert_default();
        match waiting.binary_search_by_key(number, |(number, _)| *number) {
            Ok(place) => waiting.get_mut(place).into_iter().for_each(|(_, known)| known.clone_from(waker)),
            Err(_) => {
                self.waits += 1;
                *number = self.waits;
                waiting.push((*number, waker.clone()));
            }
        }
    }

    /// What was taken stands before everything else again.
    fn take_back(&mut self, batch: &mut VecDeque<E>) {
        self.gone = self.gone.wrapping_sub(count(batch.len()));
        while let Some(message) = batch.pop_back() {
            self.messages.push_front(message);
        }
    }

    /// Moves the oldest messages into the batch, unless there is only one.
    fn fill(&mut self, batch: &mut VecDeque<E>) -> Option<E> {
        let mut only = None;
        match self.messages.len() {
            1 => only = self.messages.pop_front(),
            2..=BATCH => std::mem::swap(&mut self.messages, batch),
            _ => batch.extend(self.messages.drain(..BATCH)),
        }
        self.gone = self.gone.wrapping_add(count(batch.len().max(1)));
        if let Some((_, since)) = self.mark.take_if(|(number, _)| *number < self.gone) {
            let waited = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.waited = self.waited.saturating_add(waited);
            self.longest = self.longest.max(waited);
            self.timed += 1;
        }
        only
    }
}

fn wake_all(waiting: Option<Box<Vec<(u64, Waker)>>>) {
    waiting.into_iter().flat_map(|waiting| *waiting).for_each(|(_, waker)| waker.wake());
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
