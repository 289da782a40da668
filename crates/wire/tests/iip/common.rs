//! What all tests of the IIP wire use.

use trunkline_wire::iip::{Frame, Iip};
use trunkline_wire::{
    CallFrame, CallHead, Compression, Event, Limits, Next, Pairs, Payload, Refusal, ReplyFrame,
    Serialization, Session, WireError,
};

/// An event that owns all it holds, so that it outlives the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Call { head: Head, body: Vec<u8>, end: bool },
    Refused { head: Head, got: u64, limit: u64 },
    Reply { id: u64, failure: Option<(Vec<u8>, Option<u16>)>, uri: Vec<u8>, body: Vec<u8>, end: bool },
    ReplyTooLarge { id: u64, got: u64, limit: u64 },
    Data { id: u64, body: Vec<u8>, end: bool },
    Cancel(u64),
    Pong,
    Draining,
    Closed,
}

/// What is kept of a call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Head {
    pub(crate) id: u64,
    pub(crate) service: Vec<u8>,
    pub(crate) method: Vec<u8>,
    pub(crate) uri: Vec<u8>,
}

impl Head {
    /// As a driver keeps it: without what was borrowed beside the names.
    pub(crate) fn call(&self) -> CallHead<'_> {
        CallHead {
            id: self.id,
            service: &self.service,
            method: &self.method,
            again: false,
            metadata: Pairs::empty(),
            serialization: Serialization::Json,
            compression: Compression::None,
            one_way: false,
            note: 0,
            repeats: &[],
            uri: &[],
        }
    }

    /// The channel, and the number on it.
    pub(crate) fn place(&self) -> (u64, u64) {
        (self.id >> 32, self.id & 0xffff_ffff)
    }
}

fn head(head: &CallHead<'_>) -> Head {
    assert_eq!(head.serialization, Serialization::Json);
    assert!(head.metadata.is_empty() && !head.one_way && head.compression == Compression::None);
    Head { id: head.id, service: head.service.to_vec(), method: head.method.to_vec(), uri: head.uri.to_vec() }
}

