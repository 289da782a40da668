//! The calls of a connection that wait for their replies: every call ends exactly once.
//!
//! A call is a slot. Its id names the slot and how often the slot was used, so that a reply that is late,
//! doubled or made up finds nobody and completes nothing. The deadline lives with the slot.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use slab::Slab;
use tokio::time::Instant;

use crate::{Reply, Result};

/// How a call ended.
pub(crate) type Outcome = Result<Reply>;

/// The table of calls in flight.
#[derive(Debug)]
pub(crate) struct Calls {
    slots: Vec<Slot>,
    free: Free,
    groups: Slab<Group>,
    limit: usize,
    /// No deadline is earlier; there may be none at this time any more.
    next_deadline: Option<Instant>,
}

/// The slots that are free: a list through them, so that a call touches no other memory.
#[derive(Debug, Default)]
struct Free {
    first: Option<u32>,
    taken: usize,
}

#[derive(Debug)]
struct Slot {
    uses: u32,
    state: State,
}

#[derive(Debug)]
// An outcome is not boxed: that would cost an allocation for each call.
enum State {
    Free { next: Option<u32> },
    Waiting { deadline: Instant, waiter: Waiter },
    Ended(Outcome),
}

/// A slot that nothing is known of, and that is not in the list.
const NOBODY: State = State::Free { next: None };

/// Who waits for a call.
#[derive(Debug)]
enum Waiter {
    Task(Waker),
    /// One future for all calls of the group, where this one has a number.
    Group {
        key: u32,
        number: u32,
    },
}

/// Calls that one future waits for.
#[derive(Debug)]
struct Group {
    /// So many of its calls have not ended.
    left: usize,
    ended: Ended,
    waker: Option<Waker>,
}

/// How the calls of a group have ended. They have no slots any more.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Each at its number; they are given when the last one has ended.
    All(Vec<Option<Outcome>>),
    /// With their numbers in the order in which they ended; each is given as it comes, and those here were not yet.
    Each(VecDeque<(usize, Outcome)>),
}

impl Group {
    /// A call has ended: whom to wake for it.
    #[inline(always)]
    fn ended(&mut self, number: u32, outcome: Outcome) -> Option<Waker> {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        self.left = self.left.saturating_sub(1);
        match &mut self.ended {
            Ended::All(outcomes) => {
                if let Some(place) = outcomes.get_mut(number) {
                    *place = Some(outcome);
                }
                if self.left > 0 {
                    return None;
                }
            }
            Ended::Each(ended) => ended.push_back((number, outcome)),
        }
        self.waker.take()
    }
}

impl Slot {
    /// The call that waits here has ended, if there is one: whom to wake for it.
    #[inline(always)]
    fn end(
        &mut self,
        index: u32,
        free: &mut Free,
        groups: &mut Slab<Group>,
        outcome: impl FnOnce() -> Outcome,
    ) -> Option<Option<Waker>> {
        let State::Waiting { waiter, .. } = &self.state else { return None };
        if let &Waiter::Group { key, number } = waiter {
            self.free(index, free);
            let group = groups.get_mut(usize::try_from(key).ok()?);
            return Some(group.and_then(|group| group.ended(number, outcome())));
        }
        match std::mem::replace(&mut self.state, State::Ended(outcome())) {
            State::Waiting { waiter: Waiter::Task(waker), .. } => Some(Some(waker)),
            _ => Some(None),
        }
    }

    #[inline(always)]
    fn free(&mut self, index: u32, free: &mut Free) {
        self.state = State::Free { next: free.first.replace(index) };
        self.uses = self.uses.wrapping_add(1);
        free.taken = free.taken.saturating_sub(1);
    }
}

/// Keeps the task's waker.
fn set(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        none => *none = Some(cx.waker().clone()),
    }
}

impl Calls {
    /// A table of at most so many calls.
    pub(crate) fn new(limit: usize) -> Self {
        Self { slots: Vec::new(), free: Free::default(), groups: Slab::new(), limit, next_deadline: None }
    }

    /// Takes a slot, for whoever `waker` wakes; `None` where all are taken.
    #[inline]
    pub(crate) fn insert(&mut self, waker: Waker, deadline: Instant) -> Option<u64> {
        self.insert_for(Waiter::Task(waker), deadline)
    }

