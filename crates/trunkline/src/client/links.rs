//! The connections of a channel as its callers see them, under one lock: a call takes that once to begin and once for its
//! answer, and nothing else that is shared.

use std::mem;
use std::ops::{Deref, DerefMut};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;
use trunkline_wire::{CallFrame, Compression, Serialization, Session};

use super::calls::{Calls, Outcome};
use super::outlet::Outlet;
use super::settings::{Prepared, Settings};
use crate::call::Names;
use crate::metadata::SERVER_TIMEOUT;
use crate::net::buffers::{self, BATCH};
use crate::{Body, BodyStream, Call, Code, Reply, Result};

/// How many bytes of calls wait to be written before a further call has to wait itself.
pub(crate) const WRITE_AHEAD: usize = 1 << 20;

/// The same for calls with bodies of at most [`SMALL`] bytes, as long as the server takes what is written and it is only
/// not the turn of the connection's task: a call that waits takes more memory than these do when they are written.
const SMALL_AHEAD: usize = 16 << 20;
const SMALL: usize = 1 << 10;

/// The connections of a channel: the one that new calls go to, and those whose last calls have not ended.
pub(crate) struct Links<W> {
    pub(crate) settings: Settings,
    all: Mutex<All<W>>,
}

struct All<W> {
    /// New calls go to it. Before the first one it is one that takes none.
    newest: State<W>,
    /// Those before it whose tasks run, or whose last answers were not asked for.
    older: Vec<State<W>>,
    /// Stands for one that is gone: it takes no calls and has none.
    none: State<W>,
}

/// What the callers of a connection and its task share.
pub(crate) struct State<W> {
    number: u64,
    pub(super) session: W,
    pub(crate) out: Vec<u8>,
    pub(super) calls: Calls,
    /// What the last plain call said, where that is constant: the session can say it again.
    last: Option<(Names, Serialization)>,
    /// The connection's task, where it sleeps and has to be woken for what is in `out`.
    pub(super) task: Option<Waker>,
    pub(super) outlet: Outlet,
    pub(super) outflows: Vec<(u64, BodyStream)>,
    /// No new calls: the server will stop, the channel is gone, or the connection is.
    pub(super) closed: bool,
    /// Its [`Link`](super::link::Link) is gone: it is needed until the last answer was asked for.
    left: bool,
    /// The server has said something.
    pub(super) heard: bool,
    /// The server has not taken all that was written when it was looked at last.
    pub(super) stuck: bool,
    /// When the connection's task was polled last, or a call was begun while it slept.
    pub(super) now: Instant,
}

/// When a call ends that says nothing itself.
#[derive(Clone, Copy)]
pub(crate) enum Usual {
    /// So long after it was begun.
    After(Duration),
    At(Instant),
}

/// Whether one more call can be written.
pub(super) enum Place {
    Free,
    Full,
    Closed,
}

/// Where a call is: the number of its connection, and its id there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallAt {
    pub(super) link: u64,
    pub(super) id: u64,
}

/// A call is on its way there, or was not begun and may be begun elsewhere.
pub(crate) enum Begun {
    Yes(CallAt),
    /// The connection takes no new calls.
    Elsewhere,
    /// The server does not take what was written so far: see [`Link::room`](super::link::Link::room).
    Later,
}

/// One connection, while all are locked.
pub(crate) struct Locked<'a, W> {
    all: MutexGuard<'a, All<W>>,
    number: u64,
}

impl<W> Deref for Locked<'_, W> {
    type Target = State<W>;

    fn deref(&self) -> &State<W> {
        let All { newest, older, none } = &*self.all;
        if newest.number == self.number {
            return newest;
        }
        older.iter().find(|state| state.number == self.number).unwrap_or(none)
    }
}

impl<W> DerefMut for Locked<'_, W> {
    fn deref_mut(&mut self) -> &mut State<W> {
        self.all.get_mut(self.number)
    }
}

impl<W> Locked<'_, W> {
    /// A call or a group has ended and was asked for: lets go of all, and does what is to be done if it was the last one.
    pub(super) fn finish(mut self) {
        let settled = if self.closed { self.all.settle(self.number) } else { (None, None) };
        drop(self);
        finish(settled);
    }
}

/// Whom to wake, and what is to be dropped where no lock is held.
type Settled<W> = (Option<Waker>, Option<State<W>>);

impl<W> All<W> {
    #[inline(always)]
    fn get_mut(&mut self, number: u64) -> &mut State<W> {
        if self.newest.number == number { &mut self.newest } else { self.older(number) }
    }

