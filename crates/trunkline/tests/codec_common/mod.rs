//! What the codec tests share: a message of every type, and a way to make many of them.
#![allow(dead_code, unreachable_pub, clippy::expect_used)]

use std::collections::{BTreeMap, HashMap};

use proptest::collection::{btree_map, hash_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use trunkline::codec::Payload;
use trunkline::wire::Serialization;
use trunkline::{Blob, Message};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
pub struct Args {
    pub a: i64,
    pub b: i64,
}

/// Every type that a message can have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "camelCase")]
pub struct Rich {
    pub truth: bool,
    pub i8: i8,
    pub i16: i16,
    pub i32: i32,
    pub i64: i64,
    pub u8: u8,
    pub u16: u16,
    pub u32: u32,
    pub u64: u64,
    pub f32: f32,
    pub f64: f64,
    #[message(number = 20, kind = "sint")]
    pub zigzag32: i32,
    #[message(kind = "sint")]
    pub zigzag64: i64,
    #[message(kind = "fixed")]
    pub fixed_u32: u32,
    #[message(kind = "fixed")]
    pub fixed_i64: i64,
    pub text: String,
    pub blob: Blob,
    pub args: Args,
    pub boxed: Box<Args>,
    #[message(number = 3000)]
    pub maybe_text: Option<String>,
    pub maybe_number: Option<u16>,
    pub next: Option<Box<Rich>>,
    #[message(number = 40)]
    pub truths: Vec<bool>,
    pub numbers: Vec<i32>,
    #[message(kind = "fixed")]
    pub fixed: Vec<u64>,
    #[message(kind = "sint")]
    pub zigzags: Vec<i64>,
    pub floats: Vec<f64>,
    pub texts: Vec<String>,
    pub blobs: Vec<Blob>,
    pub messages: Vec<Args>,
    pub by_text: HashMap<String, i64>,
    pub by_number: BTreeMap<i32, String>,
    pub by_unsigned: BTreeMap<u64, Args>,
    #[message(kind = "fixed")]
    pub fixed_by_text: BTreeMap<String, u32>,
}

pub fn encoded<P: Payload>(message: &P, how: Serialization) -> Vec<u8> {
    let mut body = Vec::new();
    message.encode(how, &mut body).expect("it can be sent");
    body
}

pub fn hex(text: &str) -> Vec<u8> {
    let digit = |d: u8| char::from(d).to_digit(16).and_then(|d| u8::try_from(d).ok()).expect("a digit");
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).map(digit).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// The serialisations that a message of every type travels in.
pub const ALL: &[Serialization] = &[
    Serialization::Json,
    Serialization::MessagePack,
    #[cfg(feature = "protobuf")]
    Serialization::Protobuf,
    #[cfg(feature = "thrift")]
    Serialization::Thrift,
    #[cfg(feature = "netrpc")]
    Serialization::Gob,
];

fn args() -> impl Strategy<Value = Args> {
    (any::<i64>(), any::<i64>()).prop_map(|(a, b)| Args { a, b })
}

fn blob() -> impl Strategy<Value = Blob> {
    vec(any::<u8>(), 0..200).prop_map(Blob::from)
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), ".{0,40}", "[a-z]{100,200}"]
}

/// JSON has neither infinities nor NaN, and Thrift reads an f32 by way of a double.
fn float() -> impl Strategy<Value = f64> {
    use proptest::num::f64::{NEGATIVE, NORMAL, POSITIVE, ZERO};
    POSITIVE | NEGATIVE | NORMAL | ZERO
}

fn small_float() -> impl Strategy<Value = f32> {
    use proptest::num::f32::{NEGATIVE, NORMAL, POSITIVE, ZERO};
    POSITIVE | NEGATIVE | NORMAL | ZERO
}

prop_compose! {
    fn scalars()(
        truth in any::<bool>(),
        signed in (any::<i8>(), any::<i16>(), any::<i32>(), any::<i64>()),
        unsigned in (any::<u8>(), any::<u16>(), any::<u32>(), any::<u64>()),
        floats in (small_float(), float()),
        other in (any::<i32>(), any::<i64>(), any::<u32>(), any::<i64>()),
        text in text(),
        blob in blob(),
        args in args(),
        boxed in args(),
        maybe in (option::of(text()), option::of(any::<u16>())),
    ) -> Rich {
        Rich {
            truth,
            i8: signed.0,
            i16: signed.1,
            i32: signed.2,
            i64: signed.3,
            u8: unsigned.0,
            u16: unsigned.1,
            u32: unsigned.2,
            u64: unsigned.3,
            f32: floats.0,
            f64: floats.1,
            zigzag32: other.0,
            zigzag64: other.1,
            fixed_u32: other.2,
            fixed_i64: other.3,
            text,
            blob,
            args,
            boxed: Box::new(boxed),
            maybe_text: maybe.0,
            maybe_number: maybe.1,
            ..Rich::empty()
        }
    }
}

prop_compose! {
    fn collections()(
        truths in vec(any::<bool>(), 0..5),
        numbers in vec(any::<i32>(), 0..100),
        fixed in vec(any::<u64>(), 0..5),
        zigzags in vec(any::<i64>(), 0..5),
        floats in vec(float(), 0..5),
        texts in vec(text(), 0..5),
        blobs in vec(blob(), 0..5),
        messages in vec(args(), 0..5),
        by_text in hash_map(text(), any::<i64>(), 0..5),
        by_number in btree_map(any::<i32>(), text(), 0..5),
        by_unsigned in btree_map(any::<u64>(), args(), 0..5),
        fixed_by_text in btree_map(text(), any::<u32>(), 0..5),
        in_scalars in scalars(),
    ) -> Rich {
        Rich {
            truths, numbers, fixed, zigzags, floats, texts, blobs, messages, by_text, by_number, by_unsigned,
            fixed_by_text, ..in_scalars
        }
    }
}

prop_compose! {
    /// Any message of every type, three deep.
    pub fn rich()(outer in collections(), inner in option::of((collections(), option::of(scalars())))) -> Rich {
        let next = inner.map(|(inner, last)| Box::new(Rich { next: last.map(Box::new), ..inner }));
        Rich { next, ..outer }
    }
}
