//! Frames that are broken in every length, and those that break the Go programs: each costs only its sender.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may fail loudly")]

mod common;

use common::{Seen, Stop, events, raw, small, whole};
use trunkline_wire::rpcx::{Header, Rpcx, keys};
use trunkline_wire::{Limits, Metadata, Session, WireError};

/// Where the lengths stand in [`base`]: total, path, method, metadata, key, value, body.
const LENGTHS: [usize; 7] = [12, 16, 22, 26, 30, 35, 41];

/// A frame with the path `SS`, no method, one pair of metadata, and a body of 3 bytes.
fn base(flags: u8) -> Vec<u8> {
    let metadata = Metadata::builder().with("k", "vv").build();
    let bytes = whole(flags, "SS", "", &metadata, b"xyz");
    assert_eq!(bytes.len(), 48);
    bytes
}

/// Whether the lengths of the frame add up, read in the plainest way.
fn is_sound(bytes: &[u8]) -> bool {
    fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
        let length = usize::try_from(u32::from_be_bytes(*rest.first_chunk()?)).unwrap();
        let text = rest.get(4..)?.get(..length)?;
        *rest = &rest[4 + length..];
        Some(text)
    }
    let total = usize::try_from(u32::from_be_bytes(*bytes[12..].first_chunk().unwrap())).unwrap();
    let Some(mut rest) = bytes[16..].get(..total) else { return false };
    let texts: Option<Vec<_>> = (0..4).map(|_| text(&mut rest)).collect();
    let Some(mut pairs) = texts.and_then(|texts| rest.is_empty().then(|| texts[2])) else { return false };
    while !pairs.is_empty() {
        if text(&mut pairs).is_none() || text(&mut pairs).is_none() {
            return false;
        }
    }
    true
}

#[test]
fn every_length_at_its_edges() {
    let limits = small();
    let most = 32 + limits.names + limits.metadata + limits.body;
    let edges = |max: usize| {
        let max = u32::try_from(max).unwrap();
        let mut values: Vec<u32> = (0..=6).chain([max - 1, max, max + 1]).collect();
        values.extend([127, 128, 129, 255, 256, 65_535, 65_536, 4 << 20, (4 << 20) + 1, 64 << 20]);
        values.extend([(1 << 31) - 1, 1 << 31, (1 << 31) + 1, u32::MAX - 16, u32::MAX - 4, u32::MAX - 3]);
        values.extend([u32::MAX - 1, u32::MAX]);
        values
    };
    let maxima = [most, limits.names, limits.names, limits.metadata, 40, 40, limits.body];
    let roles = [
        (Rpcx::server as fn(&Limits) -> Rpcx, [0x00u8, 0x20, 0x04, 0x40]),
        (Rpcx::client, [0x80, 0x20, 0x81, 0xc0]),
    ];
    let (mut cases, mut closed, mut waiting, mut served) = (0, 0, 0, 0);
    for (new, flags) in roles {
        for flags in flags {
            for (at, max) in LENGTHS.into_iter().zip(maxima) {
                for value in edges(max) {
                    for (more, adds_up) in [(0, false), (300, false), (0, true), (300, true)] {
                        let Some(mut bytes) = broken(flags, at, value, adds_up) else { continue };
                        // Bytes that do not belong to the frame must not make it whole or be read as a part.
                        bytes.extend(std::iter::repeat_n(8, more));
                        let (seen, out, stop) = events(&mut new(&limits), &bytes);
                        let case = format!("flags {flags:x}, {value} at {at}, {more} more, {adds_up}");
                        cases += 1;
                        match (&seen.first(), &stop) {
                            // Its lengths are right and its body is not there yet, nor will it be kept.
                            (
                                Some(
                                    Seen::Refused { got, .. }
                                    | Seen::ReplyTooLarge { got, .. }
                                    | Seen::PushTooLarge { got, .. },
                                ),
                                _,
                            ) => {
                                assert!((33..=128).contains(got) && adds_up && at == 41, "{case}");
                                served += 1;
                            }
                            (Some(_), _) => {
                                assert!(is_sound(&bytes), "{case}: {seen:?} from a broken frame");
                                served += 1;
                            }
                            (None, _) if !out.is_empty() => {
                                assert!(is_sound(&bytes), "{case}: an echo of a broken frame");
                                served += 1;
                            }
                            (None, Stop::Closed(_)) => closed += 1,
                            (None, Stop::NeedMore(n)) => {
                                assert!(*n <= most, "{case}: waits for {n} bytes");
                                assert!(adds_up, "{case}: waits for a frame that cannot become whole");
                                waiting += 1;
                            }
                            (None, Stop::Blocked) => panic!("{case}: blocked"),
                        }
                    }
                }
            }
        }
    }
    let counts = format!("{cases} cases: {closed} closed, {waiting} waiting, {served} served");
    assert!(closed > 500 && waiting > 50 && served > 50, "{counts}");
    println!("{counts}");
}

