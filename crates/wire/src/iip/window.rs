//! How much of a streamed body may be on its way between Trunkline peers, so that one that nobody reads stalls its
//! channel and not the connection.

use super::client::Client;
use super::frame::Head;
use super::lane::{Arriving, Asked, Lane};
use super::{TRUNKLINE, malformed, path};
use crate::{Event, Next, WireError};

/// How many bytes of frames may be on their way beyond what the reader has taken. The frame that reaches it may go
/// beyond it.
pub(super) const WINDOW: usize = 64 << 10;

/// What the writer of a body may still send.
#[derive(Debug)]
pub(super) struct Window(i64);

impl Default for Window {
    fn default() -> Self {
        Self(signed(WINDOW))
    }
}

impl Window {
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

impl Client {
    pub(super) fn may_write(&self, id: u64) -> bool {
        let bounded = self.trunkline;
        let has_room = |lane: &Lane| {
            let room = lane.open.as_ref().is_some_and(|open| open.window.has_room());
            room || !bounded || lane.channel == 0
        };
        self.lanes.iter().any(|lane| lane.is_open_for(id) && has_room(lane))
    }

    /// What a Trunkline server tells beside its answers.
    pub(super) fn notice<'a>(&mut self, head: &Head<'a>) -> Result<Next<'a>, WireError> {
        if head.path != TRUNKLINE {
            return Err(malformed("a server sends no request", 0));
        }
        self.more(head.uri);
        let drain = path::parameter(head.uri, b"drain").is_some();
        Ok(if drain { Next::Event(Event::Draining) } else { Next::Again })
    }

    /// The server takes more of a request.
    #[cold]
    fn more(&mut self, uri: &[u8]) {
        let Some((channel, number, bytes)) = path::more(uri) else { return };
        let lane = self.lanes.iter_mut().find(|lane| lane.channel == channel);
        let Some(lane) = lane.filter(|lane| lane.channel != 0) else { return };
        let sent = lane.open.as_ref().and_then(|open| lane.number(open.id));
        if sent.is_some_and(|sent| low(sent) == number)
            && let Some(open) = &mut lane.open
        {
            open.window.more(bytes);
        }
    }

    /// A frame of a streamed answer was taken, or its reader has room again: asks for as much as has come.
    pub(super) fn ask_more(&mut self, index: usize, out: &mut Vec<u8>) {
        let Some(lane) = self.lanes.get_mut(index).filter(|lane| lane.channel != 0) else { return };
        let Some(bytes) = lane.taken.due().filter(|_| !lane.holding) else { return };
        let notice = path::say_more(lane.channel, low(lane.answered.saturating_add(1)), bytes);
        if self.system(notice.as_bytes(), out)
            && let Some(lane) = self.lanes.get_mut(index)
        {
            lane.taken.said();
        }
    }

    /// Whoever reads an answer has no room, or has room again. Whether the server waits for that.
    pub(super) fn hold(&mut self, id: u64, hold: bool, out: Option<&mut Vec<u8>>) -> bool {
        let is_read = |lane: &Lane| lane.channel != 0 && lane.asked.front() == Some(&Asked::Call(id));
        let Some(index) = self.lanes.iter().position(is_read).filter(|_| self.trunkline) else {
            return false;
        };
        if let Some(lane) = self.lanes.get_mut(index) {
            lane.holding = hold && lane.arriving == Arriving::Answer;
        }
        if let Some(out) = out {
            self.ask_more(index, out);
        }
        true
    }
}

/// The number of a request as notices have it.
fn low(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_beyond_a_window_is_owed() {
        let mut window = Window::default();
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
