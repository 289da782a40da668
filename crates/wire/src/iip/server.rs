//! The side that answers: from frames to calls.

use std::sync::Arc;

use super::channel::{Arriving, Channel, Room, System, Table, id};
use super::frame::{Head, around, write};
use super::known::{Known, Names};
use super::methods::Methods;
use super::path::{self, is_control};
use super::{
    ANSWER, CLOSE, DELETE_CHANNEL, NEW_CHANNEL, NO_DATA, TRUNKLINE, WHOLE, body_limit, json, malformed, wide,
};
use crate::{
    CallHead, Compression, Event, Limits, Next, Pairs, Payload, Refusal, Serialization, Step, Traffic,
    WireError,
};

/// How a Trunkline client cancels a call: the channel and the request's number on it follow.
const CANCEL: &[u8] = b"cancel";

#[derive(Debug)]
pub(super) struct Server {
    pub(super) limits: Arc<Limits>,
    /// The peer has asked whether we are Trunkline.
    pub(super) trunkline: bool,
    /// So many bytes of data that is too large are still to be read past.
    skip: usize,
    /// The peer has said that it closes.
    closed: bool,
    pub(super) table: Table,
    pub(super) traffic: Traffic,
    pub(super) methods: Methods,
    known: Known,
    /// The last request was a usual one, on the path that is known.
    again: bool,
}

impl Server {
    pub(super) fn new(limits: Arc<Limits>) -> Self {
        Self {
            limits,
            trunkline: false,
            skip: 0,
            closed: false,
            table: Table::new(),
            traffic: Traffic::default(),
            methods: Methods::default(),
            known: Known::default(),
            again: false,
        }
    }

