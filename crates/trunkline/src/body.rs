//! Bodies: whole, or frame by frame through a bounded channel.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll, Waker};

use bytes::Bytes;
use tokio::time::Instant;
use trunkline_wire::Limits;

use crate::{Code, Result, Status};

mod pulled;

pub(crate) use pulled::Frames;
use pulled::{Pulled, Until};

/// The body of a call or a reply: whole, or frame by frame.
#[derive(Debug)]
pub enum Body {
    /// All of it.
    Full(Bytes),
    /// Frames that come one after the other.
    Stream(BodyStream),
}

impl Default for Body {
    fn default() -> Self {
        Self::Full(Bytes::new())
    }
}

impl<B: Into<Bytes>> From<B> for Body {
    fn from(bytes: B) -> Self {
        Self::Full(bytes.into())
    }
}

impl From<BodyStream> for Body {
    fn from(stream: BodyStream) -> Self {
        Self::Stream(stream)
    }
}

impl Body {
    /// The whole body; waits for its end where it is streamed.
    ///
    /// # Errors
    /// The stream broke, or the frames together are over `limit` bytes.
    pub async fn whole(self, limit: usize) -> Result<Bytes> {
        self.gather(Some(limit)).await
    }

    /// The whole body, for a typed method: at most as large as a body may be where it came from.
    pub(crate) async fn whole_by_own_limit(self) -> Result<Bytes> {
        self.gather(None).await
    }

    /// How many bytes of it are here.
    pub(crate) fn known_length(&self) -> usize {
        match self {
            Self::Full(bytes) => bytes.len(),
            Self::Stream(_) => 0,
        }
    }

    async fn gather(self, limit: Option<usize>) -> Result<Bytes> {
        let mut stream = match self {
            Self::Full(bytes) => return Ok(bytes),
            Self::Stream(stream) => stream,
        };
        let limit = limit.unwrap_or(stream.limit);
        let mut all = Vec::new();
        while let Some(frame) = stream.next().await {
            let frame = frame?;
            if all.len().saturating_add(frame.len()) > limit {
                let text = format!("a streamed body is over the limit of {limit} bytes (body_limit)");
                return Err(Status::new(Code::TooLarge, text));
            }
            all.extend_from_slice(&frame);
        }
        Ok(all.into())
    }
}

/// The frames of a streamed body, as they arrive. Dropping it tells the other end that nobody reads any more.
pub struct BodyStream {
    source: Source,
    /// The largest body that may be made of it, in bytes, by the limit of the end that it comes to.
    limit: usize,
}

/// Where the frames come from.
enum Source {
    /// The other end pushes them.
    Channel(Arc<Channel>),
    /// They are made when they are asked for. The lock lets the stream be shared; nobody waits for it.
    Pulled(Box<Mutex<Pulled>>),
}

/// Feeds a [`BodyStream`]. Dropping it without [`finish`](BodySender::finish) or
/// [`fail`](BodySender::fail) ends the body with a failure, so that a cut body is never taken for a whole one.
pub struct BodySender(Arc<Channel>);

/// What one stream holds between its two ends. A frame is taken while less than [`BodyStream::CREDIT`] bytes
/// wait, so that one frame of any size always fits.
struct Channel(Mutex<State>);

#[derive(Default)]
struct State {
    frames: VecDeque<Bytes>,
    bytes: usize,
    ended: Option<Result<()>>,
    unread: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Who wants to know that nobody reads any more.
    closer: Option<Waker>,
}

/// What a frame counts against the credit: tiny ones take memory, too.
pub(crate) fn cost(frame: &Bytes) -> usize {
    frame.len().saturating_add(64)
}

impl Channel {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic cannot leave the state half changed: nothing in here calls out.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BodyStream {
    /// How many bytes wait between the two ends of a stream before the writing end has to: 64 KiB.
    pub const CREDIT: usize = 64 << 10;

    /// A stream and the end that feeds it.
    #[must_use]
    pub fn channel() -> (BodySender, Self) {
        Self::limited(Limits::default().body)
    }

    /// The same where a whole body may have so many bytes.
    pub(crate) fn limited(limit: usize) -> (BodySender, Self) {
        let channel = Arc::new(Channel(Mutex::default()));
        (BodySender(Arc::clone(&channel)), Self { source: Source::Channel(channel), limit })
    }

    /// A stream whose frames are made when they are asked for, by whoever reads it: nothing waits in between but
    /// one frame, which is asked for early to know whether the frame before it was the last.
    pub(crate) fn pulled(frames: impl Frames + 'static) -> Self {
        let source = Source::Pulled(Box::new(Mutex::new(Pulled::new(Box::new(frames)))));
        Self { source, limit: Limits::default().body }
    }

