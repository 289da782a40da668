//! `Slow`: takes its time, and counts how its calls ended.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use trunkline::{Code, Message, Result, Status, service};

/// How long to sleep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Sleep {
    millis: i64,
}

/// How long it slept, in milliseconds: as long as it was told to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Slept {
    slept: i64,
}

/// How the calls of `Slow.Sleep` stand, since the start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Stats {
    running: i64,
    completed: i64,
    cancelled: i64,
}

/// Calls that take time.
#[service]
pub(crate) trait Slow {
    /// Sleeps; ends early when the call is cancelled, times out or loses its caller.
    async fn sleep(&self, time: Sleep) -> Result<Slept>;
    /// How the calls of `Slow.Sleep` stand.
    fn stats(&self) -> Result<Stats>;
}

/// Sleeps and counts.
#[derive(Default)]
pub(crate) struct Sleeper {
    running: AtomicI64,
    completed: AtomicI64,
    cancelled: AtomicI64,
}

/// One sleep; when it is dropped the counters are told how it ended.
struct Running<'a> {
    counters: &'a Sleeper,
    completed: bool,
}

impl<'a> Running<'a> {
    fn begin(counters: &'a Sleeper) -> Self {
        counters.running.fetch_add(1, Ordering::Relaxed);
        Self { counters, completed: false }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.counters.running.fetch_sub(1, Ordering::Relaxed);
        let ended = if self.completed { &self.counters.completed } else { &self.counters.cancelled };
        ended.fetch_add(1, Ordering::Relaxed);
    }
}

impl Slow for Sleeper {
    async fn sleep(&self, time: Sleep) -> Result<Slept> {
        let millis = u64::try_from(time.millis)
            .map_err(|_| Status::new(Code::InvalidInput, "Millis must not be negative"))?;
        let mut running = Running::begin(self);
        tokio::time::sleep(Duration::from_millis(millis)).await;
        running.completed = true;
        Ok(Slept { slept: time.millis })
    }

    fn stats(&self) -> Result<Stats> {
        let read = |counter: &AtomicI64| counter.load(Ordering::Relaxed);
        let (running, completed) = (read(&self.running), read(&self.completed));
        Ok(Stats { running, completed, cancelled: read(&self.cancelled) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_dropped_sleep_counts_as_cancelled() {
        let sleeper = Sleeper::default();
        assert_eq!(sleeper.sleep(Sleep { millis: 50 }).await.unwrap(), Slept { slept: 50 });
        let cut = tokio::time::timeout(Duration::from_millis(10), sleeper.sleep(Sleep { millis: i64::MAX }));
        assert!(cut.await.is_err());
        assert!(sleeper.sleep(Sleep { millis: -1 }).await.is_err());
        assert_eq!(sleeper.stats().unwrap(), Stats { running: 0, completed: 1, cancelled: 1 });
    }
}
