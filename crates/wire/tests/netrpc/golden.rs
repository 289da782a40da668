//! Every recorded case through our sessions.

use serde_json::Value;
use trunkline_wire::netrpc::NetRpc;
use trunkline_wire::{Limits, Session};

use super::common::{Head, Seen, Stop, bad, call, events, good};

pub(crate) struct Case {
    pub(crate) name: String,
    frames: Vec<Value>,
}

impl Case {
    /// The bytes of one direction, from the first gob message on.
    pub(crate) fn gob(&self, direction: &str) -> Vec<u8> {
        let path = format!("{}/testdata/netrpc/{}.{direction}.bin", env!("CARGO_MANIFEST_DIR"), self.name);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let first = self.frames.iter().find(|frame| frame["dir"] == direction && frame["offset"] == 0);
        let text = first.filter(|frame| frame["fields"]["text"].is_string());
        let at = text.map_or(0, |frame| usize::try_from(frame["length"].as_u64().unwrap()).unwrap());
        bytes[at..].to_vec()
    }

    /// Name, number and error of each head, as the recorder read them.
    fn heads(&self, direction: &str, key: &str) -> Vec<(String, u64, String)> {
        let heads = self.frames.iter().filter(|frame| frame["dir"] == direction);
        heads
            .filter_map(|frame| frame["fields"].get(key))
            .map(|head| {
                let text = |key: &str| head[key].as_str().unwrap_or_default().to_owned();
                (text("ServiceMethod"), head["Seq"].as_u64().unwrap(), text("Error"))
            })
            .collect()
    }
}

/// The recorded cases that are gob.
pub(crate) fn cases() -> Vec<Case> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/netrpc/cases.json");
    let list: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(list.len(), 24);
    let cases = list.into_iter().map(|case| Case {
        name: case["name"].as_str().unwrap().to_owned(),
        frames: case["frames"].as_array().cloned().unwrap_or_default(),
    });
    let text = ["garbage", "huge-message", "http-get", "http-wrong-path"];
    let cases: Vec<_> = cases.filter(|case| !text.contains(&&*case.name)).collect();
    assert_eq!(cases.len(), 20);
    cases
}

/// What the session answers itself.
fn is_ill_formed(name: &str) -> bool {
    !name.contains('.')
}

#[test]
fn our_server_sees_what_the_go_clients_sent() {
    let mut count = 0;
    for case in cases() {
        let (seen, _, stop) = events(&mut NetRpc::server(&Limits::default()), &case.gob("c2s"));
        assert_eq!(stop, Stop::NeedMore(0), "{}", case.name);
        let mut sent = case.heads("c2s", "request");
        sent.retain(|(name, ..)| !is_ill_formed(name));
        // There the recorder stopped reading, where the Go server did not.
        if case.name != "wrong-type" {
            assert_eq!(seen.len(), sent.len(), "{}", case.name);
        }
        for ((name, seq, _), seen) in sent.iter().zip(&seen) {
            let Seen::Call { head, body } = seen else { panic!("{}: {seen:?}", case.name) };
            assert_eq!((&format!("{}.{}", head.service, head.method), head.id), (name, *seq));
            assert!(!body.is_empty() && !head.repeats.is_empty());
            count += 1;
        }
    }
    assert!(count > 60, "{count}");
}

