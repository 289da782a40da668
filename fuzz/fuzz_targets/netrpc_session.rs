//! See `src/netrpc.rs`.
#![no_main]

#[path = "../src/netrpc.rs"]
mod netrpc;

libfuzzer_sys::fuzz_target!(|data: &[u8]| netrpc::netrpc_session(data));
