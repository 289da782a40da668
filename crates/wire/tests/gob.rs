//! gob: every recorded stream read to its end and written again, and what no Go program would send.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may fail loudly")]

use serde_json::Value;
use trunkline_wire::gob::{self, Cursor, Error, Incoming, Message, Outgoing, Shape};
use trunkline_wire::{Limits, gob::write_definition};

struct Case {
    name: String,
    frames: Vec<Value>,
}

impl Case {
    /// The bytes of one direction, from the first gob message on.
    fn gob(&self, direction: &str) -> Vec<u8> {
        let path = format!("{}/testdata/netrpc/{}.{direction}.bin", env!("CARGO_MANIFEST_DIR"), self.name);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let text = self.frames.iter().find(|frame| {
            frame["dir"] == direction && frame["offset"] == 0 && frame["fields"]["text"].is_string()
        });
        let at = text.map_or(0, |frame| usize::try_from(frame["length"].as_u64().unwrap()).unwrap());
        bytes[at..].to_vec()
    }
}

/// The recorded cases that are gob.
fn cases() -> Vec<Case> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/netrpc/cases.json");
    let list: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut cases: Vec<Case> = list
        .into_iter()
        .map(|case| Case {
            name: case["name"].as_str().unwrap().to_owned(),
            frames: case["frames"].as_array().cloned().unwrap_or_default(),
        })
        .collect();
    cases.retain(|case| {
        !["garbage", "huge-message", "http-get", "http-wrong-path"].contains(&case.name.as_str())
    });
    assert!(cases.len() >= 19, "{} cases", cases.len());
    cases
}

fn messages(bytes: &[u8]) -> Vec<Message<'_>> {
    let (mut rest, mut found) = (bytes, vec![]);
    while let Some(message) = Message::first(rest, 4 << 20).unwrap() {
        rest = &rest[message.length()..];
        found.push(message);
    }
    assert!(rest.is_empty(), "{} bytes are left", rest.len());
    found
}

/// Whether the value of the message can be passed over to its end.
fn is_whole(incoming: &Incoming, message: &Message<'_>) -> bool {
    let mut from = Cursor::new(message.rest());
    let types = incoming.types();
    let bare = !matches!(types.get(message.id()).map(|found| &found.shape), Some(Shape::Struct(_)));
    // What is no struct stands behind a zero.
    (!bare || from.uint() == Ok(0)) && gob::skip(types, message.id(), &mut from, 0).is_ok() && from.is_empty()
}

#[test]
fn recorded_streams_are_read_and_their_definitions_written_again() {
    for case in cases() {
        for direction in ["c2s", "s2c"] {
            let bytes = case.gob(direction);
            let mut incoming = Incoming::new(&Limits::default());
            for message in messages(&bytes) {
                if !message.is_definition() {
                    assert!(is_whole(&incoming, &message), "{} {direction}: {message:?}", case.name);
                    continue;
                }
                incoming.define(&message).unwrap();
                let id = -message.id();
                let mut again = Vec::new();
                write_definition(id, incoming.types().get(id).unwrap(), |id| id, &mut again);
                assert_eq!(again, message.raw(), "{} {direction}", case.name);
            }
        }
    }
}

#[test]
fn recorded_heads_are_read_by_name() {
    for case in cases() {
        for direction in ["c2s", "s2c"] {
            let bytes = case.gob(direction);
            let mut incoming = Incoming::new(&Limits::default());
            let mut heads = vec![];
            let mut values = 0;
            for message in messages(&bytes) {
                if message.is_definition() {
                    incoming.define(&message).unwrap();
                    continue;
                }
                values += 1;
                if values % 2 == 0 {
                    continue;
                }
                let (mut method, mut seq, mut error) = ("", 0, "");
                gob::record(incoming.types(), &message, |name, _, from| {
                    match name {
                        "ServiceMethod" => method = from.text()?,
                        "Seq" => seq = from.uint()?,
                        "Error" => error = from.text()?,
                        _ => return Ok(false),
                    }
                    Ok(true)
                })
                .unwrap();
                heads.push((method.to_owned(), seq, error.to_owned()));
            }
            let key = if direction == "c2s" { "request" } else { "response" };
            let frames = case.frames.iter().filter(|f| f["dir"] == direction && f["fields"][key].is_object());
            let wanted: Vec<_> = frames
                .map(|frame| {
                    let head = &frame["fields"][key];
                    let text = |name: &str| head[name].as_str().unwrap_or("").to_owned();
                    (text("ServiceMethod"), head["Seq"].as_u64().unwrap(), text("Error"))
                })
                .collect();
            assert!(heads.starts_with(&wanted[..]), "{} {direction}: {heads:?}", case.name);
        }
    }
}