/// Answers as the Go servers gave them, written by our server to what the Go clients sent: read again they are the same,
/// and where a fresh Go process numbered its types as we do, so are the bytes.
#[test]
fn our_server_writes_what_the_go_servers_wrote() {
    let (mut count, mut same) = (0, 0);
    for case in cases() {
        let recorded = case.gob("s2c");
        let (replies, _, stop) = events(&mut NetRpc::client(&Limits::default()), &recorded);
        assert_eq!(stop, Stop::NeedMore(0), "{}", case.name);
        for (at_once, in_place) in [(true, false), (false, false), (true, true)] {
            let mut server = NetRpc::server(&Limits::default());
            let mut input = case.gob("c2s");
            let (mut seen, mut out) = (vec![], vec![]);
            super::common::feed(&mut server, &mut input, &mut out, &mut seen);
            let own = replies.iter().filter(|reply| failure(reply).is_some_and(|f| f.contains("ill-formed")));
            assert_eq!(out.is_empty(), own.count() == 0, "the session answers what has no dot itself");
            // What the session has answered itself came before the others.
            let mut all = vec![];
            let heads: Vec<Head> = seen
                .iter()
                .map(|seen| match seen {
                    Seen::Call { head, .. } => head.clone(),
                    other => panic!("{other:?}"),
                })
                .collect();
            for reply in &replies {
                let Seen::Reply { id, failure, body } = reply else { panic!("{reply:?}") };
                let Some(head) = heads.iter().find(|head| head.id == *id) else {
                    assert!(failure.as_ref().unwrap().contains("ill-formed"));
                    continue;
                };
                let to = if at_once { head.call() } else { head.kept() };
                match failure {
                    Some(text) => server.reply(&to, &bad(text), &mut out).unwrap(),
                    None if in_place => {
                        let mark = server.begin(&to, &mut out).unwrap();
                        out.extend_from_slice(body);
                        server.finish(mark, &mut out);
                    }
                    None => server.reply(&to, &good(body), &mut out).unwrap(),
                }
                all.push(reply.clone());
                count += 1;
            }
            assert_eq!(server.in_flight(), heads.len() - all.len(), "{}", case.name);
            let (mut again, _, stop) = events(&mut NetRpc::client(&Limits::default()), &out);
            assert_eq!(stop, Stop::NeedMore(0), "{}", case.name);
            again.retain(|reply| failure(reply).is_none_or(|text| !text.contains("ill-formed")));
            assert_eq!(again, all, "{}", case.name);
            same += usize::from(!out.is_empty() && out == recorded);
        }
    }
    assert!(count > 180, "{count}");
    // zrpc, zrpc-index, zrpc-unknown, zrpc-empty-name: each in three ways.
    assert_eq!(same, 12);
}

fn failure(seen: &Seen) -> Option<&str> {
    match seen {
        Seen::Reply { failure, .. } => failure.as_deref(),
        _ => None,
    }
}

#[test]
fn our_client_sees_what_the_go_servers_sent() {
    let mut count = 0;
    for case in cases() {
        let (seen, out, stop) = events(&mut NetRpc::client(&Limits::default()), &case.gob("s2c"));
        assert_eq!((stop, out), (Stop::NeedMore(0), vec![]), "{}", case.name);
        let sent = case.heads("s2c", "response");
        assert_eq!(seen.len(), sent.len(), "{}", case.name);
        for ((_, seq, error), seen) in sent.iter().zip(&seen) {
            let Seen::Reply { id, failure, body } = seen else { panic!("{}: {seen:?}", case.name) };
            assert_eq!((id, failure.as_deref().unwrap_or_default()), (seq, &**error));
            assert_eq!(body.is_empty(), failure.is_some());
            count += 1;
        }
    }
    assert!(count > 60, "{count}");
}

/// The calls of the Go clients, made by ours: a server sees the same in both.
#[test]
fn our_client_writes_what_the_go_clients_wrote() {
    for case in cases() {
        let recorded = case.gob("c2s");
        let (seen, _, _) = events(&mut NetRpc::server(&Limits::default()), &recorded);
        let mut client = NetRpc::client(&Limits::default());
        let mut out = vec![];
        client.greet(&mut out);
        assert!(out.is_empty(), "a client says nothing of its own");
        for seen in &seen {
            let Seen::Call { head, body } = seen else { panic!("{seen:?}") };
            client.call(&call(head.id, &head.service, &head.method, body), &mut out).unwrap();
        }
        let (again, _, stop) = events(&mut NetRpc::server(&Limits::default()), &out);
        assert_eq!((again, stop), (seen, Stop::NeedMore(0)), "{}", case.name);
        // Types are defined once.
        assert!(out.len() <= recorded.len(), "{}", case.name);
    }
}

#[test]
fn what_is_no_gob_ends_the_connection_without_an_answer() {
    for name in ["garbage", "huge-message"] {
        let path = format!("{}/testdata/netrpc/{name}.c2s.bin", env!("CARGO_MANIFEST_DIR"));
        let (seen, out, stop) =
            events(&mut NetRpc::server(&Limits::default()), &std::fs::read(path).unwrap());
        assert!(seen.is_empty() && out.is_empty() && matches!(stop, Stop::Closed(_)), "{name}: {stop:?}");
    }
}
