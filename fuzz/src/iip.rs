//! What must hold for all bytes and all orders on the IIP wire. Used by the fuzz targets and by the replay of their
//! corpus.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each target uses a part; a check fails loudly"
)]

use std::collections::BTreeMap;

use trunkline_wire::iip::{Frame, Iip, bare, metadata};
use trunkline_wire::{
    CallFrame, CallHead, Compression, Event, Failure, Limits, Next, Pairs, ReplyFrame, Serialization, Session,
};

/// Small limits, so that short inputs reach them.
fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.body = 64;
    limits.names = 48;
    limits.metadata = 48;
    limits.calls = 3;
    limits.channels = 3;
    limits.client_channels = 2;
    limits.held = 128;
    limits.skip_factor = 4;
    limits
}

/// A list of events out of bytes.
pub(crate) struct Script<'a>(pub(crate) &'a [u8]);

impl<'a> Script<'a> {
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    pub(crate) fn number(&mut self) -> usize {
        usize::from(self.byte().unwrap_or(0))
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = self.number().min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }

    fn text(&mut self) -> &'a str {
        std::str::from_utf8(self.bytes()).unwrap_or("x")
    }
}

/// A call that a server has to answer.
pub(crate) struct Open {
    pub(crate) id: u64,
    pub(crate) service: Vec<u8>,
    pub(crate) method: Vec<u8>,
    pub(crate) begun: bool,
}

impl Open {
    pub(crate) fn head(&self) -> CallHead<'_> {
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
}

/// A session, what it has not consumed, and what has to be true of it.
struct Watched {
    session: Iip,
    server: bool,
    input: Vec<u8>,
    out: Vec<u8>,
    open: Vec<Open>,
    /// Requests of this side that are sent frame by frame.
    sending: Vec<u64>,
    /// Nothing is looked at after the peer has closed.
    closed: bool,
    limits: Limits,
}

impl Watched {
    /// Looks at one input once. How much was consumed and whether there may be more, or that the connection ends.
    fn step(&mut self, input: &[u8]) -> Option<(usize, bool)> {
        let before = self.out.len();
        let copy = self.out.clone();
        let Ok(step) = self.session.receive(input, &mut self.out) else { return None };
        assert!(step.consumed <= input.len(), "it consumed more than there was");
        assert!(self.out[..before] == copy[..], "it changed what was written");
        assert!(!self.closed || step.consumed == input.len(), "it looked behind the end");
        let goes_on = match step.next {
            Next::Event(event) => {
                assert!(step.consumed > 0 || event == Event::Draining, "it would spin");
                self.on_event(&event);
                true
            }
            Next::Again => {
                assert!(step.consumed > 0, "it would spin");
                true
            }
            Next::NeedMore(n) => {
                let most = 10 + 2048 + 2 * self.limits.metadata + (16 << 20);
                assert!(n == 0 || n > input.len() - step.consumed && n <= most, "it waits for {n} bytes");
                false
            }
            Next::Blocked => {
                assert!(self.server && self.session.in_flight() > 0, "it waits for nothing");
                false
            }
        };
        Some((step.consumed, goes_on))
    }

    fn on_event(&mut self, event: &Event<'_>) {
        match event {
            Event::Call { head, body, .. } => {
                assert!(
                    self.server
                        && (body.as_slice().len() <= self.limits.body || head.method == b"/upload_file")
                );
                self.opened(head);
            }
            Event::Refused { head, .. } => {
                assert!(self.server);
                if self.open.iter().all(|open| open.id != head.id) {
                    self.opened(head);
                }
            }
            Event::Data { .. } | Event::Closed => {}
            Event::Cancel { .. } => assert!(self.server),
            _ => assert!(!self.server),
        }
        self.closed |= *event == Event::Closed;
    }

    fn opened(&mut self, head: &CallHead<'_>) {
        assert!(!head.method.iter().any(u8::is_ascii_control), "{head:?}");
        let _ = metadata(head.uri, &self.limits);
        assert!(bare(head.uri).starts_with(head.repeats));
        let (service, method) = (head.service.to_vec(), head.method.to_vec());
        self.open.push(Open { id: head.id, service, method, begun: false });
        let same = self.open.iter().filter(|open| open.id >> 32 == head.id >> 32);
        assert!(same.count() <= self.limits.calls, "more calls than the limit");
    }