    #[cold]
    fn older(&mut self, number: u64) -> &mut State<W> {
        let Self { older, none, .. } = self;
        older.iter_mut().find(|state| state.number == number).unwrap_or(none)
    }

    /// A call of a connection that takes no new ones has ended and was asked for. Where that was the last one its task has to
    /// be woken, and nobody needs it any more where its task is gone.
    #[cold]
    fn settle(&mut self, number: u64) -> Settled<W> {
        let state = self.get_mut(number);
        if !state.calls.is_empty() {
            return (None, None);
        }
        let task = state.task.take();
        // The newest one stays where it is until there is another.
        let index = self.older.iter().position(|state| state.number == number && state.left);
        (task, index.map(|index| self.older.swap_remove(index)))
    }
}

impl<W> Links<W> {
    fn lock(&self) -> MutexGuard<'_, All<W>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody but the callers whose calls have not ended needs the connection any more.
    pub(super) fn leave(&self, number: u64) {
        let mut all = self.lock();
        let state = all.get_mut(number);
        (state.left, state.closed) = (true, true);
        state.outlet.close();
        let settled = all.settle(number);
        drop(all);
        drop(settled);
    }

    pub(super) fn get(&self, number: u64) -> Locked<'_, W> {
        Locked { all: self.lock(), number }
    }
}

impl<W: Session> Links<W> {
    /// None yet: a call finds no place.
    pub(crate) fn new(settings: Settings) -> Self {
        let none = || State { closed: true, left: true, ..State::new(0, W::client(&settings.limits), 0) };
        let all = Mutex::new(All { newest: none(), older: Vec::new(), none: none() });
        Self { settings, all }
    }

    /// A new connection, which new calls go to from now on; its number. Callers may send to `socket` themselves.
    pub(super) fn add(&self, socket: Option<OwnedFd>) -> u64 {
        let settings = &self.settings;
        let mut session = W::client(&settings.limits);
        let mut out = Vec::new();
        session.greet(&mut out);
        let mut all = self.lock();
        let number = all.newest.number.wrapping_add(1);
        let mut state = State { out, ..State::new(number, session, settings.calls) };
        state.outlet = Outlet::new(socket, state.now);
        let before = mem::replace(&mut all.newest, state);
        if before.left && before.calls.is_empty() {
            drop(all);
            drop(before);
        } else {
            all.older.push(before);
        }
        number
    }

    /// Puts a call into the write buffer of the connection of the moment; `waker` is woken when it has ended. What is left
    /// of a call that was begun is not looked at again.
    ///
    /// # Errors
    /// The wire cannot carry it, or too many calls are in flight. Nothing was begun.
    // Inlined: what comes out would be written in parts and read as a whole, which waits for the parts.
    #[inline(always)]
    pub(super) fn begin(&self, call: &mut Call, usual: Usual, waker: &Waker) -> Result<Begun> {
        let settings = &self.settings;
        let prepared = settings.prepare::<W>(call)?;
        let mut all = self.lock();
        let state = &mut all.newest;
        match state.place() {
            Place::Closed => return Ok(Begun::Elsewhere),
            Place::Full if !state.has_room_for_small(call) => return Ok(Begun::Later),
            Place::Full | Place::Free => {}
        }
        let deadline = call.context.deadline.unwrap_or_else(|| state.deadline(usual));
        let inserted = state.calls.insert(waker.clone(), deadline);
        let (id, sent) = if state.may_send(call, deadline) {
            state.send(settings, inserted, call, prepared.as_ref())?
        } else {
            (state.write(settings, inserted, call, prepared.as_ref())?, false)
        };
        let at = CallAt { link: state.number, id };
        let task = if sent { None } else { state.task.take() };
        drop(all);
        if let Some(task) = task {
            task.wake();
        }
        Ok(Begun::Yes(at))
    }

    /// How the call ended.
    #[inline(always)]
    pub(super) fn poll(&self, at: CallAt, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut all = self.lock();
        let state = all.get_mut(at.link);
        let outcome = std::task::ready!(state.calls.poll(at.id, cx));
        if state.closed {
            let settled = all.settle(at.link);
            drop(all);
            finish(settled);
        } else {
            drop(all);
        }
        let twice = || Err(self.settings.status::<W>(Code::Internal, "the call was asked for twice"));
        Poll::Ready(outcome.unwrap_or_else(twice))
    }

    /// Nobody waits for the call any more.
    pub(super) fn abandon(&self, at: CallAt) {
        abandon_all(self.get(at.link), &[at.id], |_| ());
    }
}

/// Wakes and drops what [`All::settle`] said. No lock is held.
fn finish<W>((task, gone): Settled<W>) {
    if let Some(task) = task {
        task.wake();
    }
    drop(gone);
}

