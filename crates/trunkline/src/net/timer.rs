//! The timer of a connection.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep};

/// Wakes its task at a moment that is known without touching what the runtime keeps of it.
#[derive(Debug)]
pub(super) struct Timer {
    pub(super) at: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl Timer {
    pub(super) fn new(at: Instant) -> Self {
        Self { at, sleep: Box::pin(tokio::time::sleep_until(at)) }
    }

    pub(super) fn reset(&mut self, at: Instant) {
        self.at = at;
        self.sleep.as_mut().reset(at);
    }

    /// Ready when the moment has come; else the task is woken then. It does not depend on how much the task has done in its
    /// turn: a timer that was not looked at for that would wake nobody.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        pin!(unconstrained(self.sleep.as_mut())).poll(cx)
    }
}
