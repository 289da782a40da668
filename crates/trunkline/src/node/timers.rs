//! The timers of a node: one wheel, one task, and what comes of a timer that is due.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::answer::Ticket;
use super::mailbox::{Envelope, Message, Shared, Tick};
use super::queue::Refused;
use super::wheel::{Key, Popped, Wheel};
use super::{Inner, current};

/// So many timers are looked at under one lock.
const STEPS: usize = 64;

/// The pending timers of a node.
pub(super) struct Timers {
    state: Mutex<State>,
    start: Instant,
    /// In nanoseconds, not 0.
    tick: u64,
    earlier: Notify,
}

struct State {
    wheel: Wheel<Action>,
    /// The tick at which the task looks next.
    armed: u64,
}

/// What comes of a timer.
pub(super) enum Action {
    /// A call's time is over.
    Wake(Waker),
    Fire(Box<dyn Fire>),
}

/// A message that waits for its time.
pub(super) trait Fire: Send {
    /// Its time has come.
    fn fire(self: Box<Self>) -> Fired;
}

/// What came of it.
pub(super) enum Fired {
    Done,
    /// Once more after so many ticks.
    Again(Box<dyn Fire>, u64),
}

impl Timers {
    pub(super) fn new(tick: Duration) -> Self {
        let tick = nanoseconds(tick.max(Duration::from_millis(1)));
        let state = State { wheel: Wheel::default(), armed: u64::MAX };
        Self { state: Mutex::new(state), start: Instant::now(), tick, earlier: Notify::new() }
    }

    /// How many are pending, calls that wait among them.
    pub(super) fn len(&self) -> usize {
        self.lock().wheel.len()
    }

    /// Sets a timer. None where there are too many.
    pub(super) fn insert(&self, at: Instant, action: Action) -> Option<Key> {
        let due = self.tick_of(at);
        let mut state = self.lock();
        let key = state.wheel.insert(due, action);
        let earlier = due < state.armed;
        if earlier {
            state.armed = due;
        }
        drop(state);
        if earlier {
            self.earlier.notify_one();
        }
        key
    }

    /// Takes a timer out; whether it was still pending.
    pub(super) fn cancel(&self, key: Key) -> bool {
        let action = self.lock().wheel.cancel(key);
        action.is_some()
    }

    /// Says whom to wake now.
    pub(super) fn renew(&self, key: Key, waker: &Waker) {
        if let Some(Action::Wake(known)) = self.lock().wheel.action(key) {
            known.clone_from(waker);
        }
    }

    /// How many ticks a pause has, at least one.
    pub(super) fn ticks(&self, pause: Duration) -> u64 {
        nanoseconds(pause).div_ceil(self.tick).max(1)
    }

    /// The first tick that does not begin before this moment.
    fn tick_of(&self, at: Instant) -> u64 {
        nanoseconds(at.saturating_duration_since(self.start)).div_ceil(self.tick)
    }

    /// Lets what is due happen, as many as under one lock, and says when to look again; none: at once.
    fn turn(&self, due: &mut Vec<(Key, Action)>) -> Option<u64> {
        let over = nanoseconds(self.start.elapsed()) / self.tick;
        let mut next = None;
        let mut state = self.lock();
        for _ in 0..STEPS {
            match state.wheel.pop(over) {
                Popped::Due(key, action) => due.push((key, action)),
                Popped::Moved => {}
                Popped::Nothing => {
                    next = Some(state.wheel.next().unwrap_or(u64::MAX));
                    break;
                }
            }
        }
        // What is set meanwhile for an earlier tick than this one wakes the task.
        state.armed = next.unwrap_or(over);
        drop(state);
        let ended: Vec<_> = due.drain(..).map(|(key, action)| (key, run(action))).collect();
        if ended.is_empty() {
            return next;
        }
        let mut state = self.lock();
        let mut dropped = Vec::new();
        for (key, again) in ended {
            match again {
                Some((action, every)) => dropped.extend(state.wheel.again(key, every, over, action).err()),
                None => drop(state.wheel.cancel(key)),
            }
        }
        if next.is_some() {
            next = Some(state.wheel.next().unwrap_or(u64::MAX));
            state.armed = next.unwrap_or(over);
        }
        next
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Five centuries at most.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn run(action: Action) -> Option<(Action, u64)> {
    match action {
        Action::Wake(waker) => waker.wake(),
        Action::Fire(fire) => {
            if let Fired::Again(fire, every) = fire.fire() {
                return Some((Action::Fire(fire), every));
            }
        }
    }
    None
}

/// The task of a node's timers. It ends with the node.
pub(super) async fn drive(node: Arc<Inner>) {
    let timers = &node.timers;
    let mut due = Vec::new();
    loop {
        match timers.turn(&mut due) {
            None => tokio::task::yield_now().await,
            Some(u64::MAX) => {
                tokio::select! {
                    () = timers.earlier.notified() => {}
                    () = node.ended.cancelled() => return,
                }
            }
            Some(next) => {
                let pause = Duration::from_nanos(timers.tick.saturating_mul(next));
                let at = timers
                    .start
                    .checked_add(pause)
                    .unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
                tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = timers.earlier.notified() => {}
                    () = node.ended.cancelled() => return,
                }
            }
        }
    }
}

/// One message, once.
pub(super) struct Once<M, A, R> {
    pub(super) shared: Arc<Shared<M>>,
    pub(super) make: fn(A, Option<Ticket<R>>) -> M,
    pub(super) argument: A,
}

impl<M: Message, A: Send, R: 'static> Fire for Once<M, A, R> {
    fn fire(self: Box<Self>) -> Fired {
        let Self { shared, make, argument } = *self;
        let envelope = Envelope::Message(make(argument, None));
        Box::new(Held { shared, envelope }).fire()
    }
}