    /// The same where a whole body may have so many bytes.
    pub(crate) fn pulled_within(limit: usize, frames: impl Frames + 'static) -> Self {
        let mut stream = Self::pulled(frames);
        stream.limit = limit;
        stream
    }

    /// The largest body that may be made of it.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Notes that every frame is bytes as they are, whatever codec the call is in.
    pub(crate) fn raw(mut self) -> Self {
        if let Source::Pulled(pulled) = &mut self.source {
            pulled.get_mut().unwrap_or_else(PoisonError::into_inner).raw = true;
        }
        self
    }

    /// Whether that was noted.
    #[cfg(feature = "http")]
    pub(crate) fn is_raw(&self) -> bool {
        match &self.source {
            Source::Channel(_) => false,
            Source::Pulled(pulled) => pulled.lock().unwrap_or_else(PoisonError::into_inner).raw,
        }
    }

    /// A stream of one frame, or of none where it has no bytes.
    pub(crate) fn whole(frame: Bytes) -> Self {
        Self::pulled(pulled::Whole(Some(frame).filter(|frame| !frame.is_empty())))
    }

    /// The same stream, which fails when it has not ended by then.
    pub(crate) fn until(self, deadline: Instant) -> Self {
        let limit = self.limit;
        Self::pulled_within(limit, Until::new(self, deadline))
    }

    /// The same stream for somebody who cannot run what makes its frames: a task of its own does that.
    pub(crate) fn detached(mut self) -> Self {
        if let Source::Channel(_) = self.source {
            return self;
        }
        let (mut sender, stream) = Self::limited(self.limit);
        tokio::spawn(async move {
            loop {
                let next = tokio::select! {
                    biased;
                    () = sender.closed() => return,
                    next = self.next() => next,
                };
                match next {
                    None => return sender.finish(),
                    Some(Err(status)) => return sender.fail(status),
                    Some(Ok(frame)) if self.is_finished() => {
                        let _ = sender.send_last(frame).await;
                        return;
                    }
                    Some(Ok(frame)) => {
                        if sender.send(frame).await.is_err() {
                            return;
                        }
                    }
                }
            }
        });
        stream
    }

