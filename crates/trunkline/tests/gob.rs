//! gob bodies: those that Go programs sent, read and written again; what serde can say; and bodies made to harm.
#![cfg(feature = "netrpc")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail loudly"
)]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

use bytes::Bytes;
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline::codec::gob::{Complex, Gob};
use trunkline::codec::{Payload, dynamic};
use trunkline::wire::gob::{self, Definition, Field, Incoming, Shape, Types, builtin};
use trunkline::{Blob, Limits, Message, Serialization};

const GOB: Serialization = Serialization::Gob;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
struct Args {
    a: i64,
    b: i64,
}

/// The bodies of one direction of a recorded case, with their recorded descriptions.
fn bodies(case: &str, direction: &str) -> Vec<(Vec<u8>, Value)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../wire/testdata/netrpc");
    let list: Vec<Value> =
        serde_json::from_slice(&std::fs::read(format!("{folder}/cases.json")).unwrap()).unwrap();
    let case_of = list.into_iter().find(|found| found["name"] == case).unwrap();
    let bytes = std::fs::read(format!("{folder}/{case}.{direction}.bin")).unwrap();
    let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    let mut incoming = Incoming::new(&Limits::default());
    let mut found = vec![];
    for frame in case_of["frames"].as_array().unwrap() {
        if frame["dir"] != direction || !frame["fields"]["text"].is_null() {
            continue;
        }
        let at = number(&frame["offset"]);
        let mut rest = &bytes[at..at + number(&frame["length"])];
        let mut values = vec![];
        while let Some(message) = gob::Message::first(rest, 1 << 20).unwrap() {
            rest = &rest[message.length()..];
            if message.is_definition() {
                incoming.define(&message).unwrap();
            } else {
                let mut body = vec![];
                incoming.graft(&message, &mut body).unwrap();
                values.push(body);
            }
        }
        assert_eq!(values.len(), 2, "a head and a body");
        found.push((values.pop().unwrap(), frame["fields"]["body"].clone()));
    }
    assert!(!found.is_empty());
    found
}

fn encoded<P: Payload>(value: &P) -> Vec<u8> {
    let mut body = vec![];
    value.encode(GOB, &mut body).unwrap();
    body
}

/// The definitions without the names of types, which do not count, and the value.
fn parts(body: &[u8]) -> (Vec<(i64, Shape)>, Vec<u8>) {
    let (definitions, value) = gob::split(body).unwrap();
    let types = Types::of(definitions).unwrap();
    (types.iter().map(|(id, found)| (id, found.shape.clone())).collect(), value.raw().to_vec())
}

/// Reads a body of Go's and writes it again: the same bytes, and the same types but for their names.
fn same<P: Payload + Debug>(body: &[u8]) -> P {
    let value = P::decode(GOB, body).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(parts(&encoded(&value)), parts(body), "{value:?}");
    value
}

fn all<T: Serialize + DeserializeOwned + Debug + 'static>(
    case: &str,
    direction: &str,
    places: &[usize],
) -> Vec<T> {
    let bodies = bodies(case, direction);
    places.iter().map(|place| same::<Gob<T>>(&bodies[*place].0).0).collect()
}

#[test]
fn recorded_arguments_to_the_byte() {
    let wanted = [Args { a: 10, b: 20 }, Args { a: 7, b: -6 }];
    for ((body, _), wanted) in bodies("mul", "c2s").iter().zip(&wanted) {
        // By the schema, and by serde.
        assert_eq!(Args::decode(GOB, body).unwrap(), *wanted);
        assert_eq!(encoded(wanted), *body);
        assert_eq!(Gob::<Args>::decode(GOB, body).unwrap().0, *wanted);
        assert_eq!(encoded(&Gob(wanted.clone())), *body);
    }
    assert_eq!(all::<i64>("mul", "s2c", &[0, 1]), [200, -42]);
    #[derive(Debug, PartialEq, Serialize, Deserialize, Message)]
    #[serde(rename_all = "PascalCase")]
    struct Quotient {
        quo: i64,
        rem: i64,
    }
    let answers: Vec<Quotient> = bodies("div", "s2c").iter().map(|(body, _)| same(body)).collect();
    assert_eq!(answers, [Quotient { quo: 3, rem: 2 }, Quotient { quo: 3, rem: 0 }]);
    let (errors, goods) = (bodies("error", "s2c"), bodies("error", "c2s"));
    // Instead of a reply a failed call has the struct without fields.
    same::<()>(&errors[0].0);
    assert_eq!(same::<Quotient>(&errors[1].0), Quotient { quo: 4, rem: 1 });
    assert_eq!(same::<Args>(&goods[0].0), Args { a: 1, b: 0 });
}

