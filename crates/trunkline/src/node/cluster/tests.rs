//! Nodes against each other and against bytes, over memory and on virtual time.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail loudly"
)]

mod calls;
mod frames;
mod support;
