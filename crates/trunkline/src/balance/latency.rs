//! A peak EWMA of latency: it jumps up with a slow call and sinks slowly, so that a slow endpoint is seen at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// In so long an old latency loses all but a third of its weight.
const DECAY: Duration = Duration::from_secs(10);

/// In one word, so that it is read and written without a lock: the latency in units of 100 ns above, the moment of the
/// last sample in milliseconds below.
#[derive(Debug)]
pub(crate) struct Latency {
    word: AtomicU64,
    begun: Instant,
}

impl Latency {
    pub(crate) fn new(now: Instant) -> Self {
        Self { word: AtomicU64::new(0), begun: now }
    }

    /// The latency as it counts now; none where no call has ended yet.
    pub(crate) fn get(&self, now: Instant) -> Option<Duration> {
        let word = self.word.load(Ordering::Relaxed);
        (word != 0).then(|| decayed(word, self.stamp(now)).0)
    }

    /// A call took so long.
    pub(crate) fn sample(&self, took: Duration, now: Instant) {
        let stamp = self.stamp(now);
        let next = |word| {
            let (old, weight) = decayed(word, stamp);
            // A peak counts in full; below it the old latency makes place for the new one.
            let mixed = old + took.mul_f64(1.0 - weight);
            Some(packed(if word == 0 { took } else { took.max(mixed) }, stamp))
        };
        let _ = self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// A call took so long, and what was before does not count.
    pub(crate) fn restart(&self, took: Duration, now: Instant) {
        self.word.store(packed(took, self.stamp(now)), Ordering::Relaxed);
    }

    /// A call failed: what is slow is no better for being wrong quickly.
    pub(crate) fn penalise(&self, took: Duration, now: Instant) {
        let worse = self.get(now).unwrap_or_default().saturating_mul(2);
        self.sample(took.max(worse), now);
    }

    /// Milliseconds since the start; after 49 days they begin again, which once makes a latency old too soon.
    fn stamp(&self, now: Instant) -> u32 {
        let millis = now.saturating_duration_since(self.begun).as_millis() & u128::from(u32::MAX);
        u32::try_from(millis).unwrap_or_default()
    }
}

/// The latency as it counts at `stamp`, and the share of the old one that is left.
fn decayed(word: u64, stamp: u32) -> (Duration, f64) {
    let then = u32::try_from(word & u64::from(u32::MAX)).unwrap_or_default();
    let units = word >> 32;
    let since = Duration::from_millis(u64::from(stamp.wrapping_sub(then)));
    let weight = (-since.as_secs_f64() / DECAY.as_secs_f64()).exp();
    (Duration::from_nanos(units.saturating_mul(100)).mul_f64(weight), weight)
}

/// At least one unit, so that it is told from none.
fn packed(latency: Duration, stamp: u32) -> u64 {
    let units = u32::try_from(latency.as_nanos() / 100).unwrap_or(u32::MAX).max(1);
    u64::from(units) << 32 | u64::from(stamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_jumps_up_and_sinks_slowly() {
        let begun = Instant::now();
        let latency = Latency::new(begun);
        let at = |millis| begun + Duration::from_millis(millis);
        assert_eq!(latency.get(begun), None);
        latency.sample(Duration::from_millis(10), at(0));
        assert_eq!(latency.get(at(0)), Some(Duration::from_millis(10)));
        latency.sample(Duration::from_millis(100), at(1_000));
        assert_eq!(latency.get(at(1_000)), Some(Duration::from_millis(100)));
        // A quick call does not make it quick at once.
        latency.sample(Duration::from_millis(10), at(1_010));
        let now = latency.get(at(1_010)).unwrap();
        assert!((95..100).contains(&now.as_millis()), "{now:?}");
        for millis in (2_000..60_000).step_by(100) {
            latency.sample(Duration::from_millis(10), at(millis));
        }
        let now = latency.get(at(60_000)).unwrap();
        assert!((9..12).contains(&now.as_millis()), "{now:?}");
        // Nothing heard for long: it is worth a try.
        assert!(latency.get(at(120_000)).unwrap() < Duration::from_millis(1));
    }

    #[test]
    fn extremes_fit() {
        let begun = Instant::now();
        let latency = Latency::new(begun);
        latency.sample(Duration::ZERO, begun);
        assert_eq!(latency.get(begun), Some(Duration::from_nanos(100)));
        latency.penalise(Duration::ZERO, begun);
        assert_eq!(latency.get(begun), Some(Duration::from_nanos(200)));
        latency.sample(Duration::from_secs(1 << 40), begun);
        assert!(latency.get(begun).unwrap() > Duration::from_secs(400));
        latency.restart(Duration::from_millis(1), begun + Duration::from_secs(50 * 86_400));
        assert_eq!(latency.get(begun + Duration::from_secs(50 * 86_400)), Some(Duration::from_millis(1)));
    }
}
