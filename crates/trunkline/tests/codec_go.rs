//! Bodies that the Go programs sent (the payloads of recorded frames), read and written again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod codec_common;

use std::collections::BTreeMap;

use codec_common::{encoded, hex};
use serde::{Deserialize, Serialize};
use trunkline::codec::{Error, Payload};
use trunkline::wire::Serialization::{self, Json, MessagePack};
use trunkline::{Blob, Message};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
struct Args {
    a: i64,
    b: i64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, Message)]
struct Reply {
    #[serde(rename = "C")]
    c: i64,
}

/// The recorder's struct of every kind, but for its time, which is passed over.
#[derive(Debug, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
struct Kinds {
    i8: i8,
    i16: i16,
    i32: i32,
    i64: i64,
    i: i64,
    u8: u8,
    u64: u64,
    f32: f32,
    f64: f64,
    bool: bool,
    str: String,
    bin: Blob,
    list: Vec<i64>,
    map: BTreeMap<String, String>,
    ptr: Option<Args>,
}

fn kinds() -> Kinds {
    Kinds {
        i8: -8,
        i16: -1600,
        i32: -320_000,
        i64: -64 << 32,
        i: 10,
        u8: 200,
        u64: u64::MAX,
        f32: 1.5,
        f64: -2.25,
        bool: true,
        str: "größer".to_owned(),
        bin: Blob::from_static(&[1, 2, 255]),
        list: vec![1, -1, 300],
        map: [("k".to_owned(), "v".to_owned())].into(),
        ptr: Some(Args { a: 1, b: 2 }),
    }
}

fn both_ways<P: Payload + PartialEq + std::fmt::Debug>(how: Serialization, body: &[u8], message: &P) {
    assert_eq!(&P::decode(how, body).expect("it can be read"), message);
    assert_eq!(encoded(message, how), body);
}

