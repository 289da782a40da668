//! Counts calls by method: how many, how many failed, how many are in flight, how long they took.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::histogram::{Histogram, Times};
use super::policy::{Facts, Policy};
use crate::MethodId;

/// So many threads at a time write to cells of their own: without a lock on the bus, and without taking the cache
/// line from each other. Further threads share the last cells.
const OWN: usize = 16;
const SHARDS: usize = OWN + 1;

/// One in so many of the calls is timed until its handler has to wait: two looks at the clock cost as much as
/// a call that never waits.
const SAMPLED: u64 = 16;

/// The figures of one method at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct MethodCounters {
    /// Calls that ended, well or not.
    pub calls: u64,
    /// Calls that failed, or were dropped before they were answered.
    pub failures: u64,
    /// Calls that are being answered.
    pub in_flight: u64,
    /// Time spent in all calls together; until a handler has to wait one call in 16 is timed for all.
    pub time: Duration,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Cells {
    begun: AtomicU64,
    ended: AtomicU64,
    failures: AtomicU64,
    nanoseconds: AtomicU64,
}

/// What is counted of one method.
#[derive(Debug, Default)]
struct Method {
    cells: [Cells; SHARDS],
    /// How long the calls took that were timed.
    histogram: Histogram,
}

/// The counters of all methods of a server, in the order of its table; the last entry is for unknown names.
#[derive(Debug)]
pub struct Counters {
    methods: Vec<Method>,
}

impl Counters {
    /// Counters for so many methods.
    #[must_use]
    pub fn new(methods: usize) -> Self {
        Self { methods: (0..=methods).map(|_| Default::default()).collect() }
    }

    /// The figures of a method by its place in the server's table.
    #[must_use]
    pub fn method(&self, index: usize) -> MethodCounters {
        let mut sum = MethodCounters::default();
        let mut nanoseconds = 0u64;
        let mut begun = 0u64;
        for cells in self.methods.get(index).into_iter().flat_map(|method| &method.cells) {
            sum.calls = sum.calls.wrapping_add(cells.ended.load(Ordering::Relaxed));
            begun = begun.wrapping_add(cells.begun.load(Ordering::Relaxed));
            sum.failures = sum.failures.wrapping_add(cells.failures.load(Ordering::Relaxed));
            nanoseconds = nanoseconds.wrapping_add(cells.nanoseconds.load(Ordering::Relaxed));
        }
        // The cells are read one after the other while calls go on.
        sum.in_flight = begun.saturating_sub(sum.calls);
        sum.time = Duration::from_nanos(nanoseconds);
        sum
    }

    /// How long the calls of a method took that were timed.
    pub(crate) fn times(&self, index: usize) -> Times {
        self.methods.get(index).map(|method| method.histogram.times()).unwrap_or_default()
    }

    /// The figures of calls to unknown names.
    #[must_use]
    pub fn unknown(&self) -> MethodCounters {
        self.method(self.methods.len().saturating_sub(1))
    }

    /// How many calls are being answered.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        (0..self.methods.len()).map(|index| self.method(index).in_flight).sum()
    }

    fn counted(&self, method: Option<MethodId>) -> Option<&Method> {
        let last = self.methods.len().checked_sub(1)?;
        let index = method.and_then(|id| usize::try_from(id.flat).ok()).map_or(last, |index| index.min(last));
        self.methods.get(index)
    }
}

/// A thread's place among the cells; free for another thread when it ends.
struct Place(usize);

static TAKEN: [AtomicBool; OWN] = [const { AtomicBool::new(false) }; OWN];

impl Place {
    fn take() -> Self {
        // Acquire: what the last owner counted is there.
        let free = TAKEN.iter().position(|taken| !taken.swap(true, Ordering::Acquire));
        Self(free.unwrap_or(OWN))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        SHARD.set(OWN);
        if let Some(taken) = TAKEN.get(self.0) {
            taken.store(false, Ordering::Release);
        }
    }
}

thread_local! {
    /// The number of the thread's cells, where it has asked for them.
    static SHARD: Cell<usize> = const { Cell::new(SHARDS) };
    static PLACE: Place = Place::take();
}

#[inline]
fn shard() -> usize {
    match SHARD.get() {
        SHARDS => first_shard(),
        shard => shard,
    }
}

#[cold]
fn first_shard() -> usize {
    let shard = PLACE.try_with(|place| place.0).unwrap_or(OWN);
    SHARD.set(shard);
    shard
}

/// Adds to this thread's share of a figure.
#[inline]
fn add(method: &Method, figure: impl Fn(&Cells) -> &AtomicU64, number: u64) {
    let shard = shard();
    let Some(cell) = method.cells.get(shard).map(figure) else { return };
    if shard < OWN {
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(number), Ordering::Relaxed);
    } else {
        cell.fetch_add(number, Ordering::Relaxed);
    }
}

