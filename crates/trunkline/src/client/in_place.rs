//! One call of a client of several endpoints, as nearly all are: made in place, without memory of its own.

use std::borrow::Borrow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

#[cfg(feature = "netrpc")]
use futures_util::future::Either;
use tokio::time::Instant;

use super::balanced::Inner;
#[cfg(feature = "netrpc")]
use super::balanced::{Client, Repr};
use super::failover::{Chosen, Course, Tried, goes_on};
use super::links::{Begun, CallAt};
use super::node::Node;
#[cfg(feature = "netrpc")]
use crate::Service;
use crate::service::BoxFuture;
use crate::{Body, Call, Reply, Result, Status};

/// A call of a client of several endpoints; dropping it ends the call.
///
/// What nearly all calls are is done in place: the endpoint that is chosen has a connection, the call is begun there and
/// answered. Whatever else one may need (a connection that has to be waited for, the next endpoint) is
/// [`Inner::go_on`], in memory that is taken when it is needed: a future is as large as the largest thing that it may
/// have to do, and there may be a hundred thousand of them. `C` is `&Arc<Inner>`, or one that the call has for itself.
#[must_use = "a call is made when it is polled"]
pub(super) struct Calling<C> {
    client: C,
    /// It stays here while its first attempt is in flight: what goes on needs it.
    call: Call,
    stage: Stage,
}

enum Stage {
    New,
    First(First),
    Rest(BoxFuture<'static>),
    Ended,
}

/// The first attempt of a call, in flight.
struct First {
    chosen: Chosen,
    /// Where the call may go on: when it began.
    begun: Option<Instant>,
    at: CallAt,
    ended: bool,
}

impl Drop for First {
    fn drop(&mut self) {
        if !self.ended {
            self.chosen.channel.abandon(self.at);
        }
    }
}

impl<C: Borrow<Arc<Inner>>> Calling<C> {
    #[inline(always)]
    pub(super) fn new(client: C, call: Call) -> Self {
        Self { client, call, stage: Stage::New }
    }
}

impl<C: Borrow<Arc<Inner>> + Unpin> Future for Calling<C> {
    type Output = Result<Reply>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Reply>> {
        let Self { client, call, stage } = &mut *self;
        let inner: &Arc<Inner> = (*client).borrow();
        if matches!(stage, Stage::New) {
            *stage = match inner.begin(call, cx.waker()) {
                Ok(stage) => stage,
                Err(status) => {
                    *stage = Stage::Ended;
                    return Poll::Ready(Err(status));
                }
            };
            if matches!(stage, Stage::First(_)) && !call.one_way {
                return Poll::Pending;
            }
        }
        if let Stage::First(First { chosen, begun, at, ended }) = stage {
            let outcome = ready!(chosen.channel.poll_begun(*at, cx));
            *ended = true;
            chosen.running.judge(inner, None, outcome.as_ref(), &chosen.channel);
            *stage = match outcome {
                Err(status) if begun.is_some() && goes_on(&status) => {
                    let course = Course { begun: *begun, tried: Tried::new() };
                    match inner.next_after(call, course, &chosen.running.node, status) {
                        Ok(next) => next,
                        Err(status) => {
                            *stage = Stage::Ended;
                            return Poll::Ready(Err(status));
                        }
                    }
                }
                outcome => {
                    *stage = Stage::Ended;
                    return Poll::Ready(outcome);
                }
            };
        }
        let Stage::Rest(rest) = stage else { return Poll::Pending };
        let outcome = ready!(rest.as_mut().poll(cx));
        *stage = Stage::Ended;
        Poll::Ready(outcome)
    }
}

impl Inner {
    /// Begins a call: in place where that can be done at once.
    ///
    /// # Errors
    /// Nobody can be called.
    #[inline(always)]
    fn begin(self: &Arc<Self>, call: &mut Call, waker: &Waker) -> Result<Stage> {
        let snapshot = self.snapshot.load();
        let course = self.course(call, &snapshot)?;
        let chosen = self.choose(&snapshot, call, &course.tried)?;
        drop(snapshot);
        let Some(mut chosen) = chosen else { return Err(self.nobody(course.tried)) };
        // A check wants to see the call as it was, and a stream is there once.
        let plain = self.settings.check.is_none() && matches!(call.body, Body::Full(_));
        if !plain || course.begun.is_some() && !chosen.running.node.is_proven() {
            return Ok(self.rest(call, course, Some(chosen)));
        }
        match chosen.channel.begin(call, waker) {
            Ok(Begun::Yes(at)) => {
                if course.begun.is_none() {
                    call.body = Body::default(); // It has been written, and is not needed again.
                }
                Ok(Stage::First(First { chosen, begun: course.begun, at, ended: false }))
            }
            Ok(Begun::Elsewhere | Begun::Later) => Ok(self.rest(call, course, Some(chosen))),
            Err(status) => {
                chosen.running.judge(self, None, Err(&status), &chosen.channel);
                match course.begun {
                    Some(_) if goes_on(&status) => {
                        self.next_after(call, course, &chosen.running.node, status)
                    }
                    _ => Err(status),
                }
            }
        }
    }

    /// What is left of a call, in memory of its own.
    #[cold]
    fn rest(self: &Arc<Self>, call: &mut Call, course: Course, chosen: Option<Chosen>) -> Stage {
        let (inner, call) = (Arc::clone(self), call.take());
        Stage::Rest(Box::pin(async move { inner.go_on(call, course, chosen, None).await }))
    }

    /// The same after the first attempt, which has failed.
    ///
    /// # Errors
    /// Its time is over: the failure.
    #[cold]
    fn next_after(
        self: &Arc<Self>,
        call: &mut Call,
        mut course: Course,
        node: &Arc<Node>,
        status: Status,
    ) -> Result<Stage> {
        if self.limit(call, &course).is_some_and(|limit| Instant::now() >= limit) {
            return Err(status);
        }
        course.tried.push((Arc::clone(node), status));
        Ok(self.rest(call, course, None))
    }
}

#[cfg(feature = "netrpc")]
impl Client {
    /// Makes a call that has the client for itself, and borrows nothing.
    #[inline(always)]
    pub(super) fn call_owned(&self, call: Call) -> impl Future<Output = Result<Reply>> + Send + use<> {
        match &self.0 {
            Repr::One(channel) => {
                let channel = channel.clone();
                Either::Left(Box::pin(async move { channel.call(call).await }))
            }
            Repr::Several(inner) => Either::Right(Calling::new(Arc::clone(inner), call)),
        }
    }
}
