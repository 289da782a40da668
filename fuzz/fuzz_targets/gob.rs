//! See `src/gob.rs`.
#![no_main]

#[path = "../src/gob.rs"]
mod gob;

libfuzzer_sys::fuzz_target!(|data: &[u8]| gob::gob(data));
