//! Making a call over a channel's connection of the moment.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;
use trunkline_wire::Session;

use super::channel::{Channel, Kind};
use super::dial::{ConnectionState, Shared};
use super::links::{Begun, CallAt, Usual};
use crate::{Call, Code, Origin, Reply, Result, Status};

impl<W: Session> Shared<W> {
    pub(super) fn origin(&self) -> Origin {
        self.links.settings.origin::<W>()
    }

    /// Waits until calls can be made, or the endpoint cannot be reached.
    pub(crate) async fn ready(&self, deadline: Instant) -> Result<()> {
        let mut state = self.state.subscribe();
        let settled = state.wait_for(|state| *state != ConnectionState::Connecting);
        let why = match tokio::time::timeout_at(deadline, settled).await {
            Ok(Ok(state)) => match &*state {
                ConnectionState::Failed { error } => error.clone(),
                ConnectionState::Closed => "the channel is closed".to_owned(),
                ConnectionState::Connected | ConnectionState::Connecting => return Ok(()),
            },
            Ok(Err(_)) => "the channel is closed".to_owned(),
            Err(_) => {
                return Err(self.too_late("context deadline exceeded"));
            }
        };
        Err(Status::new(Code::Unavailable, why).at(self.origin()).not_begun())
    }

    /// A call within `timeout` where it has no deadline of its own.
    pub(crate) fn call(&self, call: Call, timeout: Duration) -> Calling<'_, W> {
        Calling { shared: self, timeout, stage: Stage::New(call) }
    }

    /// Begins a call on the connection of the moment, where there is one that takes it.
    ///
    /// # Errors
    /// Its time is over, or as for [`Links::begin`](super::links::Links::begin). Nothing was begun.
    #[inline(always)]
    fn begin(&self, call: &mut Call, usual: Usual, waker: &Waker) -> Result<Begun> {
        if call.context.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(self.too_late("context deadline exceeded"));
        }
        self.links.begin(call, usual, waker)
    }

    /// Makes a call that could not be begun at once.
    async fn call_later(&self, mut call: Call, timeout: Duration) -> Result<Reply> {
        let deadline = call.context.deadline.unwrap_or_else(|| Instant::now() + timeout);
        loop {
            let Some(link) = self.current() else {
                self.ready(deadline).await?;
                // Connected again, or for the moment between a loss and the next dial: let the dialling task run.
                tokio::task::yield_now().await;
                continue;
            };
            let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
            match self.links.begin(&mut call, Usual::At(deadline), &waker)? {
                Begun::Yes(at) => return Calling { shared: self, timeout, stage: Stage::Begun(at) }.await,
                // The next connection is on its way.
                Begun::Elsewhere => tokio::task::yield_now().await,
                Begun::Later => {
                    if tokio::time::timeout_at(deadline, link.room()).await.is_err() {
                        return Err(self.too_late(
                            "the server does not read: the call waited to be written till its deadline",
                        ));
                    }
                }
            }
        }
    }

    #[cold]
    fn too_late(&self, text: &'static str) -> Status {
        Status::new(Code::DeadlineExceeded, text).at(self.origin()).not_begun()
    }
}

/// A call in its steps, for whoever keeps call and channel together himself.
impl Channel {
    /// Begins a call on the connection of the moment, where there is one that takes it; the time of the call is not looked
    /// at. What is left of it is as it was, but for a body that is streamed.
    ///
    /// # Errors
    /// As for [`Links::begin`](super::links::Links::begin). Nothing was begun.
    #[inline(always)]
    pub(super) fn begin(&self, call: &mut Call, waker: &Waker) -> Result<Begun> {
        let own = self.complete(call);
        let begun = self.begin_complete(call, waker);
        if let Some(own) = own {
            call.context.metadata = own;
        }
        begun
    }

    fn begin_complete(&self, call: &mut Call, waker: &Waker) -> Result<Begun> {
        let usual = Usual::After(self.timeout());
        match self.kind() {
            Kind::Rpcx(shared) => shared.links.begin(call, usual, waker),
            Kind::Iip(shared) => shared.links.begin(call, usual, waker),
            #[cfg(feature = "netrpc")]
            Kind::Netrpc(shared) => shared.links.begin(call, usual, waker),
            #[cfg(feature = "http")]
            Kind::Http(_) => Ok(Begun::Elsewhere),
        }
    }

    /// How a call that was begun has ended.
    #[inline(always)]
    pub(super) fn poll_begun(&self, at: CallAt, cx: &mut Context<'_>) -> Poll<Result<Reply>> {
        match self.kind() {
            Kind::Rpcx(shared) => shared.links.poll(at, cx),
            Kind::Iip(shared) => shared.links.poll(at, cx),
            #[cfg(feature = "netrpc")]
            Kind::Netrpc(shared) => shared.links.poll(at, cx),
            #[cfg(feature = "http")]
            Kind::Http(_) => Poll::Pending,
        }
    }

    /// Nobody waits any more for a call that was begun.
    pub(super) fn abandon(&self, at: CallAt) {
        match self.kind() {
            Kind::Rpcx(shared) => shared.links.abandon(at),
            Kind::Iip(shared) => shared.links.abandon(at),
            #[cfg(feature = "netrpc")]
            Kind::Netrpc(shared) => shared.links.abandon(at),
            #[cfg(feature = "http")]
            Kind::Http(_) => {}
        }
    }
}

/// A call and the wait for its answer; dropping it ends the call. It is written out by hand: the future of an `async
/// fn` would copy the call again and again.
#[must_use = "a call is made when it is polled"]
pub(crate) struct Calling<'a, W: Session> {
    shared: &'a Shared<W>,
    timeout: Duration,
    stage: Stage<'a>,
}

enum Stage<'a> {
    New(Call),
    Begun(CallAt),
    /// There was no connection that would take it.
    Later(Pin<Box<dyn Future<Output = Result<Reply>> + Send + 'a>>),
    Ended,
}

impl<W: Session> Future for Calling<'_, W> {
    type Output = Result<Reply>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Reply>> {
        let Self { shared, timeout, stage } = &mut *self;
        let (shared, timeout) = (*shared, *timeout);
        if let Stage::New(call) = stage {
            match shared.begin(call, Usual::After(timeout), cx.waker()) {
                Ok(Begun::Yes(at)) => {
                    // Nothing answers a one-way call: it has ended already.
                    let waits = !call.one_way;
                    *stage = Stage::Begun(at);
                    if waits {
                        return Poll::Pending;
                    }
                }
                Ok(Begun::Elsewhere | Begun::Later) => {
                    if let Stage::New(call) = std::mem::replace(stage, Stage::Ended) {
                        *stage = Stage::Later(Box::pin(shared.call_later(call, timeout)));
                    }
                }
                Err(status) => {
                    *stage = Stage::Ended;
                    return Poll::Ready(Err(status));
                }
            }
        }
        let outcome = match stage {
            Stage::Begun(at) => shared.links.poll(*at, cx),
            Stage::Later(call) => call.as_mut().poll(cx),
            Stage::New(_) | Stage::Ended => Poll::Pending,
        };
        if outcome.is_ready() {
            *stage = Stage::Ended;
        }
        outcome
    }
}

impl<W: Session> Drop for Calling<'_, W> {
    fn drop(&mut self) {
        if let Stage::Begun(at) = self.stage {
            self.shared.links.abandon(at);
        }
    }
}