    #[inline]
    pub(super) fn receive<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> Result<Step<'a>, WireError> {
        // An event is large: where nothing is special about the request it is made where it is looked at, not moved.
        if let Some(Usual { id, service, method, path, data }) = self.usual(input) {
            let head = CallHead {
                id,
                service,
                method,
                again: self.again,
                metadata: Pairs::empty(),
                serialization: Serialization::Json,
                compression: Compression::None,
                one_way: false,
                note: 0,
                repeats: path,
                uri: path,
            };
            self.again = true;
            let event = Event::Call { head, body: Payload::Input(data), end: true };
            return Ok(Step {
                consumed: around(path.len()).saturating_add(data.len()),
                next: Next::Event(event),
            });
        }
        self.again = false;
        self.receive_any(input, out)
    }

    /// A request as most are: whole, in one frame, on the path that was called before it, on a channel where nothing
    /// waits. `None` where anything is otherwise, and then nothing has changed.
    #[inline(always)]
    fn usual<'a>(&mut self, input: &'a [u8]) -> Option<Usual<'a>> {
        if self.skip > 0 || self.closed || self.table.gives() {
            return None;
        }
        let (&[status], rest) = input.split_first_chunk()?;
        let (path, rest) = self.known.split(rest)?;
        let (channel, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (number, length) =
            (u32::from_be_bytes(*channel), usize::try_from(u32::from_be_bytes(*length)).ok()?);
        let data = rest.get(..length)?;
        let channel = self.table.get_mut(number)?;
        if status != WHOLE || length == 0 || length > self.limits.body || !channel.is_quiet(&self.limits) {
            return None;
        }
        let (service, method) = self.known.names(path)?;
        let total = wide(around(path.len()).saturating_add(length));
        self.traffic.received(true, total);
        channel.traffic.received(true, total);
        let id = id(number, channel.open(path, &mut self.methods));
        self.table.in_flight = self.table.in_flight.saturating_add(1);
        Some(Usual { id, service, method, path, data })
    }

    fn receive_any<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> Result<Step<'a>, WireError> {
        let again = self.table.is_given(input);
        if !again && (self.skip > 0 || self.closed) {
            return Ok(self.read_past(input));
        }
        match input.first() {
            Some(&CLOSE) => {
                self.closed = true;
                return Ok(Step { consumed: 1, next: Next::Event(Event::Closed) });
            }
            Some(ANSWER..CLOSE) => return Err(malformed("a client sends no answer", 0)),
            _ => {}
        }
        let Some((head, names)) = self.known.decode(input, &self.limits)? else {
            return Ok(Step { consumed: 0, next: Next::NeedMore(0) });
        };
        let step = self.look(&head, names, input, again, out)?;
        if again && step.consumed > 0 {
            self.table.take_given();
        }
        Ok(step)
    }

    /// Reads past what is left of data that is too large, and what comes after the end.
    #[cold]
    fn read_past<'a>(&mut self, input: &[u8]) -> Step<'a> {
        let consumed = if self.closed { input.len() } else { self.skip.min(input.len()) };
        self.skip = self.skip.saturating_sub(consumed);
        Step { consumed, next: if consumed == 0 { Next::NeedMore(0) } else { Next::Again } }
    }

    /// What is done with the frame: it is looked at, kept, or waits unread.
    #[inline]
    fn look<'a>(
        &mut self,
        head: &Head<'a>,
        names: Option<Names<'a>>,
        input: &'a [u8],
        again: bool,
        out: &mut Vec<u8>,
    ) -> Result<Step<'a>, WireError> {
        let nothing = |next| Ok(Step { consumed: 0, next });
        let channel_at = head.uri.len().saturating_add(2);
        let Some(channel) = self.table.get(head.channel) else {
            return Err(malformed("the channel was not granted", channel_at));
        };
        if channel.deleted {
            return Err(malformed("the channel is deleted", channel_at));
        }
        let (first, total) = (head.is_first(), head.total());
        match self.table.room(channel, first, again, (total, self.trunkline), &self.limits) {
            Room::Now => {}
            Room::None => return nothing(Next::Blocked),
            Room::Later => {
                let Some(frame) = input.get(..total) else { return nothing(Next::NeedMore(total)) };
                self.table.park(head.channel, frame);
                return Ok(Step { consumed: total, next: Next::Again });
            }
        }
        if first != (channel.arriving == Arriving::Nothing) {
            return Err(malformed("a status that does not follow the one before", 0));
        }
        if head.data > body_limit(head.path, &self.limits) {
            return self.oversize(head, again, out);
        }
        let Some(data) = head.rest.get(..head.data) else { return nothing(Next::NeedMore(total)) };
        let next = if first {
            self.begun(head, names, data, again, out)?
        } else {
            self.went_on(head, data, again, out)?
        };
        Ok(Step { consumed: total, next })
    }

    /// A frame has come: what is said of the channel now. The channel was there when the frame was looked at.
    #[inline]
    fn count<'t>(traffic: &mut Traffic, table: &'t mut Table, head: &Head<'_>) -> Option<&'t mut Channel> {
        let total = wide(head.total());
        traffic.received(head.is_last(), total);
        let channel = table.get_mut(head.channel)?;
        channel.traffic.received(head.is_last(), total);
        Some(channel)
    }

    /// A request begins.
    #[inline]
    fn begun<'a>(
        &mut self,
        head: &Head<'a>,
        names: Option<Names<'a>>,
        data: &'a [u8],
        again: bool,
        out: &mut Vec<u8>,
    ) -> Result<Next<'a>, WireError> {
        if self.trunkline && head.path == TRUNKLINE && head.uri.len() > head.path.len() {
            return self.told(head);
        }
        let (end, system) = (head.is_last(), if names.is_some() { None } else { system(head.uri) });
        let Some(channel) = Self::count(&mut self.traffic, &mut self.table, head) else {
            return Ok(Next::Again);
        };
        let number = channel.open(head.path, &mut self.methods);
        channel.arriving = match (end, system) {
            (true, _) => Arriving::Nothing,
            (false, None) => Arriving::Call(number),
            (false, system) => Arriving::Past(system.map(|system| (number, system))),
        };
        self.table.in_flight = self.table.in_flight.saturating_add(1);
        if !end {
            self.took(head, out);
        }
        match system {
            None => {
                let head = call_head(head, names, number);
                Ok(Next::Event(Event::Call { head, body: self.body(head.uri, data), end }))
            }
            Some(system) if end => self.system(head.channel, number, system, again, out),
            Some(_) => Ok(Next::Again),
        }
    }

    /// A request goes on.
    fn went_on<'a>(
        &mut self,
        head: &Head<'a>,
        data: &'a [u8],
        again: bool,
        out: &mut Vec<u8>,
    ) -> Result<Next<'a>, WireError> {
        let end = head.is_last();
        let Some(channel) = Self::count(&mut self.traffic, &mut self.table, head) else {
            return Ok(Next::Again);
        };
        let arriving = channel.arriving;
        if end {
            channel.arrived();
        } else {
            self.took(head, out);
        }
        match arriving {
            Arriving::Call(number) => {
                let body = self.body(head.uri, data);
                Ok(Next::Event(Event::Data { id: id(head.channel, number), body, end }))
            }
            Arriving::Past(Some((number, system))) if end => {
                self.system(head.channel, number, system, again, out)
            }
            _ => Ok(Next::Again),
        }
    }

    /// A frame of a request that goes on is dealt with: a Trunkline client may send as much more.
    fn took(&mut self, head: &Head<'_>, out: &mut Vec<u8>) {
        if !self.trunkline || head.channel == 0 {
            return;
        }
        let more = self.table.get_mut(head.channel).and_then(|channel| channel.took(head.total()));
        if let Some((number, bytes)) = more {
            self.tell(path::say_more(head.channel, number, bytes).as_bytes(), out);
        }
    }

    /// The data, or none where it stands for none.
    fn body<'a>(&self, uri: &[u8], data: &'a [u8]) -> Payload<'a> {
        let none = self.trunkline && path::is_empty(uri);
        Payload::Input(if none { &[] } else { data })
    }

    /// Data over the limit: what was understood is said at once, the data is read past. A call whose body has begun fails
    /// too. What the session answers itself needs none of its data, and of a request that is read past nothing is said.
    #[cold]
    fn oversize<'a>(
        &mut self,
        head: &Head<'a>,
        again: bool,
        out: &mut Vec<u8>,
    ) -> Result<Step<'a>, WireError> {
        let here = head.data.min(head.rest.len());
        self.skip = self.skip.saturating_add(head.data.saturating_sub(here));
        let consumed = head.length.saturating_add(here);
        if head.is_first() && system(head.uri).is_some() {
            return Ok(Step { consumed, next: self.begun(head, None, &[], again, out)? });
        }
        let arriving = self.table.get(head.channel).map_or(Arriving::Nothing, |channel| channel.arriving);
        if matches!(arriving, Arriving::Past(_)) {
            return Ok(Step { consumed, next: self.went_on(head, &[], again, out)? });
        }
        let end = head.is_last();
        let Some(channel) = Self::count(&mut self.traffic, &mut self.table, head) else {
            return Ok(Step { consumed, next: Next::Again });
        };
        channel.arrived();
        if !end {
            channel.arriving = Arriving::Past(None);
        }
        let (number, waits) = match arriving {
            Arriving::Call(number) => (number, channel.waits(number)),
            _ => (channel.open(head.path, &mut self.methods), true),
        };
        if head.is_first() {
            self.table.in_flight = self.table.in_flight.saturating_add(1);
        }
        let (got, limit) = (wide(head.data), wide(body_limit(head.path, &self.limits)));
        let reason = Refusal::BodyTooLarge { got, limit };
        let mut head = call_head(head, None, number);
        if system(head.uri).is_some() {
            // Nobody looked at the path of a later frame before.
            (head.service, head.method, head.repeats, head.uri) = (&[], &[], &[], &[]);
        }
        // Where the answer is there already, whoever still reads the body learns that it is cut.
        let event = if waits { Event::Refused { head, reason } } else { Event::Cancel { id: head.id } };
        Ok(Step { consumed, next: Next::Event(event) })
    }

    /// Answers a system path, in its order on the channel.
    #[cold]
    fn system<'a>(
        &mut self,
        channel: u32,
        number: u32,
        system: System,
        again: bool,
        out: &mut Vec<u8>,
    ) -> Result<Next<'a>, WireError> {
        let id = id(channel, number);
        match system {
            System::NewChannel => match self.table.grant(&self.limits) {
                Some(granted) => self.answer_system(id, &json::granted(granted), false, out),
                None => self.answer_system(id, json::NO_MORE_CHANNELS, false, out),
            },
            System::DeleteChannel => {
                if self.table.keeps_more(channel, again) {
                    return Err(malformed("the channel is deleted", 0));
                }
                if let Some(channel) = self.table.get_mut(channel) {
                    channel.deleted = true;
                }
                self.answer_system(id, json::DONE, true, out);
            }
            System::Hello => {
                self.trunkline = true;
                self.answer_system(id, json::HELLO, false, out);
            }
            System::BadPath => self.answer_system(id, json::UNKNOWN_PATH, false, out),
        }
        Ok(Next::Again)
    }

    /// What a Trunkline client tells beside its calls. It has no answer, and no place in the order.
    #[cold]
    fn told<'a>(&mut self, head: &Head<'a>) -> Result<Next<'a>, WireError> {
        if !head.is_last() {
            return Err(malformed("a notice comes in one frame", 0));
        }
        Self::count(&mut self.traffic, &mut self.table, head);
        if let Some((channel, number, bytes)) = path::more(head.uri) {
            self.may_send(channel, number, bytes);
            return Ok(Next::Again);
        }
        let cancelled = path::parameter(head.uri, CANCEL).and_then(|value| {
            let (channel, number) = std::str::from_utf8(value).ok()?.split_once('.')?;
            let (channel, number) = (channel.parse().ok()?, number.parse::<u64>().ok()?);
            // Ids count as far as 32 bits go.
            let number = u32::try_from(number & u64::from(u32::MAX)).ok()?;
            let at = self.table.get(channel)?;
            let known = at.arriving == Arriving::Call(number) || at.waits(number);
            known.then(|| id(channel, number))
        });
        Ok(match cancelled {
            Some(id) => Next::Event(Event::Cancel { id }),
            None => Next::Again,
        })
    }

    /// Appends a notice where the peer understands it.
    pub(super) fn tell(&mut self, path: &[u8], out: &mut Vec<u8>) -> bool {
        if self.trunkline {
            write(WHOLE, &[path], 0, NO_DATA, out);
            self.traffic.sent(1, true, wide(around(path.len()).saturating_add(NO_DATA.len())));
        }
        self.trunkline
    }
}

