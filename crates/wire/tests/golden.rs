//! Every recorded case of rpcx and easymicro: frame by frame, through sessions, and written again.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may fail loudly")]

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;

use common::{Head, Seen, Stop, events, good};
use serde_json::Value;
use trunkline_wire::detect::{Detected, Detection, after_connect, detect};
use trunkline_wire::rpcx::{Frame, Rpcx, keys};
use trunkline_wire::{
    CallFrame, Compression, Failure, Limits, Metadata, PushFrame, PushHead, ReplyFrame, Serialization,
    Session, WireError,
};

struct Case {
    wire: &'static str,
    name: String,
    frames: Vec<Value>,
}

impl Case {
    fn bytes(&self, direction: &str) -> Vec<u8> {
        let path: PathBuf =
            [env!("CARGO_MANIFEST_DIR"), "testdata", self.wire, &format!("{}.{direction}.bin", self.name)]
                .iter()
                .collect();
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The described frames of one direction with their bytes; what is no frame (a CONNECT) is left out.
    fn described(&self, direction: &str) -> Vec<(Value, Vec<u8>)> {
        let bytes = self.bytes(direction);
        let frames = self.frames.iter().filter(|frame| frame["dir"] == direction);
        let frames = frames.filter(|frame| !frame["fields"]["seq"].is_null());
        frames
            .map(|frame| {
                let number = |key: &str| usize::try_from(frame[key].as_u64().unwrap()).unwrap();
                let at = number("offset");
                (frame["fields"].clone(), bytes[at..at + number("length")].to_vec())
            })
            .collect()
    }

    fn is_http(&self) -> bool {
        ["http-", "jsonrpc", "connect", "websocket"].iter().any(|prefix| self.name.starts_with(prefix))
    }

    /// Broken on purpose: what comes before the error in [`malformed_cases_are_refused`] is not compared here.
    fn is_broken(&self) -> bool {
        self.name.starts_with("malformed-") || self.name == "unknown-compress"
    }
}

fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for wire in ["rpcx", "easymicro"] {
        let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "testdata", wire, "cases.json"].iter().collect();
        let list: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert!(list.len() >= 38, "{wire}: {} cases", list.len());
        for case in list {
            let name = case["name"].as_str().unwrap().to_owned();
            cases.push(Case { wire, name, frames: case["frames"].as_array().cloned().unwrap_or_default() });
        }
    }
    cases
}

/// The cases that consist of good frames, the handshake of `connect` aside.
fn good_cases() -> Vec<Case> {
    let mut cases = cases();
    cases.retain(|case| !case.is_broken() && (!case.is_http() || case.name == "connect"));
    assert_eq!(cases.len(), 58);
    cases
}

fn number(serialization: Serialization) -> u64 {
    match serialization {
        Serialization::Raw => 0,
        Serialization::Json => 1,
        Serialization::Protobuf => 2,
        Serialization::MessagePack => 3,
        Serialization::Thrift => 4,
        Serialization::Other(n) => n.into(),
        other => panic!("{other:?}"),
    }
}

fn text_pairs(fields: &Value) -> BTreeMap<String, String> {
    serde_json::from_value(fields["metadata"].clone()).unwrap()
}

fn pairs_of(metadata: &Metadata) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    metadata.iter().map(|(key, value)| (text(key), text(value))).collect()
}

fn check_body(fields: &Value, body: &[u8], case: &str) {
    assert_eq!(body.len() as u64, fields["payload_length"].as_u64().unwrap(), "{case}");
    let cut = fields["payload_cut"] == true;
    let stated = match (&fields["payload_text"], &fields["payload_hex"]) {
        (Value::String(text), _) => text.as_bytes().to_vec(),
        (_, Value::String(hex)) => {
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
        }
        _ => panic!("{case}: no payload is stated"),
    };
    assert!(body.starts_with(&stated) && (cut || body.len() == stated.len()), "{case}");
}