#[test]
fn recorded_scalars() {
    for direction in ["c2s", "s2c"] {
        assert_eq!(all::<bool>("scalars", direction, &[0, 1]), [true, false]);
        let ints = [0, 1, -1, 127, -129, i64::MAX, i64::MIN];
        assert_eq!(all::<i64>("scalars", direction, &[2, 3, 4, 5, 6, 7, 8]), ints);
        let every = bodies("scalars", direction);
        for (body, described) in &every {
            let value = &described["value"];
            match described["go"].as_str().unwrap() {
                "bool" => assert_eq!(Some(same::<Gob<bool>>(body).0), value.as_bool()),
                "int8" => assert_eq!(i64::from(same::<Gob<i8>>(body).0), value.as_i64().unwrap()),
                "int" | "int64" => assert_eq!(Some(same::<Gob<i64>>(body).0), value.as_i64()),
                "uint8" => assert_eq!(u64::from(same::<Gob<u8>>(body).0), value.as_u64().unwrap()),
                "uint" | "uint64" => assert_eq!(Some(same::<Gob<u64>>(body).0), value.as_u64()),
                "float32" => {
                    let read = same::<Gob<f32>>(body).0;
                    assert_eq!(Ok(read), value.as_str().unwrap().parse());
                }
                "float64" => {
                    let read = same::<Gob<f64>>(body).0;
                    let wanted: f64 = value.as_str().unwrap().parse().unwrap();
                    assert!(read.to_bits() == wanted.to_bits() || read.is_nan() && wanted.is_nan());
                }
                "complex128" => assert_eq!(same::<Gob<Complex>>(body).0, Complex { re: 1.0, im: -2.0 }),
                "string" => assert_eq!(same::<String>(body), value.as_str().unwrap()),
                "[]uint8" => {
                    let hex = described["hex"].as_str().unwrap();
                    let read = same::<Vec<u8>>(body);
                    let written: String = read.iter().map(|byte| format!("{byte:02x}")).collect();
                    assert_eq!(written, hex);
                    assert_eq!(same::<Gob<Vec<u8>>>(body).0, read);
                    assert_eq!(Bytes::decode_bytes(GOB, body.clone().into()).unwrap(), read);
                }
                other => panic!("a recorded {other}"),
            }
        }
        assert_eq!(every.len(), 28);
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Inner {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "N")]
    n: i64,
}

#[test]
fn recorded_collections() {
    for direction in ["c2s", "s2c"] {
        let ints = all::<Vec<i64>>("collections", direction, &[0, 1]);
        assert_eq!(ints, [vec![1, -2, 300], vec![]]);
        assert_eq!(all::<Vec<String>>("collections", direction, &[2]), [["a", "", "c"]]);
        assert_eq!(all::<[i64; 3]>("collections", direction, &[3, 4]), [[1, 0, 3], [0; 3]]);
        let maps = all::<HashMap<String, i64>>("collections", direction, &[5, 6]);
        assert_eq!(maps, [HashMap::from([("one".to_owned(), 1)]), HashMap::new()]);
        let inner = |name: &str, n| Inner { name: name.to_owned(), n };
        let maps = all::<BTreeMap<i64, Inner>>("collections", direction, &[7]);
        assert_eq!(maps, [BTreeMap::from([(5, inner("five", 5))])]);
        let lists = all::<Vec<Inner>>("collections", direction, &[8]);
        assert_eq!(lists, [[inner("a", 1), inner("", 0), inner("c", 0)]]);
    }
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Base {
    #[serde(rename = "ID")]
    id: u64,
}

/// The recorded struct that has a field of every kind.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct All {
    base: Base,
    bool: bool,
    i8: i8,
    i16: i16,
    i32: i32,
    i64: i64,
    i: i64,
    u8: u8,
    u16: u16,
    u32: u32,
    u64: u64,
    u: u64,
    f32: f32,
    f64: f64,
    c128: Complex,
    str: String,
    bytes: Blob,
    ints: Vec<i64>,
    strs: Vec<String>,
    bools: Vec<bool>,
    arr: [i64; 3],
    arr_b: [u8; 4],
    map: BTreeMap<String, i64>,
    map_s: BTreeMap<i64, Inner>,
    inner: Inner,
    ptr: Option<Inner>,
    ptr_int: Option<i64>,
    nest: Vec<Vec<String>>,
    inners: Vec<Inner>,
    ptr_ptr: Option<String>,
}

