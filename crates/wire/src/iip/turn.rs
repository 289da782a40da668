//! One call in the order of its channel.

use bytes::Bytes;

use super::methods::Place;
use super::window::Window;

/// A call whose answer is not written. There are as many as calls in flight, so it is small.
#[derive(Debug)]
pub(super) struct Turn {
    /// Where its answer is counted.
    pub(super) counted: Place,
    /// A frame of the answer is written, or waits for its turn.
    pub(super) begun: bool,
    /// The answer is whole.
    pub(super) done: bool,
    /// The answer is the last that there is on its channel.
    pub(super) deletes: bool,
    rare: Option<Box<Rare>>,
}

/// What few turns have.
#[derive(Debug, Default)]
struct Rare {
    /// The path that the answer repeats, where the channel has gone on to another.
    path: Option<Bytes>,
    /// What is written when it is its turn.
    early: Vec<u8>,
    /// What of a streamed answer may be on its way.
    window: Window,
}

impl Turn {
    #[inline]
    pub(super) fn new(counted: Place) -> Self {
        Self { counted, begun: false, done: false, deletes: false, rare: None }
    }

    /// The path that the answer repeats: its own, or `usual`, which is that of its channel.
    #[inline]
    pub(super) fn path<'a>(&'a self, usual: &'a Bytes) -> &'a Bytes {
        self.rare.as_ref().and_then(|rare| rare.path.as_ref()).unwrap_or(usual)
    }

    pub(super) fn set_path(&mut self, path: Bytes) {
        self.rare().path = Some(path);
    }

    /// What waits to be written.
    #[inline]
    pub(super) fn early(&self) -> &[u8] {
        self.rare.as_ref().map_or(&[], |rare| &rare.early)
    }

    pub(super) fn early_mut(&mut self) -> &mut Vec<u8> {
        &mut self.rare().early
    }

    /// So many bytes of an answer that goes on were sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.rare().window.sent(bytes);
    }

    /// The client takes so many more.
    pub(super) fn may_send(&mut self, bytes: usize) {
        if let Some(rare) = &mut self.rare {
            rare.window.more(bytes);
        }
    }

    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.rare.as_ref().is_none_or(|rare| rare.window.has_room())
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }
}
