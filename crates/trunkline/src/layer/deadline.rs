//! Ends a call when the time that its caller gave is over: the handler's future is dropped, a streamed reply fails.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep};

use crate::asked;
use crate::asked::Outcome;
use crate::layer::Layer;
use crate::metadata::SERVER_TIMEOUT;
use crate::service::{Answer, BoxFuture, ReplyBuf, Request, Service};
use crate::{Asked, Body, Call, Code, Reply, Result, Serialization, Status};

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

/// The future of a call that has a deadline and has had to wait. Without `inner` it has ended.
struct Timed<'a> {
    inner: Option<BoxFuture<'a>>,
    deadline: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Future for Timed<'_> {
    type Output = Result<Reply>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Reply>> {
        let Some(inner) = &mut self.inner else { return Poll::Pending };
        let result = match inner.as_mut().poll(cx) {
            Poll::Ready(result) => result.map(|reply| until(self.deadline, reply)),
            Poll::Pending => {
                // A handler that uses up its turn every time must not keep the timer from being looked at.
                ready!(pin!(unconstrained(self.timer.as_mut())).poll(cx));
                Err(passed())
            }
        };
        self.inner = None;
        Poll::Ready(result)
    }
}

impl<S: Service> Service for Deadline<S> {
    fn call(&self, call: Call) -> impl Future<Output = Result<Reply>> + Send {
        asked::call(self, call)
    }

    #[inline]
    fn start<'a>(&'a self, asked: &mut Asked<'_, 'a>) {
        if asked.call.context.deadline.is_none() {
            asked.call.context.deadline = self.default.map(|time| Instant::now() + time);
        }
        match asked.call.context.deadline {
            None => self.inner.start(asked),
            Some(deadline) if deadline <= Instant::now() => asked.end(Err(passed())),
            Some(deadline) => {
                self.inner.start(asked);
                asked.wrap(|inner| {
                    let timer = Box::pin(tokio::time::sleep_until(deadline));
                    Timed { inner: Some(inner), deadline, timer }
                });
                if let Outcome::Ended(Ok(reply)) = &mut asked.outcome {
                    *reply = until(deadline, std::mem::take(reply));
                }
            }
        }
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

/// A deadline covers a streamed reply to its end.
fn until(deadline: Instant, reply: Reply) -> Reply {
    match reply {
        Reply { body: Body::Stream(stream), metadata } => {
            Reply { body: stream.until(deadline).into(), metadata }
        }
        reply => reply,
    }
}

fn passed() -> Status {
    Status::new(Code::DeadlineExceeded, "context deadline exceeded")
}