fn check_head(fields: &Value, head: &Head, body: &[u8], case: &str) {
    assert_eq!(number(head.serialization), fields["serialize"], "{case}");
    assert_eq!(u64::from(head.compression == Compression::Gzip), fields["compress"], "{case}");
    assert_eq!(pairs_of(&head.metadata), text_pairs(fields), "{case}");
    check_body(fields, body, case);
}

/// An event of either role against the described frame.
fn check_event(fields: &Value, seen: &Seen, case: &str) {
    match seen {
        Seen::Call { head, body } => {
            check_head(fields, head, body, case);
            assert_eq!(head.id, fields["seq"], "{case}");
            assert_eq!(head.one_way, fields["oneway"], "{case}");
            assert_eq!(head.service, fields["path"].as_str().unwrap().as_bytes(), "{case}");
            assert_eq!(head.method, fields["method"].as_str().unwrap().as_bytes(), "{case}");
        }
        Seen::Reply { head, failure, body } => {
            check_head(fields, head, body, case);
            assert_eq!(head.id, fields["seq"], "{case}");
            assert_eq!(u64::from(failure.is_some()), fields["status"], "{case}");
            if let Some((message, code, details)) = failure {
                let stated = text_pairs(fields);
                let text = stated.get(keys::RPCX_ERROR).or_else(|| stated.get(keys::EASYMICRO_ERROR));
                assert_eq!(message, text.map_or("", String::as_str).as_bytes(), "{case}");
                assert_eq!((code, details), (&None, &None), "{case}");
            }
        }
        Seen::Push { head, body } => {
            check_head(fields, head, body, case);
            assert!(fields["type"] == "request" && fields["oneway"] == true, "{case}");
            assert_eq!(head.service, fields["path"].as_str().unwrap().as_bytes(), "{case}");
            assert_eq!(head.method, fields["method"].as_str().unwrap().as_bytes(), "{case}");
        }
        Seen::Pong => assert!(fields["heartbeat"] == true && fields["type"] == "response", "{case}"),
        other => panic!("{case}: {other:?}"),
    }
}

#[test]
fn every_frame_decodes_to_the_stated_fields_and_encodes_to_the_same_bytes() {
    let limits = Limits::default();
    let mut frames = 0;
    for case in good_cases() {
        for direction in ["c2s", "s2c"] {
            for (fields, bytes) in case.described(direction) {
                let name = format!("{}/{} {direction} {}", case.wire, case.name, fields["seq"]);
                let frame = Frame::decode(&bytes, &limits).unwrap().unwrap();
                assert_eq!(frame.length(), bytes.len(), "{name}");
                let header = frame.header;
                assert_eq!(header.version, fields["version"], "{name}");
                assert_eq!(header.is_response(), fields["type"] == "response", "{name}");
                assert_eq!(header.is_heartbeat(), fields["heartbeat"], "{name}");
                assert_eq!(header.is_one_way(), fields["oneway"], "{name}");
                assert_eq!(header.status(), fields["status"], "{name}");
                assert_eq!(header.seq, fields["seq"], "{name}");
                assert_eq!(frame.service, fields["path"].as_str().unwrap().as_bytes(), "{name}");
                assert_eq!(frame.method, fields["method"].as_str().unwrap().as_bytes(), "{name}");
                let head = Head {
                    metadata: frame.metadata.to_owned(),
                    serialization: header.serialization(),
                    compression: header.compression(),
                    ..Head::default()
                };
                check_head(&fields, &head, frame.body, &name);
                let mut again = vec![];
                frame.encode(&limits, &mut again).unwrap();
                assert_eq!(again, bytes, "{name}");
                frames += 1;
            }
        }
    }
    assert!(frames > 350, "{frames}");
}

