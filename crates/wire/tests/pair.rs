//! A client session and a server session that talk to each other.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may fail loudly")]

mod common;

use common::{Seen, Stop, events, feed, good, mul, small};
use trunkline_wire::rpcx::{Frame, Rpcx, keys};
use trunkline_wire::{
    CallFrame, Compression, Failure, Limits, Metadata, Pairs, PushFrame, PushHead, ReplyFrame, Serialization,
    Session, WireError,
};

/// Two sessions and the bytes under way between them.
struct Wires {
    client: Rpcx,
    server: Rpcx,
    up: Vec<u8>,
    down: Vec<u8>,
}

impl Wires {
    fn new(limits: &Limits) -> Self {
        Self { client: Rpcx::client(limits), server: Rpcx::server(limits), up: vec![], down: vec![] }
    }

    /// Greeted and answered: both know each other.
    fn acquainted(limits: &Limits) -> Self {
        let mut wires = Self::new(limits);
        wires.client.greet(&mut wires.up);
        assert_eq!(wires.at_server(), []);
        assert_eq!(wires.at_client(), [Seen::Pong]);
        wires
    }

    fn at_server(&mut self) -> Vec<Seen> {
        let mut seen = vec![];
        let stop = feed(&mut self.server, &mut self.up, &mut self.down, &mut seen);
        assert!(matches!(stop, Stop::NeedMore(0)), "{stop:?}");
        seen
    }

    fn at_client(&mut self) -> Vec<Seen> {
        let mut seen = vec![];
        let stop = feed(&mut self.client, &mut self.down, &mut self.up, &mut seen);
        assert!(matches!(stop, Stop::NeedMore(0)), "{stop:?}");
        seen
    }

    fn call(&mut self, frame: &CallFrame<'_>) {
        self.client.call(frame, &mut self.up).unwrap();
    }

    fn reply(&mut self, to: &Seen, frame: &ReplyFrame<'_>) {
        let (Seen::Call { head, .. } | Seen::Refused { head, .. }) = to else { panic!("no call: {to:?}") };
        self.server.reply(&head.call(), frame, &mut self.down).unwrap();
    }
}

fn id_and_body(seen: &Seen) -> (u64, &[u8]) {
    match seen {
        Seen::Call { head, body } | Seen::Reply { head, body, .. } => (head.id, body),
        other => panic!("{other:?}"),
    }
}

#[test]
fn replies_come_in_any_order() {
    let mut wires = Wires::new(&Limits::default());
    for id in 0..5 {
        wires.call(&mul(id, &[u8::try_from(id).unwrap()]));
    }
    let calls = wires.at_server();
    assert_eq!(wires.server.in_flight(), 5);
    for at in [3, 0, 4, 1, 2] {
        let (_, body) = id_and_body(&calls[at]);
        let body = [body[0] + 100];
        wires.reply(&calls[at], &good(&body));
    }
    assert_eq!(wires.server.in_flight(), 0);
    let replies = wires.at_client();
    let got: Vec<_> = replies.iter().map(|seen| (id_and_body(seen).0, id_and_body(seen).1[0])).collect();
    assert_eq!(got, [(3, 103), (0, 100), (4, 104), (1, 101), (2, 102)]);
}

#[test]
fn begin_and_finish_write_what_reply_writes() {
    let mut wires = Wires::new(&Limits::default());
    wires.call(&mul(7, b"in"));
    let calls = wires.at_server();
    let Seen::Call { head, .. } = &calls[0] else { panic!() };
    let mut out = b"before".to_vec();
    let mark = wires.server.begin(&head.call(), &mut out).unwrap();
    assert_eq!((mark.start, mark.body, mark.id), (6, out.len(), 7));
    out.extend_from_slice(b"{\"C\":200}");
    assert_eq!(wires.server.in_flight(), 1);
    wires.server.finish(mark, &mut out);
    assert_eq!(wires.server.in_flight(), 0);
    wires.reply(&calls[0], &good(b"{\"C\":200}"));
    assert_eq!(out.strip_prefix(b"before").unwrap(), wires.down);
}

