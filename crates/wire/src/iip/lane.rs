//! One channel as its client sees it: which requests wait for their answers, in which order.

use std::collections::VecDeque;

use super::window::{Taken, Window};
use crate::Metadata;

/// A channel that calls may be made on.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) channel: u32,
    /// Whose answers have not come, in the order of their requests.
    pub(super) asked: VecDeque<Asked>,
    /// How many answers have come.
    pub(super) answered: u64,
    /// The call whose request is not whole: nothing else can be sent meanwhile.
    pub(super) open: Option<Open>,
    /// A request was given up within its body, and the server cannot be told; or more answers may come than were asked
    /// for. Nothing more is sent.
    pub(super) dead: bool,
    /// A request of several frames, the last one sent, waits for its answer at a server that may answer each frame (Go's
    /// does where it does not know the path): what is sent behind it could get one of those.
    pub(super) several: bool,
    pub(super) arriving: Arriving,
    /// Of the answer that arrives.
    pub(super) taken: Taken,
    /// Whoever reads that answer has no room.
    pub(super) holding: bool,
}

/// What comes next on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arriving {
    /// The first frame of an answer.
    Nothing,
    /// A later frame of the answer of whoever is first in the order.
    Answer,
}

/// Who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Call(u64),
    /// Nobody any more, and the server does not know: the answer is told as one that is nobody's.
    Late,
    /// Nobody: the answer is read past.
    Nobody,
}

/// A request that is sent frame by frame.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) id: u64,
    pub(super) one_way: bool,
    /// What its frames say as their path: the first one, and the others.
    pub(super) uri: Vec<u8>,
    pub(super) later: Vec<u8>,
    /// A frame of it was written.
    pub(super) begun: bool,
    pub(super) window: Window,
}

/// A call that waits for a channel.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) id: u64,
    pub(super) one_way: bool,
    /// The path, with the query that the caller gave it.
    pub(super) path: Vec<u8>,
    pub(super) metadata: Metadata,
    pub(super) extra: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) end: bool,
}

impl Lane {
    pub(super) fn new(channel: u32) -> Self {
        Self {
            channel,
            asked: VecDeque::new(),
            answered: 0,
            open: None,
            dead: false,
            several: false,
            arriving: Arriving::Nothing,
            taken: Taken::default(),
            holding: false,
        }
    }

    /// Whether a request may begin.
    pub(super) fn is_free(&self) -> bool {
        self.open.is_none() && !self.dead && !self.several
    }

    /// Whether the next answer is to a request of several frames, and the last one that is waited for.
    pub(super) fn answers_several(&self) -> bool {
        let begun = self.open.as_ref().is_some_and(|open| open.begun);
        (begun || self.several) && self.asked.len() == 1
    }

    pub(super) fn is_open_for(&self, id: u64) -> bool {
        self.open.as_ref().is_some_and(|open| open.id == id)
    }

    /// The request's number on the channel, counted from 1, where it or its answer is not whole.
    pub(super) fn number(&self, id: u64) -> Option<u64> {
        if self.open.as_ref().is_some_and(|open| open.id == id && open.begun) {
            // Nothing was sent after it.
            return u64::try_from(self.asked.len()).ok().map(|asked| self.answered.saturating_add(asked));
        }
        let place = self.asked.iter().position(|other| *other == Asked::Call(id))?;
        u64::try_from(place).ok().map(|place| self.answered.saturating_add(place).saturating_add(1))
    }

    /// The call does not wait for its answer any more; its place stays.
    pub(super) fn forget(&mut self, id: u64, instead: Asked) {
        if let Some(place) = self.asked.iter_mut().find(|other| **other == Asked::Call(id)) {
            *place = instead;
        }
    }

    /// The first answer is whole.
    pub(super) fn ended(&mut self) {
        self.arriving = Arriving::Nothing;
        (self.taken, self.holding) = (Taken::default(), false);
        self.asked.pop_front();
        self.several &= !self.asked.is_empty();
        self.answered = self.answered.saturating_add(1);
    }
}