    /// Looks at the input until there is no more to see. Whether the connection goes on.
    fn look(&mut self) -> bool {
        loop {
            while let Some(frame) = self.session.held() {
                match self.step(&frame) {
                    Some((consumed, true)) => assert_eq!(consumed, frame.len(), "one whole frame"),
                    Some(_) => panic!("it holds what it cannot look at"),
                    None => return false,
                }
            }
            let input = std::mem::take(&mut self.input);
            let looked = self.step(&input);
            self.input = input;
            let Some((consumed, goes_on)) = looked else { return false };
            self.input.drain(..consumed);
            if self.server {
                assert!(self.session.in_flight() >= self.open.len());
            }
            if !goes_on && self.session.held().is_none() {
                return true;
            }
        }
    }

    fn act(&mut self, script: &mut Script<'_>) -> Option<()> {
        match script.byte()? % 16 {
            0 => self.input.extend_from_slice(script.bytes()),
            1..=5 => self.sound_frame(script),
            6..=8 => self.answer(script),
            9 => {
                let at = script.number();
                if !self.open.is_empty() {
                    let open = self.open.remove(at % self.open.len());
                    self.session.forget(open.id, &mut self.out);
                }
            }
            10 => {
                if let Some(open) = script.number().checked_rem(self.open.len()).map(|at| &self.open[at]) {
                    self.session.hold(open.id);
                }
            }
            11 => {
                self.open.iter().for_each(|open| self.session.release(open.id, &mut Vec::new()));
            }
            12 => {
                let id = script.number() as u64;
                self.session.cancel(id, &mut self.out);
                self.sending.retain(|other| *other != id);
            }
            13 => {
                self.session.ping(&mut self.out);
                self.session.drain(&mut self.out);
            }
            14 => self.send(script),
            _ => self.call(script),
        }
        Some(())
    }

    /// A frame whose lengths are right, on a path that means something more often than not.
    fn sound_frame(&mut self, script: &mut Script<'_>) {
        let (status, channel) = (script.byte().unwrap_or(0) % 9, script.byte().unwrap_or(0) % 5);
        let paths: [&[u8]; 8] = [
            b"/S/M",
            b"/sys/new_channel",
            b"/sys/delete_channel",
            b"/sys/trunkline",
            b"/sys/trunkline?cancel=1.1",
            b"/x?__trunkline_empty",
            b"/upload_file?__trunkline=AAAAAWEAAAABYg",
            b"/sys/trunkline?drain",
        ];
        let at = script.number();
        let path = paths.get(at % 9).copied().unwrap_or_else(|| script.bytes());
        let data: &[u8] = match script.number() % 4 {
            0 => b"{}",
            1 => br#"{"code":0,"channel_id":1}"#,
            2 => br#"{"code":0,"trunkline":2}"#,
            _ => script.bytes(),
        };
        self.input.push(status);
        self.input.extend_from_slice(path);
        self.input.extend_from_slice(&[0, 0, 0, 0, channel]);
        self.input.extend_from_slice(&u32::try_from(data.len()).unwrap().to_be_bytes());
        self.input.extend_from_slice(data);
    }

    fn answer(&mut self, script: &mut Script<'_>) {
        let (at, how) = (script.number(), script.number());
        let Some(at) = at.checked_rem(self.open.len()) else { return };
        let mut open = self.open.remove(at);
        let (before, end, body) = (self.out.len(), how & 8 == 0, script.bytes());
        let failure = match how % 8 {
            0 => Some(Failure::text(script.bytes())),
            1 => Some(Failure { message: script.bytes(), code: Some(0x103), details: Some(script.bytes()) }),
            _ => None,
        };
        let ended = match how % 8 {
            2 if !open.begun => match self.session.begin(&open.head(), &mut self.out) {
                None => false,
                Some(mark) => {
                    self.out.extend_from_slice(body);
                    self.session.finish(mark, &mut self.out);
                    true
                }
            },
            3.. if open.begun => {
                let may = self.session.may_write(open.id);
                may && self.session.data(open.id, body, end, &mut self.out).is_ok() && end
            }
            _ => {
                let end = end || failure.is_some();
                let (metadata, compression) = (Pairs::empty(), Compression::None);
                let reply = ReplyFrame { failure, metadata, compression, body, end };
                let written = self.session.reply(&open.head(), &reply, &mut self.out).is_ok();
                assert!(written || self.out.len() == before, "it failed and wrote");
                open.begun |= written;
                written && end
            }
        };
        if !ended {
            self.open.insert(at, open);
        }
    }

