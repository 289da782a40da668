//! What every call of a server passes first: a panic below is caught, and the server's policies look at the call.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::policy::{Facts, Policy};
use crate::asked::{self, Outcome};
use crate::call::Names;
use crate::service::{Answer, BoxFuture, ReplyBuf, Request, Service};
use crate::{Asked, Call, Code, Reply, Result, Serialization, Status};

/// A service behind policies. A handler that panics fails its own call; the text of the panic goes to
/// the log, not to the caller.
#[derive(Debug, Clone)]
pub struct Guarded<S, P> {
    inner: S,
    policies: P,
}

impl<S: Service, P: Policy> Guarded<S, P> {
    /// Puts the policies before the service.
    pub fn new(inner: S, policies: P) -> Self {
        Self { inner, policies }
    }
}

/// The future of a call behind policies, which has had to wait. Without `inner` it has ended.
struct Passing<'a, P: Policy> {
    inner: Option<BoxFuture<'a>>,
    guard: Option<P::Guard<'a>>,
    names: Names,
}

/// Nothing of it is pinned but what is boxed.
impl<P: Policy> Unpin for Passing<'_, P> {}

impl<P: Policy> Future for Passing<'_, P> {
    type Output = Result<Reply>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Reply>> {
        let Some(inner) = &mut self.inner else { return Poll::Pending };
        let result = match catch_unwind(AssertUnwindSafe(|| inner.as_mut().poll(cx))) {
            Ok(polled) => ready!(polled),
            Err(panic) => Err(panicked(self.names.service(), self.names.method(), &*panic)),
        };
        self.inner = None;
        if let Some(guard) = self.guard.take() {
            P::ended(guard, result.is_err());
        }
        Poll::Ready(result)
    }
}

impl<S: Service, P: Policy> Service for Guarded<S, P> {
    fn call(&self, call: Call) -> impl Future<Output = Result<Reply>> + Send {
        asked::call(self, call)
    }

    #[inline]
    fn start<'a>(&'a self, asked: &mut Asked<'_, 'a>) {
        let facts = Facts::from(asked.call());
        let guard = self.policies.begin(&facts);
        if let Err(status) = self.policies.admit(&facts, &guard) {
            P::ended(guard, true);
            return asked.end(Err(status));
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.inner.start(asked))) {
            let status = panicked(asked.call().service(), asked.call().method(), &*panic);
            asked.end(Err(status));
        }
        match &asked.outcome {
            Outcome::Written | Outcome::Ended(Ok(_)) => P::ended(guard, false),
            Outcome::Ended(Err(_)) => P::ended(guard, true),
            Outcome::Waits(_) => {
                let names = asked.call.context.names.clone();
                let guard = Some(P::waits(guard));
                asked.wrap(|inner| Passing::<P> { inner: Some(inner), guard, names });
            }
        }
    }

    fn answer(&self, request: &Request<'_>, reply: &mut ReplyBuf<'_>) -> Answer {
        let facts = Facts::from(request);
        let guard = self.policies.begin(&facts);
        if let Err(status) = self.policies.admit(&facts, &guard) {
            P::ended(guard, true);
            return Answer::Done(Err(status));
        }
        let answer = catch_unwind(AssertUnwindSafe(|| self.inner.answer(request, reply)));
        let result = match answer {
            Ok(Answer::Done(result)) => result,
            Ok(Answer::Declined) => {
                P::declined(guard);
                return Answer::Declined;
            }
            Err(panic) => {
                reply.clear();
                let service = String::from_utf8_lossy(request.head.service);
                let method = String::from_utf8_lossy(request.head.method);
                Err(panicked(&service, &method, &*panic))
            }
        };
        P::ended(guard, result.is_err());
        Answer::Done(result)
    }

    fn serialization(&self) -> Serialization {
        self.inner.serialization()
    }
}

#[cold]
fn panicked(service: &str, method: &str, panic: &(dyn Any + Send)) -> Status {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a text");
    tracing::error!(service, method, panic = text.escape_debug().to_string(), "a handler panicked");
    Status::new(Code::Internal, "the service failed inside; see its log")
}
