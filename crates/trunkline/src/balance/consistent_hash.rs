//! The same endpoint for the same key.

use super::key::mixed;
use super::{Key, Member, Members, Picker, RoundRobin};
use crate::{Call, Result};

/// The same endpoint for the same key, in every process, as long as it is open; where an endpoint comes or goes, only
/// the keys that it gets or had move (rendezvous hashing, by weight). A call without a key goes in turn.
///
/// ```
/// use trunkline::balance::{ConsistentHash, Key};
/// let by_tenant = ConsistentHash::new(Key::metadata("tenant"));
/// let by_parameter = ConsistentHash::new(Key::parameter("room"));
/// # let _ = (by_tenant, by_parameter);
/// ```
#[derive(Debug)]
pub struct ConsistentHash {
    key: Key,
    turns: RoundRobin,
}

impl ConsistentHash {
    /// By this key of a call.
    #[must_use]
    pub fn new(key: Key) -> Self {
        Self { key, turns: RoundRobin::new() }
    }
}

impl Picker for ConsistentHash {
    fn pick(&self, members: &Members, call: &Call) -> Result<usize> {
        let Some(key) = self.key.hash(call) else { return Ok(self.turns.next(members)) };
        let (mut best, mut most) = (0, f64::NEG_INFINITY);
        for place in members.open() {
            let score = members.get(*place).map_or(f64::NEG_INFINITY, |member| score(member, key));
            if score > most {
                (best, most) = (*place, score);
            }
        }
        Ok(best)
    }

    fn follows_call(&self) -> bool {
        true
    }
}

/// How much an endpoint wants a key: a number by chance that is the same for the two each time, by weight.
fn score(member: &Member, key: u64) -> f64 {
    let chance = u32::try_from(mixed(member.hash() ^ key) >> 32).unwrap_or(u32::MAX);
    let fraction = (f64::from(chance) + 0.5) / (f64::from(u32::MAX) + 1.0);
    fraction.ln() / f64::from(member.endpoint().weight().max(1))
}
