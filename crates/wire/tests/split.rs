//! The same stream gives the same events however it is cut into segments.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may fail loudly")]

mod common;

use std::path::Path;

use common::{Seen, Stop, events, feed, small, whole};
use proptest::prelude::*;
use trunkline_wire::rpcx::{Rpcx, keys};
use trunkline_wire::{Limits, Metadata, Session};

/// Gives the pieces one after the other.
fn in_pieces<'a>(
    session: &mut Rpcx,
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

fn check(new: fn(&Limits) -> Rpcx, limits: &Limits, bytes: &[u8], name: &str) {
    let expected = events(&mut new(limits), bytes);
    for at in 0..=bytes.len() {
        let (before, after) = bytes.split_at(at);
        assert_eq!(in_pieces(&mut new(limits), [before, after]), expected, "{name} cut at {at}");
    }
    assert_eq!(in_pieces(&mut new(limits), bytes.chunks(1)), expected, "{name} byte by byte");
}

#[test]
fn recorded_streams_cut_at_every_byte() {
    let mut streams = 0;
    for wire in ["rpcx", "easymicro"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(wire);
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.display().to_string();
            let bytes = std::fs::read(&path).unwrap();
            if bytes.first() != Some(&8) {
                continue;
            }
            let new = if name.ends_with(".c2s.bin") { Rpcx::server } else { Rpcx::client };
            check(new, &Limits::default(), &bytes, &name);
            streams += 1;
        }
    }
    assert!(streams > 110, "{streams}");
}

/// Everything a server can be sent, bodies over the limit included.
fn to_server() -> Vec<u8> {
    let metadata = Metadata::builder().with("k", "v").build();
    let ask = Metadata::builder().with(keys::TRUNKLINE, "1").build();
    let cancel = Metadata::builder().with(keys::CANCEL, "").build();
    [
        whole(0x00, "Arith", "Mul", &metadata, &[b'x'; 32]),
        whole(0x20, "Arith", "Mul", &metadata, &[b'y'; 33]),
        whole(0x40, "", "", &ask, b"beat"),
        whole(0x60, "", "", &cancel, b""),
        whole(0x04, "A", "", &metadata, &[8; 128]),
        whole(0x00, "", "", &Metadata::new(), b""),
    ]
    .concat()
}

/// The same for a client.
fn to_client() -> Vec<u8> {
    let metadata = Metadata::builder().with("k", "v").build();
    let known = Metadata::builder().with(keys::TRUNKLINE, "2").build();
    let error = Metadata::builder().with(keys::RPCX_ERROR, "no").build();
    let drain = Metadata::builder().with(keys::DRAIN, "").build();
    [
        whole(0x80, "Arith", "Mul", &metadata, &[b'x'; 32]),
        whole(0x80, "Arith", "Mul", &metadata, &[b'y'; 33]),
        whole(0xc0, "", "", &known, b"beat"),
        whole(0x20, "P", "T", &metadata, b"push"),
        whole(0x20, "P", "T", &metadata, &[8; 128]),
        whole(0x60, "", "", &drain, b""),
        whole(0x81, "Arith", "Mul", &error, b""),
        whole(0x40, "", "", &Metadata::new(), b""),
    ]
    .concat()
}

#[test]
fn bodies_over_the_limit_cut_at_every_byte() {
    check(Rpcx::server, &small(), &to_server(), "to the server");
    check(Rpcx::client, &small(), &to_client(), "to the client");
}

#[test]
fn what_the_two_streams_say() {
    let (seen, out, stop) = events(&mut Rpcx::server(&small()), &to_server());
    assert!(
        matches!(
            &seen[..],
            [
                Seen::Call { .. },
                Seen::Refused { head, got: 33, limit: 32 },
                Seen::Cancel(7),
                Seen::Refused { got: 128, limit: 32, .. },
                Seen::Call { .. },
            ] if head.one_way && head.service == b"Arith" && head.metadata.get("k") == Some("v")
        ),
        "{seen:?}"
    );
    assert_eq!((out.len(), stop), (56, Stop::NeedMore(0)));
    let (seen, out, stop) = events(&mut Rpcx::client(&small()), &to_client());
    assert!(
        matches!(
            &seen[..],
            [
                Seen::Reply { failure: None, .. },
                Seen::ReplyTooLarge { id: 7, got: 33, limit: 32 },
                Seen::Pong,
                Seen::Push { .. },
                Seen::PushTooLarge { got: 128, limit: 32 },
                Seen::Draining,
                Seen::Reply { failure: Some(_), .. },
            ]
        ),
        "{seen:?}"
    );
    assert_eq!((out.len(), stop), (32, Stop::NeedMore(0)));
}

/// A body over the limit is refused before it is there, and then nothing of it is waited for or kept.
#[test]
fn a_refusal_does_not_wait_for_the_body() {
    let bytes = whole(0x00, "Arith", "Mul", &Metadata::new(), &[b'x'; 128]);
    let head = bytes.len() - 128;
    let mut server = Rpcx::server(&small());
    let (mut seen, mut out, mut input) = (vec![], vec![], bytes[..head - 1].to_vec());
    assert_eq!(feed(&mut server, &mut input, &mut out, &mut seen), Stop::NeedMore(0));
    assert_eq!((seen.len(), input.len()), (0, head - 1));
    input.push(bytes[head - 1]);
    assert_eq!(feed(&mut server, &mut input, &mut out, &mut seen), Stop::NeedMore(0));
    assert_eq!((seen.len(), input.len(), server.in_flight()), (1, 0, 1));
    // It can be answered at once, before the body has come.
    let Seen::Refused { head: call, .. } = seen.remove(0) else { panic!() };
    server.reply(&call.call(), &common::good(b""), &mut out).unwrap();
    assert_eq!((out.is_empty(), server.in_flight()), (false, 0));
    for byte in &bytes[head..] {
        input.push(*byte);
        assert_eq!(feed(&mut server, &mut input, &mut out, &mut seen), Stop::NeedMore(0));
        assert!(input.is_empty() && seen.is_empty());
    }
    input.extend_from_slice(&whole(0x00, "Arith", "Mul", &Metadata::new(), b"x"));
    assert_eq!(feed(&mut server, &mut input, &mut out, &mut seen), Stop::NeedMore(0));
    assert!(matches!(&seen[..], [Seen::Call { .. }]));
}

proptest! {
    #[test]
    fn any_segmentation_gives_the_same(cuts in proptest::collection::vec(1usize..40, 0..60)) {
        for (new, bytes) in [(Rpcx::server as fn(&Limits) -> Rpcx, to_server()), (Rpcx::client, to_client())] {
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