/// Nobody waits for these calls any more; what `then` gives is dropped where no lock is held.
pub(super) fn abandon_all<W: Session, T>(
    mut locked: Locked<'_, W>,
    ids: &[u64],
    then: impl FnOnce(&mut State<W>) -> T,
) {
    let state = &mut *locked;
    let mut told = false;
    // Let go when the lock is free: a body may have readers and writers of its own.
    let mut outcomes = Vec::new();
    for &id in ids {
        let waits = state.calls.waits(id);
        outcomes.extend(state.calls.remove(id));
        state.outflows.retain(|(other, _)| *other != id);
        told |= waits && state.session.cancel(id, &mut state.out);
    }
    let then = then(state);
    let told = if told { state.task.take() } else { None };
    locked.finish();
    drop((outcomes, then));
    if let Some(task) = told {
        task.wake();
    }
}

impl<W: Session> State<W> {
    /// How many streamed requests wait for their turn, or for room.
    pub(crate) fn waiting_outflows(&self) -> usize {
        self.outflows.iter().filter(|(id, _)| !self.session.may_write(*id)).count()
    }

    /// Whether a call that has a slot can be sent by its caller. Where others are in flight it is written by the task, as
    /// is what does not wait for an answer: one write then takes many.
    #[inline(always)]
    fn may_send(&self, call: &Call, deadline: Instant) -> bool {
        self.calls.len() == 1
            && self.task.is_some()
            && self.out.is_empty()
            && self.outlet.takes(deadline)
            && !call.one_way
            && matches!(&call.body, Body::Full(body) if body.len() < BATCH)
    }

    /// Writes a call that has a slot, and sends it. Whether all of it went out: else the task has to be woken for the rest.
    ///
    /// # Errors
    /// As for [`write`](State::write).
    #[inline]
    fn send(
        &mut self,
        settings: &Settings,
        inserted: Option<u64>,
        call: &mut Call,
        prepared: Option<&Prepared>,
    ) -> Result<(u64, bool)> {
        // The thread's buffer is in the processor's caches, this connection's may not be.
        let own = mem::replace(&mut self.out, buffers::take_write());
        let written = self.write(settings, inserted, call, prepared);
        let buffer = mem::replace(&mut self.out, own);
        let rest = buffer.get(self.outlet.send(&buffer, self.now)..).unwrap_or_default();
        self.out.extend_from_slice(rest);
        let sent = rest.is_empty();
        buffers::give_write(buffer);
        written.map(|id| (id, sent))
    }

    /// Writes a call that has a slot.
    ///
    /// # Errors
    /// It has none, or the wire cannot carry it. Nothing was written, and it has no slot any more.
    #[inline(always)]
    pub(super) fn write(
        &mut self,
        settings: &Settings,
        inserted: Option<u64>,
        call: &mut Call,
        prepared: Option<&Prepared>,
    ) -> Result<u64> {
        let Some(id) = inserted else { return Err(settings.too_many::<W>()) };
        if prepared.is_none() && self.write_again(id, call) {
            return Ok(id);
        }
        self.write_anew(settings, id, call, prepared)
    }

    /// Writes a call that says what the last plain one did, if it does.
    #[inline(always)]
    fn write_again(&mut self, id: u64, call: &Call) -> bool {
        let (Some((names, serialization)), Body::Full(body)) = (&self.last, &call.body) else { return false };
        call.context.names.same(names)
            && call.serialization == *serialization
            && call.metadata().is_empty()
            && !call.one_way
            && self.session.call_again(id, body, &mut self.out)
    }

    #[inline(never)]
    fn write_anew(
        &mut self,
        settings: &Settings,
        id: u64,
        call: &mut Call,
        prepared: Option<&Prepared>,
    ) -> Result<u64> {
        let compressed = prepared.and_then(|prepared| prepared.compressed.as_deref());
        let timeout = prepared.and_then(|prepared| prepared.milliseconds.as_deref());
        let timeout = timeout.map(|text| [(SERVER_TIMEOUT, text)]);
        let (service, method) = match prepared.and_then(|prepared| prepared.lowered.as_ref()) {
            Some((service, method)) => (service.as_str(), method.as_str()),
            None => (call.service(), call.method()),
        };
        let (body, end) = match &call.body {
            Body::Full(body) => (compressed.unwrap_or(body), true),
            Body::Stream(_) => (&[][..], false),
        };
        let frame = CallFrame {
            id,
            service,
            method,
            metadata: call.metadata().pairs(),
            extra: timeout.as_ref().map(<[_; 1]>::as_slice).unwrap_or_default(),
            serialization: call.serialization,
            compression: if compressed.is_some() { Compression::Gzip } else { Compression::None },
            one_way: call.one_way,
            body,
            end,
        };
        if let Err(error) = self.session.call(&frame, &mut self.out) {
            self.calls.remove(id);
            return Err(settings.status::<W>(Code::Unsupported, error.to_string()).not_begun());
        }
        if frame.is_plain() {
            self.last = match &call.context.names {
                names @ Names::Static(..) => Some((names.clone(), call.serialization)),
                Names::Shared(_) => None,
            };
        }
        if call.one_way {
            // Nothing will answer: it is done when it is written.
            let _ = self.calls.end(id, Ok(Reply::default()));
        }
        if !end && let Body::Stream(stream) = mem::take(&mut call.body) {
            self.outflows.push((id, stream.detached()));
        }
        Ok(id)
    }
}