    /// The same for a call of a group, which has this number there.
    #[inline]
    pub(crate) fn insert_in(&mut self, key: u32, number: usize, deadline: Instant) -> Option<u64> {
        let number = u32::try_from(number).ok()?;
        let id = self.insert_for(Waiter::Group { key, number }, deadline)?;
        if let Some(group) = self.group_mut(key) {
            group.left = group.left.saturating_add(1);
        }
        Some(id)
    }

    /// A group without calls; `None` where there are too many.
    pub(crate) fn group(&mut self, ended: Ended) -> Option<u32> {
        let key = u32::try_from(self.groups.vacant_key()).ok()?;
        self.groups.insert(Group { left: 0, ended, waker: None });
        Some(key)
    }

    /// Forgets a group, whose calls are removed before. It is to be dropped where no lock is held.
    pub(crate) fn remove_group(&mut self, key: u32) -> Option<Ended> {
        self.groups.try_remove(usize::try_from(key).ok()?).map(|group| group.ended)
    }

    fn group_mut(&mut self, key: u32) -> Option<&mut Group> {
        self.groups.get_mut(usize::try_from(key).ok()?)
    }

    /// Ready when all calls of the group have ended, with each at its number; the group is forgotten then.
    pub(crate) fn poll_all(&mut self, key: u32, cx: &Context<'_>) -> Poll<Vec<Option<Outcome>>> {
        if let Some(group) = self.group_mut(key)
            && group.left > 0
        {
            set(&mut group.waker, cx);
            return Poll::Pending;
        }
        Poll::Ready(match self.remove_group(key) {
            Some(Ended::All(outcomes)) => outcomes,
            Some(Ended::Each(_)) | None => Vec::new(),
        })
    }

    /// The number of the next call of the group that has ended, and how; none where all were given.
    pub(crate) fn poll_each(&mut self, key: u32, cx: &Context<'_>) -> Poll<Option<(usize, Outcome)>> {
        let Some(group) = self.group_mut(key) else { return Poll::Ready(None) };
        if let Ended::Each(ended) = &mut group.ended
            && let Some(next) = ended.pop_front()
        {
            return Poll::Ready(Some(next));
        }
        if group.left == 0 {
            return Poll::Ready(None);
        }
        set(&mut group.waker, cx);
        Poll::Pending
    }

    #[inline(always)]
    fn insert_for(&mut self, waiter: Waiter, deadline: Instant) -> Option<u64> {
        let index = match self.free.first {
            Some(index) => index,
            None => self.add_slot()?,
        };
        let slot = self.slots.get_mut(usize::try_from(index).ok()?)?;
        let before = std::mem::replace(&mut slot.state, State::Waiting { deadline, waiter });
        self.free.first = if let State::Free { next } = before { next } else { None };
        self.free.taken = self.free.taken.saturating_add(1);
        if self.next_deadline.is_none_or(|next| deadline < next) {
            self.next_deadline = Some(deadline);
        }
        Some(u64::from(slot.uses) << 32 | u64::from(index))
    }

    #[cold]
    fn add_slot(&mut self) -> Option<u32> {
        if self.slots.len() >= self.limit {
            return None;
        }
        let index = u32::try_from(self.slots.len()).ok()?;
        self.slots.push(Slot { uses: 0, state: NOBODY });
        Some(index)
    }

    /// How many calls have a slot.
    pub(crate) fn len(&self) -> usize {
        self.free.taken
    }

