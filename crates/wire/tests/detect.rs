//! Which wire do the first bytes speak: every beginning that decides, and every one that does not.
#![allow(clippy::unwrap_used, reason = "helpers of tests may fail loudly")]

use trunkline_wire::Limits;
use trunkline_wire::detect::{Detected, Detection, after_connect, detect};

const SABER: Detection = Detection::Wire(Detected::Saber);
const GOB: Detection = Detection::Wire(Detected::Gob);

/// The rules again, on eight bytes, spelled another way: what a whole beginning must give.
fn by_the_rules(first: &[u8; 8], limit: u32) -> Detection {
    let length = u32::from_be_bytes(*first.first_chunk().unwrap());
    if first[0] == 8 {
        Detection::Wire(Detected::Rpcx)
    } else if first[0].is_ascii_uppercase() {
        Detection::Wire(Detected::Http)
    } else if first[0] < 2 && first[1] == b'/' {
        if (1..=6).contains(&first[4]) { SABER } else { Detection::Wire(Detected::Iip) }
    } else if (0x2e..=0x33).contains(&first[0]) && (first[1] == 0x7f || first[1] >= 0xf8) {
        GOB
    } else if length <= limit {
        SABER
    } else {
        Detection::Unknown
    }
}

fn limits(body: usize) -> Limits {
    let mut limits = Limits::default();
    (limits.body, limits.skip_factor, limits.names) = (body, 1, 0);
    limits
}

/// All first bytes, and for the others the values at which something changes.
fn beginnings() -> Vec<[u8; 8]> {
    let second = [0, 1, 2, 0x10, 0x2e, 0x2f, 0x30, 0x3f, 0x40, 0x7e, 0x7f, 0x80, 0xf7, 0xf8, 0xff];
    let mut all = vec![];
    for a in 0..=u8::MAX {
        for b in second {
            for [c, d] in [[0, 0], [1, 0], [0x10, 0], [0x10, 1], [0xff, 0xfe], [0xff, 0xff]] {
                all.extend([0, 1, 6, 7, 0xff].map(|e| [a, b, c, d, e, 0, 0, 0]));
            }
        }
    }
    all
}

#[test]
fn every_beginning_is_decided_by_the_rules_and_by_no_more_bytes_than_it_takes() {
    for limit in [0x7f, 0x2f_ffff, 0x0040_0000, 0x0400_1000, 0x2fff_ffff, u32::MAX] {
        let limits = limits(usize::try_from(limit).unwrap());
        for first in beginnings() {
            let expected = by_the_rules(&first, limit);
            let mut decided = None;
            for n in 0..=first.len() {
                let now = detect(&first[..n], &limits);
                match decided {
                    None if now != Detection::NeedMore => decided = Some((n, now)),
                    None => {}
                    Some((_, before)) => assert_eq!(now, before, "{first:02x?} changes its mind"),
                }
            }
            let (n, got) = decided.unwrap();
            assert_eq!(got, expected, "{first:02x?} with limit {limit:x}");
            assert!(n <= 5, "{first:02x?} waits for {n} bytes");
            // One byte less was really not enough: with it, another ending gives something else.
            if n > 1 && first[2..] == [0; 6] {
                let differs = (0..=u8::MAX).any(|byte| {
                    [0, 1, 0xff].into_iter().any(|fill| {
                        let mut other = [fill; 8];
                        other[..n - 1].copy_from_slice(&first[..n - 1]);
                        other[n - 1] = byte;
                        by_the_rules(&other, limit) != expected
                    })
                });
                assert!(differs, "{first:02x?} waits for {n} bytes in vain (limit {limit:x})");
            }
        }
    }
}

#[test]
fn nothing_yet() {
    assert_eq!(detect(b"", &Limits::default()), Detection::NeedMore);
    assert_eq!(after_connect(b"/_rpcx_", b""), Detection::NeedMore);
}

#[test]
fn real_beginnings() {
    let limits = Limits::default();
    for (first, wire) in [
        (&b"\x08"[..], Detected::Rpcx),
        (b"G", Detected::Http),
        (b"POST / HTTP/1.1\r\n", Detected::Http),
        (b"\x01/sys", Detected::Iip),
        (b"\x00/sys", Detected::Iip),
        (b"\x01/\0\0\0\0\0", Detected::Iip),
        (b"\x00\x2f\x01\x02\x04", Detected::Saber),
        (b"\x00\x00", Detected::Saber),
        (b"\x00\x00\x01\x15\x04", Detected::Saber),
        (b"\x2f\xff", Detected::Gob),
        (b"\x33\x7f", Detected::Gob),
    ] {
        assert_eq!(detect(first, &limits), Detection::Wire(wire), "{first:02x?}");
    }
    for first in [&b"h"[..], b"\x09", b"\xff", b"\x16\x03", b"\x7f", b"\x2e\x00", b"\x05"] {
        assert_eq!(detect(first, &limits), Detection::Unknown, "{first:02x?}");
    }
    for first in [&b"\0"[..], b"\x01", b"\0/", b"\0/ab", b"\x2e", b"\x33", b"\x04", b"\x04\0"] {
        assert_eq!(detect(first, &limits), Detection::NeedMore, "{first:02x?}");
    }
}

#[test]
fn after_a_connect_only_two_are_left() {
    for byte in 0..=u8::MAX {
        let rpcx = Detection::Wire(Detected::Rpcx);
        let (go, own) = if byte == 8 { (rpcx, rpcx) } else { (GOB, Detection::Unknown) };
        assert_eq!(after_connect(b"/_goRPC_", &[byte]), go);
        assert_eq!(after_connect(b"/_rpcx_", &[byte]), own);
    }
}
