//! What all tests of the net/rpc wire use.

use trunkline_wire::gob::{
    Definition, Field, Shape, begin, builtin, finish, put_bytes, put_uint, write_definition,
};
use trunkline_wire::netrpc::NetRpc;
use trunkline_wire::{
    CallFrame, CallHead, Compression, Event, Failure, Limits, Next, Pairs, Refusal, ReplyFrame,
    Serialization, Session, WireError,
};

/// An event that owns all it holds, so that it outlives the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Call { head: Head, body: Vec<u8> },
    Refused { head: Head, got: u64, limit: u64 },
    Reply { id: u64, failure: Option<String>, body: Vec<u8> },
    ReplyTooLarge { id: u64, got: u64, limit: u64 },
}

/// What is kept of a call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Head {
    pub(crate) id: u64,
    pub(crate) service: String,
    pub(crate) method: String,
    pub(crate) repeats: Vec<u8>,
}

impl Head {
    /// The head that a driver has at hand as long as the input is there.
    pub(crate) fn call(&self) -> CallHead<'_> {
        CallHead {
            id: self.id,
            service: self.service.as_bytes(),
            method: self.method.as_bytes(),
            again: false,
            metadata: Pairs::empty(),
            serialization: Serialization::Gob,
            compression: Compression::None,
            one_way: false,
            note: 0,
            repeats: &self.repeats,
            uri: &[],
        }
    }

    /// What it keeps longer.
    pub(crate) fn kept(&self) -> CallHead<'_> {
        CallHead { repeats: &[], ..self.call() }
    }
}

fn head(head: &CallHead<'_>) -> Head {
    assert_eq!(head.serialization, Serialization::Gob);
    assert!(head.metadata.is_empty() && !head.one_way && head.compression == Compression::None);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Head {
        id: head.id,
        service: text(head.service),
        method: text(head.method),
        repeats: head.repeats.to_vec(),
    }
}

fn own(event: &Event<'_>) -> Seen {
    match event {
        Event::Call { head: of, body, end: true } => {
            Seen::Call { head: head(of), body: body.as_slice().to_vec() }
        }
        Event::Refused { head: of, reason: Refusal::BodyTooLarge { got, limit } } => {
            Seen::Refused { head: head(of), got: *got, limit: *limit }
        }
        Event::Reply { head, body, end: true } => Seen::Reply {
            id: head.id,
            failure: head.failure.map(|failure| String::from_utf8(failure.message.to_vec()).unwrap()),
            body: body.as_slice().to_vec(),
        },
        Event::ReplyTooLarge { id, got, limit } => Seen::ReplyTooLarge { id: *id, got: *got, limit: *limit },
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
pub(crate) fn feed(
    session: &mut NetRpc,
    input: &mut Vec<u8>,
    out: &mut Vec<u8>,
    seen: &mut Vec<Seen>,
) -> Stop {
    loop {
        let before = out.len();
        let step = match session.receive(input, out) {
            Ok(step) => step,
            Err(error) => {
                assert_eq!(out.len(), before, "what ends the connection is not answered");
                return Stop::Closed(error);
            }
        };
        assert!(step.consumed <= input.len(), "consumed more than there was");
        let stop = match step.next {
            Next::Event(event) => {
                assert!(step.consumed > 0, "would spin");
                seen.push(own(&event));
                None
            }
            Next::Again => {
                assert!(step.consumed > 0, "would spin");
                None
            }
            Next::NeedMore(n) => {
                let left = input.len() - step.consumed;
                assert!(n == 0 || n > left, "wants {n} bytes and has {left}");
                Some(Stop::NeedMore(n))
            }
            Next::Blocked => Some(Stop::Blocked),
        };
        let consumed = step.consumed;
        input.drain(..consumed);
        if let Some(stop) = stop {
            return stop;
        }
    }
}

/// All that a stream says.
pub(crate) fn events(session: &mut NetRpc, bytes: &[u8]) -> (Vec<Seen>, Vec<u8>, Stop) {
    let (mut seen, mut out) = (vec![], vec![]);
    let stop = feed(session, &mut bytes.to_vec(), &mut out, &mut seen);
    (seen, out, stop)
}

/// A call.
pub(crate) fn call<'a>(id: u64, service: &'a str, method: &'a str, body: &'a [u8]) -> CallFrame<'a> {
    CallFrame {
        id,
        service,
        method,
        metadata: Pairs::empty(),
        extra: &[],
        serialization: Serialization::Gob,
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

/// A failure.
pub(crate) fn bad(text: &str) -> ReplyFrame<'_> {
    ReplyFrame { failure: Some(Failure::text(text.as_bytes())), ..good(&[]) }
}

/// The definition of a struct with integers of these names, under this id.
pub(crate) fn definition(id: i64, name: &str, fields: &[&str]) -> Vec<u8> {
    let fields = fields.iter().map(|name| Field { name: (*name).into(), id: builtin::INT });
    let definition = Definition { name: name.into(), shape: Shape::Struct(fields.collect()) };
    let mut out = vec![];
    write_definition(id, &definition, |id| id, &mut out);
    out
}

/// A value of a struct with integers, all above zero.
pub(crate) fn value(id: i64, fields: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    let start = begin(id, &mut out);
    for field in fields {
        out.extend([1, field * 2]);
    }
    out.push(0);
    finish(start, &mut out);
    out
}

/// A self-contained body: `Args{A, B}`.
pub(crate) fn args(a: u8, b: u8) -> Vec<u8> {
    [definition(65, "Args", &["A", "B"]), value(65, &[a, b])].concat()
}

/// A body of bytes.
pub(crate) fn bytes(data: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    let start = begin(builtin::BYTES, &mut out);
    out.push(0);
    put_bytes(data, &mut out);
    finish(start, &mut out);
    out
}

/// The definition of Go's `Request` or, with an error, `Response`, under this id.
pub(crate) fn head_definition(id: i64, name: &str) -> Vec<u8> {
    let field = |name: &str, id| Field { name: name.into(), id };
    let mut fields = vec![field("ServiceMethod", builtin::STRING), field("Seq", builtin::UINT)];
    if name == "Response" {
        fields.push(field("Error", builtin::STRING));
    }
    let mut out = vec![];
    let definition = Definition { name: name.into(), shape: Shape::Struct(fields.into()) };
    write_definition(id, &definition, |id| id, &mut out);
    out
}

/// The value of a head.
pub(crate) fn head_value(id: i64, name: &str, seq: u64, error: &str) -> Vec<u8> {
    let mut out = vec![];
    let start = begin(id, &mut out);
    let mut last = 0;
    let mut delta = |field: u64, out: &mut Vec<u8>| {
        put_uint(field - last, out);
        last = field;
    };
    if !name.is_empty() {
        delta(1, &mut out);
        put_bytes(name.as_bytes(), &mut out);
    }
    if seq > 0 {
        delta(2, &mut out);
        put_uint(seq, &mut out);
    }
    if !error.is_empty() {
        delta(3, &mut out);
        put_bytes(error.as_bytes(), &mut out);
    }
    out.push(0);
    finish(start, &mut out);
    out
}

/// Small limits, so that short streams reach them.
pub(crate) fn small() -> Limits {
    let mut limits = Limits::default();
    limits.body = 64;
    limits.names = 48;
    limits.calls = 4;
    limits.types = 8;
    limits.skip_factor = 4;
    limits
}
