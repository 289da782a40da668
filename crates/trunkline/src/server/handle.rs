//! What is held of a running server: to stop it and to look at it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::drain::Drain;
use super::router::Router;
use super::sys::is_own;
use crate::layer::{Counters, MethodCounters};

/// Stops a server and reads its counters. A clone is the same server.
#[derive(Debug, Clone)]
pub struct ServerHandle {
    pub(crate) drain: Arc<Drain>,
    pub(crate) stop: Arc<watch::Sender<Option<Instant>>>,
    pub(crate) router: Arc<Router>,
    pub(crate) counters: Arc<Counters>,
}

/// What a server that stops still waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Connections that are still there.
    pub connections: usize,
    /// Calls that are still being answered.
    pub calls: u64,
}

impl ServerHandle {
    /// Begins to stop: no new connections; connections end when their last call has been answered. After `limit`
    /// what is left is cut off. A second call changes the limit. `Server::run` returns at the end.
    pub fn drain(&self, limit: Duration) {
        let at = Instant::now() + limit;
        self.stop.send_replace(Some(at));
    }

    /// What the server is busy with: while it stops, what it waits for.
    #[must_use]
    pub fn report(&self) -> DrainReport {
        DrainReport { connections: self.drain.connections(), calls: self.counters.in_flight() }
    }

    /// Whether the stop has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.stop.borrow().is_some()
    }

    /// The counters of all methods: service, method, figures. Calls to unknown names stand under empty names. The
    /// framework's own paths (`/sys/…` on IIP) are left out.
    #[must_use]
    pub fn counters(&self) -> Vec<(String, String, MethodCounters)> {
        let methods = self.router.methods().enumerate();
        let methods = methods.filter(|(_, (service, method))| !is_own(service, method));
        let known = methods.map(|(index, (service, method))| {
            (service.name.to_string(), method.name.to_owned(), self.counters.method(index))
        });
        known.chain([(String::new(), String::new(), self.counters.unknown())]).collect()
    }
}
