//! Every recorded case: frame by frame, through sessions, and written again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;
use trunkline_wire::iip::{Frame, Iip};
use trunkline_wire::{Failure, Limits, ReplyFrame, Session, WireError};

use super::common::{Head, Seen, Stop, call, calls, events, feed, frame, frames, good};

struct Case {
    name: String,
    frames: Vec<Value>,
}

impl Case {
    fn bytes(&self, direction: &str) -> Vec<u8> {
        let name = format!("{}.{direction}.bin", self.name);
        let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "testdata/iip", &name].iter().collect();
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The described frames of one direction with their bytes.
    fn described(&self, direction: &str) -> Vec<(Value, Vec<u8>)> {
        let bytes = self.bytes(direction);
        let frames = self.frames.iter().filter(|frame| frame["dir"] == direction);
        frames
            .map(|frame| {
                let number = |key: &str| usize::try_from(frame[key].as_u64().unwrap()).unwrap();
                let at = number("offset");
                (frame["fields"].clone(), bytes[at..at + number("length")].to_vec())
            })
            .collect()
    }

    /// How many channels the client asks for.
    fn asks(&self) -> usize {
        let frames = self.frames.iter().filter(|frame| frame["dir"] == "c2s");
        frames.filter(|frame| frame["fields"]["path"] == "/sys/new_channel").count()
    }
}

/// What is no IIP, and what has to be refused: see [`broken_cases_are_refused`].
const BROKEN: [&str; 14] = [
    "delete-then-use",
    "delete-channel-0",
    "unknown-channel",
    "status-3-first",
    "status-1-within",
    "status-5-from-client",
    "status-9",
    "status-8",
    "zero-length",
    "over-limit",
    "empty-path",
    "long-path",
    "response-unasked",
    "response-status-8",
];

fn cases() -> Vec<Case> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "testdata/iip/cases.json"].iter().collect();
    let list: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(list.len(), 61);
    let cases = list.iter().map(|case| Case {
        name: case["name"].as_str().unwrap().to_owned(),
        frames: case["frames"].as_array().cloned().unwrap_or_default(),
    });
    let cases: Vec<_> = cases.filter(|case| !case.name.contains("-http")).collect();
    assert_eq!(cases.len(), 52);
    cases
}

fn good_cases() -> Vec<Case> {
    let mut cases = cases();
    cases.retain(|case| !BROKEN.contains(&&*case.name));
    assert_eq!(cases.len(), 38);
    cases
}

fn check_data(fields: &Value, data: &[u8], case: &str) {
    assert_eq!(data.len() as u64, fields["data_length"].as_u64().unwrap(), "{case}");
    let cut = fields["data_cut"] == true;
    let stated = match (&fields["data_text"], &fields["data_hex"]) {
        (Value::String(text), _) => text.as_bytes().to_vec(),
        (_, Value::String(hex)) => {
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
        }
        _ => panic!("{case}: no data is stated"),
    };
    assert!(data.starts_with(&stated) && (cut || data.len() == stated.len()), "{case}");
}

#[test]
fn every_frame_decodes_to_the_stated_fields_and_encodes_to_the_same_bytes() {
    let limits = Limits::default();
    let mut count = 0;
    for case in good_cases() {
        for direction in ["c2s", "s2c"] {
            for (fields, bytes) in case.described(direction) {
                let name = format!("{} {direction}", case.name);
                let frame = Frame::decode(&bytes, &limits).unwrap().unwrap();
                assert_eq!(frame.length(), bytes.len(), "{name}");
                assert_eq!(frame.status, fields["status"], "{name}");
                assert_eq!(frame.channel, fields["channel"], "{name}");
                assert_eq!(frame.path, fields["path"].as_str().unwrap().as_bytes(), "{name}");
                check_data(&fields, frame.data, &name);
                let mut again = vec![];
                frame.encode(&limits, &mut again).unwrap();
                assert_eq!(again, bytes, "{name}");
                count += 1;
            }
        }
    }
    assert_eq!(count, 245, "{count}");
}

/// What the session answers itself.
fn is_own(path: &str) -> bool {
    ["/sys/new_channel", "/sys/delete_channel"].contains(&path)
}

