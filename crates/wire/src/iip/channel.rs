//! A server's channels: which there are, what is in flight on each, and what each keeps back.

use std::collections::VecDeque;

use bytes::Bytes;

use super::methods::{Methods, Place};
use super::turn::Turn;
use super::window::Taken;
use crate::{Limits, Traffic};

/// How many bytes of raw frames a channel keeps that cannot be looked at yet, and all channels of a connection
/// together.
const PARKED: usize = 64 << 10;
const PARKED_ALL: usize = 4 << 20;

/// From so many bytes of answers that wait for their turn on, a channel begins no further call.
const WAITING: usize = 1 << 20;

/// What comes next of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arriving {
    /// Its first frame.
    Nothing,
    /// A later frame of the call of this number.
    Call(u32),
    /// A later frame of a request that is read past, and answered by the session when it is whole where it is the
    /// session's.
    Past(Option<(u32, System)>),
}

/// What the session answers itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum System {
    NewChannel,
    DeleteChannel,
    Hello,
    /// A path that nobody can have meant.
    BadPath,
}

#[derive(Debug)]
pub(super) struct Channel {
    /// Calls that were begun and whose answers are not written. The first one has its turn.
    pub(super) turns: VecDeque<Turn>,
    /// The number of the first one. Requests are counted from 1.
    first: u32,
    pub(super) arriving: Arriving,
    /// No more of the body that arrives, please.
    holding: bool,
    /// Of the request that arrives.
    taken: Taken,
    /// No more requests come: the one that deletes the channel waits for its turn.
    pub(super) deleted: bool,
    /// Whole frames that cannot be looked at yet.
    parked: VecDeque<Bytes>,
    parked_bytes: usize,
    /// It is among the channels that may have something to look at again.
    ready: bool,
    /// Bytes of answers that wait for their turn.
    pub(super) waiting: usize,
    pub(super) traffic: Traffic,
    /// The path of the call before: mostly the next one has the same.
    pub(super) last_path: Bytes,
    /// Where the answers to it are counted.
    last_place: Place,
    /// How many of the last turns answer to it. The others have their path with them.
    alike: usize,
}

/// What may become of a frame for a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// It may be looked at.
    Now,
    /// It has to be kept, and there is room for it.
    Later,
    /// It has to wait unread.
    None,
}

impl Channel {
    fn new() -> Self {
        Self {
            turns: VecDeque::new(),
            first: 1,
            arriving: Arriving::Nothing,
            holding: false,
            taken: Taken::default(),
            deleted: false,
            parked: VecDeque::new(),
            parked_bytes: 0,
            ready: false,
            waiting: 0,
            traffic: Traffic::default(),
            last_path: Bytes::new(),
            last_place: Place::NONE,
            alike: 0,
        }
    }

    /// A request has begun: its number.
    #[inline]
    pub(super) fn open(&mut self, path: &[u8], methods: &mut Methods) -> u32 {
        if self.last_path != path {
            self.change_path(path, methods);
        }
        let number = self.first.wrapping_add(u32::try_from(self.turns.len()).unwrap_or(u32::MAX));
        self.taken = Taken::default();
        self.turns.push_back(Turn::new(self.last_place));
        self.alike = self.alike.saturating_add(1);
        number
    }

    /// Another path from now on: calls in flight that have relied on the one before take it with them.
    #[cold]
    fn change_path(&mut self, path: &[u8], methods: &mut Methods) {
        let others = self.turns.len().saturating_sub(self.alike);
        for turn in self.turns.iter_mut().skip(others) {
            turn.set_path(self.last_path.clone());
        }
        self.alike = 0;
        self.last_path = Bytes::copy_from_slice(path);
        self.last_place = methods.place(path);
    }

    /// A frame of the request that arrives was given on: the request's number and how much more of it may come, where the
    /// client has to be told that.
    pub(super) fn took(&mut self, bytes: usize) -> Option<(u32, usize)> {
        self.taken.add(bytes);
        let bytes = self.taken.due()?;
        self.taken.said();
        // Requests come in order, so it is the last one.
        let count = u32::try_from(self.turns.len()).unwrap_or(u32::MAX);
        Some((self.first.wrapping_add(count).wrapping_sub(1), bytes))
    }

    /// Where in the order the call of this number is; `None` where its answer is written.
    pub(super) fn place(&self, number: u32) -> Option<usize> {
        let place = usize::try_from(number.wrapping_sub(self.first)).ok()?;
        (place < self.turns.len()).then_some(place)
    }

