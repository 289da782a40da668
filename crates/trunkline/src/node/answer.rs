//! The answer to one call by value: given exactly once, whatever becomes of the handler.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use pin_project_lite::pin_project;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::chain::Chain;
use super::current;
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

    /// Runs a part of the handler for this call.
    #[inline]
    fn enter<T>(&mut self, run: impl FnOnce() -> T) -> T {
        self.begun = true;
        current::for_call(Some(self.deadline), &mut self.chain, run)
    }

    fn answer(mut self, result: Result<R>) {
        let failed = result.is_err();
        let late = self.sender.take().is_some_and(|sender| sender.send(result).is_err());
        count(failed, late);
    }

    /// Whether nobody waited any more before the handler was begun: then it is not.
    #[inline]
    fn is_over(&self) -> bool {
        let over = !self.begun && self.sender.as_ref().is_none_or(oneshot::Sender::is_closed);
        if over {
            count(false, true);
        }
        over
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
                service.figures.rare().failed.add();
            }
            if late {
                service.figures.rare().late.add();
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
    }
}

/// The circumstances of a call by value, for a method that wants them.
pub fn context<R>(ticket: &Option<Ticket<R>>, service: &'static str, method: &'static str) -> Context {
    let deadline = ticket.as_ref().map(|ticket| ticket.deadline);
    Context { names: Names::Static(service, method), ..Context::local(deadline) }
}

/// Runs a method for a call, or for a notify, which has no ticket.
#[inline]
pub fn answering<F, R, E>(ticket: Option<Ticket<R>>, method: F) -> Answering<F, R>
where
    F: Future<Output = Result<R, E>>,
    E: Into<Status>,
{
    Answering { method, ticket }
}

/// Runs a plain `fn` for a call or a notify.
#[inline]
pub fn answer<R, E: Into<Status>>(ticket: Option<Ticket<R>>, method: impl FnOnce() -> Result<R, E>) {
    match ticket {
        None => end_notify(method().is_err()),
        Some(ticket) if ticket.is_over() => {}
        Some(mut ticket) => {
            let result = ticket.enter(method);
            ticket.answer(result.map_err(Into::into));
        }
    }
}

fn end_notify(failed: bool) {
    if failed {
        count(true, false);
    }
}

impl<F, R, E> Future for Answering<F, R>
where
    F: Future<Output = Result<R, E>>,
    E: Into<Status>,
{
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = self.project();
        let method = this.method;
        let Some(ticket) = this.ticket else {
            return method.poll(cx).map(|result| end_notify(result.is_err()));
        };
        if ticket.is_over() {
            return Poll::Ready(());
        }
        let Poll::Ready(result) = ticket.enter(|| method.poll(cx)) else { return ticket.poll_gone(cx) };
        if let Some(ticket) = this.ticket.take() {
            ticket.answer(result.map_err(Into::into));
        }
        Poll::Ready(())
    }
}
