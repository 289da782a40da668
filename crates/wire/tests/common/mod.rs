//! What several tests of the rpcx wire use.
#![allow(dead_code, reason = "each test file uses a part of it")]

use trunkline_wire::rpcx::{Header, Rpcx};
use trunkline_wire::{
    CallFrame, CallHead, Compression, Event, Limits, Metadata, Next, Pairs, Payload, PlainReply, PushHead,
    ReplyFrame, ReplyHead, Serialization, Session, Step, WireError,
};

/// An event that owns all it holds, so that it outlives the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Call { head: Head, body: Vec<u8> },
    Refused { head: Head, got: u64, limit: u64 },
    Reply { head: Head, failure: Option<Failed>, body: Vec<u8> },
    ReplyTooLarge { id: u64, got: u64, limit: u64 },
    Push { head: Head, body: Vec<u8> },
    PushTooLarge { got: u64, limit: u64 },
    Cancel(u64),
    Pong,
    Draining,
}

/// Text, code and details of a failure.
pub(crate) type Failed = (Vec<u8>, Option<u16>, Option<Vec<u8>>);

/// The owned form of every kind of head.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Head {
    pub(crate) id: u64,
    pub(crate) service: Vec<u8>,
    pub(crate) method: Vec<u8>,
    pub(crate) metadata: Metadata,
    pub(crate) serialization: Serialization,
    pub(crate) compression: Compression,
    pub(crate) one_way: bool,
    pub(crate) note: u64,
}

impl Head {
    pub(crate) fn call(&self) -> CallHead<'_> {
        CallHead {
            id: self.id,
            service: &self.service,
            method: &self.method,
            again: false,
            metadata: self.metadata.pairs(),
            serialization: self.serialization,
            compression: self.compression,
            one_way: self.one_way,
            note: self.note,
            repeats: &[],
            uri: &[],
        }
    }
}

impl From<&CallHead<'_>> for Head {
    fn from(head: &CallHead<'_>) -> Self {
        Self {
            id: head.id,
            service: head.service.to_vec(),
            method: head.method.to_vec(),
            metadata: head.metadata.to_owned(),
            serialization: head.serialization,
            compression: head.compression,
            one_way: head.one_way,
            note: head.note,
        }
    }
}

impl From<&ReplyHead<'_>> for Head {
    fn from(head: &ReplyHead<'_>) -> Self {
        Self {
            id: head.id,
            metadata: head.metadata.to_owned(),
            serialization: head.serialization,
            compression: head.compression,
            ..Self::default()
        }
    }
}

impl From<&PushHead<'_>> for Head {
    fn from(head: &PushHead<'_>) -> Self {
        Self {
            service: head.service.to_vec(),
            method: head.method.to_vec(),
            metadata: head.metadata.to_owned(),
            serialization: head.serialization,
            compression: head.compression,
            ..Self::default()
        }
    }
}

pub(crate) fn own(event: &Event<'_>) -> Seen {
    let whole = |body: &Payload<'_>, end: &bool| {
        assert!(end, "rpcx bodies come whole");
        body.as_slice().to_vec()
    };
    match event {
        Event::Call { head, body, end } => Seen::Call { head: head.into(), body: whole(body, end) },
        Event::Refused { head, reason: trunkline_wire::Refusal::BodyTooLarge { got, limit } } => {
            Seen::Refused { head: head.into(), got: *got, limit: *limit }
        }
        Event::Reply { head, body, end } => Seen::Reply {
            head: head.into(),
            failure: head.failure.map(|f| (f.message.to_vec(), f.code, f.details.map(<[u8]>::to_vec))),
            body: whole(body, end),
        },
        Event::ReplyTooLarge { id, got, limit } => Seen::ReplyTooLarge { id: *id, got: *got, limit: *limit },
        Event::Push { head, body } => Seen::Push { head: head.into(), body: whole(body, &true) },
        Event::PushTooLarge { got, limit } => Seen::PushTooLarge { got: *got, limit: *limit },
        Event::Cancel { id } => Seen::Cancel(*id),
        Event::Pong => Seen::Pong,
        Event::Draining => Seen::Draining,
        other => panic!("no event of this wire: {other:?}"),
    }
}

