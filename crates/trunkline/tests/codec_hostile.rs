//! Bodies made to harm: none panics, none recurses without end, none takes memory for what is not in it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod codec_common;

use std::collections::HashMap;

use codec_common::{ALL, Args, Rich, encoded, rich};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde::{Deserialize, Serialize};
use trunkline::Message;
use trunkline::codec::{Error, Payload, dynamic};
use trunkline::message::Schema;
use trunkline::wire::Serialization::{self, Json, MessagePack};

/// A message that holds itself, in a box and in lists.
#[derive(Debug, PartialEq, Serialize, Deserialize, Message)]
struct Tree {
    name: String,
    children: Vec<Tree>,
    first: Option<Box<Tree>>,
    numbers: Vec<i64>,
    named: HashMap<String, i64>,
}

/// Decodes, typed and by the schema alone, and gives the most memory that either took.
fn decode<P: Payload>(how: Serialization, body: &[u8]) -> (Result<P, Error>, u64) {
    decode_by(&P::schema(), how, body)
}

fn decode_by<P: Payload>(schema: &Schema, how: Serialization, body: &[u8]) -> (Result<P, Error>, u64) {
    let mut read = None;
    let typed = allocation_counter::measure(|| read = Some(P::decode(how, body)));
    let text = allocation_counter::measure(|| drop(dynamic::decode(how, body, Some(schema))));
    (read.expect("it ran"), typed.bytes_max.max(text.bytes_max))
}

/// What a body that only claims to be large may take.
fn bound(body: &[u8]) -> u64 {
    body.len() as u64 * 4 + (64 << 10)
}

fn refuse(how: Serialization, body: &[u8]) -> Error {
    let (read, memory) = decode::<Tree>(how, body);
    assert!(memory <= bound(body), "{how:?}: {memory} bytes for {}", body.len());
    read.expect_err("a hostile body")
}

/// A few messages that have something in every field.
fn samples() -> Vec<Rich> {
    let mut runner = TestRunner::deterministic();
    let mut sample = || rich().new_tree(&mut runner).expect("a message").current();
    (0..200).map(|_| sample()).filter(|message| message.next.is_some()).take(8).collect()
}

#[test]
fn truncated_bodies() {
    let schema = Rich::schema();
    for message in samples() {
        for how in ALL {
            let body = encoded(&message, *how);
            for cut in (0..body.len()).step_by(1 + body.len() / 300) {
                let (read, memory) = decode_by::<Rich>(&schema, *how, &body[..cut]);
                assert!(memory <= body.len() as u64 * 64 + (64 << 10), "{how:?}: {memory}");
                // Protobuf may be cut between two fields.
                assert!(read.is_err() || *how == Serialization::Protobuf, "{how:?} cut at {cut}");
            }
        }
    }
}

