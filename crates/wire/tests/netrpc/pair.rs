//! Both roles against each other.

use proptest::prelude::*;
use trunkline_wire::netrpc::{MAX_ERROR, NetRpc};
use trunkline_wire::{Compression, Limits, ReplyFrame, Serialization, Session};

use super::common::{Head, Seen, Stop, args, bad, bytes, call, definition, events, feed, good, small, value};

fn sessions(limits: &Limits) -> (NetRpc, NetRpc) {
    (NetRpc::client(limits), NetRpc::server(limits))
}

fn heads(seen: &[Seen]) -> Vec<Head> {
    let head = |seen: &Seen| match seen {
        Seen::Call { head, .. } | Seen::Refused { head, .. } => head.clone(),
        other => panic!("{other:?}"),
    };
    seen.iter().map(head).collect()
}

#[test]
fn calls_are_answered_in_any_order_and_types_defined_once() {
    let (mut client, mut server) = sessions(&Limits::default());
    let mut wire = vec![];
    client.call(&call(0, "Arith", "Mul", &args(6, 7)), &mut wire).unwrap();
    let first = wire.len();
    for id in 1..4 {
        client.call(&call(id, "Arith", "Mul", &args(6, 7)), &mut wire).unwrap();
    }
    assert_eq!(first, 47 + 15 + 31 + 8, "both definitions and both values");
    assert_eq!((wire.len() - first) / 3, 17 + 8, "both values");
    let (seen, out, stop) = events(&mut server, &wire);
    assert_eq!((out.len(), stop, seen.len(), server.in_flight()), (0, Stop::NeedMore(0), 4, 4));
    assert!(seen.iter().all(|seen| matches!(seen, Seen::Call { body, .. } if *body == args(6, 7))));
    let mut back = vec![];
    let heads = heads(&seen);
    for at in [2, 0, 3] {
        server.reply(&heads[at].kept(), &good(&args(42, 1)), &mut back).unwrap();
    }
    server.reply(&heads[1].call(), &bad("divide by zero"), &mut back).unwrap();
    assert_eq!(server.in_flight(), 0);
    let (seen, _, stop) = events(&mut client, &back);
    assert_eq!(stop, Stop::NeedMore(0));
    let reply = |id, failure: Option<&str>| Seen::Reply {
        id,
        failure: failure.map(str::to_owned),
        body: if failure.is_none() { args(42, 1) } else { vec![] },
    };
    assert_eq!(seen, [reply(2, None), reply(0, None), reply(3, None), reply(1, Some("divide by zero"))]);
}

/// The reply that is written where it leaves from has the same bytes, whatever the connection has had before.
#[test]
fn a_reply_in_place_is_the_same_reply() {
    let many: Vec<Vec<u8>> = vec![
        args(1, 2),
        bytes(b"abc"),
        args(3, 4),
        [definition(65, "Other", &["X"]), value(65, &[9])].concat(),
        bytes(b""),
        args(5, 6),
        bytes(&[7; 300]),
        vec![],
    ];
    let (mut whole, mut in_place) = (NetRpc::server(&Limits::default()), NetRpc::server(&Limits::default()));
    let (mut a, mut b) = (vec![], vec![]);
    for (id, body) in (0..).zip(many.iter().cycle().take(24)) {
        let head = Head { id, service: "S".into(), method: "M".into(), ..Head::default() };
        whole.reply(&head.kept(), &good(body), &mut a).unwrap();
        // What is begun and cut off has not happened.
        let before = b.len();
        let undone = in_place.begin(&head.kept(), &mut b).unwrap();
        assert_eq!(undone.start, before);
        b.truncate(before);
        let mark = in_place.begin(&head.kept(), &mut b).unwrap();
        b.extend_from_slice(body);
        in_place.finish(mark, &mut b);
        assert_eq!(a, b, "reply {id}");
    }
}

