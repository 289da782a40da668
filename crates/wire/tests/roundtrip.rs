//! What is written reads the same; broken copies of it never panic; limits hold at N and refuse N + 1.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may fail loudly")]

mod common;

use common::{Seen, Stop, events, good, mul, small, whole};
use proptest::collection::vec;
use proptest::prelude::*;
use trunkline_wire::rpcx::{Frame, Header, Rpcx, keys};
use trunkline_wire::{
    CallFrame, Compression, Failure, Limits, Metadata, Pairs, PushFrame, PushHead, ReplyFrame, Serialization,
    Session, WireError,
};

fn metadata() -> impl Strategy<Value = Metadata> {
    vec((".{0,12}", ".{0,12}"), 0..6).prop_map(|pairs| pairs.into_iter().collect())
}

fn serialization() -> impl Strategy<Value = Serialization> {
    prop_oneof![
        Just(Serialization::Raw),
        Just(Serialization::Json),
        Just(Serialization::Protobuf),
        Just(Serialization::MessagePack),
        Just(Serialization::Thrift),
        (5u8..16).prop_map(Serialization::Other),
    ]
}

fn compression() -> impl Strategy<Value = Compression> {
    prop_oneof![Just(Compression::None), Just(Compression::Gzip)]
}

prop_compose! {
    fn frame_bytes()(
        version: u8, kind in 0u8..8, gzip: bool, status in 0u8..2, format: u8, seq: u64,
        service in ".{0,20}", method in ".{0,20}", metadata in metadata(), body in vec(any::<u8>(), 0..300),
    ) -> Vec<u8> {
        let header = Header {
            version, flags: (kind << 5) | (u8::from(gzip) << 2) | status, format, seq, total: 0,
        };
        let (service, method) = (service.as_bytes(), method.as_bytes());
        let frame = Frame { header, service, method, metadata: metadata.pairs(), body: &body };
        let mut out = vec![];
        frame.encode(&Limits::default(), &mut out).unwrap();
        let decoded = Frame::decode(&out, &Limits::default()).unwrap().unwrap();
        assert_eq!((decoded.service, decoded.method, decoded.body), (service, method, &body[..]));
        assert_eq!((decoded.metadata, decoded.length()), (metadata.pairs(), out.len()));
        assert_eq!(decoded.header, Header { total: decoded.header.total, ..header });
        out
    }
}

#[test]
fn an_encoded_frame_takes_another_number() {
    let header = Header { version: 3, flags: 0x20, format: 0x17, seq: 5, total: 9 };
    let mut frame = header.encode().to_vec();
    frame.push(0xff);
    Header::renumber(&mut frame, u64::MAX - 1);
    let renumbered = Header { seq: u64::MAX - 1, ..header };
    assert_eq!(Header::decode(frame.first_chunk().unwrap()), Ok(renumbered));
    assert_eq!(frame.last(), Some(&0xff));
    let mut short = [7; 15];
    Header::renumber(&mut short, 1);
    assert_eq!(short, [7; 15]);
}