    fn call(&mut self, script: &mut Script<'_>) {
        let (id, flags, before) = (script.number() as u64, script.number(), self.out.len());
        let metadata = trunkline_wire::Metadata::builder().with("k", "v").build();
        let paths = ["/x", "/x?a=b", "/__http_hdr__?__http_hdr__=e30", "M"];
        let call = CallFrame {
            id,
            service: if flags & 1 == 0 { "" } else { script.text() },
            method: paths.get(flags >> 5).copied().unwrap_or_else(|| script.text()),
            metadata: if flags & 2 == 0 { Pairs::empty() } else { metadata.pairs() },
            extra: if flags & 4 == 0 { &[] } else { &[("t", "1")] },
            serialization: Serialization::Json,
            compression: Compression::None,
            one_way: flags & 8 != 0,
            body: script.bytes(),
            end: flags & 16 == 0,
        };
        let called = self.session.call(&call, &mut self.out);
        assert!(!self.server || called.is_err());
        assert!(called.is_ok() || self.out.len() == before, "it failed and wrote");
        if called.is_ok() && !call.end {
            self.sending.push(id);
        }
    }

    fn send(&mut self, script: &mut Script<'_>) {
        let (at, end, body) = (script.number(), script.number() & 1 == 0, script.bytes());
        let Some(at) = at.checked_rem(self.sending.len()) else { return };
        let id = self.sending[at];
        if self.session.may_write(id) {
            self.session.data(id, body, end, &mut self.out).unwrap();
            if end {
                self.sending.remove(at);
            }
        }
    }
}

/// What is written consists of whole frames that follow the rules of their channel.
fn check_written(out: &[u8], server: bool) {
    let wide = Limits::default();
    let (mut rest, mut within) = (out, BTreeMap::new());
    while !rest.is_empty() {
        let frame = Frame::decode(rest, &wide).unwrap().expect("it wrote a part of a frame");
        rest = &rest[frame.length()..];
        if server && frame.status == 1 {
            assert!(frame.path.starts_with(b"/sys/trunkline?") && frame.channel == 0);
            continue;
        }
        assert_eq!(frame.status >= 4, server, "a frame of the other side");
        let within: &mut bool = within.entry(frame.channel).or_default();
        assert_eq!(frame.status & 2 != 0, *within, "a status that does not follow the one before");
        *within = frame.status & 1 == 0;
    }
}

/// Any list of events, for either role: the session never panics, spins, changes what it has written, or has more
/// calls than the limit; and all that it writes follows the rules of the wire.
pub(crate) fn iip_session(data: &[u8]) {
    let mut script = Script(data);
    let Some(role) = script.byte() else { return };
    let (server, limits) = (role & 1 == 0, limits());
    let session = if server { Iip::server(&limits) } else { Iip::client(&limits) };
    let mut watched = Watched {
        session,
        server,
        input: Vec::new(),
        out: Vec::new(),
        open: Vec::new(),
        sending: Vec::new(),
        closed: false,
        limits,
    };
    watched.session.greet(&mut watched.out);
    // The bytes themselves, too, as they would come.
    let mut plain = if server { Iip::server(&watched.limits) } else { Iip::client(&watched.limits) };
    let mut at = 0;
    while let Ok(step) = plain.receive(&script.0[at..], &mut Vec::new()) {
        at += step.consumed;
        if step.consumed == 0 {
            break;
        }
    }
    while watched.act(&mut script).is_some() && watched.look() {}
    check_written(&watched.out, server);
}
