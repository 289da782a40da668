//! Bodies of several frames, both ways.

use trunkline_wire::iip::Iip;
use trunkline_wire::{CallFrame, Failure, Limits, ReplyFrame, Session};

use super::common::{Head, Seen, Stop, call, calls, events, frame, frames, good, server, texts};
use super::pair::{Wires, ready};

fn statuses(bytes: &[u8]) -> Vec<u8> {
    frames(bytes).iter().map(|frame| frame.0).collect()
}

fn part(body: &[u8], end: bool) -> ReplyFrame<'_> {
    ReplyFrame { end, ..good(body) }
}

fn begin<'a>(id: u64, body: &'a [u8]) -> CallFrame<'a> {
    CallFrame { end: false, ..call(id, "", "/up?q", body) }
}

/// A server, known to Trunkline or not, with one call on channel 1.
fn asked(trunkline: bool) -> (trunkline_wire::iip::Iip, Head) {
    let mut server = server(1, &Limits::default());
    if trunkline {
        events(&mut server, &frame(1, "/sys/trunkline", 0, "{}"));
    }
    let (seen, ..) = events(&mut server, &frame(1, "/count?n=5", 1, "x"));
    (server, calls(&seen).remove(0))
}

#[test]
fn an_answer_of_several_frames() {
    for n in 1..6 {
        let (mut server, head) = asked(false);
        let mut out = vec![];
        server.reply(&head.call(), &part(b"1", n == 1), &mut out).unwrap();
        for frame in 2..=n {
            assert!(server.may_write(head.id));
            server.data(head.id, b"2", frame == n, &mut out).unwrap();
        }
        let expected = [&[5][..], &[4, 7], &[4, 6, 7], &[4, 6, 6, 7], &[4, 6, 6, 6, 7]][n - 1];
        assert_eq!(statuses(&out), expected);
        assert!(frames(&out).iter().all(|frame| frame.1 == "/count" && frame.2 == 1));
        assert_eq!(server.in_flight(), 0);
    }
}

