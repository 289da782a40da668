//! The one connection driver: one task a connection does read, dispatch, write.
//!
//! It knows nothing of wires and roles: a [`Role`] (the server's or the client's) joins a session to calls. What
//! the driver owns is the rhythm, by what was measured (see ARCHITECTURE.md): everything that one read brought is
//! dealt with before one write answers it; buffers belong to the thread; what a peer does not read stays with
//! its connection, bounded, and stops the reading.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio::time::Instant;
use trunkline_wire::WireError;

use super::buffers::{self, BATCH, Inbound};
use super::timer::Timer;
use super::transport::Io;

/// What joins a session to calls: the server's side or the client's.
pub(crate) trait Role {
    /// Appends what came up since the last poll: replies that are ready, calls that were made. Called first in
    /// every round, with the task's waker to register.
    ///
    /// # Errors
    /// The connection is to be closed.
    fn advance(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Result<(), Close>;

    /// Called instead of [`advance`](Role::advance) while the peer does not take what was written: what need not
    /// be written goes on. Whether the connection should be read meanwhile.
    fn advance_unsent(&mut self, cx: &mut Context<'_>) -> bool;

    /// Deals with bytes of `batch` from `start` on; all of its answers are appended to `out`.
    ///
    /// # Errors
    /// The connection is to be closed.
    fn receive(
        &mut self,
        batch: &Bytes,
        start: usize,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Received, Close>;

    /// The peer has ended its side. Whether the connection goes on to answer what was asked.
    fn peer_ended(&mut self) -> bool;

    /// Whether there is nothing more to do and the connection should end.
    fn is_done(&self) -> bool;

    /// When the role wants to be polled although nothing happens. While the peer does not take what was written
    /// (`unsent`) only [`advance_unsent`](Role::advance_unsent) will be called, so only what that deals with
    /// counts: a time that nobody moves on would be waited for without a pause.
    fn wake_at(&self, unsent: bool) -> Option<Instant>;

    /// When the role looked at the clock last: in this poll, where it does at all. A timer that is later and was not moved
    /// need not be asked again.
    fn looked_at(&self) -> Option<Instant> {
        None
    }

    /// The peer takes nothing any more; what it has said is still read.
    fn unheard(&mut self) {}

    /// More of a frame has come that is not whole yet.
    fn heard(&mut self) {}

    /// Whether the program stops: it does not wait long for its peers to close.
    fn leaves(&self) -> bool {
        false
    }

    /// Whether this side answers calls. It reads a little ahead while calls have to wait, so that a caller that
    /// goes away meanwhile is noticed, and it has no patience with one that does not take its answers. A client
    /// waits for a busy server as long as that says anything, and takes replies from a connection that has ended.
    const ANSWERS: bool;
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// All was dealt with up to here; the rest is the beginning of a frame of so many bytes (0: not known).
    Upto(usize, usize),
    /// From here on it has to wait: until a call ends, or a stream is read.
    Blocked(usize),
    /// From here on it has to wait until what was written so far has been taken: the write buffer is full.
    Full(usize),
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Close {
    /// Both sides are done.
    #[error("done")]
    Done,
    /// The peer went away within a frame.
    #[error("the peer closed within a frame")]
    Cut,
    /// The peer broke the rules of the wire.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer is not the one that is wanted, or must not be trusted with more.
    #[cfg(feature = "node")]
    #[error("{0}")]
    Refused(&'static str),
    /// The peer was too slow, or silent.
    #[error("{0}")]
    Slow(&'static str),
}

/// How many bytes, read of a begun frame or taken of what was written, buy the peer as much time again.
const LEAST: usize = 10 << 10;

/// How much of what has to wait may be there before no more is read ahead.
const AHEAD: usize = 8 << 10;

/// How long a peer may take to close where the program stops: a round trip to most places.
const LEAVING: Duration = Duration::from_millis(100);

/// How long a peer may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// To take what is written to it, or 10 KiB more of it.
    pub(crate) write: Duration,
    /// To end a begun frame, or to send 10 KiB more of it.
    pub(crate) frame: Duration,
    /// To wait for answers after it has ended its own side.
    pub(crate) half_closed: Duration,
    /// To end its side after we have ended ours.
    pub(crate) goodbye: Duration,
}

impl Patience {
    /// What every peer is given.
    pub(crate) const USUAL: Self = Self {
        write: Duration::from_secs(10),
        frame: Duration::from_secs(10),
        half_closed: Duration::from_secs(1),
        goodbye: Duration::from_secs(1),
    };
}

/// A connection: see the module's documentation. It ends with the reason.
#[must_use = "a connection does nothing until it is polled"]
pub(crate) struct Connection<'p, I, R> {
    io: I,
    role: R,
    patience: &'p Patience,
    inbound: Inbound,
    /// What was read and has to wait, from where on, and why.
    waiting: Option<(Bytes, usize)>,
    /// What the peer has not taken yet.
    unsent: Vec<u8>,
    sent: usize,
    /// How much of `unsent` was added since the peer stopped taking it.
    added: usize,
    read_ended: bool,
    /// All is done but the goodbye, and our side is ended.
    done: bool,
    shut: bool,
    slow: Option<Slow>,
    timer: Option<Timer>,
}

impl<'p, I: Io, R: Role> Connection<'p, I, R> {
    /// Drives `role` over `io`. `first` was read from it already.
    pub(crate) fn new(io: I, role: R, patience: &'p Patience, first: Bytes) -> Self {
        Self {
            io,
            role,
            patience,
            inbound: Inbound::default(),
            waiting: (!first.is_empty()).then_some((first, 0)),
            unsent: Vec::new(),
            sent: 0,
            added: 0,
            read_ended: false,
            done: false,
            shut: false,
            slow: None,
            timer: None,
        }
    }

    /// Runs the connection to its end. (Not by value: a future keeps what it is given beside what it moves it to,
    /// and an idle connection has to be small.)
    pub(crate) async fn run(&mut self) -> Close {
        std::future::poll_fn(|cx| self.poll_run(cx)).await
    }

    fn poll_run(&mut self, cx: &mut Context<'_>) -> Poll<Close> {
        if !self.done {
            let close = ready!(self.poll(cx));
            if !matches!(close, Close::Done) {
                return Poll::Ready(close);
            }
            self.done = true;
            self.timer = None;
        }
        // Says goodbye properly; where the peer is gone that cannot fail it any more.
        if self.poll_goodbye(cx).is_ready() {
            return Poll::Ready(Close::Done);
        }
        let limit = if self.role.leaves() { LEAVING } else { self.patience.goodbye };
        let timer = self.timer.get_or_insert_with(|| Timer::new(Instant::now() + limit));
        timer.poll(cx).map(|()| Close::Done)
    }

    /// Ends our side, then reads to the end of the other one: what comes to a closed socket makes the peer throw
    /// away what it has not read yet, and a reply or a one-way call may be among it.
    fn poll_goodbye(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            self.shut = true;
        }
        while !self.read_ended {
            let read = ready!(self.inbound.poll_read(&mut self.io, cx))?;
            self.read_ended = read.is_none();
        }
        Poll::Ready(Ok(()))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Close> {
        let mut out = buffers::take_write();
        let result = self.poll_rounds(cx, &mut out);
        buffers::give_write(out);
        match result {
            Poll::Ready(Ok(())) => Poll::Ready(Close::Done),
            Poll::Ready(Err(close)) => Poll::Ready(close),
            Poll::Pending => self.poll_timer(cx),
        }
    }

    /// Rounds of advance, dispatch, write, read, until the socket has nothing more or takes nothing more.
    fn poll_rounds(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Result<(), Close>> {
        // What came up beside the reading is looked at once a poll, or again where a lot is read.
        let mut look = true;
        loop {
            let sending = !self.poll_unsent(cx)?;
            if !sending {
                if look {
                    self.role.advance(cx, out)?;
                }
            } else if !self.role.advance_unsent(cx) || self.added >= BATCH {
                // Whoever makes us answer and does not take the answers is not read from, either.
                return Poll::Pending;
            }
            let waits = self.dispatch(cx, out)?;
            if sending {
                self.added = self.added.saturating_add(out.len());
                self.unsent.append(out);
            } else {
                self.write(cx, out)?;
            }
            if !self.unsent.is_empty() && !sending || waits == Some(Wait::Written) {
                look = true;
                continue;
            }
            if self.unsent.is_empty() && self.role.is_done() && self.waiting.is_none() {
                return Poll::Ready(Ok(()));
            }
            if self.read_ended || waits.is_some() && !self.may_read_ahead() {
                return Poll::Pending;
            }
            let before = self.inbound.len();
            let read = self.inbound.poll_read(&mut self.io, cx);
            if self.inbound.len() > before {
                self.role.heard();
            }
            let read = ready!(read)?;
            #[cfg(test)]
            counts::READS.with(|reads| reads.set(reads.get() + 1));
            match read {
                Some(batch) => {
                    look = batch.len() >= BATCH;
                    self.waiting = Some((self.join(batch), 0));
                }
                None => {
                    look = true;
                    self.end_of_input()?;
                }
            }
        }
    }

    fn may_read_ahead(&self) -> bool {
        let waiting = self.waiting.as_ref();
        R::ANSWERS && waiting.is_some_and(|(batch, from)| batch.len().saturating_sub(*from) < AHEAD)
    }

    /// What was read, behind what still waits.
    fn join(&mut self, batch: Bytes) -> Bytes {
        match self.waiting.take() {
            None => batch,
            Some((before, from)) => [before.get(from..).unwrap_or_default(), &batch].concat().into(),
        }
    }

    fn end_of_input(&mut self) -> Result<(), Close> {
        self.read_ended = true;
        if self.inbound.is_partial() {
            return Err(Close::Cut);
        }
        if !self.role.peer_ended() {
            return Err(Close::Done);
        }
        Ok(())
    }

    /// Hands what was read to the role. Says what the rest waits for, where there is a rest.
    fn dispatch(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Result<Option<Wait>, Close> {
        let Some((batch, start)) = self.waiting.take() else {
            return Ok(None);
        };
        match self.role.receive(&batch, start, cx, out)? {
            Received::Upto(end, frame) => {
                if end > start {
                    self.slow
                        .take_if(|slow| slow.what == What::Frame || slow.what == What::Write && !R::ANSWERS);
                }
                self.inbound.keep(batch.get(end..).unwrap_or_default(), frame);
                Ok(None)
            }
            Received::Blocked(from) => {
                self.waiting = Some((batch, from));
                Ok(Some(Wait::Call))
            }
            Received::Full(from) => {
                self.waiting = Some((batch, from));
                Ok(Some(Wait::Written))
            }
        }
    }

    /// Writes the batch of answers; what the socket does not take is kept.
    fn write(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Result<(), Close> {
        let mut written = 0;
        while written < out.len() {
            let rest = out.get(written..).unwrap_or_default();
            let rest = rest.get(..BATCH).unwrap_or(rest);
            match poll_write(&mut self.io, cx, rest) {
                Poll::Ready(Ok(n)) => written += n,
                Poll::Ready(Err(error)) => {
                    self.lost(error)?;
                    break;
                }
                Poll::Pending => {
                    self.unsent.extend_from_slice(out.get(written..).unwrap_or_default());
                    break;
                }
            }
        }
        out.clear();
        Ok(())
    }

    /// The peer takes nothing more. A client reads on: what a server has said before it went away is still there, and a
    /// call that it did not get fails with the connection.
    fn lost(&mut self, error: io::Error) -> Result<(), Close> {
        if R::ANSWERS {
            return Err(error.into());
        }
        self.role.unheard();
        Ok(())
    }

    /// Goes on with what the peer did not take; whether all of it is gone. Nothing new is taken to be written
    /// before that, so there is never more of it than one round makes.
    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Result<bool, Close> {
        while self.sent < self.unsent.len() {
            let rest = self.unsent.get(self.sent..).unwrap_or_default();
            match poll_write(&mut self.io, cx, rest) {
                Poll::Ready(Ok(n)) => self.sent += n,
                Poll::Ready(Err(error)) => {
                    self.lost(error)?;
                    self.sent = self.unsent.len();
                }
                Poll::Pending => return Ok(false),
            }
        }
        if !self.unsent.is_empty() {
            self.unsent = Vec::new();
            self.sent = 0;
            self.added = 0;
            self.slow = None;
        }
        Ok(true)
    }

    /// Notes what the peer is waited for now, and since when.
    fn watch(&mut self) {
        let (what, time, far) = if !self.unsent.is_empty() {
            (What::Write, self.patience.write, self.sent)
        } else if self.read_ended {
            (What::HalfClosed, self.patience.half_closed, 0)
        } else if self.waiting.is_some() && !self.may_read_ahead() && self.io.is_read_closed() {
            // What it has sent before waits unread; looked at whenever the role wakes for its own reasons.
            (What::HalfClosed, self.patience.half_closed, 0)
        } else if self.inbound.is_partial() {
            (What::Frame, self.patience.frame, self.inbound.len())
        } else {
            self.slow = None;
            return;
        };
        let goes_on = |slow: &Slow| slow.what == what && far < slow.from.saturating_add(LEAST);
        if !self.slow.as_ref().is_some_and(goes_on) {
            self.slow = Some(Slow { what, at: Instant::now() + time, from: far });
        }
    }

    /// Arms the timer for what may take too long, and says when it did.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Close> {
        self.watch();
        let slow_at = self.slow.as_ref().map(|slow| slow.at);
        let wake_at = self.role.wake_at(!self.unsent.is_empty());
        let Some(at) = [slow_at, wake_at].into_iter().flatten().min() else {
            self.timer = None;
            return Poll::Pending;
        };
        let looked_at = self.role.looked_at();
        let timer = match &mut self.timer {
            // A timer that is set for earlier than it has to be is left: most times move on before they come, and to set
            // a timer costs more than to be woken for nothing now and then.
            Some(timer) if timer.at <= at => {
                if looked_at.is_some_and(|now| now < timer.at) {
                    return Poll::Pending;
                }
                timer
            }
            Some(timer) => {
                timer.reset(at);
                timer
            }
            none => none.insert(Timer::new(at)),
        };
        while timer.poll(cx).is_ready() {
            let now = Instant::now();
            if at <= now {
                match &self.slow {
                    Some(slow) if slow.at <= now => return Poll::Ready(Close::Slow(slow.what.text())),
                    _ => cx.waker().wake_by_ref(),
                }
                return Poll::Pending;
            }
            timer.reset(at);
        }
        Poll::Pending
    }
}

/// What a peer takes its time for.
#[derive(Debug)]
struct Slow {
    what: What,
    /// When it was too long.
    at: Instant,
    /// How far it was when that was set.
    from: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Write,
    HalfClosed,
    Frame,
}

impl What {
    fn text(self) -> &'static str {
        match self {
            Self::Write => "the peer does not read what is written to it",
            Self::HalfClosed => "the caller is gone",
            Self::Frame => "a begun frame does not go on",
        }
    }
}

/// Writes once. A socket that takes nothing is broken.
fn poll_write<I: AsyncWrite + Unpin>(
    io: &mut I,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    #[cfg(test)]
    counts::WRITES.with(|writes| writes.set(writes.get() + 1));
    match ready!(Pin::new(io).poll_write(cx, bytes)) {
        Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        result => Poll::Ready(result),
    }
}

/// How often this thread has read and written, for the test that bounds it.
#[cfg(test)]
pub(crate) mod counts {
    use std::cell::Cell;

    thread_local! {
        pub(crate) static READS: Cell<u64> = const { Cell::new(0) };
        pub(crate) static WRITES: Cell<u64> = const { Cell::new(0) };
    }
}

/// What a batch waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// A call that ends, or a stream that is read.
    Call,
    /// Room in the write buffer.
    Written,
}

/// Whether a role should stop and have its answers written before it goes on.
pub(crate) fn is_full(out: &[u8]) -> bool {
    out.len() >= BATCH
}
