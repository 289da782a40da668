//! Bodies that the Go programs sent (the payloads of recorded frames), read and written again.

use std::collections::BTreeMap;

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

fn hex(text: &str) -> Vec<u8> {
    let digit = |d: u8| char::from(d).to_digit(16).and_then(|d| u8::try_from(d).ok()).expect("a digit");
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn encoded<P: Payload>(message: &P, how: Serialization) -> Vec<u8> {
    let mut body = Vec::new();
    message.encode(how, &mut body).expect("it can be sent");
    body
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
