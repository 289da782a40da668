//! Making a call over a channel's connection of the moment.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;
use trunkline_wire::Session;

use super::dial::{ConnectionState, Shared};
use super::link::{Begun, Link};
use crate::{Call, Code, Origin, Reply, Result, Status};

impl<W: Session> Shared<W> {
    pub(super) fn origin(&self) -> Origin {
        Origin { address: self.settings.address.clone(), wire: W::NAME, attempt: 1 }
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
                let status = Status::new(Code::DeadlineExceeded, "context deadline exceeded");
                return Err(status.at(self.origin()).not_begun());
            }
        };
        Err(Status::new(Code::Unavailable, why).at(self.origin()).not_begun())
    }

    /// Makes a call, within `timeout` where it has no deadline of its own.
    pub(crate) async fn call(&self, mut call: Call, timeout: Duration) -> Result<Reply> {
        let announce = call.context.deadline.is_some();
        let deadline = call.context.deadline.unwrap_or_else(|| Instant::now() + timeout);
        if announce && deadline <= Instant::now() {
            let status = Status::new(Code::DeadlineExceeded, "context deadline exceeded");
            return Err(status.at(self.origin()).not_begun());
        }
        loop {
            let Some(link) = self.current() else {
                self.ready(deadline).await?;
                // Connected again, or for the moment between a loss and the next dial: let the dialling task run.
                tokio::task::yield_now().await;
                continue;
            };
            let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
            // Nothing answers a one-way call: it has ended already.
            let waits = !call.one_way;
            match link.begin(call, deadline, announce, waker)? {
                Begun::Yes(id) => return Answer { link: &*link, id, waits, ended: false }.await,
                Begun::Elsewhere(same) => call = same,
                Begun::Later(same) => {
                    call = same;
                    if tokio::time::timeout_at(deadline, link.room()).await.is_err() {
                        let text =
                            "the server does not read: the call waited to be written till its deadline";
                        let status = Status::new(Code::DeadlineExceeded, text);
                        return Err(status.at(self.origin()).not_begun());
                    }
                    continue;
                }
            }
            // The connection takes no new calls; the next one is on its way.
            tokio::task::yield_now().await;
        }
    }
}

/// Waits for the answer of a call that was begun; dropping it ends the call.
struct Answer<'a, W: Session> {
    link: &'a Link<W>,
    id: u64,
    /// The call was begun a moment ago with the waker of this very poll: there is nothing to look at yet.
    waits: bool,
    ended: bool,
}

impl<W: Session> Future for Answer<'_, W> {
    type Output = Result<Reply>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Reply>> {
        if std::mem::take(&mut self.waits) {
            return Poll::Pending;
        }
        let outcome = self.link.poll(self.id, cx);
        self.ended = outcome.is_ready();
        outcome
    }
}

impl<W: Session> Drop for Answer<'_, W> {
    fn drop(&mut self) {
        if !self.ended {
            self.link.abandon(self.id);
        }
    }
}
