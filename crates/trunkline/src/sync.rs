//! What threads share, from the standard library, or from loom where its model runs the tests (`loom_tests`).

#[cfg(all(test, trunkline_loom))]
use loom::sync as of;
#[cfg(not(all(test, trunkline_loom)))]
use std::sync as of;

#[cfg(feature = "node")]
pub(crate) use of::atomic::AtomicUsize;
pub(crate) use of::atomic::{AtomicBool, Ordering};
pub(crate) use of::{Mutex, MutexGuard};