#[test]
fn a_body_over_the_limit_becomes_a_failure_in_finish() {
    let mut wires = Wires::new(&small());
    wires.client = Rpcx::client(&Limits::default());
    for (length, fails) in [(32, false), (33, true)] {
        wires.call(&mul(7, b"in"));
        let calls = wires.at_server();
        let Seen::Call { head, .. } = &calls[0] else { panic!() };
        let mark = wires.server.begin(&head.call(), &mut wires.down).unwrap();
        wires.down.resize(wires.down.len() + length, b'x');
        wires.server.finish(mark, &mut wires.down);
        let replies = wires.at_client();
        let Seen::Reply { head, failure, body } = &replies[0] else { panic!() };
        assert_eq!(head.id, 7);
        if fails {
            let text = "rpcx: reply body of 33 bytes is over the limit of 32 (body_limit)";
            assert_eq!(failure.as_ref().unwrap().0, text.as_bytes());
            assert_eq!(head.metadata.get(keys::EASYMICRO_ERROR), Some(text));
            assert!(body.is_empty());
        } else {
            assert_eq!((failure, body.len()), (&None, 32));
        }
        assert_eq!(wires.server.in_flight(), 0);
    }
}

#[test]
fn one_way_calls_take_a_place_and_get_no_answer() {
    let mut wires = Wires::new(&Limits::default());
    for id in 0..3 {
        wires.call(&CallFrame { one_way: true, ..mul(id, b"x") });
    }
    let calls = wires.at_server();
    assert_eq!(wires.server.in_flight(), 3);
    let Seen::Call { head, .. } = &calls[0] else { panic!() };
    assert!(head.one_way);
    assert!(wires.server.begin(&head.call(), &mut wires.down).is_none());
    wires.reply(&calls[0], &good(b"unwanted"));
    wires.reply(&calls[1], &ReplyFrame { failure: Some(Failure::text(b"unwanted")), ..good(b"") });
    wires.server.forget(2, &mut Vec::new());
    assert_eq!((wires.server.in_flight(), wires.down.len()), (0, 0));
}

#[test]
fn failures_bring_text_code_details_and_metadata() {
    let metadata = Metadata::builder().with("k", "v").with(keys::RPCX_ERROR, "of a call behind").build();
    let failure = Failure { message: "größer".as_bytes(), code: Some(503), details: Some(b"\x81\xa1") };
    let frame = ReplyFrame { failure: Some(failure), metadata: metadata.pairs(), ..good(b"{}") };
    for (mut wires, known) in
        [(Wires::new(&Limits::default()), false), (Wires::acquainted(&Limits::default()), true)]
    {
        wires.call(&mul(1, b""));
        let calls = wires.at_server();
        wires.reply(&calls[0], &frame);
        let replies = wires.at_client();
        let Seen::Reply { head, failure, body } = &replies[0] else { panic!() };
        let (message, code, details) = failure.as_ref().unwrap();
        assert_eq!(message, "größer".as_bytes());
        assert_eq!(
            (*code, details.as_deref()),
            if known { (Some(503), Some(&b"\x81\xa1"[..])) } else { (None, None) }
        );
        assert_eq!(body, b"{}");
        assert_eq!(head.metadata.get(keys::EASYMICRO_ERROR), Some("größer"));
        assert_eq!(head.metadata.get("k"), Some("v"));
        assert_eq!(head.metadata.iter().filter(|(key, _)| *key == keys::RPCX_ERROR.as_bytes()).count(), 1);
    }
}

#[test]
fn easymicros_text_counts_where_rpcxs_is_not_there() {
    let own = |pairs: &[(&str, &str)]| pairs.iter().copied().collect::<Metadata>();
    for (metadata, text) in [
        (own(&[(keys::EASYMICRO_ERROR, "e")]), "e"),
        (own(&[(keys::EASYMICRO_ERROR, "e"), (keys::RPCX_ERROR, "r")]), "r"),
        (own(&[("k", "v")]), ""),
        (own(&[]), ""),
    ] {
        let bytes = common::whole(0x81, "a", "b", &metadata, b"");
        let (seen, _, _) = events(&mut Rpcx::client(&Limits::default()), &bytes);
        let Seen::Reply { failure, .. } = &seen[0] else { panic!() };
        assert_eq!(failure.as_ref().unwrap(), &(text.as_bytes().to_vec(), None, None));
    }
}

#[test]
fn extra_metadata_joins_that_of_the_caller() {
    let metadata = Metadata::builder().with("k", "v").build();
    let mut wires = Wires::new(&Limits::default());
    let extra = [("__ServerTimeout", "99"), ("traceparent", "")];
    wires.call(&CallFrame { metadata: metadata.pairs(), extra: &extra, ..mul(1, b"x") });
    let calls = wires.at_server();
    let Seen::Call { head, body } = &calls[0] else { panic!() };
    assert_eq!(body, b"x");
    let mut pairs: Vec<_> = head.metadata.iter().collect();
    pairs.sort_unstable();
    assert_eq!(pairs, [(&b"__ServerTimeout"[..], &b"99"[..]), (b"k", b"v"), (b"traceparent", b"")]);
}