fn own(event: &Event<'_>, input: &[u8]) -> Seen {
    let body = |payload: &Payload<'_>| {
        let Payload::Input(bytes) = payload else { panic!("a body lies in its input") };
        let (outer, inner) = (input.as_ptr_range(), bytes.as_ptr_range());
        assert!(bytes.is_empty() || outer.start <= inner.start && inner.end <= outer.end);
        bytes.to_vec()
    };
    match event {
        Event::Call { head: of, body: data, end } => {
            Seen::Call { head: head(of), body: body(data), end: *end }
        }
        Event::Refused { head: of, reason: Refusal::BodyTooLarge { got, limit } } => {
            Seen::Refused { head: head(of), got: *got, limit: *limit }
        }
        Event::Reply { head, body: data, end } => Seen::Reply {
            id: head.id,
            failure: head.failure.map(|failure| {
                // The object as it came.
                if let Some(object) = failure.details {
                    let object = serde_json::from_slice::<serde_json::Value>(object).unwrap();
                    assert!(object["code"] != 0 && object["message"].is_string(), "{object}");
                }
                (Iip::text(failure.message).into_owned().into_bytes(), failure.code)
            }),
            uri: head.uri.to_vec(),
            body: body(data),
            end: *end,
        },
        Event::ReplyTooLarge { id, got, limit } => Seen::ReplyTooLarge { id: *id, got: *got, limit: *limit },
        Event::Data { id, body: data, end } => Seen::Data { id: *id, body: body(data), end: *end },
        Event::Cancel { id } => Seen::Cancel(*id),
        Event::Pong => Seen::Pong,
        Event::Draining => Seen::Draining,
        Event::Closed => Seen::Closed,
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

/// Shows the session all of the input until it wants more, and takes what it consumed out of it. What it had kept is
/// looked at as soon as it may be.
pub(crate) fn feed(session: &mut Iip, input: &mut Vec<u8>, out: &mut Vec<u8>, seen: &mut Vec<Seen>) -> Stop {
    loop {
        let (consumed, stop) = look(session, input, out, seen);
        input.drain(..consumed);
        if let Some(Stop::NeedMore(n)) = stop {
            assert!(n == 0 || n > input.len(), "wants {n} bytes and has {}", input.len());
        }
        let followed = follow(session, out, seen);
        match (stop, followed) {
            (_, Err(error)) | (Some(Stop::Closed(error)), _) => return Stop::Closed(error),
            (Some(Stop::Blocked), Ok(true)) | (None, Ok(_)) => {}
            (Some(stop), Ok(_)) => return stop,
        }
    }
}

/// What the session had kept and may look at now. Whether there was some.
pub(crate) fn follow(session: &mut Iip, out: &mut Vec<u8>, seen: &mut Vec<Seen>) -> Result<bool, WireError> {
    let mut followed = false;
    while let Some(frame) = session.held() {
        assert_eq!(session.held(), Some(frame.clone()), "the same until it is consumed");
        match look(session, &frame, out, seen) {
            (consumed, None) => assert_eq!(consumed, frame.len(), "one whole frame"),
            (_, Some(Stop::Closed(error))) => return Err(error),
            (_, Some(stop)) => panic!("{stop:?} for what may be looked at"),
        }
        followed = true;
    }
    Ok(followed)
}

fn look(session: &mut Iip, input: &[u8], out: &mut Vec<u8>, seen: &mut Vec<Seen>) -> (usize, Option<Stop>) {
    let step = match session.receive(input, out) {
        Ok(step) => step,
        Err(error) => return (0, Some(Stop::Closed(error))),
    };
    assert!(step.consumed <= input.len(), "consumed more than there was");
    let stop = match step.next {
        Next::Event(event) => {
            assert!(step.consumed > 0 || event == Event::Draining, "would spin");
            seen.push(own(&event, input));
            None
        }
        Next::Again => {
            assert!(step.consumed > 0, "would spin");
            None
        }
        Next::NeedMore(n) => Some(Stop::NeedMore(n)),
        Next::Blocked => Some(Stop::Blocked),
    };
    (step.consumed, stop)
}

/// All events of a stream that is given in one piece.
pub(crate) fn events(session: &mut Iip, bytes: &[u8]) -> (Vec<Seen>, Vec<u8>, Stop) {
    let (mut seen, mut out, mut input) = (Vec::new(), Vec::new(), bytes.to_vec());
    let stop = feed(session, &mut input, &mut out, &mut seen);
    (seen, out, stop)
}

/// A frame's bytes, unchecked.
pub(crate) fn frame(status: u8, path: impl AsRef<[u8]>, channel: u32, data: impl AsRef<[u8]>) -> Vec<u8> {
    let data = data.as_ref();
    announced(status, path, channel, u32::try_from(data.len()).unwrap(), data)
}

/// The same with a length of its own.
pub(crate) fn announced(
    status: u8,
    path: impl AsRef<[u8]>,
    channel: u32,
    length: u32,
    data: &[u8],
) -> Vec<u8> {
    [&[status], path.as_ref(), &[0], &channel.to_be_bytes(), &length.to_be_bytes(), data].concat()
}

/// The frames of a stream: status, path, channel, data.
pub(crate) fn frames(bytes: &[u8]) -> Vec<(u8, String, u32, Vec<u8>)> {
    let mut limits = Limits::default();
    limits.body = 1 << 30;
    let (mut frames, mut rest) = (vec![], bytes);
    while !rest.is_empty() {
        let frame = Frame::decode(rest, &limits).unwrap().unwrap();
        let path = String::from_utf8_lossy(frame.path).into_owned();
        frames.push((frame.status, path, frame.channel, frame.data.to_vec()));
        rest = &rest[frame.length()..];
    }
    frames
}

/// The data of all frames, as text.
pub(crate) fn texts(bytes: &[u8]) -> Vec<String> {
    frames(bytes).into_iter().map(|(_, _, _, data)| String::from_utf8_lossy(&data).into_owned()).collect()
}

/// A call of one service's method, or of a path where the service is empty.
pub(crate) fn call<'a>(id: u64, service: &'a str, method: &'a str, body: &'a [u8]) -> CallFrame<'a> {
    CallFrame {
        id,
        service,
        method,
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

/// A server with that many channels granted, and nothing written.
pub(crate) fn server(channels: usize, limits: &Limits) -> Iip {
    let mut server = Iip::server(limits);
    for id in 1..=channels {
        let (seen, out, _) = events(&mut server, &frame(1, "/sys/new_channel", 0, "{}"));
        assert_eq!((seen, texts(&out)), (vec![], vec![format!("{{\"code\":0,\"channel_id\":{id}}}")]));
    }
    server
}

/// The heads of the calls among these.
pub(crate) fn calls(seen: &[Seen]) -> Vec<Head> {
    let calls = seen.iter().filter_map(|seen| match seen {
        Seen::Call { head, .. } | Seen::Refused { head, .. } => Some(head.clone()),
        _ => None,
    });
    calls.collect()
}

/// Small limits, so that the edges are easy to reach.
pub(crate) fn small() -> Limits {
    let mut limits = Limits::default();
    limits.body = 32;
    limits.names = 32;
    limits.metadata = 64;
    limits.calls = 4;
    limits.channels = 3;
    limits.client_channels = 2;
    limits.skip_factor = 4;
    limits
}
