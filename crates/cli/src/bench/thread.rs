//! What the connections of one thread share: the clock, how many calls are left, the schedule, the figures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    origin: Instant,
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

    #[inline]
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
    /// It has one connection.
    pub(super) alone: bool,
    /// Calls that this thread may still start.
    left: u64,
    /// Calls that this thread has started.
    started: u64,
    /// The starts of the open loop.
    pub(super) schedule: Option<Schedule>,
    pub(super) figures: Figures,
    /// Memory that a connection needs while it has its turn.
    pub(super) input: Vec<u8>,
    pub(super) out: Vec<u8>,
    pub(super) scratch: Scratch,
    /// How many calls have ended, for whoever shows the progress.
    progress: Arc<AtomicU64>,
    /// Why there is nothing to call, where the peer is another one than is meant.
    pub(super) stranger: Option<String>,
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
        let alone = plan.connections <= plan.threads;
        let (number, threads) = (number as u64, plan.threads as u64);
        let left = match plan.stop {
            Stop::After(_) => u64::MAX,
            // Thread 0 has calls 0, n, 2n …, thread 1 has calls 1, n + 1 …
            Stop::Calls(all) => all.saturating_sub(number).div_ceil(threads),
        };
        let schedule = plan.rate.map(|rate| Schedule::new(0, rate, number, threads, left));
        let figures = Figures::new(times.begin, plan.html.is_some());
        Self {
            plan,
            times,
            number,
            alone,
            left,
            started: 0,
            schedule,
            figures,
            input: Vec::new(),
            out: Vec::new(),
            scratch: Scratch::default(),
            progress,
            stranger: None,
        }
    }

    #[inline]
    pub(super) fn now(&self) -> u64 {
        self.times.now()
    }

    /// Whether no call may start any more.
    #[inline]
    pub(super) fn over(&self, now: u64) -> bool {
        now >= self.times.end || self.left == 0
    }

    /// How many calls may start now, on all connections together.
    pub(super) fn due(&self, now: u64) -> u64 {
        self.schedule.as_ref().map_or(u64::MAX, |schedule| schedule.due(now))
    }

    /// Starts a call, if one may start now.
    #[inline]
    pub(super) fn start(&mut self, now: u64) -> Option<Start> {
        if self.over(now) {
            return None;
        }
        let begun = match &mut self.schedule {
            None => now,
            Some(schedule) => schedule.take(now)?,
        };
        self.left -= u64::from(self.left != u64::MAX);
        let number = self.started;
        self.started += 1;
        self.figures.started(begun, now);
        Some(Start { begun, seq: number * self.plan.threads as u64 + self.number })
    }

    /// Shows how far it is.
    pub(super) fn publish(&self) {
        self.progress.store(self.figures.n(), Ordering::Relaxed);
    }
}