#[test]
fn the_recorded_struct_of_every_kind() {
    for direction in ["c2s", "s2c"] {
        let read = all::<All>("struct", direction, &[0, 1]);
        let full = &read[0];
        assert_eq!((full.base.id, full.i16, full.u64), (9, -1600, u64::MAX));
        assert_eq!((full.f32, full.f64, full.c128), (1.5, -2.25, Complex { re: 1.0, im: -2.0 }));
        assert_eq!((full.str.as_str(), &full.bytes[..]), ("größer", &[1, 2, 255][..]));
        assert_eq!((full.arr, full.arr_b), ([1, 0, 3], [1, 2, 3, 4]));
        assert_eq!((full.ptr.as_ref().unwrap().name.as_str(), full.ptr_int), ("ptr", Some(42)));
        assert_eq!(full.nest, [vec!["a"], vec![], vec!["b", "c"]]);
        assert_eq!(full.ptr_ptr.as_deref(), Some("pp"));
        assert_eq!(read[1], All::default());
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
struct Tree {
    v: i64,
    left: Option<Box<Tree>>,
    right: Option<Box<Tree>>,
}

#[test]
fn recorded_recursion_extra_fields_and_zrpc() {
    let leaf = |v| Tree { v, left: None, right: None };
    let right = Tree { right: Some(Box::new(leaf(4))), ..leaf(3) };
    let tree = Tree { left: Some(Box::new(leaf(2))), right: Some(Box::new(right)), v: 1 };
    for direction in ["c2s", "s2c"] {
        let (body, _) = &bodies("recursive", direction)[0];
        assert_eq!(same::<Tree>(body), tree);
        assert_eq!(same::<Gob<Tree>>(body).0, tree);
        assert_eq!(encoded(&tree), encoded(&Gob(tree.clone())));
    }
    // Fields that nobody knows, and another order.
    let read = bodies("extra-fields", "c2s");
    for ((body, _), wanted) in read.iter().zip([Args { a: 1, b: 2 }, Args { a: 6, b: 5 }]) {
        assert_eq!(Args::decode(GOB, body).unwrap(), wanted);
        assert_eq!(Gob::<Args>::decode(GOB, body).unwrap().0, wanted);
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize, Message)]
    #[serde(rename_all = "PascalCase")]
    struct Params {
        fun_name: String,
        data: Option<Blob>,
    }
    let calls: Vec<Params> = bodies("zrpc", "c2s").iter().map(|(body, _)| same(body)).collect();
    assert_eq!(calls[0], Params { fun_name: String::new(), data: None });
    assert_eq!(calls[1], Params { fun_name: "s".to_owned(), data: Some(Blob::from(&b"data"[..])) });
    assert_eq!(calls[4], Params { fun_name: "nil".to_owned(), data: None });
    let answers: Vec<Vec<u8>> = bodies("zrpc", "s2c").iter().take(3).map(|(body, _)| same(body)).collect();
    assert_eq!(answers[1..], [b"world".to_vec(), b"data".to_vec()]);
}

#[test]
fn what_does_not_fit_is_refused_with_gos_texts() {
    let read = bodies("wrong-type", "c2s");
    let error = |body: &[u8]| Args::decode(GOB, body).unwrap_err().to_string();
    assert_eq!(error(&read[0].0), "gob: type mismatch: no fields matched compiling decoder for Args");
    let by_serde = Gob::<Args>::decode(GOB, &read[0].0).unwrap_err().to_string();
    assert_eq!(by_serde, "gob: type mismatch: no fields matched compiling decoder for Args");
    // Also the second time.
    assert_eq!(error(&read[0].0), "gob: type mismatch: no fields matched compiling decoder for Args");
    let text = encoded(&"x".to_owned());
    assert_eq!(error(&text), "gob: type mismatch in decoder: want struct type Args; got non-struct");
    assert!(Gob::<Args>::decode(GOB, &text).unwrap_err().to_string().contains("want struct type Args"));
    assert_eq!(
        Vec::<u8>::decode(GOB, &encoded(&Gob(5_i64))).unwrap_err().to_string(),
        "gob: type mismatch in decoder: want []uint8; got int"
    );
    assert!(
        String::decode(GOB, &encoded(&vec![1_u8]))
            .unwrap_err()
            .to_string()
            .contains("want string; got bytes")
    );
    // A time where a number is wanted, and where nobody wants it.
    #[derive(Debug, Serialize, Deserialize, Message)]
    #[serde(rename_all = "PascalCase")]
    struct Timed {
        t: i64,
    }
    let (time, _) = &bodies("time", "c2s")[0];
    let refused = Timed::decode(GOB, time).unwrap_err().to_string();
    assert_eq!(refused, "gob: wrong type (GobEncoder Time) for received field Timed.T");
    let refused = Gob::<Timed>::decode(GOB, time).unwrap_err().to_string();
    assert!(refused.starts_with("gob: field T: "), "{refused}");
    let mut also = Types::new(9);
    let own = also.push(Definition { name: "Time".into(), shape: Shape::Own(gob::Own::GobEncoder) }).unwrap();
    let fields = [Field { name: "T".into(), id: own }, Field { name: "A".into(), id: builtin::INT }];
    let root = also.push(Definition { name: "Args".into(), shape: Shape::Struct(fields.into()) }).unwrap();
    let body = by_hand(&also, root, &[1, 3, b'x', b'y', b'z', 1, 14, 0]);
    assert_eq!(Args::decode(GOB, &body).unwrap(), Args { a: 7, b: 0 });
    assert_eq!(Gob::<Args>::decode(GOB, &body).unwrap().0, Args { a: 7, b: 0 });
}

/// `T{I any; A int; J any}`, as Go sends it: nothing in the interfaces; a number and a text; a struct, whose type is
/// defined within the value.
#[test]
fn interfaces_are_passed_over_or_refused() {
    #[derive(Debug, PartialEq, Serialize, Deserialize, Message)]
    struct T {
        a: i64,
    }
    #[derive(Debug, Serialize, Deserialize, Message)]
    struct Wants {
        i: i64,
    }
    let types = "207f030101015401ff8000010301014901100001014101040001014a0110000000";
    let body = |value: &str| {
        let digits: Vec<u8> = format!("{types}{value}").into_bytes();
        let digit = |d: &[u8]| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap();
        digits.chunks(2).map(digit).collect::<Vec<u8>>()
    };
    let nothing = body("05ff80020e00");
    let some = body("1bff800103696e740402000a010e0106737472696e670c0300017800");
    for body in [&nothing, &some] {
        assert_eq!(T::decode(GOB, body).unwrap(), T { a: 7 });
        assert_eq!(Gob::<T>::decode(GOB, body).unwrap().0, T { a: 7 });
        let refused = Wants::decode(GOB, body).unwrap_err().to_string();
        assert_eq!(refused, "gob: wrong type (interface) for received field T.I");
    }
    assert_eq!(dynamic::decode(GOB, &nothing, None).unwrap(), r#"{"I":null,"A":7,"J":null}"#);
    let refused = dynamic::decode(GOB, &some, None).unwrap_err().to_string();
    assert_eq!(refused, "gob: field I: interface cannot be shown");
    let defined = body("27ff8001076d61696e2e496eff8103010102496e01ff820001020101580104000101590104000000");
    for error in [T::decode(GOB, &defined).unwrap_err(), Gob::<T>::decode(GOB, &defined).unwrap_err()] {
        assert!(error.to_string().ends_with("defined within a value of an interface"), "{error}");
    }
}

/// A body of these types around the bytes of a value.
fn by_hand(types: &Types, root: i64, value: &[u8]) -> Vec<u8> {
    let mut body = vec![];
    let id = types.closure(root, &mut body).unwrap();
    let start = gob::begin(id, &mut body);
    body.extend_from_slice(value);
    gob::finish(start, &mut body);
    body
}

#[test]
fn numbers_of_other_widths_are_converted_or_refused() {
    #[derive(Debug, PartialEq, Serialize, Deserialize, Message)]
    struct Wide {
        a: i64,
        b: u64,
        f: f64,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize, Message)]
    struct Narrow {
        a: u8,
        b: i16,
        f: f32,
    }
    let fits = encoded(&Wide { a: 255, b: 32_767, f: 1.5 });
    assert_eq!(Narrow::decode(GOB, &fits).unwrap(), Narrow { a: 255, b: 32_767, f: 1.5 });
    assert_eq!(Gob::<Narrow>::decode(GOB, &fits).unwrap().0.b, 32_767);
    for (wide, field, value) in [
        (Wide { a: 256, b: 0, f: 0.0 }, "a", "256"),
        (Wide { a: -1, b: 0, f: 0.0 }, "a", "-1"),
        (Wide { a: 0, b: 32_768, f: 0.0 }, "b", "32768"),
        (Wide { a: 0, b: u64::MAX, f: 0.0 }, "b", "18446744073709551615"),
        (Wide { a: 0, b: 0, f: 1e300 }, "f", "10000"),
    ] {
        let body = encoded(&wide);
        let by_schema = Narrow::decode(GOB, &body).unwrap_err().to_string();
        let by_serde = Gob::<Narrow>::decode(GOB, &body).unwrap_err().to_string();
        for error in [by_schema, by_serde] {
            assert!(error.starts_with(&format!("gob: field {field}: ")) && error.contains(value), "{error}");
        }
    }
    // Names begin with a capital letter on the wire, by the schema and by serde alike.
    assert_eq!(encoded(&Wide { a: 1, b: 2, f: 3.0 }), encoded(&Gob(Wide { a: 1, b: 2, f: 3.0 })));
    assert!(dynamic::decode(GOB, &fits, None).unwrap().starts_with(r#"{"A":255,"B":32767,"#));
    // A float is no integer.
    #[derive(Debug, Serialize, Deserialize, Message)]
    struct Whole {
        f: i64,
    }
    let error = Whole::decode(GOB, &encoded(&Wide { a: 1, b: 1, f: 2.0 })).unwrap_err().to_string();
    assert_eq!(error, "gob: wrong type (float) for received field Wide.F");
}

#[test]
fn what_gob_cannot_say_is_refused() {
    #[derive(Debug, Clone, Serialize, Deserialize)]
    enum Colour {
        Red,
    }
    #[derive(Debug, Serialize, Deserialize)]
    struct Painted {
        colour: Colour,
    }
    let refused = |error: trunkline::codec::Error| {
        assert!(error.is_unsupported(), "{error}");
        error.to_string()
    };
    let error = refused(Gob(Painted { colour: Colour::Red }).encode(GOB, &mut vec![]).unwrap_err());
    assert!(error.ends_with("cannot be told: field colour: gob has no enums, and Colour is one"), "{error}");
    refused(Gob((1_i64, "x".to_owned())).encode(GOB, &mut vec![]).unwrap_err());
    refused(Gob(1_u128).encode(GOB, &mut vec![]).unwrap_err());
    refused(Gob(serde_json::json!({})).encode(GOB, &mut vec![]).unwrap_err());
    let mut out = vec![7];
    assert!(Gob(vec![Some(1_i64), None]).encode(GOB, &mut out).is_err());
    assert_eq!(out, [7]);
    assert!(Gob(1_i64).encode(Serialization::Thrift, &mut out).unwrap_err().is_unsupported());
}

/// All that serde can say and gob can carry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Any {
    truth: bool,
    letter: char,
    small: i8,
    large: u64,
    float: f32,
    text: String,
    #[serde(with = "serde_bytes_like")]
    raw: Vec<u8>,
    bytes: Vec<u8>,
    unit: (),
    pair: (i32, i32),
    nest: Vec<Vec<Vec<i16>>>,
    maps: BTreeMap<String, BTreeMap<u8, Vec<bool>>>,
    maybe: Option<String>,
    list: Option<Vec<i64>>,
    next: Option<Box<Any>>,
    all: Vec<Any>,
    wrap: Wrap,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Wrap(f64);

/// What the crate serde_bytes does.
mod serde_bytes_like {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        trunkline::Blob::deserialize(from).map(|blob| blob.to_vec())
    }
}

prop_compose! {
    fn one()(
        scalars in (any::<bool>(), any::<char>(), any::<i8>(), any::<u64>(), proptest::num::f32::NORMAL),
        text in ".{0,20}",
        raw in proptest::collection::vec(any::<u8>(), 0..200),
        bytes in proptest::collection::vec(any::<u8>(), 0..9),
        pair in any::<(i32, i32)>(),
        nest in proptest::collection::vec(proptest::collection::vec(
            proptest::collection::vec(any::<i16>(), 0..4), 0..4), 0..4),
        maps in proptest::collection::btree_map(".{0,4}", proptest::collection::btree_map(
            any::<u8>(), proptest::collection::vec(any::<bool>(), 0..4), 0..3), 0..3),
        maybe in proptest::option::of("[a-z]{0,3}"),
        list in proptest::option::of(proptest::collection::vec(any::<i64>(), 1..4)),
        wrap in proptest::num::f64::NORMAL,
    ) -> Any {
        let (truth, letter, small, large, float) = scalars;
        Any {
            truth, letter, small, large, float, text, raw, bytes, unit: (), pair, nest, maps, maybe, list,
            next: None, all: vec![], wrap: Wrap(wrap),
        }
    }
}

prop_compose! {
    fn any_value()(outer in one(), next in proptest::option::of(one()),
                   all in proptest::collection::vec(one(), 0..3)) -> Any {
        Any { next: next.map(Box::new), all, ..outer }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn any_value_comes_back(value in any_value()) {
        let body = encoded(&Gob(value.clone()));
        prop_assert_eq!(&Gob::<Any>::decode(GOB, &body).unwrap().0, &value);
        // Its types are the same whatever is in it.
        let other = encoded(&Gob(Any { nest: vec![], maps: BTreeMap::new(), next: None, all: vec![], ..value }));
        prop_assert_eq!(parts(&body).0, parts(&other).0);
    }

    /// What is no body of ours is an error, or another value; never a panic.
    #[test]
    fn changed_bodies_are_read_or_refused(value in one(), places in proptest::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4)) {
        let mut body = encoded(&Gob(value));
        for (place, byte) in places {
            let place = place.index(body.len());
            body[place] = byte;
        }
        drop(Gob::<Any>::decode(GOB, &body));
        drop(Args::decode(GOB, &body));
        drop(dynamic::decode(GOB, &body, None));
    }
}

/// What cases.json says in place of numbers that JSON lacks or would round, as the text of the value.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("{:?}", items.iter().map(plain).collect::<Vec<_>>()),
        Value::Object(entries) => {
            let mut entries: Vec<_> = entries.iter().map(|(key, value)| (key, plain(value))).collect();
            entries.sort();
            format!("{entries:?}")
        }
        other => other.to_string(),
    }
}