#[test]
fn a_reply_repeats_version_reserved_bits_and_serialisation_but_no_status() {
    let mut bytes = common::whole(0x01, "Arith", "Mul", &Metadata::new(), b"x");
    bytes[1] = 3;
    bytes[3] = 0x9f;
    let mut server = Rpcx::server(&Limits::default());
    let (seen, _, _) = events(&mut server, &bytes);
    let Seen::Call { head, .. } = &seen[0] else { panic!() };
    assert_eq!(head.serialization, Serialization::Other(9));
    let mut out = vec![];
    server.reply(&head.call(), &good(b"y"), &mut out).unwrap();
    assert_eq!(out[..4], [8, 3, 0x80, 0x9f]);
    let frame = Frame::decode(&out, &Limits::default()).unwrap().unwrap();
    assert_eq!(
        (frame.service, frame.method, frame.body, frame.header.seq),
        (&b"Arith"[..], &b"Mul"[..], &b"y"[..], 7)
    );
}

#[test]
fn pushes_have_numbers_of_their_own() {
    let metadata = Metadata::builder().with("n", "1").build();
    let head = PushHead {
        service: b"Push",
        method: b"Tick",
        metadata: metadata.pairs(),
        serialization: Serialization::Json,
        compression: Compression::Gzip,
    };
    let mut wires = Wires::new(&Limits::default());
    wires.server.push(&PushFrame { head, body: b"one" }, &mut wires.down).unwrap();
    let empty = PushHead { service: b"", method: b"", metadata: Pairs::empty(), ..head };
    wires.server.push(&PushFrame { head: empty, body: b"" }, &mut wires.down).unwrap();
    let first = Frame::decode(&wires.down, &Limits::default()).unwrap().unwrap();
    assert_eq!((first.header.seq, first.header.flags, first.header.format), (1, 0x24, 0x10));
    let second = Frame::decode(&wires.down[first.length()..], &Limits::default()).unwrap().unwrap();
    assert_eq!(second.header.seq, 2);
    let seen = wires.at_client();
    let Seen::Push { head, body } = &seen[0] else { panic!() };
    assert_eq!((&head.service[..], &head.method[..], &body[..]), (&b"Push"[..], &b"Tick"[..], &b"one"[..]));
    assert_eq!((head.serialization, head.compression), (Serialization::Json, Compression::Gzip));
    assert_eq!(head.metadata, metadata);
    assert!(matches!(&seen[1], Seen::Push { body, .. } if body.is_empty()));
    assert!(wires.up.is_empty(), "a push is not answered");
}

#[test]
fn peers_get_to_know_each_other_before_they_say_more_than_go_does() {
    let mut wires = Wires::new(&Limits::default());
    assert!(!wires.server.drain(&mut wires.down));
    assert!(!wires.server.ping(&mut wires.down));
    assert!(wires.up.is_empty() && wires.down.is_empty());

    wires.client.greet(&mut wires.up);
    let frame = Frame::decode(&wires.up, &Limits::default()).unwrap().unwrap();
    assert_eq!((frame.header.flags, frame.header.format), (0x40, 0x30));
    assert_eq!(frame.metadata.get(keys::TRUNKLINE), Some("1"));
    assert_eq!(frame.body, b"\xd3\0\0\0\0\0\0\0\0");
    let mut echo = wires.up.clone();
    assert_eq!(wires.at_server(), []);
    // All is echoed but the type, and the 1 that became a 2.
    echo[2] |= 0x80;
    let at = echo.len() - 14;
    assert_eq!(echo[at], b'1');
    echo[at] = b'2';
    assert_eq!(wires.down, echo);
    assert!(wires.server.peer_is_trunkline() && !wires.client.peer_is_trunkline());
    assert_eq!(wires.at_client(), [Seen::Pong]);
    assert!(wires.client.peer_is_trunkline());

    // The question is asked once.
    assert!(wires.client.ping(&mut wires.up));
    let frame = Frame::decode(&wires.up, &Limits::default()).unwrap().unwrap();
    assert!(frame.metadata.is_empty());
    assert_eq!((frame.header.seq, frame.header.flags), (1, 0x40));
    assert_eq!(wires.at_server(), []);
    assert_eq!(wires.at_client(), [Seen::Pong]);

    assert!(wires.server.ping(&mut wires.down));
    assert_eq!(wires.at_client(), []);
    assert_eq!(wires.at_server(), [Seen::Pong]);
}

