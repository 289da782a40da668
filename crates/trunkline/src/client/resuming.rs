//! Streams that go on over the next connection when theirs is lost: the caller's part.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep};

use crate::body::{Frames, cost};
use crate::context::MaybeMetadata;
use crate::layer::resume::{ACK, Control, END, NEW, RESUME, Resumed};
use crate::metadata::{STREAM, STREAM_WINDOW};
use crate::random;
use crate::{Body, BodyStream, Call, Code, Metadata, Reply, Result, Serialization, Service, Status};

/// Frames are acknowledged when they have so many bytes together, or are so many. Where the server keeps less, a quarter of
/// that.
const ACK_BYTES: usize = 64 << 10;
const ACK_FRAMES: u64 = 64;

/// So many acknowledgements may be on their way before the stream is taken up anew. A server that keeps the order of a
/// channel answers them behind a stream that shares it with them, however long that goes on.
const UNANSWERED: u32 = 256;

/// How long one attempt to go on may take.
const ATTEMPT: Duration = Duration::from_secs(5);

/// The first wait after an attempt that failed, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LAST_WAIT: Duration = Duration::from_secs(2);

/// When nothing comes so long, what has come is acknowledged once more: the server may have refused to hear it, and wait.
/// Each further time takes twice as long, up to the last one.
const FIRST_REMINDER: Duration = Duration::from_secs(1);
const LAST_REMINDER: Duration = Duration::from_secs(64);

/// A service around a channel whose streamed replies survive a lost connection: the stream goes on over the next one, each
/// of its frames once and in order. The server has the layer [`Resume`](crate::layer::Resume), where there is an example;
/// with one that has not, and on wires where that is not possible, streams are as they are without this.
///
/// A connection that is lost is told apart from a stream that fails: what makes the stream has said so then, and that is
/// handed on. Going on is tried with growing pauses until the [time](Resuming::grace) for it or the call's own deadline is
/// over; it fails at once where the server does not know the stream any more, which is so when it was started anew. The
/// failure is [`Code::Unavailable`] then and says why.
///
/// Dropping the stream ends it at the server. That needs the runtime; without one the server's own time for parked streams
/// has to pass.
///
/// A call that fails before its stream has begun is not made again.
///
/// It is for calls whose reply is wanted frame by frame, and not for those whose request is a stream, too: all others are
/// made as they are. It belongs around a [`Channel`](super::Channel), which calls one server: the streams are there and
/// nowhere else.
///
/// # Over IIP
/// Streams have the channels of their connection in turns, and so have the acknowledgements: more streams at once than the
/// connection has channels ([`Limits::client_channels`](crate::Limits)) wait for each other.
pub struct Resuming<S> {
    inner: Arc<S>,
    grace: Duration,
}

impl<S> Clone for Resuming<S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), grace: self.grace }
    }
}

impl<S: fmt::Debug> fmt::Debug for Resuming<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resuming").field("inner", &self.inner).field("grace", &self.grace).finish()
    }
}

impl<S: Service> Resuming<S> {
    /// Around this channel.
    #[must_use]
    pub fn new(channel: S) -> Self {
        Self { inner: Arc::new(channel), grace: Duration::from_secs(30) }
    }

    /// How long to try to go on with a stream, from the moment its connection was lost. At most a day. Longer than the
    /// server's own time for it ([`Resume::grace`](crate::layer::Resume::grace)) is of no use. Default 30 s.
    #[must_use]
    pub fn grace(mut self, time: Duration) -> Self {
        self.grace = time.min(Duration::from_secs(86_400));
        self
    }
}

impl<S: Service> Service for Resuming<S> {
    async fn call(&self, mut call: Call) -> Result<Reply> {
        if !call.streams || call.one_way || matches!(call.body, Body::Stream(_)) {
            return self.inner.call(call).await;
        }
        let (said, deadline) = (call.metadata().clone(), call.context.deadline);
        let asking = Metadata::builder().with_all(said.pairs()).with(STREAM, NEW).build();
        call.context.metadata = MaybeMetadata::new(asking);
        let Reply { body, metadata } = self.inner.call(call).await?;
        let Some(name) = metadata.get().get(STREAM) else { return Ok(Reply { body, metadata }) };
        let window = metadata.get().get(STREAM_WINDOW).and_then(|text| text.parse().ok());
        let line = Arc::new(Line {
            service: Arc::clone(&self.inner),
            name: name.to_owned(),
            metadata: said,
            deadline,
            grace: self.grace,
        });
        let body = match body {
            Body::Stream(body) => {
                let limit = body.limit();
                let stream = BodyStream::pulled_within(limit, Resumable::new(line, body, window));
                Body::Stream(match deadline {
                    Some(deadline) => stream.until(deadline),
                    None => stream,
                })
            }
            // It has come whole.
            body => {
                line.tell(END, 0, &Arc::default());
                body
            }
        };
        Ok(Reply { body, metadata })
    }

    fn serialization(&self) -> Serialization {
        self.inner.serialization()
    }
}

