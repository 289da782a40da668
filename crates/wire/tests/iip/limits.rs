//! Every queue has a bound, and every limit its answer.

use trunkline_wire::iip::Traffic;
use trunkline_wire::{
    Compression, Failure, Limits, Metadata, MethodNumbers, ReplyFrame, Serialization, Session, WireError,
};

use super::common::{
    Seen, Stop, announced, call, calls, events, feed, frame, frames, good, server, small, texts,
};
use super::pair::{Wires, ready};

#[test]
fn what_a_file_is_sent_to_takes_16_mib_whatever_the_limit_of_bodies() {
    let most = 16 << 20;
    for (path, length, refused) in
        [("/upload_file", most, false), ("/upload_file?x", most, false), ("/upload", 33, true)]
    {
        let (seen, _, stop) = events(&mut server(0, &small()), &frame(1, path, 0, vec![b'x'; length]));
        assert_eq!(stop, Stop::NeedMore(0));
        assert_eq!(matches!(&seen[..], [Seen::Refused { .. }]), refused, "{path}");
    }
    let (_, _, stop) =
        events(&mut server(0, &small()), &announced(1, "/upload_file", 0, (16 << 20) + 1, &[]));
    assert!(matches!(stop, Stop::Closed(WireError::TooLarge { limit: 0x0100_0000, .. })), "{stop:?}");
}

/// Found by the fuzzer: a system path that the session does not answer itself is a call like any other.
#[test]
fn system_paths_of_the_framework_have_the_limit_of_bodies() {
    for (length, refused) in [(32, false), (33, true)] {
        let (seen, ..) =
            events(&mut server(0, &small()), &frame(1, "/sys/path_count", 0, vec![b'x'; length]));
        assert_eq!(matches!(&seen[..], [Seen::Refused { got: 33, limit: 32, .. }]), refused);
    }
}

/// The session needs none of the data of what it answers itself, and the order is kept.
#[test]
fn system_paths_with_too_much_data_are_answered() {
    let much = vec![b' '; 5 << 20];
    let input = [
        frame(1, "/sys/new_channel", 0, &much),
        frame(0, "/sys/trunkline", 0, "{"),
        frame(2, "/sys/trunkline", 0, &much),
        frame(3, "/sys/trunkline", 0, &much),
        frame(0, "/bad\n", 0, &much),
        frame(3, "/bad\n", 0, "x"),
        frame(1, "/sys/nope", 0, &much),
    ];
    let (seen, out, stop) = events(&mut server(0, &Limits::default()), &input.concat());
    assert!(
        matches!(&seen[..], [Seen::Refused { head, .. }] if head.method == b"/sys/nope" && head.service.is_empty()),
        "{seen:?}"
    );
    assert_eq!(stop, Stop::NeedMore(0));
    let expected = [
        r#"{"code":0,"channel_id":1}"#,
        r#"{"code":0,"trunkline":2}"#,
        r#"{"code":102,"message":"handle error"}"#,
    ];
    assert_eq!(texts(&out), expected);
}

#[test]
fn answers_that_wait_are_bounded() {
    let mut limits = Limits::default();
    limits.held = 3 << 20;
    let mut server = server(2, &limits);
    let input = [frame(1, "/x", 1, "x").repeat(5), frame(1, "/x", 2, "x").repeat(2)].concat();
    let (seen, mut out, _) = events(&mut server, &input);
    let heads = calls(&seen);
    let big = vec![b'x'; 1 << 20];
    server.reply(&heads[1].call(), &good(&big), &mut out).unwrap();
    // With 1 MiB that waits the channel begins nothing new, the other one does.
    let (seen, ..) = events(&mut server, &[frame(1, "/x", 1, "6"), frame(1, "/x", 2, "3")].concat());
    assert!(matches!(&seen[..], [Seen::Call { body, .. }] if body == b"3"), "{seen:?}");
    server.reply(&heads[6].call(), &good(&big), &mut out).unwrap();
    // What would be over the limit of all is refused, and its call still waits for a reply that is not.
    let error = server.reply(&heads[2].call(), &good(&big), &mut out).unwrap_err();
    assert!(matches!(error, WireError::TooLarge { setting: "held", .. }), "{error}");
    let failed = ReplyFrame { failure: Some(Failure::text(b"too much")), ..good(b"") };
    server.reply(&heads[2].call(), &failed, &mut out).unwrap();
    assert!(out.is_empty());
    for at in [0, 3, 4, 5] {
        server.reply(&heads[at].call(), &good(b"y"), &mut out).unwrap();
    }
    let lengths: Vec<_> = frames(&out).iter().map(|frame| (frame.2, frame.3.len())).collect();
    let text = br#"{"code":-1,"message":"handler fail:too much"}"#.len();
    assert_eq!(lengths, [(1, 1), (1, 1 << 20), (1, text), (1, 1), (1, 1), (2, 1), (2, 1 << 20)]);
    let mut seen = vec![];
    super::common::follow(&mut server, &mut out, &mut seen).unwrap();
    assert!(matches!(&seen[..], [Seen::Call { body, .. }] if body == b"6"), "{seen:?}");
}

