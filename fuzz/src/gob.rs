//! What must hold for all bytes that are taken for gob: a connection's stream, a body, or JSON that becomes one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a check fails loudly")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trunkline::codec::gob::{Complex, Gob};
use trunkline::codec::{Payload, dynamic};
use trunkline::wire::gob::{self, Incoming, Outgoing};
use trunkline::{Blob, Limits, Message, Serialization};

/// Every kind of field that a message has, and itself.
#[derive(Debug, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
struct Rich {
    truth: bool,
    i8: i8,
    i64: i64,
    u16: u16,
    u64: u64,
    f32: f32,
    f64: f64,
    text: String,
    bytes: Blob,
    ints: Vec<i64>,
    texts: Vec<String>,
    blobs: Vec<Blob>,
    inners: Vec<Inner>,
    map: BTreeMap<String, i64>,
    by_num: BTreeMap<i32, Inner>,
    inner: Inner,
    ptr: Option<Inner>,
    number: Option<i64>,
    left: Option<Box<Rich>>,
    all: Vec<Rich>,
}

#[derive(Debug, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
struct Inner {
    name: String,
    n: i64,
}

/// What only serde can say.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Any {
    complex: Complex,
    rune: char,
    array: [i16; 3],
    octets: [u8; 4],
    nest: Vec<Vec<String>>,
    deep: Vec<Vec<Vec<i8>>>,
    map_map: BTreeMap<String, BTreeMap<u16, Vec<String>>>,
    bytes: Vec<u8>,
    tree: Option<Box<Tree>>,
    empty: (),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tree {
    v: i64,
    left: Option<Box<Tree>>,
    all: Vec<Tree>,
}

/// The first byte says what the rest is.
pub(crate) fn gob(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    match first % 3 {
        0 => connection(rest),
        1 => body(rest),
        _ => json(rest),
    }
}

/// Every value of a stream becomes a body, and goes out on another connection, from where it is the same body again.
fn connection(mut stream: &[u8]) {
    let mut limits = Limits::default();
    limits.types = 32;
    let mut incoming = Incoming::new(&limits);
    let (mut outgoing, mut relayed) = (Outgoing::new(&limits), Incoming::new(&limits));
    while let Ok(Some(message)) = gob::Message::first(stream, 1 << 16) {
        stream = &stream[message.length()..];
        if message.is_definition() {
            if incoming.define(&message).is_err() {
                return;
            }
            continue;
        }
        let mut bytes = vec![7];
        if incoming.graft(&message, &mut bytes).is_err() {
            assert_eq!(bytes, [7]);
            continue;
        }
        let (_, value) = gob::split(&bytes[1..]).unwrap();
        assert_eq!(value.rest(), message.rest());
        relay(&bytes[1..], &mut outgoing, &mut relayed);
        body(&bytes[1..]);
    }
}

fn relay(body: &[u8], outgoing: &mut Outgoing, relayed: &mut Incoming) {
    let mut out = Vec::new();
    if outgoing.graft(body, &mut out).is_err() {
        assert!(out.is_empty());
        return;
    }
    let mut rest = &out[..];
    let mut again = Vec::new();
    while let Some(message) = gob::Message::first(rest, usize::MAX).unwrap() {
        rest = &rest[message.length()..];
        if message.is_definition() {
            relayed.define(&message).unwrap();
        } else {
            relayed.graft(&message, &mut again).unwrap();
        }
    }
    assert_eq!(again, body);
}

fn encoded<P: Payload>(value: &P) -> Vec<u8> {
    let mut out = Vec::new();
    value.encode(Serialization::Gob, &mut out).unwrap_or_else(|error| panic!("{error}"));
    out
}

/// What was read can be written, and what was written is read again as the same.
fn comes_back<P: Payload>(body: &[u8]) {
    let Ok(value) = P::decode(Serialization::Gob, body) else { return };
    let once = encoded(&value);
    let again = P::decode(Serialization::Gob, &once).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(once, encoded(&again));
}

fn body(bytes: &[u8]) {
    comes_back::<Rich>(bytes);
    comes_back::<Gob<Rich>>(bytes);
    comes_back::<Gob<Any>>(bytes);
    comes_back::<Gob<Vec<u8>>>(bytes);
    comes_back::<Gob<Vec<i64>>>(bytes);
    comes_back::<Gob<BTreeMap<String, Inner>>>(bytes);
    comes_back::<Gob<f64>>(bytes);
    comes_back::<String>(bytes);
    comes_back::<Vec<u8>>(bytes);
    comes_back::<()>(bytes);
    if let Ok(text) = dynamic::decode(Serialization::Gob, bytes, None) {
        serde_json::from_str::<serde::de::IgnoredAny>(&text)
            .unwrap_or_else(|error| panic!("{error}: {text}"));
    }
}

/// What JSON became is read as JSON again.
fn json(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let mut out = Vec::new();
    if dynamic::encode(Serialization::Gob, text, None, &mut out).is_err() {
        assert!(out.is_empty());
        return;
    }
    let (_, value) = gob::split(&out).unwrap();
    assert!(!value.is_definition());
    body(&out);
}