/// The frame with one length changed, and the total with it where it shall add up.
fn broken(flags: u8, at: usize, value: u32, adds_up: bool) -> Option<Vec<u8>> {
    let mut bytes = base(flags);
    let read = |bytes: &[u8], at: usize| u32::from_be_bytes(*bytes[at..].first_chunk().unwrap());
    if adds_up {
        let total = read(&bytes, 12).checked_add(value)?.checked_sub(read(&bytes, at))?;
        bytes[12..16].copy_from_slice(&total.to_be_bytes());
    }
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    Some(bytes)
}

/// Every value of the bytes before the lengths: magic, version, flags, format.
#[test]
fn every_header_byte() {
    for at in 0..4 {
        for value in 0..=u8::MAX {
            for (server, new) in [(true, Rpcx::server as fn(&Limits) -> Rpcx), (false, Rpcx::client)] {
                let mut bytes = base(if server { 0 } else { 0x80 });
                bytes[at] = value;
                let (seen, out, stop) = events(&mut new(&small()), &bytes);
                let flags = bytes[2];
                let (response, beat, one_way) = (flags & 0x80 != 0, flags & 0x40 != 0, flags & 0x20 != 0);
                let role = beat
                    || if server {
                        !response
                    } else if response {
                        flags & 3 < 2
                    } else {
                        one_way
                    };
                let good = bytes[0] == 8 && flags & 0x18 == 0 && role;
                let answered = seen.len() == 1 || !out.is_empty();
                assert_eq!((answered, stop == Stop::NeedMore(0)), (good, good), "{value} at {at} ({stop:?})");
            }
        }
    }
}

fn closed(new: fn(&Limits) -> Rpcx, bytes: &[u8]) -> (&'static str, usize) {
    let (seen, out, stop) = events(&mut new(&Limits::default()), bytes);
    assert_eq!((seen.len(), out.len()), (0, 0));
    match stop {
        Stop::Closed(WireError::Malformed { rule, offset, .. }) => (rule, offset),
        other => panic!("{other:?}"),
    }
}

/// Lengths that run past the end: the Go client dies of them, and its server reads other requests' bytes.
#[test]
fn e2_lengths_past_the_end_end_the_connection_of_both_roles() {
    for (new, flags) in [(Rpcx::server as fn(&Limits) -> Rpcx, 0), (Rpcx::client, 0x80)] {
        let total_zero = Header { version: 0, flags, format: 0x10, seq: 1, total: 0 }.encode();
        assert_eq!(closed(new, &total_zero), ("the total is too small for the four lengths", 12));
        let path = raw(flags, [(200, b"Arith"), (3, b"Mul"), (0, b""), (2, b"{}")], None);
        assert_eq!(closed(new, &path), ("the path is longer than the frame", 16));
        // The bytes of a next frame are no part of this one.
        let next = whole(flags, "Secret", "Other", &Metadata::new(), b"of somebody else");
        assert_eq!(closed(new, &[path, next].concat()), ("the path is longer than the frame", 16));
        let method = raw(flags, [(5, b"Arith"), (200, b"Mul"), (0, b""), (2, b"{}")], None);
        assert_eq!(closed(new, &method), ("the method is longer than the frame", 25));
    }
}

/// Metadata that is cut, and a key length that wraps around.
#[test]
fn e3_broken_metadata_ends_the_connection() {
    for (metadata, rule, offset) in [
        (&b"\0\0"[..], "metadata key is cut", 36),
        (b"\xff\xff\xff\xffab", "metadata key is cut", 36),
        (b"\0\0\0\x01k\xff\xff\xff\xfc", "metadata value is cut", 36),
        (b"\0\0\0\x01k\0\0\0\x01v\0", "metadata key is cut", 46),
    ] {
        let length = u32::try_from(metadata.len()).unwrap();
        let frame = raw(0, [(5, b"Arith"), (3, b"Mul"), (length, metadata), (2, b"{}")], None);
        assert_eq!(closed(Rpcx::server, &frame), (rule, offset));
    }
    let frame = raw(0, [(5, b"Arith"), (3, b"Mul"), (100, b"\0\0"), (2, b"{}")], None);
    assert_eq!(closed(Rpcx::server, &frame), ("the metadata is longer than the frame", 32));
}

/// A header that announces 4 GiB is refused by itself; nothing is waited for, and no memory is asked for.
#[test]
fn e4_four_gigabytes_are_refused_from_the_header_alone() {
    for (new, flags) in [(Rpcx::server as fn(&Limits) -> Rpcx, 0), (Rpcx::client, 0x80)] {
        let header = Header { version: 0, flags, format: 0x10, seq: 1, total: u32::MAX }.encode();
        let (_, _, stop) = events(&mut new(&Limits::default()), &header);
        assert!(matches!(
            stop,
            Stop::Closed(WireError::TooLarge { what: "frame", setting: "body_limit", .. })
        ));
        // Within what can be read past, but over the limit: it is not waited for either.
        let mut head = whole(flags, "Arith", "Mul", &Metadata::new(), b"");
        head[12..16].copy_from_slice(&(24u32 + (4 << 20) + 1).to_be_bytes());
        let at = head.len() - 4;
        head[at..].copy_from_slice(&((4u32 << 20) + 1).to_be_bytes());
        let (seen, _, stop) = events(&mut new(&Limits::default()), &head);
        assert!(
            matches!(
                &seen[..],
                [Seen::Refused { got: 4_194_305, limit: 4_194_304, .. }
                    | Seen::ReplyTooLarge { got: 4_194_305, limit: 4_194_304, .. }]
            ),
            "{seen:?}"
        );
        assert_eq!(stop, Stop::NeedMore(0));
    }
}

