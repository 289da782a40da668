//! The side that makes calls: which channel each takes, and whose answer is whose.

use std::sync::Arc;

use std::collections::VecDeque;

use super::frame::write;
use super::lane::{Asked, Lane, Open, Queued};
use super::window::Window;
use super::{MOST_DATA, NEW_CHANNEL, NO_DATA, TRUNKLINE, WHOLE, path, status, too_large, unsupported, wide};
use crate::{CallFrame, Compression, Limits, Serialization, Traffic, WireError};

/// How many bytes of calls wait in the session for a channel; one more fails.
const QUEUED: usize = 64 << 20;

/// The id of an answer that nobody waits for any more.
pub(super) const NOBODY: u64 = u64::MAX;

/// So many channels given up within a request make the connection one for whose new calls another one is wanted.
pub(super) const CUTS: usize = 64;

/// A blank to whoever reads JSON: what ends a request of several frames where there is no more data.
const END: &[u8] = b"\n";

#[derive(Debug)]
pub(super) struct Client {
    pub(super) limits: Arc<Limits>,
    /// The server has said that it is Trunkline.
    pub(super) trunkline: bool,
    pub(super) skip: usize,
    pub(super) closed: bool,
    /// Channel 0, which is the session's own as long as there are others, and then the granted ones.
    pub(super) lanes: Vec<Lane>,
    /// Questions on channel 0 that are not answered. Their answers are told from those of calls by their path.
    pub(super) hellos: usize,
    pub(super) grants: usize,
    /// The questions that were asked in the beginning are answered: calls can be made.
    pub(super) ready: bool,
    queue: VecDeque<Queued>,
    queued: usize,
    /// How many channels were given up within a request.
    pub(super) cuts: usize,
    pub(super) traffic: Traffic,
}

impl Client {
    pub(super) fn new(limits: Arc<Limits>) -> Self {
        Self {
            limits,
            trunkline: false,
            skip: 0,
            closed: false,
            lanes: vec![Lane::new(0)],
            hellos: 0,
            grants: 0,
            ready: false,
            queue: VecDeque::new(),
            queued: 0,
            cuts: 0,
            traffic: Traffic::default(),
        }
    }

    /// Asks what the server is, and then for channels: so it is known when calls can be made.
    pub(super) fn greet(&mut self, out: &mut Vec<u8>) {
        self.hello(out);
        for _ in 0..self.limits.client_channels {
            self.ask_channel(out);
        }
        self.ready = self.grants == 0;
    }

    /// Asks what the server is: a heartbeat to any. Whether channel 0 is free for it.
    pub(super) fn hello(&mut self, out: &mut Vec<u8>) -> bool {
        let asks = self.system(TRUNKLINE, out);
        self.hellos = self.hellos.saturating_add(usize::from(asks));
        asks
    }

    fn ask_channel(&mut self, out: &mut Vec<u8>) {
        let asks = self.system(NEW_CHANNEL, out);
        self.grants = self.grants.saturating_add(usize::from(asks));
    }

    /// Writes the session's own request on channel 0, unless another one is being sent there frame by frame.
    pub(super) fn system(&mut self, path: &[u8], out: &mut Vec<u8>) -> bool {
        let free = self.lanes.first().is_some_and(Lane::is_free);
        if free {
            self.send(WHOLE, path, 0, NO_DATA, out);
        }
        free
    }

    fn send(&mut self, status: u8, path: &[u8], channel: u32, data: &[u8], out: &mut Vec<u8>) {
        let before = out.len();
        write(status, &[path], channel, data, out);
        self.traffic.sent(1, status & 1 == 1, wide(out.len().saturating_sub(before)));
    }