/// 64 KiB a channel and 4 MiB in all: then the connection waits.
#[test]
fn frames_that_are_kept_are_bounded() {
    let mut limits = Limits::default();
    limits.calls = 1;
    let mut server = server(100, &limits);
    let (mut seen, mut out, mut stopped) = (vec![], vec![], None);
    for channel in 1..=100 {
        let mut input = frame(1, "/x", channel, vec![b'x'; 60_000]).repeat(2);
        let stop = feed(&mut server, &mut input, &mut out, &mut seen);
        if stop == Stop::Blocked {
            stopped = Some((channel, input));
            break;
        }
        // A third one does not fit.
        let mut third = frame(1, "/x", channel, vec![b'x'; 6_000]);
        assert_eq!(feed(&mut server, &mut third, &mut out, &mut seen), Stop::Blocked);
    }
    let (channel, mut input) = stopped.unwrap();
    assert_eq!(channel, (4 << 20) / 60_012 + 1);
    assert_eq!(server.channels().map(|(_, kept, _)| kept).sum::<usize>(), (4 << 20) / 60_012);
    // One call that ends makes room.
    server.reply(&calls(&seen)[0].call(), &good(b"y"), &mut out).unwrap();
    assert_eq!(feed(&mut server, &mut input, &mut out, &mut seen), Stop::NeedMore(0));
}

#[test]
fn replies_over_the_limit_are_errors_that_name_it() {
    let mut server = server(1, &small());
    let (seen, mut out, _) = events(&mut server, &frame(1, "/x", 1, "x").repeat(2));
    let heads = calls(&seen);
    let error = server.reply(&heads[0].call(), &good(&[0; 33]), &mut out).unwrap_err();
    assert_eq!(error.to_string(), "iip: reply body of 33 bytes is over the limit of 32 (body_limit)");
    let compressed = ReplyFrame { compression: Compression::Gzip, ..good(b"x") };
    assert!(server.reply(&heads[0].call(), &compressed, &mut out).is_err() && out.is_empty());
    let mark = server.begin(&heads[0].call(), &mut out).unwrap();
    out.resize(out.len() + 33, 0);
    server.finish(mark, &mut out);
    let text = r#"{"code":-1,"message":"handler fail:iip: reply body of 33 bytes is over the limit of 32 (body_limit)"}"#;
    assert_eq!(texts(&out), [text]);
    let text = vec![b'x'; (512 << 10) + 1];
    let failed = ReplyFrame { failure: Some(Failure::text(&text)), ..good(b"") };
    assert!(server.reply(&heads[1].call(), &failed, &mut out).is_err());
    // Details that do not fit are left out, metadata that does not is an error.
    let mut wires = Wires::new(1, true, &Limits::default());
    wires.client.call(&call(1, "", "/x", b"x"), &mut wires.up).unwrap();
    let head = calls(&wires.at_server()).remove(0);
    let metadata = Metadata::builder().with("k", &"v".repeat(20_000)).build();
    let much = ReplyFrame { metadata: metadata.pairs(), ..good(b"x") };
    assert!(wires.server.reply(&head.call(), &much, &mut wires.down).is_err());
    let details = vec![b'x'; 20_000];
    let failure = Failure { message: b"no", code: Some(5), details: Some(&details) };
    let failed = ReplyFrame { failure: Some(failure), ..good(b"") };
    wires.server.reply(&head.call(), &failed, &mut wires.down).unwrap();
    assert!(matches!(&wires.at_client()[..], [Seen::Reply { failure: Some((_, Some(5))), .. }]));
}

#[test]
fn calls_that_cannot_be_said_fail_and_write_nothing() {
    let (mut client, mut out) = (ready(1, &Limits::default()), vec![]);
    for (service, method) in
        [("", "x"), ("", ""), ("S", ""), ("S/T", "M"), ("S", "M/N"), ("S", "M?x"), ("S\0", "M"), ("", "/\n")]
    {
        assert!(client.call(&call(1, service, method, b"x"), &mut out).is_err(), "{service} {method}");
    }
    assert!(client.call(&call(1, "", "/x?__trunkline=AA", b"x"), &mut out).is_err());
    let with = call(1, "", "/x", b"x");
    for serialization in [Serialization::Protobuf, Serialization::MessagePack, Serialization::Other(9)] {
        assert!(client.call(&trunkline_wire::CallFrame { serialization, ..with }, &mut out).is_err());
    }
    let compression = Compression::Gzip;
    assert!(client.call(&trunkline_wire::CallFrame { compression, ..with }, &mut out).is_err());
    assert!(out.is_empty());
}

