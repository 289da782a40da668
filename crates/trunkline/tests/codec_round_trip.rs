//! One type travels in every codec.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod codec_common;

use bytes::Bytes;
use codec_common::{ALL, Args, Rich, encoded, rich};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use trunkline::Message;
use trunkline::codec::{Error, Payload, dynamic};
use trunkline::wire::Serialization;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn a_message_comes_back(message in rich()) {
        for how in ALL {
            let body = encoded(&message, *how);
            let read = Rich::decode(*how, &body).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(&read, &message, "{:?}", how);
        }
    }

    /// By its schema alone a body becomes the JSON that serde reads, and comes back as the message it was.
    #[test]
    fn a_message_comes_back_by_its_schema(message in rich()) {
        let schema = Rich::schema();
        for how in ALL {
            let body = encoded(&message, *how);
            let fail = |e: Error| TestCaseError::fail(e.to_string());
            let text = dynamic::decode(*how, &body, Some(&schema)).map_err(fail)?;
            let read = Rich::decode(Serialization::Json, text.as_bytes()).map_err(fail)?;
            prop_assert_eq!(&read, &message, "{:?}", how);
            let mut again = Vec::new();
            dynamic::encode(*how, &text, Some(&schema), &mut again).map_err(fail)?;
            prop_assert_eq!(&Rich::decode(*how, &again).map_err(fail)?, &message, "{:?}", how);
        }
    }

    #[test]
    fn encoding_appends(message in rich(), before in proptest::collection::vec(any::<u8>(), 0..300)) {
        for how in ALL {
            let mut body = before.clone();
            message.encode(*how, &mut body).expect("it can be sent");
            prop_assert_eq!(&body[..before.len()], &before[..]);
            prop_assert_eq!(&Rich::decode(*how, &body[before.len()..]).expect("it is a body"), &message);
        }
    }
}

#[test]
fn an_empty_message_is_small() {
    for (how, size) in ALL.iter().zip([2_000, 2_000, 0, 2_000, 2_000]) {
        let body = encoded(&Rich::empty(), *how);
        assert!(body.len() <= size, "{how:?}: {}", body.len());
        assert_eq!(Rich::decode(*how, &body).unwrap(), Rich::empty());
    }
}

/// A struct without fields; and one of a later version, with fields that the earlier one does not know.
#[derive(Debug, PartialEq, Serialize, Deserialize, Message)]
struct Unit;

#[derive(Debug, PartialEq, Serialize, Deserialize, Message)]
struct NoFields {}

#[derive(Debug, PartialEq, Serialize, Deserialize, Message)]
struct Wrap {
    unit: Unit,
    none: NoFields,
    after: u8,
}