    pub(super) fn call(&mut self, call: &CallFrame<'_>, out: &mut Vec<u8>) -> Result<(), WireError> {
        if call.compression != Compression::None {
            return Err(unsupported("a body cannot be compressed"));
        }
        if !matches!(call.serialization, Serialization::Json | Serialization::Raw) {
            return Err(unsupported("bodies are JSON or bytes as they are"));
        }
        let path = path::of_call(call, &self.limits)?;
        let lane = self.free_lane();
        let bare = call.metadata.is_empty() && (call.extra.is_empty() || !self.trunkline);
        if bare
            && call.end
            && (1..=MOST_DATA).contains(&call.body.len())
            && let Some(lane) = lane.and_then(|lane| self.lanes.get_mut(lane))
        {
            // Nothing has to be put together.
            let before = out.len();
            write(WHOLE, &path, lane.channel, call.body, out);
            lane.asked.push_back(if call.one_way { Asked::Nobody } else { Asked::Call(call.id) });
            self.traffic.sent(1, true, wide(out.len().saturating_sub(before)));
            return Ok(());
        }
        let queued = Queued {
            id: call.id,
            one_way: call.one_way,
            path: path.concat(),
            metadata: call.metadata.to_owned(),
            extra: call.extra.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            body: Vec::new(),
            end: call.end,
        };
        if let Some(lane) = lane {
            return self.place(lane, &queued, call.body, out);
        }
        // What cannot be said, whatever the server turns out to be, is known now: later nobody looks.
        self.uri(&queued, true)?;
        self.uri(&queued, false)?;
        self.enqueue(Queued { body: call.body.to_vec(), ..queued })
    }

    fn enqueue(&mut self, call: Queued) -> Result<(), WireError> {
        let all = self.queued.saturating_add(call.body.len());
        if all > QUEUED {
            return Err(too_large("sum of calls that wait for a channel", all, QUEUED, "the wire's own"));
        }
        self.queued = all;
        self.queue.push_back(call);
        Ok(())
    }

    /// The channel that a call takes: the one with the fewest in flight; channel 0 only where there is no other.
    fn free_lane(&self) -> Option<usize> {
        if !self.ready {
            return None;
        }
        let own = (1..).zip(self.lanes.iter().skip(1));
        let best = own.filter(|(_, lane)| lane.is_free()).min_by_key(|(_, lane)| lane.asked.len());
        match best {
            Some((index, _)) => Some(index),
            None if self.lanes.iter().skip(1).any(|lane| !lane.dead) || self.grants > 0 => None,
            None => self.lanes.first().filter(|lane| lane.is_free()).map(|_| 0),
        }
    }

    fn uri(&self, call: &Queued, trunkline: bool) -> Result<Vec<u8>, WireError> {
        let mut uri = call.path.clone();
        path::add_metadata(&mut uri, call.metadata.pairs(), &call.extra, trunkline, &self.limits)?;
        Ok(uri)
    }

    /// Writes a call, or the beginning of one.
    fn place(&mut self, lane: usize, call: &Queued, body: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
        let uri = self.uri(call, self.trunkline)?;
        let Some(to) = self.lanes.get_mut(lane) else { return Ok(()) };
        // Each frame says the path; what is only ours it says once.
        let later = if self.trunkline { call.path.clone() } else { uri.clone() };
        to.open = Some(Open {
            id: call.id,
            one_way: call.one_way,
            uri,
            later,
            begun: false,
            window: Window::default(),
        });
        if !body.is_empty() || call.end {
            self.write(lane, body, call.end, out);
        } else if self.trunkline {
            self.begin(lane, out);
        }
        Ok(())
    }

    /// Says that a request begins, before any of its body is there, so that its handler can begin, too. Others than
    /// Trunkline learn of it with the first data.
    fn begin(&mut self, lane: usize, out: &mut Vec<u8>) {
        let Some(to) = self.lanes.get_mut(lane) else { return };
        let Some(open) = &mut to.open else { return };
        let mut uri = std::mem::take(&mut open.uri);
        path::mark_empty(&mut uri);
        open.begun = true;
        to.asked.push_back(if open.one_way { Asked::Nobody } else { Asked::Call(open.id) });
        let channel = to.channel;
        self.send(status(true, false), &uri, channel, NO_DATA, out);
    }

