//! The state of a service, reached by closures.

use std::fmt;
use std::sync::{Mutex, PoisonError};

/// A value that handlers, which take `&self`, work on by closures: nothing of it can be held over an `await`.
///
/// In a re-entrant and a serial service nobody else runs, so the lock in it is never waited for. What a closure sees may
/// have changed since the last one, where there was an `await` in between.
///
/// ```
/// use trunkline::node::State;
/// let players = State::new(vec!["ann"]);
/// let count = players.with(|players| {
///     players.push("bob");
///     players.len()
/// });
/// assert_eq!((count, players.intact(|players| players.len())), (2, Some(2)));
/// ```
#[derive(Default)]
pub struct State<T>(Mutex<T>);

impl<T> State<T> {
    /// A state that begins with this value.
    pub const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Looks at the value and changes it. A closure that panics fails its call; what it has changed stays.
    pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the value, unless a closure has panicked at work on it: then it may be half changed. For snapshots.
    pub fn intact<R>(&self, look: impl FnOnce(&T) -> R) -> Option<R> {
        self.0.lock().ok().map(|value| look(&value))
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: fmt::Debug> fmt::Debug for State<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with(|value| f.debug_tuple("State").field(value).finish())
    }
}

impl<T> From<T> for State<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}
