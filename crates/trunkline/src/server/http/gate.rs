//! The gate between a connection and hyper: hyper reads only what the [`Framer`] lets pass.
//!
//! It reads ahead while a handler runs, so that a caller that goes away is noticed, and it knows the times: how
//! long a head is on its way, since when the peer reads nothing, since when it has ended its side.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use hyper::rt::ReadBufCursor;
use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::framer::{Framer, Handover, Step};
use super::head::{MAX_HEAD, Refusal};
use crate::net::buffers::Inbound;
use crate::net::transport::{Io, Stream};

/// How long a head may take from its first byte on.
const HEAD: Duration = Duration::from_secs(10);
/// How long a peer may take to read more of what is written to it.
const WRITE: Duration = Duration::from_secs(10);
/// How long a peer that has ended its side waits for an answer.
const HALF_CLOSED: Duration = Duration::from_secs(1);
/// How many bytes of what is written a peer has to take within that time.
const WRITE_LEAST: u64 = 10 << 10;
/// How long a body that has begun may still take when the server stops.
const STOP: Duration = Duration::from_secs(1);
/// How often it is looked whether a caller is still there of whom nothing more is read. That reads a flag of the
/// runtime's, which the kernel's event has set; a connection that is read is woken by that event itself.
const THERE: Duration = Duration::from_millis(250);
/// How much is read ahead: a whole head fits behind as much of a body. One read may go beyond it.
const AHEAD: usize = 2 * MAX_HEAD;

/// Why nothing more is let through.
#[derive(Debug)]
pub(super) enum End {
    /// What came is refused.
    Refused(Refusal),
    /// The body of a request is refused; whoever reads it finds it broken off, and answers.
    Broken(Refusal),
    /// The connection speaks something else from here on.
    Leave(Handover),
}

/// What takes too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slow {
    /// A head is not whole. The gate refuses it.
    Head,
    /// The peer does not read its answer.
    Write,
    /// The peer has ended its side and is not waited for any longer.
    HalfClosed,
    /// A body goes on while the server stops. The gate breaks it off.
    Stop,
    /// It is time to look whether the peer is still there.
    There,
}

/// hyper's end of the gate. The other end is the connection's task, which holds a clone.
#[derive(Clone)]
pub(super) struct Gate(Arc<Mutex<Inner>>);

struct Inner {
    /// `None` once it was taken back.
    stream: Option<Stream>,
    inbound: Inbound,
    framer: Framer,
    /// What was read, of which the first `passed` bytes may be read by hyper.
    unread: BytesMut,
    passed: usize,
    end: Option<End>,
    /// hyper has read up to the end. Where it stops before, its last answer was the last.
    reached: bool,
    head_since: Option<Instant>,
    /// Since when the peer does not take what is written, and how much had been written by then.
    blocked: Option<(Instant, u64)>,
    written: u64,
    ended_since: Option<Instant>,
    /// While nothing more is read and a handler runs: when to look next whether the peer is there, or since when
    /// it is known to be gone.
    there: Option<There>,
    /// Until when bodies may go on, once the server stops.
    stop_at: Option<Instant>,
    /// Requests whose handler runs, and those whose handler has ended.
    running: usize,
    done: u64,
    /// hyper was told to close behind an answer, and has to be let do it.
    closing: bool,
    /// How many bytes of the connection came before `unread`; those of a head that was for the gate are counted as
    /// soon as they are taken out.
    before: u64,
}

#[derive(Debug, Clone, Copy)]
enum There {
    LookAt(Instant),
    GoneSince(Instant),
}

/// What is left of a connection that hyper is done with.
pub(super) struct Left {
    pub(super) stream: Option<Stream>,
    /// What was read and belongs to nobody yet.
    pub(super) rest: Bytes,
    pub(super) end: Option<End>,
    /// The peer may still be sending, so that closing at once could destroy the answer on its way.
    pub(super) may_send: bool,
    /// How many bytes of the connection came before `rest`.
    pub(super) offset: u64,
}