    /// Writes frames of the request that is open on a channel.
    fn write(&mut self, lane: usize, mut data: &[u8], end: bool, out: &mut Vec<u8>) {
        let trunkline = self.trunkline;
        let Some(to) = self.lanes.get_mut(lane) else { return };
        let Some(mut open) = to.open.take() else { return };
        if !open.begun && (end || !data.is_empty()) {
            to.asked.push_back(if open.one_way { Asked::Nobody } else { Asked::Call(open.id) });
        }
        let channel = to.channel;
        if data.is_empty() && end {
            // The wire has no empty data.
            let mut uri = std::mem::take(if open.begun { &mut open.later } else { &mut open.uri });
            if trunkline {
                path::mark_empty(&mut uri);
            }
            let none = if trunkline || !open.begun { NO_DATA } else { END };
            to.several = open.begun && !trunkline;
            self.send(status(!open.begun, true), &uri, channel, none, out);
            return;
        }
        let several = open.begun || data.len() > MOST_DATA;
        while !data.is_empty() {
            let (chunk, rest) = data.split_at(data.len().min(MOST_DATA));
            let uri = if open.begun { &open.later } else { &open.uri };
            let before = out.len();
            self.send(status(!open.begun, end && rest.is_empty()), uri, channel, chunk, out);
            open.window.sent(out.len().saturating_sub(before));
            (open.begun, data) = (true, rest);
        }
        let Some(to) = self.lanes.get_mut(lane) else { return };
        if end {
            to.several = several && !trunkline;
        } else {
            to.open = Some(open);
        }
    }

    pub(super) fn data(
        &mut self,
        id: u64,
        data: &[u8],
        end: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        let Some(lane) = self.lanes.iter().position(|lane| lane.is_open_for(id)) else {
            return Err(unsupported("a body that has no turn"));
        };
        if !data.is_empty() || end {
            self.write(lane, data, end, out);
        }
        if end {
            self.make_waiting(out);
        }
        Ok(())
    }

    /// Makes the calls that wait, as long as there is a channel for them.
    pub(super) fn make_waiting(&mut self, out: &mut Vec<u8>) {
        while !self.queue.is_empty()
            && let Some(lane) = self.free_lane()
        {
            let Some(call) = self.queue.pop_front() else { return };
            self.queued = self.queued.saturating_sub(call.body.len());
            // It cannot fail: that was seen when it was queued.
            let _ = self.place(lane, &call, &call.body, out);
        }
    }

    /// Nobody waits for the answer. Whether the server was told.
    pub(super) fn cancel(&mut self, id: u64, out: &mut Vec<u8>) -> bool {
        if let Some(place) = self.queue.iter().position(|call| call.id == id) {
            if let Some(call) = self.queue.remove(place) {
                self.queued = self.queued.saturating_sub(call.body.len());
            }
            return false;
        }
        // What goes on channel 0 is numbered together with what the session says there, so it is not cancelled.
        let asked = self.lanes.iter().skip(1).find_map(|lane| Some((lane.channel, lane.number(id)?)));
        let told = self.trunkline
            && asked.is_some_and(|(channel, number)| {
                let path = format!("/sys/trunkline?cancel={channel}.{number}");
                self.system(path.as_bytes(), out)
            });
        let instead = if told { Asked::Nobody } else { Asked::Late };
        self.lanes.iter_mut().for_each(|lane| lane.forget(id, instead));
        if let Some(lane) = self.lanes.iter().position(|lane| lane.is_open_for(id)) {
            let before = out.len();
            self.cut(lane, told, out);
            self.make_waiting(out);
            return told || out.len() > before;
        }
        told
    }

    /// The request that is open on a channel does not go on. What was sent must not be taken for the whole: a server that
    /// was told knows that, for others the channel is left as it is, and another one is asked for.
    fn cut(&mut self, lane: usize, told: bool, out: &mut Vec<u8>) {
        let Some(at) = self.lanes.get_mut(lane) else { return };
        if !at.open.as_ref().is_some_and(|open| open.begun) {
            at.open = None;
        } else if told {
            self.write(lane, &[], true, out);
        } else {
            at.open = None;
            self.leave(lane, out);
        }
    }

    /// Nothing more is sent on a channel; another one is asked for.
    pub(super) fn leave(&mut self, lane: usize, out: &mut Vec<u8>) {
        let Some(at) = self.lanes.get_mut(lane) else { return };
        if std::mem::replace(&mut at.dead, true) {
            return;
        }
        // Where that was channel 0, there is no other one.
        self.cuts = if lane == 0 { self.cuts.max(CUTS) } else { self.cuts.saturating_add(1) };
        if self.cuts < CUTS {
            self.ask_channel(out);
        }
    }
}
