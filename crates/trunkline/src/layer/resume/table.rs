//! All streams of a server that can go on, by name, and how long those are kept that nobody reads.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::Settings;
use super::flow::{Flow, Owner, Reader, token};
use crate::{BodyStream, Call, Code, Context, Result, Status};

/// The streams of one server.
pub(super) struct Table {
    settings: Settings,
    /// What makes names that cannot be guessed: two keys that the system has drawn. [`random`](crate::random) repeats a
    /// run and hides nothing: who knows some of its numbers knows the next ones.
    keys: [RandomState; 2],
    inner: Mutex<Inner>,
}

/// Whoever holds this lock may take a flow's state as well, not the other way round.
#[derive(Default)]
struct Inner {
    flows: HashMap<u128, Place>,
    /// Those that nobody reads, the one first that has waited longest.
    parked: BTreeMap<u64, u128>,
    /// How many names were given and streams parked.
    count: u64,
}

struct Place {
    flow: Arc<Flow>,
    parked: Option<Parked>,
}

struct Parked {
    turn: u64,
    timer: AbortHandle,
}

impl Inner {
    /// Somebody reads the stream again, or it is gone.
    fn unpark(&mut self, id: u128) {
        let parked = self.flows.get_mut(&id).and_then(|place| place.parked.take());
        if let Some(Parked { turn, timer }) = parked {
            timer.abort();
            self.parked.remove(&turn);
        }
    }

    /// Takes a stream out; the caller drops it when the lock is free.
    fn remove(&mut self, id: u128) -> Option<Arc<Flow>> {
        self.unpark(id);
        self.flows.remove(&id).map(|place| place.flow)
    }

    fn next_count(&mut self) -> u64 {
        self.count = self.count.wrapping_add(1);
        self.count
    }
}

impl Table {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, keys: [RandomState::new(), RandomState::new()], inner: Mutex::default() }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream that begins, and its name; the stream as it is where there are too many.
    pub(super) fn begin(
        self: &Arc<Self>,
        source: BodyStream,
        owner: Owner,
        call: &Context,
    ) -> (BodyStream, Option<String>) {
        let mut inner = self.lock();
        if inner.flows.len() >= self.settings.streams {
            return (source, None);
        }
        let count = inner.next_count();
        let [high, low] = self.keys.each_ref().map(|key| u128::from(key.hash_one(count)));
        let id = high << 64 | low;
        let flow = Arc::new(Flow::new(id, owner, call.deadline, self.settings.buffer, source));
        inner.flows.insert(id, Place { flow: Arc::clone(&flow), parked: None });
        drop(inner);
        let name = flow.name();
        (BodyStream::pulled(Reader::first(flow, Arc::clone(self), call)), Some(name))
    }

    /// The stream of this name, to a caller with this token.
    fn find(inner: &Inner, name: &str, token: &[u8]) -> Result<Arc<Flow>> {
        let found = name.split_once('/').and_then(|(id, method)| {
            let digits = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
            let id = u128::from_str_radix(id, 16).ok().filter(|_| digits)?;
            inner.flows.get(&id).filter(|place| place.flow.is_of(token, method))
        });
        let text = "no such stream is kept here: its time is over, or it was another server's";
        let unknown = || Status::new(Code::NotFound, text).not_begun();
        found.map(|place| Arc::clone(&place.flow)).ok_or_else(unknown)
    }

    /// The stream from behind this frame, and when its time is over.
    ///
    /// # Errors
    /// There is no such stream, or no such place in it.
    pub(super) fn resume(
        self: &Arc<Self>,
        name: &str,
        call: &Call,
        after: u64,
    ) -> Result<(Reader, Option<Instant>)> {
        let mut inner = self.lock();
        let flow = Self::find(&inner, name, token(call))?;
        let reader = flow.take_over(after)?;
        inner.unpark(flow.id);
        drop(inner);
        let deadline = flow.deadline;
        Ok((Reader::resumed(flow, Arc::clone(self), call.context(), reader, after), deadline))
    }

    /// # Errors
    /// As for [`resume`](Table::resume).
    pub(super) fn acknowledge(&self, name: &str, token: &[u8], number: u64) -> Result<()> {
        let flow = Self::find(&self.lock(), name, token)?;
        flow.acknowledge(number)
    }

    /// Nobody wants the rest of the stream.
    ///
    /// # Errors
    /// There is no such stream.
    pub(super) fn end(&self, name: &str, token: &[u8]) -> Result<()> {
        let mut inner = self.lock();
        let flow = Self::find(&inner, name, token)?;
        inner.remove(flow.id);
        drop(inner);
        flow.close();
        Ok(())
    }

    /// A reader has gone away. Where it was the reader of now the stream is parked, or dropped where nobody can know it.
    pub(super) fn left(self: &Arc<Self>, flow: &Arc<Flow>, reader: u64) {
        let mut inner = self.lock();
        let Some(goes_on) = flow.is_left_by(reader) else { return };
        if !inner.flows.contains_key(&flow.id) {
            return;
        }
        let now = Instant::now();
        let until = now + self.settings.grace;
        let until = flow.deadline.map_or(until, |deadline| until.min(deadline));
        let gone = match Handle::try_current() {
            Ok(runtime) if goes_on && now < until => self.park(&mut inner, flow.id, until, &runtime),
            _ => inner.remove(flow.id),
        };
        drop(inner);
        if let Some(gone) = gone {
            gone.close();
        }
    }

    /// Keeps a stream till then; the one that has to go for it.
    fn park(
        self: &Arc<Self>,
        inner: &mut Inner,
        id: u128,
        until: Instant,
        runtime: &Handle,
    ) -> Option<Arc<Flow>> {
        let turn = inner.next_count();
        let table = Arc::downgrade(self);
        let expires = async move {
            tokio::time::sleep_until(until).await;
            if let Some(table) = table.upgrade() {
                table.expire(id, turn);
            }
        };
        let place = inner.flows.get_mut(&id)?;
        place.parked = Some(Parked { turn, timer: runtime.spawn(expires).abort_handle() });
        inner.parked.insert(turn, id);
        if inner.parked.len() <= self.settings.parked {
            return None;
        }
        let oldest = inner.parked.first_key_value().map(|(_, id)| *id)?;
        inner.remove(oldest)
    }

    fn expire(&self, id: u128, turn: u64) {
        let mut inner = self.lock();
        let parked = inner.flows.get(&id).and_then(|place| place.parked.as_ref());
        if parked.is_some_and(|parked| parked.turn == turn) {
            let gone = inner.remove(id);
            drop(inner);
            if let Some(gone) = gone {
                gone.close();
            }
        }
    }

    /// How many streams there are, and how many of them nobody reads.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.flows.len(), inner.parked.len())
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("settings", &self.settings).finish_non_exhaustive()
    }
}