#[test]
fn our_server_sees_what_the_go_clients_sent() {
    let mut count = 0;
    for case in good_cases() {
        let (seen, _, stop) = events(&mut Iip::server(&Limits::default()), &case.bytes("c2s"));
        assert_eq!(stop, Stop::NeedMore(0), "{}", case.name);
        let mut sent = case.described("c2s");
        sent.retain(|(fields, _)| !is_own(fields["path"].as_str().unwrap()));
        assert_eq!(seen.len(), sent.len(), "{}", case.name);
        for ((fields, _), seen) in sent.iter().zip(&seen) {
            let status = fields["status"].as_u64().unwrap();
            match seen {
                Seen::Call { head, body, end } => {
                    assert!(status < 2 && *end == (status == 1), "{}", case.name);
                    let uri = fields["path"].as_str().unwrap();
                    assert_eq!(head.uri, uri.as_bytes());
                    assert_eq!(head.place().0, fields["channel"]);
                    let path = uri.split('?').next().unwrap();
                    let two = path.matches('/').count() == 2 && !path.starts_with("/sys/");
                    let whole = [&b"/"[..], &head.service, b"/", &head.method].concat();
                    assert_eq!(if two { &whole } else { &head.method }, path.as_bytes());
                    check_data(fields, body, &case.name);
                }
                Seen::Data { body, end, .. } => {
                    assert!(status >= 2 && *end == (status == 3), "{}", case.name);
                    check_data(fields, body, &case.name);
                }
                other => panic!("{}: {other:?}", case.name),
            }
            count += 1;
        }
    }
    assert!(count > 70, "{count}");
}

/// What a handler gave, so that the server wrote this data.
fn reply_of(data: &[u8]) -> ReplyFrame<'_> {
    let message = data.strip_prefix(br#"{"code":-1,"message":"handler fail:"#);
    let failure = match (message, data) {
        (Some(message), _) => Some(Failure::text(message.strip_suffix(b"\"}").unwrap())),
        (_, br#"{"code":102,"message":"handle error"}"#) => {
            Some(Failure { code: Some(0x103), ..Failure::text(b"not found") })
        }
        _ => None,
    };
    let none = failure.is_some() || data == br#"{"code":101,"message":"handle no response"}"#;
    ReplyFrame { failure, ..good(if none { &[] } else { data }) }
}

/// Answers to the byte, channel by channel. What differs is said here.
#[test]
fn our_server_writes_what_the_go_servers_wrote() {
    let mut same = 0;
    for case in good_cases() {
        // Several answers to one request; an answer that is never written.
        if ["stream-parts", "stream-continue", "too-large-answer", "connection-limit.2"]
            .contains(&&*case.name)
            || case.name.starts_with("response-")
        {
            continue;
        }
        let mut server = Iip::server(&Limits::default());
        let (seen, mut out, _) = events(&mut server, &case.bytes("c2s"));
        let mut open = calls(&seen);
        let mut expected = BTreeMap::<u32, Vec<_>>::new();
        for (fields, bytes) in case.described("s2c") {
            let (status, mut path, channel, data) = frames(&bytes).remove(0);
            assert_eq!(status, 5);
            // Go repeats the last frame's path with its query where there are several, and for a path that is no URI.
            if ["stream-request", "bad-uri"].contains(&&*case.name) {
                path = path.split('?').next().unwrap().to_owned();
            }
            if !is_own(fields["path"].as_str().unwrap()) {
                let at = open.iter().position(|head| head.place().0 == u64::from(channel)).unwrap();
                let to = open.remove(at);
                server.reply(&to.call(), &reply_of(&data), &mut out).unwrap();
            }
            expected.entry(channel).or_default().push((status, path, channel, data));
        }
        assert!(open.is_empty(), "{}", case.name);
        let mut got = BTreeMap::<u32, Vec<_>>::new();
        for frame in frames(&out) {
            // Go deletes first and so cannot answer.
            if frame.1 != "/sys/delete_channel" {
                got.entry(frame.2).or_default().push(frame);
                same += 1;
            }
        }
        assert_eq!(got, expected, "{}", case.name);
    }
    assert!(same > 100, "{same}");
}