/// A call that is counted: as a failure where it is dropped. Until its handler has to wait one call in 16 is timed,
/// and counts for all; what comes after is timed in full.
#[derive(Debug)]
pub struct InFlight<'a> {
    method: &'a Method,
    /// Since when the time runs that is not counted yet, and for how many calls it counts.
    timed: Option<(Instant, u64)>,
}

impl InFlight<'_> {
    /// Counts the time until now; whether the call `ended` here.
    #[cold]
    fn add_time(&self, since: Instant, calls: u64, ended: bool) {
        let nanoseconds = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        add(self.method, |cells| &cells.nanoseconds, nanoseconds.saturating_mul(calls));
        if ended {
            self.method.histogram.add(shard(), calls == 1, nanoseconds);
        }
    }

    #[inline(always)]
    fn end(&self, failed: bool) {
        if let Some((since, calls)) = self.timed {
            self.add_time(since, calls, true);
        }
        add(self.method, |cells| &cells.ended, 1);
        if failed {
            add(self.method, |cells| &cells.failures, 1);
        }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.end(true);
    }
}

/// It stands above all that can refuse a call, so that refusals count as failures.
impl Policy for Arc<Counters> {
    type Guard<'a> = Option<InFlight<'a>>;

    #[inline(always)]
    fn begin(&self, facts: &Facts<'_>) -> Self::Guard<'_> {
        let method = self.counted(facts.method_id())?;
        add(method, |cells| &cells.begun, 1);
        Some(InFlight { method, timed: tick().then(|| (Instant::now(), SAMPLED)) })
    }

    fn waits<'a>(mut guard: Self::Guard<'a>) -> Self::Guard<'a> {
        if let Some(call) = &mut guard {
            if let Some((since, calls)) = call.timed {
                call.add_time(since, calls, false);
            }
            call.timed = Some((Instant::now(), 1));
        }
        guard
    }

    fn declined(guard: Self::Guard<'_>) {
        if let Some(call) = guard {
            add(call.method, |cells| &cells.begun, 1u64.wrapping_neg());
            TICKS.set(TICKS.get().wrapping_sub(1));
            std::mem::forget(call);
        }
    }

    #[inline(always)]
    fn ended(guard: Self::Guard<'_>, failed: bool) {
        if let Some(call) = &guard {
            call.end(failed);
        }
        // It is counted: dropping it would count it once more, as a failure.
        std::mem::forget(guard);
    }
}

thread_local! {
    static TICKS: Cell<u64> = const { Cell::new(0) };
}

/// Whether the call that begins now is one of those that are timed.
#[inline]
fn tick() -> bool {
    let ticks = TICKS.get().wrapping_add(1);
    TICKS.set(ticks);
    ticks.is_multiple_of(SAMPLED)
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;
    use crate::layer::Guarded;
    use crate::{Call, Code, Reply, Serialization, Service, Status, service_fn};

    fn call() -> Call {
        Call::new("A", "b", Serialization::Raw, "")
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_timed_and_what_is_dropped_has_failed() {
        let counters = Arc::new(Counters::new(0));
        let service = Guarded::new(
            service_fn(|_| async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(Reply::new("x"))
            }),
            Arc::clone(&counters),
        );
        service.call(call()).await.unwrap();
        let once = counters.unknown();
        assert_eq!((once.calls, once.failures, once.in_flight), (1, 0, 0));
        assert!(once.time >= Duration::from_secs(1), "{once:?}");
        let mut second = Box::pin(service.call(call()));
        assert!(std::future::poll_fn(|cx| Poll::Ready(second.as_mut().poll(cx))).await.is_pending());
        assert_eq!(counters.unknown().in_flight, 1);
        drop(second);
        let twice = counters.unknown();
        assert_eq!((twice.calls, twice.failures, twice.in_flight), (2, 1, 0));
    }

    /// A handler that panics before there is a future, and one that panics when it is asked.
    #[tokio::test]
    async fn a_panic_is_caught_and_counted_wherever_it_is() {
        let counters = Arc::new(Counters::new(0));
        let policies = || Arc::clone(&counters);
        let at_once = service_fn(|call: Call| {
            assert!(call.is_one_way(), "at once");
            std::future::ready(Ok(Reply::new("")))
        });
        let at_once = Guarded::new(at_once, policies());
        let later = service_fn(|call: Call| async move {
            assert!(call.is_one_way(), "later");
            Err(Status::failed("fails"))
        });
        let later = Guarded::new(later, policies());
        assert_eq!(at_once.call(call()).await.unwrap_err().code(), Code::Internal);
        let future = later.call(call());
        let mut future = std::pin::pin!(future);
        assert_eq!(future.as_mut().await.unwrap_err().code(), Code::Internal);
        // Counted at once, not when the future is dropped.
        let counted = counters.unknown();
        assert_eq!((counted.calls, counted.failures, counted.in_flight), (2, 2, 0));
        assert_eq!(later.call(call().one_way()).await.unwrap_err().code(), Code::Failed);
        assert!(at_once.call(call().one_way()).await.is_ok());
    }
}
