//! Nodes from outside: what mailbox services promise.
#![cfg(feature = "node")]
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says so by panicking"
)]

#[path = "node/support.rs"]
mod support;

#[path = "node/calls.rs"]
mod calls;
#[path = "node/defects.rs"]
mod defects;
#[path = "node/life.rs"]
mod life;
#[path = "node/timers.rs"]
mod timers;