#[test]
fn a_go_servers_echo_tells_nothing() {
    let mut wires = Wires::new(&Limits::default());
    wires.client.greet(&mut wires.up);
    wires.down = wires.up.clone();
    wires.down[2] |= 0x80;
    assert_eq!(wires.at_client(), [Seen::Pong]);
    assert!(!wires.client.peer_is_trunkline());
    assert!(!wires.client.cancel(1, &mut wires.up));
}

#[test]
fn a_cancel_before_the_peer_is_known_is_said_when_it_is() {
    let mut wires = Wires::new(&Limits::default());
    wires.client.greet(&mut wires.up);
    for id in 0..2000 {
        assert!(!wires.client.cancel(id, &mut wires.up), "nothing goes to a peer that may be Go");
    }
    assert_eq!(wires.at_server(), []);
    assert_eq!(wires.at_client(), [Seen::Pong]);
    // What is kept is bounded.
    let kept: Vec<_> = (0..1024).map(Seen::Cancel).collect();
    assert_eq!(wires.at_server(), kept);
    assert!(wires.client.ping(&mut wires.up));
    assert_eq!(wires.at_server(), []);
    assert_eq!(wires.at_client(), [Seen::Pong]);
    assert!(wires.up.is_empty(), "each is said once");
}

#[test]
fn a_cancel_before_a_go_server_is_known_is_forgotten() {
    let mut wires = Wires::new(&Limits::default());
    wires.client.greet(&mut wires.up);
    assert!(!wires.client.cancel(1, &mut wires.up));
    wires.down = std::mem::take(&mut wires.up);
    wires.down[2] |= 0x80;
    assert_eq!(wires.at_client(), [Seen::Pong]);
    assert!(wires.up.is_empty());
}

#[test]
fn cancel_and_drain() {
    let mut wires = Wires::acquainted(&Limits::default());
    wires.call(&mul(41, b"x"));
    assert!(wires.client.cancel(41, &mut wires.up));
    let seen = wires.at_server();
    assert!(matches!(&seen[..], [Seen::Call { head, .. }, Seen::Cancel(41)] if head.id == 41));
    assert!(wires.down.is_empty(), "a cancel is not echoed");
    assert_eq!(wires.server.in_flight(), 1, "a cancel frees no place, the driver's forget does");
    wires.server.forget(41, &mut Vec::new());
    assert_eq!(wires.server.in_flight(), 0);

    assert!(wires.server.drain(&mut wires.down));
    let frame = Frame::decode(&wires.down, &Limits::default()).unwrap().unwrap();
    assert_eq!((frame.header.flags, frame.metadata.get(keys::DRAIN)), (0x60, Some("")));
    assert_eq!(wires.at_client(), [Seen::Draining]);
    assert!(wires.up.is_empty(), "an announced stop is not echoed");
}

/// From a peer that never asked, a cancel is what it is to a Go server: a heartbeat to be echoed.
#[test]
fn a_stranger_cannot_cancel() {
    let metadata = Metadata::builder().with(keys::CANCEL, "").build();
    let mut bytes = common::whole(0x60, "", "", &metadata, b"");
    let (seen, out, _) = events(&mut Rpcx::server(&Limits::default()), &bytes);
    bytes[2] |= 0x80;
    assert_eq!((seen, out), (vec![], bytes));
}

#[test]
fn heartbeats_are_echoed_whole_by_both_sides() {
    let metadata = Metadata::builder().with("k", "v").build();
    for mut session in [Rpcx::server(&Limits::default()), Rpcx::client(&Limits::default())] {
        for flags in [0x40, 0x60, 0x44, 0x41] {
            let mut bytes = common::whole(flags, "path", "method", &metadata, b"payload");
            let (seen, out, _) = events(&mut session, &bytes);
            bytes[2] |= 0x80;
            assert_eq!((seen, out), (vec![], bytes));
        }
    }
}

