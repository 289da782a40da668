//! What must hold for all bytes and all orders on the net/rpc wire. Used by the fuzz target and by the replay of its
//! corpus.
#![allow(
    dead_code,
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each target uses a part; a check fails loudly"
)]

use trunkline_wire::netrpc::NetRpc;
use trunkline_wire::{
    CallFrame, CallHead, Compression, Event, Failure, Limits, Next, Pairs, Refusal, ReplyFrame,
    Serialization, Session,
};

/// The definitions of Go's `Request` and `Response`, both under the id 64, and a struct with two numbers under 70.
const REQUEST: &[u8] =
    b"\x2e\x7f\x03\x01\x01\x07Request\x01\xff\x80\x00\x01\x02\x01\x0dServiceMethod\x01\x0c\x00\x01\x03Seq\x01\x06\x00\x00\x00";
const RESPONSE: &[u8] =
    b"\x39\x7f\x03\x01\x01\x08Response\x01\xff\x80\x00\x01\x03\x01\x0dServiceMethod\x01\x0c\x00\x01\x03Seq\x01\x06\x00\
      \x01\x05Error\x01\x0c\x00\x00\x00";
const ARGS: &[u8] = b"\x1e\xff\x8b\x03\x01\x01\x04Args\x01\xff\x8c\x00\x01\x02\x01\x01A\x01\x04\x00\x01\x01B\x01\x04\x00\x00\x00";
/// The same as a body: a stream of its own, and its value.
const BODY: &[u8] = b"\x1e\xff\x81\x03\x01\x01\x04Args\x01\xff\x82\x00\x01\x02\x01\x01A\x01\x04\x00\x01\x01B\x01\x04\x00\x00\x00\
                      \x07\xff\x82\x01\x0c\x01\x0e\x00";
const BYTES: &[u8] = b"\x06\x0a\x00\x03abc";

/// Small limits, so that short inputs reach them.
fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.body = 96;
    limits.names = 40;
    limits.calls = 3;
    limits.types = 6;
    limits.skip_factor = 4;
    limits
}

/// A list of events out of bytes.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn number(&mut self) -> usize {
        usize::from(self.byte().unwrap_or(0))
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = self.number().min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }
}

/// What was seen, so far as two runs can be compared.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Call(u64, Vec<u8>, Vec<u8>, Option<Vec<u8>>),
    Reply(u64, Option<Vec<u8>>, Vec<u8>),
    TooLarge(u64, u64),
}

/// A call's number, service, method, and what its reply repeats.
type Open = (u64, Vec<u8>, Vec<u8>, Vec<u8>);

/// A session, what it has not consumed, and what has to be true of it.
struct Watched {
    session: NetRpc,
    server: bool,
    input: Vec<u8>,
    out: Vec<u8>,
    seen: Vec<Seen>,
    /// Calls that a server has to answer.
    open: Vec<Open>,
    /// How many answers or calls were written by the driver.
    written: usize,
    limits: Limits,
}

impl Watched {
    fn new(server: bool, limits: Limits) -> Self {
        let session = if server { NetRpc::server(&limits) } else { NetRpc::client(&limits) };
        Self { session, server, input: vec![], out: vec![], seen: vec![], open: vec![], written: 0, limits }
    }

    /// Looks at the input until there is no more to see. Whether the connection goes on.
    fn look(&mut self) -> bool {
        loop {
            let before = self.out.len();
            let input = std::mem::take(&mut self.input);
            let step = match self.session.receive(&input, &mut self.out) {
                Ok(step) => step,
                Err(_) => {
                    assert_eq!(self.out.len(), before, "what ends the connection is not answered");
                    return false;
                }
            };
            assert!(step.consumed <= input.len(), "it consumed more than there was");
            assert!(self.out.len() >= before, "it took back what was written");
            let goes_on = match step.next {
                Next::Event(event) => {
                    assert!(step.consumed > 0, "it would spin");
                    self.on_event(&event);
                    true
                }
                Next::Again => {
                    assert!(step.consumed > 0, "it would spin");
                    true
                }
                Next::NeedMore(n) => {
                    assert!(n == 0 || n > input.len() - step.consumed, "it wants what is there");
                    assert!(n <= self.limits.body + (1 << 20), "it wants more than its limits");
                    false
                }
                Next::Blocked => {
                    assert!(self.server && self.session.in_flight() >= self.limits.calls);
                    false
                }
            };
            self.input = input[step.consumed..].to_vec();
            if self.server {
                assert_eq!(self.session.in_flight(), self.open.len());
                assert!(self.open.len() <= self.limits.calls);
            }
            if !goes_on {
                return true;
            }
        }
    }

