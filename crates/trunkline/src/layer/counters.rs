//! Counts calls by method: how many, how many failed, how many are in flight, how long they took.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::Instant;

use crate::layer::Layer;
use crate::service::{Answer, ReplyBuf, Request, Service};
use crate::{Call, MethodId, Reply, Result, Serialization};

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

    fn cells(&self, method: Option<MethodId>) -> Option<&[Cells; SHARDS]> {
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
fn add(cells: &[Cells; SHARDS], figure: impl Fn(&Cells) -> &AtomicU64, number: u64) {
    let shard = shard();
    let Some(cell) = cells.get(shard).map(figure) else { return };
    if shard < OWN {
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(number), Ordering::Relaxed);
    } else {
        cell.fetch_add(number, Ordering::Relaxed);
    }
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

/// A call has ended.
#[inline]
fn end(cells: &[Cells; SHARDS], failed: bool) {
    add(cells, |cells| &cells.ended, 1);
    if failed {
        add(cells, |cells| &cells.failures, 1);
    }
}

fn add_time(cells: &[Cells; SHARDS], time: Duration, calls: u64) {
    let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).saturating_mul(calls);
    add(cells, |cells| &cells.nanoseconds, nanoseconds);
}

/// Ends the count of a call: as a failure where its future is dropped.
struct InFlight<'a> {
    cells: &'a [Cells; SHARDS],
    /// The end of the first poll, where the call had to wait after it.
    waits: Option<Instant>,
    failed: bool,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if let Some(waits) = self.waits {
            add_time(self.cells, waits.elapsed(), 1);
        }
        end(self.cells, self.failed);
    }
}

pin_project! {
    /// The future of a call that is counted. Of the first polls one in 16 is timed, and counts for all; what comes
    /// after the first poll is timed in full.
    struct Counting<'a, F> {
        #[pin]
        inner: F,
        count: Option<InFlight<'a>>,
    }
}

impl<F: Future<Output = Result<Reply>>> Future for Counting<'_, F> {
    type Output = Result<Reply>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Reply>> {
        let this = self.project();
        let Some(count) = this.count else {
            return this.inner.poll(cx);
        };
        let begun = (count.waits.is_none() && tick()).then(Instant::now);
        let poll = this.inner.poll(cx);
        if let Some(begun) = begun {
            add_time(count.cells, begun.elapsed(), SAMPLED);
        }
        match &poll {
            Poll::Ready(result) => {
                count.failed = result.is_err();
                *this.count = None;
            }
            Poll::Pending => {
                count.waits.get_or_insert_with(Instant::now);
            }
        }
        poll
    }
}

impl<S: Service> Service for Counted<S> {
    fn call(&self, call: Call) -> impl Future<Output = Result<Reply>> + Send {
        let count = self.counters.cells(call.method).map(|cells| {
            add(cells, |cells| &cells.begun, 1);
            InFlight { cells, waits: None, failed: true }
        });
        Counting { inner: self.inner.call(call), count }
    }

    fn answer(&self, request: &Request<'_>, reply: &mut ReplyBuf<'_>) -> Answer {
        let begun = tick().then(Instant::now);
        let answer = self.inner.answer(request, reply);
        let Answer::Done(result) = &answer else {
            untick();
            return answer;
        };
        if let Some(cells) = self.counters.cells(Some(request.method)) {
            add(cells, |cells| &cells.begun, 1);
            end(cells, result.is_err());
            if let Some(begun) = begun {
                add_time(cells, begun.elapsed(), SAMPLED);
            }
        }
        answer
    }

    fn serialization(&self) -> Serialization {
        self.inner.serialization()
    }
}

thread_local! {
    static TICKS: Cell<u64> = const { Cell::new(0) };
}

/// Whether the call that begins now is one of those that are timed.
fn tick() -> bool {
    let ticks = TICKS.get().wrapping_add(1);
    TICKS.set(ticks);
    ticks.is_multiple_of(SAMPLED)
}

/// The call begins once more, by the other path.
fn untick() {
    TICKS.set(TICKS.get().wrapping_sub(1));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::CatchPanicLayer;
    use crate::{Call, Code, Status, service_fn};

    fn call() -> Call {
        Call::new("A", "b", Serialization::Raw, "")
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_timed_and_what_is_dropped_has_failed() {
        let counters = Arc::new(Counters::new(0));
        let service = CountersLayer::new(Arc::clone(&counters)).layer(service_fn(|_| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(Reply::new("x"))
        }));
        service.call(call()).await.unwrap();
        let once = counters.unknown();
        assert_eq!((once.calls, once.failures, once.in_flight), (1, 0, 0));
        assert!(once.time >= Duration::from_secs(1), "{once:?}");
        let second = service.call(call());
        assert_eq!(counters.unknown().in_flight, 1);
        drop(second);
        let twice = counters.unknown();
        assert_eq!((twice.calls, twice.failures, twice.in_flight), (2, 1, 0));
    }

    /// A handler that panics before there is a future, and one that panics when it is asked.
    #[tokio::test]
    async fn a_panic_is_caught_and_counted_wherever_it_is() {
        let counters = Arc::new(Counters::new(0));
        let layer = || CountersLayer::new(Arc::clone(&counters));
        let at_once = service_fn(|call: Call| {
            assert!(call.is_one_way(), "at once");
            std::future::ready(Ok(Reply::new("")))
        });
        let at_once = CatchPanicLayer.layer(layer().layer(at_once));
        let later = service_fn(|call: Call| async move {
            assert!(call.is_one_way(), "later");
            Err(Status::failed("fails"))
        });
        let later = CatchPanicLayer.layer(layer().layer(later));
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