#[test]
fn calls_that_wait_for_channels_are_bounded() {
    let mut client = trunkline_wire::iip::Iip::client(&Limits::default());
    client.greet(&mut vec![]);
    let body = vec![b'x'; 8 << 20];
    for id in 0..8 {
        client.call(&call(id, "", "/x", &body), &mut vec![]).unwrap();
    }
    let error = client.call(&call(8, "", "/x", b"x"), &mut vec![]).unwrap_err();
    assert!(matches!(error, WireError::TooLarge { limit: 0x0400_0000, .. }), "{error}");
    client.cancel(3, &mut vec![]);
    client.call(&call(8, "", "/x", b"x"), &mut vec![]).unwrap();
}

/// A tiny limit of bodies does not keep a client from its channels.
#[test]
fn system_answers_fit_any_limit() {
    let mut limits = Limits::default();
    limits.body = 1;
    let mut wires = Wires::new(2, true, &limits);
    wires.client.call(&call(1, "", "/x", b"x"), &mut wires.up).unwrap();
    assert_eq!(wires.at_server().len(), 1);
}

#[test]
fn what_went_over_the_connection_is_counted() {
    let mut server = server(1, &Limits::default());
    let before = server.traffic();
    let input = [frame(0, "/x", 1, "abc"), frame(3, "/x", 1, "d"), frame(1, "/x", 1, "e")].concat();
    let (seen, mut out, _) = events(&mut server, &input);
    for head in calls(&seen) {
        server.reply(&head.call(), &ReplyFrame { end: false, ..good(b"1") }, &mut out).unwrap();
        server.data(head.id, b"2", true, &mut out).unwrap();
    }
    let of_channel = Traffic {
        frames_sent: 4,
        frames_received: 3,
        messages_sent: 2,
        messages_received: 2,
        bytes_sent: out.len() as u64,
        bytes_received: input.len() as u64,
    };
    assert_eq!(server.channels().nth(1).unwrap(), (1, 0, of_channel));
    let all = server.traffic();
    assert_eq!(all.bytes_sent - before.bytes_sent, of_channel.bytes_sent);
    assert_eq!((before.frames_sent, before.frames_received, all.frames_received), (1, 1, 4));
    let client = ready(1, &Limits::default()).traffic();
    assert_eq!((client.frames_sent, client.frames_received), (2, 2));
}

#[test]
fn what_was_sent_is_counted_by_method_and_handed_over_once() {
    let mut server = server(2, &Limits::default());
    server.count_methods(MethodNumbers::new(|service, method| match (service, method) {
        (b"", b"/x") => Some(7),
        (b"A", b"b") => Some(2),
        _ => None,
    }));
    let paths = ["/x", "/A/b", "/nope", "/sys/new_channel", "/x?k=v"];
    let input: Vec<u8> = paths.iter().flat_map(|path| frame(1, path, 1, "{}")).collect();
    let (seen, mut out, _) = events(&mut server, &input);
    assert_eq!(server.report().unanswered, 4);
    // The last one is early, and counted when its turn is certain.
    for head in calls(&seen).iter().rev() {
        server.reply(&head.call(), &good(b"four"), &mut out).unwrap();
    }
    let sent = |frames: u64, bytes: u64| Traffic {
        frames_sent: frames,
        messages_sent: frames,
        bytes_sent: bytes,
        ..Traffic::default()
    };
    let mut taken = server.take_sent();
    taken.sort_by_key(|(number, _)| *number);
    assert_eq!(taken, [(2, sent(1, 18)), (7, sent(2, 32))]);
    assert_eq!(server.take_sent(), []);
    // A place is kept although it was handed over.
    let (seen, mut out, _) = events(&mut server, &frame(1, "/x", 2, "{}"));
    let mark = server.begin(&calls(&seen)[0].call(), &mut out).unwrap();
    out.extend_from_slice(b"four");
    server.finish(mark, &mut out);
    assert_eq!(server.take_sent(), [(7, sent(1, 16))]);
    let report = server.report();
    assert_eq!((report.unanswered, report.total), (0, server.traffic()));
    assert_eq!(report.channels.iter().map(|channel| channel.id).collect::<Vec<_>>(), [0, 1, 2, 3]);
}
