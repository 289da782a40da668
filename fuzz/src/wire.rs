//! What must hold for all bytes on the rpcx wire. Used by the fuzz targets and by the replay of their corpus.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each target uses a part; a check fails loudly"
)]

use std::collections::VecDeque;

use trunkline_wire::detect::{Detection, after_connect, detect as first_bytes};
use trunkline_wire::rpcx::{Frame, Rpcx};
use trunkline_wire::{
    CallFrame, CallHead, Compression, Event, Failure, Limits, Metadata, Next, Pairs, PushFrame, PushHead,
    ReplyFrame, Serialization, Session,
};

/// Small limits, so that short inputs reach them.
fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.body = 64;
    limits.names = 24;
    limits.metadata = 48;
    limits.metadata_pairs = 3;
    limits.calls = 3;
    limits.skip_factor = 4;
    limits
}

/// A frame that is read is written as the same bytes, and cutting it anywhere makes it incomplete.
pub(crate) fn rpcx_frame(data: &[u8]) {
    for limits in [limits(), Limits::default()] {
        let Ok(Some(frame)) = Frame::decode(data, &limits) else { continue };
        let whole = &data[..frame.length()];
        assert!(frame.service.len() + frame.method.len() <= limits.names && frame.body.len() <= limits.body);
        assert!(frame.metadata.iter().count() <= limits.metadata_pairs);
        let mut out = vec![1, 2, 3];
        frame.encode(&limits, &mut out).unwrap();
        assert_eq!(&out[3..], whole);
        for end in [0, 1, 15, 16, 20, whole.len() / 2, whole.len() - 1] {
            assert_eq!(Frame::decode(&whole[..end.min(whole.len() - 1)], &limits), Ok(None));
        }
        assert_eq!(Frame::decode(whole, &limits).unwrap().unwrap(), frame);
    }
}

/// Metadata that is read is written as the same bytes, and a look-up finds the first of its key.
pub(crate) fn metadata(data: &[u8]) {
    let limits = limits();
    let Ok(pairs) = Pairs::parse(data, &limits) else { return };
    assert!(data.len() <= limits.metadata);
    let mut builder = Metadata::builder();
    for (key, value) in pairs.iter() {
        builder = builder.with_bytes(key, value);
        let first = pairs.iter().find(|(other, _)| *other == key).unwrap().1;
        assert_eq!(pairs.get_bytes(key), Some(first));
    }
    assert_eq!(builder.build().pairs().as_bytes(), data);
}

/// More bytes never change what fewer have decided.
pub(crate) fn detect(data: &[u8]) {
    let limits = Limits::default();
    let (path, data) = data.split_at(data.len().min(8));
    let mut decided = None;
    for end in 0..=data.len().min(64) {
        let now = first_bytes(&data[..end], &limits);
        match decided {
            None if now == Detection::NeedMore => {}
            None => decided = Some(now),
            Some(before) => assert_eq!(before, now, "{end}"),
        }
        assert!(decided.is_some() || end < 5, "it waits for more than decides it");
        for path in [path, b"/_rpcx_", b"/_goRPC_"] {
            assert_eq!(after_connect(path, &data[..end]) == Detection::NeedMore, end == 0);
        }
    }
}

/// A list of events out of bytes.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn number(&mut self) -> u64 {
        u64::from(self.byte().unwrap_or(0))
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = self.byte().map_or(0, usize::from).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }

    fn text(&mut self) -> &'a str {
        std::str::from_utf8(self.bytes()).unwrap_or("x")
    }
}

/// What a server has to answer.
struct Open {
    id: u64,
    service: Vec<u8>,
    method: Vec<u8>,
    serialization: Serialization,
    compression: Compression,
    one_way: bool,
    note: u64,
}

impl Open {
    fn new(head: &CallHead<'_>) -> Self {
        Self {
            id: head.id,
            service: head.service.to_vec(),
            method: head.method.to_vec(),
            serialization: head.serialization,
            compression: head.compression,
            one_way: head.one_way,
            note: head.note,
        }
    }

