//! Which endpoint a call goes to: endpoints with weights, how they are doing, and the ways to pick one.
//!
//! All of it is pure: no connection, no clock of its own, no lock where a call is picked for. The balanced
//! [client](../client/struct.Client.html) asks a [`Picker`] and tells the members what came of their calls.
//!
//! | name | picker | how it picks |
//! | --- | --- | --- |
//! | `round-robin`, `weighted` | [`RoundRobin`] | in turn, smoothly by weight where weights differ |
//! | `random` | [`Random`] | by chance and weight |
//! | `least-pending` | [`LeastPending`] | the fewest calls in flight for its weight, in turn among equals |
//! | `p2c-ewma` | [`P2cEwma`] | of two by chance, the one with less latency times calls in flight |
//! | `consistent-hash` | [`ConsistentHash`] | the same endpoint for the same [`Key`] |
//! | | `Expression` | what an expression says (feature `expressions`) |

mod consistent_hash;
mod endpoint;
#[cfg(feature = "expressions")]
mod expression;
mod health;
mod key;
mod latency;
mod least_pending;
mod member;
mod members;
mod p2c_ewma;
mod random;
mod round_robin;
mod uri;

use std::fmt;

pub use consistent_hash::ConsistentHash;
pub use endpoint::{Endpoint, InvalidEndpoint};
#[cfg(feature = "expressions")]
pub use expression::{Expression, InvalidExpression};
pub(crate) use health::Verdict;
pub use key::Key;
pub use least_pending::LeastPending;
pub use member::Member;
pub use members::Members;
pub use p2c_ewma::P2cEwma;
pub use random::Random;
pub use round_robin::RoundRobin;
pub use uri::{CLIENT, URI};

use crate::{Call, Result};

/// A way to pick an endpoint.
pub trait Picker: fmt::Debug + Send + Sync + 'static {
    /// Picks an endpoint for a call: its place among all members. At least one member is open. Where the picked one
    /// is not, the call goes to an open one in turn.
    ///
    /// # Errors
    /// Nobody can say where the call belongs; it fails with this and is not begun.
    fn pick(&self, members: &Members, call: &Call) -> Result<usize>;

    /// Whether it picks by what is in the call. A paused endpoint is then tried again with a call that belongs
    /// there, else with any.
    fn follows_call(&self) -> bool {
        false
    }

    /// Whether it looks at [`Member::latency`]: it is measured only then.
    fn wants_latency(&self) -> bool {
        false
    }
}

impl Picker for Box<dyn Picker> {
    fn pick(&self, members: &Members, call: &Call) -> Result<usize> {
        (**self).pick(members, call)
    }

    fn follows_call(&self) -> bool {
        (**self).follows_call()
    }

    fn wants_latency(&self) -> bool {
        (**self).wants_latency()
    }
}

/// The names that [`by_name`] knows.
pub const NAMES: [&str; 6] =
    ["round-robin", "random", "weighted", "least-pending", "p2c-ewma", "consistent-hash"];

/// The picker of a name, for command lines and files; none where there is none of the name. `consistent-hash` goes by
/// [`Key::call`].
#[must_use]
pub fn by_name(name: &str) -> Option<Box<dyn Picker>> {
    Some(match name {
        "round-robin" | "weighted" => Box::new(RoundRobin::new()),
        "random" => Box::new(Random::new()),
        "least-pending" => Box::new(LeastPending::new()),
        "p2c-ewma" => Box::new(P2cEwma::new()),
        "consistent-hash" => Box::new(ConsistentHash::new(Key::call())),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
