//! See `src/payload.rs`.
#![no_main]

#[path = "../src/payload.rs"]
mod payload;

libfuzzer_sys::fuzz_target!(|data: &[u8]| payload::payload(data));