#[test]
fn args_of_rpcx() -> Result<(), Error> {
    // rpcx/mul-json, rpcx/mul-msgpack
    both_ways(Json, br#"{"A":10,"B":20}"#, &Args { a: 10, b: 20 });
    both_ways(Json, br#"{"C":200}"#, &Reply { c: 200 });
    both_ways(MessagePack, &hex("82a1410aa14214"), &Args { a: 10, b: 20 });
    both_ways(MessagePack, &hex("81a143ccc8"), &Reply { c: 200 });
    // easymicro/mul-msgpack: every integer has eight bytes.
    let args = Args::decode(MessagePack, &hex("82a141d3fffffffffffffffda142d30000000000000190"))?;
    assert_eq!(args, Args { a: -3, b: 400 });
    assert_eq!(Reply::decode(MessagePack, &hex("81a143d3fffffffffffffb50"))?, Reply { c: -1200 });
    Ok(())
}

/// rpcx/kinds-msgpack, first and second request.
const KINDS_MSGPACK: [&str; 2] = [
    "de0010a24938d0f8a3493136d1f9c0a3493332d2fffb1e00a3493634d3ffffffc000000000a1490aa25538ccc8a3553634cfffff\
     ffffffffffffa3463332ca3fc00000a3463634cbc002000000000000a4426f6f6cc3a3537472a86772c3b6c39f6572a342696ec4\
     030102ffa44c6973749301ffcd012ca34d617081a16ba176a350747282a14101a14202a454696d65d7ff000000146553f100",
    "de0010a24938d000a3493136d10000a3493332d200000000a3493634d30000000000000000a14900a25538cc00a3553634cf0000\
     000000000000a3463332ca00000000a3463634cb0000000000000000a4426f6f6cc2a3537472a0a342696ec0a44c697374c0a34d\
     6170c0a3507472c0a454696d65c70cff00000000fffffff1886e0900",
];

/// rpcx/kinds-json, first and second request.
const KINDS_JSON: [&str; 2] = [
    r#"{"I8":-8,"I16":-1600,"I32":-320000,"I64":-274877906944,"I":10,"U8":200,"U64":18446744073709551615,"F32":1.5,"F64":-2.25,"Bool":true,"Str":"größer","Bin":"AQL/","List":[1,-1,300],"Map":{"k":"v"},"Ptr":{"A":1,"B":2},"Time":"2023-11-14T22:13:20.000000005Z"}"#,
    r#"{"I8":0,"I16":0,"I32":0,"I64":0,"I":0,"U8":0,"U64":0,"F32":0,"F64":0,"Bool":false,"Str":"","Bin":null,"List":null,"Map":null,"Ptr":null,"Time":"0001-01-01T00:00:00Z"}"#,
];

#[test]
fn every_kind_of_rpcx() -> Result<(), Error> {
    let zero = Kinds::empty();
    for (body, message) in KINDS_MSGPACK.iter().zip([&kinds(), &zero]) {
        let read = Kinds::decode(MessagePack, &hex(body))?;
        assert_eq!(&read, message);
        assert_eq!(&Kinds::decode(MessagePack, &encoded(message, MessagePack))?, message);
    }
    for (body, message) in KINDS_JSON.iter().zip([&kinds(), &zero]) {
        assert_eq!(&Kinds::decode(Json, body.as_bytes())?, message);
        assert_eq!(&Kinds::decode(Json, &encoded(message, Json))?, message);
    }
    let text = encoded(&kinds(), Json);
    let without_time = KINDS_JSON[0].replace(r#","Time":"2023-11-14T22:13:20.000000005Z""#, "");
    assert_eq!(String::from_utf8_lossy(&text), without_time);
    Ok(())
}

#[test]
fn nothing_reads_as_empty() -> Result<(), Error> {
    for body in ["{}", "null", r#"{"Ptr":null,"List":null,"I8":null,"Bool":null,"F32":null,"Str":null}"#] {
        assert_eq!(Kinds::decode(Json, body.as_bytes())?, Kinds::empty());
    }
    assert_eq!(Kinds::decode(MessagePack, &[0x80])?, Kinds::empty());
    assert_eq!(Kinds::decode(MessagePack, &[0xc0])?, Kinds::empty());
    // A pointer to a struct with a field that is absent.
    assert_eq!(Kinds::decode(Json, br#"{"Ptr":{"B":2}}"#)?.ptr, Some(Args { a: 0, b: 2 }));
    Ok(())
}

#[test]
fn names_of_json_match_without_case() -> Result<(), Error> {
    assert_eq!(Args::decode(Json, br#"{"a":1,"b":2}"#)?, Args { a: 1, b: 2 });
    // The exact name first.
    assert_eq!(Args::decode(Json, br#"{"A":1,"a":3,"b":2}"#)?, Args { a: 1, b: 2 });
    Ok(())
}

#[cfg(feature = "protobuf")]
#[test]
fn protobuf_of_rpcx() {
    // rpcx/mul-protobuf, easymicro/mul-protobuf
    both_ways(Serialization::Protobuf, &hex("080a1014"), &Args { a: 10, b: 20 });
    both_ways(Serialization::Protobuf, &hex("08c801"), &Args { a: 200, b: 0 });
}

#[cfg(feature = "thrift")]
#[test]
fn thrift_of_rpcx() {
    // rpcx/mul-thrift, easymicro/mul-thrift
    let request = hex("0a0001000000000000000a0a0002000000000000001400");
    both_ways(Serialization::Thrift, &request, &Args { a: 10, b: 20 });
    let reply = hex("0a000100000000000000c80a0002000000000000000000");
    both_ways(Serialization::Thrift, &reply, &Args { a: 200, b: 0 });
}

/// The benchmark message of rpcx's programs.
#[cfg(feature = "protobuf")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
struct BenchmarkMessage {
    field1: String,
    #[message(number = 9)]
    field9: String,
    #[message(number = 18)]
    field18: String,
    #[message(number = 80)]
    field80: bool,
    field81: bool,
    #[message(number = 2)]
    field2: i32,
    field3: i32,
    #[message(number = 280)]
    field280: i32,
    #[message(number = 6)]
    field6: i32,
    #[message(number = 22)]
    field22: i64,
    #[message(number = 4)]
    field4: String,
    #[message(kind = "fixed")]
    field5: Vec<u64>,
    #[message(number = 59)]
    field59: bool,
    #[message(number = 7)]
    field7: String,
    #[message(number = 16)]
    field16: i32,
    #[message(number = 130)]
    field130: i32,
    #[message(number = 12)]
    field12: bool,
    #[message(number = 17)]
    field17: bool,
    #[message(number = 13)]
    field13: bool,
    field14: bool,
    #[message(number = 104)]
    field104: i32,
    #[message(number = 100)]
    field100: i32,
    field101: i32,
    field102: String,
    field103: String,
    #[message(number = 29)]
    field29: i32,
    field30: bool,
    #[message(number = 60)]
    field60: i32,
    #[message(number = 271)]
    field271: i32,
    field272: i32,
    #[message(number = 150)]
    field150: i32,
    #[message(number = 23)]
    field23: i32,
    field24: bool,
    field25: i32,
    #[message(number = 78)]
    field78: bool,
    #[message(number = 67)]
    field67: i32,
    field68: i32,
    #[message(number = 128)]
    field128: i32,
    field129: String,
    #[message(number = 131)]
    field131: i32,
}

/// say-request.bin, 581 bytes, with the text of its eight strings taken out.
#[cfg(feature = "protobuf")]
const SAY_REQUEST: &str = "
    0a36~10a08d0618a08d062236~30a08d063a36~4a36~6001680170018001a08d068801019201
    36~b001a08d06b801a08d06c00101c801a08d06e801a08d06f00101d80301e003a08d069804a08d06a004a08d06f00401800501
    880501a006a08d06a806a08d06b20636~ba0636~c006a08d068008a08d068a0836~9008a08d069808a08d06b009a08d06f810a0
    8d068011a08d06c011a08d06";

/// The text of every string in it.
#[cfg(feature = "protobuf")]
const SAY_TEXT: &str = "许多往事在眼前一幕一幕，变的那麼模糊";

#[cfg(feature = "protobuf")]
#[test]
fn the_benchmark_message() -> Result<(), Error> {
    let text: String = SAY_TEXT.bytes().map(|byte| format!("{byte:02x}")).collect();
    let request = hex(&SAY_REQUEST.replace('~', &text));
    assert_eq!(request.len(), 581);
    let mut message = BenchmarkMessage::decode(Serialization::Protobuf, &request)?;
    assert_eq!(
        (message.field1.as_str(), message.field2, message.field129.as_str()),
        (SAY_TEXT, 100_000, SAY_TEXT)
    );
    // Fields go out in the order of their numbers, whatever that of their declaration.
    assert_eq!(encoded(&message, Serialization::Protobuf), request);
    // say-reply.bin: 527 bytes.
    message.field1 = "OK".to_owned();
    message.field2 = 100;
    let reply = encoded(&message, Serialization::Protobuf);
    assert_eq!(reply.len(), 527);
    assert_eq!(BenchmarkMessage::decode(Serialization::Protobuf, &reply)?, message);
    for how in [Json, MessagePack] {
        assert_eq!(BenchmarkMessage::decode(how, &encoded(&message, how))?, message);
    }
    Ok(())
}
