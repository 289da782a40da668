//! See `src/saber.rs`.
#![no_main]

#[path = "../src/saber.rs"]
mod saber;

libfuzzer_sys::fuzz_target!(|data: &[u8]| saber::saber(data));
