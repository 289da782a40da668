//! Ends a call when the time that its caller gave is over: the handler's future is dropped, a streamed reply fails.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep};

use crate::layer::Layer;
use crate::metadata::SERVER_TIMEOUT;
use crate::service::{Answer, ReplyBuf, Request, Service};
use crate::{Body, Call, Code, Reply, Result, Serialization, Status};

/// Makes [`Deadline`].
#[derive(Debug, Clone, Copy, Default)]
pub struct DeadlineLayer {
    default: Option<Duration>,
}

impl DeadlineLayer {
    /// Gives calls that come without a deadline this one. Without it they have none. Where the reply is a stream,
    /// it covers that to its end, as a deadline of the caller's does.
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

pin_project! {
    /// The future of a call that may have a deadline.
    struct Timed<F> {
        #[pin]
        inner: Option<F>,
        deadline: Option<Instant>,
        // Armed only when the handler has to wait.
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future<Output = Result<Reply>>> Future for Timed<F> {
    type Output = Result<Reply>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Reply>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        let Some(deadline) = *this.deadline else {
            return inner.poll(cx);
        };
        let late = this.timer.is_none() && deadline <= Instant::now();
        if !late {
            if let Poll::Ready(result) = inner.poll(cx) {
                return Poll::Ready(match result {
                    Ok(Reply { body: Body::Stream(stream), metadata }) => {
                        Ok(Reply { body: stream.until(deadline).into(), metadata })
                    }
                    result => result,
                });
            }
            let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            // A handler that uses up its turn every time must not keep the timer from being looked at.
            ready!(pin!(unconstrained(timer.as_mut())).poll(cx));
        }
        this.inner.set(None);
        Poll::Ready(Err(passed()))
    }
}

impl<S: Service> Service for Deadline<S> {
    fn call(&self, mut call: Call) -> impl Future<Output = Result<Reply>> + Send {
        if call.context.deadline.is_none() {
            call.context.deadline = self.default.map(|time| Instant::now() + time);
        }
        let deadline = call.context.deadline;
        Timed { inner: Some(self.inner.call(call)), deadline, timer: None }
    }

    fn answer(&self, request: &Request<'_>, reply: &mut ReplyBuf<'_>) -> Answer {
        // A plain `fn` cannot be stopped; what comes with a deadline takes the path that reads the clock first.
        if self.default.is_some() || request.metadata().get_bytes(SERVER_TIMEOUT.as_bytes()).is_some() {
            return Answer::Declined;
        }
        self.inner.answer(request, reply)
    }

    fn serialization(&self) -> Serialization {
        self.inner.serialization()
    }
}

fn passed() -> Status {
    Status::new(Code::DeadlineExceeded, "context deadline exceeded")
}
