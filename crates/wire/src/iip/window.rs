//! How much of a streamed body may be on its way between Trunkline peers, so that one that nobody reads stalls its
//! channel and not the connection.

/// How many bytes of frames may be on their way beyond what the reader has taken. The frame that reaches it may go
/// beyond it.
pub(super) const WINDOW: usize = 64 << 10;

/// What the writer of a body may still send.
#[derive(Debug)]
pub(super) struct Window(i64);

impl Window {
    pub(super) fn new() -> Self {
        Self(signed(WINDOW))
    }

    pub(super) fn has_room(&self) -> bool {
        self.0 > 0
    }

    /// So many bytes of frames were sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.0 = self.0.saturating_sub(signed(bytes));
    }

    /// The reader has taken so many.
    pub(super) fn more(&mut self, bytes: usize) {
        self.0 = self.0.saturating_add(signed(bytes)).min(signed(WINDOW));
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// What of a body has come and its writer was not told of. It is told of half a window at once.
#[derive(Debug, Default)]
pub(super) struct Taken(usize);

impl Taken {
    /// One more frame.
    pub(super) fn add(&mut self, bytes: usize) {
        self.0 = self.0.saturating_add(bytes);
    }

    /// What the writer is to be told of now, if it is enough.
    pub(super) fn due(&self) -> Option<usize> {
        (self.0 >= WINDOW / 2).then_some(self.0)
    }

    /// It was told.
    pub(super) fn said(&mut self) {
        self.0 = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_beyond_a_window_is_owed() {
        let mut window = Window::new();
        window.sent(WINDOW - 1);
        assert!(window.has_room());
        window.sent(WINDOW);
        assert!(!window.has_room());
        window.more(WINDOW - 1);
        assert!(!window.has_room());
        window.more(1);
        assert!(window.has_room());
        // More than was sent is made up.
        window.more(usize::MAX);
        window.sent(WINDOW);
        assert!(!window.has_room());
    }
}
