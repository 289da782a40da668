//! See `src/iip.rs`.
#![no_main]

#[path = "../src/iip.rs"]
mod iip;

libfuzzer_sys::fuzz_target!(|data: &[u8]| iip::iip_session(data));
