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
use crate::net::transport::Stream;

/// How long a head may take from its first byte on.
const HEAD: Duration = Duration::from_secs(10);
/// How long a peer may take to read more of what is written to it.
const WRITE: Duration = Duration::from_secs(10);
/// How long a peer that has ended its side waits for an answer.
const HALF_CLOSED: Duration = Duration::from_secs(1);
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
    blocked_since: Option<Instant>,
    ended_since: Option<Instant>,
    /// Requests whose handler runs.
    running: usize,
}

/// What is left of a connection that hyper is done with.
pub(super) struct Left {
    pub(super) stream: Option<Stream>,
    /// What was read and belongs to nobody yet.
    pub(super) rest: Bytes,
    pub(super) end: Option<End>,
    /// The peer may still be sending, so that closing at once could destroy the answer on its way.
    pub(super) may_send: bool,
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
            blocked_since: None,
            ended_since: None,
            running: 0,
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
        let inner = self.lock();
        let head = inner.head_since.filter(|_| inner.end.is_none() && inner.ended_since.is_none());
        let ended = inner.ended_since.filter(|_| inner.running > 0);
        [
            head.map(|since| (since + HEAD, Slow::Head)),
            inner.blocked_since.map(|since| (since + WRITE, Slow::Write)),
            ended.map(|since| (since + HALF_CLOSED, Slow::HalfClosed)),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
    }

    /// Refuses the head that has not come in time. hyper reads the end of the stream there.
    pub(super) fn refuse_slow_head(&self) {
        let refusal = Refusal { status: 408, rule: "the head was not whole after 10 s" };
        self.lock().end.get_or_insert(End::Refused(refusal));
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
            end: if inner.reached { inner.end.take() } else { None },
        }
    }
}

/// A handler that runs.
pub(super) struct Running(Gate);

impl Drop for Running {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.running = inner.running.saturating_sub(1);
    }
}

impl Inner {
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
                    self.unread.extend_from_slice(head.get(length..).unwrap_or_default());
                    self.end = Some(End::Leave(handover));
                }
                Err(refusal) if self.framer.is_at_head() => self.end = Some(End::Refused(refusal)),
                Err(refusal) => self.end = Some(End::Broken(refusal)),
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
        let written = Pin::new(stream).poll_write(cx, buf);
        inner.blocked_since = match written {
            Poll::Pending => inner.blocked_since.or_else(|| Some(Instant::now())),
            Poll::Ready(_) => None,
        };
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.lock().stream.as_mut() {
            Some(stream) => Pin::new(stream).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// The connection may go on in another wire; who takes it back ends it.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