    /// Whether the call of this number waits for its answer, or for the rest of it.
    pub(super) fn waits(&self, number: u32) -> bool {
        self.place(number).and_then(|place| self.turns.get(place)).is_some_and(|turn| !turn.done)
    }

    /// Whether a whole request may begin, and nothing waits before it.
    #[inline]
    pub(super) fn is_quiet(&self, limits: &Limits) -> bool {
        !self.deleted
            && self.arriving == Arriving::Nothing
            && self.parked.is_empty()
            && !self.is_blocked(true, limits)
    }

    /// Whether a frame cannot be looked at now.
    fn is_blocked(&self, first: bool, limits: &Limits) -> bool {
        if first { self.turns.len() >= limits.calls || self.waiting >= WAITING } else { self.holding }
    }
}

/// All channels of a connection, by their id.
#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<Option<Channel>>,
    /// Ids that were deleted, to be granted again.
    free: Vec<u32>,
    /// How many there are beside channel 0.
    granted: u32,
    pub(super) in_flight: usize,
    /// Bytes of answers that wait for their turn, of all channels.
    pub(super) waiting: usize,
    parked: usize,
    /// Channels that may have a frame to look at again.
    ready: VecDeque<u32>,
    /// The channel whose first kept frame was given back and not yet consumed.
    given: Option<u32>,
}

/// A call's id: the channel and the number on it.
pub(super) fn id(channel: u32, number: u32) -> u64 {
    u64::from(channel) << 32 | u64::from(number)
}

/// The channel of a call's id, and the number on it.
pub(super) fn parts(id: u64) -> (u32, u32) {
    let [a, b, c, d, number @ ..] = id.to_be_bytes();
    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes(number))
}

