//! One connection under load: its calls go out and their answers come in within one poll, without a task, a timer or
//! memory for each call.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::bodies::{Carried, Scratch};
use super::exchange::{Exchange, Heard};
use super::figures::{Fault, Figures};
use super::plan::Stop;
use super::slots::{InFlight, Slots};
use super::stream::{self, Stream};
use super::thread::{BATCH, Buffers, Parking, Thread, nanos};

/// How long a dial may take.
pub(super) const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// The first and the longest pause before a lost connection is dialled again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// Where calls are counted: so long without an answer, and a connection that cannot be made is given up.
const GIVE_UP: u64 = 5_000_000_000;
/// How often timeouts are looked for, in nanoseconds: a tenth of the timeout within these.
const TICKS: (u64, u64) = (5_000_000, 250_000_000);
/// A connection that has sent nothing for so long sends a heartbeat, in nanoseconds.
const HEARTBEAT: u64 = 4_000_000_000;

/// How a connection ended.
enum End {
    /// All is done.
    Done,
    /// The peer has announced it, or a call was given up that stands in the way of others; nothing was in flight.
    Closed,
    /// It failed, and the kind of failure.
    Lost(String),
}

/// Calls on one connection, and on the next where it is lost, until all is done.
pub(super) async fn run<X: Exchange>(thread: Rc<Thread>, mut dialled: Result<Stream, String>) {
    let mut pauses = Pauses { next: Duration::ZERO, lost_at: None };
    loop {
        let stream = match dialled {
            Ok(stream) => stream,
            Err(kind) => {
                fail_one(&thread, &kind);
                let Some(stream) = pauses.dial(&thread).await else { return };
                dialled = stream;
                continue;
            }
        };
        let mut connection = Connection::<X>::new(&thread, stream);
        let end = poll_fn(|cx| connection.turn(&thread, cx)).await;
        if connection.answered {
            pauses = Pauses { next: Duration::ZERO, lost_at: None };
        }
        match end {
            End::Done => return,
            End::Closed => pauses.lost_at = None,
            End::Lost(kind) if connection.slots.busy() == 0 && !connection.answered => {
                fail_one(&thread, &kind);
            }
            End::Lost(kind) => connection.fail(&thread, &kind),
        }
        drop(connection);
        let Some(stream) = pauses.dial(&thread).await else { return };
        dialled = stream;
    }
}

/// A connection that is good for no call fails one.
fn fail_one(thread: &Thread, kind: &str) {
    let now = thread.now();
    if let Some(start) = thread.start(now) {
        let mut figures = thread.figures.borrow_mut();
        figures.started(start.begun, now);
        figures.failed_call(start.begun, now, Fault::Transport, kind);
    }
}

/// The pace of dials.
struct Pauses {
    next: Duration,
    /// When the connection was lost, if it has not answered since.
    lost_at: Option<u64>,
}

impl Pauses {
    /// Dials after a pause. Nothing where no more calls are to be made.
    async fn dial(&mut self, thread: &Thread) -> Option<Result<Stream, String>> {
        let now = thread.now();
        let lost_at = *self.lost_at.get_or_insert(now);
        if matches!(thread.plan.stop, Stop::Calls(_)) && now.saturating_sub(lost_at) > GIVE_UP {
            thread.figures.borrow_mut().gave_up = true;
            return None;
        }
        let left = thread.times.end.saturating_sub(now);
        tokio::time::sleep(self.next.min(Duration::from_nanos(left))).await;
        self.next = (self.next * 2).clamp(PAUSES.0, PAUSES.1);
        if thread.over(thread.now()) {
            return None;
        }
        Some(Stream::dial(&thread.plan.address, thread.plan.timeout.min(DIAL_TIMEOUT)).await)
    }
}

struct Connection<X> {
    exchange: X,
    stream: Stream,
    slots: Slots,
    /// A frame that is not all there, and how long it will be (0: not known).
    rest: Vec<u8>,
    need: usize,
    /// What the socket did not take, from this place on.
    unsent: Vec<u8>,
    unsent_at: usize,
    parking: Rc<Parking>,
    /// The timer, and when it looks at the calls next.
    timer: Pin<Box<Sleep>>,
    next_tick: u64,
    last_sent: u64,
    timeout: u64,
    tick: u64,
    /// The peer takes no more calls here.
    draining: bool,
    /// At least one answer came.
    answered: bool,
}

