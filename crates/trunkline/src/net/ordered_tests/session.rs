//! The session: a frame is a kind (its high bit: the body ends here), four bytes of length, and that many bytes.

use std::sync::Arc;

use std::collections::VecDeque;

use bytes::Bytes;
use trunkline_wire::{
    CallFrame, CallHead, Compression, Event, Failure, Limits, Mark, Next, Pairs, Payload, PushFrame,
    ReplyFrame, ReplyHead, Serialization, Session, Step, WireError,
};

const CALL: u8 = 1;
const DATA: u8 = 2;
/// What was sent of the body is not the whole, and no more comes.
const CUT: u8 = 3;
const REPLY: u8 = 4;
const FAIL: u8 = 5;
/// Nobody reads the answer of the n-th call any more, which has begun.
const GIVE_UP: u8 = 6;
const END: u8 = 0x80;
const HEAD: usize = 5;

/// How much a server keeps by itself of what comes while calls are at their limit.
const PARKED: usize = 64 << 10;

/// A call in the order: a client waits for its answer, a server has to give it.
#[derive(Default)]
struct Turn {
    id: u64,
    /// What is written when it is its turn.
    bytes: Vec<u8>,
    /// The answer (server) or the request (client) is whole.
    ended: bool,
    /// Some of the answer is written, or kept.
    begun: bool,
}

pub(crate) struct Ordered {
    limits: Arc<Limits>,
    server: bool,
    next_id: u64,
    /// Server: calls that were begun and whose answers are not written. The first one has its turn.
    answers: VecDeque<Turn>,
    /// Client: calls that wait for their answer, in the order of their requests on the wire.
    asked: VecDeque<u64>,
    /// Client: how many answers have come to their end.
    answered: u64,
    /// Client: calls whose request has to wait until the one before it is whole. The first one has its turn.
    requests: VecDeque<Turn>,
    /// The call whose body arrives.
    arriving: Option<u64>,
    /// Whole frames that wait.
    parked: VecDeque<Bytes>,
}

fn malformed(rule: &'static str) -> WireError {
    WireError::Malformed { wire: Ordered::NAME, rule, offset: 0 }
}

