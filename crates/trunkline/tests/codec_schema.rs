//! What messages say of themselves, and bodies written and read by it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod codec_common;

use std::collections::BTreeMap;

use codec_common::{ALL, Args, Rich, encoded, hex};
use serde::{Deserialize, Serialize};
use trunkline::Message;
use trunkline::codec::{Payload, dynamic};
use trunkline::message::Schema;
use trunkline::wire::Serialization::{self, Json, MessagePack, Raw};

#[derive(Debug, PartialEq, Serialize, Deserialize, Message)]
struct Node {
    name: String,
    #[serde(rename = "Sub")]
    children: Vec<Node>,
    parent: Option<Box<Node>>,
    named: BTreeMap<u8, Node>,
    #[message(number = 9, kind = "sint")]
    depth: i32,
    #[serde(skip)]
    seen: bool,
    other: other::Node,
}

mod other {
    use super::{Deserialize, Message, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize, Message)]
    pub(crate) struct Node {
        #[message(kind = "fixed")]
        pub(crate) ids: Vec<u64>,
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize, Message)]
#[serde(bound = "")]
struct Page<T: Serialize + serde::de::DeserializeOwned> {
    items: Vec<T>,
    more: bool,
}

#[test]
fn a_schema_describes_every_field() {
    let text = "Node\n  1 name string\n  2 Sub list<Node>\n  3 parent optional<Node>\n  4 named map<uint8,Node>\n  \
                9 depth sint32\n  10 other Node2\nNode2\n  1 ids list<fixed64>\n";
    assert_eq!(Node::schema().describe(), text);
    assert_eq!(<()>::schema().describe(), "Empty\n");
    assert_eq!(bytes::Bytes::schema().describe(), "bytes\n");
    assert_eq!(
        Page::<Args>::schema().describe(),
        "Page\n  1 items list<Args>\n  2 more bool\nArgs\n  1 A int64\n  2 B int64\n"
    );
}

#[test]
fn a_template_has_every_field_and_is_taken_as_it_is() {
    let template = r#"{"name":"","Sub":[],"parent":null,"named":{},"depth":0,"other":{"ids":[0]}}"#;
    assert_eq!(Node::schema().template(), template);
    assert_eq!(<()>::schema().template(), "{}");
    let node = Node::decode(Json, template.as_bytes()).expect("a template is a body");
    assert_eq!((node.other.ids.as_slice(), node.seen), (&[0][..], false));
    let schema = Rich::schema();
    let template = schema.template();
    Rich::decode(Json, template.as_bytes()).expect("a template is a body");
    for how in ALL {
        let mut body = Vec::new();
        dynamic::encode(*how, &template, Some(&schema), &mut body).expect("a template fits its schema");
        Rich::decode(*how, &body).expect("it is a body");
    }
}

#[test]
fn a_schema_travels_as_json() {
    for schema in [Node::schema(), Rich::schema(), <()>::schema(), Schema::raw(), Schema::opaque("pb.Args")] {
        let text = schema.to_json();
        let read = Schema::from_json(&text).expect("a schema");
        assert_eq!(read, schema);
        assert_eq!(read.fingerprint(), schema.fingerprint());
    }
}

