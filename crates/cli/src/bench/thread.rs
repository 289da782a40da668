//! What the connections of one thread share: the clock, how many calls are left, the schedule, the figures.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::Instant;

use super::bodies::Scratch;
use super::figures::Figures;
use super::plan::{Plan, Stop};
use super::schedule::Schedule;

/// How much is read or written at once: more does not stay in the cache.
pub(super) const BATCH: usize = 64 << 10;

/// The times of a run, in nanoseconds after `origin`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) origin: Instant,
    /// Where the figures begin, after the warm-up.
    pub(super) begin: u64,
    /// No call begins at or after this.
    pub(super) end: u64,
}

impl Times {
    /// The times of a run that starts now.
    pub(super) fn start(stop: Stop) -> Self {
        let origin = Instant::now();
        match stop {
            Stop::Calls(_) => Self { origin, begin: 0, end: u64::MAX },
            Stop::After(time) => {
                let begin = nanos(super::plan::warm_up(time));
                Self { origin, begin, end: begin.saturating_add(nanos(time)) }
            }
        }
    }

    pub(super) fn now(&self) -> u64 {
        nanos(self.origin.elapsed())
    }
}

/// Nanoseconds of 584 years at most.
pub(super) fn nanos(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// One thread of the run.
pub(super) struct Thread {
    pub(super) plan: Arc<Plan>,
    pub(super) times: Times,
    /// Which of the threads it is.
    number: u64,
    /// Calls that this thread may still start.
    left: Cell<u64>,
    /// Calls that this thread has started.
    started: Cell<u64>,
    pub(super) schedule: Option<RefCell<Schedule>>,
    /// Connections that have a free place and wait for a start that is due.
    parked: RefCell<VecDeque<Rc<Parking>>>,
    /// The pacer, where it waits for somebody to park.
    pub(super) pacer: Cell<Option<Waker>>,
    pub(super) figures: RefCell<Figures>,
    pub(super) buffers: RefCell<Buffers>,
    /// How many calls have ended, for whoever shows the progress.
    pub(super) progress: Arc<AtomicU64>,
}

/// Memory that a connection needs while it is polled.
#[derive(Default)]
pub(super) struct Buffers {
    pub(super) input: Vec<u8>,
    pub(super) out: Vec<u8>,
    pub(super) scratch: Scratch,
}

/// Where a connection of the open loop waits.
#[derive(Default)]
pub(super) struct Parking {
    queued: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// A call that may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    /// What its latency counts from: now, or when the schedule meant it to start.
    pub(super) begun: u64,
    /// The call's number in the whole run.
    pub(super) seq: u64,
}

impl Thread {
    pub(super) fn new(plan: Arc<Plan>, times: Times, number: usize, progress: Arc<AtomicU64>) -> Self {
        let (number, threads) = (number as u64, plan.threads as u64);
        let left = match plan.stop {
            Stop::After(_) => u64::MAX,
            // Thread 0 has calls 0, n, 2n …, thread 1 has calls 1, n + 1 …
            Stop::Calls(all) => all.saturating_sub(number).div_ceil(threads),
        };
        let schedule = plan.rate.map(|rate| RefCell::new(Schedule::new(0, rate, number, threads, left)));
        let figures = RefCell::new(Figures::new(times.begin, plan.html.is_some()));
        Self {
            plan,
            times,
            number,
            left: Cell::new(left),
            started: Cell::new(0),
            schedule,
            parked: RefCell::default(),
            pacer: Cell::default(),
            figures,
            buffers: RefCell::default(),
            progress,
        }
    }

    pub(super) fn now(&self) -> u64 {
        self.times.now()
    }

    /// Whether no call may start any more.
    #[inline]
    pub(super) fn over(&self, now: u64) -> bool {
        now >= self.times.end || self.left.get() == 0
    }

    /// How many calls one connection may start now: in the open loop its share of those that are due.
    #[inline]
    pub(super) fn share(&self, now: u64) -> u64 {
        match &self.schedule {
            None => u64::MAX,
            Some(schedule) => schedule.borrow().due(now).div_ceil(self.parked.borrow().len() as u64 + 1),
        }
    }

    /// Starts a call, if one may start now.
    #[inline]
    pub(super) fn start(&self, now: u64) -> Option<Start> {
        if self.over(now) {
            return None;
        }
        let begun = match &self.schedule {
            None => now,
            Some(schedule) => schedule.borrow_mut().take(now)?,
        };
        self.left.set(self.left.get().wrapping_sub(u64::from(self.left.get() != u64::MAX)));
        let number = self.started.get();
        self.started.set(number + 1);
        Some(Start { begun, seq: number * self.plan.threads as u64 + self.number })
    }

    /// The connection waits for a start that is due.
    pub(super) fn park(&self, parking: &Rc<Parking>, waker: &Waker) {
        if parking.queued.replace(true) {
            return;
        }
        *parking.waker.borrow_mut() = Some(waker.clone());
        self.parked.borrow_mut().push_back(Rc::clone(parking));
        if let Some(pacer) = self.pacer.take() {
            pacer.wake();
        }
    }

    /// Wakes so many connections that wait, the longest first. Whether there were any.
    pub(super) fn unpark(&self, most: u64) -> bool {
        let mut parked = self.parked.borrow_mut();
        let waiting = !parked.is_empty();
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(parked.len());
        for parking in parked.drain(..most) {
            parking.queued.set(false);
            if let Some(waker) = parking.waker.borrow_mut().take() {
                waker.wake();
            }
        }
        waiting
    }

    /// Shows how far it is.
    pub(super) fn publish(&self, ended: u64) {
        self.progress.store(ended, Ordering::Relaxed);
    }
}
