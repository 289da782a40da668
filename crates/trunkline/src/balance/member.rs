//! An endpoint of a client with how it is doing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::Endpoint;
use super::health::Health;
use super::key::hash;
use super::latency::Latency;

/// An endpoint of a client, with what is known of it.
#[derive(Debug)]
pub struct Member {
    endpoint: Endpoint,
    hash: u64,
    pending: AtomicUsize,
    pub(crate) latency: Latency,
    pub(crate) health: Health,
}

impl Member {
    pub(crate) fn new(endpoint: Endpoint, now: Instant) -> Self {
        Self {
            hash: hash([endpoint.alias().as_bytes()]),
            endpoint,
            pending: AtomicUsize::new(0),
            latency: Latency::new(now),
            health: Health::default(),
        }
    }

    /// The endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// How many of the client's calls to it are in flight.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    /// How long its calls take: a moving average that jumps up with a slow call. None before the first call has ended,
    /// and where the picker does not [want](super::Picker::wants_latency) it.
    #[must_use]
    pub fn latency(&self) -> Option<Duration> {
        self.latency.get(Instant::now())
    }

    /// The same number for the same alias, in every process.
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn begin(&self) {
        self.pending.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.pending.fetch_sub(1, Ordering::Relaxed);
    }
}
