//! What every call of a server passes first: a panic below is caught, and the server's policies look at the call.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::policy::{Facts, Policy};
use crate::call::Names;
use crate::service::{Answer, ReplyBuf, Request, Service};
use crate::{Call, Code, Reply, Result, Serialization, Status};

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

pin_project! {
    /// The future of a call behind policies. Without `inner` it was refused, or ended by a panic.
    struct Passing<'a, F, P: Policy> {
        #[pin]
        inner: Option<F>,
        guard: Option<P::Guard<'a>>,
        failure: Option<Status>,
        names: Names,
    }
}

impl<F: Future<Output = Result<Reply>>, P: Policy> Future for Passing<'_, F, P> {
    type Output = Result<Reply>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Reply>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else {
            return this.failure.take().map_or(Poll::Pending, |failure| Poll::Ready(Err(failure)));
        };
        let result = match catch_unwind(AssertUnwindSafe(|| inner.poll(cx))) {
            Ok(Poll::Ready(result)) => result,
            Ok(Poll::Pending) => {
                this.guard.as_mut().into_iter().for_each(P::waits);
                return Poll::Pending;
            }
            Err(panic) => {
                this.inner.set(None);
                Err(panicked(this.names.service(), this.names.method(), &*panic))
            }
        };
        if let Some(guard) = this.guard.take() {
            P::ended(guard, result.is_err());
        }
        Poll::Ready(result)
    }
}

impl<S: Service, P: Policy> Service for Guarded<S, P> {
    fn call(&self, call: Call) -> impl Future<Output = Result<Reply>> + Send {
        let names = call.context.names.clone();
        let guard = match self.policies.begin(&Facts::from(&call)) {
            Ok(guard) => guard,
            Err(status) => return Passing::<_, P> { inner: None, guard: None, failure: Some(status), names },
        };
        // A handler may panic before it returns a future, too.
        match catch_unwind(AssertUnwindSafe(|| self.inner.call(call))) {
            Ok(inner) => Passing { inner: Some(inner), guard: Some(guard), failure: None, names },
            Err(panic) => {
                P::ended(guard, true);
                let failure = panicked(names.service(), names.method(), &*panic);
                Passing { inner: None, guard: None, failure: Some(failure), names }
            }
        }
    }

    fn answer(&self, request: &Request<'_>, reply: &mut ReplyBuf<'_>) -> Answer {
        let guard = match self.policies.begin(&Facts::from(request)) {
            Ok(guard) => guard,
            Err(status) => return Answer::Done(Err(status)),
        };
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
