//! The place of one connection of the run: it is dialled, loses its connection, and is dialled again, until all is done.

use std::time::Duration;

use rustix::event::epoll::{self, EventData, EventFlags};

use super::connection::{Connection, End};
use super::exchange::Exchange;
use super::figures::Fault;
use super::inlet::Inlet;
use super::plan::Stop;
use super::stream::{Stream, kind};
use super::thread::{Thread, nanos};
use super::worker::Epoll;

/// How long a dial may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// The first and the longest pause before a lost connection is dialled again, in nanoseconds.
const PAUSES: (u64, u64) = (20_000_000, 500_000_000);
/// Where calls are counted: so long without an answer, and a connection that cannot be made is given up.
const GIVE_UP: u64 = 5_000_000_000;

pub(super) struct Place<X> {
    /// What epoll calls it.
    number: u64,
    state: State<X>,
    /// What epoll waits for.
    interest: EventFlags,
    /// It waits for a call that may start.
    pub(super) queued: bool,
    /// The pause before the next dial.
    pause: u64,
    /// When the connection was lost, if it has not answered since.
    lost_at: Option<u64>,
}

enum State<X> {
    /// It is dialled at this time.
    Pausing(u64),
    /// Until this time the dial may take; the address after it has this number.
    Dialling(Stream, u64, usize),
    /// The dial has failed, and the kind of failure.
    Failed(String),
    Open(Connection<X>),
    Done,
}

