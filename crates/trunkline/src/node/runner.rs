//! What a service's task does: it takes messages, runs their handlers as its mode says, and minds commands.
//!
//! All handlers of a service that is not parallel are polled by the one task, so no two of them run at once, and a
//! handler that awaits lets the next message in by returning. A handler that is ready at once costs no allocation: its
//! future is written over the last one's.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

use super::core::Core;
use super::current;
use super::mailbox::{Command, Envelope, Message, Shared};
use super::queue::Next;
use super::view::{HandlerView, RunningView};
use crate::net::pending::Pending;
use crate::{Result, Status};

/// After so many messages the other tasks of the thread have their turn.
const TURN: usize = 128;

/// One in so many handlers is timed.
const SAMPLED: u64 = 64;

/// The largest future that is kept for the next message while the service sleeps, in bytes.
const KEPT: usize = 256;

/// Why a service's instance ends.
#[derive(Debug)]
pub(super) enum End {
    /// It was told to stop, and has nothing left; or its time for that is over.
    Stopped(Vec<oneshot::Sender<()>>),
    /// It was told to begin anew.
    Restart(Option<oneshot::Sender<Result<()>>>),
}

/// One instance of a service at work.
pub(super) struct Runner<'s, M, H, F> {
    shared: &'s Shared<M>,
    service: Option<Arc<Core>>,
    /// Makes the future that works on a message.
    handle: H,
    /// Which service a handler waits for that is not polled here; 0 for none.
    elsewhere: Option<fn(&F) -> u64>,
    batch: VecDeque<Envelope<M>>,
    spare: Option<Pin<Box<F>>>,
    /// None while no handler waits: most services are idle most of the time.
    waiting: Option<Box<Pending<(), Handler<F>>>>,
    count: usize,
    settings: &'s RunnerSettings,
    ending: Option<Box<Ending>>,
}

/// An instance that takes no more messages, or only those that are there.
struct Ending {
    /// It is to be made anew, and who wants to know.
    restart: bool,
    restarted: Option<oneshot::Sender<Result<()>>>,
    stopped: Vec<oneshot::Sender<()>>,
    timer: Pin<Box<Sleep>>,
}

/// A handler that has begun and waits.
struct Handler<F> {
    future: Pin<Box<F>>,
    since: Instant,
    timed: bool,
    /// The service whose answer it waits for; 0 for none.
    waits_for: u64,
}

/// What came of polling a handler.
enum Polled {
    Ended,
    Panicked,
}