#[test]
fn recorded_bodies_as_the_json_of_go() {
    let mut compared = 0;
    for case in ["mul", "div", "scalars", "collections", "struct", "recursive", "reply-subset", "empty-reply"]
    {
        for direction in ["c2s", "s2c"] {
            for (body, described) in bodies(case, direction) {
                let text = dynamic::decode(GOB, &body, None).unwrap();
                let read: Value =
                    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
                let Some(mut wanted) = described.get("value").cloned() else { continue };
                // gob does not say what was a pointer to a number or a text.
                for (name, zero) in [("PtrInt", Value::from(0)), ("PtrPtr", Value::from(""))] {
                    if let Some(nil) = wanted.get_mut(name).filter(|value| value.is_null()) {
                        *nil = zero;
                    }
                }
                if ["+Inf", "-Inf", "NaN"].iter().any(|text| wanted == *text) {
                    assert_eq!(read, Value::Null);
                    continue;
                }
                let same = match (read.as_f64(), wanted.as_str().map(str::parse::<f64>)) {
                    (Some(read), Some(Ok(wanted))) => read == wanted,
                    _ => plain(&read) == plain(&wanted),
                };
                assert!(same, "{case} {direction}: {text} and {wanted}");
                compared += 1;
            }
        }
    }
    assert!(compared > 80, "{compared}");
    let (time, _) = &bodies("time", "c2s")[0];
    assert_eq!(dynamic::decode(GOB, time, None).unwrap(), r#"{"T":"2023-11-14T22:13:20.000000005Z"}"#);
    let (zrpc, _) = &bodies("zrpc", "c2s")[0];
    assert_eq!(dynamic::decode(GOB, zrpc, None).unwrap(), r#"{"FunName":"","Data":null}"#);
    let (data, _) = &bodies("zrpc", "c2s")[1];
    assert_eq!(dynamic::decode(GOB, data, None).unwrap(), r#"{"FunName":"s","Data":"ZGF0YQ=="}"#);
}

#[test]
fn floats_and_keys_as_go_writes_them() {
    let text = |value: f64| dynamic::decode(GOB, &encoded(&Gob(value)), None).unwrap();
    for (value, wanted) in [
        (0.0, "0"),
        (17.0, "17"),
        (-2.25, "-2.25"),
        (0.1, "0.1"),
        (f64::from(0.1_f32), "0.1"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (f64::MAX, "1.7976931348623157e+308"),
        (5e-324, "5e-324"),
    ] {
        assert_eq!(text(value), wanted);
    }
    let map = BTreeMap::from([(10_i64, -1_i64), (9, 2), (-1, 3)]);
    assert_eq!(dynamic::decode(GOB, &encoded(&Gob(map)), None).unwrap(), r#"{"-1":3,"10":-1,"9":2}"#);
    // What was explicitly sent as empty reads as Go reads it.
    assert_eq!(dynamic::decode(GOB, &encoded(&Gob(Vec::<i64>::new())), None).unwrap(), "null");
    let none = BTreeMap::<String, i64>::new();
    assert_eq!(dynamic::decode(GOB, &encoded(&Gob(none)), None).unwrap(), "{}");
}

fn from_json(json: &str) -> Vec<u8> {
    let mut body = vec![];
    dynamic::encode(GOB, json, None, &mut body).unwrap_or_else(|error| panic!("{json}: {error}"));
    body
}

#[test]
fn json_becomes_structs_and_slices() {
    assert_eq!(Args::decode(GOB, &from_json(r#"{"A":10,"B":20}"#)).unwrap(), Args { a: 10, b: 20 });
    // As Go writes it, but for the type's name.
    let (recorded, _) = &bodies("mul", "c2s")[0];
    assert_eq!(parts(&from_json(r#"{"A":10,"B":20}"#)), parts(recorded));
    assert_eq!(Gob::<i64>::decode(GOB, &from_json("-5")).unwrap().0, -5);
    assert_eq!(Gob::<f64>::decode(GOB, &from_json("2.5")).unwrap().0, 2.5);
    assert_eq!(Gob::<Vec<f64>>::decode(GOB, &from_json("[1,2.5]")).unwrap().0, [1.0, 2.5]);
    assert_eq!(String::decode(GOB, &from_json(r#""text""#)).unwrap(), "text");
    assert_eq!(Vec::<u8>::decode(GOB, &from_json(r#""text""#)).unwrap(), b"text");
    <()>::decode(GOB, &from_json("{}")).unwrap();
    <()>::decode(GOB, &from_json("null")).unwrap();
    let all: All = Gob::decode(
        GOB,
        &from_json(
            r#"{"Inners":[{"Name":"a"},{"N":2}],"Nest":[["x"],[],["y","z"]],"Ptr":{"N":1},"F64":3,"I8":-128,
                "Bools":[],"Str":null,"Base":{},"ID":18446744073709551615}"#,
        ),
    )
    .map(|gob: Gob<All>| gob.0)
    .unwrap();
    assert_eq!((all.inners.len(), all.inners[0].name.as_str(), all.inners[1].n), (2, "a", 2));
    assert_eq!((all.nest[2][1].as_str(), all.ptr.unwrap().n, all.f64, all.i8), ("z", 1, 3.0, -128));
    // And back: every field that was said.
    for json in [
        r#"{"A":10,"B":{"C":[{"D":"x","E":0},{"D":"","E":1.5}]},"F":[[1],null]}"#,
        r#"[{"A":true},{"A":false}]"#,
        r#""x""#,
        "7",
        "{}",
    ] {
        assert_eq!(dynamic::decode(GOB, &from_json(json), None).unwrap(), json);
    }
    let refused = dynamic::encode(GOB, r#"{"A":[1,"x"]}"#, None, &mut vec![]).unwrap_err().to_string();
    assert_eq!(refused, "gob: field A[1]: the elements of a list are of different types");
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    assert!(dynamic::encode(GOB, &deep, None, &mut vec![]).is_err());
    // By a schema the types are those of the message.
    let mut body = vec![];
    dynamic::encode(GOB, r#"{"A":10}"#, Some(&Args::schema()), &mut body).unwrap();
    assert_eq!(parts(&body), parts(&encoded(&Args { a: 10, b: 0 })));
}

/// Z7: a body may not be nested without end, whatever its types say.
#[test]
fn z7_self_referring_types_and_deep_values_are_refused() {
    let mut types = Types::new(9);
    let list = types.push(Definition { name: "".into(), shape: Shape::Slice { element: 65 } }).unwrap();
    let body = by_hand(&types, list, &[&[0][..], &[1; 100_000]].concat());
    assert!(dynamic::decode(GOB, &body, None).unwrap_err().to_string().ends_with("nested deeper than 64"));
    let mut types = Types::new(9);
    let of =
        |id| Shape::Struct([Field { name: "Left".into(), id }, Field { name: "X".into(), id: 66 }].into());
    let tree = types.push(Definition { name: "Tree".into(), shape: of(65) }).unwrap();
    types.push(Definition { name: "".into(), shape: Shape::Slice { element: 66 } }).unwrap();
    let body = by_hand(&types, tree, &[1; 100_000]);
    for error in [
        Tree::decode(GOB, &body).unwrap_err(),
        Gob::<Tree>::decode(GOB, &body).unwrap_err(),
        dynamic::decode(GOB, &body, None).unwrap_err(),
    ] {
        assert!(error.to_string().ends_with("nested deeper than 64"), "{error}");
    }
    // In a field that nobody wants.
    let unknown = by_hand(&types, tree, &[&[2][..], &[1; 100_000]].concat());
    for error in [Tree::decode(GOB, &unknown).unwrap_err(), Gob::<Tree>::decode(GOB, &unknown).unwrap_err()] {
        assert!(error.to_string().contains("nested deeper than 64"), "{error}");
    }
}

/// Z7: lengths of 2^60 take no memory.
#[test]
fn z7_huge_lengths_take_no_memory() {
    let huge = [0xf8, 0x10, 0, 0, 0, 0, 0, 0, 0];
    let mut types = Types::new(9);
    let slice =
        types.push(Definition { name: "".into(), shape: Shape::Slice { element: builtin::INT } }).unwrap();
    let shape = Shape::Map { key: builtin::STRING, element: builtin::INT };
    let map = types.push(Definition { name: "".into(), shape }).unwrap();
    let shape = Shape::Array { element: builtin::INT, length: 1 << 60 };
    let array = types.push(Definition { name: "".into(), shape }).unwrap();
    for id in [slice, map, array, builtin::BYTES, builtin::STRING] {
        let body = by_hand(&types, id, &[&[0], &huge[..], b"abc"].concat());
        let taken = allocation_counter::measure(|| {
            assert!(dynamic::decode(GOB, &body, None).is_err());
            assert!(Gob::<Vec<i64>>::decode(GOB, &body).is_err());
            assert!(Gob::<BTreeMap<String, i64>>::decode(GOB, &body).is_err());
            assert!(Vec::<u8>::decode(GOB, &body).is_err());
        });
        assert!(taken.bytes_max < 64 << 10, "{id}: {} bytes", taken.bytes_max);
    }
    // An array that was left out of a struct has all of its zeros in JSON, within the bound of the body.
    let holder = Shape::Struct([Field { name: "A".into(), id: array }].into());
    let holder = types.push(Definition { name: "".into(), shape: holder }).unwrap();
    let taken = allocation_counter::measure(|| {
        let error = dynamic::decode(GOB, &by_hand(&types, holder, &[0]), None).unwrap_err();
        assert!(error.to_string().contains("64 times"), "{error}");
    });
    assert!(taken.bytes_max < 32 << 20, "{}", taken.bytes_max);
}

/// A plan is found again by the bytes of the definitions, and one that was found wrong stays wrong.
#[test]
fn peers_of_many_versions_are_read_side_by_side() {
    for round in 0..3_i64 {
        for version in 0..20 {
            let mut types = Types::new(9);
            let mut fields: Vec<Field> =
                (0..version).map(|n| Field { name: format!("X{n}").into(), id: builtin::INT }).collect();
            fields.push(Field { name: "A".into(), id: builtin::INT });
            let shape = Shape::Struct(fields.into());
            let root = types.push(Definition { name: "Args".into(), shape }).unwrap();
            let mut value = vec![];
            gob::put_uint(version + 1, &mut value);
            gob::put_int(round, &mut value);
            value.push(0);
            let body = by_hand(&types, root, &value);
            assert_eq!(Args::decode(GOB, &body).unwrap(), Args { a: round, b: 0 });
            assert_eq!(Gob::<Args>::decode(GOB, &body).unwrap().0, Args { a: round, b: 0 });
        }
    }
}

/// A call of types that its connection knows, from the bytes that bring it to those that answer it.
#[test]
fn a_call_that_is_answered_at_once_takes_no_memory() {
    use trunkline::wire::netrpc::NetRpc;
    use trunkline::wire::{CallFrame, Compression, Event, Next, Pairs, Session};
    let limits = Limits::default();
    let (mut client, mut server) = (NetRpc::client(&limits), NetRpc::server(&limits));
    let mut body = vec![];
    Args { a: 6, b: 7 }.encode(GOB, &mut body).unwrap();
    let mut out = Vec::with_capacity(4096);
    for id in 1..100 {
        let mut input = vec![];
        let call = CallFrame {
            id: id * 1000,
            service: "Arith",
            method: "Swap",
            metadata: Pairs::empty(),
            extra: &[],
            serialization: GOB,
            compression: Compression::None,
            one_way: false,
            body: &body,
            end: true,
        };
        client.call(&call, &mut input).unwrap();
        out.clear();
        let taken = allocation_counter::measure(|| {
            let mut unread = &input[..];
            while !unread.is_empty() {
                let step = server.receive(unread, &mut out).unwrap();
                unread = &unread[step.consumed..];
                let Next::Event(Event::Call { head, body, .. }) = step.next else { continue };
                let Args { a, b } = Args::decode(GOB, body.as_slice()).unwrap();
                let mark = server.begin(&head, &mut out).unwrap();
                Args { a: b, b: a }.encode(GOB, &mut out).unwrap();
                server.finish(mark, &mut out);
            }
        });
        assert!(!out.is_empty());
        // The first ones bring the types.
        assert!(id < 3 || taken.count_total == 0, "{} allocations in call {id}", taken.count_total);
    }
}