fn index(channel: u32) -> usize {
    usize::try_from(channel).unwrap_or(usize::MAX)
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            slots: vec![Some(Channel::new())],
            free: Vec::new(),
            granted: 0,
            in_flight: 0,
            waiting: 0,
            parked: 0,
            ready: VecDeque::new(),
            given: None,
        }
    }

    pub(super) fn get(&self, channel: u32) -> Option<&Channel> {
        self.slots.get(index(channel))?.as_ref()
    }

    pub(super) fn get_mut(&mut self, channel: u32) -> Option<&mut Channel> {
        self.slots.get_mut(index(channel))?.as_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Channel)> {
        (0..).zip(&self.slots).filter_map(|(id, slot)| Some((id, slot.as_ref()?)))
    }

    /// A new channel: an id that is free again, or the next one. `None` at the limit.
    pub(super) fn grant(&mut self, limits: &Limits) -> Option<u32> {
        if self.granted >= limits.channels {
            return None;
        }
        let channel = match self.free.pop() {
            Some(channel) => channel,
            None => {
                let channel = u32::try_from(self.slots.len()).ok()?;
                self.slots.push(None);
                channel
            }
        };
        *self.slots.get_mut(index(channel))? = Some(Channel::new());
        self.granted = self.granted.saturating_add(1);
        Some(channel)
    }

    /// The channel is gone. Channel 0 is never granted again.
    fn remove(&mut self, channel: u32) {
        let Some(gone) = self.slots.get_mut(index(channel)).and_then(Option::take) else { return };
        self.parked = self.parked.saturating_sub(gone.parked_bytes);
        self.waiting = self.waiting.saturating_sub(gone.waiting);
        if channel != 0 {
            self.granted = self.granted.saturating_sub(1);
            self.free.push(channel);
        }
    }

    /// Writes what has its turn on a channel. Where that deletes it, it is gone afterwards.
    pub(super) fn flush(&mut self, channel: u32, out: &mut Vec<u8>) {
        let Some(at) = self.slots.get_mut(index(channel)).and_then(Option::as_mut) else { return };
        let mut deleted = false;
        while let Some(turn) = at.turns.front_mut() {
            let early = turn.early().len();
            if early > 0 {
                at.waiting = at.waiting.saturating_sub(early);
                self.waiting = self.waiting.saturating_sub(early);
                out.append(turn.early_mut());
            }
            if !turn.done {
                break;
            }
            deleted |= turn.deletes;
            at.turns.pop_front();
            at.alike = at.alike.min(at.turns.len());
            at.first = at.first.wrapping_add(1);
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        if at.turns.is_empty() && at.turns.capacity() > 32 {
            at.turns = VecDeque::new();
        }
        if deleted {
            self.remove(channel);
        } else {
            self.look_again(channel);
        }
    }

    /// Whether a frame may be looked at; `first` says that a request begins with it, `again` that it was kept before,
    /// `windows` that the client keeps to windows.
    pub(super) fn room(
        &self,
        channel: &Channel,
        first: bool,
        again: bool,
        (length, windows): (usize, bool),
        limits: &Limits,
    ) -> Room {
        // A window is not kept to the byte.
        let most = if windows && channel.parked_bytes < PARKED { usize::MAX } else { PARKED };
        let behind = !again && !channel.parked.is_empty();
        if !behind && !channel.is_blocked(first, limits) {
            Room::Now
        } else if !again
            && channel.parked_bytes.saturating_add(length) <= most
            && self.parked.saturating_add(length) <= PARKED_ALL
        {
            Room::Later
        } else {
            Room::None
        }
    }

    /// Keeps a frame.
    pub(super) fn park(&mut self, channel: u32, frame: &[u8]) {
        if let Some(at) = self.slots.get_mut(index(channel)).and_then(Option::as_mut) {
            at.parked.push_back(Bytes::copy_from_slice(frame));
            at.parked_bytes = at.parked_bytes.saturating_add(frame.len());
            self.parked = self.parked.saturating_add(frame.len());
        }
    }

    /// Whether the channel keeps frames beside one that is looked at again.
    pub(super) fn keeps_more(&self, channel: u32, again: bool) -> bool {
        self.get(channel).is_some_and(|at| at.parked.len() > usize::from(again))
    }

    /// Something may have changed that frames of this channel wait for.
    fn look_again(&mut self, channel: u32) {
        let Some(at) = self.slots.get_mut(index(channel)).and_then(Option::as_mut) else { return };
        if !at.parked.is_empty() && !at.ready {
            at.ready = true;
            self.ready.push_back(channel);
        }
    }

    /// A kept frame that may be looked at now; the same until it is taken out.
    pub(super) fn held(&mut self, limits: &Limits) -> Option<Bytes> {
        while let Some(&channel) = self.ready.front() {
            if let Some(at) = self.get_mut(channel) {
                let front = at.parked.front();
                let first = front.and_then(|frame| frame.first()).is_some_and(|status| status & 2 == 0);
                if let Some(frame) = front
                    && !at.is_blocked(first, limits)
                {
                    let frame = frame.clone();
                    self.given = Some(channel);
                    return Some(frame);
                }
                at.ready = false;
            }
            self.ready.pop_front();
        }
        None
    }

    /// Whether a frame was given back and is not dealt with.
    #[inline]
    pub(super) fn gives(&self) -> bool {
        self.given.is_some()
    }

    /// Whether the input is the frame that was given back last: it is known by where it lies, since the table still has
    /// it.
    pub(super) fn is_given(&self, input: &[u8]) -> bool {
        self.given
            .and_then(|channel| self.get(channel)?.parked.front())
            .is_some_and(|frame| frame.as_ptr_range() == input.as_ptr_range())
    }

    /// The frame that was given back is dealt with. The other channels have their turn before the next one of this.
    pub(super) fn take_given(&mut self) {
        let Some(channel) = self.given.take() else { return };
        if self.ready.front() == Some(&channel) {
            self.ready.pop_front();
        }
        let Some(at) = self.slots.get_mut(index(channel)).and_then(Option::as_mut) else { return };
        at.ready = false;
        if let Some(frame) = at.parked.pop_front() {
            at.parked_bytes = at.parked_bytes.saturating_sub(frame.len());
            self.parked = self.parked.saturating_sub(frame.len());
        }
        self.look_again(channel);
    }

    /// No more of this call's body, or more again.
    pub(super) fn hold(&mut self, call: u64, hold: bool) {
        let (channel, number) = parts(call);
        let Some(at) = self.get_mut(channel) else { return };
        if at.arriving == Arriving::Call(number) {
            at.holding = hold;
            if !hold {
                self.look_again(channel);
            }
        }
    }
}

impl Channel {
    /// The body that arrived is whole.
    pub(super) fn arrived(&mut self) {
        self.arriving = Arriving::Nothing;
        self.holding = false;
    }

    /// How many requests that have come whole are not answered whole.
    pub(super) fn unanswered(&self) -> usize {
        let open = self.turns.iter().filter(|turn| !turn.done).count();
        let comes = match self.arriving {
            Arriving::Call(number) => self.waits(number),
            Arriving::Past(Some(_)) => true,
            Arriving::Nothing | Arriving::Past(None) => false,
        };
        open.saturating_sub(usize::from(comes))
    }

    /// How many whole frames wait to be looked at.
    pub(super) fn kept(&self) -> usize {
        self.parked.len()
    }
}
