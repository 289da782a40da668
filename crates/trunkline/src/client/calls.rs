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
    free: Vec<u32>,
    groups: Slab<Group>,
    limit: usize,
    /// No deadline is earlier; there may be none at this time any more.
    next_deadline: Option<Instant>,
}

#[derive(Debug)]
struct Slot {
    uses: u32,
    state: State,
}

#[derive(Debug)]
// An outcome is not boxed: that would cost an allocation for each call.
enum State {
    Free,
    Waiting { deadline: Instant, waiter: Waiter },
    Ended(Outcome),
}

/// Who waits for a call.
#[derive(Debug)]
enum Waiter {
    Task(Waker),
    /// One future for all calls of the group.
    Group(usize),
}

/// Calls that one future waits for.
#[derive(Debug, Default)]
struct Group {
    /// So many of its calls have not ended.
    left: usize,
    /// The calls that have ended and were not asked for, where each is wanted as it comes.
    ended: Option<VecDeque<u64>>,
    waker: Option<Waker>,
}

impl Waiter {
    /// The call has ended: whom to wake for it.
    #[inline(always)]
    fn ended(self, groups: &mut Slab<Group>, id: u64) -> Option<Waker> {
        match self {
            Self::Task(waker) => Some(waker),
            Self::Group(key) => {
                let group = groups.get_mut(key)?;
                group.left = group.left.saturating_sub(1);
                match &mut group.ended {
                    Some(ended) => ended.push_back(id),
                    None if group.left > 0 => return None,
                    None => {}
                }
                group.waker.take()
            }
        }
    }
}

impl Slot {
    /// The call has ended: whom to wake for it.
    #[inline(always)]
    fn end(&mut self, groups: &mut Slab<Group>, id: u64, outcome: impl FnOnce() -> Outcome) -> Option<Waker> {
        let woken = match std::mem::replace(&mut self.state, State::Free) {
            State::Waiting { waiter, .. } => waiter.ended(groups, id),
            State::Free | State::Ended(_) => None,
        };
        self.state = State::Ended(outcome());
        woken
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
        Self { slots: Vec::new(), free: Vec::new(), groups: Slab::new(), limit, next_deadline: None }
    }

    /// Takes a slot, for whoever `waker` wakes; `None` where all are taken.
    pub(crate) fn insert(&mut self, waker: Waker, deadline: Instant) -> Option<u64> {
        self.insert_for(Waiter::Task(waker), deadline)
    }

    /// The same for a call of a group.
    pub(crate) fn insert_in(&mut self, group: usize, deadline: Instant) -> Option<u64> {
        let id = self.insert_for(Waiter::Group(group), deadline)?;
        if let Some(group) = self.groups.get_mut(group) {
            group.left = group.left.saturating_add(1);
        }
        Some(id)
    }

    /// A group without calls. Where `each` is set its calls are given as they end, else when the last one has.
    pub(crate) fn group(&mut self, each: bool) -> usize {
        self.groups.insert(Group { ended: each.then(VecDeque::new), ..Group::default() })
    }

    /// Forgets a group; its calls are removed before.
    pub(crate) fn remove_group(&mut self, group: usize) {
        drop(self.groups.try_remove(group));
    }

    /// Ready when all calls of the group have ended.
    pub(crate) fn poll_all(&mut self, group: usize, cx: &Context<'_>) -> Poll<()> {
        match self.groups.get_mut(group) {
            Some(group) if group.left > 0 => {
                set(&mut group.waker, cx);
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// The next call of the group that has ended, and how; none where all were given.
    pub(crate) fn poll_each(&mut self, group: usize, cx: &Context<'_>) -> Poll<Option<(u64, Outcome)>> {
        loop {
            let Some(found) = self.groups.get_mut(group) else { return Poll::Ready(None) };
            let Some(id) = found.ended.as_mut().and_then(VecDeque::pop_front) else {
                if found.left == 0 {
                    return Poll::Ready(None);
                }
                set(&mut found.waker, cx);
                return Poll::Pending;
            };
            if let Some(outcome) = self.remove(id) {
                return Poll::Ready(Some((id, outcome)));
            }
        }
    }

    #[inline(always)]
    fn insert_for(&mut self, waiter: Waiter, deadline: Instant) -> Option<u64> {
        let state = State::Waiting { deadline, waiter };
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() >= self.limit => return None,
            None => {
                let index = u32::try_from(self.slots.len()).ok()?;
                self.slots.push(Slot { uses: 0, state: State::Free });
                index
            }
        };
        let slot = self.slots.get_mut(usize::try_from(index).ok()?)?;
        slot.state = state;
        let id = u64::from(slot.uses) << 32 | u64::from(index);
        self.next_deadline = Some(self.next_deadline.map_or(deadline, |next| next.min(deadline)));
        Some(id)
    }

    /// How many calls have a slot.
    pub(crate) fn len(&self) -> usize {
        self.slots.len().saturating_sub(self.free.len())
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
        let index = usize::try_from(id & u64::from(u32::MAX)).ok()?;
        let slot = self.slots.get_mut(index).filter(|slot| u64::from(slot.uses) == id >> 32)?;
        if !matches!(slot.state, State::Waiting { .. }) {
            return None;
        }
        Some(slot.end(&mut self.groups, id, outcome))
    }

    /// Whether a call of this id waits for its reply.
    pub(crate) fn waits(&mut self, id: u64) -> bool {
        self.slot(id).is_some_and(|slot| matches!(slot.state, State::Waiting { .. }))
    }

    /// How the call ended, once; then its slot is free.
    pub(crate) fn poll(&mut self, id: u64, cx: &mut Context<'_>) -> Poll<Option<Outcome>> {
        let Some(slot) = self.slot(id) else { return Poll::Ready(None) };
        match &mut slot.state {
            State::Free => Poll::Ready(None),
            State::Waiting { waiter, .. } => {
                match waiter {
                    Waiter::Task(waker) => waker.clone_from(cx.waker()),
                    other => *other = Waiter::Task(cx.waker().clone()),
                }
                Poll::Pending
            }
            State::Ended(_) => Poll::Ready(self.remove(id)),
        }
    }

    /// Frees the slot of a call, and says how it had ended.
    pub(crate) fn remove(&mut self, id: u64) -> Option<Outcome> {
        let slot = self.slot(id)?;
        let state = std::mem::replace(&mut slot.state, State::Free);
        if matches!(state, State::Free) {
            return None;
        }
        slot.uses = slot.uses.wrapping_add(1);
        self.free.extend(u32::try_from(id & u64::from(u32::MAX)).ok());
        match state {
            State::Ended(outcome) => Some(outcome),
            State::Waiting { waiter: Waiter::Group(group), .. } => {
                if let Some(group) = self.groups.get_mut(group) {
                    group.left = group.left.saturating_sub(1);
                }
                None
            }
            State::Free | State::Waiting { .. } => None,
        }
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
        for (index, slot) in (0u64..).zip(&mut self.slots) {
            if let State::Waiting { deadline, .. } = &slot.state {
                if *deadline <= now {
                    let id = u64::from(slot.uses) << 32 | index;
                    ended(id, slot.end(&mut self.groups, id, &mut outcome));
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
        for (index, slot) in (0u64..).zip(&mut self.slots) {
            if matches!(slot.state, State::Waiting { .. }) {
                let id = u64::from(slot.uses) << 32 | index;
                ended(slot.end(&mut self.groups, id, &mut outcome));
            }
        }
        self.next_deadline = None;
    }
}