fn frame(kind: u8, end: bool, parts: &[&[u8]], out: &mut Vec<u8>) {
    out.push(kind | if end { END } else { 0 });
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

fn reply_head(id: u64, failure: Option<Failure<'_>>) -> ReplyHead<'_> {
    ReplyHead {
        id,
        failure,
        metadata: Pairs::empty(),
        serialization: Serialization::Raw,
        compression: Compression::None,
        uri: &[],
    }
}

/// Writes what has its turn.
fn flush(turns: &mut VecDeque<Turn>, out: &mut Vec<u8>) {
    while let Some(turn) = turns.front_mut() {
        out.append(&mut turn.bytes);
        if !turn.ended {
            return;
        }
        turns.pop_front();
    }
}

impl Ordered {
    fn new(server: bool, limits: Arc<Limits>) -> Self {
        Self {
            limits,
            server,
            next_id: 0,
            answers: VecDeque::new(),
            asked: VecDeque::new(),
            answered: 0,
            requests: VecDeque::new(),
            arriving: None,
            parked: VecDeque::new(),
        }
    }

    fn is_blocked(&self) -> bool {
        self.server && self.arriving.is_none() && self.answers.len() >= self.limits.calls
    }

    fn turn(&mut self, id: u64) -> Option<&mut Turn> {
        self.answers.iter_mut().find(|turn| turn.id == id)
    }

    /// What one frame means, at a server.
    fn asked_for<'a>(&mut self, kind: u8, end: bool, payload: &'a [u8]) -> Result<Event<'a>, WireError> {
        match (kind, self.arriving) {
            (CALL, None) => {
                let (&length, rest) = payload.split_first().ok_or_else(|| malformed("no method"))?;
                let (method, body) =
                    rest.split_at_checked(length.into()).ok_or_else(|| malformed("a cut method"))?;
                let id = self.next_id;
                self.next_id += 1;
                self.answers.push_back(Turn { id, ..Turn::default() });
                self.arriving = (!end).then_some(id);
                let head = CallHead {
                    id,
                    service: b"Ordered",
                    method,
                    again: false,
                    metadata: Pairs::empty(),
                    serialization: Serialization::Raw,
                    compression: Compression::None,
                    one_way: false,
                    note: 0,
                    repeats: &[],
                    uri: &[],
                };
                Ok(Event::Call { head, body: Payload::Input(body), end })
            }
            (DATA, Some(id)) => {
                self.arriving = (!end).then_some(id);
                Ok(Event::Data { id, body: Payload::Input(payload), end })
            }
            (GIVE_UP, _) => {
                let n = payload.try_into().map_err(|_| malformed("no number of a call"))?;
                Ok(Event::Cancel { id: u64::from_be_bytes(n) })
            }
            (CUT, Some(id)) => {
                self.arriving = None;
                Ok(Event::Cancel { id })
            }
            _ => Err(malformed("a frame that has no business here")),
        }
    }

    /// What one frame means, at a client.
    fn answered<'a>(&mut self, kind: u8, end: bool, payload: &'a [u8]) -> Result<Event<'a>, WireError> {
        let id = *self.asked.front().ok_or_else(|| malformed("an answer that nobody asked for"))?;
        let begun = self.arriving.is_some();
        let event = match kind {
            REPLY if !begun => {
                Event::Reply { head: reply_head(id, None), body: Payload::Input(payload), end }
            }
            DATA if begun => Event::Data { id, body: Payload::Input(payload), end },
            FAIL | CUT => {
                let mut parts = payload.splitn(2, |byte| *byte == 0);
                let text = Failure::text(parts.next().unwrap_or_default());
                let head = reply_head(id, Some(Failure { details: parts.next(), ..text }));
                Event::Reply { head, body: Payload::Input(&[]), end: true }
            }
            _ => return Err(malformed("a frame that has no business here")),
        };
        let end = end || matches!(kind, FAIL | CUT);
        self.arriving = (!end).then_some(id);
        if end {
            self.asked.pop_front();
            self.answered += 1;
        }
        Ok(event)
    }

    fn step<'a>(&mut self, input: &'a [u8]) -> Result<Step<'a>, WireError> {
        let more = |n| Ok(Step { consumed: 0, next: Next::NeedMore(n) });
        let Some(length) = length(input)? else { return more(0) };
        if length > HEAD + self.limits.body {
            return Err(malformed("a frame over the limit"));
        }
        let Some(payload) = input.get(HEAD..length) else { return more(length) };
        let (kind, end) = (input[0] & !END, input[0] & END != 0);
        let event = if self.server {
            self.asked_for(kind, end, payload)?
        } else {
            self.answered(kind, end, payload)?
        };
        Ok(Step { consumed: length, next: Next::Event(event) })
    }

    /// Keeps a frame for later.
    fn park<'a>(&mut self, input: &[u8]) -> Result<Step<'a>, WireError> {
        let nothing = |next| Ok(Step { consumed: 0, next });
        let Some(length) = length(input)? else { return nothing(Next::NeedMore(0)) };
        if self.parked.iter().map(Bytes::len).sum::<usize>() + length > PARKED {
            return nothing(Next::Blocked);
        }
        let Some(frame) = input.get(..length) else { return nothing(Next::NeedMore(length)) };
        self.parked.push_back(Bytes::copy_from_slice(frame));
        Ok(Step { consumed: length, next: Next::Again })
    }
}

/// How long the frame is that the input begins with.
fn length(input: &[u8]) -> Result<Option<usize>, WireError> {
    let Some(&[_, a, b, c, d]) = input.first_chunk() else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap();
    length.checked_add(HEAD).map(Some).ok_or_else(|| malformed("a length"))
}

impl Session for Ordered {
    const NAME: &'static str = "ordered";
    const STREAMS: bool = true;
    const PUSHES: bool = false;

    fn server(limits: &(impl Into<Arc<Limits>> + Clone)) -> Self {
        Self::new(true, limits.clone().into())
    }

    fn client(limits: &(impl Into<Arc<Limits>> + Clone)) -> Self {
        Self::new(false, limits.clone().into())
    }

    fn greet(&mut self, _: &mut Vec<u8>) {}

