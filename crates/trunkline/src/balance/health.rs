//! Whether an endpoint may be called: paused after failures in a row, tried again with one call after a while.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How an endpoint is doing. Moments are nanoseconds since the client's start: the clock is the client's.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failures: AtomicU32,
    /// From when on a paused endpoint may be tried again; 0 where it is open.
    due: AtomicU64,
    pause: Mutex<Option<Pause>>,
}

#[derive(Debug)]
struct Pause {
    reason: String,
    /// A call is on its way to find out.
    tried: bool,
}

/// What came of a call that was no good.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// When, in nanoseconds.
    pub(crate) at: u64,
    /// The call was the one that tries a paused endpoint again.
    pub(crate) probe: bool,
    /// Nobody could be reached: paused at once.
    pub(crate) unreachable: bool,
    /// In words.
    pub(crate) reason: String,
}

impl Health {
    fn lock(&self) -> MutexGuard<'_, Option<Pause>> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether calls go there without further ado.
    pub(crate) fn is_open(&self) -> bool {
        self.due.load(Ordering::Acquire) == 0
    }

    /// Whether it is paused and has been for long enough.
    pub(crate) fn is_due(&self, at: u64) -> bool {
        let due = self.due.load(Ordering::Acquire);
        due != 0 && at >= due
    }

    /// Why it is paused, where it is.
    pub(crate) fn reason(&self) -> Option<String> {
        self.lock().as_ref().map(|pause| pause.reason.clone())
    }

    /// A call went well; whether the endpoint was paused till now.
    pub(crate) fn good(&self) -> bool {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        if self.is_open() {
            return false;
        }
        let mut pause = self.lock();
        self.due.store(0, Ordering::Release);
        pause.take().is_some()
    }

    /// A call was no good. More than `most` in a row, or an endpoint that cannot be reached, pause it for `pause`
    /// nanoseconds; whether it was open till now and is not any more.
    pub(crate) fn bad(&self, verdict: Verdict, most: u32, pause: u64) -> bool {
        let mut state = self.lock();
        match &mut *state {
            // One that was on its way when the pause began says nothing new.
            Some(_) if !verdict.probe => return false,
            Some(paused) => *paused = Pause { reason: verdict.reason, tried: false },
            None => {
                // Under the lock, so that none is lost.
                let failures = self.failures.load(Ordering::Relaxed);
                self.failures.store(failures.saturating_add(1), Ordering::Relaxed);
                if !verdict.unreachable && failures < most {
                    return false;
                }
                *state = Some(Pause { reason: verdict.reason, tried: false });
            }
        }
        self.due.store(verdict.at.saturating_add(pause).max(1), Ordering::Release);
        !verdict.probe
    }

    /// The paused endpoint turned out not to be there yet, without a call.
    pub(crate) fn put_off(&self, at: u64, pause: u64, reason: String) {
        if let Some(paused) = &mut *self.lock()
            && !paused.tried
        {
            paused.reason = reason;
            self.due.store(at.saturating_add(pause).max(1), Ordering::Release);
        }
    }

    /// Takes the one call that may try a paused endpoint again; whether it was to be had.
    pub(crate) fn claim(&self, at: u64) -> bool {
        match &mut *self.lock() {
            Some(paused) if !paused.tried && self.is_due(at) => {
                paused.tried = true;
                self.due.store(u64::MAX, Ordering::Release);
                true
            }
            _ => false,
        }
    }

    /// The call that tried was dropped before its end: the next one may.
    pub(crate) fn unclaim(&self) {
        if let Some(paused) = &mut *self.lock() {
            paused.tried = false;
            self.due.store(1, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: u64 = 5_000;

    fn bad(health: &Health, at: u64, probe: bool, unreachable: bool) -> bool {
        let reason = format!("why at {at}");
        health.bad(Verdict { at, probe, unreachable, reason }, 5, PAUSE)
    }

    #[test]
    fn the_sixth_failure_in_a_row_pauses() {
        let health = Health::default();
        for _ in 0..5 {
            assert!(!bad(&health, 1, false, false));
        }
        // Not in a row.
        assert!(!health.good());
        for _ in 0..5 {
            assert!(!bad(&health, 2, false, false));
        }
        assert!(health.is_open() && health.reason().is_none());
        assert!(bad(&health, 3, false, false));
        assert!(!health.is_open());
        assert_eq!(health.reason().unwrap(), "why at 3");
        // Those that were on their way change nothing.
        assert!(!bad(&health, 4_000, false, false));
        assert!(!health.is_due(5_002) && health.is_due(5_003));
    }

    #[test]
    fn one_call_tries_again() {
        let health = Health::default();
        assert!(bad(&health, 10, false, true));
        assert!(!health.claim(5_009));
        assert!(health.claim(5_010));
        assert!(!health.claim(5_011) && !health.is_due(u64::MAX - 1));
        assert!(!bad(&health, 6_000, true, true));
        assert_eq!(health.reason().unwrap(), "why at 6000");
        assert!(!health.claim(10_999) && health.claim(11_000));
        health.unclaim();
        assert!(health.claim(11_000));
        assert!(health.good() && health.is_open() && health.reason().is_none());
        // It begins to count again.
        assert!(!bad(&health, 12_000, false, false));
    }

    #[test]
    fn an_endpoint_that_is_not_there_yet_is_put_off() {
        let health = Health::default();
        health.put_off(1, PAUSE, "open".into());
        assert!(health.is_open());
        assert!(bad(&health, 0, false, true));
        health.put_off(5_000, PAUSE, "refused".into());
        assert!(!health.is_due(9_999) && health.is_due(10_000));
        assert_eq!(health.reason().unwrap(), "refused");
        assert!(health.claim(10_000));
        health.put_off(20_000, PAUSE, "late".into());
        assert_eq!(health.reason().unwrap(), "refused");
    }
}
