//! The life of a mailbox service: its instances one after the other, with pauses between them.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::chain::Chain;
use super::core::Core;
use super::current;
use super::deliver::{Delivery, Slot};
use super::mailbox::{Command, Envelope, MailboxService, Message, Shared};
use super::queue::Next;
use super::runner::{End, Runner, RunnerSettings, log_panic};
use super::settings::{Mailbox, Mode, Remake, Restarts};
use super::view::RunningView;
use crate::asked::{Asked, Outcome};
use crate::net::buffers;
use crate::service::{BoxFuture, ReplyBuf};
use crate::{Code, Reply, Result, Service, Status};

/// What a service's task has to know of it.
pub(super) struct Life<S> {
    service: Arc<S>,
    settings: RunnerSettings,
    supervision: Option<Box<Supervision<S>>>,
}

/// How a service is made anew. Most are not, and there may be many, so it has a place of its own.
struct Supervision<S> {
    remake: Remake<S>,
    pauses: Pauses,
}

impl<S> Life<S> {
    pub(super) fn new(mailbox: Mailbox<S>) -> Self {
        let settings = RunnerSettings {
            in_flight: mailbox.in_flight,
            supervised: mailbox.remake.is_some(),
            grace: mailbox.grace,
        };
        let supervision = mailbox.remake.map(|remake| {
            let pauses = Pauses { restarts: mailbox.restarts, count: 0, since: Instant::now() };
            Box::new(Supervision { remake, pauses })
        });
        Self { service: Arc::new(mailbox.service), settings, supervision }
    }
}

/// Answers what is left when a service's task ends, however it does.
struct Closing<M: Message>(Arc<Shared<M>>);

impl<M: Message> Drop for Closing<M> {
    fn drop(&mut self) {
        let core = &self.0.core;
        core.node.services.remove(core.identity.name(), core.identity.id());
        core.figures.waiting.set(0);
        drop(self.0.queue.close());
    }
}

/// The task of a service, from its start to its stop. What is rare is boxed: there may be many services.
pub(super) async fn live<S: MailboxService>(mut life: Life<S>, shared: Arc<Shared<S::Message>>) {
    let closing = Closing(shared);
    let stopped = loop {
        let end = if closing.0.core.mode == Mode::Parallel {
            Box::pin(parallel(&life, &closing.0)).await
        } else {
            one_by_one(&life, &closing.0).await
        };
        let done = match end {
            End::Stopped(stopped) => break stopped,
            End::Restart(done) => done,
        };
        match Box::pin(anew(&mut life, &closing.0, done.is_none())).await {
            Ok(next) => life.service = Arc::new(next),
            Err(stopped) => break stopped,
        }
        drop(done.map(|done| done.send(Ok(()))));
    };
    drop(life);
    drop(closing);
    for stopped in stopped {
        // Whoever asked may be gone.
        let _ = stopped.send(());
    }
}

/// One instance, until it stops or is to be made anew.
async fn one_by_one<S: MailboxService>(life: &Life<S>, shared: &Shared<S::Message>) -> End {
    let service = &*life.service;
    let mut runner = Runner::new(shared, &life.settings, |envelope| work(service, envelope));
    // It ends its turns itself.
    tokio::task::unconstrained(poll_fn(|cx| runner.poll(cx))).await
}

/// The same for one whose handlers have tasks of their own.
async fn parallel<S: MailboxService>(life: &Life<S>, shared: &Shared<S::Message>) -> End {
    let handle = |envelope| Apart::new(Arc::clone(&shared.core), Arc::clone(&life.service), envelope);
    let mut runner = Runner::new(shared, &life.settings, handle).with_handlers_elsewhere(Apart::waits_for);
    tokio::task::unconstrained(poll_fn(|cx| runner.poll(cx))).await
}

/// Works on what stood in the mailbox.
async fn work<S: MailboxService>(service: &S, envelope: Envelope<S::Message>) {
    let message = match envelope {
        Envelope::Message(message) => message,
        Envelope::Tick(tick) => tick.message(),
        Envelope::Raw(parcel) => {
            let Some(delivery) = parcel.open() else { return };
            return match begin_raw(service, delivery) {
                None => (),
                Some(waits) => Box::pin(waits.ended()).await,
            };
        }
    };
    service.handle(message).await;
}

/// Begins a call that came through the codec, and asks it once: most have ended then, and nothing has to be made to wait
/// for them.
fn begin_raw<S: Service>(service: &S, delivery: Delivery) -> Option<Waits<'_>> {
    let Delivery { call, mut chain, slot } = delivery;
    let deadline = call.context.deadline;
    let mut written = buffers::take_write();
    let limit = slot.as_ref().map_or(usize::MAX, Slot::limit);
    let mut asked = Asked::new(call, Some(ReplyBuf::new(&mut written, limit)));
    current::for_call(deadline, &mut chain, || service.start(&mut asked));
    let outcome = asked.outcome;
    let waits = match outcome {
        Outcome::Written => {
            slot.into_iter().for_each(|slot| slot.reply(&written));
            None
        }
        Outcome::Ended(result) => {
            end(slot, result);
            None
        }
        Outcome::Waits(work) => Some(Waits { work: Scoped { work, deadline, chain }, slot }),
    };
    buffers::give_write(written);
    waits
}

