//! The calls that were made to one node and wait for their answers.
//!
//! An answer may come by any connection of that node. It finds its call by the session, and both handles have to be those
//! of the call: what is late, doubled or made up finds nobody, completes nothing, and is counted.

use std::task::{Context, Poll, Waker};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use trunkline_wire::saber::Handle;

use crate::{Reply, Result};

/// What came of a call.
pub(super) type Outcome = Result<Reply>;

/// The calls in flight to one node.
#[derive(Debug)]
pub(super) struct Calls {
    slots: HashMap<u32, Slot, FixedState>,
    last: u32,
    most: usize,
}

#[derive(Debug)]
struct Slot {
    source: Handle,
    destination: Handle,
    state: SlotState,
}

#[derive(Debug)]
enum SlotState {
    Waiting(Option<Waker>),
    Ended(Outcome),
}

impl Calls {
    /// At most so many in flight.
    pub(super) fn new(most: usize) -> Self {
        Self { slots: HashMap::default(), last: 0, most }
    }

    /// A place for one more call, by its session; `None` where there is none. Sessions count up from 1; after the last
    /// one those that are free are used again.
    pub(super) fn insert(&mut self, source: Handle, destination: Handle) -> Option<u32> {
        if self.slots.len() >= self.most {
            return None;
        }
        loop {
            self.last = self.last.wrapping_add(1);
            if self.last != 0 && !self.slots.contains_key(&self.last) {
                break;
            }
        }
        let state = SlotState::Waiting(None);
        self.slots.insert(self.last, Slot { source, destination, state });
        Some(self.last)
    }

    /// The call has ended. `None` where nobody waits for this answer; else whom to wake.
    pub(super) fn end(
        &mut self,
        session: u32,
        from: Handle,
        to: Handle,
        outcome: impl FnOnce() -> Outcome,
    ) -> Option<Option<Waker>> {
        let slot = self.slots.get_mut(&session)?;
        match &mut slot.state {
            SlotState::Waiting(waker) if slot.destination == from && slot.source == to => {
                let waker = waker.take();
                slot.state = SlotState::Ended(outcome());
                Some(waker)
            }
            _ => None,
        }
    }

    /// How the call ended; then it is forgotten. Ready with nothing where it is not known.
    pub(super) fn poll(&mut self, session: u32, cx: &Context<'_>) -> Poll<Option<Outcome>> {
        if let Some(Slot { state: SlotState::Waiting(waker), .. }) = self.slots.get_mut(&session) {
            match waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        Poll::Ready(match self.slots.remove(&session) {
            Some(Slot { state: SlotState::Ended(outcome), .. }) => Some(outcome),
            _ => None,
        })
    }

    /// Nobody waits for the call any more.
    pub(super) fn remove(&mut self, session: u32) {
        self.slots.remove(&session);
    }

    /// Ends all that wait; whom to wake.
    pub(super) fn end_all(&mut self, mut outcome: impl FnMut() -> Outcome) -> Vec<Waker> {
        let mut wakers = Vec::new();
        for slot in self.slots.values_mut() {
            if let SlotState::Waiting(waker) = &mut slot.state {
                wakers.extend(waker.take());
                slot.state = SlotState::Ended(outcome());
            }
        }
        wakers
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Handle = Handle(1);
    const B: Handle = Handle(2);

    fn ended(calls: &mut Calls, session: u32) -> bool {
        let cx = Context::from_waker(Waker::noop());
        matches!(calls.poll(session, &cx), Poll::Ready(Some(Ok(_))))
    }

    /// S2, S4: an answer that is late, doubled, made up or from somebody else completes nothing.
    #[test]
    fn s2_answers_that_nobody_waits_for_complete_nothing() {
        let mut calls = Calls::new(2);
        let ok = || Ok(Reply::default());
        assert!(calls.end(0xdead_beef, B, A, ok).is_none());
        let first = calls.insert(A, B).unwrap();
        let second = calls.insert(A, B).unwrap();
        assert_eq!((first, second), (1, 2));
        assert!(calls.insert(A, B).is_none(), "the table is full");
        assert!(calls.end(first, Handle(3), A, ok).is_none(), "another service answers");
        assert!(calls.end(first, B, Handle(3), ok).is_none(), "another caller is meant");
        assert!(!ended(&mut calls, first));
        assert!(calls.end(first, B, A, ok).is_some());
        assert!(calls.end(first, B, A, ok).is_none(), "doubled");
        assert!(ended(&mut calls, first) && !ended(&mut calls, second));
        calls.remove(second);
        assert!(calls.end(second, B, A, ok).is_none(), "late");
        assert_eq!(calls.len(), 0);
    }

    #[test]
    fn sessions_start_again_where_one_is_free_and_never_at_0() {
        let mut calls = Calls::new(10);
        let first = calls.insert(A, B).unwrap();
        calls.last = u32::MAX - 1;
        assert_eq!([calls.insert(A, B), calls.insert(A, B)], [Some(u32::MAX), Some(2)]);
        assert_eq!(first, 1);
    }
}