    fn head(&self) -> CallHead<'_> {
        CallHead {
            id: self.id,
            service: &self.service,
            method: &self.method,
            again: false,
            metadata: Pairs::empty(),
            serialization: self.serialization,
            compression: self.compression,
            one_way: self.one_way,
            note: self.note,
            repeats: &[],
            uri: &[],
        }
    }
}

/// A session, what it has not consumed, and what has to be true of it.
struct Watched {
    session: Rpcx,
    server: bool,
    input: Vec<u8>,
    out: Vec<u8>,
    open: VecDeque<Open>,
    limits: Limits,
}

impl Watched {
    /// Looks at the input until there is no more to see. Whether the connection goes on.
    fn look(&mut self) -> bool {
        loop {
            let before = self.out.clone();
            let plain = self.session.plain_reply(&self.input);
            let Ok(step) = self.session.receive(&self.input, &mut self.out) else {
                assert_eq!(plain, None, "it told a reply of what is broken");
                return false;
            };
            if let Some(plain) = plain {
                let Next::Event(Event::Reply { head, body, end: true }) = &step.next else {
                    panic!("no reply")
                };
                assert_eq!((plain.id, plain.body.end), (head.id, step.consumed));
                assert_eq!(&self.input[plain.body], body.as_slice());
                assert!(head.failure.is_none() && head.metadata.is_empty());
                assert_eq!(head.compression, Compression::None);
            }
            assert!(step.consumed <= self.input.len(), "it consumed more than there was");
            assert!(self.out.starts_with(&before), "it changed what was written");
            // A heartbeat is at most echoed.
            assert!(self.out.len() - before.len() <= step.consumed, "it answered more than it was given");
            let left = self.input.len() - step.consumed;
            let goes_on = match step.next {
                Next::Event(event) => {
                    match event {
                        Event::Call { head, body, .. } => {
                            assert!(self.server && body.as_slice().len() <= self.limits.body);
                            self.open.push_back(Open::new(&head));
                        }
                        Event::Refused { head, .. } => {
                            assert!(self.server);
                            self.open.push_back(Open::new(&head));
                        }
                        Event::Reply { body, .. } => {
                            assert!(!self.server && body.as_slice().len() <= self.limits.body);
                        }
                        Event::Cancel { .. } => assert!(self.server),
                        Event::Pong => {}
                        _ => assert!(!self.server),
                    }
                    assert!(step.consumed > 0, "it would spin");
                    true
                }
                Next::Again => {
                    assert!(step.consumed > 0, "it would spin");
                    true
                }
                Next::NeedMore(n) => {
                    let most = 32 + self.limits.names + self.limits.metadata + self.limits.body;
                    assert!(n == 0 || n > left && n <= most, "it waits for {n} bytes");
                    false
                }
                Next::Blocked => {
                    assert!(self.server && self.open.len() >= self.limits.calls, "it waits for nothing");
                    false
                }
            };
            self.input.drain(..step.consumed);
            assert!(self.open.len() <= self.limits.calls, "more calls than the limit");
            if self.server {
                assert_eq!(self.session.in_flight(), self.open.len());
            }
            if !goes_on {
                return true;
            }
        }
    }

    fn act(&mut self, script: &mut Script<'_>) -> Option<()> {
        match script.byte()? % 12 {
            0..=2 => self.input.extend_from_slice(script.bytes()),
            3 => self.sound_frame(script),
            4 => self.answer(script),
            5 => {
                if let Some(open) = self.open.pop_front() {
                    self.session.forget(open.id, &mut self.out);
                }
            }
            6 => self.answer_in_place(script),
            7 => {
                self.session.cancel(script.number(), &mut self.out);
            }
            8 => {
                self.session.ping(&mut self.out);
            }
            9 => {
                self.session.drain(&mut self.out);
            }
            10 => {
                let head = PushHead {
                    service: script.bytes(),
                    method: script.bytes(),
                    metadata: Pairs::empty(),
                    serialization: Serialization::Json,
                    compression: Compression::None,
                };
                let pushed = self.session.push(&PushFrame { head, body: script.bytes() }, &mut self.out);
                assert!(self.server || pushed.is_err());
            }
            _ => {
                let call = CallFrame {
                    id: script.number(),
                    service: script.text(),
                    method: script.text(),
                    metadata: Pairs::empty(),
                    extra: &[("k", "v")],
                    serialization: Serialization::Other(script.byte()?),
                    compression: Compression::None,
                    one_way: script.byte()? & 1 == 1,
                    body: script.bytes(),
                    end: true,
                };
                let called = self.session.call(&call, &mut self.out);
                assert!(!self.server || called.is_err());
            }
        }
        Some(())
    }

