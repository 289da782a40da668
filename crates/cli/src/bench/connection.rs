//! One connection under load: its calls go out and their answers come in within one turn, without a task, a timer or
//! memory for each call.

use rustix::event::epoll::EventFlags;

use super::bodies::Carried;
use super::exchange::{Exchange, Heard};
use super::figures::{Fault, Figures};
use super::inlet::Inlet;
use super::slots::{InFlight, Slots};
use super::stream::{self, Stream};
use super::thread::{BATCH, Thread, nanos};
use super::tunnel;

/// A connection that has sent nothing for so long sends a heartbeat, in nanoseconds.
const HEARTBEAT: u64 = 4_000_000_000;

/// The calls of the only connection of a thread leave in so many portions, where each has so many calls at least: of fewer a
/// write costs more than is won.
const PORTIONS: usize = 3;
const LEAST: usize = 64;

/// How a connection ended.
pub(super) enum End {
    /// All is done.
    Done,
    /// The peer has announced it, or a call was given up that stands in the way of others; nothing was in flight.
    Closed,
    /// It failed, and the kind of failure.
    Lost(String),
    /// The peer is another one than is meant, and why.
    Stranger(String),
}

pub(super) struct Connection<X> {
    exchange: X,
    pub(super) stream: Stream,
    /// Where answers may come beside it.
    pub(super) inlet: Option<Inlet<X>>,
    slots: Slots,
    /// A frame that is not all there, and how long it will be (0: not known).
    rest: Vec<u8>,
    need: usize,
    /// What the socket did not take, from this place on.
    unsent: Vec<u8>,
    unsent_at: usize,
    last_sent: u64,
    /// The peer takes no more calls here.
    draining: bool,
    /// Since when it waits for the answer to its CONNECT, if it does.
    asked: Option<u64>,
    /// At least one answer came.
    pub(super) answered: bool,
}

impl<X: Exchange> Connection<X> {
    pub(super) fn new(thread: &Thread, stream: Stream) -> Self {
        let mut exchange = X::new(&thread.plan.target);
        let mut unsent = Vec::new();
        let asked = thread.plan.target.connect.map(|path| {
            unsent = tunnel::ask(path);
            thread.now()
        });
        if asked.is_none() {
            exchange.greet(&mut unsent);
        }
        Self {
            exchange,
            stream,
            inlet: None,
            slots: Slots::new(thread.plan.target.in_flight, thread.plan.each),
            rest: Vec::new(),
            need: 0,
            unsent,
            unsent_at: 0,
            last_sent: 0,
            draining: false,
            asked,
            answered: false,
        }
    }