#[test]
fn blocked_at_the_limit_of_calls() {
    let mut wires = Wires::acquainted(&small());
    for id in 0..6 {
        wires.call(&mul(id, b"x"));
    }
    assert!(wires.client.ping(&mut wires.up));
    let mut seen = vec![];
    assert_eq!(feed(&mut wires.server, &mut wires.up, &mut wires.down, &mut seen), Stop::Blocked);
    assert_eq!((seen.len(), wires.server.in_flight()), (4, 4));
    // The heartbeat stands behind the fifth call and waits with it.
    assert!(wires.down.is_empty());

    wires.server.forget(2, &mut Vec::new());
    assert_eq!(feed(&mut wires.server, &mut wires.up, &mut wires.down, &mut seen), Stop::Blocked);
    assert_eq!(seen.len(), 5);
    let first = seen[0].clone();
    wires.reply(&first, &good(b""));
    assert_eq!(feed(&mut wires.server, &mut wires.up, &mut wires.down, &mut seen), Stop::NeedMore(0));
    assert_eq!((seen.len(), wires.server.in_flight()), (6, 4));
    assert!(matches!(&wires.at_client()[..], [Seen::Reply { .. }, Seen::Pong]));
}

#[test]
fn heartbeats_and_cancels_pass_while_blocked() {
    let mut wires = Wires::acquainted(&small());
    for id in 0..4 {
        wires.call(&mul(id, b"x"));
    }
    assert!(wires.client.ping(&mut wires.up));
    assert!(wires.client.cancel(3, &mut wires.up));
    wires.call(&CallFrame { one_way: true, ..mul(4, b"x") });
    let mut seen = vec![];
    assert_eq!(feed(&mut wires.server, &mut wires.up, &mut wires.down, &mut seen), Stop::Blocked);
    assert_eq!((seen.len(), &seen[4]), (5, &Seen::Cancel(3)));
    assert_eq!(wires.at_client(), [Seen::Pong]);
}

#[test]
fn what_the_wire_or_the_role_cannot_say_is_refused_and_nothing_is_written() {
    let mut wires = Wires::new(&Limits::default());
    let mut out = vec![];
    let refused =
        |result: Result<(), WireError>| assert!(matches!(result, Err(WireError::Unsupported { .. })));
    refused(wires.client.call(&CallFrame { end: false, ..mul(1, b"") }, &mut out));
    refused(wires.client.call(&CallFrame { serialization: Serialization::Gob, ..mul(1, b"") }, &mut out));
    refused(
        wires.client.call(&CallFrame { serialization: Serialization::Other(16), ..mul(1, b"") }, &mut out),
    );
    refused(wires.server.call(&mul(1, b""), &mut out));
    refused(wires.server.data(1, b"", true, &mut out));
    let head = common::Head::default();
    refused(wires.client.reply(&head.call(), &good(b""), &mut out));
    refused(wires.server.reply(&head.call(), &ReplyFrame { end: false, ..good(b"") }, &mut out));
    assert!(wires.client.begin(&head.call(), &mut out).is_none());
    let push = PushHead {
        service: b"",
        method: b"",
        metadata: Pairs::empty(),
        serialization: Serialization::Raw,
        compression: Compression::None,
    };
    refused(wires.client.push(&PushFrame { head: push, body: b"" }, &mut out));
    assert!(!wires.server.cancel(1, &mut out) && !wires.client.drain(&mut out));
    wires.server.greet(&mut out);
    assert!(out.is_empty());
}

#[test]
fn a_reply_that_cannot_be_written_keeps_its_place() {
    let mut wires = Wires::new(&small());
    wires.call(&mul(1, b"x"));
    let calls = wires.at_server();
    let Seen::Call { head, .. } = &calls[0] else { panic!() };
    let over = wires.server.reply(&head.call(), &good(&[0; 33]), &mut wires.down);
    assert!(matches!(over, Err(WireError::TooLarge { got: 33, limit: 32, setting: "body_limit", .. })));
    // A failure's text has half a MiB beside the limit of metadata.
    let text = vec![b'x'; 525_000];
    let long = ReplyFrame { failure: Some(Failure::text(&text)), ..good(b"") };
    let over = wires.server.reply(&head.call(), &long, &mut wires.down);
    assert!(matches!(over, Err(WireError::TooLarge { what: "metadata", limit: 1_048_616, .. })));
    assert_eq!((wires.server.in_flight(), wires.down.len()), (1, 0));
    wires.reply(&calls[0], &good(&[0; 32]));
    assert_eq!(wires.server.in_flight(), 0);
}
