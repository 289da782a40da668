//! The same stream gives the same events however it is cut into segments.

use trunkline_wire::netrpc::NetRpc;
use trunkline_wire::{Limits, Session};

use super::common::{
    Seen, Stop, args, bytes, definition, events, feed, head_definition, head_value, small, value,
};
use super::golden::cases;

/// Gives the pieces one after the other.
fn in_pieces<'a>(
    session: &mut NetRpc,
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

pub(crate) fn check(new: fn(&Limits) -> NetRpc, limits: &Limits, bytes: &[u8], name: &str) {
    let expected = events(&mut new(limits), bytes);
    for at in 0..=bytes.len() {
        let (before, after) = bytes.split_at(at);
        assert_eq!(in_pieces(&mut new(limits), [before, after]), expected, "{name} cut at {at}");
    }
    assert_eq!(in_pieces(&mut new(limits), bytes.chunks(1)), expected, "{name} byte by byte");
    assert_eq!(in_pieces(&mut new(limits), bytes.chunks(7)), expected, "{name} by 7");
}

#[test]
fn recorded_streams_cut_anywhere() {
    for case in cases() {
        check(NetRpc::server, &Limits::default(), &case.gob("c2s"), &case.name);
        check(NetRpc::client, &Limits::default(), &case.gob("s2c"), &case.name);
    }
}

#[test]
fn all_kinds_of_calls_cut_anywhere() {
    let request = |name: &str, seq| head_value(80, name, seq, "");
    let to_server = [
        head_definition(80, "Request"),
        request("S.M", 0),
        bytes(b"abc"),
        request("nothing", 1),
        bytes(b"abc"),
        request("S.M", 2),
        definition(90, "Args", &["A", "B"]),
        definition(91, "Other", &["X"]),
        value(91, &[5]),
        request("S.M", 3),
        bytes(&[7; 100]),
        request("S.M", 4),
        value(99, &[1]),
        request("S.M", 5),
        value(90, &[1, 2]),
        b"\xf7garbage".to_vec(),
    ]
    .concat();
    check(NetRpc::server, &small(), &to_server, "to the server");
    let (seen, out, stop) = events(&mut NetRpc::server(&small()), &to_server);
    assert!(
        matches!(
            &seen[..],
            [Seen::Call { .. }, Seen::Call { body: other, .. }, Seen::Refused { got: 104, .. }, Seen::Call { body, .. }]
                if *body == args(1, 2) && *other == [definition(65, "Other", &["X"]), value(65, &[5])].concat()
        ),
        "{seen:?}"
    );
    let (answers, _, _) = events(&mut NetRpc::client(&small()), &out);
    assert!(
        matches!(
            &answers[..],
            [Seen::Reply { id: 1, failure: Some(first), .. }, Seen::Reply { id: 4, failure: Some(second), .. }]
                if first == "rpc: service/method request ill-formed: nothing" && second.contains("unknown type id")
        ),
        "{answers:?}"
    );
    assert!(matches!(stop, Stop::Closed(_)));
    let response = |seq, error: &str| head_value(80, "S.M", seq, error);
    let to_client = [
        head_definition(80, "Response"),
        response(0, ""),
        bytes(b"abc"),
        response(1, "no"),
        definition(90, "Args", &["A", "B"]),
        value(90, &[1, 2]),
        response(2, ""),
        bytes(&[7; 100]),
        response(3, "no"),
        bytes(&[7; 100]),
        response(4, ""),
        value(99, &[1]),
        response(5, ""),
        value(90, &[1, 2]),
        vec![0xf7],
    ]
    .concat();
    check(NetRpc::client, &small(), &to_client, "to the client");
    let (seen, _, _) = events(&mut NetRpc::client(&small()), &to_client);
    assert_eq!(seen.len(), 6, "{seen:?}");
    assert_eq!(seen[2], Seen::ReplyTooLarge { id: 2, got: 104, limit: 64 });
    assert_eq!(seen[5], Seen::Reply { id: 5, failure: None, body: args(1, 2) });
}