/// Puts every value of a stream onto another connection.
fn relay(bytes: &[u8]) -> Vec<u8> {
    let limits = Limits::default();
    let (mut incoming, mut outgoing) = (Incoming::new(&limits), Outgoing::new(&limits));
    let (mut body, mut out) = (Vec::new(), Vec::new());
    for message in messages(bytes) {
        if message.is_definition() {
            incoming.define(&message).unwrap();
        } else {
            body.clear();
            incoming.graft(&message, &mut body).unwrap();
            outgoing.graft(&body, &mut out).unwrap();
        }
    }
    out
}

#[test]
fn values_that_were_relayed_are_the_same_and_so_is_a_second_relay() {
    for case in cases() {
        for direction in ["c2s", "s2c"] {
            let bytes = case.gob(direction);
            let once = relay(&bytes);
            assert_eq!(once.len(), relay(&once).len(), "{} {direction}", case.name);
            assert_eq!(once, relay(&once), "{} {direction}", case.name);
            let values = |bytes: &[u8]| {
                let values = messages(bytes).into_iter().filter(|message| !message.is_definition());
                values.map(|message| message.rest().to_vec()).collect::<Vec<_>>()
            };
            assert_eq!(values(&once), values(&bytes), "{} {direction}", case.name);
            // A definition is sent once: there are no more of them than were recorded.
            let count = |bytes: &[u8]| messages(bytes).iter().filter(|m| m.is_definition()).count();
            assert!(count(&once) <= count(&bytes), "{} {direction}", case.name);
        }
    }
}

#[test]
fn the_same_bytes_come_out_where_the_ids_are_the_same() {
    // In this recording the ids of one direction are dense and in the order of their first use.
    let case = cases().into_iter().find(|case| case.name == "mul").unwrap();
    let bytes = case.gob("c2s");
    assert_eq!(relay(&bytes), bytes);
}

/// A stream of one direction, put together by hand.
fn refused(parts: &[&[u8]]) -> Error {
    let mut incoming = Incoming::new(&Limits::default());
    for part in parts {
        let message = match Message::first(part, 4 << 20) {
            Ok(message) => message.unwrap(),
            Err(error) => return error,
        };
        let done = if message.is_definition() {
            incoming.define(&message)
        } else {
            incoming.graft(&message, &mut Vec::new())
        };
        if let Err(error) = done {
            return error;
        }
    }
    panic!("nothing was refused");
}

/// A message of this id around the bytes.
fn message(id: i64, rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let start = gob::begin(id, &mut out);
    out.extend_from_slice(rest);
    gob::finish(start, &mut out);
    out
}

fn definition(id: i64, shape: Shape) -> Vec<u8> {
    let mut out = Vec::new();
    write_definition(id, &gob::Definition { name: "".into(), shape }, |id| id, &mut out);
    out
}

#[test]
fn z7_lengths_of_2_60_take_no_memory() {
    let huge = [0xf8, 0x10, 0, 0, 0, 0, 0, 0, 0];
    assert!(matches!(Message::first(&huge, 4 << 20), Err(Error::TooLarge { got, .. }) if got == 1 << 60));
    // The recorded one.
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/netrpc/huge-message.c2s.bin");
    assert!(matches!(Message::first(&std::fs::read(path).unwrap(), 4 << 20), Err(Error::TooLarge { .. })));
    // So many fields, and a name of that length.
    refused(&[&message(-65, &[&[3, 1, 2, 0xff, 0x82, 0, 1][..], &huge].concat())]);
    refused(&[&message(-65, &[&[3, 1, 1][..], &huge, b"x"].concat())]);
    // So many elements in a value of each kind.
    let mut incoming = Incoming::new(&Limits::default());
    for (id, shape) in [
        (65, Shape::Slice { element: gob::builtin::INT }),
        (66, Shape::Map { key: gob::builtin::INT, element: gob::builtin::INT }),
        (67, Shape::Array { element: gob::builtin::INT, length: 1 << 60 }),
    ] {
        incoming.define(&Message::first(&definition(id, shape), 4 << 20).unwrap().unwrap()).unwrap();
        assert!(gob::skip(incoming.types(), id, &mut Cursor::new(&huge), 0).is_err(), "{id}");
    }
    assert!(gob::skip(incoming.types(), gob::builtin::STRING, &mut Cursor::new(&huge), 0).is_err());
}

