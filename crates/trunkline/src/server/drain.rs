//! Stopping without losing a call: who still works, and who waits for them.

use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use slab::Slab;

use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering};

/// One server's stop. Connections hold a [`DrainWatch`] each; whoever drains waits until all are gone.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    begun: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// One entry for each connection: the task to wake when the stop begins.
    connections: Slab<Option<Waker>>,
    /// Whoever waits for the last connection.
    idle: Vec<Waker>,
}

impl Drain {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection's share of it.
    pub(crate) fn watch(self: &Arc<Self>) -> DrainWatch {
        // There is no memory for more of them than that.
        let key = u32::try_from(self.lock().connections.insert(None)).unwrap_or(u32::MAX);
        DrainWatch { drain: Arc::clone(self), key, registered: false }
    }

    /// Tells all connections, now and later ones.
    pub(crate) fn begin(&self) {
        self.begun.store(true, Ordering::Release);
        let wakers: Vec<_> =
            self.lock().connections.iter_mut().filter_map(|(_, waker)| waker.take()).collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Whether the stop has begun.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// How many connections there are.
    pub(crate) fn connections(&self) -> usize {
        self.lock().connections.len()
    }

    /// Ready when there is no connection.
    pub(crate) fn poll_idle(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.connections.is_empty() {
            return Poll::Ready(());
        }
        if !state.idle.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.idle.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// A connection's share of the server's stop: it learns of it, and while it is there the server is not idle.
#[derive(Debug)]
pub(crate) struct DrainWatch {
    drain: Arc<Drain>,
    /// Half a word: an idle connection has to be small.
    key: u32,
    registered: bool,
}

impl DrainWatch {
    fn key(&self) -> usize {
        usize::try_from(self.key).unwrap_or(usize::MAX)
    }

    /// Ready when the stop has begun. A connection's task is always the same one, so it registers once.
    pub(crate) fn poll_begun(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.registered && !self.drain.has_begun() {
            if let Some(waker) = self.drain.lock().connections.get_mut(self.key()) {
                *waker = Some(cx.waker().clone());
            }
            self.registered = true;
        }
        // Looked at after the waker is there, so that a stop between the two is not missed.
        if self.drain.has_begun() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Waits until the stop has begun.
    pub(crate) async fn begun(&mut self) {
        std::future::poll_fn(|cx| self.poll_begun(cx)).await;
    }
}

impl Drop for DrainWatch {
    fn drop(&mut self) {
        let mut state = self.drain.lock();
        state.connections.remove(self.key());
        let idle = if state.connections.is_empty() { std::mem::take(&mut state.idle) } else { Vec::new() };
        drop(state);
        idle.into_iter().for_each(Waker::wake);
    }
}
