//! In turn.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Members, Picker};
use crate::{Call, Result};

/// One endpoint after the other; where weights differ, each as often as its weight says and evenly spread.
#[derive(Debug, Default)]
pub struct RoundRobin {
    next: AtomicUsize,
}

impl RoundRobin {
    /// Begins with the first endpoint.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next in turn.
    pub(super) fn next(&self, members: &Members) -> usize {
        members.turn(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

impl Picker for RoundRobin {
    fn pick(&self, members: &Members, _call: &Call) -> Result<usize> {
        Ok(self.next(members))
    }
}
