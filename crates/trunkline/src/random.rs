//! The one source of chance: what picks, jitters and hedges asks here, so that a seed repeats a run.

/// Sets the seed of this thread. On a runtime with one thread and paused time, the same seed gives the same run.
pub fn seed(seed: u64) {
    fastrand::seed(seed);
}

/// A number from 0 to below 1.
pub(crate) fn fraction() -> f64 {
    fastrand::f64()
}

/// Any number, each as likely.
pub(crate) fn number() -> usize {
    fastrand::usize(..)
}