    /// Whether it can take one more call.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.slots.has_free() && !self.draining && self.asked.is_none()
    }

    /// Whether no call is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.slots.busy() == 0
    }

    /// What epoll is to wait for.
    #[inline]
    pub(super) fn interest(&self) -> EventFlags {
        if self.unsent.is_empty() { EventFlags::IN } else { EventFlags::IN | EventFlags::OUT }
    }

    /// All calls in flight fail.
    pub(super) fn fail(&mut self, thread: &mut Thread, kind: &str) {
        let now = thread.now();
        for call in self.slots.drain() {
            thread.figures.failed_call(call.begun, now, Fault::Transport, kind);
        }
    }

    /// The socket is ready: reads once, in a closed loop makes the next call of each place that is free, writes once.
    pub(super) fn ready(&mut self, thread: &mut Thread, ready: EventFlags) -> Result<(), End> {
        thread.out.clear();
        let mut now = None;
        if ready != EventFlags::OUT {
            let read = self.read(&mut thread.input);
            let now = *now.insert(thread.now());
            match read {
                Ok(None) => {}
                Ok(Some(0)) => return Err(self.closed()),
                Ok(Some(length)) => self.hear(now, length, thread)?,
                Err(error) => return Err(End::Lost(stream::kind(&error))),
            }
            self.hear_elsewhere(now, thread).map_err(|error| End::Lost(stream::kind(&error)))?;
        }
        let now = now.unwrap_or_else(|| thread.now());
        let most = if thread.schedule.is_none() { u64::MAX } else { 0 };
        self.go_on(thread, now, most)
    }

    /// Makes so many calls at most.
    pub(super) fn begin(&mut self, thread: &mut Thread, now: u64, most: u64) -> Result<(), End> {
        thread.out.clear();
        self.go_on(thread, now, most)
    }

    /// What is to be done from time to time: calls that are over their time, heartbeats.
    pub(super) fn look_at_the_clock(&mut self, thread: &mut Thread, now: u64) -> Result<(), End> {
        let Thread { out, figures, plan, .. } = &mut *thread;
        out.clear();
        let mut usable = true;
        if let Some(time) = now.checked_sub(nanos(plan.timeout)) {
            if self.asked.is_some_and(|asked| asked <= time) {
                return Err(End::Lost("timeout".to_owned()));
            }
            let exchange = &mut self.exchange;
            self.slots.expire(time, |id, call| {
                figures.failed_call(call.begun, now, Fault::Timeout, "timeout");
                usable &= exchange.give_up(id, out);
            });
        }
        if !usable {
            return Err(if self.is_idle() { End::Closed } else { self.closed() });
        }
        if now.saturating_sub(self.last_sent) >= HEARTBEAT {
            self.exchange.ping(out);
        }
        self.go_on(thread, now, 0)
    }

    /// The end of the stream.
    #[cold]
    fn closed(&self) -> End {
        if self.draining && self.is_idle() {
            return End::Closed;
        }
        End::Lost("connection closed".to_owned())
    }

    /// The second half of a turn: calls, and what was written.
    #[inline]
    fn go_on(&mut self, thread: &mut Thread, now: u64, most: u64) -> Result<(), End> {
        for _ in 1..PORTIONS {
            let portion = self.portion(thread, most);
            if portion == 0 {
                break;
            }
            self.start(thread, now, portion);
            self.send(thread, now)?;
            thread.out.clear();
        }
        self.start(thread, now, most);
        if self.is_idle() {
            if thread.over(now) {
                return Err(End::Done);
            }
            if self.draining {
                return Err(End::Closed);
            }
        }
        self.send(thread, now)
    }

    /// How many calls are to leave before the others of the turn are made; 0: all leave together.
    #[inline]
    fn portion(&self, thread: &Thread, most: u64) -> u64 {
        let closed_loop = most == u64::MAX;
        if thread.alone && closed_loop { portion(self.slots.most(), self.slots.busy()) } else { 0 }
    }

    /// Writes what the turn has so far.
    #[inline]
    fn send(&mut self, thread: &mut Thread, now: u64) -> Result<(), End> {
        match self.write(&thread.out) {
            Err(error) => return Err(End::Lost(stream::kind(&error))),
            Ok(0) => {}
            Ok(written) => {
                thread.figures.moved(now, 0, written);
                self.last_sent = now;
            }
        }
        Ok(())
    }

    /// Reads once, behind what is there of a frame.
    #[inline]
    fn read(&mut self, input: &mut Vec<u8>) -> std::io::Result<Option<usize>> {
        let kept = if self.need > BATCH { 0 } else { self.rest.len() };
        if input.len() < kept + BATCH {
            input.resize(kept + BATCH, 0);
        }
        self.stream.read(input.get_mut(kept..kept + BATCH).unwrap_or_default())
    }

    /// Takes in what was read.
    #[inline]
    fn hear(&mut self, now: u64, read: usize, thread: &mut Thread) -> Result<(), End> {
        let Thread { input, out, figures, .. } = thread;
        figures.moved(now, read, 0);
        if self.rest.is_empty() {
            // Mostly what comes is whole.
            let bytes = input.get(..read).unwrap_or_default();
            let used = self.look_at(now, bytes, out, figures)?;
            self.rest.extend_from_slice(bytes.get(used..).unwrap_or_default());
            return Ok(());
        }
        let mut rest = std::mem::take(&mut self.rest);
        if self.need > BATCH {
            // A large frame is gathered where it lies, and looked at when it is whole.
            rest.extend_from_slice(input.get(..read).unwrap_or_default());
            if rest.len() >= self.need {
                let used = self.look_at(now, &rest, out, figures)?;
                rest.drain(..used);
            }
        } else {
            let bytes = input.get_mut(..rest.len() + read).unwrap_or_default();
            if let Some(before) = bytes.get_mut(..rest.len()) {
                before.copy_from_slice(&rest);
            }
            let used = self.look_at(now, bytes, out, figures)?;
            rest.clear();
            rest.extend_from_slice(bytes.get(used..).unwrap_or_default());
        }
        self.rest = rest;
        Ok(())
    }

    /// Ends each call whose answer is among these bytes. How many of them are dealt with.
    #[inline]
    fn look_at(
        &mut self,
        now: u64,
        bytes: &[u8],
        out: &mut Vec<u8>,
        figures: &mut Figures,
    ) -> Result<usize, End> {
        let mut unread = bytes;
        if self.asked.is_some() {
            let Some(head) = tunnel::answered(bytes).map_err(End::Lost)? else {
                self.need = 0;
                return Ok(0);
            };
            unread = bytes.get(head..).unwrap_or_default();
            self.asked = None;
            self.exchange.greet(out);
        }
        loop {
            let (used, heard) = self.exchange.receive(unread, out).map_err(End::Lost)?;
            unread = unread.get(used..).unwrap_or_default();
            match heard {
                Heard::Draining => self.draining = true,
                Heard::Stranger(why) => return Err(End::Stranger(why)),
                Heard::NeedMore(length) => {
                    self.need = length;
                    figures.bodies_in += self.exchange.take_bodies();
                    return Ok(bytes.len() - unread.len());
                }
                heard => self.answered |= ended(&mut self.slots, heard, now, figures),
            }
        }
    }

    /// Takes the answers that come over connections of others.
    #[inline]
    fn hear_elsewhere(&mut self, now: u64, thread: &mut Thread) -> std::io::Result<()> {
        let Some(inlet) = &mut self.inlet else { return Ok(()) };
        let Thread { plan, input, figures, .. } = thread;
        let (slots, answered) = (&mut self.slots, &mut self.answered);
        inlet.turn(&plan.target, input, |length, heard| {
            figures.moved(now, length, 0);
            *answered |= ended(slots, heard, now, figures);
        })?;
        figures.bodies_in += inlet.take_bodies();
        Ok(())
    }

    /// Makes a call in each place that is free, as far as calls may start.
    #[inline]
    fn start(&mut self, thread: &mut Thread, now: u64, most: u64) {
        let mut left = if self.draining || self.asked.is_some() { 0 } else { most };
        while left > 0
            && self.slots.has_free()
            && let Some(start) = thread.start(now)
            && let Some(id) = self.slots.insert(InFlight { begun: start.begun, sent: now })
        {
            left -= 1;
            let Thread { plan, scratch, out, figures, .. } = &mut *thread;
            let made = match plan.bodies.get(start.seq, scratch) {
                Ok(Carried::Call(call)) => self.exchange.repeat(&plan.target, id, call, out),
                Ok(Carried::Body(body)) => self.exchange.call(&plan.target, id, body, out),
                Err(why) => Err(why),
            };
            if let Err(why) = made {
                // The next one is made in another turn, so that the clock goes on.
                self.slots.remove(id);
                figures.failed_call(start.begun, now, Fault::Service, &why);
                return;
            }
        }
    }

    /// Writes once, what was left first. How many bytes the socket took.
    #[inline]
    fn write(&mut self, out: &[u8]) -> std::io::Result<usize> {
        let direct = self.unsent.is_empty();
        if !direct {
            self.unsent.extend_from_slice(out);
        }
        let all = if direct { out } else { self.unsent.get(self.unsent_at..).unwrap_or_default() };
        if all.is_empty() {
            return Ok(0);
        }
        let written = self.stream.write(all.get(..BATCH).unwrap_or(all))?;
        if direct {
            self.unsent.extend_from_slice(out.get(written..).unwrap_or_default());
            return Ok(written);
        }
        self.unsent_at += written;
        if self.unsent_at == self.unsent.len() {
            self.unsent.clear();
            self.unsent_at = 0;
        } else if self.unsent_at > self.unsent.len() / 2 {
            self.unsent.drain(..self.unsent_at);
            self.unsent_at = 0;
        }
        Ok(written)
    }
}

