//! Broken frames: each a clean error, whoever gets it, and nothing of it is answered.

use trunkline_wire::iip::Iip;
use trunkline_wire::{Limits, Session, WireError};

use super::common::{Seen, Stop, announced, call, events, feed, frame, server, small};
use super::pair::ready;

/// A server with three channels and a streamed request on the last one.
fn at_server() -> Iip {
    let mut server = server(3, &small());
    let (seen, ..) = events(&mut server, &frame(0, "/up", 3, "x"));
    assert_eq!(seen.len(), 1);
    server
}

/// A client with three channels and a streamed answer on the last one.
fn at_client() -> Iip {
    let mut client = ready(3, &small());
    for id in 0..6 {
        client.call(&call(id, "", "/x", b"x"), &mut vec![]).unwrap();
    }
    let (seen, ..) = events(&mut client, &frame(4, "/x", 3, "x"));
    assert_eq!(seen.len(), 1);
    client
}

/// What breaks a rule, whole or begun, and where it is found.
fn broken() -> Vec<(bool, String, Vec<u8>)> {
    let mut all = vec![];
    let mut add = |server: bool, name: String, bytes: Vec<u8>| all.push((server, name, bytes));
    for server in [true, false] {
        let base = if server { 0 } else { 4 };
        for status in 0..=255u8 {
            let fits = if server { status < 4 } else { (4..8).contains(&status) };
            if !fits && status != 8 {
                add(server, format!("status {status}"), frame(status, "/x", 1, "x"));
            }
        }
        for channel in [4, 5, 255, 256, 1 << 24, u32::MAX] {
            for status in 0..4 {
                add(server, format!("channel {channel}"), frame(base + status, "/x", channel, "x"));
            }
        }
        for channel in 0..4 {
            for status in 0..4 {
                add(server, "no data".into(), announced(base + status, "/x", channel, 0, &[]));
                for length in [129, 1 << 20, (16 << 20) + 1, u32::MAX] {
                    add(
                        server,
                        format!("{length} bytes"),
                        announced(base + status, "/x", channel, length, &[]),
                    );
                }
                add(server, "empty path".into(), frame(base + status, "", channel, "x"));
                add(server, "only a query".into(), frame(base + status, "?a", channel, "x"));
                add(server, "a query begins".into(), [base + status, b'?'].to_vec());
                for length in [33, 100, 5000] {
                    let path = vec![b'/'; length];
                    add(server, format!("path of {length}"), frame(base + status, &path, channel, "x"));
                    add(server, format!("path of {length} begins"), [&[base + status][..], &path].concat());
                }
                let query = [b"/?".to_vec(), vec![b'q'; 3000]].concat();
                add(server, "long query".into(), frame(base + status, query, channel, "x"));
            }
        }
        for status in [2, 3] {
            for channel in [1, 2] {
                add(server, "later without first".into(), frame(base + status, "/x", channel, "x"));
            }
        }
        for status in [0, 1] {
            add(server, "first within".into(), frame(base + status, "/x", 3, "x"));
            let over = frame(base + status, "/x", 3, [b'x'; 100]);
            add(server, "large first within".into(), over);
        }
    }
    for path in ["/sys/trunkline", "/sys/new_channel", "/x"] {
        // One too many: nobody has asked.
        add(false, format!("{path} unasked"), frame(5, path, 0, r#"{"code":0}"#));
        add(false, format!("{path} unasked, begun"), frame(4, path, 0, "{"));
    }
    all
}

#[test]
fn every_broken_frame_is_a_clean_error() {
    let broken = broken();
    assert!(broken.len() >= 500, "{}", broken.len());
    for (server, name, bytes) in broken {
        let new = if server { at_server } else { at_client };
        let (seen, out, stop) = events(&mut new(), &bytes);
        let Stop::Closed(error) = stop else { panic!("{name} (server {server}): {stop:?} {seen:?}") };
        assert!(matches!(error, WireError::Malformed { .. } | WireError::TooLarge { .. }), "{name}: {error}");
        assert!(error.to_string().starts_with("iip: "));
        assert!(seen.is_empty() && out.is_empty(), "{name}: {seen:?}");
        // Byte by byte it is the same error, and nothing is waited for that cannot come.
        let (mut session, mut input, mut seen) = (new(), vec![], vec![]);
        let mut stopped = None;
        for byte in &bytes {
            input.push(*byte);
            match feed(&mut session, &mut input, &mut vec![], &mut seen) {
                Stop::Closed(error) => {
                    stopped = Some(error);
                    break;
                }
                Stop::NeedMore(_) => {}
                Stop::Blocked => panic!("{name} waits"),
            }
        }
        assert_eq!(stopped, Some(error), "{name}");
    }
}

/// A whole frame cut anywhere only waits.
#[test]
fn a_cut_frame_waits() {
    let bytes = frame(1, "/Arith/Mul?x", 1, "0123456789");
    for end in 0..bytes.len() {
        let (seen, out, stop) = events(&mut at_server(), &bytes[..end]);
        assert!(matches!(stop, Stop::NeedMore(_)) && seen.is_empty() && out.is_empty());
    }
}

/// One bit that is wrong anywhere in a good stream never makes more calls than there are frames, nor a panic.
#[test]
fn every_bit_flipped() {
    let stream: Vec<u8> = [
        frame(1, "/sys/new_channel", 0, "{}"),
        frame(0, "/a/b?q", 1, "12345"),
        frame(3, "/a/b", 1, "6"),
        frame(1, "/sys/delete_channel", 1, "{}"),
        frame(1, "/c", 0, "7"),
    ]
    .concat();
    let mut refused = 0;
    for at in 0..stream.len() {
        for bit in 0..8 {
            let mut bytes = stream.clone();
            bytes[at] ^= 1 << bit;
            let (seen, _, stop) = events(&mut Iip::server(&small()), &bytes);
            assert!(seen.iter().filter(|seen| matches!(seen, Seen::Call { .. })).count() <= 4);
            refused += usize::from(matches!(stop, Stop::Closed(_)));
        }
    }
    assert!(refused > 300, "{refused}");
}

/// A cancel that names nothing, or nothing that can be, is read past.
#[test]
fn senseless_notices_do_nothing() {
    let mut server = server(1, &Limits::default());
    events(&mut server, &frame(1, "/sys/trunkline", 0, "{}"));
    for said in
        ["", "1", "1.", ".1", "1.1", "x.y", "-1.-1", "1.99999999999999999999999", "9.1", "0.0", "1.1.1"]
    {
        let notice = frame(1, format!("/sys/trunkline?cancel={said}"), 0, "{}");
        assert_eq!(events(&mut server, &notice), (vec![], vec![], Stop::NeedMore(0)), "{said}");
    }
    let (_, _, stop) = events(&mut server, &frame(0, "/sys/trunkline?cancel=1.1", 0, "{}"));
    assert!(matches!(stop, Stop::Closed(_)));
}

/// What was kept behind the request that deletes its channel is a frame on a deleted channel.
#[test]
fn frames_kept_behind_a_deletion_are_refused() {
    let mut limits = Limits::default();
    limits.calls = 1;
    let mut server = server(1, &limits);
    let behind = [frame(1, "/x", 1, "x"), frame(1, "/sys/delete_channel", 1, "{}"), frame(1, "/y", 1, "y")];
    let (seen, mut out, stop) = events(&mut server, &behind.concat());
    assert_eq!((seen.len(), stop), (1, Stop::NeedMore(0)));
    let head = super::common::calls(&seen).remove(0);
    server.reply(&head.call(), &super::common::good(b"z"), &mut out).unwrap();
    let followed = super::common::follow(&mut server, &mut out, &mut vec![]);
    assert!(
        matches!(followed, Err(WireError::Malformed { rule: "the channel is deleted", .. })),
        "{followed:?}"
    );
}
