//! The fewest calls in flight.

use super::{Members, Picker, RoundRobin};
use crate::{Call, Result};

/// The endpoint with the fewest calls in flight for its weight; among equals, in turn.
#[derive(Debug, Default)]
pub struct LeastPending {
    turns: RoundRobin,
}

impl LeastPending {
    /// Looks at every endpoint for each call.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Picker for LeastPending {
    fn pick(&self, members: &Members, _call: &Call) -> Result<usize> {
        let load = |place: usize| {
            let member = members.get(place)?;
            Some((member.pending(), usize::try_from(member.endpoint().weight()).ok()?))
        };
        let mut best = self.turns.next(members);
        let Some(mut least) = load(best) else { return Ok(best) };
        for place in members.open() {
            if least.0 == 0 {
                break;
            }
            if let Some((pending, weight)) = load(*place)
                && pending.saturating_mul(least.1) < least.0.saturating_mul(weight)
            {
                (best, least) = (*place, (pending, weight));
            }
        }
        Ok(best)
    }
}
