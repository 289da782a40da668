//! How long calls took, by thread: what counts must not slow down what is counted, and a list of all calls would be
//! memory that is written for the first time with every call.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use hdrhistogram::Histogram;

/// What the threads that have ended, or were asked, have seen.
static ALL: Mutex<Option<Histogram<u64>>> = Mutex::new(None);

thread_local! {
    static SEEN: RefCell<Seen> = const { RefCell::new(Seen(None)) };
}

/// One thread's calls in nanoseconds; they join the others' when the thread ends.
struct Seen(Option<Histogram<u64>>);

impl Drop for Seen {
    fn drop(&mut self) {
        join(self.0.take());
    }
}

/// As the limit's client has it.
fn empty() -> Option<Histogram<u64>> {
    Histogram::new_with_bounds(100, 60_000_000_000, 2).ok()
}

fn join(seen: Option<Histogram<u64>>) {
    let Some(seen) = seen else { return };
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    match &mut *all {
        // Both have the same bounds, so that all fits.
        Some(all) => all.add(seen).unwrap_or_default(),
        none => *none = Some(seen),
    }
}

/// So many calls took so many nanoseconds.
pub(crate) fn record(nanoseconds: u64, calls: u64) {
    SEEN.with(|seen| {
        let seen = &mut seen.borrow_mut().0;
        if seen.is_none() {
            *seen = empty();
        }
        if let Some(seen) = seen {
            seen.saturating_record_n(nanoseconds, calls);
        }
    });
}

/// What this thread and all that have ended have seen.
pub(crate) fn all() -> Option<Histogram<u64>> {
    join(SEEN.with(|seen| seen.borrow_mut().0.take()));
    ALL.lock().unwrap_or_else(PoisonError::into_inner).take().or_else(empty)
}
