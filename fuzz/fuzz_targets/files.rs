//! See `src/files.rs`.
#![no_main]

#[path = "../src/files.rs"]
mod files;

libfuzzer_sys::fuzz_target!(|data: &[u8]| files::files(data));
