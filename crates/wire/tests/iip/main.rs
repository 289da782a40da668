//! The IIP wire: recorded bytes, generated messages, every segmentation, broken frames, a client against a server, and
//! the defects of the Go program that concern the wire.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may fail loudly")]

mod common;
mod defects;
mod golden;
mod hostile;
mod limits;
mod pair;
mod roundtrip;
mod split;
mod streams;