impl Gate {
    /// A gate in front of `stream`, of which `first` was read already.
    pub(super) fn new(stream: Stream, first: &[u8]) -> Self {
        let mut inner = Inner {
            stream: Some(stream),
            inbound: Inbound::default(),
            framer: Framer::default(),
            unread: BytesMut::from(first),
            passed: 0,
            end: None,
            reached: false,
            head_since: None,
            blocked: None,
            written: 0,
            ended_since: None,
            there: None,
            stop_at: None,
            running: 0,
            done: 0,
            closing: false,
            before: 0,
        };
        inner.look();
        Self(Arc::new(Mutex::new(inner)))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads ahead. Ready when something was read, so that hyper has to look again.
    ///
    /// # Errors
    /// The connection is broken.
    pub(super) fn poll_ahead(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lock().poll_fill(cx)
    }

    /// When the peer becomes too slow with what.
    pub(super) fn due(&self) -> Option<(Instant, Slow)> {
        let mut inner = self.lock();
        let head = inner.head_since.filter(|_| inner.end.is_none() && inner.ended_since.is_none());
        let ended = inner.ended_since.filter(|_| inner.running > 0);
        let stop = inner.stop_at.filter(|_| inner.end.is_none() && inner.is_in_body());
        [
            head.map(|since| (since + HEAD, Slow::Head)),
            inner.blocked.map(|(since, _)| (since + WRITE, Slow::Write)),
            ended.map(|since| (since + HALF_CLOSED, Slow::HalfClosed)),
            stop.map(|at| (at, Slow::Stop)),
            inner.there(),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
    }

    /// Refuses the head that has not come in time. hyper reads the end of the stream there.
    pub(super) fn refuse_slow_head(&self) {
        let mut inner = self.lock();
        let refusal = Refusal::new(408, "the head was not whole after 10 s").further(inner.unread.len());
        inner.end(End::Refused(refusal));
    }

    /// The server stops: bodies have a moment left.
    pub(super) fn stop(&self) {
        self.lock().stop_at = Some(Instant::now() + STOP);
    }

    /// Breaks off the body that has not come before the server stopped.
    pub(super) fn refuse_late_body(&self) {
        let mut inner = self.lock();
        let rule = "the server stops, and the request's body was not whole a second later";
        let refusal = Refusal::new(503, rule).further(inner.unread.len());
        inner.end(End::Broken(refusal));
    }

    /// Whether the body of a request is on its way.
    pub(super) fn is_in_body(&self) -> bool {
        self.lock().is_in_body()
    }

    /// Why the body that is being read is broken off, where the gate has done that.
    pub(super) fn broken(&self) -> Option<Refusal> {
        match self.lock().end {
            Some(End::Broken(refusal)) => Some(refusal),
            _ => None,
        }
    }

    /// Looks whether a caller of whom nothing is read is still there.
    pub(super) fn look_for_peer(&self) {
        let mut inner = self.lock();
        let gone = inner.stream.as_ref().is_some_and(Io::is_read_closed);
        let now = Instant::now();
        inner.there = Some(if gone { There::GoneSince(now) } else { There::LookAt(now + THERE) });
    }

    /// How many bytes of the connection have come.
    pub(super) fn position(&self) -> u64 {
        let inner = self.lock();
        inner.before.saturating_add(length(&inner.unread))
    }

    /// The answer that comes is the last one.
    pub(super) fn close(&self) {
        self.lock().closing = true;
    }

    /// Whether hyper has something to read.
    pub(super) fn has_passed(&self) -> bool {
        self.lock().passed > 0
    }

    /// Whether hyper has nothing to do and holds nothing: all that passed was answered, and the answers written.
    pub(super) fn is_idle(&self) -> bool {
        let inner = self.lock();
        inner.unread.is_empty()
            && inner.running == 0
            && !inner.closing
            && inner.done == inner.framer.heads()
            && inner.blocked.is_none()
            && inner.framer.is_at_head()
    }

    /// Whether nothing will pass any more; without hyper that is where its reading ends.
    pub(super) fn is_over(&self) -> bool {
        let mut inner = self.lock();
        let over = inner.passed == 0 && (inner.end.is_some() || inner.ended_since.is_some());
        inner.reached |= over;
        over
    }

    /// Marks that a handler runs, until the mark is dropped.
    pub(super) fn running(&self) -> Running {
        let mut inner = self.lock();
        inner.running = inner.running.saturating_add(1);
        Running(self.clone())
    }

    /// Takes the connection back from hyper.
    pub(super) fn take(&self) -> Left {
        let mut inner = self.lock();
        let rest = inner.unread.split().freeze();
        let ended = inner.ended_since.is_some();
        Left {
            stream: inner.stream.take(),
            may_send: !ended && (inner.end.is_some() || !rest.is_empty() || !inner.framer.is_at_head()),
            rest,
            offset: inner.before,
            end: if inner.reached { inner.end.take() } else { None },
        }
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// A handler that runs.
pub(super) struct Running(Gate);

impl Drop for Running {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.running = inner.running.saturating_sub(1);
        inner.done = inner.done.saturating_add(1);
    }
}

impl Inner {
    /// Ends what is let through; `refusal` says where, from the beginning of what is unread.
    fn end(&mut self, end: End) {
        let before = |refusal: Refusal| Refusal { at: refusal.at.saturating_add(self.before), ..refusal };
        let end = match end {
            End::Refused(refusal) => End::Refused(before(refusal)),
            End::Broken(refusal) => End::Broken(before(refusal)),
            leave @ End::Leave(_) => leave,
        };
        self.end.get_or_insert(end);
    }

    /// Whether the request that hyper reads is one whose body has not come whole.
    fn is_in_body(&self) -> bool {
        !self.framer.is_at_head() && self.framer.heads() == self.done.saturating_add(1)
    }

    /// Whether a caller may go away without a read that says so: a handler runs, and nothing more is read.
    fn is_deaf(&self) -> bool {
        self.running > 0 && self.ended_since.is_none() && (self.end.is_some() || self.unread.len() >= AHEAD)
    }

    fn there(&mut self) -> Option<(Instant, Slow)> {
        if !self.is_deaf() {
            self.there = None;
            return None;
        }
        Some(match *self.there.get_or_insert_with(|| There::LookAt(Instant::now() + THERE)) {
            There::LookAt(at) => (at, Slow::There),
            There::GoneSince(since) => (since + HALF_CLOSED, Slow::HalfClosed),
        })
    }

    /// Reads once, where there is room.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(stream) = self.stream.as_mut() else { return Poll::Pending };
        if self.ended_since.is_some() || self.end.is_some() || self.unread.len() >= AHEAD {
            return Poll::Pending;
        }
        match ready!(self.inbound.poll_read(stream, cx))? {
            Some(batch) => {
                self.unread.extend_from_slice(&batch);
                self.look();
            }
            None => self.ended_since = Some(Instant::now()),
        }
        Poll::Ready(Ok(()))
    }

    /// Lets pass what may pass.
    fn look(&mut self) {
        while self.end.is_none() {
            match self.framer.step(self.unread.get(self.passed..).unwrap_or_default()) {
                Ok(Step::Pass(length)) => {
                    self.passed = self.passed.saturating_add(length);
                    self.head_since = None;
                }
                Ok(Step::NeedMore) => break,
                Ok(Step::Leave(length, handover)) => {
                    // The head was for us; what follows is the other wire's.
                    let head = self.unread.split_off(self.passed);
                    self.before = self.before.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
                    self.unread.extend_from_slice(head.get(length..).unwrap_or_default());
                    self.end = Some(End::Leave(handover));
                }
                Err(refusal) => {
                    let refusal = refusal.further(self.passed);
                    let head = self.framer.is_at_head();
                    self.end(if head { End::Refused(refusal) } else { End::Broken(refusal) });
                }
            }
        }
        let begun = self.unread.len() > self.passed && self.framer.is_at_head();
        self.head_since = if begun { self.head_since.or_else(|| Some(Instant::now())) } else { None };
    }
}

impl hyper::rt::Read for Gate {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inner = self.lock();
        loop {
            if inner.passed > 0 {
                let length = inner.passed.min(buf.remaining());
                buf.put_slice(inner.unread.get(..length).unwrap_or_default());
                inner.unread.advance(length);
                inner.passed = inner.passed.saturating_sub(length);
                inner.before = inner.before.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
                if inner.unread.is_empty() {
                    // An idle connection holds no memory for what it may read.
                    inner.unread = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            if inner.end.is_some() || inner.ended_since.is_some() {
                inner.reached = true;
                return Poll::Ready(Ok(()));
            }
            ready!(inner.poll_fill(cx))?;
        }
    }
}

impl hyper::rt::Write for Gate {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut inner = self.lock();
        let Some(stream) = inner.stream.as_mut() else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let result = Pin::new(stream).poll_write(cx, buf);
        match result {
            Poll::Ready(Ok(length)) => {
                inner.written = inner.written.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
            }
            Poll::Ready(Err(_)) => {}
            // A peer that takes a byte now and then is as slow as one that takes none.
            Poll::Pending => {
                let written = inner.written;
                let goes_on = |(_, from): &(Instant, u64)| written < from.saturating_add(WRITE_LEAST);
                inner.blocked = inner.blocked.filter(goes_on).or_else(|| Some((Instant::now(), written)));
            }
        }
        result
    }

    /// Called when all that was to be written is.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.lock();
        inner.blocked = None;
        match inner.stream.as_mut() {
            Some(stream) => Pin::new(stream).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// The connection may go on in another wire; who takes it back ends it.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