    fn on_event(&mut self, event: &Event<'_>) {
        match event {
            Event::Call { head, body, end } => {
                assert!(self.server && *end && body.as_slice().len() <= self.limits.body + (64 << 10));
                self.opened(head, Some(body.as_slice().to_vec()));
            }
            Event::Refused { head, reason: Refusal::BodyTooLarge { got, limit } } => {
                assert!(self.server && got > limit);
                self.opened(head, None);
            }
            Event::Reply { head, body, end } => {
                assert!(!self.server && *end);
                let failure = head.failure.map(|failure| failure.message.to_vec());
                assert!(failure.as_ref().is_none_or(|text| !text.is_empty() && body.as_slice().is_empty()));
                self.seen.push(Seen::Reply(head.id, failure, body.as_slice().to_vec()));
            }
            Event::ReplyTooLarge { id, got, limit } => {
                assert!(!self.server && got > limit);
                self.seen.push(Seen::TooLarge(*id, *got));
            }
            other => panic!("no event of this wire: {other:?}"),
        }
    }

    fn opened(&mut self, head: &CallHead<'_>, body: Option<Vec<u8>>) {
        assert!(!head.service.is_empty() && head.serialization == Serialization::Gob);
        let (service, method) = (head.service.to_vec(), head.method.to_vec());
        self.seen.push(Seen::Call(head.id, service.clone(), method.clone(), body));
        self.open.push((head.id, service, method, head.repeats.to_vec()));
    }

    fn act(&mut self, script: &mut Script<'_>) -> Option<()> {
        match script.byte()? % 12 {
            0 => self.input.extend_from_slice(script.bytes()),
            1 => self.input.extend_from_slice(if self.server { REQUEST } else { RESPONSE }),
            2 => self.input.extend_from_slice(ARGS),
            3..=5 => self.sound_call(script),
            6..=8 if self.server => self.answer(script),
            9 if self.server => {
                if let Some(at) = script.number().checked_rem(self.open.len()) {
                    let (id, ..) = self.open.remove(at);
                    self.session.forget(id, &mut self.out);
                }
            }
            10 => {
                let before = self.out.len();
                assert!(!self.session.cancel(1, &mut self.out) && !self.session.ping(&mut self.out));
                assert!(!self.session.drain(&mut self.out) && self.out.len() == before);
            }
            _ => self.call(script),
        }
        Some(())
    }

    /// A head and a value whose lengths are right.
    fn sound_call(&mut self, script: &mut Script<'_>) {
        let names: [&[u8]; 5] = [b"S.M", b"a.b.c", b"Mul", b".M", b""];
        let at = script.number();
        let (name, seq) = (names[at % 5], script.number() as u8 & 0x7f);
        let mut head = vec![0xff, 0x80];
        let mut last = 0;
        let mut field = |number: u8, head: &mut Vec<u8>| {
            head.push(number - last);
            last = number;
        };
        if !name.is_empty() {
            field(1, &mut head);
            head.push(name.len() as u8);
            head.extend_from_slice(name);
        }
        if seq > 0 {
            field(2, &mut head);
            head.push(seq);
        }
        if !self.server && at & 64 != 0 {
            field(3, &mut head);
            head.extend_from_slice(b"\x03bad");
        }
        head.push(0);
        self.input.push(head.len() as u8);
        self.input.extend_from_slice(&head);
        match script.number() % 4 {
            0 => self.input.extend_from_slice(BYTES),
            1 => self.input.extend_from_slice(b"\x07\xff\x8c\x01\x0c\x01\x0e\x00"),
            2 => {
                let data = script.bytes();
                self.input.push(0u8.wrapping_sub(1));
                self.input.push(data.len() as u8);
                self.input.extend_from_slice(data);
            }
            _ => self.input.extend_from_slice(script.bytes()),
        }
    }