#[test]
fn sessions_see_the_stated_fields_and_echo_heartbeats_to_the_byte() {
    for case in good_cases() {
        let name = format!("{}/{}", case.wire, case.name);
        let (up, down) = (case.described("c2s"), case.described("s2c"));
        let joined = |frames: &[(Value, Vec<u8>)]| {
            frames.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect::<Vec<u8>>()
        };

        let mut server = Rpcx::server(&Limits::default());
        let (seen, echo, stop) = events(&mut server, &joined(&up));
        assert_eq!(stop, Stop::NeedMore(0), "{name}");
        let calls: Vec<_> = up.iter().filter(|(fields, _)| fields["heartbeat"] == false).collect();
        assert_eq!(seen.len(), calls.len(), "{name}");
        for ((fields, _), seen) in calls.iter().zip(&seen) {
            check_event(fields, seen, &name);
        }
        assert_eq!(server.in_flight(), calls.len(), "{name}");
        let heartbeats: Vec<_> =
            down.iter().filter(|(fields, _)| fields["heartbeat"] == true).cloned().collect();
        assert_eq!(echo, joined(&heartbeats), "{name}");

        let (seen, out, stop) = events(&mut Rpcx::client(&Limits::default()), &joined(&down));
        assert_eq!((stop, out), (Stop::NeedMore(0), vec![]), "{name}");
        assert_eq!(seen.len(), down.len(), "{name}");
        for ((fields, _), seen) in down.iter().zip(&seen) {
            check_event(fields, seen, &name);
        }
    }
}

#[test]
fn our_client_writes_what_the_go_clients_wrote() {
    let limits = Limits::default();
    let mut requests = 0;
    for case in good_cases().iter().filter(|case| case.name != "version-1") {
        let mut client = Rpcx::client(&limits);
        for (fields, bytes) in case.described("c2s") {
            if fields["heartbeat"] == true {
                continue;
            }
            let frame = Frame::decode(&bytes, &limits).unwrap().unwrap();
            let call = CallFrame {
                id: frame.header.seq,
                service: std::str::from_utf8(frame.service).unwrap(),
                method: std::str::from_utf8(frame.method).unwrap(),
                metadata: frame.metadata,
                extra: &[],
                serialization: frame.header.serialization(),
                compression: frame.header.compression(),
                one_way: frame.header.is_one_way(),
                body: frame.body,
                end: true,
            };
            let mut out = vec![];
            client.call(&call, &mut out).unwrap();
            assert_eq!(out, bytes, "{}/{}", case.wire, case.name);
            requests += 1;
        }
    }
    assert!(requests > 170, "{requests}");
}

/// Good replies are the Go servers' to the byte. A failure has easymicro's key too, and the status is by the
/// outcome: `version-1` sends status 1 and gets it back from Go.
#[test]
fn our_server_writes_what_the_go_servers_wrote() {
    let limits = Limits::default();
    let (mut same, mut failures, mut pushes) = (0, 0, 0);
    for case in good_cases() {
        let name = format!("{}/{}", case.wire, case.name);
        let mut server = Rpcx::server(&limits);
        let up: Vec<u8> = case.described("c2s").into_iter().flat_map(|(_, bytes)| bytes).collect();
        let (mut calls, _, _) = events(&mut server, &up);
        for (fields, bytes) in case.described("s2c") {
            let frame = Frame::decode(&bytes, &limits).unwrap().unwrap();
            let mut out = vec![];
            if fields["type"] == "request" {
                let head = PushHead {
                    service: frame.service,
                    method: frame.method,
                    metadata: frame.metadata,
                    serialization: frame.header.serialization(),
                    compression: frame.header.compression(),
                };
                server.push(&PushFrame { head, body: frame.body }, &mut out).unwrap();
                assert_eq!(out, bytes, "{name}");
                pushes += 1;
                continue;
            }
            // easymicro's server answers one-way calls; ours does not.
            if fields["heartbeat"] == true || fields["oneway"] == true {
                continue;
            }
            let at = calls.iter().position(|seen| match seen {
                Seen::Call { head, .. } => {
                    head.id == frame.header.seq && head.service == frame.service && !head.one_way
                }
                _ => false,
            });
            let Seen::Call { head, .. } = calls.remove(at.unwrap()) else { unreachable!() };
            let message = frame.metadata.get_bytes(keys::RPCX_ERROR.as_bytes());
            let reply = ReplyFrame {
                failure: message.map(Failure::text),
                metadata: frame.metadata,
                compression: frame.header.compression(),
                ..good(frame.body)
            };
            server.reply(&head.call(), &reply, &mut out).unwrap();
            if message.is_none() {
                let mut expected = bytes.clone();
                if case.name == "version-1" {
                    assert_eq!(expected[2], 0x81);
                    expected[2] = 0x80;
                }
                assert_eq!(out, expected, "{name}");
                same += 1;
            } else {
                let ours = Frame::decode(&out, &limits).unwrap().unwrap();
                assert_eq!(ours.header.encode()[..12], bytes[..12], "{name}");
                assert_eq!((ours.service, ours.method, ours.body), (frame.service, frame.method, frame.body));
                let mut expected = text_pairs(&fields);
                expected.insert(keys::EASYMICRO_ERROR.into(), expected[keys::RPCX_ERROR].clone());
                assert_eq!(pairs_of(&ours.metadata.to_owned()), expected, "{name}");
                failures += 1;
            }
        }
    }
    assert!(same > 150 && failures >= 10 && pushes == 3, "{same} {failures} {pushes}");
}

