//! Memory for bodies that a session assembles: it is used again by its thread.

use std::cell::Cell;
use std::ops::Deref;

/// The most bytes of memory that a thread keeps. Bodies over it have memory of their own.
pub(crate) const KEPT: usize = 4096;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Bytes of a body that a session assembled for an event. Their memory goes back to the thread when they are dropped,
/// so that calls which are answered at once need none of their own.
#[derive(Debug, PartialEq, Eq)]
pub struct Scratch(Vec<u8>);

impl Scratch {
    /// What the parts are together; `None` where that is over [`KEPT`] bytes.
    #[inline]
    pub(crate) fn of(parts: [&[u8]; 2]) -> Option<Self> {
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        if length > KEPT {
            return None;
        }
        let mut bytes = SPARE.try_with(Cell::take).unwrap_or_default();
        bytes.clear();
        bytes.reserve(length);
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        Some(Self(bytes))
    }

    pub(crate) fn get_mut(&mut self, at: usize) -> Option<&mut u8> {
        self.0.get_mut(at)
    }
}

impl Deref for Scratch {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Clone for Scratch {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl Drop for Scratch {
    #[inline]
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.0);
        if bytes.capacity() <= KEPT {
            // A thread that ends keeps nothing.
            let _ = SPARE.try_with(|spare| spare.set(bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn memory_is_used_again_and_a_copy_has_its_own() {
        let first = Scratch::of([b"one", b" body"]).unwrap();
        let (at, copy) = (first.as_ptr(), first.clone());
        assert_eq!(*first, *b"one body");
        drop(first);
        let second = Scratch::of([b"", b"two"]).unwrap();
        assert_eq!((second.as_ptr(), &*second, &*copy), (at, &b"two"[..], &b"one body"[..]));
        assert!(Scratch::of([&[0; KEPT], b"x"]).is_none());
    }
}