    fn answer(&mut self, script: &mut Script<'_>) {
        let (at, how) = (script.number(), script.number());
        let Some(at) = at.checked_rem(self.open.len()) else { return };
        let (id, service, method, repeats) = self.open.remove(at);
        let head = CallHead {
            id,
            service: &service,
            method: &method,
            again: false,
            metadata: Pairs::empty(),
            serialization: Serialization::Gob,
            compression: Compression::None,
            one_way: false,
            note: 0,
            repeats: if how & 64 == 0 { &repeats } else { &[] },
            uri: &[],
        };
        let body = match how % 4 {
            0 => BODY,
            1 => BYTES,
            2 => b"",
            _ => script.bytes(),
        };
        self.written += 1;
        if how & 16 == 0 {
            let undone = self.out.len();
            let mark = self.session.begin(&head, &mut self.out).unwrap();
            self.out.extend_from_slice(body);
            if how & 32 != 0 {
                // What is cut off has not happened.
                self.out.truncate(undone);
                let _ = mark;
                let mark = self.session.begin(&head, &mut self.out).unwrap();
                self.out.extend_from_slice(body);
                return self.session.finish(mark, &mut self.out);
            }
            return self.session.finish(mark, &mut self.out);
        }
        let failure = (how & 8 != 0).then(|| Failure::text(script.bytes()));
        let reply = ReplyFrame {
            failure,
            metadata: Pairs::empty(),
            compression: Compression::None,
            body,
            end: how & 128 == 0,
        };
        let before = self.out.len();
        if self.session.reply(&head, &reply, &mut self.out).is_err() {
            assert_eq!(self.out.len(), before, "it failed and wrote");
            let failed = ReplyFrame { failure: Some(Failure::text(b"no")), body: &[], end: true, ..reply };
            self.session.reply(&head, &failed, &mut self.out).unwrap();
        }
    }

    fn call(&mut self, script: &mut Script<'_>) {
        let (id, how, before) = (script.number() as u64, script.number(), self.out.len());
        let body = match how % 4 {
            0 => BODY,
            1 => BYTES,
            _ => script.bytes(),
        };
        let call = CallFrame {
            id,
            service: "S",
            method: std::str::from_utf8(script.bytes()).unwrap_or("M"),
            metadata: Pairs::empty(),
            extra: &[],
            serialization: Serialization::Gob,
            compression: Compression::None,
            one_way: how & 8 != 0,
            body,
            end: how & 16 == 0,
        };
        let called = self.session.call(&call, &mut self.out);
        assert!(!self.server || called.is_err());
        assert!(called.is_ok() || self.out.len() == before, "it failed and wrote");
        self.written += usize::from(called.is_ok());
    }
}

/// The first byte: bit 0 says whether the rest is a script or what the peer sends, bit 1 which role reads it.
pub(crate) fn netrpc_session(data: &[u8]) {
    let Some((&first, rest)) = data.split_first() else { return };
    let server = first & 2 == 0;
    if first & 1 == 0 {
        return stream(server, rest);
    }
    let mut watched = Watched::new(server, limits());
    let mut script = Script(rest);
    while watched.look() && watched.act(&mut script).is_some() {}
    // What was written is what the other role reads, all of it.
    let mut wide = Limits::default();
    wide.calls = usize::MAX;
    let mut other = Watched::new(!server, wide);
    other.input = watched.out;
    assert!(other.look() && other.input.is_empty(), "it wrote what is no net/rpc");
    assert!(other.seen.len() >= watched.written, "something of it was lost");
}

/// However the bytes come, they say the same.
fn stream(server: bool, data: &[u8]) {
    for limits in [limits(), Limits::default()] {
        let mut whole = Watched::new(server, limits.clone());
        whole.input = data.to_vec();
        let goes_on = whole.look();
        for piece in [1, 7, 60] {
            let mut cut = Watched::new(server, limits.clone());
            let mut alive = true;
            for bytes in data.chunks(piece) {
                cut.input.extend_from_slice(bytes);
                alive = alive && cut.look();
            }
            assert_eq!(
                (alive, &cut.seen, &cut.out),
                (goes_on, &whole.seen, &whole.out),
                "in pieces of {piece}"
            );
        }
    }
}