impl<W> State<W> {
    /// A connection that nothing was written to.
    fn new(number: u64, session: W, calls: usize) -> Self {
        let now = Instant::now();
        Self {
            number,
            session,
            out: Vec::new(),
            calls: Calls::new(calls),
            last: None,
            task: None,
            outlet: Outlet::new(None, now),
            outflows: Vec::new(),
            closed: false,
            left: false,
            heard: false,
            stuck: false,
            now,
        }
    }

    pub(super) fn place(&self) -> Place {
        if self.closed {
            Place::Closed
        } else if self.out.len() >= WRITE_AHEAD {
            Place::Full
        } else {
            Place::Free
        }
    }

    /// Whether a call is written although others wait to be.
    fn has_room_for_small(&self, call: &Call) -> bool {
        !self.stuck && call.body.known_length() <= SMALL && self.out.len() < SMALL_AHEAD
    }

    /// When a call ends that is begun now. While the task is awake the clock is not read: it did that in its last poll.
    fn deadline(&mut self, usual: Usual) -> Instant {
        match usual {
            Usual::At(deadline) => deadline,
            Usual::After(time) => {
                if self.task.is_some() {
                    self.now = Instant::now();
                }
                self.now + time
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may fail loudly")]

    use trunkline_wire::rpcx::Rpcx;

    use super::*;

    fn settings() -> Settings {
        Settings {
            limits: std::sync::Arc::default(),
            calls: 2,
            heartbeat: Duration::from_secs(5),
            lower_case: false,
            address: String::new(),
        }
    }

    fn begin(links: &Links<Rpcx>) -> Option<CallAt> {
        let mut call = Call::new("Echo", "Echo", Serialization::Raw, "hello");
        let usual = Usual::After(Duration::from_secs(1));
        match links.begin(&mut call, usual, Waker::noop()).unwrap() {
            Begun::Yes(at) => Some(at),
            Begun::Elsewhere | Begun::Later => None,
        }
    }

    fn poll(links: &Links<Rpcx>, at: CallAt) -> Poll<Outcome> {
        links.poll(at, &mut Context::from_waker(Waker::noop()))
    }

    /// Calls go to the newest connection; those of one before it are answered, though its task is gone, and with the last
    /// of them the connection is.
    #[test]
    fn a_connection_is_kept_for_its_last_answer() {
        let links = Links::<Rpcx>::new(settings());
        assert!(begin(&links).is_none(), "there is no connection yet");
        let first = links.add(None);
        let before = [begin(&links).unwrap(), begin(&links).unwrap()];
        let second = links.add(None);
        let after = begin(&links).unwrap();
        assert_eq!((before[0].link, after.link), (first, second));
        assert_eq!(before[0].id, after.id, "only the connection tells them apart");
        assert!(links.get(first).calls.end(before[0].id, Ok(Reply::default())).is_some());
        links.leave(first);
        assert!(poll(&links, after).is_pending(), "the answer is another one's");
        assert!(matches!(poll(&links, before[0]), Poll::Ready(Ok(_))));
        assert_eq!(links.lock().older.len(), 1, "one call is left");
        links.abandon(before[1]);
        assert_eq!(links.lock().older.len(), 0);
        assert!(matches!(poll(&links, before[1]), Poll::Ready(Err(_))));
        assert!(poll(&links, after).is_pending());
    }

    /// A connection that nobody needs when the next one comes is not kept.
    #[test]
    fn connections_that_are_lost_do_not_pile_up() {
        let links = Links::<Rpcx>::new(settings());
        for _ in 0..10 {
            let number = links.add(None);
            let at = begin(&links).unwrap();
            links.abandon(at);
            links.leave(number);
            assert!(begin(&links).is_none(), "it takes no calls any more");
            assert_eq!(links.lock().older.len(), 0);
        }
    }
}