proptest! {
    #[test]
    fn a_call_and_its_reply_arrive_as_they_were(
        id: u64, service in ".{0,20}", method in ".{0,20}", sent in metadata(), back in metadata(),
        serialization in serialization(), (up, down) in (compression(), compression()),
        one_way: bool, body in vec(any::<u8>(), 0..300),
        failure in proptest::option::of(vec(any::<u8>(), 0..50)), in_place: bool,
    ) {
        let (mut client, mut server) = (Rpcx::client(&Limits::default()), Rpcx::server(&Limits::default()));
        let frame = CallFrame {
            id, service: &service, method: &method, metadata: sent.pairs(), extra: &[], serialization,
            compression: up, one_way, body: &body, end: true,
        };
        let mut wire = vec![];
        client.call(&frame, &mut wire).unwrap();
        let (seen, _, _) = events(&mut server, &wire);
        let [Seen::Call { head, body: got }] = &seen[..] else { panic!("{seen:?}") };
        prop_assert_eq!(got, &body);
        prop_assert_eq!((head.id, &head.service[..], &head.method[..]), (id, service.as_bytes(), method.as_bytes()));
        prop_assert_eq!((&head.metadata, head.serialization, head.compression), (&sent, serialization, up));
        prop_assert_eq!(head.one_way, one_way);

        let reply = ReplyFrame {
            failure: failure.as_deref().map(Failure::text), metadata: back.pairs(), compression: down,
            body: &body, end: true,
        };
        let mut wire = vec![];
        if in_place && failure.is_none() && back.is_empty() && down == Compression::None {
            if let Some(mark) = server.begin(&head.call(), &mut wire) {
                wire.extend_from_slice(&body);
                server.finish(mark, &mut wire);
            } else {
                prop_assert!(one_way);
                server.forget(id, &mut Vec::new());
            }
        } else {
            server.reply(&head.call(), &reply, &mut wire).unwrap();
        }
        prop_assert_eq!(server.in_flight(), 0);
        if one_way {
            prop_assert!(wire.is_empty());
            return Ok(());
        }
        let (seen, _, _) = events(&mut client, &wire);
        let [Seen::Reply { head, failure: said, body: got }] = &seen[..] else { panic!("{seen:?}") };
        prop_assert_eq!((head.id, got), (id, &body));
        prop_assert_eq!((head.serialization, head.compression), (serialization, down));
        match failure {
            None => {
                prop_assert!(said.is_none());
                prop_assert_eq!(&head.metadata, &back);
            }
            Some(text) => {
                prop_assert_eq!(&said.as_ref().unwrap().0, &text);
                let error = [keys::RPCX_ERROR.as_bytes(), keys::EASYMICRO_ERROR.as_bytes()];
                let own: Vec<_> = head.metadata.iter().filter(|(key, _)| !error.contains(key)).collect();
                prop_assert_eq!(own, back.iter().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_frame_reads_as_it_was_written_and_no_prefix_of_it_does(bytes in frame_bytes()) {
        for end in 0..bytes.len() {
            prop_assert_eq!(Frame::decode(&bytes[..end], &Limits::default()), Ok(None));
        }
    }

    #[test]
    fn flipped_bits_never_panic(bytes in frame_bytes(), flips in vec((any::<prop::sample::Index>(), 0u8..8), 1..4)) {
        let mut bytes = [bytes.clone(), bytes].concat();
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        for limits in [Limits::default(), small()] {
            let _ = Frame::decode(&bytes, &limits);
            for mut session in [Rpcx::server(&limits), Rpcx::client(&limits)] {
                let (_, _, stop) = events(&mut session, &bytes);
                if let Stop::NeedMore(n) = stop {
                    prop_assert!(n <= 32 + limits.names + limits.metadata + limits.body);
                }
            }
        }
    }

    #[test]
    fn any_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        let mut bytes = bytes;
        for head in [None, Some([8, 0, 0, 0x10]), Some([8, 0, 0x80, 0x10])] {
            if let (Some(head), Some(place)) = (head, bytes.first_chunk_mut()) {
                *place = head;
            }
            for mut session in [Rpcx::server(&small()), Rpcx::client(&small())] {
                let _ = events(&mut session, &bytes);
            }
        }
    }
}

/// Writes a call through a client without limits worth the name, reads it with small ones.
fn receive(service: &str, metadata: &Metadata, body: &[u8]) -> (Vec<Seen>, Stop) {
    let bytes = whole(0, service, "", metadata, body);
    let (seen, _, stop) = events(&mut Rpcx::server(&small()), &bytes);
    (seen, stop)
}

fn too_large(stop: &Stop) -> (&'static str, u64, u64, &'static str) {
    match stop {
        Stop::Closed(WireError::TooLarge { what, got, limit, setting, .. }) => (what, *got, *limit, setting),
        other => panic!("{other:?}"),
    }
}

#[test]
fn limits_are_exact_on_the_way_in() {
    let none = Metadata::new();
    // Body: 32 is a call, 33 is refused, 128 is read past, 129 closes.
    assert!(matches!(&receive("a", &none, &[0; 32]).0[..], [Seen::Call { .. }]));
    assert!(matches!(&receive("a", &none, &[0; 33]).0[..], [Seen::Refused { got: 33, limit: 32, .. }]));
    assert!(matches!(&receive("a", &none, &[0; 128]).0[..], [Seen::Refused { got: 128, .. }]));
    let (seen, stop) = receive("a", &none, &[0; 129]);
    assert_eq!((seen.len(), too_large(&stop)), (0, ("body", 129, 128, "body_limit")));
    // Names: path and method together 10.
    assert_eq!(receive("1234567890", &none, b"").0.len(), 1);
    assert_eq!(too_large(&receive("12345678901", &none, b"").1), ("service path", 11, 10, "names"));
    let bytes = whole(0, "12345", "123456", &none, b"");
    let (_, _, stop) = events(&mut Rpcx::server(&small()), &bytes);
    assert_eq!(too_large(&stop), ("service path and method", 11, 10, "names"));
    // Metadata: 40 bytes, 2 pairs.
    let of = |length: usize| Metadata::builder().with("k", &"v".repeat(length - 9)).build();
    assert_eq!(receive("a", &of(40), b"").0.len(), 1);
    assert_eq!(too_large(&receive("a", &of(41), b"").1), ("metadata", 41, 40, "metadata"));
    let pairs = |count: usize| vec![("", ""); count].into_iter().collect::<Metadata>();
    assert_eq!(receive("a", &pairs(2), b"").0.len(), 1);
    let (seen, stop) = receive("a", &pairs(3), b"");
    assert!(seen.is_empty());
    let rule = "metadata is over the limit of pairs";
    assert!(matches!(stop, Stop::Closed(WireError::Malformed { rule: said, .. }) if said == rule));
    // A heartbeat has no answer that would fit.
    let (seen, out, stop) = events(&mut Rpcx::server(&small()), &whole(0x40, "", "", &none, &[0; 33]));
    assert_eq!((seen.len(), out.len(), too_large(&stop).0), (0, 0, "heartbeat"));
}

#[test]
fn limits_are_exact_on_the_way_out() {
    let limits = small();
    let mut client = Rpcx::client(&limits);
    let mut refused = |frame: CallFrame<'_>| {
        let mut out = b"before".to_vec();
        match client.call(&frame, &mut out) {
            Ok(()) => {
                // How large a body may be is for the server to say; all else that goes out can come in.
                let limits = if frame.body.len() > 32 { Limits::default() } else { small() };
                assert!(Frame::decode(&out[6..], &limits).unwrap().is_some(), "what goes out can come in");
                None
            }
            Err(WireError::TooLarge { what, got, limit, .. }) => {
                assert_eq!(out, b"before");
                Some((what, got, limit))
            }
            Err(other) => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(mul(1, &[0; 32])), None);
    assert_eq!(refused(mul(1, &[0; 33])), None);
    assert_eq!(refused(CallFrame { service: "1234567", ..mul(1, b"") }), None);
    let over = refused(CallFrame { service: "12345678", ..mul(1, b"") });
    assert_eq!(over, Some(("service path and method", 11, 10)));
    let metadata = Metadata::builder().with("k", "v").build();
    let extra = |value| CallFrame { metadata: metadata.pairs(), extra: value, ..mul(1, b"") };
    assert_eq!(refused(extra(&[("", "1234567890123456789012")])), None);
    assert_eq!(refused(extra(&[("", "12345678901234567890123")])), Some(("metadata", 41, 40)));
    assert_eq!(refused(extra(&[("", ""), ("", "")])), Some(("number of metadata pairs", 3, 2)));

    let mut server = Rpcx::server(&limits);
    let head = common::Head { service: b"a".to_vec(), ..common::Head::default() };
    let mut out = vec![];
    assert!(server.reply(&head.call(), &good(&[0; 33]), &mut out).is_err());
    let head = PushHead {
        service: b"a",
        method: b"",
        metadata: Pairs::empty(),
        serialization: Serialization::Raw,
        compression: Compression::None,
    };
    assert!(server.push(&PushFrame { head, body: &[0; 33] }, &mut out).is_err());
    assert!(out.is_empty());
    server.push(&PushFrame { head, body: &[0; 32] }, &mut out).unwrap();
    let frame = Frame::decode(&out, &limits).unwrap().unwrap();
    assert_eq!(frame.header.seq, 1, "what was refused used no number");
}

/// A call that is made again after another one has the bytes that it would have alone.
#[test]
fn a_call_made_again_is_the_same_call() {
    let mut client = Rpcx::client(&Limits::default());
    let (mut again, mut alone) = (vec![], vec![]);
    assert!(!client.call_again(1, b"", &mut again), "there was none before");
    client.call(&mul(1, b"first"), &mut vec![]).unwrap();
    let extra = [("a", "b")];
    for special in [
        CallFrame { extra: &extra, ..mul(2, b"") },
        CallFrame { one_way: true, ..mul(2, b"") },
        CallFrame { compression: Compression::Gzip, ..mul(2, b"") },
    ] {
        client.call(&CallFrame { service: "Other", ..special }, &mut vec![]).unwrap();
    }
    let number = 0x0102_0304_0506_0708;
    for body in [&b"another one"[..], b""] {
        assert!(client.call_again(number, body, &mut again));
        Rpcx::client(&Limits::default()).call(&mul(number, body), &mut alone).unwrap();
    }
    assert_eq!(again, alone);
}

/// Nearly all replies are told at a glance, so that this is worth its while; what is special is not.
#[test]
fn a_plain_reply_is_told_at_a_glance() {
    let mut server = Rpcx::server(&Limits::default());
    let (mut client, mut call) = (Rpcx::client(&small()), vec![]);
    Rpcx::client(&small()).call(&mul(7, b"{}"), &mut call).unwrap();
    let answer = |server: &mut Rpcx, frame: &ReplyFrame<'_>| {
        let mut out = vec![];
        let step = server.receive(&call, &mut vec![]).unwrap();
        let trunkline_wire::Next::Event(trunkline_wire::Event::Call { head, .. }) = step.next else {
            panic!()
        };
        server.reply(&head, frame, &mut out).unwrap();
        out
    };
    let mut plain = answer(&mut server, &good(b"42"));
    let length = plain.len();
    plain.extend_from_slice(b"more");
    let told = client.plain_reply(&plain).unwrap();
    assert_eq!((told.id, told.body), (7, length - 2..length));
    assert_eq!(client.plain_reply(&plain[..length - 1]), None, "it is not whole");
    assert_eq!(server.plain_reply(&plain), None, "a server gets no replies");
    let metadata: Metadata = [("a", "b")].into_iter().collect();
    let failed = ReplyFrame { failure: Some(Failure::text(b"no")), ..good(b"") };
    let zipped = ReplyFrame { compression: Compression::Gzip, ..good(b"42") };
    for special in [ReplyFrame { metadata: metadata.pairs(), ..good(b"42") }, failed, zipped] {
        assert_eq!(client.plain_reply(&answer(&mut server, &special)), None);
    }
    let large = answer(&mut server, &good(&vec![b'x'; small().body + 1]));
    assert_eq!(client.plain_reply(&large), None, "it is over the limit");
    // A body may be anybody's bytes: one that is read past holds no replies, whatever they look like.
    let forged = answer(&mut server, &good(b"42"));
    let body = forged.repeat(small().body / forged.len() + 1);
    let large = answer(&mut server, &good(&body));
    let (head, rest) = large.split_at(large.len() - forged.len());
    let step = client.receive(head, &mut vec![]).unwrap();
    assert!(matches!(step.next, trunkline_wire::Next::Event(trunkline_wire::Event::ReplyTooLarge { .. })));
    assert_eq!((step.consumed, rest), (head.len(), &forged[..]));
    assert_eq!(client.plain_reply(rest), None, "it is read past");
    assert_eq!(client.receive(rest, &mut vec![]).unwrap().consumed, rest.len());
    assert!(client.plain_reply(&forged).is_some(), "this one is a reply");
}
