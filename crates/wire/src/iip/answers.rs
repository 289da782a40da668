//! The side that makes calls: from answers to events.

use super::client::{CUTS, Client, NOBODY};
use super::frame::Head;
use super::lane::{Arriving, Asked, Lane};
use super::reply::NOT_FOUND;
use super::{
    ANSWER, CLOSE, NEW_CHANNEL, TRUNKLINE, WHOLE, body_limit, json, malformed, path, too_large, wide,
};
use crate::rpcx::keys;
use crate::{Compression, Event, Failure, Next, Pairs, Payload, ReplyHead, Serialization, Step, WireError};

impl Client {
    pub(super) fn receive<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> Result<Step<'a>, WireError> {
        let nothing = |next| Ok(Step { consumed: 0, next });
        if self.skip > 0 || self.closed {
            return Ok(self.read_past(input));
        }
        if self.cuts == CUTS {
            // Told once: no new calls here.
            self.cuts = self.cuts.saturating_add(1);
            return nothing(Next::Event(Event::Draining));
        }
        match input.first() {
            Some(&CLOSE) => {
                self.closed = true;
                return Ok(Step { consumed: 1, next: Next::Event(Event::Closed) });
            }
            Some(status) if *status < ANSWER && !(self.trunkline && *status == WHOLE) => {
                return Err(malformed("a server sends no request", 0));
            }
            _ => {}
        }
        let Some(head) = Head::decode(input, &self.limits)? else { return nothing(Next::NeedMore(0)) };
        let lane = self.lanes.iter().position(|lane| lane.channel == head.channel);
        let Some(lane) = lane else {
            return Err(malformed("the channel was not granted", head.uri.len().saturating_add(2)));
        };
        let own = if head.is_answer() { self.check(lane, &head)? } else { true };
        if head.data > body_limit(head.path, &self.limits) {
            return self.oversize(lane, own, &head, out);
        }
        let Some(data) = head.rest.get(..head.data) else { return nothing(Next::NeedMore(head.total())) };
        self.traffic.received(head.is_last(), wide(head.total()));
        let next = if !head.is_answer() {
            self.notice(&head)?
        } else if own {
            self.answered_system(&head, data, out)?
        } else {
            self.answered(lane, &head, data, out)
        };
        Ok(Step { consumed: head.total(), next })
    }

    #[cold]
    fn read_past<'a>(&mut self, input: &[u8]) -> Step<'a> {
        let consumed = if self.closed { input.len() } else { self.skip.min(input.len()) };
        self.skip = self.skip.saturating_sub(consumed);
        Step { consumed, next: if consumed == 0 { Next::NeedMore(0) } else { Next::Again } }
    }

    /// Whether an answer is to the session itself.
    ///
    /// # Errors
    /// Nobody waits for it, or it does not follow the frame before.
    fn check(&mut self, index: usize, head: &Head<'_>) -> Result<bool, WireError> {
        let (hello, grant) = (self.hellos > 0, self.grants > 0);
        let Some(lane) = self.lanes.get_mut(index) else { return Ok(false) };
        let first = lane.arriving == Arriving::Nothing;
        if first != head.is_first() {
            return Err(malformed("a status that does not follow the one before", 0));
        }
        let own = head.path == TRUNKLINE && hello || head.path == NEW_CHANNEL && grant;
        if first && index == 0 && head.is_last() && own {
            return Ok(true);
        }
        if lane.asked.is_empty() {
            if !lane.dead {
                return Err(malformed("an answer that nobody waits for", 0));
            }
            // A server may answer what it has of a request that was cut.
            lane.asked.push_back(Asked::Late);
        }
        Ok(false)
    }

    /// Data over the limit: the call fails, and the data is read past.
    #[cold]
    fn oversize<'a>(
        &mut self,
        index: usize,
        own: bool,
        head: &Head<'a>,
        out: &mut Vec<u8>,
    ) -> Result<Step<'a>, WireError> {
        let limit = body_limit(head.path, &self.limits);
        if own {
            return Err(too_large("answer to a system path", head.data, limit, "body_limit"));
        }
        let here = head.data.min(head.rest.len());
        self.skip = head.data.saturating_sub(here);
        let consumed = head.length.saturating_add(here);
        self.traffic.received(head.is_last(), wide(head.total()));
        let asked = self.lanes.get_mut(index).and_then(|lane| {
            let asked = lane.asked.front_mut().map(|asked| std::mem::replace(asked, Asked::Nobody));
            lane.arriving = Arriving::Answer;
            if head.is_last() {
                lane.ended();
            }
            asked
        });
        self.make_waiting(out);
        let next = match asked {
            None | Some(Asked::Nobody) => Next::Again,
            Some(Asked::Late) => Next::Event(reply(NOBODY, head, None, &[], true)),
            Some(Asked::Call(id)) if head.is_first() => {
                Next::Event(Event::ReplyTooLarge { id, got: wide(head.data), limit: wide(limit) })
            }
            Some(Asked::Call(id)) => {
                let text = b"a frame of the reply's body is over the limit (setting body_limit)";
                Next::Event(reply(id, head, Some(Failure::text(text)), &[], true))
            }
        };
        Ok(Step { consumed, next })
    }

    /// An answer to a call, or a part of one.
    fn answered<'a>(&mut self, index: usize, head: &Head<'a>, data: &'a [u8], out: &mut Vec<u8>) -> Next<'a> {
        let (first, end) = (head.is_first(), head.is_last());
        let Some(lane) = self.lanes.get_mut(index) else { return Next::Again };
        let Some(front) = lane.asked.front_mut() else { return Next::Again };
        let asked = *front;
        if asked == Asked::Late {
            *front = Asked::Nobody; // It is told once.
        }
        lane.arriving = Arriving::Answer;
        let several = end && lane.answers_several();
        if end {
            lane.ended();
        } else if self.trunkline {
            lane.taken.add(head.total());
            self.ask_more(index, out);
        }
        if several {
            self.answered_several(index, data, out);
        }
        let id = match asked {
            Asked::Call(id) => id,
            Asked::Late => return Next::Event(reply(NOBODY, head, None, &[], true)),
            Asked::Nobody => return Next::Again,
        };
        if end && let Some((code, message)) = json::failure(data) {
            return Next::Event(reply(
                id,
                head,
                Some(self.failure(head.uri, code, message, data)),
                &[],
                true,
            ));
        }
        let data = if self.trunkline && path::is_empty(head.uri) { &[] } else { data };
        Next::Event(if first {
            reply(id, head, None, data, end)
        } else {
            Event::Data { id, body: Payload::Input(data), end }
        })
    }

    /// A request of several frames has its answer. One that came before its end, or that is a failure, may not be the only
    /// one: then the channel is left, so that no call gets another's.
    #[cold]
    fn answered_several(&mut self, index: usize, data: &[u8], out: &mut Vec<u8>) {
        let Some(lane) = self.lanes.get(index).filter(|_| !self.trunkline) else { return };
        if lane.open.is_some() || json::failure(data).is_some() {
            self.leave(index, out);
        }
        self.make_waiting(out);
    }

    /// The failure that data is, which stays at hand as it came: it may be an answer of a handler's own.
    fn failure<'a>(&self, uri: &[u8], code: i64, message: &'a [u8], data: &'a [u8]) -> Failure<'a> {
        let told = self.trunkline.then(|| path::metadata(uri, &self.limits).ok()).flatten();
        let told = told.and_then(|pairs| pairs.get(keys::CODE)?.parse().ok());
        let unknown = (code == json::UNKNOWN).then_some(NOT_FOUND);
        Failure { message, code: told.or(unknown), details: Some(data) }
    }

    /// An answer to one of the session's own questions.
    fn answered_system<'a>(
        &mut self,
        head: &Head<'_>,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Next<'a>, WireError> {
        if head.path == TRUNKLINE {
            self.hellos = self.hellos.saturating_sub(1);
            self.trunkline |= json::is_hello(data);
            return Ok(Next::Event(Event::Pong));
        }
        self.grants = self.grants.saturating_sub(1);
        let granted = json::grant(data);
        if let Some(channel) = granted {
            if self.lanes.iter().any(|lane| lane.channel == channel) {
                return Err(malformed("a channel is granted that is there", head.length));
            }
            self.lanes.push(Lane::new(channel));
        }
        // What is written here goes out before what callers have written meanwhile, so it must be the first on its
        // channel. It is: while calls wait no channel is free but one that is new, or 0 where the last hope has gone.
        self.ready |= self.grants == 0;
        self.make_waiting(out);
        Ok(Next::Again)
    }
}

fn reply<'a>(id: u64, head: &Head<'a>, failure: Option<Failure<'a>>, data: &'a [u8], end: bool) -> Event<'a> {
    let head = ReplyHead {
        id,
        failure,
        metadata: Pairs::empty(),
        serialization: Serialization::Json,
        compression: Compression::None,
        uri: head.uri,
    };
    Event::Reply { head, body: Payload::Input(data), end }
}
