//! Frames that are made when they are asked for, and streams that end at a deadline.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep};

use super::BodyStream;
use crate::{Code, Result, Status};

/// Makes the frames of a body one after the other.
pub(crate) trait Frames: Send {
    /// The next frame; `None` at the end. It is not asked again after that, nor after a failure.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>>;
}

/// What makes frames, one of them ahead.
pub(super) struct Pulled {
    /// Every frame is bytes as they are.
    pub(super) raw: bool,
    /// `None` when there are no more.
    frames: Option<Box<dyn Frames>>,
    /// Was made early, to know whether the one before it was the last.
    ahead: Option<Result<Bytes>>,
}

impl Pulled {
    pub(super) fn new(frames: Box<dyn Frames>) -> Self {
        Self { raw: false, frames: Some(frames), ahead: None }
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let next = match self.ahead.take() {
            Some(next) => Some(next),
            None => std::task::ready!(self.make(cx)),
        };
        if let Some(Ok(_)) = next
            && let Poll::Ready(ahead) = self.make(cx)
        {
            self.ahead = ahead;
        }
        Poll::Ready(next)
    }

    pub(super) fn is_finished(&self) -> bool {
        self.frames.is_none() && self.ahead.is_none()
    }

    fn make(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let Some(frames) = &mut self.frames else { return Poll::Ready(None) };
        // Whoever reads is a connection mostly; a panic is not to end its other calls.
        let next = match catch_unwind(AssertUnwindSafe(|| frames.poll_frame(cx))) {
            Ok(next) => std::task::ready!(next),
            Err(panic) => Some(Err(panicked(&*panic))),
        };
        if !matches!(next, Some(Ok(_))) {
            self.frames = None;
        }
        Poll::Ready(next)
    }
}

#[cold]
fn panicked(panic: &(dyn Any + Send)) -> Status {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or_default();
    tracing::error!(panic = text.escape_debug().to_string(), "what makes a stream panicked");
    Status::new(Code::Internal, "the service failed inside; see its log")
}

/// A whole body as the one frame of a stream.
pub(super) struct Whole(pub(super) Option<Bytes>);

impl Frames for Whole {
    fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        Poll::Ready(self.0.take().map(Ok))
    }
}

/// A stream that fails when its time is over.
pub(super) struct Until {
    inner: BodyStream,
    deadline: Instant,
    // Armed only when somebody has to wait.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Until {
    pub(super) fn new(inner: BodyStream, deadline: Instant) -> Self {
        Self { inner, deadline, timer: None }
    }
}

impl Frames for Until {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        // A maker that is always ready is stopped, too.
        if Instant::now() < self.deadline {
            if let Poll::Ready(next) = self.inner.poll_next(cx) {
                return Poll::Ready(next);
            }
            let deadline = self.deadline;
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            std::task::ready!(std::pin::pin!(unconstrained(timer.as_mut())).poll(cx));
        }
        Poll::Ready(Some(Err(Status::new(Code::DeadlineExceeded, "context deadline exceeded"))))
    }
}