/// The wire has no empty data: frames without any are not written, and an end without any is said otherwise.
#[test]
fn frames_without_data() {
    let whole = r#"{"code":101,"message":"handle no response"}"#;
    type Frames<'a> = &'a [(u8, &'a str, &'a str)];
    let cases: [(bool, &[&[u8]], Frames<'_>); 6] = [
        (false, &[b""], &[(5, "/count", whole)]),
        (false, &[b"", b"", b""], &[(5, "/count", whole)]),
        (false, &[b"", b"a", b"", b"b", b""], &[(4, "/count", "a"), (6, "/count", "b"), (7, "/count", "\n")]),
        (true, &[b""], &[(5, "/count?__trunkline_empty", "{}")]),
        (true, &[b"", b""], &[(4, "/count?__trunkline_empty", "{}"), (7, "/count?__trunkline_empty", "{}")]),
        (true, &[b"a", b""], &[(4, "/count", "a"), (7, "/count?__trunkline_empty", "{}")]),
    ];
    for (trunkline, parts, expected) in cases {
        let (mut server, head) = asked(trunkline);
        let mut out = vec![];
        server.reply(&head.call(), &part(parts[0], parts.len() == 1), &mut out).unwrap();
        for (at, data) in parts.iter().enumerate().skip(1) {
            server.data(head.id, data, at + 1 == parts.len(), &mut out).unwrap();
        }
        let got: Vec<_> = frames(&out);
        let got: Vec<_> =
            got.iter().map(|(s, path, _, data)| (*s, &**path, std::str::from_utf8(data).unwrap())).collect();
        assert_eq!(got, expected, "{trunkline} {parts:?}");
        assert_eq!(server.in_flight(), 0);
    }
    // In place, too.
    let (mut server, head) = asked(false);
    let mut out = b"before".to_vec();
    let mark = server.begin(&head.call(), &mut out).unwrap();
    server.finish(mark, &mut out);
    assert_eq!(out.strip_prefix(b"before").unwrap(), frame(5, "/count", 1, whole));
}

#[test]
fn empty_bodies_arrive_empty_between_trunkline_peers() {
    let mut wires = Wires::new(1, true, &Limits::default());
    wires.client.call(&call(0, "S", "M", b""), &mut wires.up).unwrap();
    wires.client.call(&begin(1, b""), &mut wires.up).unwrap();
    wires.client.data(1, b"", false, &mut wires.up).unwrap();
    wires.client.data(1, b"a", false, &mut wires.up).unwrap();
    wires.client.data(1, b"", true, &mut wires.up).unwrap();
    let seen = wires.at_server();
    let bodies: Vec<_> = seen
        .iter()
        .map(|seen| match seen {
            Seen::Call { body, end, .. } | Seen::Data { body, end, .. } => (&**body, *end),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(bodies, [(&b""[..], true), (b"", false), (b"a", false), (b"", true)]);
    let heads = calls(&seen);
    wires.server.reply(&heads[0].call(), &good(b""), &mut wires.down).unwrap();
    wires.server.reply(&heads[1].call(), &part(b"a", false), &mut wires.down).unwrap();
    wires.server.data(heads[1].id, b"", true, &mut wires.down).unwrap();
    let seen = wires.at_client();
    assert!(
        matches!(
            &seen[..],
            [
                Seen::Reply { id: 0, failure: None, body, end: true, .. },
                Seen::Reply { id: 1, end: false, .. },
                Seen::Data { id: 1, body: last, end: true },
            ] if body.is_empty() && last.is_empty()
        ),
        "{seen:?}"
    );
    // To others a request without a body is what a Go client sends, and an end without data a blank.
    let (mut client, mut out) = (ready(1, &Limits::default()), vec![]);
    client.call(&call(0, "", "/x", b""), &mut out).unwrap();
    client.call(&begin(1, b"a"), &mut out).unwrap();
    client.data(1, b"", true, &mut out).unwrap();
    // Nothing goes behind one of several frames before that is answered.
    events(&mut client, &frame(5, "/x", 1, "ok").repeat(2));
    client.call(&begin(2, b""), &mut out).unwrap();
    client.data(2, b"", true, &mut out).unwrap();
    assert_eq!(texts(&out), ["{}", "a", "\n", "{}"]);
    assert_eq!(statuses(&out), [1, 0, 3, 1]);
}

#[test]
fn an_answer_that_fails_midway_is_a_failure_at_the_client() {
    for trunkline in [true, false] {
        let mut wires = Wires::new(1, trunkline, &Limits::default());
        wires.client.call(&call(3, "", "/count", b"x"), &mut wires.up).unwrap();
        let head = calls(&wires.at_server()).remove(0);
        wires.server.reply(&head.call(), &part(b"1", false), &mut wires.down).unwrap();
        let failure = Failure { message: b"mid \"way\"", code: Some(7), details: Some(b"value") };
        let failed = ReplyFrame { failure: Some(failure), ..good(b"") };
        wires.server.reply(&head.call(), &failed, &mut wires.down).unwrap();
        assert_eq!(statuses(&wires.down), [4, 7]);
        let seen = wires.at_client();
        let Seen::Reply { id: 3, failure: Some((text, code)), end: true, uri, .. } = &seen[1] else {
            panic!("{seen:?}")
        };
        assert_eq!(text, b"mid \"way\"");
        assert_eq!(*code, trunkline.then_some(7));
        let told = trunkline_wire::iip::metadata(uri, &Limits::default()).unwrap();
        assert_eq!(told.get("__trunkline_details"), trunkline.then_some("value"));
    }
}

/// A handler that is gone within its answer, and one that never began it.
#[test]
fn a_call_that_is_forgotten_has_an_answer_in_its_place() {
    for begun in [true, false] {
        let (mut server, head) = asked(false);
        let mut out = vec![];
        if begun {
            server.reply(&head.call(), &part(b"1", false), &mut out).unwrap();
            out.clear();
        }
        server.forget(head.id, &mut out);
        server.forget(head.id, &mut out);
        let expected = if begun {
            frame(7, "/count", 1, r#"{"code":-1,"message":"handler fail:the call was given up"}"#)
        } else {
            frame(5, "/count", 1, r#"{"code":101,"message":"handle no response"}"#)
        };
        assert_eq!((out, server.in_flight()), (expected, 0));
    }
}

#[test]
fn an_early_stream_waits_for_its_turn() {
    let mut server = server(1, &Limits::default());
    let (seen, mut out, _) = events(&mut server, &frame(1, "/x", 1, "x").repeat(2));
    let heads = calls(&seen);
    assert!(server.may_write(heads[0].id) && !server.may_write(heads[1].id));
    assert!(server.begin(&heads[1].call(), &mut out).is_none());
    // A driver that writes all the same breaks nothing.
    server.reply(&heads[1].call(), &part(b"b1", false), &mut out).unwrap();
    server.data(heads[1].id, b"b2", false, &mut out).unwrap();
    server.reply(&heads[0].call(), &part(b"a1", false), &mut out).unwrap();
    assert_eq!(texts(&out), ["a1"]);
    server.data(heads[0].id, b"a2", true, &mut out).unwrap();
    assert!(server.may_write(heads[1].id));
    server.data(heads[1].id, b"b3", true, &mut out).unwrap();
    assert_eq!(texts(&out), ["a1", "a2", "b1", "b2", "b3"]);
    assert_eq!(statuses(&out), [4, 7, 4, 6, 7]);
}

/// A request whose body is held back waits alone: with its channel, and without other ones.
#[test]
fn a_slow_reader_holds_back_its_own_channel() {
    let mut server = server(2, &Limits::default());
    let (seen, mut out, _) = events(&mut server, &frame(0, "/up", 1, "a"));
    let head = calls(&seen).remove(0);
    assert!(server.hold(head.id));
    let input = [frame(2, "/up", 1, "b"), frame(3, "/up", 1, "c"), frame(1, "/next", 1, "d")].concat();
    let (seen, ..) = events(&mut server, &input);
    assert_eq!((seen, server.held()), (vec![], None));
    let (seen, ..) = events(&mut server, &frame(1, "/other", 2, "e"));
    assert_eq!(seen.len(), 1);
    // One frame at a time, if the reader says so.
    server.release(head.id, &mut vec![]);
    let frame = server.held().unwrap();
    assert!(matches!(server.receive(&frame, &mut out), Ok(step) if step.consumed == frame.len()));
    assert!(server.hold(head.id));
    assert_eq!(server.held(), None);
    server.release(head.id, &mut vec![]);
    let mut seen = vec![];
    super::common::follow(&mut server, &mut out, &mut seen).unwrap();
    assert!(matches!(&seen[..], [Seen::Data { end: true, .. }, Seen::Call { .. }]), "{seen:?}");
    // A body that is whole holds nothing back.
    assert!(server.hold(head.id));
    assert_eq!(events(&mut server, &super::common::frame(1, "/next", 1, "f")).0.len(), 1);
}

#[test]
fn a_body_that_is_too_large_midway_fails_its_call() {
    let mut limits = Limits::default();
    limits.body = 32;
    let mut server = server(1, &limits);
    let input = [
        frame(0, "/up", 1, "a"),
        frame(2, "/up", 1, [0; 33]),
        frame(3, "/up", 1, "b"),
        frame(1, "/x", 1, "c"),
    ];
    let (seen, mut out, stop) = events(&mut server, &input.concat());
    assert!(
        matches!(
            &seen[..],
            [Seen::Call { head: a, .. }, Seen::Refused { head: b, got: 33, limit: 32 }, Seen::Call { head: c, .. }]
                if a.id == b.id && c.id == a.id + 1
        ),
        "{seen:?}"
    );
    assert_eq!(stop, Stop::NeedMore(0));
    let failed = ReplyFrame { failure: Some(Failure::text(b"too large")), ..good(b"") };
    server.reply(&calls(&seen)[1].call(), &failed, &mut out).unwrap();
    // The handler's own answer comes too late.
    server.reply(&calls(&seen)[0].call(), &good(b"late"), &mut out).unwrap();
    assert_eq!(texts(&out), [r#"{"code":-1,"message":"handler fail:too large"}"#]);
}

/// While a request is sent frame by frame nothing else is sent on its channel.
#[test]
fn calls_go_around_open_requests() {
    let (mut client, mut out) = (ready(2, &Limits::default()), vec![]);
    client.call(&begin(0, b"a"), &mut out).unwrap();
    client.call(&call(1, "", "/x", b"x"), &mut out).unwrap();
    client.call(&call(2, "", "/x", b"x"), &mut out).unwrap();
    client.call(&begin(3, b""), &mut out).unwrap();
    // Both are taken now.
    client.call(&call(4, "", "/x", b"x"), &mut out).unwrap();
    client.call(&begin(5, b"z"), &mut out).unwrap();
    assert!(client.may_write(0) && client.may_write(3) && !client.may_write(5) && !client.may_write(4));
    assert!(client.data(5, b"y", true, &mut out).is_err(), "it has no turn");
    assert_eq!(frames(&out).iter().map(|frame| frame.2).collect::<Vec<_>>(), [1, 2, 2]);
    out.clear();
    client.data(3, b"b", true, &mut out).unwrap();
    assert_eq!(statuses(&out), [1, 1, 0], "what waited follows");
    assert!(client.may_write(5));
}

/// A request that is given up within its body is never taken for a whole one.
#[test]
fn a_cut_request_is_told_to_trunkline() {
    let mut wires = Wires::new(1, true, &Limits::default());
    wires.client.call(&call(7, "", "/x", b"x"), &mut wires.up).unwrap();
    wires.client.call(&begin(8, b"a"), &mut wires.up).unwrap();
    assert!(wires.client.cancel(8, &mut wires.up));
    wires.client.call(&call(9, "", "/x", b"y"), &mut wires.up).unwrap();
    let seen = wires.at_server();
    let heads = calls(&seen);
    assert!(
        matches!(
            &seen[..],
            [Seen::Call { .. }, Seen::Call { head, .. }, Seen::Cancel(id), Seen::Data { id: end, .. }, Seen::Call { .. }]
                if head.id == *id && id == end
        ),
        "{seen:?}"
    );
    for head in heads.iter().rev() {
        wires.server.reply(&head.call(), &good(b"y"), &mut wires.down).unwrap();
    }
    let seen = wires.at_client();
    assert!(matches!(&seen[..], [Seen::Reply { id: 7, .. }, Seen::Reply { id: 9, .. }]), "{seen:?}");
}

/// The same where the answer is there already, and only the request goes on.
#[test]
fn a_cut_request_that_is_answered_is_told_too() {
    let mut wires = Wires::new(1, true, &Limits::default());
    wires.client.call(&begin(8, b"a"), &mut wires.up).unwrap();
    let head = calls(&wires.at_server()).remove(0);
    wires.server.reply(&head.call(), &good(b"y"), &mut wires.down).unwrap();
    assert!(matches!(&wires.at_client()[..], [Seen::Reply { id: 8, .. }]));
    assert!(wires.client.cancel(8, &mut wires.up));
    assert!(matches!(&wires.at_server()[..], [Seen::Cancel(id), Seen::Data { .. }] if *id == head.id));
}

#[test]
fn a_cut_request_costs_others_its_channel() {
    let (mut client, mut out) = (ready(1, &Limits::default()), vec![]);
    client.call(&call(7, "", "/x", b"x"), &mut out).unwrap();
    client.call(&begin(8, b"a"), &mut out).unwrap();
    out.clear();
    assert!(client.cancel(8, &mut out));
    assert_eq!(out, frame(1, "/sys/new_channel", 0, "{}"), "another one is asked for");
    client.call(&call(9, "", "/x", b"y"), &mut out).unwrap();
    assert_eq!(frames(&out).len(), 1, "and waited for");
    // What was asked before is answered; what may come for the cut one is nobody's.
    let answers = [
        frame(5, "/x", 1, "7"),
        frame(5, "/up", 1, "cut"),
        frame(5, "/up", 1, "and again"),
        frame(5, "/sys/new_channel", 0, r#"{"code":0,"channel_id":2}"#),
    ];
    let (seen, out, stop) = events(&mut client, &answers.concat());
    let ids: Vec<_> = seen
        .iter()
        .map(|seen| match seen {
            Seen::Reply { id, .. } => *id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, [7, u64::MAX, u64::MAX]);
    assert_eq!((out, stop), (frame(1, "/x", 2, "y"), Stop::NeedMore(0)));
}

#[test]
fn a_connection_that_lost_many_channels_is_left() {
    let (mut client, mut out) = (ready(64, &Limits::default()), vec![]);
    for id in 0..64 {
        client.call(&begin(id, b"a"), &mut out).unwrap();
    }
    for id in 0..64 {
        client.cancel(id, &mut out);
    }
    let asked = frames(&out).iter().filter(|frame| frame.1 == "/sys/new_channel").count();
    assert_eq!(asked, 63);
    let (seen, ..) = events(&mut client, &frame(5, "/sys/new_channel", 0, r#"{"code":0,"channel_id":99}"#));
    assert_eq!(seen, [Seen::Draining]);
    let (seen, ..) = events(&mut client, &frame(5, "/sys/new_channel", 0, r#"{"code":0,"channel_id":100}"#));
    assert_eq!(seen, [], "it is said once");
}

/// A request that is cut before any of it was written leaves no trace.
#[test]
fn a_request_that_has_not_begun_is_taken_back() {
    let (mut client, mut out) = (ready(1, &Limits::default()), vec![]);
    client.call(&begin(0, b""), &mut out).unwrap();
    client.call(&call(1, "", "/x", b"x"), &mut out).unwrap();
    client.call(&call(2, "", "/x", b"x"), &mut out).unwrap();
    assert!(out.is_empty());
    assert!(!client.cancel(2, &mut out));
    assert!(client.cancel(0, &mut out), "what waited is written");
    assert_eq!(out, frame(1, "/x", 1, "x"));
}

/// The last channel is lost and no other one is granted: what waits goes on channel 0.
#[test]
fn channel_0_is_the_last_hope() {
    let (mut client, mut out) = (ready(1, &Limits::default()), vec![]);
    client.call(&begin(8, b"a"), &mut out).unwrap();
    client.cancel(8, &mut out);
    out.clear();
    client.call(&call(9, "", "/x", b"y"), &mut out).unwrap();
    assert!(out.is_empty());
    let refused = frame(5, "/sys/new_channel", 0, r#"{"code":106,"message":"channel create limited"}"#);
    let (seen, out, _) = events(&mut client, &refused);
    assert_eq!((seen, out), (vec![], frame(1, "/x", 0, "y")));
    // When that is lost, too, calls are made elsewhere.
    let mut out = vec![];
    client.call(&begin(10, b"a"), &mut out).unwrap();
    assert!(!client.ping(&mut out), "channel 0 is not free");
    client.cancel(10, &mut out);
    let (seen, _, stop) = events(&mut client, &frame(5, "/x", 0, "z"));
    assert!(matches!(&seen[..], [Seen::Draining, Seen::Reply { id: 9, .. }]), "{seen:?}");
    assert_eq!(stop, Stop::NeedMore(0));
}

/// What a Trunkline peer may still send of a body that nobody takes: no more than a window and the frame that reaches it.
#[test]
fn a_body_has_a_window_between_trunkline_peers_and_none_with_others() {
    let frame = [b'x'; 4000];
    for trunkline in [true, false] {
        let mut wires = Wires::new(2, trunkline, &Limits::default());
        wires.client.call(&begin(1, b"a"), &mut wires.up).unwrap();
        let head = calls(&wires.at_server()).remove(0);
        wires.server.reply(&head.call(), &part(b"a", false), &mut wires.down).unwrap();
        let (mut asked, mut answered) = (0, 0);
        while asked < 100 && wires.client.may_write(1) {
            wires.client.data(1, &frame, false, &mut wires.up).unwrap();
            asked += 1;
        }
        while answered < 100 && wires.server.may_write(head.id) {
            wires.server.data(head.id, &frame, false, &mut wires.down).unwrap();
            answered += 1;
        }
        assert_eq!((asked, answered), if trunkline { (17, 17) } else { (100, 100) });
        if !trunkline {
            continue;
        }
        // A call on another channel goes out all the same.
        wires.client.call(&call(2, "S", "M", b"b"), &mut wires.up).unwrap();
        // What was taken may be followed by as much, in both directions.
        assert_eq!(wires.at_server().len(), 18);
        wires.at_client();
        assert!(wires.client.may_write(1));
        // The client's reader has no room, so the server is not told until it has.
        wires.server.data(head.id, &frame, false, &mut wires.down).unwrap_or_default();
        assert!(wires.client.hold(1));
        wires.at_server();
        while wires.server.may_write(head.id) {
            wires.server.data(head.id, &frame, false, &mut wires.down).unwrap();
        }
        wires.at_client();
        wires.at_server();
        assert!(!wires.server.may_write(head.id), "nobody has taken what was sent");
        wires.client.release(1, &mut wires.up);
        wires.at_server();
        assert!(wires.server.may_write(head.id));
    }
}

/// Notices that are broken, or of calls that are not there, change nothing; what they promise is bounded.
#[test]
fn notices_of_room_are_not_believed_beyond_the_window() {
    let mut wires = Wires::new(1, true, &Limits::default());
    wires.client.call(&begin(1, b"a"), &mut wires.up).unwrap();
    let head = calls(&wires.at_server()).remove(0);
    wires.server.reply(&head.call(), &part(b"a", false), &mut wires.down).unwrap();
    let notice = |text: &str| frame(1, format!("/sys/trunkline?more={text}"), 0, "{}");
    let full = |server: &mut Iip| {
        let (mut frames, mut out) = (0, vec![]);
        while server.may_write(head.id) {
            server.data(head.id, &[b'x'; 4000], false, &mut out).unwrap();
            frames += 1;
        }
        frames
    };
    assert_eq!(full(&mut wires.server), 17);
    for text in [
        "",
        "1",
        "1.1",
        "1.1.x",
        "1.1.-1",
        "1.1.1.1",
        "9.1.9000",
        "1.2.9000",
        "0.1.9000",
        "1.1.99999999999999999999",
    ] {
        events(&mut wires.server, &notice(text));
        assert_eq!(full(&mut wires.server), 0, "{text}");
    }
    events(&mut wires.server, &notice("1.1.9999999"));
    assert_eq!(full(&mut wires.server), 17);
    // At the client, too.
    let seen = events(&mut wires.client, &notice("1.9.1000")).0;
    assert_eq!(seen, []);
    let mut out = vec![];
    let mut frames = 0;
    while wires.client.may_write(1) {
        wires.client.data(1, &[b'x'; 4000], false, &mut out).unwrap();
        frames += 1;
    }
    assert_eq!(frames, 17);
}
