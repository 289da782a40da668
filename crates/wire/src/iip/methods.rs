//! What a server's session has sent, by method.

use super::path;
use crate::{MethodNumbers, Traffic};

/// Where a path's method is among the counted ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u32);

impl Place {
    /// It is not counted.
    pub(super) const NONE: Self = Self(u32::MAX);
}

/// A connection calls few methods, and only those that there are have a place.
#[derive(Debug, Default)]
pub(super) struct Methods {
    numbers: Option<MethodNumbers>,
    sent: Vec<(u32, Traffic)>,
}

impl Methods {
    pub(super) fn count(&mut self, numbers: MethodNumbers) {
        self.numbers = Some(numbers);
    }

    /// The place of a path without its query.
    #[cold]
    pub(super) fn place(&mut self, path: &[u8]) -> Place {
        let (service, method) = path::names(path);
        let number = self.numbers.as_ref().and_then(|numbers| numbers.find(service, method));
        let Some(number) = number else { return Place::NONE };
        let place = self.sent.iter().position(|(other, _)| *other == number).unwrap_or_else(|| {
            self.sent.push((number, Traffic::default()));
            self.sent.len().saturating_sub(1)
        });
        u32::try_from(place).map_or(Place::NONE, Place)
    }

    #[inline]
    pub(super) fn add(&mut self, place: Place, frames: u64, end: bool, bytes: usize) {
        if let Some((_, sent)) = usize::try_from(place.0).ok().and_then(|place| self.sent.get_mut(place)) {
            sent.sent(frames, end, super::wide(bytes));
        }
    }

    /// What was sent since the last time.
    pub(super) fn take(&mut self) -> Vec<(u32, Traffic)> {
        let some = self.sent.iter_mut().filter(|(_, sent)| sent.frames_sent > 0);
        some.map(|(number, sent)| (*number, std::mem::take(sent))).collect()
    }
}