impl<'s, M, H, F> Runner<'s, M, H, F>
where
    M: Message,
    H: Fn(Envelope<M>) -> F,
    F: Future<Output = ()>,
{
    pub(super) fn new(shared: &'s Shared<M>, settings: &'s RunnerSettings, handle: H) -> Self {
        Self {
            shared,
            service: Some(Arc::clone(&shared.core)),
            handle,
            elsewhere: None,
            batch: VecDeque::new(),
            spare: None,
            waiting: None,
            count: 0,
            settings,
            ending: None,
        }
    }

    /// For handlers that have tasks of their own: which service one waits for is asked of it.
    pub(super) fn with_handlers_elsewhere(mut self, waits_for: fn(&F) -> u64) -> Self {
        self.elsewhere = Some(waits_for);
        self
    }

    /// A turn: what was woken goes on, messages are begun, until there is nothing to do or others want the thread.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let mut service = self.service.take();
        let polled = current::turn(&mut service, || self.poll_turn(cx));
        self.service = service;
        polled
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let limit = if self.shared.core.is_serial() { 1 } else { self.settings.in_flight };
        for _ in 0..TURN {
            if self.count > 0 {
                self.poll_waiting(cx);
            }
            let restarting = self.ending.as_ref().is_some_and(|ending| ending.restart);
            if restarting && self.count == 0 {
                return Poll::Ready(self.end());
            }
            let takes = self.count < limit && !restarting;
            if takes && let Some(envelope) = self.batch.pop_front() {
                self.shared.queue.begun(self.batch.len());
                self.begin(envelope);
                continue;
            }
            match self.shared.queue.next(&mut self.batch, takes, self.count == 0, cx.waker()) {
                Next::Batch => {}
                Next::Message(envelope) => self.begin(envelope),
                Next::Command(command) => self.obey(command),
                Next::Drained => return Poll::Ready(self.end()),
                Next::Asleep => return self.sleep(cx),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Nothing to do now. Memory that a burst has taken is given back.
    fn sleep(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if let Some(ending) = &mut self.ending
            && ending.timer.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(self.end());
        }
        if self.count == 0 {
            if size_of::<F>() > KEPT {
                self.spare = None;
            }
            self.waiting = None;
        }
        Poll::Pending
    }

    /// The instance is over: what waits in it is dropped with it.
    fn end(&mut self) -> End {
        self.shared.queue.put_back(&mut self.batch);
        self.shared.core.figures.waiting.set(0);
        match self.ending.take() {
            Some(ending) if ending.restart => End::Restart(ending.restarted),
            ending => End::Stopped(ending.map(|ending| ending.stopped).unwrap_or_default()),
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Stop(done) => {
                let ending = self.ending.get_or_insert_with(|| Ending::new(self.settings.grace));
                ending.restart = false;
                ending.restarted = None;
                ending.stopped.extend(done);
            }
            Command::Restart(done) if !self.settings.supervised => {
                let text =
                    format!("{} is not supervised: nothing says how it is made", self.shared.core.identity);
                drop(done.send(Err(Status::new(crate::Code::Unsupported, text))));
            }
            Command::Restart(done) => self.restart(Some(done)),
            Command::View(wanted) => drop(wanted.send(self.view())),
        }
    }

    fn restart(&mut self, done: Option<oneshot::Sender<Result<()>>>) {
        if self.ending.is_none() {
            let ending = self.ending.insert(Ending::new(self.settings.grace));
            (ending.restart, ending.restarted) = (true, done);
        } else if let Some(done) = done {
            let text = format!("{} is being restarted, or stops", self.shared.core.identity);
            drop(done.send(Err(Status::new(crate::Code::Unavailable, text))));
        }
    }

    /// Begins a message, and polls its handler once on the spot.
    fn begin(&mut self, envelope: Envelope<M>) {
        let figures = &self.shared.core.figures;
        let number = figures.handled.get();
        figures.handled.set(number.wrapping_add(1));
        let timed = number.is_multiple_of(SAMPLED);
        let since = timed.then(Instant::now);
        let handle = &self.handle;
        let spare = &mut self.spare;
        // The making of the future is the user's code as well, where a method is not async.
        let made = catch_unwind(AssertUnwindSafe(|| {
            let future = handle(envelope);
            match spare {
                Some(spare) => spare.as_mut().set(future),
                none => *none = Some(Box::pin(future)),
            }
        }));
        if let Err(panic) = made {
            self.spare = None;
            return self.panicked(&*panic);
        }
        let Some(mut future) = self.spare.take() else { return };
        match poll_caught(&mut future, &mut Context::from_waker(Waker::noop()), &self.shared.core) {
            Poll::Ready(Polled::Ended) => {
                self.spare = Some(future);
                if let Some(since) = since {
                    figures.took(since.elapsed());
                }
            }
            Poll::Ready(Polled::Panicked) => self.has_panicked(),
            Poll::Pending => {
                let waits_for = current::take_waits_for();
                let since = since.unwrap_or_else(Instant::now);
                let waiting = self.waiting.get_or_insert_default();
                waiting.insert((), Handler { future, since, timed, waits_for });
                self.set_count(self.count + 1);
            }
        }
    }

    /// Goes on with what was woken.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) {
        for _ in 0..TURN {
            let core = &self.shared.core;
            let Some(waiting) = &mut self.waiting else { return };
            let polled = waiting.poll_next(cx, |handler, cx| {
                let polled = poll_caught(&mut handler.future, cx, core);
                if polled.is_pending() {
                    handler.waits_for = current::take_waits_for();
                } else if handler.timed {
                    core.figures.took(handler.since.elapsed());
                }
                polled
            });
            let Poll::Ready(((), polled)) = polled else { return };
            self.set_count(self.count - 1);
            if let Polled::Panicked = polled {
                self.has_panicked();
            }
            if self.count == 0 {
                return;
            }
        }
        cx.waker().wake_by_ref();
    }

    fn set_count(&mut self, count: usize) {
        self.count = count;
        self.shared.core.figures.waiting.set(u64::try_from(count).unwrap_or(u64::MAX));
    }

    fn panicked(&mut self, panic: &(dyn std::any::Any + Send)) {
        log_panic(&self.shared.core, panic);
        self.has_panicked();
    }

    fn has_panicked(&mut self) {
        if self.settings.supervised {
            self.restart(None);
        }
    }

    fn view(&self) -> RunningView {
        let handlers = self.waiting.iter().flat_map(|waiting| waiting.futures()).map(|handler| HandlerView {
            running_ms: u64::try_from(handler.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            waits_for: None,
            handle: self.elsewhere.map_or(handler.waits_for, |ask| ask(&handler.future)),
        });
        RunningView(handlers.collect())
    }
}

/// What a runner has to know of its service.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunnerSettings {
    pub(super) in_flight: usize,
    pub(super) supervised: bool,
    pub(super) grace: std::time::Duration,
}

impl Ending {
    fn new(grace: std::time::Duration) -> Box<Self> {
        let timer = Box::pin(tokio::time::sleep(grace));
        Box::new(Self { restart: false, restarted: None, stopped: Vec::new(), timer })
    }
}

fn poll_caught<F: Future<Output = ()>>(
    future: &mut Pin<Box<F>>,
    cx: &mut Context<'_>,
    core: &Core,
) -> Poll<Polled> {
    match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Ready(())) => Poll::Ready(Polled::Ended),
        Ok(Poll::Pending) => Poll::Pending,
        Err(panic) => {
            log_panic(core, &*panic);
            Poll::Ready(Polled::Panicked)
        }
    }
}

#[cold]
pub(super) fn log_panic(core: &Core, panic: &(dyn std::any::Any + Send)) {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or_default();
    core.figures.rare().panics.add();
    core.figures.rare().failed.add();
    tracing::error!(service = %core.identity, panic = text.escape_debug().to_string(), "a handler panicked");
}
