//! Ends a call when the time that its caller gave is over: the handler's future is dropped.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use crate::layer::Layer;
use crate::metadata::SERVER_TIMEOUT;
use crate::service::{Answer, ReplyBuf, Request, Service};
use crate::{Call, Code, Reply, Result, Status};

/// Makes [`Deadline`].
#[derive(Debug, Clone, Copy, Default)]
pub struct DeadlineLayer {
    default: Option<Duration>,
}

impl DeadlineLayer {
    /// Gives calls that come without a deadline this one. Without it they have none.
    #[must_use]
    pub fn with_default(default: Duration) -> Self {
        Self { default: Some(default) }
    }
}

/// See [`DeadlineLayer`]. It stands lowest of the default layers: what waits above it (admission) counts, too,
/// since the deadline is a point in time.
#[derive(Debug, Clone)]
pub struct Deadline<S> {
    inner: S,
    default: Option<Duration>,
}

impl<S: Service> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(self, inner: S) -> Deadline<S> {
        Deadline { inner, default: self.default }
    }
}

impl<S: Service> Service for Deadline<S> {
    async fn call(&self, mut call: Call) -> Result<Reply> {
        if call.context.deadline.is_none() {
            call.context.deadline = self.default.map(|time| Instant::now() + time);
        }
        let deadline = call.context.deadline;
        let mut answer = pin!(self.inner.call(call));
        let Some(deadline) = deadline else {
            return answer.await;
        };
        if deadline <= Instant::now() {
            return Err(passed());
        }
        // The timer is armed only when the handler has to wait.
        if let Poll::Ready(result) = std::future::poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await {
            return result;
        }
        tokio::time::timeout_at(deadline, answer).await.unwrap_or_else(|_| Err(passed()))
    }

    fn answer(&self, request: &Request<'_>, reply: &mut ReplyBuf<'_>) -> Answer {
        // A plain `fn` cannot be stopped; what comes with a deadline takes the path that reads the clock first.
        if self.default.is_some() || request.metadata().get_bytes(SERVER_TIMEOUT.as_bytes()).is_some() {
            return Answer::Declined;
        }
        self.inner.answer(request, reply)
    }
}

fn passed() -> Status {
    Status::new(Code::DeadlineExceeded, "context deadline exceeded")
}
