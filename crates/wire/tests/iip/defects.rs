//! What the Go program gets wrong on the wire (I1 to I20), and this one must not. I4 is tested where metadata is put
//! into paths; I7 to I9, I14 to I16, I18 and I19 are not of the wire.

use trunkline_wire::iip::Iip;
use trunkline_wire::{CallFrame, Limits, ReplyFrame, Session, WireError};

use super::common::{Seen, Stop, announced, call, calls, events, feed, frame, frames, good, server, texts};

const MOST: usize = 16 << 20;

/// Go queues the whole packet for each of its parts, and the writer closes the connection.
#[test]
fn i1_data_over_16_mib_is_split() {
    let mut limits = Limits::default();
    limits.body = 40 << 20;
    let data: Vec<u8> = (0..2 * MOST + 1).map(|at| u8::try_from(at % 251).unwrap()).collect();
    for (length, statuses) in
        [(MOST, &[5][..]), (MOST + 1, &[4, 7]), (2 * MOST, &[4, 7]), (2 * MOST + 1, &[4, 6, 7])]
    {
        for in_place in [false, true] {
            let mut server = server(1, &limits);
            let (seen, mut out, _) = events(&mut server, &frame(1, "/big", 1, "x"));
            let head = calls(&seen).remove(0);
            if in_place {
                let mark = server.begin(&head.call(), &mut out).unwrap();
                out.extend_from_slice(&data[..length]);
                server.finish(mark, &mut out);
            } else {
                server.reply(&head.call(), &good(&data[..length]), &mut out).unwrap();
            }
            let frames = frames(&out);
            assert_eq!(frames.iter().map(|frame| frame.0).collect::<Vec<_>>(), statuses);
            assert!(frames.iter().all(|frame| frame.1 == "/big" && frame.2 == 1));
            let parts: Vec<_> = frames.iter().map(|frame| &*frame.3).collect();
            assert!(parts.concat() == data[..length]);
            assert_eq!(server.in_flight(), 0);
        }
    }
    // The same for a request.
    let mut client = super::pair::ready(1, &limits);
    let mut out = vec![];
    client.call(&call(1, "", "/big", &data), &mut out).unwrap();
    let (seen, _, _) = events(&mut server(1, &limits), &out);
    let Seen::Call { body: first, end: false, .. } = &seen[0] else { panic!() };
    let (Seen::Data { body: second, end: false, .. }, Seen::Data { body: third, end: true, .. }) =
        (&seen[1], &seen[2])
    else {
        panic!()
    };
    assert!([&**first, second, third].concat() == data);
}

