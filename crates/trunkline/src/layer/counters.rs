//! Counts calls by method: how many, how many failed, how many are in flight, how long they took.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::layer::Layer;
use crate::service::{Answer, ReplyBuf, Request, Service};
use crate::{Call, MethodId, Reply, Result};

/// Threads write to cells of their own, so that they do not take the cache line from each other.
const SHARDS: usize = 8;

/// One in so many of the calls that are answered on the spot is timed: two looks at the clock cost as much as
/// such a call.
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
    /// Time spent in all calls together; of those that are answered on the spot one in 16 is timed.
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

/// The counters of all methods of a server, in the order of its table; the last entry is for unknown names.
#[derive(Debug)]
pub struct Counters {
    methods: Vec<[Cells; SHARDS]>,
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
        for cells in self.methods.get(index).into_iter().flatten() {
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

    fn cells(&self, method: Option<MethodId>) -> Option<&Cells> {
        let last = self.methods.len().checked_sub(1)?;
        let index = method.and_then(|id| usize::try_from(id.flat).ok()).map_or(last, |index| index.min(last));
        self.methods.get(index)?.get(shard())
    }
}

fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SHARD: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    SHARD.with(|shard| *shard)
}

/// Makes [`Counted`].
#[derive(Debug, Clone)]
pub struct CountersLayer {
    counters: Arc<Counters>,
}

impl CountersLayer {
    /// Counts into these.
    #[must_use]
    pub fn new(counters: Arc<Counters>) -> Self {
        Self { counters }
    }
}

/// See [`CountersLayer`]. It stands above all that can refuse a call, so that refusals count as failures.
#[derive(Debug, Clone)]
pub struct Counted<S> {
    inner: S,
    counters: Arc<Counters>,
}

impl<S: Service> Layer<S> for CountersLayer {
    type Service = Counted<S>;

    fn layer(self, inner: S) -> Counted<S> {
        Counted { inner, counters: self.counters }
    }
}

/// Ends the count of a call, also when its future is dropped.
struct InFlight<'a> {
    counters: &'a Counters,
    method: Option<MethodId>,
    begun: Instant,
    failed: bool,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if let Some(cells) = self.counters.cells(self.method) {
            let nanoseconds = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
            cells.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
            cells.ended.fetch_add(1, Ordering::Relaxed);
            if self.failed {
                cells.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl<S: Service> Service for Counted<S> {
    async fn call(&self, call: Call) -> Result<Reply> {
        if let Some(cells) = self.counters.cells(call.method) {
            cells.begun.fetch_add(1, Ordering::Relaxed);
        }
        let mut in_flight =
            InFlight { counters: &self.counters, method: call.method, begun: Instant::now(), failed: true };
        let result = self.inner.call(call).await;
        in_flight.failed = result.is_err();
        result
    }

    fn answer(&self, request: &Request<'_>, reply: &mut ReplyBuf<'_>) -> Answer {
        let begun = tick().then(Instant::now);
        let answer = self.inner.answer(request, reply);
        if let (Answer::Done(result), Some(cells)) = (&answer, self.counters.cells(Some(request.method))) {
            cells.begun.fetch_add(1, Ordering::Relaxed);
            cells.ended.fetch_add(1, Ordering::Relaxed);
            if result.is_err() {
                cells.failures.fetch_add(1, Ordering::Relaxed);
            }
            if let Some(begun) = begun {
                let nanoseconds = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
                cells.nanoseconds.fetch_add(nanoseconds.saturating_mul(SAMPLED), Ordering::Relaxed);
            }
        }
        answer
    }
}

/// Whether the call that is answered on the spot now is one of those that are timed.
fn tick() -> bool {
    thread_local! {
        static CALLS: Cell<u64> = const { Cell::new(0) };
    }
    CALLS.with(|calls| {
        let count = calls.get().wrapping_add(1);
        calls.set(count);
        count % SAMPLED == 0
    })
}