/// A message whose time has come, and for which the mailbox has no room.
struct Held<M> {
    shared: Arc<Shared<M>>,
    envelope: Envelope<M>,
}

impl<M: Message> Fire for Held<M> {
    fn fire(self: Box<Self>) -> Fired {
        let Self { shared, envelope } = *self;
        match shared.queue.push(envelope, false, current::is_inside) {
            Err(Refused::Full(envelope)) => {
                shared.core.figures.rare().held.add();
                Fired::Again(Box::new(Self { shared, envelope }), 1)
            }
            Ok(_) | Err(Refused::Shut(_)) => Fired::Done,
        }
    }
}

/// A message that repeats.
pub(super) struct Repeat<M> {
    pub(super) shared: Arc<Shared<M>>,
    pub(super) ticking: Arc<dyn Tick<M>>,
    /// In ticks of the wheel.
    pub(super) every: u64,
    /// How often it still is to come; 0 for ever.
    pub(super) left: u32,
}

impl<M: Message> Fire for Repeat<M> {
    fn fire(mut self: Box<Self>) -> Fired {
        // One that waits in the mailbox stands for those that come meanwhile.
        if self.ticking.claim() {
            let envelope = Envelope::Tick(Arc::clone(&self.ticking));
            match self.shared.queue.push(envelope, false, current::is_inside) {
                Ok(_) if self.left == 1 => return Fired::Done,
                Ok(_) => self.left = self.left.saturating_sub(1),
                Err(Refused::Full(_)) => {
                    self.ticking.free();
                    self.shared.core.figures.rare().held.add();
                }
                Err(Refused::Shut(_)) => return Fired::Done,
            }
        } else {
            self.shared.core.figures.rare().held.add();
        }
        let every = self.every;
        Fired::Again(self, every)
    }
}

/// What the ticks of one timer have in common.
pub(super) struct Ticking<M, A, R> {
    pub(super) make: fn(A, Option<Ticket<R>>) -> M,
    pub(super) argument: Mutex<A>,
    pub(super) waits: AtomicBool,
}

impl<M: Message, A: Clone + Send, R: 'static> Tick<M> for Ticking<M, A, R> {
    fn message(&self) -> M {
        self.free();
        let argument = self.argument.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.make)(argument, None)
    }

    fn claim(&self) -> bool {
        !self.waits.swap(true, Ordering::AcqRel)
    }

    fn free(&self) {
        self.waits.store(false, Ordering::Release);
    }
}

/// A timer that was set. Dropping it leaves it pending.
#[derive(Clone)]
pub struct Timer {
    pub(super) key: Option<Key>,
    pub(super) node: Arc<Inner>,
}

impl Timer {
    /// Takes it back: whether it was still pending. A tick that waits in the mailbox already is not taken back.
    pub fn cancel(&self) -> bool {
        self.key.is_some_and(|key| self.node.timers.cancel(key))
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("key", &self.key).finish_non_exhaustive()
    }
}