/// Two replies in one segment: both come out.
#[test]
fn e6_replies_that_arrive_together_are_all_seen() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/easymicro/two-in-one-write.s2c.bin");
    let (seen, _, _) = events(&mut Rpcx::client(&Limits::default()), &std::fs::read(path).unwrap());
    let ids: Vec<_> = seen
        .iter()
        .map(|seen| match seen {
            Seen::Reply { head, .. } => head.id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, [1, 2]);
}

/// A heartbeat answer that nobody asked for kills the easymicro client. Here the calls go on, at both sides.
#[test]
fn e10_an_unsolicited_heartbeat_answer_changes_nothing() {
    let mut beat = whole(0xc0, "", "", &Metadata::new(), b"");
    beat[4..12].copy_from_slice(&u64::MAX.to_be_bytes());
    let reply = whole(0x80, "Arith", "Mul", &Metadata::new(), b"{}");
    let (seen, out, stop) = events(&mut Rpcx::client(&Limits::default()), &[beat.clone(), reply].concat());
    assert!(matches!(&seen[..], [Seen::Pong, Seen::Reply { .. }]));
    assert_eq!((out.len(), stop), (0, Stop::NeedMore(0)));
    let call = whole(0, "Arith", "Mul", &Metadata::new(), b"{}");
    let (seen, out, _) = events(&mut Rpcx::server(&Limits::default()), &[beat, call].concat());
    assert!(matches!(&seen[..], [Seen::Pong, Seen::Call { .. }]));
    assert!(out.is_empty());
}

/// The metadata of one reply does not show up in the next, nor do its bytes change.
#[test]
fn e11_a_reply_has_its_own_metadata_and_body() {
    let metadata = Metadata::builder().with("k", "v").with(keys::RPCX_ERROR, "old").build();
    let bytes = [
        whole(0x81, "Arith", "Mul", &metadata, b"first"),
        whole(0x80, "Arith", "Mul", &Metadata::new(), b"other"),
    ]
    .concat();
    let (seen, _, _) = events(&mut Rpcx::client(&Limits::default()), &bytes);
    let [Seen::Reply { body: first, .. }, Seen::Reply { head, failure, body }] = &seen[..] else {
        panic!("{seen:?}")
    };
    assert_eq!((&first[..], &body[..]), (&b"first"[..], &b"other"[..]));
    assert!(head.metadata.is_empty() && failure.is_none());
}

/// rpcx serves a frame of total length 0 as an empty message.
#[test]
fn r1_a_total_of_zero_is_no_message() {
    for total in 0..16 {
        let mut bytes = whole(0, "", "", &Metadata::new(), b"");
        bytes[12..16].copy_from_slice(&u32::to_be_bytes(total));
        assert_eq!(closed(Rpcx::server, &bytes).0, "the total is too small for the four lengths");
    }
}

/// A reply that claims 4 GiB and never comes: the call fails as soon as the header says so, not at its deadline.
#[test]
fn a_reply_that_is_too_large_is_told_before_its_head_is_whole() {
    let mut limits = Limits::default();
    limits.body = 256 << 20;
    let mut bytes = whole(0x80, "Arith", "Mul", &Metadata::new(), b"");
    bytes[4..12].copy_from_slice(&7u64.to_be_bytes());
    bytes[12..16].copy_from_slice(&u32::MAX.to_be_bytes());
    for here in 16..24 {
        let (seen, _, stop) = events(&mut Rpcx::client(&limits), &bytes[..here]);
        assert!(matches!(&seen[..], [Seen::ReplyTooLarge { id: 7, .. }]), "{here}: {seen:?}");
        assert_eq!(stop, Stop::NeedMore(0));
    }
    // What may be within the limit is waited for, and what is read past ends where the next reply begins.
    let most = limits.names + limits.metadata + 16;
    for (total, refused) in [(limits.body + most, false), (limits.body + most + 1, true)] {
        bytes[12..16].copy_from_slice(&u32::try_from(total).unwrap().to_be_bytes());
        let (seen, _, _) = events(&mut Rpcx::client(&limits), &bytes[..16]);
        assert_eq!(seen.len(), usize::from(refused), "{total}");
    }
    let small = small();
    let total = small.body + small.names + small.metadata + 17;
    bytes[12..16].copy_from_slice(&u32::try_from(total).unwrap().to_be_bytes());
    bytes.truncate(16);
    let mut client = Rpcx::client(&small);
    assert!(matches!(&events(&mut client, &bytes).0[..], [Seen::ReplyTooLarge { id: 7, .. }]));
    bytes = vec![8; total];
    bytes.extend(whole(0x80, "Arith", "Mul", &Metadata::new(), b"{}"));
    assert!(matches!(&events(&mut client, &bytes).0[..], [Seen::Reply { .. }]));
}
