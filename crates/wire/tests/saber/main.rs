//! The saber wire: recorded bytes, generated frames, every segmentation, and the inputs that break the Go program.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may fail loudly")]

#[path = "../../../../fuzz/src/saber.rs"]
mod check;
mod defects;
mod golden;
mod own;
mod roundtrip;
