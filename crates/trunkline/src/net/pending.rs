//! The calls of a connection that could not be answered on the spot: each is polled only when it was woken.
//!
//! A `FuturesUnordered` would do, but for two things: calls are removed by their id when they are cancelled, and
//! a call that waits costs no allocation beside its future.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use slab::Slab;

use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering};

/// Futures by key, polled when woken.
#[derive(Debug)]
pub(crate) struct Pending<K, F> {
    slots: Slab<(K, F)>,
    wakers: Vec<Arc<SlotWaker>>,
    woken: Option<Arc<Woken>>,
}

/// Which slots were woken, and the task to wake for them.
#[derive(Debug, Default)]
struct Woken(Mutex<WokenState>);

#[derive(Debug, Default)]
struct WokenState {
    slots: VecDeque<usize>,
    task: Option<Waker>,
}

#[derive(Debug)]
struct SlotWaker {
    slot: usize,
    queued: AtomicBool,
    woken: Arc<Woken>,
}

impl Woken {
    fn lock(&self) -> MutexGuard<'_, WokenState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut woken = self.woken.lock();
        woken.slots.push_back(self.slot);
        let task = woken.task.take();
        drop(woken);
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl<K, F> Default for Pending<K, F> {
    fn default() -> Self {
        Self { slots: Slab::new(), wakers: Vec::new(), woken: None }
    }
}

impl<K, F> Pending<K, F> {
    /// Adds a future. It is polled by the next [`poll_next`](Pending::poll_next), whatever polled it before.
    pub(crate) fn insert(&mut self, key: K, future: F) {
        let woken = self.woken.get_or_insert_default();
        let slot = self.slots.insert((key, future));
        if slot == self.wakers.len() {
            let waker = SlotWaker { slot, queued: AtomicBool::new(false), woken: Arc::clone(woken) };
            self.wakers.push(Arc::new(waker));
        }
        if let Some(waker) = self.wakers.get(slot) {
            waker.wake_by_ref();
        }
    }

    /// The keys of the futures that are not ready.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.slots.iter().map(|(_, (key, _))| key)
    }

    /// The futures that are not ready.
    #[cfg(feature = "node")]
    pub(crate) fn futures(&self) -> impl Iterator<Item = &F> {
        self.slots.iter().map(|(_, (_, future))| future)
    }

    /// Drops the first future whose key fits, and gives the key back.
    pub(crate) fn remove(&mut self, fits: impl Fn(&K) -> bool) -> Option<K> {
        let slot = self.slots.iter().find_map(|(slot, (key, _))| fits(key).then_some(slot))?;
        Some(self.slots.remove(slot).0)
    }

    /// The next result of a future that was woken; `Pending` where none has one now, and then the task is woken
    /// when that changes.
    pub(crate) fn poll_next<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(&mut F, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<(K, T)> {
        let Some(woken) = &self.woken else {
            return Poll::Pending;
        };
        // A future that wakes itself whenever it is polled must not keep the connection from everything else.
        for _ in 0..=self.slots.len() {
            let mut state = woken.lock();
            let Some(slot) = state.slots.pop_front() else {
                match &mut state.task {
                    Some(task) => task.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                return Poll::Pending;
            };
            drop(state);
            let Some(slot_waker) = self.wakers.get(slot) else { continue };
            slot_waker.queued.store(false, Ordering::Release);
            // A wake-up may be meant for a call that had this slot before; then the poll is for nothing.
            let Some((_, future)) = self.slots.get_mut(slot) else { continue };
            let waker = Waker::from(Arc::clone(slot_waker));
            if let Poll::Ready(value) = poll(future, &mut Context::from_waker(&waker)) {
                return Poll::Ready((self.slots.remove(slot).0, value));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