impl<X: Exchange> Place<X> {
    pub(super) fn new(number: u64) -> Self {
        let (state, interest) = (State::Pausing(0), EventFlags::empty());
        Self { number, state, interest, queued: false, pause: 0, lost_at: None }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    pub(super) fn is_dialling(&self) -> bool {
        matches!(self.state, State::Dialling(..))
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Why the dial has failed.
    pub(super) fn failure(&self) -> Option<&str> {
        if let State::Failed(kind) = &self.state { Some(kind) } else { None }
    }

    /// Whether one more call could be made; nothing where there is no connection.
    #[inline]
    pub(super) fn has_room(&self) -> Option<bool> {
        if let State::Open(connection) = &self.state { Some(connection.has_room()) } else { None }
    }

    /// Begins to dial the addresses from this one on: the next one where one fails.
    pub(super) fn dial(&mut self, epoll: &Epoll, thread: &Thread, first: usize, now: u64) {
        let mut why = "no address".to_owned();
        for (address, next) in thread.plan.addresses.iter().zip(1..).skip(first) {
            let dialled = Stream::dial(address).and_then(|stream| {
                epoll::add(epoll, &stream, EventData::new_u64(self.number), EventFlags::OUT)?;
                Ok(stream)
            });
            match dialled {
                Ok(stream) => {
                    let until = now.saturating_add(nanos(thread.plan.timeout.min(DIAL_TIMEOUT)));
                    self.interest = EventFlags::OUT;
                    self.state = State::Dialling(stream, until, next);
                    return;
                }
                Err(error) => why = kind(&error),
            }
        }
        self.state = State::Failed(why);
    }

    /// The socket is ready.
    #[inline]
    pub(super) fn ready(&mut self, epoll: &Epoll, thread: &mut Thread, ready: EventFlags) {
        if let State::Open(connection) = &mut self.state {
            let ended = connection.ready(thread, ready);
            self.goes_on(epoll, thread, ended);
        } else {
            self.dialled(epoll, thread);
        }
    }

    /// Makes so many calls at most.
    pub(super) fn begin(&mut self, epoll: &Epoll, thread: &mut Thread, now: u64, most: u64) {
        if let State::Open(connection) = &mut self.state {
            let ended = connection.begin(thread, now, most);
            self.goes_on(epoll, thread, ended);
        }
    }

    /// What is to be done from time to time.
    pub(super) fn look_at_the_clock(&mut self, epoll: &Epoll, thread: &mut Thread, now: u64) {
        match &mut self.state {
            State::Open(connection) => {
                let ended = connection.look_at_the_clock(thread, now);
                self.goes_on(epoll, thread, ended);
            }
            State::Failed(kind) => {
                fail_one(thread, kind);
                self.dial_again(epoll, thread);
            }
            State::Pausing(_) if thread.over(now) => self.state = State::Done,
            State::Pausing(until) if *until <= now => self.dial(epoll, thread, 0, now),
            State::Dialling(_, until, next) if *until <= now => {
                let next = *next;
                self.state = State::Failed("connect timeout".to_owned());
                if next < thread.plan.addresses.len() {
                    self.dial(epoll, thread, next, now);
                }
            }
            _ => {}
        }
    }

    #[cold]
    fn dialled(&mut self, epoll: &Epoll, thread: &Thread) {
        let State::Dialling(stream, _, next) = &self.state else { return };
        let next = *next;
        match stream.dialled() {
            Ok(()) => {
                let State::Dialling(stream, ..) = std::mem::replace(&mut self.state, State::Done) else {
                    return;
                };
                let mut connection = Connection::new(thread, stream);
                connection.inlet = self.inlet(epoll, thread);
                self.state = State::Open(connection);
                // Until its first turn.
                self.listen(epoll, EventFlags::empty());
            }
            Err(_) if next < thread.plan.addresses.len() => self.dial(epoll, thread, next, thread.now()),
            Err(error) => self.state = State::Failed(kind(&error)),
        }
    }

    /// Where answers come beside the connection, if anywhere: waited for with it.
    fn inlet(&self, epoll: &Epoll, thread: &Thread) -> Option<Inlet<X>> {
        let listener = thread.plan.listener.as_ref()?.try_clone().ok()?;
        let inlet = Inlet::new(listener.into()).ok()?;
        epoll::add(epoll, &inlet, EventData::new_u64(self.number), EventFlags::IN).ok()?;
        Some(inlet)
    }

    /// After a turn of the connection.
    #[inline]
    fn goes_on(&mut self, epoll: &Epoll, thread: &mut Thread, ended: Result<(), End>) {
        let State::Open(connection) = &self.state else { return };
        match ended {
            Ok(()) => {
                let wanted = connection.interest();
                if wanted != self.interest {
                    self.listen(epoll, wanted);
                }
            }
            Err(end) => self.ended(epoll, thread, end),
        }
    }

    /// Has epoll wait for this.
    fn listen(&mut self, epoll: &Epoll, wanted: EventFlags) {
        if let State::Open(connection) = &self.state {
            self.interest = wanted;
            // It cannot fail: the socket is registered, and no memory is needed for it.
            let _ = epoll::modify(epoll, &connection.stream, EventData::new_u64(self.number), wanted);
        }
    }

    #[cold]
    fn ended(&mut self, epoll: &Epoll, thread: &mut Thread, end: End) {
        let State::Open(mut connection) = std::mem::replace(&mut self.state, State::Done) else { return };
        if connection.answered {
            (self.pause, self.lost_at) = (0, None);
        }
        match end {
            End::Done => return,
            End::Stranger(why) => {
                thread.stranger = Some(why);
                return;
            }
            End::Closed => self.lost_at = None,
            End::Lost(kind) if connection.is_idle() && !connection.answered => fail_one(thread, &kind),
            End::Lost(kind) => connection.fail(thread, &kind),
        }
        drop(connection);
        self.dial_again(epoll, thread);
    }

    /// Dials, after a pause where the last connection was good for nothing.
    fn dial_again(&mut self, epoll: &Epoll, thread: &mut Thread) {
        let now = thread.now();
        let lost_at = *self.lost_at.get_or_insert(now);
        let pause = self.pause;
        self.pause = (pause * 2).clamp(PAUSES.0, PAUSES.1);
        if matches!(thread.plan.stop, Stop::Calls(_)) && now.saturating_sub(lost_at) > GIVE_UP {
            thread.figures.gave_up = true;
            self.state = State::Done;
        } else if pause > 0 {
            self.state = State::Pausing(now.saturating_add(pause));
        } else if thread.over(now) {
            self.state = State::Done;
        } else {
            self.dial(epoll, thread, 0, now);
        }
    }
}

/// A connection that is good for no call fails one.
fn fail_one(thread: &mut Thread, kind: &str) {
    let now = thread.now();
    if let Some(start) = thread.start(now) {
        thread.figures.failed_call(start.begun, now, Fault::Transport, kind);
    }
}
