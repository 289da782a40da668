//! What threads share, from the standard library, or from loom where its model runs the tests (`loom_tests`).

#[cfg(not(all(test, trunkline_loom)))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

#[cfg(all(test, trunkline_loom))]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};