#[test]
fn a_broken_schema_is_refused() {
    let refused = |text: &str| Schema::from_json(text).unwrap_err();
    for text in
        ["", "null", "{}", r#"{"kind":"x"}"#, r#"{"kind":"message"}"#, r#"{"kind":"message","messages":[]}"#]
    {
        assert!(refused(text).starts_with("schema: "));
    }
    let field = |field: &str| {
        refused(&format!(r#"{{"kind":"message","messages":[{{"name":"A","fields":[{field}]}}]}}"#))
    };
    assert_eq!(field(r#"{"name":"a","number":1,"type":"B"}"#), "schema: unknown type `B`");
    assert_eq!(field(r#"{"name":"a","number":0,"type":"bool"}"#), "schema: `number` is no field number");
    let deep = format!(r#"{{"name":"a","number":1,"type":"{}"}}"#, "list<".repeat(9) + "A" + &">".repeat(9));
    assert_eq!(field(&deep), "schema: a type is nested too deeply");
}

/// A peer's schema may describe a tree that has no end, or no small one.
#[test]
fn the_template_of_a_hostile_schema_is_bounded() {
    let fields = |to: usize| {
        let field = |number: usize| format!(r#"{{"name":"f{number}","number":{number},"type":"M{to}"}}"#);
        (1..=100).map(field).collect::<Vec<_>>().join(",")
    };
    let message = |index: usize| format!(r#"{{"name":"M{index}","fields":[{}]}}"#, fields((index + 1) % 20));
    let messages = (0..20).map(message).collect::<Vec<_>>().join(",");
    let text = format!(r#"{{"kind":"message","messages":[{messages}]}}"#);
    let schema = Schema::from_json(&text).expect("a schema");
    assert!(schema.template().len() < 1 << 20);
    for how in ALL {
        dynamic::encode(*how, "{}", Some(&schema), &mut Vec::new()).expect("nothing is in it");
    }
}

#[test]
fn fingerprints_tell_contracts_apart_and_never_change() {
    // FNV-1a of `{1 "A" int64;2 "B" int64;}`. Fixed: a new version that gives another number breaks every stored fingerprint.
    assert_eq!(Args::schema().fingerprint(), 0xa63c_5261_c602_51af);

    #[derive(Serialize, Deserialize, Message)]
    struct OtherName {
        #[message(number = 2)]
        #[serde(rename = "B")]
        second: i64,
        #[message(number = 1)]
        #[serde(rename = "A")]
        first: i64,
    }
    assert_eq!(OtherName::schema().fingerprint(), Args::schema().fingerprint());

    #[derive(Serialize, Deserialize, Message)]
    #[serde(rename_all = "PascalCase")]
    struct OtherType {
        a: i64,
        b: i32,
    }
    #[derive(Serialize, Deserialize, Message)]
    struct OtherFieldName {
        a: i64,
        b: i64,
    }
    let all = [
        Args::schema(),
        OtherType::schema(),
        OtherFieldName::schema(),
        Node::schema(),
        Rich::schema(),
        <()>::schema(),
        Schema::raw(),
        Schema::opaque("x"),
    ];
    let mut prints: Vec<u64> = all.iter().map(Schema::fingerprint).collect();
    prints.sort_unstable();
    prints.dedup();
    assert_eq!(prints.len(), all.len());
}

#[test]
fn a_generic_message_travels() {
    let page = Page { items: vec![Args { a: 1, b: 2 }], more: true };
    for how in ALL {
        assert_eq!(Page::decode(*how, &encoded(&page, *how)).expect("a body"), page);
    }
}

fn sent(how: Serialization, json: &str, schema: Option<&Schema>) -> Result<Vec<u8>, String> {
    let mut body = vec![7];
    let sent = dynamic::encode(how, json, schema, &mut body);
    if sent.is_err() {
        assert_eq!(body, [7]);
    }
    body.remove(0);
    sent.map(|()| body).map_err(|e| e.to_string())
}

#[test]
fn json_and_messagepack_need_no_schema() {
    assert_eq!(sent(Json, " {\"B\": 1,\"A\":2}\n", None).unwrap(), b"{\"B\": 1,\"A\":2}");
    // rpcx/mul-msgpack
    assert_eq!(sent(MessagePack, r#"{"A":10,"B":20}"#, None).unwrap(), hex("82a1410aa14214"));
    let wide = r#"{"z":[200,-1,-200,70000,5000000000,1.5,18446744073709551615],"a":null,"b":true}"#;
    let body = sent(MessagePack, wide, None).unwrap();
    assert_eq!(
        body,
        hex(
            "83a17a97ccc8ffd1ff38ce00011170cf000000012a05f200cb3ff8000000000000cfffffffffffffffffa161c0a162c3"
        )
    );
    assert_eq!(dynamic::decode(MessagePack, &body, None).unwrap(), wide);
    assert!(sent(Json, "{", None).unwrap_err().starts_with("json: EOF"));
    assert!(sent(MessagePack, "", None).unwrap_err().starts_with("json: EOF"));
    assert_eq!(sent(Raw, "\x01 any", None).unwrap(), b"\x01 any");
    assert_eq!(dynamic::decode(Raw, b"any", None).unwrap(), "any");
    assert!(dynamic::decode(Raw, b"\xff", None).is_err());
    assert_eq!(sent(Serialization::Other(9), "1", None).unwrap_err(), "can not find codec for 9");
}

#[test]
fn messagepack_of_go_as_json() {
    // rpcx/kinds-msgpack, cut down: bytes, a map with a number as key, two times.
    let body =
        hex("84a342696ec4030102ffa161810502a454696d65d7ff000000146553f100a15ac70cff00000000fffffff1886e0900");
    assert_eq!(
        dynamic::decode(MessagePack, &body, None).unwrap(),
        r#"{"Bin":"AQL/","a":{"5":2},"Time":"2023-11-14T22:13:20.000000005Z","Z":"0001-01-01T00:00:00Z"}"#
    );
}

#[cfg(feature = "protobuf")]
#[test]
fn protobuf_needs_the_schema() {
    use Serialization::Protobuf;
    let schema = Args::schema();
    assert_eq!(sent(Protobuf, r#"{"A":10,"B":20}"#, Some(&schema)).unwrap(), hex("080a1014"));
    assert_eq!(dynamic::decode(Protobuf, &hex("08c801"), Some(&schema)).unwrap(), r#"{"A":200,"B":0}"#);
    for none in [None, Some(&Schema::raw()), Some(&Schema::opaque("x"))] {
        let error = dynamic::encode(Protobuf, "{}", none, &mut Vec::new()).unwrap_err();
        assert!(error.is_unsupported());
        assert!(error.to_string().contains("without the schema"), "{error}");
    }
    let wrong = |json| sent(Protobuf, json, Some(&schema)).unwrap_err();
    assert_eq!(wrong(r#"{"C":1}"#), "protobuf: field C: Args has no such field; it has A, B");
    assert_eq!(wrong(r#"{"A":"x"}"#), "protobuf: field A: a text, expected a whole number");
    assert_eq!(wrong(r#"{"A":1e30}"#), "protobuf: field A: a number, expected a whole number");
    assert_eq!(wrong(r#"{"A":18446744073709551615}"#), "protobuf: field A: the number is out of range");
    assert_eq!(wrong("[1]"), "protobuf: a list where Args is expected");
}

#[cfg(feature = "thrift")]
#[test]
fn thrift_needs_the_schema() {
    use Serialization::Thrift;
    let schema = Args::schema();
    let request = hex("0a0001000000000000000a0a0002000000000000001400");
    assert_eq!(sent(Thrift, r#"{"A":10,"B":20}"#, Some(&schema)).unwrap(), request);
    assert_eq!(dynamic::decode(Thrift, &request, Some(&schema)).unwrap(), r#"{"A":10,"B":20}"#);
    assert!(dynamic::encode(Thrift, "{}", None, &mut Vec::new()).unwrap_err().is_unsupported());
}

#[cfg(feature = "protobuf")]
mod of_prost {
    use super::*;

    /// As prost generates it.
    #[derive(Clone, PartialEq, prost::Message)]
    struct ProstArgs {
        #[prost(int64, tag = "1")]
        a: i64,
        #[prost(int64, tag = "2")]
        b: i64,
    }

    trunkline::prost_payload!(ProstArgs);

    #[test]
    fn types_of_prost_travel_as_protobuf() {
        let args = ProstArgs { a: 10, b: 20 };
        assert_eq!(encoded(&args, Serialization::Protobuf), hex("080a1014"));
        assert_eq!(ProstArgs::decode(Serialization::Protobuf, &hex("080a1014")).unwrap(), args);
        assert!(ProstArgs::decode(Serialization::Protobuf, &hex("0a")).unwrap_err().is_body());
        let error = ProstArgs::decode(Json, b"{}").unwrap_err();
        assert!(error.is_unsupported());
        assert_eq!(error.to_string(), "ProstArgs travels as protobuf only, not as Json");
        let error = ProstArgs::decode(Serialization::Other(9), b"").unwrap_err();
        assert_eq!(error.to_string(), "can not find codec for 9");
        assert_eq!(ProstArgs::schema().describe(), "ProstArgs\n");
    }
}