/// Ends the call that an answer is of. Whether there was one.
#[inline]
fn ended(slots: &mut Slots, heard: Heard, now: u64, figures: &mut Figures) -> bool {
    let (id, failed) = match heard {
        Heard::Answer(id) => (id, None),
        Heard::Failure(id, message) => (id, Some(message)),
        _ => return false,
    };
    let Some(call) = slots.remove(id) else {
        figures.strays += 1;
        return false;
    };
    match failed {
        None => figures.answered(call.begun, now),
        Some(message) => figures.failed_call(call.begun, now, Fault::Service, &message),
    }
    true
}

/// How many calls of the only connection leave at once, where `busy` of `all` are at the peer. One that has answered most of
/// them would have nothing to do until the last one is made again, and then both sides would wait for each other by turns.
#[inline]
fn portion(all: usize, busy: usize) -> u64 {
    let portion = all.div_ceil(PORTIONS);
    if portion >= LEAST && all.saturating_sub(busy) > portion { portion as u64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_with_nothing_to_do_gets_its_calls_in_portions() {
        assert_eq!(portion(200, 0), 67);
        assert_eq!(portion(200, 67), 67);
        assert_eq!(portion(200, 134), 0, "the rest leaves together");
        assert_eq!(portion(200, 133), 0, "it has enough to do");
        assert_eq!([portion(100, 0), portion(1, 0), portion(0, 0)], [0; 3], "too few");
    }
}
