//! See `src/iip_channels.rs`.
#![no_main]

#[path = "../src/iip.rs"]
mod iip;
#[path = "../src/iip_channels.rs"]
mod iip_channels;

libfuzzer_sys::fuzz_target!(|data: &[u8]| iip_channels::iip_channels(data));