#[test]
fn z7_deep_and_self_referring_types_end() {
    let mut incoming = Incoming::new(&Limits::default());
    // A slice of itself, an array of itself, and a chain of a hundred slices.
    let mut parts = vec![
        definition(65, Shape::Slice { element: 65 }),
        definition(66, Shape::Array { element: 66, length: 1 }),
    ];
    for id in 100..200 {
        parts.push(definition(id, Shape::Slice { element: id + 1 }));
    }
    parts.push(definition(200, Shape::Slice { element: gob::builtin::INT }));
    for part in &parts {
        incoming.define(&Message::first(part, 4 << 20).unwrap().unwrap()).unwrap();
    }
    let deep = [1; 1000];
    for id in [65, 66, 100] {
        let refused = gob::skip(incoming.types(), id, &mut Cursor::new(&deep), 0);
        assert_eq!(refused, Err(Error::Malformed("a value nested deeper than 64")), "{id}");
        // The definitions themselves can be copied.
        let mut body = Vec::new();
        let value = message(id, &[0, 0]);
        incoming.graft(&Message::first(&value, 100).unwrap().unwrap(), &mut body).unwrap();
        assert!(gob::split(&body).is_ok());
    }
}

#[test]
fn z7_types_without_end_are_refused() {
    let mut incoming = Incoming::new(&Limits::default());
    let mut told = None;
    for id in 64.. {
        let part = definition(id, Shape::Slice { element: id + 1 });
        let done = incoming.define(&Message::first(&part, 100).unwrap().unwrap());
        if let Err(error) = done {
            told = Some((id, error));
            break;
        }
    }
    assert!(matches!(told, Some((1088, Error::TooLarge { limit: 1024, .. }))), "{told:?}");
    // A value that needs more of them than a body may have.
    let value = message(64, &[0, 0]);
    let refused = incoming.graft(&Message::first(&value, 100).unwrap().unwrap(), &mut Vec::new());
    assert!(matches!(refused, Err(Error::TooLarge { limit: 256, .. })), "{refused:?}");
    // Large definitions, each small enough.
    let mut incoming = Incoming::new(&Limits::default());
    let name = "x".repeat(30_000).into_boxed_str();
    let outcome = (64..100).try_for_each(|id| {
        let mut part = Vec::new();
        let found = gob::Definition { name: name.clone(), shape: Shape::Slice { element: 2 } };
        write_definition(id, &found, |id| id, &mut part);
        incoming.define(&Message::first(&part, 1 << 20).unwrap().unwrap())
    });
    assert!(matches!(outcome, Err(Error::TooLarge { limit: 0x8_0000, .. })), "{outcome:?}");
}

#[test]
fn ids_that_are_none_and_broken_definitions_are_refused() {
    let ints = definition(65, Shape::Slice { element: 2 });
    assert_eq!(refused(&[&ints, &ints]), Error::Duplicate(65));
    assert_eq!(refused(&[&message(70, &[0])]), Error::UnknownType(70));
    assert_eq!(
        refused(&[&definition(65, Shape::Slice { element: 99 }), &message(65, &[0, 0])]),
        Error::UnknownType(99)
    );
    // Types of gob itself are no types of values.
    for element in [0, 9, 16, 23, -65] {
        refused(&[&definition(65, Shape::Slice { element }), &message(65, &[0, 0])]);
    }
    for id in [2, 63, 1 << 31] {
        refused(&[&definition(id, Shape::Slice { element: 2 })]);
    }
    for broken in [
        &[0][..],                                    // of no kind
        &[8, 1, 2, 0xff, 0x82, 0, 0, 0],             // of an unknown kind
        &[2, 1, 2, 0xff, 0x82, 0, 1, 4],             // cut
        &[2, 1, 2, 0xff, 0x82, 0, 1, 4, 0, 0, 0],    // with a byte behind it
        &[1, 1, 2, 0xff, 0x82, 0, 1, 4, 1, 1, 0, 0], // of length -1
    ] {
        assert!(matches!(refused(&[&message(-65, broken)]), Error::Malformed(_)), "{broken:?}");
    }
    assert!(matches!(refused(&[&[0]]), Error::Malformed(_)));
    assert!(matches!(refused(&[&[1, 0]]), Error::Malformed(_)));
}