/// A call through the codec that was asked once.
struct Waits<'s> {
    work: Scoped<BoxFuture<'s>>,
    slot: Option<Slot>,
}

impl Waits<'_> {
    async fn ended(self) {
        let result = match self.work.deadline {
            None => self.work.await,
            Some(deadline) => match tokio::time::timeout_at(deadline, self.work).await {
                Ok(result) => result,
                Err(_) => Err(Status::new(Code::DeadlineExceeded, "context deadline exceeded")),
            },
        };
        end(self.slot, result);
    }
}

/// Ends a call that came through the codec.
fn end(slot: Option<Slot>, result: Result<Reply>) {
    if result.is_err() {
        current::with(|service| service.map(|service| service.figures.rare().failed.add()));
    }
    if let Some(slot) = slot {
        slot.answer(result);
    }
}

pin_project! {
    /// A handler that runs for a call.
    struct Scoped<F> {
        #[pin]
        work: F,
        deadline: Option<Instant>,
        chain: Chain,
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let work = this.work;
        current::for_call(*this.deadline, this.chain, || work.poll(cx))
    }
}

/// A message that is worked on in a task of its own, which ends when nobody waits for it.
struct Apart {
    task: JoinHandle<()>,
    /// The handle of the service that the handler waits for; 0 for none.
    waits_for: Arc<AtomicU64>,
}

impl Apart {
    fn new<S: MailboxService>(core: Arc<Core>, service: Arc<S>, envelope: Envelope<S::Message>) -> Self {
        let waits_for = Arc::<AtomicU64>::default();
        let told = Arc::clone(&waits_for);
        let mut core = Some(core);
        let mut work = Box::pin(async move { work(&*service, envelope).await });
        let task = poll_fn(move |cx| {
            let polled = current::turn(&mut core, || work.as_mut().poll(cx));
            told.store(current::take_waits_for(), Ordering::Relaxed);
            polled
        });
        Self { task: tokio::spawn(task), waits_for }
    }

    fn waits_for(&self) -> u64 {
        self.waits_for.load(Ordering::Relaxed)
    }
}

impl Future for Apart {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let ended = ready!(Pin::new(&mut self.task).poll(cx));
        if let Err(error) = ended
            && let Ok(panic) = error.try_into_panic()
        {
            resume_unwind(panic);
        }
        Poll::Ready(())
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Stopped = Vec<oneshot::Sender<()>>;

/// Makes the next instance, after a pause where the last one broke. Fails where the service is to stop.
async fn anew<S: MailboxService>(
    life: &mut Life<S>,
    shared: &Shared<S::Message>,
    mut broke: bool,
) -> Result<S, Stopped> {
    let Some(supervision) = &mut life.supervision else { return Err(Vec::new()) };
    loop {
        if broke {
            let Some(pause) = supervision.pauses.next() else {
                tracing::error!(service = %shared.core.identity, "restarted too often, so it stops");
                return Err(Vec::new());
            };
            pause_for(pause, shared).await?;
        }
        match catch_unwind(AssertUnwindSafe(|| (supervision.remake)(&life.service))) {
            Ok(next) => {
                shared.core.figures.rare().restarts.add();
                supervision.pauses.since = Instant::now();
                return Ok(next);
            }
            Err(panic) => {
                log_panic(&shared.core, &*panic);
                broke = true;
            }
        }
    }
}

/// Waits, and minds commands.
async fn pause_for<M: Message>(pause: Duration, shared: &Shared<M>) -> Result<(), Stopped> {
    let mut pause = Box::pin(tokio::time::sleep(pause));
    let mut none = VecDeque::new();
    poll_fn(|cx| {
        loop {
            match shared.queue.next(&mut none, false, true, cx.waker()) {
                Next::Command(Command::Stop(stopped)) => return Poll::Ready(Err(stopped)),
                Next::Command(Command::Restart(done)) => {
                    let text = format!("{} is being restarted", shared.core.identity);
                    drop(done.send(Err(Status::new(Code::Unavailable, text))));
                }
                Next::Command(Command::View(wanted)) => drop(wanted.send(RunningView::default())),
                Next::Drained => return Poll::Ready(Err(Vec::new())),
                Next::Batch | Next::Message(_) | Next::Asleep => break,
            }
        }
        pause.as_mut().poll(cx).map(Ok)
    })
    .await
}

/// The pauses before restarts.
struct Pauses {
    restarts: Restarts,
    count: u32,
    since: Instant,
}

impl Pauses {
    fn next(&mut self) -> Option<Duration> {
        if self.since.elapsed() > self.restarts.longest.saturating_mul(10) {
            self.count = 0;
        }
        if self.count >= self.restarts.most {
            return None;
        }
        let most =
            self.restarts.first.saturating_mul(2u32.saturating_pow(self.count)).min(self.restarts.longest);
        self.count += 1;
        Some(most.mul_f64(0.5 + crate::random::fraction() / 2.0))
    }
}