/// A client that has asked for that many channels.
fn greeted(channels: usize) -> (Iip, Vec<u8>) {
    let mut limits = Limits::default();
    limits.client_channels = u32::try_from(channels).unwrap();
    let (mut client, mut out) = (Iip::client(&limits), vec![]);
    client.greet(&mut out);
    let hello = frame(1, "/sys/trunkline", 0, "{}");
    assert_eq!(out, [hello, frame(1, "/sys/new_channel", 0, "{}").repeat(channels)].concat());
    (client, out)
}

/// On one channel the order is the recorded one: all frames of the calls are the same to the byte.
#[test]
fn our_client_writes_what_the_go_clients_wrote() {
    let mut requests = 0;
    for case in good_cases().iter().filter(|case| case.asks() == 1 && !case.name.starts_with("delete")) {
        let (mut client, _) = greeted(1);
        let (_, mut out, _) =
            events(&mut client, &case.described("s2c").first().map_or(vec![], |f| f.1.clone()));
        if case.name == "connection-limit.2" {
            continue;
        }
        let mut expected = vec![];
        let mut open = None;
        for (at, (fields, bytes)) in case.described("c2s").into_iter().enumerate().skip(1) {
            let (status, path, _, data) = frames(&bytes).remove(0);
            assert!(!is_own(fields["path"].as_str().unwrap()));
            let id = at as u64;
            if status < 2 {
                client
                    .call(
                        &trunkline_wire::CallFrame { end: status == 1, ..call(id, "", &path, &data) },
                        &mut out,
                    )
                    .unwrap();
                open = Some(id);
            } else if case.name != "stream-request" {
                client.data(open.unwrap(), &data, status == 3, &mut out).unwrap();
            } else {
                // Ours says the same path in each frame.
                let mut ours = vec![];
                client.data(open.unwrap(), &data, status == 3, &mut ours).unwrap();
                assert_eq!(frames(&ours)[0].1, "/echo?n=0");
                out.extend_from_slice(&bytes);
            }
            expected.extend_from_slice(&bytes);
            requests += 1;
        }
        assert_eq!(out, expected, "{}", case.name);
    }
    assert!(requests > 60, "{requests}");
}

#[test]
fn our_client_reads_what_the_go_servers_wrote() {
    let mut replies = 0;
    for case in good_cases() {
        // Several answers to one request; a channel that is deleted; calls on channel 0, or spread otherwise.
        let skipped =
            ["stream-parts", "stream-continue", "stream-interleaved", "two-channels", "channels-any-order"];
        if skipped.contains(&&*case.name) || case.asks() != 1 || case.name == "delete-channel" {
            continue;
        }
        let (mut client, _) = greeted(1);
        let mut out = vec![];
        let sent = case.described("c2s");
        let asked = sent.iter().skip(1).filter(|(fields, _)| fields["status"].as_u64().unwrap() < 2).count();
        for id in 0..asked {
            client.call(&call(id as u64, "", "/x", b"x"), &mut out).unwrap();
        }
        assert!(out.is_empty(), "no channel is granted yet");
        let (seen, out, stop) = events(&mut client, &case.bytes("s2c"));
        assert_eq!(stop, Stop::NeedMore(0), "{}", case.name);
        let granted = !case.bytes("s2c").is_empty();
        assert_eq!(frames(&out).len(), if granted { asked } else { 0 });
        let described = case.described("s2c");
        let described: Vec<_> =
            described.iter().filter(|(fields, _)| fields["path"] != "/sys/new_channel").collect();
        assert_eq!(seen.len(), described.len(), "{}", case.name);
        let mut next = 0;
        for ((fields, bytes), seen) in described.iter().zip(&seen) {
            let (status, path, _, data) = frames(bytes).remove(0);
            let end = status & 1 == 1;
            match seen {
                Seen::Reply { id, failure: None, uri, body, end: whole } => {
                    assert_eq!((*id, *whole, uri), (next, end, &path.into_bytes()), "{}", case.name);
                    check_data(fields, body, &case.name);
                }
                Seen::Reply { id, failure: Some((text, code)), body, .. } => {
                    let said: Value = serde_json::from_slice(&data).unwrap();
                    let message = said["message"].as_str().unwrap();
                    let message = message.strip_prefix("handler fail:").unwrap_or(message);
                    assert_eq!((*id, &**text, body.len()), (next, message.as_bytes(), 0), "{}", case.name);
                    assert_eq!(*code, (said["code"] == 102).then_some(0x103), "{}", case.name);
                }
                Seen::Data { id, body, end: whole } => {
                    assert_eq!((*id, *whole), (next, end), "{}", case.name);
                    check_data(fields, body, &case.name);
                }
                other => panic!("{}: {other:?}", case.name),
            }
            next += u64::from(end);
            replies += 1;
        }
    }
    assert_eq!(replies, 56, "{replies}");
}