#[test]
fn flipped_bits() {
    let schema = Rich::schema();
    for message in samples() {
        for how in ALL {
            let mut body = encoded(&message, *how);
            for place in (0..body.len()).step_by(1 + body.len() / 300) {
                let bit = 1 << (place % 8);
                body[place] ^= bit;
                drop(decode_by::<Rich>(&schema, *how, &body));
                body[place] ^= bit;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn arbitrary_bytes(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        for how in ALL {
            let (_, memory) = decode::<Tree>(*how, &body);
            prop_assert!(memory <= 4 << 20, "{:?}: {} bytes", how, memory);
        }
    }
}

#[test]
fn nothing_is_nested_without_end() {
    const LEVELS: usize = 100_000;
    let json = [r#"{"first":"#.repeat(LEVELS), "null".to_owned(), "}".repeat(LEVELS)].concat();
    assert!(refuse(Json, json.as_bytes()).to_string().contains("recursion limit"));
    let unknown = [r#"{"x":"#.to_owned(), "[".repeat(LEVELS), "]".repeat(LEVELS), "}".to_owned()].concat();
    // serde_json passes over unknown fields without recursion.
    drop(decode::<Tree>(Json, unknown.as_bytes()));

    let msgpack = [b"\x81\xa5first".repeat(LEVELS), vec![0xc0]].concat();
    assert!(refuse(MessagePack, &msgpack).to_string().ends_with("nested deeper than 64"));
    let unknown = [b"\x81\xa1x".to_vec(), vec![0x91; LEVELS], vec![0xc0]].concat();
    assert!(refuse(MessagePack, &unknown).to_string().ends_with("nested deeper than 64"));
}

#[cfg(feature = "protobuf")]
#[test]
fn protobuf_is_not_nested_without_end() {
    let mut body = Vec::new();
    for _ in 0..30_000 {
        // Field 3, `first`.
        let mut outer = vec![0x1a];
        let mut length = body.len();
        while length > 127 {
            outer.push(u8::try_from(length & 127).expect("seven bits") | 128);
            length >>= 7;
        }
        outer.push(u8::try_from(length).expect("seven bits"));
        outer.append(&mut body);
        body = outer;
    }
    assert!(refuse(Serialization::Protobuf, &body).to_string().ends_with("nested deeper than 64"));
    // Groups of an unknown field: 0xa3 0x06 begins field 100.
    let groups = [0xa3, 0x06].repeat(100_000);
    assert!(refuse(Serialization::Protobuf, &groups).to_string().contains("unknown field 100"));
}

#[cfg(feature = "thrift")]
#[test]
fn thrift_is_not_nested_without_end() {
    let nested = [12, 0, 3].repeat(100_000);
    assert!(refuse(Serialization::Thrift, &nested).to_string().ends_with("nested deeper than 64"));
    let unknown = [12, 0, 99].repeat(100_000);
    assert!(refuse(Serialization::Thrift, &unknown).to_string().ends_with("nested deeper than 64"));
    // Lists of lists, maps of maps.
    let lists = [vec![15, 0, 99], [15, 0, 0, 0, 1].repeat(100_000)].concat();
    assert!(refuse(Serialization::Thrift, &lists).to_string().ends_with("nested deeper than 64"));
    let maps = [vec![13, 0, 99], [13, 13, 0, 0, 0, 1].repeat(100_000)].concat();
    assert!(refuse(Serialization::Thrift, &maps).to_string().ends_with("nested deeper than 64"));
}

#[test]
fn counts_are_only_claims() {
    for head in [&b"\x81\xa8children\xdd"[..], b"\x81\xa7numbers\xdd", b"\x81\xa5named\xdf", b"\xdf"] {
        let body = [head, &[255; 4]].concat();
        let text = refuse(MessagePack, &body).to_string();
        assert!(text.contains("ends too early"), "{text}");
        // With some elements behind it.
        refuse(MessagePack, &[&body[..], &[0xc0; 9]].concat());
    }
    // A list is no message, whatever it claims.
    for head in [&b"\x81\xa4name\xdb"[..], b"\x81\xa4name\xc6", b"\x81\xa1x\xc9", b"\xdd"] {
        refuse(MessagePack, &[head, &[255; 4], b"abc"].concat());
    }
}

#[cfg(feature = "protobuf")]
#[test]
fn lengths_of_protobuf_are_only_claims() {
    for field in [0x0a, 0x12, 0x1a, 0x22, 0x2a, 0x7a] {
        for length in [&[255, 255, 255, 255, 15][..], &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]] {
            refuse(Serialization::Protobuf, &[&[field], length, b"abc"].concat());
        }
        refuse(Serialization::Protobuf, &[&[field][..], &[255; 20]].concat());
    }
}

#[cfg(feature = "thrift")]
#[test]
fn lengths_of_thrift_are_only_claims() {
    for count in [[0x7f, 255, 255, 255], [255; 4], [0x80, 0, 0, 0]] {
        for head in [
            &[11, 0, 1][..],
            &[15, 0, 2, 12],
            &[15, 0, 4, 10],
            &[13, 0, 5, 11, 10],
            &[15, 0, 99, 2],
            &[15, 0, 99, 0],
            &[13, 0, 99, 0, 0],
            &[13, 0, 99, 3, 3],
            &[11, 0, 99],
        ] {
            refuse(Serialization::Thrift, &[head, &count, &[0; 9]].concat());
        }
    }
}

/// Elements that are a byte or two on the wire, and hundreds in memory.
#[test]
fn empty_elements_are_paid_for() {
    #[derive(Debug, Serialize, Deserialize, Message)]
    struct Many {
        all: Vec<Rich>,
    }
    const COUNT: u32 = 1 << 20;
    let count = COUNT as usize;
    let mut msgpack = b"\x81\xa3all\xdd".to_vec();
    msgpack.extend(COUNT.to_be_bytes());
    msgpack.resize(msgpack.len() + count, 0xc0);
    let mut thrift = vec![15, 0, 1, 12];
    thrift.extend(COUNT.to_be_bytes());
    thrift.resize(thrift.len() + count + 1, 0);
    let json = format!(r#"{{"all":[{}{{}}]}}"#, "{},".repeat(count));
    let bodies = [json.into_bytes(), msgpack, b"\x0a\x00".repeat(count), thrift, gob_of_empty(count)];
    for (how, body) in ALL.iter().zip(&bodies) {
        let mut read = None;
        let taken = allocation_counter::measure(|| read = Some(Many::decode(*how, body)));
        // Growing a vector holds the old one beside the new one, which is twice as large.
        assert!(taken.bytes_max <= 3 * (64 * body.len() as u64 + (4 << 20)), "{how:?}: {}", taken.bytes_max);
        let error = read.expect("it ran").expect_err("too much");
        assert!(error.to_string().contains("64 times"), "{how:?}: {error}");
    }
}

/// So many structs in a list, each nothing but its end.
fn gob_of_empty(count: usize) -> Vec<u8> {
    use trunkline::wire::gob::{self, Definition, Field, Shape, builtin};
    let mut body = Vec::new();
    let field = |name: &str, id| Field { name: name.into(), id };
    let shapes = [
        Shape::Struct([field("all", 66)].into()),
        Shape::Slice { element: 67 },
        Shape::Struct([field("i8", builtin::INT)].into()),
    ];
    for (id, shape) in (65..).zip(shapes) {
        gob::write_definition(id, &Definition { name: "".into(), shape }, |id| id, &mut body);
    }
    let start = gob::begin(65, &mut body);
    body.push(1);
    gob::put_uint(count as u64, &mut body);
    body.resize(body.len() + count + 1, 0);
    gob::finish(start, &mut body);
    body
}

/// What is usual stays far below that bound.
#[test]
fn many_small_elements_are_fine() {
    #[derive(Debug, PartialEq, Serialize, Deserialize, Message)]
    struct Many {
        args: Vec<Args>,
        texts: Vec<String>,
        numbers: Vec<i64>,
    }
    let many = Many {
        args: vec![Args { a: 0, b: 0 }; 300_000],
        texts: vec![String::new(); 300_000],
        numbers: vec![0; 300_000],
    };
    for how in ALL {
        assert_eq!(Many::decode(*how, &encoded(&many, *how)).expect("it is usual"), many);
    }
}

/// The deepest body that is taken, of a message with large stack frames, on a thread with tokio's stack (2 MiB).
#[test]
fn the_deepest_message_fits_the_stack() {
    for how in ALL {
        let mut deepest = 0;
        let mut message = Rich::empty();
        for depth in 1..130 {
            message = Rich { next: Some(Box::new(message)), ..Rich::empty() };
            if depth >= 40 && Rich::decode(*how, &encoded(&message, *how)).is_ok() {
                deepest = depth;
            }
        }
        assert!((60..=127).contains(&deepest), "{how:?}: {deepest}");
    }
}

#[test]
fn a_list_is_no_message() {
    assert!(refuse(Serialization::Json, b"[6,7]").to_string().contains("invalid type: sequence"));
    assert!(refuse(MessagePack, b"\x92\x06\x07").to_string().contains("invalid type: sequence"));
}