#[test]
fn structs_without_fields() -> Result<(), Error> {
    assert_eq!(encoded(&Unit, Serialization::Json), b"{}");
    assert_eq!(encoded(&NoFields {}, Serialization::Json), b"{}");
    assert_eq!(encoded(&(), Serialization::Json), b"{}");
    assert_eq!(encoded(&Unit, Serialization::MessagePack), [0x80]);
    assert_eq!(encoded(&(), Serialization::MessagePack), [0x80]);
    for how in ALL {
        assert_eq!(Unit::decode(*how, &encoded(&Unit, *how))?, Unit);
        assert_eq!(NoFields::decode(*how, &encoded(&Unit, *how))?, NoFields {});
        <()>::decode(*how, &encoded(&(), *how))?;
        <()>::decode(*how, b"")?;
        let wrap = Wrap { unit: Unit, none: NoFields {}, after: 7 };
        assert_eq!(Wrap::decode(*how, &encoded(&wrap, *how))?, wrap);
    }
    assert_eq!(Wrap::decode(Serialization::Json, br#"{"unit":{"x":[1]},"after":7}"#)?.after, 7);
    assert!(Unit::decode(Serialization::Json, b"7").unwrap_err().is_body());
    Ok(())
}

#[test]
fn fields_that_nobody_knows_are_passed_over() -> Result<(), Error> {
    #[derive(Serialize, Deserialize, Message)]
    #[serde(rename_all = "PascalCase")]
    struct Later {
        a: i64,
        #[message(number = 9)]
        new: Rich,
        list: Vec<Rich>,
        #[message(number = 2)]
        b: i64,
    }
    let rich = Rich { next: Some(Box::new(Rich::empty())), texts: vec!["x".to_owned()], ..Rich::empty() };
    let later = Later { a: 1, new: rich.clone(), list: vec![rich.clone(), rich], b: 2 };
    for how in ALL {
        assert_eq!(Args::decode(*how, &encoded(&later, *how))?, Args { a: 1, b: 2 }, "{how:?}");
    }
    Ok(())
}

#[test]
fn raw_bytes_go_through_every_serialisation_without_a_copy() -> Result<(), Error> {
    let body = Bytes::from_static(b"\x00\xffanything");
    let every = ALL.iter().filter(|how| **how != Serialization::Gob);
    for how in every.chain(&[Serialization::Raw, Serialization::Other(9)]) {
        assert_eq!(encoded(&body, *how), body);
        assert_eq!(Bytes::decode_bytes(*how, body.clone())?.as_ptr(), body.as_ptr());
        assert_eq!(Bytes::decode(*how, &body)?, body);
    }
    Ok(())
}

/// E1: where the codec does not fit the type, the call fails; nothing panics.
#[test]
fn e1_the_raw_codec_on_a_struct_is_an_error() {
    let error = Args::decode(Serialization::Raw, b"x").unwrap_err();
    assert!(error.is_unsupported());
    assert_eq!(error.to_string(), "raw: Args has fields; raw bytes carry none");
    let mut out = vec![1];
    assert!(Args::empty().encode(Serialization::Raw, &mut out).unwrap_err().is_unsupported());
    assert_eq!(out, [1]);
    let error = Args::decode(Serialization::Other(9), b"x").unwrap_err();
    assert!(error.is_unsupported());
    assert_eq!(error.to_string(), "can not find codec for 9");
    assert!(<()>::decode(Serialization::Other(9), b"").unwrap_err().is_unsupported());
}

#[test]
fn errors_name_codec_and_field() {
    let error = |how, body: &[u8]| {
        let error = Rich::decode(how, body).unwrap_err();
        assert!(error.is_body() && !error.is_unsupported());
        error.to_string()
    };
    let json = Serialization::Json;
    let text = error(json, br#"{"messages":[{"A":1},{"B":"x"}]}"#);
    assert_eq!(text, r#"json: field messages[1].B: invalid type: string "x", expected i64"#);
    let text = error(json, br#"{"next":{"byText":{"k":true}}}"#);
    assert_eq!(text, "json: field next.byText[0]: invalid type: boolean `true`, expected i64");
    assert_eq!(error(json, br#"{"u8":256}"#), "json: field u8: invalid value: integer `256`, expected u8");
    assert_eq!(
        error(json, br#"{"blob":"!"}"#).split(": ").take(3).collect::<Vec<_>>(),
        ["json", "field blob", "not base64"]
    );
    assert!(error(json, b"{").starts_with("json: EOF while parsing an object at line 1"));
    assert!(error(json, b"{} x").starts_with("json: trailing characters at line 1 column 4"));
    let msgpack = Serialization::MessagePack;
    let text = error(msgpack, b"\x81\xa2i8\xa1x");
    assert!(text.starts_with("msgpack: field i8: "), "{text}");
    assert_eq!(error(msgpack, b"\x81\xa2i8\xcd"), "msgpack: field i8: the body ends too early");
    assert_eq!(error(msgpack, b"\x80\x80"), "msgpack: more bytes follow the message");
}

#[cfg(feature = "protobuf")]
#[test]
fn errors_of_protobuf_name_the_field() {
    let error = |body: &[u8]| Rich::decode(Serialization::Protobuf, body).unwrap_err().to_string();
    assert_eq!(error(b"\x0a\x00"), "protobuf: field truth: wire type LengthDelimited, expected Varint");
    // Field 46 is `texts`, 47 `blobs`, 48 `messages`.
    assert_eq!(error(b"\x10\xff\x01"), "protobuf: field i8: the number is out of range");
    let cut = b"\x82\x03\x04\x08\x01\x12\x01";
    assert!(error(cut).starts_with("protobuf: field "), "{}", error(cut));
}

#[cfg(feature = "thrift")]
#[test]
fn errors_of_thrift_name_the_field() {
    let error = |body: &[u8]| Rich::decode(Serialization::Thrift, body).unwrap_err().to_string();
    assert_eq!(error(&[8, 0, 5, 0, 0, 0, 1, 0]), "thrift: field i64: is i32, expected i64");
    assert_eq!(error(&[6, 0, 6, 255, 255, 0]), "thrift: field u8: the number is out of range");
    assert_eq!(
        error(&[11, 0, 24, 255, 255, 255, 255]),
        "thrift: field text: a length of -1, but 0 bytes are left"
    );
    assert_eq!(error(&[2, 0, 1]), "thrift: field truth: the body ends too early");
    assert_eq!(error(&[0, 1]), "thrift: 1 bytes follow the struct");
    assert_eq!(error(&[99, 0, 99, 1]), "thrift: field 99 (unknown): unknown type 99");
}

#[cfg(not(feature = "protobuf"))]
#[test]
fn a_codec_that_was_not_built_says_so() {
    let error = Args::decode(Serialization::Protobuf, b"").unwrap_err();
    assert!(error.is_unsupported());
    assert!(error.to_string().contains("feature `protobuf`"), "{error}");
}
