//! What decoding and encoding the benchmark message costs with prost alone, without a network: to be read beside the
//! processor time of `Hello.Say`, which decodes and encodes the same message.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use prost::Message;

/// The message of 581 bytes; its fields have no names but their numbers.
#[derive(Clone, PartialEq, Message)]
struct BenchmarkMessage {
    #[prost(string, tag = "1")]
    field1: String,
    #[prost(int32, tag = "2")]
    field2: i32,
    #[prost(int32, tag = "3")]
    field3: i32,
    #[prost(string, tag = "4")]
    field4: String,
    #[prost(int32, tag = "6")]
    field6: i32,
    #[prost(string, tag = "7")]
    field7: String,
    #[prost(string, tag = "9")]
    field9: String,
    #[prost(bool, tag = "12")]
    field12: bool,
    #[prost(bool, tag = "13")]
    field13: bool,
    #[prost(bool, tag = "14")]
    field14: bool,
    #[prost(int32, tag = "16")]
    field16: i32,
    #[prost(bool, tag = "17")]
    field17: bool,
    #[prost(string, tag = "18")]
    field18: String,
    #[prost(int64, tag = "22")]
    field22: i64,
    #[prost(int32, tag = "23")]
    field23: i32,
    #[prost(bool, tag = "24")]
    field24: bool,
    #[prost(int32, tag = "25")]
    field25: i32,
    #[prost(int32, tag = "29")]
    field29: i32,
    #[prost(bool, tag = "30")]
    field30: bool,
    #[prost(bool, tag = "59")]
    field59: bool,
    #[prost(int32, tag = "60")]
    field60: i32,
    #[prost(int32, tag = "67")]
    field67: i32,
    #[prost(int32, tag = "68")]
    field68: i32,
    #[prost(bool, tag = "78")]
    field78: bool,
    #[prost(bool, tag = "80")]
    field80: bool,
    #[prost(bool, tag = "81")]
    field81: bool,
    #[prost(int32, tag = "100")]
    field100: i32,
    #[prost(int32, tag = "101")]
    field101: i32,
    #[prost(string, tag = "102")]
    field102: String,
    #[prost(string, tag = "103")]
    field103: String,
    #[prost(int32, tag = "104")]
    field104: i32,
    #[prost(int32, tag = "128")]
    field128: i32,
    #[prost(string, tag = "129")]
    field129: String,
    #[prost(int32, tag = "130")]
    field130: i32,
    #[prost(int32, tag = "131")]
    field131: i32,
    #[prost(int32, tag = "150")]
    field150: i32,
    #[prost(int32, tag = "271")]
    field271: i32,
    #[prost(int32, tag = "272")]
    field272: i32,
    #[prost(int32, tag = "280")]
    field280: i32,
    #[prost(fixed64, repeated, packed = "false", tag = "5")]
    field5: Vec<u64>,
}

const CALLS: u32 = 200_000;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: say-prost SAY-REQUEST.BIN")?;
    let request = std::fs::read(path)?;
    let mut out = Vec::with_capacity(1024);
    let mut best = f64::MAX;
    for _ in 0..7 {
        let begun = Instant::now();
        for _ in 0..CALLS {
            let mut message = BenchmarkMessage::decode(black_box(&request[..]))?;
            message.field1 = "OK".into();
            message.field2 = 100;
            out.clear();
            message.encode(&mut out)?;
            black_box(&out);
        }
        best = best.min(begun.elapsed().as_secs_f64() / f64::from(CALLS) * 1e6);
    }
    println!("{best:.3} us a request of {} bytes and a reply of {}", request.len(), out.len());
    Ok(())
}