    /// Whether nobody waits for anything, or has anything to ask for.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0 && self.groups.is_empty()
    }

    fn slot(&mut self, id: u64) -> Option<&mut Slot> {
        let index = usize::try_from(id & u64::from(u32::MAX)).ok()?;
        self.slots.get_mut(index).filter(|slot| u64::from(slot.uses) == id >> 32)
    }

    /// Ends a call. The waker of whoever waits for it comes back; `None` where no call of this id waits.
    pub(crate) fn end(&mut self, id: u64, outcome: Outcome) -> Option<Option<Waker>> {
        self.end_with(id, || outcome)
    }

    /// The same with an outcome that is made where it is kept.
    #[inline(always)]
    pub(crate) fn end_with(&mut self, id: u64, outcome: impl FnOnce() -> Outcome) -> Option<Option<Waker>> {
        let index = u32::try_from(id & u64::from(u32::MAX)).ok()?;
        let slot = self.slots.get_mut(usize::try_from(index).ok()?)?;
        if u64::from(slot.uses) != id >> 32 {
            return None;
        }
        slot.end(index, &mut self.free, &mut self.groups, outcome)
    }

    /// Whether a call of this id waits for its reply.
    pub(crate) fn waits(&mut self, id: u64) -> bool {
        self.slot(id).is_some_and(|slot| matches!(slot.state, State::Waiting { .. }))
    }

    /// How the call ended, once; then its slot is free.
    #[inline(always)]
    pub(crate) fn poll(&mut self, id: u64, cx: &mut Context<'_>) -> Poll<Option<Outcome>> {
        let index = u32::try_from(id & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        let slot = usize::try_from(index).ok().and_then(|index| self.slots.get_mut(index));
        let Some(slot) = slot.filter(|slot| u64::from(slot.uses) == id >> 32) else {
            return Poll::Ready(None);
        };
        match &mut slot.state {
            State::Free { .. } => Poll::Ready(None),
            State::Waiting { waiter, .. } => {
                match waiter {
                    Waiter::Task(waker) => waker.clone_from(cx.waker()),
                    other => *other = Waiter::Task(cx.waker().clone()),
                }
                Poll::Pending
            }
            State::Ended(_) => {
                let ended = std::mem::replace(&mut slot.state, NOBODY);
                slot.free(index, &mut self.free);
                Poll::Ready(if let State::Ended(outcome) = ended { Some(outcome) } else { None })
            }
        }
    }

    /// Frees the slot of a call, and says how it had ended.
    pub(crate) fn remove(&mut self, id: u64) -> Option<Outcome> {
        let index = u32::try_from(id & u64::from(u32::MAX)).ok()?;
        let slot = self.slots.get_mut(usize::try_from(index).ok()?)?;
        if u64::from(slot.uses) != id >> 32 || matches!(slot.state, State::Free { .. }) {
            return None;
        }
        let outcome = match std::mem::replace(&mut slot.state, NOBODY) {
            State::Free { .. } => None,
            State::Ended(outcome) => Some(outcome),
            State::Waiting { waiter: Waiter::Task(_), .. } => None,
            State::Waiting { waiter: Waiter::Group { key, .. }, .. } => {
                if let Some(group) = usize::try_from(key).ok().and_then(|key| self.groups.get_mut(key)) {
                    group.left = group.left.saturating_sub(1);
                }
                None
            }
        };
        slot.free(index, &mut self.free);
        outcome
    }

    /// When [`expire`](Calls::expire) has to be called next.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.next_deadline
    }

    /// Ends all calls whose time is over, with what `outcome` says; their ids and wakers are given to `ended`.
    ///
    /// It looks at every slot, but only once for each deadline that is the earliest: with the usual deadline of
    /// seconds and calls of microseconds that is next to never.
    pub(crate) fn expire(
        &mut self,
        now: Instant,
        mut outcome: impl FnMut() -> Outcome,
        mut ended: impl FnMut(u64, Option<Waker>),
    ) {
        if self.next_deadline.is_none_or(|next| next > now) {
            return;
        }
        let mut next: Option<Instant> = None;
        for (index, slot) in (0..).zip(&mut self.slots) {
            if let State::Waiting { deadline, .. } = &slot.state {
                if *deadline <= now {
                    let id = u64::from(slot.uses) << 32 | u64::from(index);
                    let waker = slot.end(index, &mut self.free, &mut self.groups, &mut outcome);
                    ended(id, waker.flatten());
                } else if next.is_none_or(|next| *deadline < next) {
                    next = Some(*deadline);
                }
            }
        }
        self.next_deadline = next;
    }

    /// Ends all calls that wait; their wakers are given to `ended`.
    pub(crate) fn end_all(
        &mut self,
        mut outcome: impl FnMut() -> Outcome,
        mut ended: impl FnMut(Option<Waker>),
    ) {
        for (index, slot) in (0..).zip(&mut self.slots) {
            if let Some(waker) = slot.end(index, &mut self.free, &mut self.groups, &mut outcome) {
                ended(waker);
            }
        }
        self.next_deadline = None;
    }
}
