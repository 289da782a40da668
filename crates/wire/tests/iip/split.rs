//! The same stream gives the same events however it is cut into segments.

use std::path::Path;

use proptest::prelude::*;
use trunkline_wire::iip::Iip;
use trunkline_wire::{Limits, Session};

use super::common::{Seen, Stop, announced, call, events, feed, frame, small};

/// Gives the pieces one after the other.
fn in_pieces<'a>(
    session: &mut Iip,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Seen>, Vec<u8>, Stop) {
    let (mut seen, mut out, mut input) = (vec![], vec![], vec![]);
    let mut stop = Stop::NeedMore(0);
    for piece in pieces {
        input.extend_from_slice(piece);
        // A driver may wait for as many bytes as it was told.
        if !matches!(stop, Stop::NeedMore(n) if input.len() < n) {
            stop = feed(session, &mut input, &mut out, &mut seen);
        }
        if matches!(stop, Stop::Closed(_)) {
            break;
        }
    }
    (seen, out, stop)
}

/// A client that waits for many answers on each of three channels.
fn client(limits: &Limits) -> Iip {
    let mut client = super::pair::ready(3, limits);
    for id in 0..60 {
        client.call(&call(id, "", "/x", b"x"), &mut vec![]).unwrap();
    }
    client
}

fn check(new: fn(&Limits) -> Iip, limits: &Limits, bytes: &[u8], name: &str) {
    let expected = events(&mut new(limits), bytes);
    // Long streams are cut where something happens, and here and there.
    let step = if bytes.len() > 3000 { bytes.len() / 30 } else { 1 };
    for at in (0..=bytes.len()).step_by(step).chain(0..bytes.len().min(200)) {
        let (before, after) = bytes.split_at(at);
        assert_eq!(in_pieces(&mut new(limits), [before, after]), expected, "{name} cut at {at}");
    }
    assert_eq!(in_pieces(&mut new(limits), bytes.chunks(step)), expected, "{name} by {step}");
}

#[test]
fn recorded_streams_cut_anywhere() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/iip");
    let mut streams = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display().to_string();
        let bytes = std::fs::read(&path).unwrap();
        if name.contains("-http") || !name.ends_with(".bin") {
            continue;
        }
        let new = if name.ends_with(".c2s.bin") { Iip::server } else { client };
        check(new, &Limits::default(), &bytes, &name);
        streams += 1;
    }
    assert_eq!(streams, 104);
}

/// Everything a server can be sent, bodies over the limit and frames that have to wait included.
fn to_server() -> Vec<u8> {
    [
        frame(1, "/sys/trunkline", 0, "{}"),
        frame(1, "/sys/new_channel", 0, "{}"),
        frame(0, "/Arith/Mul?a", 1, [b'x'; 32]),
        frame(2, "/Arith/Mul", 1, "y"),
        frame(1, "/big", 0, [b'y'; 33]),
        frame(0, "/sys/new_channel", 0, "{"),
        frame(3, "/sys/new_channel", 0, [b'}'; 128]),
        frame(2, "/Arith/Mul", 1, [b'z'; 100]),
        frame(3, "/Arith/Mul", 1, "read past"),
        frame(1, "/S/M?__trunkline_empty", 2, "{}"),
        frame(1, "/sys/trunkline?cancel=2.1", 0, "{}"),
        frame(1, "/bad\n", 2, "{}"),
        frame(1, "/a", 2, "1").repeat(6),
        frame(1, "/b", 1, "2"),
        frame(1, "/sys/delete_channel", 1, "{}"),
        frame(1, "/sys/new_channel", 0, "{}"),
        vec![8, 1, 2, 3],
    ]
    .concat()
}

