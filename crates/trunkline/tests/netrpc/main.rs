//! Go's net/rpc as the framework serves and calls it, and named peers.
#![cfg(feature = "netrpc")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail loudly"
)]

mod calls;
mod peers;