    /// The next frame; `None` at the end of the body. A failure is the last thing that comes.
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`next`](BodyStream::next), for hand-written futures.
    pub fn poll_next(&mut self, cx: &mut TaskContext<'_>) -> Poll<Option<Result<Bytes>>> {
        let channel = match &mut self.source {
            Source::Channel(channel) => channel,
            Source::Pulled(pulled) => {
                return pulled.get_mut().unwrap_or_else(PoisonError::into_inner).poll_next(cx);
            }
        };
        let mut state = channel.lock();
        if let Some(frame) = state.frames.pop_front() {
            state.bytes = state.bytes.saturating_sub(cost(&frame));
            let writer = if state.bytes < Self::CREDIT { state.writer.take() } else { None };
            drop(state);
            if let Some(writer) = writer {
                writer.wake();
            }
            return Poll::Ready(Some(Ok(frame)));
        }
        match &mut state.ended {
            Some(ended) => Poll::Ready(std::mem::replace(ended, Ok(())).err().map(Err)),
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Whether all frames were taken and the body ended well.
    pub(crate) fn is_finished(&self) -> bool {
        match &self.source {
            Source::Channel(channel) => {
                let state = channel.lock();
                state.frames.is_empty() && matches!(state.ended, Some(Ok(())))
            }
            Source::Pulled(pulled) => pulled.lock().unwrap_or_else(PoisonError::into_inner).is_finished(),
        }
    }
}

impl Drop for BodyStream {
    fn drop(&mut self) {
        let Source::Channel(channel) = &self.source else { return };
        let mut state = channel.lock();
        state.unread = true;
        let frames = std::mem::take(&mut state.frames);
        let wakers = [state.writer.take(), state.closer.take()];
        drop(state);
        drop(frames);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

impl BodySender {
    /// Sends a frame; waits while [`BodyStream::CREDIT`] bytes are unread.
    ///
    /// # Errors
    /// The reading end is gone: [`Code::Cancelled`].
    pub async fn send(&mut self, frame: impl Into<Bytes>) -> Result<()> {
        std::future::poll_fn(|cx| self.poll_ready(cx)).await?;
        self.push(frame.into());
        Ok(())
    }

    /// Sends the last frame and ends the body in one step, so that its reader learns of both together.
    pub(crate) async fn send_last(self, frame: Bytes) -> Result<()> {
        std::future::poll_fn(|cx| self.poll_ready(cx)).await?;
        self.0.lock().ended = Some(Ok(()));
        self.push(frame);
        Ok(())
    }

    /// Waits until nobody reads the body any more.
    pub(crate) async fn closed(&self) {
        std::future::poll_fn(|cx| if self.poll_unread(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Whether nobody reads the body any more; else `cx` is woken when that is so. One task at a time may ask.
    pub(crate) fn poll_unread(&self, cx: &mut TaskContext<'_>) -> bool {
        let mut state = self.0.lock();
        if !state.unread {
            match &mut state.closer {
                Some(closer) => closer.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        state.unread
    }

    /// Ends the body.
    pub fn finish(self) {
        self.end(Ok(()));
    }

    /// Ends the body with a failure.
    pub fn fail(self, status: Status) {
        self.end(Err(status));
    }

    /// Ready when the next frame may be pushed, or fails when nobody reads any more.
    pub(crate) fn poll_ready(&self, cx: &mut TaskContext<'_>) -> Poll<Result<()>> {
        let mut state = self.0.lock();
        if state.unread {
            return Poll::Ready(Err(Status::new(Code::Cancelled, "nobody reads the stream any more")));
        }
        if state.bytes < BodyStream::CREDIT {
            return Poll::Ready(Ok(()));
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Adds a frame whether there is room or not: the caller has asked, or holds at most one.
    pub(crate) fn push(&self, frame: Bytes) {
        let mut state = self.0.lock();
        if state.unread {
            return;
        }
        state.bytes = state.bytes.saturating_add(cost(&frame));
        state.frames.push_back(frame);
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn end(&self, how: Result<()>) {
        let mut state = self.0.lock();
        if state.ended.is_none() {
            state.ended = Some(how);
        }
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl Drop for BodySender {
    fn drop(&mut self) {
        self.end(Err(Status::new(Code::Cancelled, "the stream was cut before its end")));
    }
}

impl fmt::Debug for BodyStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BodyStream")
    }
}

impl fmt::Debug for BodySender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BodySender")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_in_order_and_the_end_is_told() {
        let (mut sender, mut stream) = BodyStream::channel();
        sender.send("a").await.unwrap();
        sender.send("b").await.unwrap();
        sender.finish();
        assert_eq!(stream.next().await.unwrap().unwrap(), "a");
        assert_eq!(stream.next().await.unwrap().unwrap(), "b");
        assert!(stream.next().await.is_none());
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn a_cut_stream_is_a_failure() {
        let (sender, mut stream) = BodyStream::channel();
        drop(sender);
        assert!(stream.next().await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_writer_waits_for_its_reader() {
        let (mut sender, mut stream) = BodyStream::channel();
        sender.send(vec![0; BodyStream::CREDIT]).await.unwrap();
        let mut second = Box::pin(async {
            sender.send("x").await.unwrap();
            sender
        });
        let waits = std::future::poll_fn(|cx| Poll::Ready(second.as_mut().poll(cx).is_pending())).await;
        assert!(waits);
        assert_eq!(stream.next().await.unwrap().unwrap().len(), BodyStream::CREDIT);
        second.await.finish();
        assert_eq!(stream.next().await.unwrap().unwrap(), "x");
    }

    #[tokio::test]
    async fn a_writer_learns_that_nobody_reads() {
        let (mut sender, stream) = BodyStream::channel();
        drop(stream);
        assert_eq!(sender.send("x").await.unwrap_err().code(), Code::Cancelled);
    }

    #[tokio::test]
    async fn what_makes_frames_is_asked_for_them_and_panics_alone() {
        struct Two(u8);
        impl Frames for Two {
            fn poll_frame(&mut self, _: &mut TaskContext<'_>) -> Poll<Option<Result<Bytes>>> {
                self.0 += 1;
                assert!(self.0 < 3, "a text that stays here");
                Poll::Ready(Some(Ok(Bytes::from_static(b"x"))))
            }
        }
        let mut stream = BodyStream::pulled(Two(0));
        assert_eq!(stream.next().await.unwrap().unwrap(), "x");
        assert_eq!(stream.next().await.unwrap().unwrap(), "x");
        let status = stream.next().await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Internal);
        assert!(!status.message().contains("stays here"));
        assert!(stream.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_detached_stream_ends_with_either_end() {
        let (mut sender, stream) = BodyStream::channel();
        let mut detached = stream.until(Instant::now() + std::time::Duration::from_secs(1)).detached();
        sender.send("x").await.unwrap();
        assert_eq!(detached.next().await.unwrap().unwrap(), "x");
        // The deadline passes while the maker has nothing.
        assert_eq!(detached.next().await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
        sender.closed().await;

        let (sender, stream) = BodyStream::channel();
        drop(stream.until(Instant::now() + std::time::Duration::from_secs(3600)).detached());
        sender.closed().await;
    }

    #[tokio::test]
    async fn whole_is_bounded() {
        let (mut sender, stream) = BodyStream::channel();
        sender.send("abc").await.unwrap();
        sender.send("d").await.unwrap();
        sender.finish();
        let status = Body::Stream(stream).whole(3).await.unwrap_err();
        assert_eq!(status.code(), Code::TooLarge);
    }
}