    fn receive<'a>(&mut self, input: &'a [u8], _: &mut Vec<u8>) -> Result<Step<'a>, WireError> {
        if self.parked.front().is_some_and(|frame| frame.as_ptr_range() == input.as_ptr_range()) {
            let step = self.step(input)?;
            self.parked.pop_front();
            return Ok(step);
        }
        if self.is_blocked() || !self.parked.is_empty() {
            return self.park(input);
        }
        self.step(input)
    }

    fn held(&mut self) -> Option<Bytes> {
        if self.is_blocked() { None } else { self.parked.front().cloned() }
    }

    fn call(&mut self, call: &CallFrame<'_>, out: &mut Vec<u8>) -> Result<(), WireError> {
        if call.one_way {
            return Err(WireError::Unsupported { wire: Self::NAME, what: "every call has an answer" });
        }
        let mut bytes = Vec::new();
        let length = u8::try_from(call.method.len()).unwrap();
        frame(CALL, call.end, &[&[length], call.method.as_bytes(), call.body], &mut bytes);
        self.asked.push_back(call.id);
        self.requests.push_back(Turn { id: call.id, bytes, ended: call.end, begun: true });
        flush(&mut self.requests, out);
        Ok(())
    }

    fn reply(
        &mut self,
        to: &CallHead<'_>,
        reply: &ReplyFrame<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        let turn = self.turn(to.id).ok_or_else(|| malformed("nobody asked"))?;
        match reply.failure {
            // The text, and behind a zero the service's own error value.
            Some(Failure { message, details: Some(value), .. }) => {
                frame(FAIL, true, &[message, &[0], value], &mut turn.bytes);
            }
            Some(failure) => frame(FAIL, true, &[failure.message], &mut turn.bytes),
            None => frame(REPLY, reply.end, &[reply.body], &mut turn.bytes),
        }
        turn.begun = true;
        turn.ended = reply.end;
        flush(&mut self.answers, out);
        Ok(())
    }

    fn begin(&mut self, _: &CallHead<'_>, _: &mut Vec<u8>) -> Option<Mark> {
        None
    }

    fn finish(&mut self, _: Mark, _: &mut Vec<u8>) {
        unreachable!("nothing was begun");
    }

    fn data(&mut self, id: u64, body: &[u8], end: bool, out: &mut Vec<u8>) -> Result<(), WireError> {
        assert!(self.may_write(id), "the driver asks first");
        let turns = if self.server { &mut self.answers } else { &mut self.requests };
        let turn = turns.front_mut().unwrap();
        frame(DATA, end, &[body], &mut turn.bytes);
        turn.ended = end;
        flush(turns, out);
        Ok(())
    }

    fn push(&mut self, _: &PushFrame<'_>, _: &mut Vec<u8>) -> Result<(), WireError> {
        Err(WireError::Unsupported { wire: Self::NAME, what: "a server only answers" })
    }

    fn may_write(&self, id: u64) -> bool {
        let turns = if self.server { &self.answers } else { &self.requests };
        turns.front().is_some_and(|turn| turn.id == id)
    }

    fn forget(&mut self, id: u64, out: &mut Vec<u8>) {
        if !self.server {
            self.cancel(id, out);
        } else if let Some(turn) = self.turn(id) {
            let kind = if turn.begun { CUT } else { FAIL };
            frame(kind, true, &[b"the call was given up"], &mut turn.bytes);
            turn.ended = true;
            flush(&mut self.answers, out);
        }
    }

    fn cancel(&mut self, id: u64, out: &mut Vec<u8>) -> bool {
        match self.requests.iter().position(|turn| turn.id == id) {
            // Its request has its turn, and is not whole.
            Some(0) => {
                let turn = self.requests.front_mut().unwrap();
                frame(CUT, true, &[], &mut turn.bytes);
                turn.ended = true;
                flush(&mut self.requests, out);
                true
            }
            // Nothing of it was written.
            Some(index) => {
                self.requests.remove(index);
                self.asked.retain(|other| *other != id);
                false
            }
            None if self.arriving == Some(id) => {
                frame(GIVE_UP, true, &[&self.answered.to_be_bytes()], out);
                true
            }
            // Its answer comes all the same, and finds nobody.
            None => false,
        }
    }

    fn ping(&mut self, _: &mut Vec<u8>) -> bool {
        false
    }

    fn drain(&mut self, _: &mut Vec<u8>) -> bool {
        false
    }

    fn in_flight(&self) -> usize {
        self.answers.len()
    }
}