#[test]
fn a_reply_that_cannot_be_sent_is_a_failure() {
    let mut limits = Limits::default();
    limits.body = 400;
    let mut server = NetRpc::server(&limits);
    let mut out = vec![];
    let head = Head { id: 7, service: "S".into(), method: "M".into(), ..Head::default() };
    for body in [b"no gob".to_vec(), bytes(&[1; 400]), value(70, &[1]), [args(1, 2), args(1, 2)].concat()] {
        let before = out.len();
        assert!(server.reply(&head.kept(), &good(&body), &mut out).is_err());
        assert_eq!(out.len(), before, "nothing was appended");
        let mark = server.begin(&head.kept(), &mut out).unwrap();
        out.extend_from_slice(&body);
        server.finish(mark, &mut out);
    }
    server.reply(&head.kept(), &bad(""), &mut out).unwrap();
    let (seen, _, stop) = events(&mut NetRpc::client(&limits), &out);
    assert_eq!((seen.len(), stop), (5, Stop::NeedMore(0)));
    let texts: Vec<_> = seen
        .iter()
        .map(|seen| match seen {
            Seen::Reply { id: 7, failure: Some(text), .. } => text.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(texts[1].contains("over the limit of 400"), "{texts:?}");
    assert_eq!(texts[4], "failed without a message");
    assert!(texts.iter().all(|text| !text.is_empty()));
}

#[test]
fn what_the_wire_cannot_say_is_refused_and_nothing_is_written() {
    let (mut client, mut server) = sessions(&Limits::default());
    let mut out = vec![];
    let body = args(1, 2);
    let usual = call(0, "S", "M", &body);
    let long = "x".repeat(4097);
    for frame in [
        trunkline_wire::CallFrame { end: false, ..usual },
        trunkline_wire::CallFrame { compression: Compression::Gzip, ..usual },
        trunkline_wire::CallFrame { serialization: Serialization::Json, ..usual },
        trunkline_wire::CallFrame { body: b"{}", ..usual },
        trunkline_wire::CallFrame { service: &long, ..usual },
    ] {
        assert!(client.call(&frame, &mut out).is_err());
    }
    let head = Head { id: 1, service: "S".into(), method: "M".into(), ..Head::default() };
    let text = "x".repeat(MAX_ERROR + 1);
    for frame in [
        ReplyFrame { end: false, ..good(&body) },
        ReplyFrame { compression: Compression::Gzip, ..good(&body) },
        bad(&text),
    ] {
        assert!(server.reply(&head.kept(), &frame, &mut out).is_err());
    }
    assert!(
        server.call(&usual, &mut out).is_err() && client.reply(&head.kept(), &good(&body), &mut out).is_err()
    );
    assert!(client.begin(&head.kept(), &mut out).is_none());
    assert!(!client.ping(&mut out) && !server.ping(&mut out) && !server.drain(&mut out));
    assert!(!client.cancel(1, &mut out) && out.is_empty());
    // It goes on as if nothing had been.
    client.call(&usual, &mut out).unwrap();
    assert_eq!(events(&mut server, &out).0.len(), 1);
}

#[test]
fn the_longest_text_of_a_failure_arrives() {
    let (mut client, mut server) = sessions(&Limits::default());
    let mut out = vec![];
    let text = "x".repeat(MAX_ERROR);
    let head = Head { id: u64::MAX, service: "S".repeat(2000), method: "M".repeat(2000), ..Head::default() };
    server.reply(&head.kept(), &bad(&text), &mut out).unwrap();
    let (seen, _, _) = events(&mut client, &out);
    assert_eq!(seen, [Seen::Reply { id: u64::MAX, failure: Some(text), body: vec![] }]);
}

#[test]
fn the_limit_of_calls_leaves_the_rest_unread() {
    let (mut client, mut server) = sessions(&small());
    let mut wire = vec![];
    for id in 0..6 {
        client.call(&call(id, "S", "M", &bytes(b"x")), &mut wire).unwrap();
    }
    let (mut seen, mut out) = (vec![], vec![]);
    assert_eq!(feed(&mut server, &mut wire, &mut out, &mut seen), Stop::Blocked);
    assert_eq!((seen.len(), server.in_flight()), (4, 4));
    server.reply(&heads(&seen)[1].kept(), &good(&bytes(b"x")), &mut out).unwrap();
    server.forget(heads(&seen)[2].id, &mut out);
    assert_eq!(feed(&mut server, &mut wire, &mut out, &mut seen), Stop::NeedMore(0));
    assert_eq!((seen.len(), server.in_flight()), (6, 4));
}

/// The limit is that of the value with its length; one more is refused, and the connection goes on.
#[test]
fn a_body_over_the_limit_is_read_past() {
    let limits = small();
    let (mut client, mut server) = sessions(&limits);
    let mut wire = vec![];
    let fits = bytes(&[1; 60]);
    assert_eq!(fits.len(), 64);
    for (id, body) in [fits.clone(), bytes(&[2; 61]), args(1, 2), bytes(&[3; 200])].iter().enumerate() {
        client.call(&call(id as u64, "S", "M", body), &mut wire).unwrap();
    }
    let (seen, mut out, stop) = events(&mut server, &wire);
    assert!(
        matches!(&seen[..], [
            Seen::Call { body, .. },
            Seen::Refused { got: 65, limit: 64, .. },
            Seen::Call { .. },
            Seen::Refused { got: 206, limit: 64, head },
        ] if *body == fits && head.method == "M"),
        "{seen:?}"
    );
    assert_eq!((stop, server.in_flight()), (Stop::NeedMore(0), 4));
    // Over what is read past.
    let mut over = vec![];
    client.call(&call(9, "S", "M", &bytes(&[4; 256])), &mut over).unwrap();
    for head in heads(&seen) {
        server.forget(head.id, &mut out);
    }
    assert!(matches!(events(&mut server, &over).2, Stop::Closed(_)));
    // And at a client.
    let (mut large, mut wire) = (NetRpc::server(&Limits::default()), vec![]);
    let head = Head { id: 3, service: "S".into(), method: "M".into(), ..Head::default() };
    large.reply(&head.kept(), &good(&bytes(&[5; 100])), &mut wire).unwrap();
    large.reply(&head.kept(), &good(&fits), &mut wire).unwrap();
    let (seen, _, _) = events(&mut NetRpc::client(&limits), &wire);
    assert_eq!(seen[0], Seen::ReplyTooLarge { id: 3, got: 104, limit: 64 });
    assert_eq!(seen[1], Seen::Reply { id: 3, failure: None, body: fits });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever is called and answered in whatever order arrives as it was sent.
    #[test]
    fn any_calls_and_answers(
        list in prop::collection::vec((any::<u64>(), "[a-zA-Z.]{1,12}", "[a-zA-Z]{0,9}", any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)), 1..40),
        order in any::<u64>(),
    ) {
        let (mut client, mut server) = sessions(&Limits::default());
        let mut wire = vec![];
        let body = |(id, _, _, kind, data): &(u64, String, String, bool, Vec<u8>)| match kind {
            true => bytes(data),
            false => args(u8::try_from(id % 60 + 1).unwrap(), 3),
        };
        for one in &list {
            client.call(&call(one.0, &one.1, &one.2, &body(one)), &mut wire).unwrap();
        }
        let (seen, out, _) = events(&mut server, &wire);
        prop_assert!(out.is_empty());
        prop_assert_eq!(seen.len(), list.len());
        let mut back = vec![];
        let mut expected = vec![];
        let mut turns: Vec<usize> = (0..list.len()).collect();
        turns.sort_by_key(|turn| (*turn as u64).wrapping_mul(order | 1));
        for turn in turns {
            let (one, Seen::Call { head, body: got }) = (&list[turn], &seen[turn]) else { panic!("no call") };
            prop_assert_eq!((head.id, &head.service, &head.method, got), (one.0, &one.1, &one.2, &body(one)));
            let failure = (one.0 % 3 == 0).then(|| format!("failed {}", one.0));
            match &failure {
                Some(text) => server.reply(&head.call(), &bad(text), &mut back).unwrap(),
                None => server.reply(&head.call(), &good(got), &mut back).unwrap(),
            }
            let body = if failure.is_some() { vec![] } else { got.clone() };
            expected.push(Seen::Reply { id: head.id, failure, body });
        }
        let (seen, _, _) = events(&mut client, &back);
        prop_assert_eq!(seen, expected);
    }
}