/// Why [`feed`] stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    NeedMore(usize),
    Blocked,
    Closed(WireError),
}

/// Shows the session all of the input until it wants more, and takes what it consumed out of it.
pub(crate) fn feed(session: &mut Rpcx, input: &mut Vec<u8>, out: &mut Vec<u8>, seen: &mut Vec<Seen>) -> Stop {
    loop {
        let plain = session.plain_reply(input);
        let step = match session.receive(input, out) {
            Ok(step) => step,
            Err(error) => {
                assert_eq!(plain, None, "no reply at all");
                return Stop::Closed(error);
            }
        };
        assert!(step.consumed <= input.len(), "consumed more than there was");
        if let Some(plain) = plain {
            same_reply(&plain, &step, input);
        }
        let stop = match step.next {
            Next::Event(event) => {
                seen.push(own(&event));
                None
            }
            Next::Again => {
                assert!(step.consumed > 0, "would spin");
                None
            }
            Next::NeedMore(n) => Some(Stop::NeedMore(n)),
            Next::Blocked => Some(Stop::Blocked),
        };
        input.drain(..step.consumed);
        if let Some(Stop::NeedMore(n)) = stop {
            assert!(n == 0 || n > input.len(), "wants {n} bytes and has {}", input.len());
        }
        if let Some(stop) = stop {
            return stop;
        }
    }
}

/// What was told at a glance is what a proper look tells.
fn same_reply(plain: &PlainReply, step: &Step<'_>, input: &[u8]) {
    let Next::Event(Event::Reply { head, body, end: true }) = &step.next else {
        panic!("no reply: {step:?}")
    };
    assert_eq!((plain.id, plain.body.end), (head.id, step.consumed));
    assert_eq!(&input[plain.body.clone()], body.as_slice());
    assert_eq!((head.failure, head.metadata, head.compression), (None, Pairs::empty(), Compression::None));
    assert!(head.uri.is_empty());
}

/// All events of a stream that is given in one piece.
pub(crate) fn events(session: &mut Rpcx, bytes: &[u8]) -> (Vec<Seen>, Vec<u8>, Stop) {
    let (mut seen, mut out, mut input) = (Vec::new(), Vec::new(), bytes.to_vec());
    let stop = feed(session, &mut input, &mut out, &mut seen);
    (seen, out, stop)
}

/// A call of Arith.Mul in JSON.
pub(crate) fn mul(id: u64, body: &[u8]) -> CallFrame<'_> {
    CallFrame {
        id,
        service: "Arith",
        method: "Mul",
        metadata: Pairs::empty(),
        extra: &[],
        serialization: Serialization::Json,
        compression: Compression::None,
        one_way: false,
        body,
        end: true,
    }
}

/// A good reply.
pub(crate) fn good(body: &[u8]) -> ReplyFrame<'_> {
    ReplyFrame { failure: None, metadata: Pairs::empty(), compression: Compression::None, body, end: true }
}

/// The bytes of a request, with lengths that are not checked.
pub(crate) fn raw(flags: u8, texts: [(u32, &[u8]); 4], total: Option<u32>) -> Vec<u8> {
    let sum = texts.iter().map(|(_, text)| text.len() + 4).sum::<usize>();
    let total = total.unwrap_or(u32::try_from(sum).unwrap());
    let mut bytes = Header { version: 0, flags, format: 0x10, seq: 7, total }.encode().to_vec();
    for (length, text) in texts {
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(text);
    }
    bytes
}

/// The bytes of a frame whose lengths are right.
pub(crate) fn whole(flags: u8, service: &str, method: &str, metadata: &Metadata, body: &[u8]) -> Vec<u8> {
    let texts = [service.as_bytes(), method.as_bytes(), metadata.pairs().as_bytes(), body];
    raw(flags, texts.map(|text| (u32::try_from(text.len()).unwrap(), text)), None)
}

/// Small limits, so that the edges are easy to reach.
pub(crate) fn small() -> Limits {
    let mut limits = Limits::default();
    limits.body = 32;
    limits.names = 10;
    limits.metadata = 40;
    limits.metadata_pairs = 2;
    limits.calls = 4;
    limits.skip_factor = 4;
    limits
}