/// The same for a client.
fn to_client() -> Vec<u8> {
    [
        frame(5, "/x", 1, "good"),
        frame(4, "/x", 2, "one"),
        frame(5, "/x", 1, [b'y'; 33]),
        frame(6, "/x", 2, "two"),
        frame(5, "/x", 3, r#"{"code":7,"message":"n\"o"}"#),
        frame(6, "/x", 2, [b'z'; 100]),
        frame(7, "/x", 2, "read past"),
        frame(5, "/x", 2, "more"),
        vec![8, 1, 2, 3],
    ]
    .concat()
}

#[test]
fn all_kinds_of_frames_cut_anywhere() {
    check(Iip::server, &small(), &to_server(), "to the server");
    check(client, &small(), &to_client(), "to the client");
}

#[test]
fn what_the_two_streams_say() {
    let (seen, out, stop) = events(&mut Iip::server(&small()), &to_server());
    let id = |channel: u64, number: u64| channel << 32 | number;
    assert!(
        matches!(
            &seen[..],
            [
                Seen::Call { end: false, .. },
                Seen::Data { end: false, .. },
                Seen::Refused { got: 33, limit: 32, .. },
                Seen::Refused { got: 100, limit: 32, head },
                Seen::Call { body, .. },
                Seen::Cancel(cancelled),
                Seen::Call { .. },
                Seen::Call { .. },
                Seen::Call { .. },
                Seen::Closed,
            ] if head.id == id(1, 1) && body.is_empty() && *cancelled == id(2, 1)
        ),
        "{seen:#?}"
    );
    assert_eq!(stop, Stop::NeedMore(0));
    assert_eq!(
        super::common::texts(&out),
        [r#"{"code":0,"trunkline":2}"#, r#"{"code":0,"channel_id":1}"#],
        "what comes later has not its turn"
    );
    let (seen, _, _) = events(&mut client(&small()), &to_client());
    assert!(
        matches!(
            &seen[..],
            [
                Seen::Reply { failure: None, end: true, .. },
                Seen::Reply { failure: None, end: false, .. },
                Seen::ReplyTooLarge { got: 33, limit: 32, .. },
                Seen::Data { end: false, .. },
                Seen::Reply { failure: Some((text, None)), .. },
                Seen::Reply { failure: Some(_), end: true, .. },
                Seen::Reply { failure: None, end: true, .. },
                Seen::Closed,
            ] if text == b"n\"o"
        ),
        "{seen:#?}"
    );
}

/// A body over the limit is refused before it is there, and then nothing of it is waited for or kept.
#[test]
fn a_refusal_does_not_wait_for_the_data() {
    let mut server = Iip::server(&small());
    let head = announced(1, "/Arith/Mul", 0, 128, &[]);
    let (mut seen, mut out, mut input) = (vec![], vec![], head[..head.len() - 1].to_vec());
    assert_eq!(feed(&mut server, &mut input, &mut out, &mut seen), Stop::NeedMore(0));
    assert!(seen.is_empty());
    input.push(128);
    assert_eq!(feed(&mut server, &mut input, &mut out, &mut seen), Stop::NeedMore(0));
    assert!(matches!(&seen[..], [Seen::Refused { got: 128, limit: 32, .. }]) && input.is_empty());
    let to = super::common::calls(&seen).remove(0);
    server.reply(&to.call(), &super::common::good(b"no"), &mut out).unwrap();
    assert_eq!(out, frame(5, "/Arith/Mul", 0, "no"));
    for _ in 0..128 {
        input.push(0);
        assert_eq!(feed(&mut server, &mut input, &mut out, &mut seen), Stop::NeedMore(0));
        assert!(input.is_empty() && seen.len() == 1);
    }
    input.extend_from_slice(&frame(1, "/x", 0, "x"));
    feed(&mut server, &mut input, &mut out, &mut seen);
    assert_eq!(seen.len(), 2);
}

proptest! {
    #[test]
    fn any_segmentation_gives_the_same(cuts in proptest::collection::vec(1usize..40, 0..60)) {
        for (new, bytes) in [(Iip::server as fn(&Limits) -> Iip, to_server()), (client, to_client())] {
            let mut rest = &bytes[..];
            let mut pieces = vec![];
            for cut in &cuts {
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            let expected = events(&mut new(&small()), &bytes);
            prop_assert_eq!(in_pieces(&mut new(&small()), pieces), expected);
        }
    }
}