/// What further calls about a stream are made with.
struct Line<S> {
    service: Arc<S>,
    name: String,
    /// That of the first call, where the token may be.
    metadata: Metadata,
    deadline: Option<Instant>,
    grace: Duration,
}

impl<S: Service> Line<S> {
    fn control(&self, path: &'static str, after: u64) -> Call {
        let control = Control { stream: self.name.clone(), after };
        // A text and a number can be said in JSON.
        let body = serde_json::to_vec(&control).unwrap_or_default();
        Call::new("", path, Serialization::Json, body).with_metadata(self.metadata.clone())
    }

    /// Tells the server something whose answer says nothing, and counts it until that has come.
    fn tell(self: &Arc<Self>, path: &'static str, after: u64, heard: &Arc<Heard>) {
        let Ok(runtime) = Handle::try_current() else { return };
        let (line, heard) = (Arc::clone(self), Arc::clone(heard));
        heard.unanswered.fetch_add(1, Ordering::Relaxed);
        runtime.spawn(async move {
            let mut answer = line.service.call(line.control(path, after)).await;
            let (mut attempts, over) = (0, Instant::now() + ATTEMPT);
            while path == END && answer.as_ref().is_err_and(is_passing) && Instant::now() < over {
                // Nobody will say it again.
                attempts += 1;
                tokio::time::sleep(wait(attempts)).await;
                answer = line.service.call(line.control(path, after)).await;
            }
            match answer.map_err(|status| status.code()) {
                // It may still be in somebody's way.
                Err(Code::DeadlineExceeded) => return,
                Err(Code::NotFound | Code::Unavailable | Code::Draining) => {
                    heard.deaf.store(true, Ordering::Relaxed);
                }
                _ => {}
            }
            heard.unanswered.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// One attempt to go on behind this frame.
    async fn resume(&self, after: u64) -> Result<BodyStream> {
        let mut call = self.control(RESUME, after).streamed();
        call.context.deadline = self.deadline;
        let (head, rest) = match self.service.call(call).await?.into_body() {
            Body::Full(head) => (head, BodyStream::whole(Bytes::new())),
            Body::Stream(mut body) => match body.next().await {
                Some(head) => (head?, body),
                None => (Bytes::new(), body),
            },
        };
        match serde_json::from_slice(&head) {
            Ok(Resumed { next }) if Some(next) == after.checked_add(1) => Ok(rest),
            _ => Err(Status::new(Code::Internal, "the server goes on at another place")),
        }
    }

    /// Goes on behind this frame, as soon as that is possible.
    async fn mend(self: Arc<Self>, after: u64, lost: Lost) -> Result<BodyStream> {
        let Lost { since, status, mut attempts } = lost;
        let over = since + self.grace;
        let until = self.deadline.map_or(over, |deadline| over.min(deadline));
        let mut last = status.message().to_owned();
        let at = |failure: Status| match status.origin() {
            Some(origin) => failure.at(origin.clone()),
            None => failure,
        };
        loop {
            tokio::time::sleep(wait(attempts)).await;
            let now = Instant::now();
            if now >= until {
                break;
            }
            match tokio::time::timeout_at(until.min(now + ATTEMPT), self.resume(after)).await {
                Ok(Ok(body)) => return Ok(body),
                Ok(Err(failure)) if is_passing(&failure) => failure.message().clone_into(&mut last),
                Ok(Err(failure)) => {
                    // Of this one wires say no more than that it is so.
                    let unknown = failure.code() == Code::NotFound;
                    let why =
                        if unknown { "the server does not know it any more" } else { failure.message() };
                    let text =
                        format!("the connection was lost within the stream, which cannot go on: {why}");
                    return Err(at(Status::new(Code::Unavailable, text)));
                }
                Err(_) => "the server did not answer in time".clone_into(&mut last),
            }
            attempts = attempts.saturating_add(1);
        }
        if self.deadline == Some(until) {
            return Err(at(Status::new(Code::DeadlineExceeded, "context deadline exceeded")));
        }
        let seconds = self.grace.as_secs_f64();
        let text = format!(
            "the connection was lost within the stream, which could not go on in {seconds} s: {last}"
        );
        Err(at(Status::new(Code::Unavailable, text)))
    }
}

/// What has come of telling the server of a stream over the connection of now.
#[derive(Debug, Default)]
struct Heard {
    /// What was told and not answered.
    unanswered: AtomicU32,
    /// Nobody there knows the stream any more, although it arrives: its server stops, and calls go to the next one.
    deaf: AtomicBool,
}

/// A connection that was lost: since when nothing has come, with what failure, and how often it was tried to go on since.
struct Lost {
    since: Instant,
    status: Status,
    attempts: u32,
}

/// Whether the next attempt may go better.
fn is_passing(failure: &Status) -> bool {
    matches!(failure.code(), Code::Unavailable | Code::Draining | Code::Limited | Code::DeadlineExceeded)
}

/// How long to wait before an attempt: not before the first one, and then twice as long each time, half of it by chance.
fn wait(attempts: u32) -> Duration {
    let Some(doubled) = attempts.checked_sub(1) else { return Duration::ZERO };
    let longest = FIRST_WAIT.saturating_mul(1 << doubled.min(16)).min(LAST_WAIT);
    longest.mul_f64(0.5 + 0.5 * random::fraction())
}

/// A stream that goes on.
struct Resumable<S: Service> {
    line: Arc<Line<S>>,
    stage: Stage,
    /// How many frames have come.
    received: u64,
    /// How many of them the server was told of last, and what has come since.
    told: u64,
    untold: usize,
    /// How much of that is enough to tell the server.
    enough: usize,
    heard: Arc<Heard>,
    /// When a connection was lost since the last frame came, and how often.
    broken: Option<(Instant, u32)>,
    reminder: Option<Reminder>,
}

enum Stage {
    Reading(BodyStream),
    Mending(Pin<Box<dyn Future<Output = Result<BodyStream>> + Send>>),
    Over,
}

/// Waits for a stream that says nothing.
struct Reminder {
    timer: Pin<Box<Sleep>>,
    wait: Duration,
    /// How many frames had come when it was set.
    received: u64,
}

impl<S: Service> Resumable<S> {
    fn new(line: Arc<Line<S>>, body: BodyStream, window: Option<usize>) -> Self {
        let enough = window.map_or(ACK_BYTES, |window| ACK_BYTES.min(window / 4));
        Self {
            line,
            stage: Stage::Reading(body),
            received: 0,
            told: 0,
            untold: 0,
            enough,
            heard: Arc::default(),
            broken: None,
            reminder: None,
        }
    }

    /// A frame has come.
    fn count(&mut self, frame: &Bytes) {
        self.received = self.received.saturating_add(1);
        self.untold = self.untold.saturating_add(cost(frame));
        self.broken = None;
        if self.untold >= self.enough || self.received.saturating_sub(self.told) >= ACK_FRAMES {
            self.acknowledge();
            if self.heard.unanswered.load(Ordering::Relaxed) >= UNANSWERED && !self.is_deaf() {
                let text = "the server does not answer what it is told of the stream";
                // The first pause lets what waited for the end of this reply be answered.
                self.broken = Some((Instant::now(), 1));
                self.mend(Status::new(Code::Unavailable, text));
            }
        }
    }

    fn is_deaf(&self) -> bool {
        self.heard.deaf.load(Ordering::Relaxed)
    }

    fn acknowledge(&mut self) {
        (self.told, self.untold) = (self.received, 0);
        if !self.is_deaf() {
            self.line.tell(ACK, self.received, &self.heard);
        }
    }

    /// The reply has broken off.
    fn mend(&mut self, status: Status) {
        let (since, attempts) = self.broken.unwrap_or_else(|| (Instant::now(), 0));
        self.broken = Some((since, attempts.saturating_add(1)));
        self.heard = Arc::default();
        self.reminder = None;
        let lost = Lost { since, status, attempts };
        self.stage = Stage::Mending(Box::pin(Arc::clone(&self.line).mend(self.received, lost)));
    }

    /// Nothing comes: the server may wait for an acknowledgement that it has not heard.
    fn remind(&mut self, cx: &mut Context<'_>) {
        if self.received == 0 {
            return;
        }
        loop {
            let received = self.received;
            let reminder = self.reminder.get_or_insert_with(|| Reminder::new(FIRST_REMINDER, received));
            if reminder.timer.as_mut().poll(cx).is_pending() {
                return;
            }
            let (wait, seen) = (reminder.wait, reminder.received);
            let wait = if seen == received {
                self.acknowledge();
                wait.saturating_mul(2).min(LAST_REMINDER)
            } else {
                FIRST_REMINDER
            };
            self.reminder = Some(Reminder::new(wait, received));
        }
    }
}

impl Reminder {
    fn new(wait: Duration, received: u64) -> Self {
        Self { timer: Box::pin(tokio::time::sleep(wait)), wait, received }
    }
}

impl<S: Service> Frames for Resumable<S> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            match &mut self.stage {
                Stage::Over => return Poll::Ready(None),
                Stage::Mending(mending) => match ready!(mending.as_mut().poll(cx)) {
                    Ok(body) => self.stage = Stage::Reading(body),
                    Err(status) => {
                        self.stage = Stage::Over;
                        return Poll::Ready(Some(Err(status)));
                    }
                },
                Stage::Reading(body) => match body.poll_next(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        self.count(&frame);
                        return Poll::Ready(Some(Ok(frame)));
                    }
                    Poll::Ready(Some(Err(status))) if status.is_connection_lost() => self.mend(status),
                    Poll::Ready(end) => {
                        self.stage = Stage::Over;
                        self.line.tell(END, self.received, &self.heard);
                        return Poll::Ready(end);
                    }
                    Poll::Pending => {
                        self.remind(cx);
                        return Poll::Pending;
                    }
                },
            }
        }
    }
}

impl<S: Service> Drop for Resumable<S> {
    fn drop(&mut self) {
        if !matches!(self.stage, Stage::Over) {
            self.line.tell(END, self.received, &self.heard);
        }
    }
}

#[cfg(test)]
mod tests;