#[test]
fn malformed_cases_are_refused() {
    let expected = [
        ("rpcx", "malformed-path-length", 0, "the path is longer than the frame"),
        ("rpcx", "malformed-payload-length", 0, "the body is longer than the frame"),
        ("rpcx", "malformed-payload-short", 0, "the lengths do not add up to the total"),
        ("rpcx", "malformed-magic", 1, "the frame does not begin with 08"),
        ("rpcx", "unknown-compress", 0, "unknown compression"),
        ("easymicro", "malformed-path-length", 0, "the path is longer than the frame"),
        ("easymicro", "malformed-magic", 0, "the frame does not begin with 08"),
        ("rpcx", "malformed-first-magic", 0, "the frame does not begin with 08"),
        ("rpcx", "malformed-first-line", 0, "the frame does not begin with 08"),
    ];
    let cases = cases();
    assert_eq!(cases.iter().filter(|case| case.is_broken()).count(), expected.len());
    for (wire, name, before, stated) in expected {
        let case = cases.iter().find(|case| case.wire == wire && case.name == name).unwrap();
        let bytes = case.bytes("c2s");
        let (seen, out, stop) = events(&mut Rpcx::server(&Limits::default()), &bytes);
        let Stop::Closed(WireError::Malformed { wire: "rpcx", rule, .. }) = stop else {
            panic!("{wire}/{name}: {stop:?}")
        };
        assert_eq!((seen.len(), out.len(), rule), (before, 0, stated), "{wire}/{name}");
        if name.starts_with("malformed-first-") {
            assert_eq!(detect(&bytes, &Limits::default()), Detection::Unknown, "{name}");
        }
    }
}

#[test]
fn the_first_bytes_tell_the_wire() {
    let limits = Limits::default();
    for case in cases() {
        let bytes = case.bytes("c2s");
        let name = format!("{}/{}", case.wire, case.name);
        if case.name.starts_with("malformed-") {
            continue;
        }
        let wire = if case.is_http() { Detected::Http } else { Detected::Rpcx };
        assert_eq!(detect(&bytes, &limits), Detection::Wire(wire), "{name}");
        assert_eq!(detect(&bytes[..1], &limits), Detection::Wire(wire), "{name}");
        if case.name == "connect" {
            let path: &[u8] = if case.wire == "rpcx" { b"/_rpcx_" } else { b"/_goRPC_" };
            let end = bytes.windows(2).position(|two| two == b"\n\n").unwrap() + 2;
            assert_eq!(after_connect(path, &bytes[end..]), Detection::Wire(Detected::Rpcx), "{name}");
        }
    }
}

/// The benchmark message stands here for the tests of the codecs and the benchmarks.
#[test]
fn the_benchmark_message_is_there() {
    for (file, length) in [("say-request.bin", 581), ("say-reply.bin", 527)] {
        let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "testdata", file].iter().collect();
        assert_eq!(std::fs::read(path).unwrap().len(), length);
    }
}
