//! A handler that panics fails its own call. The text of the panic goes to the log, not to the caller.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::call::Names;
use crate::layer::{Layer, Proceed};
use crate::service::{Answer, ReplyBuf, Request, Service};
use crate::{Call, Code, Reply, Result, Serialization, Status};

/// Makes [`CatchPanic`].
#[derive(Debug, Clone, Copy, Default)]
pub struct CatchPanicLayer;

/// See [`CatchPanicLayer`]. It stands on top, so that a panic in any layer below is caught too.
#[derive(Debug, Clone)]
pub struct CatchPanic<S>(S);

impl<S: Service> Layer<S> for CatchPanicLayer {
    type Service = CatchPanic<S>;

    fn layer(self, inner: S) -> CatchPanic<S> {
        CatchPanic(inner)
    }
}

pin_project! {
    /// The future of a call whose panic is caught.
    struct Caught<F> {
        #[pin]
        inner: Option<F>,
        names: Names,
    }
}

impl<F: Future<Output = Result<Reply>>> Future for Caught<F> {
    type Output = Result<Reply>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Reply>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        catch_unwind(AssertUnwindSafe(|| inner.poll(cx))).unwrap_or_else(|panic| {
            this.inner.set(None);
            Poll::Ready(Err(failure(this.names.service(), this.names.method(), &*panic)))
        })
    }
}

impl<S: Service> Service for CatchPanic<S> {
    fn call(&self, call: Call) -> impl Future<Output = Result<Reply>> + Send {
        let names = call.context.names.clone();
        // A handler may panic before it returns a future, too.
        match catch_unwind(AssertUnwindSafe(|| self.0.call(call))) {
            Ok(inner) => Proceed::with(Caught { inner: Some(inner), names }),
            Err(panic) => Proceed::refused(failure(names.service(), names.method(), &*panic)),
        }
    }

    fn answer(&self, request: &Request<'_>, reply: &mut ReplyBuf<'_>) -> Answer {
        catch_unwind(AssertUnwindSafe(|| self.0.answer(request, reply))).unwrap_or_else(|panic| {
            reply.clear();
            let service = String::from_utf8_lossy(request.head.service);
            let method = String::from_utf8_lossy(request.head.method);
            Answer::Done(Err(failure(&service, &method, &*panic)))
        })
    }

    fn serialization(&self) -> Serialization {
        self.0.serialization()
    }
}

fn failure(service: &str, method: &str, panic: &(dyn Any + Send)) -> Status {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a text");
    tracing::error!(service, method, panic = text.escape_debug().to_string(), "a handler panicked");
    Status::new(Code::Internal, "the service failed inside; see its log")
}
