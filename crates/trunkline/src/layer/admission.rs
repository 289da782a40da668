//! Refuses calls while as many as the server may have are in flight.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::policy::{Facts, Policy};
use crate::{Code, Result, Status};

/// At most so many calls in flight on all connections together; one more fails with [`Code::Limited`]. What one
/// connection may have in flight is a limit of its own ([`Limits::calls`](trunkline_wire::Limits::calls)), and there
/// the next call waits unread.
#[derive(Debug, Default)]
pub struct Admission {
    limit: Option<usize>,
    in_flight: AtomicUsize,
}

impl Admission {
    /// At most so many calls.
    #[must_use]
    pub fn in_flight(limit: usize) -> Self {
        Self { limit: Some(limit), in_flight: AtomicUsize::new(0) }
    }
}

/// One call in flight; its place is free again when it is dropped.
#[derive(Debug)]
pub struct Place<'a> {
    in_flight: &'a AtomicUsize,
    /// How many there were before.
    before: usize,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Policy for Admission {
    type Guard<'a> = Option<Place<'a>>;

    #[inline(always)]
    fn begin(&self, _: &Facts<'_>) -> Self::Guard<'_> {
        let in_flight = self.limit.map(|_| &self.in_flight)?;
        Some(Place { in_flight, before: in_flight.fetch_add(1, Ordering::Relaxed) })
    }

    #[inline(always)]
    fn admit(&self, _: &Facts<'_>, place: &Option<Place<'_>>) -> Result<()> {
        match (self.limit, place) {
            (Some(limit), Some(place)) if place.before >= limit => Err(too_many(limit)),
            _ => Ok(()),
        }
    }
}

#[cold]
fn too_many(limit: usize) -> Status {
    let text = format!("the server has {limit} calls in flight, its limit (max_in_flight)");
    Status::new(Code::Limited, text).not_begun()
}