#[test]
fn broken_cases_are_refused() {
    let expected = [
        ("delete-then-use", "the channel was not granted"),
        ("delete-channel-0", "the channel was not granted"),
        ("unknown-channel", "the channel was not granted"),
        ("status-3-first", "a status that does not follow the one before"),
        ("status-1-within", "a status that does not follow the one before"),
        ("status-5-from-client", "a client sends no answer"),
        ("status-9", "unknown status"),
        ("zero-length", "the data length is 0"),
        ("empty-path", "the path is empty"),
    ];
    for case in cases().iter().filter(|case| BROKEN.contains(&&*case.name)) {
        let bytes = case.bytes("c2s");
        let (_, _, stop) = events(&mut Iip::server(&Limits::default()), &bytes);
        if let Some((_, expected)) = expected.iter().find(|(name, _)| *name == case.name) {
            let Stop::Closed(WireError::Malformed { rule, .. }) = stop else {
                panic!("{}: {stop:?}", case.name)
            };
            assert_eq!(rule, *expected, "{}", case.name);
            continue;
        }
        let what = match stop {
            Stop::Closed(WireError::TooLarge { what, limit, .. }) => (what, limit),
            Stop::NeedMore(0) => ("", 0),
            other => panic!("{}: {other:?}", case.name),
        };
        match &*case.name {
            "over-limit" => assert_eq!(what, ("data", 16 << 20)),
            "long-path" => assert_eq!(what, ("path", 2048)),
            // What the server sends is broken.
            "status-8" | "response-unasked" | "response-status-8" => assert_eq!(what, ("", 0)),
            name => panic!("{name} is not expected"),
        }
    }
}

#[test]
fn status_8_closes_without_the_rest_of_a_frame() {
    let case = |name: &str| cases().into_iter().find(|case| case.name == name).unwrap();
    let (seen, _, _) = events(&mut Iip::server(&Limits::default()), &case("status-8").bytes("c2s"));
    assert_eq!(seen, [Seen::Closed]);

    let (mut client, mut out) = greeted(1);
    client.call(&call(7, "", "/echo", b"x"), &mut out).unwrap();
    let (seen, _, stop) = events(&mut client, &case("response-status-8").bytes("s2c"));
    assert_eq!((seen, stop), (vec![Seen::Closed], Stop::NeedMore(0)));
    // Nothing after it is looked at.
    let (mut input, mut seen) = (vec![9; 100], vec![]);
    assert_eq!(feed(&mut client, &mut input, &mut out, &mut seen), Stop::NeedMore(0));
    assert!(input.is_empty() && seen.is_empty());
}

#[test]
fn a_second_answer_to_one_request_closes_the_connection() {
    let (mut client, mut out) = greeted(1);
    client.call(&call(7, "", "/echo", b"x"), &mut out).unwrap();
    let bytes = cases().iter().find(|case| case.name == "response-unasked").unwrap().bytes("s2c");
    let (seen, _, stop) = events(&mut client, &bytes);
    assert!(matches!(&seen[..], [Seen::Reply { id: 7, .. }]), "{seen:?}");
    let expected = WireError::Malformed { wire: "iip", rule: "an answer that nobody waits for", offset: 0 };
    assert_eq!(stop, Stop::Closed(expected));
}

/// What a driver keeps of a call is enough: the answer repeats the path although only its names are left.
#[test]
fn an_answer_repeats_the_raw_path_without_its_query() {
    for path in ["/Arith/Mul", "/echo", "/a/b/c?x=%00&y", "/ech%6f%00%20", "//", "x", "/S/%ff\u{e4}?"] {
        let mut server = Iip::server(&Limits::default());
        let (seen, mut out, _) = events(&mut server, &frame(1, path, 0, "x"));
        let head: Head = calls(&seen).remove(0);
        server.reply(&head.call(), &good(b"y"), &mut out).unwrap();
        assert_eq!(out, frame(5, path.split('?').next().unwrap(), 0, "y"));
    }
}
