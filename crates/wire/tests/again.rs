//! A session that has seen a call of a method reads the next frame as one that has seen nothing does, but for the hint
//! that the names are the same again.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may fail loudly")]

use proptest::prelude::*;
use trunkline_wire::rpcx::{Frame, Header, Rpcx};
use trunkline_wire::{Event, Limits, Metadata, Next, Pairs, Session, Step, WireError};

const NAMES: [(&str, &str); 4] = [("Arith", "Mul"), ("Arith", "Mul2"), ("ArithM", "ul"), ("", "")];

#[derive(Debug, Clone)]
struct Call {
    names: usize,
    version: u8,
    flags: u8,
    format: u8,
    seq: u64,
    metadata: bool,
    body: usize,
}

prop_compose! {
    fn call()(
        names in 0..NAMES.len(), version in 0u8..2, flags in prop_oneof![8 => Just(0u8), 1 => Just(0x20), 1 => Just(4), 1 => Just(0x40)],
        format in prop_oneof![Just(0u8), Just(0x10)], seq: u64, metadata in prop::bool::weighted(0.2), body in 0usize..90,
    ) -> Call {
        Call { names, version, flags, format, seq, metadata, body }
    }
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.body = 80;
    limits
}

fn encode(call: &Call) -> Vec<u8> {
    let metadata: Metadata = if call.metadata { [("k", "v")].into_iter().collect() } else { Metadata::new() };
    let (service, method) = NAMES[call.names];
    let frame = Frame {
        header: Header {
            version: call.version,
            flags: call.flags,
            format: call.format,
            seq: call.seq,
            total: 0,
        },
        service: service.as_bytes(),
        method: method.as_bytes(),
        metadata: metadata.pairs(),
        body: &vec![7; call.body],
    };
    let mut out = Vec::new();
    frame.encode(&Limits::default(), &mut out).unwrap();
    out
}

/// Whether the names are said to be those of the call before, and the names.
type Hint = (bool, Vec<u8>);

/// What the session says of the input, without the hint; and the hint where it is a call.
fn look<'a>(session: &mut Rpcx, input: &'a [u8]) -> (Result<Step<'a>, WireError>, Option<Hint>) {
    let mut result = session.receive(input, &mut Vec::new());
    let mut hint = None;
    if let Ok(Step { next: Next::Event(Event::Call { head, .. } | Event::Refused { head, .. }), .. }) =
        &mut result
    {
        hint = Some((std::mem::take(&mut head.again), [head.service, b"\0", head.method].concat()));
        session.forget(head.id, &mut Vec::new());
    }
    (result, hint)
}

proptest! {
    #[test]
    fn what_is_known_is_read_as_what_is_not(
        calls in prop::collection::vec(call(), 1..12), cut: prop::sample::Index,
        change in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut warm = Rpcx::server(&limits());
        let mut last = None;
        for (index, call) in calls.iter().enumerate() {
            let mut bytes = encode(call);
            if index + 1 == calls.len() && let Some((at, to)) = change {
                let at = at.index(bytes.len());
                bytes[at] = to;
            }
            let part = &bytes[..cut.index(bytes.len())];
            // Of a body that is too large the beginning says so already, once.
            if call.body <= limits().body {
                prop_assert_eq!(look(&mut warm, part).0, look(&mut Rpcx::server(&limits()), part).0);
            }
            let ((seen, hint), (fresh, _)) = (look(&mut warm, &bytes), look(&mut Rpcx::server(&limits()), &bytes));
            prop_assert_eq!(&seen, &fresh);
            if let Some((again, names)) = hint {
                prop_assert!(!again || last.as_ref() == Some(&names));
                let begun = matches!(seen, Ok(Step { next: Next::Event(Event::Call { .. }), .. }));
                last = begun.then_some(names);
            }
            if call.body > limits().body {
                // The rest of the body is read past.
                warm = Rpcx::server(&limits());
                last = None;
            }
        }
    }
}

#[test]
fn a_method_that_is_called_again_is_said_to_be() {
    let mut session = Rpcx::server(&limits());
    let call = |names, seq| Call { names, version: 0, flags: 0, format: 0, seq, metadata: false, body: 3 };
    let mut seen = Vec::new();
    for (seq, names) in [0, 0, 1, 1, 0].into_iter().enumerate() {
        let bytes = encode(&call(names, seq as u64));
        seen.push(look(&mut session, &bytes).1.unwrap().0);
    }
    assert_eq!(seen, [false, true, false, true, false]);
    // No more than the limit of calls, known or not.
    let mut limits = limits();
    limits.calls = 1;
    let (mut session, bytes) = (Rpcx::server(&limits), encode(&call(0, 0)));
    assert!(matches!(session.receive(&bytes, &mut Vec::new()).unwrap().next, Next::Event(_)));
    assert_eq!(session.receive(&bytes, &mut Vec::new()).unwrap().next, Next::Blocked);
}

/// A body may be anybody's bytes: one that is read past holds no calls, whatever they look like.
#[test]
fn calls_within_a_body_that_is_read_past_are_none() {
    let call = Call { names: 0, version: 0, flags: 0, format: 0, seq: 1, metadata: false, body: 3 };
    let (mut session, usual) = (Rpcx::server(&limits()), encode(&call));
    assert!(look(&mut session, &usual).1.is_some());
    let (service, method) = NAMES[0];
    let frame = Frame {
        header: Header { version: 0, flags: 0, format: 0, seq: 2, total: 0 },
        service: service.as_bytes(),
        method: method.as_bytes(),
        metadata: Pairs::empty(),
        body: &usual.repeat(limits().body / usual.len() + 1),
    };
    let mut large = Vec::new();
    frame.encode(&Limits::default(), &mut large).unwrap();
    let (head, rest) = large.split_at(large.len() - usual.len());
    assert_eq!(rest, usual);
    let refused = session.receive(head, &mut Vec::new()).unwrap();
    assert!(matches!(refused.next, Next::Event(Event::Refused { .. })));
    assert_eq!(refused.consumed, head.len());
    let past = session.receive(rest, &mut Vec::new()).unwrap();
    assert_eq!((past.consumed, past.next), (rest.len(), Next::Again));
    // What comes behind it is a call, and not one as the one before.
    assert!(!look(&mut session, &usual).1.unwrap().0);
}
