//! Asking a silent server whether it is there.

use std::time::Duration;

use tokio::time::Instant;
use trunkline_wire::Session;

use crate::net::driver::Close;

/// When a connection was last used, and by that when it is time for a heartbeat.
#[derive(Debug)]
pub(super) struct Heartbeat {
    interval: Duration,
    heard: Instant,
    pub(super) said: Instant,
    /// The peer was asked whether it is there, and has said nothing since.
    asked: Option<Instant>,
}

impl Heartbeat {
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, heard: now, said: now, asked: None }
    }

    /// The peer has said something.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.asked = None;
    }

    /// When the next one is due, or the answer to the last.
    pub(super) fn at(&self) -> Instant {
        self.asked.unwrap_or_else(|| self.heard.min(self.said)) + self.interval
    }

    /// Asks, where it is time.
    ///
    /// # Errors
    /// The peer was asked, and has not answered in time.
    pub(super) fn beat(
        &mut self,
        session: &mut impl Session,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<(), Close> {
        if now < self.at() {
            return Ok(());
        }
        if self.asked.is_some() {
            return Err(Close::Slow("the peer does not answer heartbeats"));
        }
        self.said = now;
        if session.ping(out) {
            self.asked = Some(now);
        } else {
            self.heard = now; // A wire without heartbeats: the transport's own keep-alive has to do.
        }
        Ok(())
    }
}
