//! What a node keeps of a connection that it has accepted, beside what both ends have.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Shared;
use super::line::Line;
use crate::context::ConnectionInfo;
use crate::server::drain::DrainWatch;
use crate::server::saber::Plain;

/// What an accepted connection has beside what both ends have.
pub(super) struct Caller {
    pub(super) shared: Arc<Shared>,
    pub(super) plain: Arc<dyn Plain>,
    pub(super) info: Arc<ConnectionInfo>,
    /// What is written back on it.
    pub(super) line: Arc<Line>,
    /// The server's stop. From the moment that is set then no more calls are begun, and the connection ends with its last
    /// one.
    pub(super) drain: DrainWatch,
    pub(super) draining: Option<Instant>,
    pub(super) half_closed: bool,
}

/// How long a connection without calls stays when the server stops: long enough for what has arrived already.
pub(super) const DRAIN: Duration = Duration::from_millis(5);

/// The same where the caller was told: it says when it has heard, and nothing comes from it behind that.
pub(super) const TOLD: Duration = Duration::from_secs(1);

impl Caller {
    /// The node stops, and the caller says only now that it understands that: it is given the time that it takes. Whether it
    /// is so.
    pub(super) fn gives_time(&mut self) -> bool {
        let now = Instant::now();
        self.draining.as_mut().filter(|until| now < **until).is_some_and(|until| {
            *until = now + TOLD;
            true
        })
    }
}
