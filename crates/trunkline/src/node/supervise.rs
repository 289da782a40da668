//! The life of a mailbox service: its instances one after the other, with pauses between them.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::chain::Chain;
use super::core::Core;
use super::current;
use super::deliver::Delivery;
use super::mailbox::{Command, Envelope, MailboxService, Message, Shared};
use super::queue::Next;
use super::runner::{End, Runner, RunnerSettings, log_panic};
use super::settings::{Mailbox, Mode, Remake, Restarts};
use super::view::RunningView;
use crate::{Code, Result, Service, Status, asked};

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
    let handle = |envelope| apart(Arc::clone(&shared.core), Arc::clone(&life.service), envelope);
    let mut runner = Runner::new(shared, &life.settings, handle);
    tokio::task::unconstrained(poll_fn(|cx| runner.poll(cx))).await
}

/// Works on what stood in the mailbox.
async fn work<S: MailboxService>(service: &S, envelope: Envelope<S::Message>) {
    let message = match envelope {
        Envelope::Message(message) => message,
        Envelope::Tick(tick) => tick.message(),
        Envelope::Raw(delivery) => return Box::pin(raw(service, *delivery)).await,
    };
    service.handle(message).await;
}

/// Works on a call that came through the codec.
async fn raw<S: Service>(service: &S, delivery: Delivery) {
    let Delivery { call, chain, slot } = delivery;
    let deadline = call.context.deadline;
    let work = Scoped { work: asked::call(service, call), deadline, chain };
    let result = match deadline {
        None => work.await,
        Some(deadline) => match tokio::time::timeout_at(deadline, work).await {
            Ok(result) => result,
            Err(_) => Err(Status::new(Code::DeadlineExceeded, "context deadline exceeded")),
        },
    };
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

/// Works on a message in a task of its own, which ends when nobody waits for it.
async fn apart<S: MailboxService>(core: Arc<Core>, service: Arc<S>, envelope: Envelope<S::Message>) {
    let mut core = Some(core);
    let mut work = Box::pin(async move { work(&*service, envelope).await });
    let task = poll_fn(move |cx| current::turn(&mut core, || work.as_mut().poll(cx)));
    let mut task = Apart(tokio::spawn(task));
    if let Err(error) = (&mut task.0).await
        && let Ok(panic) = error.try_into_panic()
    {
        resume_unwind(panic);
    }
}

struct Apart(tokio::task::JoinHandle<()>);

impl Drop for Apart {
    fn drop(&mut self) {
        self.0.abort();
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