    /// A frame whose lengths are right, since chance seldom makes one.
    fn sound_frame(&mut self, script: &mut Script<'_>) {
        let (flags, format, seq) = (script.number(), script.number(), script.number());
        let texts = [script.bytes(), script.bytes(), script.bytes(), script.bytes()];
        let total: usize = texts.iter().map(|text| text.len() + 4).sum();
        self.input.extend_from_slice(&[8, 0, u8::try_from(flags).unwrap(), u8::try_from(format).unwrap()]);
        self.input.extend_from_slice(&seq.to_be_bytes());
        self.input.extend_from_slice(&u32::try_from(total).unwrap().to_be_bytes());
        for text in texts {
            self.input.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
            self.input.extend_from_slice(text);
        }
    }

    fn answer(&mut self, script: &mut Script<'_>) {
        let index = usize::try_from(script.number()).unwrap();
        let Some(open) = self.open.remove(index % self.open.len().max(1)) else { return };
        let failure = match script.number() % 3 {
            0 => None,
            1 => Some(Failure::text(script.bytes())),
            _ => {
                let code = script.byte().map(u16::from);
                Some(Failure { message: script.bytes(), code, details: Some(script.bytes()) })
            }
        };
        let reply = ReplyFrame {
            failure,
            metadata: Pairs::empty(),
            compression: Compression::None,
            body: script.bytes(),
            end: true,
        };
        let length = self.out.len();
        if self.session.reply(&open.head(), &reply, &mut self.out).is_err() {
            assert_eq!(self.out.len(), length, "it failed and wrote");
            self.open.insert(0, open);
        } else if open.one_way {
            assert_eq!(self.out.len(), length, "a one-way call was answered");
        }
    }

    fn answer_in_place(&mut self, script: &mut Script<'_>) {
        let Some(open) = self.open.pop_front() else { return };
        let length = self.out.len();
        match self.session.begin(&open.head(), &mut self.out) {
            None => {
                assert_eq!(self.out.len(), length);
                self.open.push_front(open);
            }
            Some(mark) => {
                self.out.extend_from_slice(script.bytes());
                self.session.finish(mark, &mut self.out);
            }
        }
    }
}

/// Any list of events, for either role: the session never panics, spins, changes what it has written, or has more
/// calls than the limit; and all that it writes is read by the other role without an error.
pub(crate) fn rpcx_session(data: &[u8]) {
    let mut script = Script(data);
    let Some(role) = script.byte() else { return };
    let (server, limits) = (role & 1 == 0, limits());
    let session = if server { Rpcx::server(&limits) } else { Rpcx::client(&limits) };
    let mut watched =
        Watched { session, server, input: Vec::new(), out: Vec::new(), open: VecDeque::new(), limits };
    watched.session.greet(&mut watched.out);
    while watched.act(&mut script).is_some() && watched.look() {}
    let wide = Limits::default();
    let mut other = if server { Rpcx::client(&wide) } else { Rpcx::server(&wide) };
    let (mut at, mut scratch) = (0, Vec::new());
    loop {
        let step = other.receive(&watched.out[at..], &mut scratch).expect("it wrote what nobody can read");
        at += step.consumed;
        match step.next {
            Next::Event(Event::Call { head, .. }) => other.forget(head.id, &mut Vec::new()),
            Next::Event(_) | Next::Again => {}
            Next::NeedMore(_) => break,
            Next::Blocked => panic!("every call is forgotten at once"),
        }
    }
    assert_eq!(at, watched.out.len(), "it wrote a part of a frame");
}