/// A request about which nothing is special.
struct Usual<'a> {
    id: u64,
    service: &'a [u8],
    method: &'a [u8],
    path: &'a [u8],
    data: &'a [u8],
}

/// What the session answers itself.
#[inline]
fn system(uri: &[u8]) -> Option<System> {
    if !uri.starts_with(b"/sys/") {
        return uri.iter().any(|byte| is_control(*byte)).then_some(System::BadPath);
    }
    match uri.split(|byte| *byte == b'?').next().unwrap_or_default() {
        // Whoever is behind an HTTP adapter has no business with its connection, nor with the server's figures.
        _ if path::has_headers(uri) => Some(System::BadPath),
        NEW_CHANNEL => Some(System::NewChannel),
        DELETE_CHANNEL => Some(System::DeleteChannel),
        TRUNKLINE => Some(System::Hello),
        _ => uri.iter().any(|byte| is_control(*byte)).then_some(System::BadPath),
    }
}

#[inline]
fn call_head<'a>(head: &Head<'a>, names: Option<Names<'a>>, number: u32) -> CallHead<'a> {
    let (service, method) = names.unwrap_or_else(|| path::names(head.path));
    CallHead {
        id: id(head.channel, number),
        service,
        method,
        again: false,
        metadata: Pairs::empty(),
        serialization: Serialization::Json,
        compression: Compression::None,
        one_way: false,
        note: 0,
        repeats: head.path,
        uri: head.uri,
    }
}
