//! A handler that panics fails its own call. The text of the panic goes to the log, not to the caller.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use crate::layer::Layer;
use crate::service::{Answer, ReplyBuf, Request, Service};
use crate::{Call, Code, Reply, Result, Status};

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

impl<S: Service> Service for CatchPanic<S> {
    async fn call(&self, call: Call) -> Result<Reply> {
        let (service, method) = (call.context.service.clone(), call.context.method.clone());
        // A handler may panic before it returns a future, too: the call itself happens inside the first poll.
        let mut future = pin!(async { self.0.call(call).await });
        std::future::poll_fn(|cx| {
            catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)))
                .unwrap_or_else(|panic| Poll::Ready(Err(failure(&service, &method, &*panic))))
        })
        .await
    }

    fn answer(&self, request: &Request<'_>, reply: &mut ReplyBuf<'_>) -> Answer {
        catch_unwind(AssertUnwindSafe(|| self.0.answer(request, reply))).unwrap_or_else(|panic| {
            reply.clear();
            let service = String::from_utf8_lossy(request.head.service);
            let method = String::from_utf8_lossy(request.head.method);
            Answer::Done(Err(failure(&service, &method, &*panic)))
        })
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
