//! The net/rpc wire: recorded cases, both roles against each other, cut anywhere, and what no Go program would send.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "helpers of tests may fail loudly"
)]

mod common;
mod defects;
mod golden;
mod hostile;
mod pair;
mod split;
