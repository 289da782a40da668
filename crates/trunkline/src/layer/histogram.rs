//! How long calls took, in eight ranges: only of the calls that are timed anyway.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many ranges there are.
pub(crate) const RANGES: usize = 8;

/// Up to how many whole milliseconds a call took in each range but the last, as IIP's Go program has them.
const UPTO: [u64; RANGES - 1] = [100, 200, 300, 500, 700, 1000, 1500];

/// Threads share so many sets of cells. Each call costs a timed one in them two locked instructions, so what is
/// answered on the spot costs that once in 16 times.
const SHARES: usize = 4;

/// The calls of one range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Range {
    /// How long they took together.
    pub(crate) nanoseconds: u64,
    /// How many.
    pub(crate) count: u64,
}

/// What was timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Times {
    /// Calls that never waited: one in 16 of them, from their begin to their end.
    pub(crate) quick: [Range; RANGES],
    /// Calls whose handler had to wait, from there to their end: all of them.
    pub(crate) waited: [Range; RANGES],
}

#[derive(Debug, Default)]
struct Cells {
    nanoseconds: AtomicU64,
    count: AtomicU64,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Share {
    quick: [Cells; RANGES],
    waited: [Cells; RANGES],
}

/// The cells of one method.
#[derive(Debug, Default)]
pub(crate) struct Histogram([Share; SHARES]);

/// The range of a time.
fn range(nanoseconds: u64) -> usize {
    let milliseconds = nanoseconds / 1_000_000;
    UPTO.iter().position(|upto| milliseconds <= *upto).unwrap_or(UPTO.len())
}

impl Histogram {
    /// A call has ended that was timed.
    pub(crate) fn add(&self, shard: usize, waited: bool, nanoseconds: u64) {
        let Some(share) = self.0.get(shard % SHARES) else { return };
        let cells = if waited { &share.waited } else { &share.quick };
        if let Some(cell) = cells.get(range(nanoseconds)) {
            cell.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
            cell.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was timed so far.
    pub(crate) fn times(&self) -> Times {
        let mut times = Times::default();
        for share in &self.0 {
            for (ranges, cells) in [(&mut times.quick, &share.quick), (&mut times.waited, &share.waited)] {
                for (range, cell) in ranges.iter_mut().zip(cells) {
                    range.nanoseconds =
                        range.nanoseconds.wrapping_add(cell.nanoseconds.load(Ordering::Relaxed));
                    range.count = range.count.wrapping_add(cell.count.load(Ordering::Relaxed));
                }
            }
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the Go program: whole milliseconds, and a limit belongs to the range below it.
    #[test]
    fn a_time_has_its_range() {
        let of = |milliseconds: u64| range(milliseconds * 1_000_000);
        assert_eq!([0, 100, 101, 200, 300, 301, 500, 700].map(of), [0, 0, 1, 1, 2, 3, 3, 4]);
        assert_eq!([1000, 1001, 1500, 1501, 9_000_000].map(of), [5, 6, 6, 7, 7]);
        assert_eq!(range(100_999_999), 0);
    }
}
