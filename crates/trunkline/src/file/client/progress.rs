//! How far a transfer is.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How far a transfer is.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// How many bytes are at the other end, those that were there before included.
    pub done: u64,
    /// How many bytes there are; `None` while nobody can say (a download from one of the Go examples).
    pub total: Option<u64>,
    /// Bytes a second, of the last seconds.
    pub rate: f64,
    /// How long it will take at this rate; `None` where that cannot be said.
    pub left: Option<Duration>,
}

/// How fast the rate forgets.
const MEMORY: Duration = Duration::from_secs(2);

/// Who is told.
#[derive(Clone, Default)]
pub(super) struct Watch(Option<Arc<Mutex<Told>>>);

struct Told {
    tell: Box<dyn FnMut(&Progress) + Send>,
    progress: Progress,
    at: Instant,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Watch" } else { "nobody" })
    }
}

impl Watch {
    pub(super) fn new(tell: impl FnMut(&Progress) + Send + 'static) -> Self {
        let progress = Progress { done: 0, total: None, rate: 0.0, left: None };
        Self(Some(Arc::new(Mutex::new(Told { tell: Box::new(tell), progress, at: Instant::now() }))))
    }

    /// It begins, or begins anew, with so many bytes that are there.
    pub(super) fn begin(&self, done: u64, total: Option<u64>) {
        self.with(|told| {
            told.progress = Progress { done, total, rate: 0.0, left: None };
            told.at = Instant::now();
        });
    }

    /// So many bytes more are there.
    pub(super) fn more(&self, bytes: u64) {
        self.with(|told| {
            let now = Instant::now();
            told.progress = moved(&told.progress, bytes, now.saturating_duration_since(told.at));
            told.at = now;
        });
    }

    fn with(&self, change: impl FnOnce(&mut Told)) {
        let Some(told) = &self.0 else { return };
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut told);
        let progress = told.progress;
        (told.tell)(&progress);
    }
}

/// The progress after so many bytes that took so long.
fn moved(before: &Progress, bytes: u64, took: Duration) -> Progress {
    let seconds = took.as_secs_f64().max(1e-6);
    let now = bytes as f64 / seconds;
    let rate = if before.rate == 0.0 {
        now
    } else {
        let old = (-seconds / MEMORY.as_secs_f64()).exp();
        before.rate * old + now * (1.0 - old)
    };
    let done = before.done.saturating_add(bytes);
    let left = before
        .total
        .filter(|_| rate > 0.0)
        .and_then(|total| Duration::try_from_secs_f64(total.saturating_sub(done) as f64 / rate).ok());
    Progress { done, total: before.total, rate, left }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_time_left_follow_what_happens() {
        let begun = Progress { done: 0, total: Some(1000), rate: 0.0, left: None };
        let first = moved(&begun, 100, Duration::from_secs(1));
        assert_eq!((first.done, first.rate, first.left), (100, 100.0, Some(Duration::from_secs(9))));
        let mut slower = first;
        for _ in 0..20 {
            slower = moved(&slower, 10, Duration::from_secs(1));
        }
        assert!((10.0..11.0).contains(&slower.rate), "{}", slower.rate);
        let whole = moved(&slower, 700, Duration::from_secs(1));
        assert_eq!((whole.done, whole.left), (1000, Some(Duration::ZERO)));
        assert_eq!(moved(&Progress { total: None, ..begun }, 5, Duration::from_secs(1)).left, None);
    }
}
