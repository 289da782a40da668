//! The answer to one call by value: given exactly once, whatever becomes of the handler.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use pin_project_lite::pin_project;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::chain::Chain;
use super::current::{self, Scope};
use crate::call::Names;
use crate::{Code, Context, Result, Status};

/// Where the answer to a call goes, and what the call brought beside its argument. One that is dropped answers that the
/// service is gone. Only generated code holds it.
#[derive(Debug)]
pub struct Ticket<R> {
    sender: Option<oneshot::Sender<Result<R>>>,
    deadline: Instant,
    chain: Chain,
    begun: bool,
}

impl<R> Ticket<R> {
    pub(super) fn new(sender: oneshot::Sender<Result<R>>, deadline: Instant, chain: Chain) -> Self {
        Self { sender: Some(sender), deadline, chain, begun: false }
    }

    fn answer(mut self, result: Result<R>) {
        let failed = result.is_err();
        let late = self.sender.take().is_some_and(|sender| sender.send(result).is_err());
        count(failed, late);
    }

    /// Whether nobody waits any more. The handler is woken when that changes.
    fn poll_gone(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        self.sender.as_mut().map_or(Poll::Ready(()), |sender| sender.poll_closed(cx))
    }
}

impl<R> Drop for Ticket<R> {
    fn drop(&mut self) {
        if let Some(sender) = self.sender.take() {
            let status = dropped();
            let status = if self.begun || std::thread::panicking() { status } else { status.not_begun() };
            // Its caller may be gone as well.
            drop(sender.send(Err(status)));
        }
    }
}

/// The failure of a call whose handler, or whose service, went away with it.
#[cold]
pub(crate) fn dropped() -> Status {
    if std::thread::panicking() {
        Status::new(Code::Internal, "the service failed inside; see its log")
    } else {
        Status::new(Code::Unavailable, "the service stopped before it answered")
    }
}

fn count(failed: bool, late: bool) {
    if failed || late {
        current::with(|service| {
            let Some(service) = service else { return };
            if failed {
                service.figures.failed.add();
            }
            if late {
                service.figures.late.add();
            }
        });
    }
}

pin_project! {
    /// A handler at work: it ends with its answer, or when nobody wants that any more.
    #[derive(Debug)]
    pub struct Answering<F, R> {
        #[pin]
        method: F,
        ticket: Option<Ticket<R>>,
        scope: Scope,
    }
}

/// The circumstances of a call by value, for a method that wants them.
pub fn context<R>(ticket: &Option<Ticket<R>>, service: &'static str, method: &'static str) -> Context {
    let deadline = ticket.as_ref().map(|ticket| ticket.deadline);
    Context { names: Names::Static(service, method), ..Context::local(deadline) }
}

/// Runs a method for a call, or for a notify, which has no ticket.
pub fn answering<F, R, E>(ticket: Option<Ticket<R>>, method: F) -> Answering<F, R>
where
    F: Future<Output = Result<R, E>>,
    E: Into<Status>,
{
    let (ticket, scope) = begin(ticket);
    Answering { method, ticket, scope }
}

/// Runs a plain `fn` for a call or a notify.
pub fn answer<R, E: Into<Status>>(ticket: Option<Ticket<R>>, method: impl FnOnce() -> Result<R, E>) {
    let (ticket, mut scope) = begin(ticket);
    let result = scope.enter(method);
    end(ticket, result);
}

fn begin<R>(mut ticket: Option<Ticket<R>>) -> (Option<Ticket<R>>, Scope) {
    let scope = match &mut ticket {
        Some(ticket) => {
            ticket.begun = true;
            Scope::new(Some(ticket.deadline), std::mem::take(&mut ticket.chain))
        }
        None => Scope::default(),
    };
    (ticket, scope)
}

fn end<R, E: Into<Status>>(ticket: Option<Ticket<R>>, result: Result<R, E>) {
    match ticket {
        Some(ticket) => ticket.answer(result.map_err(Into::into)),
        None => count(result.is_err(), false),
    }
}

impl<F, R, E> Future for Answering<F, R>
where
    F: Future<Output = Result<R, E>>,
    E: Into<Status>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = self.project();
        let method = this.method;
        match this.scope.enter(|| method.poll(cx)) {
            Poll::Ready(result) => end(this.ticket.take(), result),
            Poll::Pending => match this.ticket {
                Some(ticket) => return ticket.poll_gone(cx),
                None => return Poll::Pending,
            },
        }
        Poll::Ready(())
    }
}