#[test]
fn what_cannot_be_sent_leaves_the_connection_as_it_was() {
    let limits = Limits::default();
    let (mut outgoing, mut out) = (Outgoing::new(&limits), b"before".to_vec());
    let fields = |id| Shape::Struct([gob::Field { name: "X".into(), id }].into());
    let good = [definition(65, fields(66)), definition(66, fields(2)), message(65, &[0])].concat();
    let bad = [
        [definition(65, fields(gob::builtin::INTERFACE)), message(65, &[0])].concat(),
        [definition(65, fields(66)), message(65, &[0])].concat(),
        definition(65, fields(2)),
        [&message(2, &[0, 2])[..], b"x"].concat(),
        message(gob::builtin::INTERFACE, &[0, 0]),
        vec![],
    ];
    for stream in &bad {
        assert!(outgoing.graft(stream, &mut out).is_err(), "{stream:?}");
        assert_eq!(out, b"before");
    }
    outgoing.graft(&good, &mut out).unwrap();
    let first = out.len();
    outgoing.graft(&good, &mut out).unwrap();
    assert_eq!(out.len() - first, 4);
    // What it has of another type is not sent again.
    let inner = [definition(65, fields(2)), message(65, &[0])].concat();
    outgoing.graft(&inner, &mut out).unwrap();
    assert_eq!(messages(&out[6..]).iter().filter(|message| message.is_definition()).count(), 2);
}

#[test]
fn a_value_of_a_type_that_is_not_the_first_has_its_own() {
    let limits = Limits::default();
    let (mut outgoing, mut out) = (Outgoing::new(&limits), Vec::new());
    let fields = |name: &str, id| Shape::Struct([gob::Field { name: name.into(), id }].into());
    let types = [definition(65, fields("X", 66)), definition(66, fields("Y", 2))].concat();
    for (value, name) in [(message(65, &[0]), "X"), (message(66, &[1, 2, 0]), "Y"), (message(65, &[0]), "X")]
    {
        for in_place in [false, true] {
            let stream = [&types[..], &value].concat();
            if in_place {
                let at = out.len();
                out.extend_from_slice(&stream);
                outgoing.graft_in_place(at, &mut out).unwrap();
            } else {
                outgoing.graft(&stream, &mut out).unwrap();
            }
            let all = messages(&out);
            let mut incoming = Incoming::new(&limits);
            for message in all.iter().filter(|message| message.is_definition()) {
                incoming.define(message).unwrap();
            }
            let last = all.last().unwrap();
            let found = incoming.types().get(last.id()).unwrap();
            assert!(matches!(&found.shape, Shape::Struct(fields) if *fields[0].name == *name));
        }
    }
    // A value whose length is written longer than it has to be is no reason to write it so.
    let at = out.len();
    out.extend_from_slice(&[&types[..], &[0xff, 3, 0xff, 0x82, 0]].concat());
    outgoing.graft_in_place(at, &mut out).unwrap();
    assert_eq!(messages(&out).last().unwrap().length(), 4);
}

/// Z7: a value of a few bytes does not cost a walk through all types again and again.
#[test]
fn z7_types_that_all_hold_each_other_are_refused_once() {
    let limits = Limits::default();
    let (mut incoming, mut outgoing) = (Incoming::new(&limits), Outgoing::new(&limits));
    // A ring of large structs: the definitions of each are those of all.
    for id in 64..264 {
        let name = format!("{id}{}", "x".repeat(250)).into_boxed_str();
        let next = if id == 263 { 64 } else { id + 1 };
        let shape = Shape::Struct([gob::Field { name: "X".into(), id: next }].into());
        let mut part = Vec::new();
        write_definition(id, &gob::Definition { name, shape }, |id| id, &mut part);
        incoming.define(&Message::first(&part, 1 << 20).unwrap().unwrap()).unwrap();
    }
    let value = message(64, &[0]);
    let value = Message::first(&value, 100).unwrap().unwrap();
    let (mut body, mut out) = (Vec::new(), Vec::new());
    incoming.graft(&value, &mut body).unwrap();
    let started = std::time::Instant::now();
    for _ in 0..2_000 {
        let refused = outgoing.graft(&body, &mut out).unwrap_err();
        assert!(matches!(refused, Error::TooLarge { limit: 0x20_0000, .. }), "{refused:?}");
        assert!(out.is_empty());
    }
    // Once takes milliseconds; so many times would take half a minute.
    assert!(started.elapsed().as_secs() < 10);
    // What was missing and came later is there.
    let value = message(300, &[0, 0]);
    let value = Message::first(&value, 100).unwrap().unwrap();
    assert_eq!(incoming.graft(&value, &mut body), Err(Error::UnknownType(300)));
    let late = definition(300, Shape::Slice { element: 2 });
    incoming.define(&Message::first(&late, 100).unwrap().unwrap()).unwrap();
    incoming.graft(&value, &mut body).unwrap();
}
