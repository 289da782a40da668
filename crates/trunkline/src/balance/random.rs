//! By chance.

use super::{Members, Picker};
use crate::{Call, Result, random};

/// An endpoint by chance, each as likely as its weight says.
#[derive(Debug, Default)]
pub struct Random(());

impl Random {
    /// Chance comes from [`crate::random`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// One by chance and weight.
pub(super) fn any(members: &Members) -> usize {
    members.turn(random::number())
}

impl Picker for Random {
    fn pick(&self, members: &Members, _call: &Call) -> Result<usize> {
        Ok(any(members))
    }
}