/// A queue that is full for a second drops an answer, and every later one goes to the wrong caller.
#[test]
fn i2_no_answer_is_dropped_and_none_changes_its_place() {
    let mut server = server(1, &Limits::default());
    let requests: Vec<u8> = (0..1000).flat_map(|n: u32| frame(1, "/n", 1, n.to_string())).collect();
    let (seen, mut out, _) = events(&mut server, &requests);
    let heads = calls(&seen);
    for n in (0..1000).rev() {
        server.reply(&heads[n].call(), &good(n.to_string().as_bytes()), &mut out).unwrap();
        assert_eq!(out.is_empty(), n > 0, "all wait for the first");
    }
    assert_eq!(texts(&out), (0..1000).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// `%00` is decoded into the path of the answer, and what follows it is read as frames of its own.
#[test]
fn i3_the_answer_repeats_the_raw_path() {
    let path = "/x%00%00%00%00%01%00%00%00%05HELLO%05/y";
    let mut server = server(1, &Limits::default());
    let (seen, mut out, _) = events(&mut server, &frame(1, path, 1, "{}"));
    server.reply(&calls(&seen)[0].call(), &good(b"fine"), &mut out).unwrap();
    assert_eq!(out, frame(5, path, 1, "fine"));
    let mut client = super::pair::ready(1, &Limits::default());
    client.call(&call(9, "", path, b"{}"), &mut vec![]).unwrap();
    let (seen, _, stop) = events(&mut client, &out);
    assert!(matches!(&seen[..], [Seen::Reply { id: 9, .. }]) && stop == Stop::NeedMore(0), "{seen:?}");
}

/// Headers that do not fit make the encoder fail in the write loop, which closes the connection for all.
#[test]
fn i5_a_path_that_is_too_long_fails_its_own_call() {
    let mut client = super::pair::ready(1, &Limits::default());
    let mut out = vec![];
    let long = format!("/{}", "x".repeat(2048));
    let cookie = trunkline_wire::Metadata::builder().with("Cookie", &"c".repeat(40_000)).build();
    for frame in [
        call(1, "", &long, b"x"),
        call(1, "S", &long[1..], b"x"),
        trunkline_wire::CallFrame { metadata: cookie.pairs(), ..call(1, "", "/x", b"x") },
    ] {
        assert!(matches!(client.call(&frame, &mut out), Err(WireError::TooLarge { .. })));
    }
    assert!(out.is_empty());
    client.call(&call(1, "", "/x", b"x"), &mut out).unwrap();
    assert_eq!(out, frame(1, "/x", 1, "x"));
}

/// The channel is closed before its answer is written.
#[test]
fn i6_a_deletion_is_answered_after_what_was_asked_before() {
    let mut server = server(2, &Limits::default());
    let input = [frame(1, "/slow", 1, "x"), frame(1, "/sys/delete_channel", 1, "{}")].concat();
    let (seen, mut out, stop) = events(&mut server, &input);
    assert_eq!((seen.len(), out.len(), stop), (1, 0, Stop::NeedMore(0)));
    // Its id is not free before that.
    let (_, granted, _) = events(&mut server, &frame(1, "/sys/new_channel", 0, "{}"));
    assert_eq!(texts(&granted), [r#"{"code":0,"channel_id":3}"#]);
    server.reply(&calls(&seen)[0].call(), &good(b"done"), &mut out).unwrap();
    assert_eq!(
        out,
        [frame(5, "/slow", 1, "done"), frame(5, "/sys/delete_channel", 1, r#"{"code":0}"#)].concat()
    );
    let (_, granted, _) = events(&mut server, &frame(1, "/sys/new_channel", 0, "{}"));
    assert_eq!(texts(&granted), [r#"{"code":0,"channel_id":1}"#]);
}

/// `GET /sys/delete_channel` through an HTTP adapter ends the connection that the adapter shares out.
#[test]
fn i6_system_paths_are_not_there_for_who_comes_over_http() {
    let mut server = server(1, &Limits::default());
    for path in ["new_channel", "delete_channel", "trunkline", "server_count"] {
        for query in ["__http_hdr__=e30=", "a=b&__http_hdr__=e30=&c"] {
            let request = frame(1, format!("/sys/{path}?{query}"), 1, "{}");
            let (seen, out, _) = events(&mut server, &request);
            let refused = frame(5, format!("/sys/{path}"), 1, r#"{"code":102,"message":"handle error"}"#);
            assert!(seen.is_empty() && out == refused, "{path}?{query}: {seen:?}");
        }
    }
    assert!(!server.peer_is_trunkline());
    assert_eq!(server.channels().count(), 2);
}

/// Nothing limits the channels of a connection.
#[test]
fn i10_channels_have_a_limit() {
    let mut limits = Limits::default();
    limits.channels = 3;
    let mut server = server(3, &limits);
    let (_, out, stop) = events(&mut server, &frame(1, "/sys/new_channel", 0, "{}").repeat(1000));
    assert_eq!(stop, Stop::NeedMore(0), "the connection goes on");
    let refused = r#"{"code":106,"message":"channel create limited"}"#;
    assert!(texts(&out).iter().all(|text| text == refused) && texts(&out).len() == 1000);
    let (_, out, _) = events(
        &mut server,
        &[frame(1, "/sys/delete_channel", 2, "{}"), frame(1, "/sys/new_channel", 1, "{}")].concat(),
    );
    assert_eq!(texts(&out), [r#"{"code":0}"#, r#"{"code":0,"channel_id":2}"#]);
    assert_eq!(server.channels().map(|(id, ..)| id).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

/// 16 MiB are taken for each head of 15 bytes, and later frames are added up without a limit.
#[test]
fn i11_memory_follows_what_has_come() {
    let mut server = server(1, &Limits::default());
    let head = announced(1, "/a", 1, 4 << 20, &[]);
    let (seen, out, stop) = events(&mut server, &head);
    assert_eq!((seen, out, stop), (vec![], vec![], Stop::NeedMore(head.len() + (4 << 20))));
    // An endless request is given on frame by frame; nothing of it is kept.
    let mut server = super::common::server(1, &Limits::default());
    let (mut input, mut out, mut seen) = (frame(0, "/a", 1, "x"), vec![], vec![]);
    assert_eq!(feed(&mut server, &mut input, &mut out, &mut seen), Stop::NeedMore(0));
    seen.clear();
    for _ in 0..1000 {
        input.extend_from_slice(&frame(2, "/a", 1, [b'x'; 10_000]));
        assert_eq!(feed(&mut server, &mut input, &mut out, &mut seen), Stop::NeedMore(0));
        assert_eq!((seen.len(), input.len()), (1, 0));
        seen.clear();
    }
    // Where its reader is slow, 64 KiB are kept, and the rest waits unread.
    let id = 1 << 32 | 1;
    assert!(server.hold(id));
    let many = frame(2, "/a", 1, [b'x'; 10_000]).repeat(10);
    input = many.clone();
    assert_eq!(feed(&mut server, &mut input, &mut out, &mut seen), Stop::Blocked);
    assert_eq!((seen.len(), input.len()), (0, many.len() / 10 * 4));
    assert_eq!(server.channels().nth(1).unwrap().1, 6);
    server.release(id, &mut vec![]);
    assert_eq!(feed(&mut server, &mut input, &mut out, &mut seen), Stop::NeedMore(0));
    assert_eq!((seen.len(), input.len()), (10, 0));
}

/// One channel whose handler sleeps stops the whole connection.
#[test]
fn i12_a_slow_channel_holds_nobody_else_back() {
    let mut limits = Limits::default();
    limits.calls = 100;
    let mut server = server(2, &limits);
    let slow = frame(1, "/sleep", 1, "x").repeat(300);
    let (seen, mut out, stop) = events(&mut server, &slow);
    assert_eq!((seen.len(), stop), (100, Stop::NeedMore(0)));
    let sleeping = calls(&seen);
    for n in 0..1000 {
        let (seen, _, stop) = events(&mut server, &frame(1, "/quick", 2, n.to_string()));
        assert_eq!((seen.len(), stop), (1, Stop::NeedMore(0)));
        server.reply(&calls(&seen)[0].call(), &good(b"y"), &mut out).unwrap();
    }
    assert_eq!(frames(&out).len(), 1000);
    // As calls end, those that were kept begin, in their order.
    for head in &sleeping[..10] {
        server.reply(&head.call(), &good(b"z"), &mut out).unwrap();
    }
    let mut seen = vec![];
    super::common::follow(&mut server, &mut out, &mut seen).unwrap();
    let numbers: Vec<_> = calls(&seen).iter().map(|head| head.place().1).collect();
    assert_eq!(numbers, (101..=110).collect::<Vec<_>>());
    assert_eq!(server.in_flight(), 100);
}

/// A timeout closes the connection under all other callers.
#[test]
fn i13_a_call_that_is_given_up_fails_nobody_else() {
    let mut client = super::pair::ready(1, &Limits::default());
    let mut out = vec![];
    for id in 0..3 {
        client.call(&call(id, "", "/slow", b"x"), &mut out).unwrap();
    }
    assert!(!client.cancel(1, &mut out), "a Go server understands no cancel");
    let answers = [frame(5, "/slow", 1, "0"), frame(5, "/slow", 1, "1"), frame(5, "/slow", 1, "2")];
    let (seen, _, stop) = events(&mut client, &answers.concat());
    let got: Vec<_> = seen
        .iter()
        .map(|seen| match seen {
            Seen::Reply { id, body, .. } => (*id, &**body),
            other => panic!("{other:?}"),
        })
        .collect();
    // The late one is told as nobody's, so that it can be counted.
    assert_eq!((got, stop), (vec![(0, &b"0"[..]), (u64::MAX, b""), (2, b"2")], Stop::NeedMore(0)));
}

/// A request of several frames is given to its handler at each of them, and answered as often.
#[test]
fn i17_one_answer_for_a_request_of_several_frames() {
    let parts = [frame(0, "/nope", 1, "a"), frame(2, "/nope", 1, "b"), frame(3, "/nope", 1, "c")].concat();
    let input = [parts, frame(1, "/echo", 1, "d")].concat();
    for early in [true, false] {
        let mut server = server(1, &Limits::default());
        let (seen, mut out, _) = events(&mut server, &input);
        let heads = calls(&seen);
        assert_eq!(heads.len(), 2);
        let unknown = ReplyFrame {
            failure: Some(trunkline_wire::Failure {
                code: Some(0x103),
                ..trunkline_wire::Failure::text(b"unknown")
            }),
            ..good(b"")
        };
        let (first, second) = (&heads[0], &heads[1]);
        if early {
            server.reply(&first.call(), &unknown, &mut out).unwrap();
            server.reply(&second.call(), &good(b"d"), &mut out).unwrap();
        } else {
            server.reply(&second.call(), &good(b"d"), &mut out).unwrap();
            server.reply(&first.call(), &unknown, &mut out).unwrap();
        }
        // Whatever is said of a call that has its answer is not written.
        server.reply(&first.call(), &good(b"again"), &mut out).unwrap();
        server.forget(first.id, &mut out);
        assert_eq!(texts(&out), [r#"{"code":102,"message":"handle error"}"#, "d"]);
    }
}

/// A caller of such a server: what answers the other frames is nobody's, and calls behind get their own answers.
#[test]
fn i17_answers_to_the_frames_of_a_request_complete_no_other_call() {
    let unknown = r#"{"code":102,"message":"handle error"}"#;
    for early in [false, true] {
        let mut client = super::pair::ready(1, &Limits::default());
        let (mut out, answer) = (vec![], frame(5, "/nope", 1, unknown));
        client.call(&CallFrame { end: false, ..call(1, "", "/nope", b"a") }, &mut out).unwrap();
        client.data(1, b"b", false, &mut out).unwrap();
        let mut seen = vec![];
        if early {
            seen = answered(&mut client, &answer, &mut out);
            // The caller ends it as it is.
            assert!(client.may_write(1));
        }
        client.data(1, b"c", true, &mut out).unwrap();
        client.call(&call(2, "", "/echo", b"mine"), &mut out).unwrap();
        if early {
            assert_eq!(texts(&out), ["a", "b", "{}", "c"], "another channel is asked for");
        } else {
            assert_eq!(texts(&out), ["a", "b", "c"], "the call waits");
            seen = answered(&mut client, &answer, &mut out);
        }
        let granted = frame(5, "/sys/new_channel", 0, r#"{"code":0,"channel_id":2}"#);
        seen.extend(answered(&mut client, &[answer.clone(), granted, answer].concat(), &mut out));
        assert!(out.ends_with(&frame(1, "/echo", 2, "mine")), "{:?}", texts(&out));
        seen.extend(answered(&mut client, &frame(5, "/echo", 2, "mine"), &mut out));
        let replies: Vec<_> = seen
            .iter()
            .map(|seen| match seen {
                Seen::Reply { id, failure, .. } => (*id, failure.is_some()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(replies, [(1, true), (u64::MAX, false), (u64::MAX, false), (2, false)]);
    }
}

/// A server that waits for the end is not left for it: the channel goes on.
#[test]
fn i17_a_channel_goes_on_behind_a_request_of_several_frames_that_was_answered_once() {
    let mut client = super::pair::ready(1, &Limits::default());
    let mut out = vec![];
    client.call(&CallFrame { end: false, ..call(1, "", "/upper", b"a") }, &mut out).unwrap();
    client.data(1, b"b", true, &mut out).unwrap();
    client.call(&call(2, "", "/echo", b"mine"), &mut out).unwrap();
    assert_eq!(texts(&out), ["a", "b"]);
    answered(&mut client, &frame(5, "/upper", 1, "AB"), &mut out);
    assert!(out.ends_with(&frame(1, "/echo", 1, "mine")), "{:?}", texts(&out));
    answered(&mut client, &frame(5, "/echo", 1, "mine"), &mut out);
    // So it does behind an answer that nobody keeps.
    client.call(&CallFrame { end: false, ..call(3, "", "/upper", b"a") }, &mut out).unwrap();
    client.data(3, b"b", true, &mut out).unwrap();
    client.call(&call(4, "", "/echo", b"more"), &mut out).unwrap();
    let large = frame(5, "/upper", 1, "x".repeat(Limits::default().body + 1));
    assert!(matches!(answered(&mut client, &large, &mut out)[..], [Seen::ReplyTooLarge { id: 3, .. }]));
    assert!(out.ends_with(&frame(1, "/echo", 1, "more")), "{:?}", texts(&out));
}

/// What comes of these bytes; what is written goes behind what was.
fn answered(client: &mut Iip, input: &[u8], out: &mut Vec<u8>) -> Vec<Seen> {
    let (seen, written, stop) = events(client, input);
    assert_eq!(stop, Stop::NeedMore(0));
    out.extend(written);
    seen
}

/// The path of a request is written to the log as it is.
#[test]
fn i20_no_control_character_reaches_a_handler() {
    for path in ["/a\n[INFO] ok", "/a?b=\r", "/\x7f", "/S/\x01", "/sys/\n"] {
        let mut server = server(1, &Limits::default());
        let (seen, out, stop) = events(&mut server, &frame(1, path, 1, "x"));
        assert_eq!((seen, stop), (vec![], Stop::NeedMore(0)), "{path:?}");
        let answer = frame(5, path.split('?').next().unwrap(), 1, r#"{"code":102,"message":"handle error"}"#);
        assert_eq!(out, answer, "{path:?}");
        let mut client = super::pair::ready(1, &Limits::default());
        assert!(client.call(&call(1, "", path, b"x"), &mut vec![]).is_err());
    }
}
