//! What must hold for all bytes that are taken for a message, in every serialisation.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a check fails loudly")]

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use trunkline::codec::{Payload, dynamic, gzip};
use trunkline::{Blob, Message, Serialization};

/// Every kind of field, and itself.
#[derive(Debug, Serialize, Deserialize, Message)]
struct Rich {
    truth: bool,
    small: i8,
    number: i64,
    unsigned: u32,
    float: f64,
    #[message(kind = "sint")]
    zigzag: i64,
    #[message(kind = "fixed")]
    fixed: u64,
    text: String,
    blob: Blob,
    maybe: Option<u16>,
    next: Option<Box<Rich>>,
    numbers: Vec<i32>,
    texts: Vec<String>,
    all: Vec<Rich>,
    by_text: HashMap<String, i64>,
    by_number: BTreeMap<i32, String>,
}

const ALL: [Serialization; 4] =
    [Serialization::Json, Serialization::MessagePack, Serialization::Protobuf, Serialization::Thrift];

fn encoded(message: &Rich, how: Serialization) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(how, &mut out).unwrap_or_else(|error| panic!("{how:?}: {error}"));
    out
}

/// The first byte chooses the serialisation. Whatever the rest is, it is a message or an error; a message that was
/// read can be written, and what was written is read again as the same.
pub(crate) fn payload(data: &[u8]) {
    let Some((&first, body)) = data.split_first() else { return };
    if first == 4 {
        let inflated = gzip::inflate(body, 1 << 16);
        assert!(inflated.is_err() || inflated.unwrap().len() <= 1 << 16);
        return;
    }
    let how = ALL[usize::from(first % 4)];
    if let Ok(message) = Rich::decode(how, body) {
        // JSON has no NaN, and the order of a hash map is by chance.
        let sound = message.float.is_finite() && message.by_text.len() < 2;
        if sound && message.all.is_empty() && message.next.is_none() {
            let once = encoded(&message, how);
            let again = Rich::decode(how, &once).unwrap_or_else(|error| panic!("{how:?}: {error}"));
            assert_eq!(once, encoded(&again, how), "{how:?}");
        }
    }
    if let (Ok(json), Serialization::MessagePack) = (dynamic::decode(how, body, None), how) {
        let mut out = Vec::new();
        let _ = dynamic::encode(how, &json, None, &mut out);
    }
}