impl<X: Exchange> Connection<X> {
    fn new(thread: &Thread, stream: Stream) -> Self {
        let mut exchange = X::new(&thread.plan.target);
        let mut unsent = Vec::new();
        exchange.greet(&mut unsent);
        let timeout = nanos(thread.plan.timeout);
        Self {
            exchange,
            stream,
            slots: Slots::new(thread.plan.in_flight),
            rest: Vec::new(),
            need: 0,
            unsent,
            unsent_at: 0,
            parking: Rc::default(),
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            next_tick: 0,
            last_sent: 0,
            timeout,
            tick: (timeout / 10).clamp(TICKS.0, TICKS.1),
            draining: false,
            answered: false,
        }
    }

    /// All calls in flight fail.
    fn fail(&mut self, thread: &Thread, kind: &str) {
        let now = thread.now();
        let mut figures = thread.figures.borrow_mut();
        for call in self.slots.drain() {
            figures.failed_call(call.begun, now, Fault::Transport, kind);
        }
    }

    /// One poll: reads once, makes the next call of each place that is free, writes once.
    fn turn(&mut self, thread: &Thread, cx: &mut Context<'_>) -> Poll<End> {
        let Buffers { input, out, scratch } = &mut *thread.buffers.borrow_mut();
        let figures = &mut *thread.figures.borrow_mut();
        out.clear();
        let (mut now, mut waits) = (None, false);
        // A socket that gave less than it was asked for is empty. Asked once more it knows that without a system
        // call, and wakes this task when there is more.
        for _ in 0..2 {
            let read = self.read(cx, input);
            let now = *now.get_or_insert_with(|| thread.now());
            match read {
                Poll::Pending => {
                    waits = true;
                    break;
                }
                Poll::Ready(Ok(0)) if self.draining && self.slots.busy() == 0 => {
                    return Poll::Ready(End::Closed);
                }
                Poll::Ready(Ok(0)) => return Poll::Ready(End::Lost("connection closed".to_owned())),
                Poll::Ready(Err(error)) => return Poll::Ready(End::Lost(stream::kind(&error))),
                Poll::Ready(Ok(length)) => {
                    figures.moved(now, length, 0);
                    if let Err(why) = self.hear(now, length, input, out, figures) {
                        return Poll::Ready(End::Lost(why));
                    }
                    if length == BATCH {
                        break;
                    }
                }
            }
        }
        let now = now.unwrap_or_default();
        if now >= self.next_tick && !self.look_at_the_clock(thread, now, cx, out, figures) {
            let alone = self.slots.busy() == 0;
            let end = if alone { End::Closed } else { End::Lost("connection closed".to_owned()) };
            return Poll::Ready(end);
        }
        waits &= self.start(thread, now, out, scratch, figures);
        if self.slots.busy() == 0 {
            if thread.over(now) {
                return Poll::Ready(End::Done);
            }
            if self.draining {
                return Poll::Ready(End::Closed);
            }
        }
        if thread.schedule.is_some() && self.slots.has_free() && !self.draining {
            thread.park(&self.parking, cx.waker());
        }
        match self.write(cx, out) {
            Err(error) => return Poll::Ready(End::Lost(stream::kind(&error))),
            Ok(0) => {}
            Ok(written) => {
                figures.moved(now, 0, written);
                self.last_sent = now;
            }
        }
        if !waits {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Reads once, behind what is there of a frame.
    fn read(&mut self, cx: &mut Context<'_>, input: &mut Vec<u8>) -> Poll<std::io::Result<usize>> {
        let kept = if self.need > BATCH { 0 } else { self.rest.len() };
        if input.len() < kept + BATCH {
            input.resize(kept + BATCH, 0);
        }
        self.stream.poll_read(cx, input.get_mut(kept..kept + BATCH).unwrap_or_default())
    }

    /// Takes in what was read.
    fn hear(
        &mut self,
        now: u64,
        read: usize,
        input: &mut [u8],
        out: &mut Vec<u8>,
        figures: &mut Figures,
    ) -> Result<(), String> {
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
    fn look_at(
        &mut self,
        now: u64,
        bytes: &[u8],
        out: &mut Vec<u8>,
        figures: &mut Figures,
    ) -> Result<usize, String> {
        let mut unread = bytes;
        loop {
            let (used, heard) = self.exchange.receive(unread, out)?;
            unread = unread.get(used..).unwrap_or_default();
            match heard {
                Heard::Answer(id) => match self.taken(id) {
                    Some(call) => figures.answered(call.begun, now),
                    None => figures.strays += 1,
                },
                Heard::Failure(id, message) => match self.taken(id) {
                    Some(call) => figures.failed_call(call.begun, now, Fault::Service, &message),
                    None => figures.strays += 1,
                },
                Heard::Nothing => {}
                Heard::Draining => self.draining = true,
                Heard::NeedMore(length) => {
                    self.need = length;
                    return Ok(bytes.len() - unread.len());
                }
            }
        }
    }

    /// The call of an answer, which is in flight no longer.
    #[inline]
    fn taken(&mut self, id: u64) -> Option<InFlight> {
        let call = self.slots.remove(id)?;
        self.answered = true;
        Some(call)
    }

    /// Makes a call in each place that is free, as far as calls may start. Whether nothing went wrong.
    #[inline]
    fn start(
        &mut self,
        thread: &Thread,
        now: u64,
        out: &mut Vec<u8>,
        scratch: &mut Scratch,
        figures: &mut Figures,
    ) -> bool {
        if self.draining {
            return true;
        }
        let plan = &*thread.plan;
        let mut share = thread.share(now);
        while share > 0
            && self.slots.has_free()
            && let Some(start) = thread.start(now)
            && let Some(id) = self.slots.insert(InFlight { begun: start.begun, sent: now })
        {
            share -= 1;
            figures.started(start.begun, now);
            let carried = plan.bodies.get(start.seq, scratch);
            let made = match carried {
                Ok(Carried::Call(call)) => self.exchange.repeat(&plan.target, id, call, out),
                Ok(Carried::Body(body)) => self.exchange.call(&plan.target, id, body, out),
                Err(why) => Err(why),
            };
            if let Err(why) = made {
                // The next one is made in the next poll, so that the clock goes on.
                self.slots.remove(id);
                figures.failed_call(start.begun, now, Fault::Service, &why);
                return false;
            }
        }
        true
    }

    /// What is to be done from time to time: calls that are over their time, heartbeats, progress. Whether the
    /// connection goes on.
    fn look_at_the_clock(
        &mut self,
        thread: &Thread,
        now: u64,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
        figures: &mut Figures,
    ) -> bool {
        let mut usable = true;
        if let Some(time) = now.checked_sub(self.timeout) {
            let exchange = &mut self.exchange;
            self.slots.expire(time, |id, call| {
                figures.failed_call(call.begun, now, Fault::Timeout, "timeout");
                usable &= exchange.give_up(id, out);
            });
        }
        if now.saturating_sub(self.last_sent) >= HEARTBEAT {
            self.exchange.ping(out);
        }
        thread.publish(figures.n());
        let end = Some(thread.times.end).filter(|end| *end > now).unwrap_or(u64::MAX);
        self.next_tick = now.saturating_add(self.tick).min(end);
        let pause = Duration::from_nanos(self.next_tick - now);
        self.timer.as_mut().reset(Instant::now() + pause);
        if self.timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        usable
    }

    /// Writes once, what was left first. How many bytes the socket took.
    fn write(&mut self, cx: &mut Context<'_>, out: &[u8]) -> std::io::Result<usize> {
        let direct = self.unsent.is_empty();
        if !direct {
            self.unsent.extend_from_slice(out);
        }
        let all = if direct { out } else { self.unsent.get(self.unsent_at..).unwrap_or_default() };
        if all.is_empty() {
            return Ok(0);
        }
        let batch = all.get(..BATCH).unwrap_or(all);
        let mut written = 0;
        while let Some(rest) = batch.get(written..).filter(|rest| !rest.is_empty()) {
            // A socket that took less than it was given is full. Asked once more it knows that without a system
            // call, and wakes this task when it has room.
            match self.stream.poll_write(cx, rest) {
                Poll::Ready(result) => written += result?,
                Poll::Pending => break,
            }
        }
        if written == batch.len() && written < all.len() {
            cx.waker().wake_by_ref();
        }
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
