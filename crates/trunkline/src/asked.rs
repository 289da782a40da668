//! A call that is asked once, where it lies, before anything is made to wait for it.

use std::future::Future;
use std::task::{Context, Poll, Waker};

use crate::service::{BoxFuture, ReplyBuf};
use crate::{Call, Code, Reply, Result, Status};

/// A call that a server asks once, and what came of it; see [`Service::start`](crate::Service::start).
///
/// It is looked at and changed in one place from the connection to the handler: a call and its reply that are returned
/// from layer to layer are copied at each, and that was a fifth of what a request cost.
#[derive(Debug)]
pub struct Asked<'c, 'a> {
    pub(crate) call: Call,
    /// Where the body of a reply may be written: the end of the connection's write buffer.
    pub(crate) buffer: Option<ReplyBuf<'c>>,
    pub(crate) outcome: Outcome<'a>,
}

/// What came of a call that was asked once.
pub(crate) enum Outcome<'a> {
    /// It went well, and its reply, which has no metadata, is whole in the buffer.
    Written,
    /// It has ended, and whatever is in the buffer says nothing.
    Ended(Result<Reply>),
    /// It was asked with a waker that does nothing, so it has to be asked again.
    Waits(BoxFuture<'a>),
}

impl std::fmt::Debug for Outcome<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Written => "Written",
            Self::Ended(_) => "Ended",
            Self::Waits(_) => "Waits",
        })
    }
}

impl<'c, 'a> Asked<'c, 'a> {
    /// A call whose reply's body may be written to this buffer.
    #[inline]
    pub(crate) fn new(call: Call, buffer: Option<ReplyBuf<'c>>) -> Self {
        Self { call, buffer, outcome: Outcome::Written }
    }

    /// The call.
    #[must_use]
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// Takes the call, to hand it to something that wants it as a value; its names stay.
    #[must_use]
    pub fn take_call(&mut self) -> Call {
        self.call.take()
    }

    /// The call has ended.
    #[inline]
    pub fn end(&mut self, result: Result<Reply>) {
        self.outcome = Outcome::Ended(result);
    }

    /// Asks a future once. It ends the call now or later.
    #[inline]
    pub fn ask(&mut self, future: impl Future<Output = Result<Reply>> + Send + 'a) {
        let mut future = Box::pin(future);
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => self.end(result),
            Poll::Pending => self.outcome = Outcome::Waits(future),
        }
    }

    /// Puts a future around the one that the call waits for, where it waits.
    #[inline]
    pub(crate) fn wrap<F>(&mut self, around: impl FnOnce(BoxFuture<'a>) -> F)
    where
        F: Future<Output = Result<Reply>> + Send + 'a,
    {
        if let Outcome::Waits(_) = self.outcome
            && let Outcome::Waits(inner) = std::mem::replace(&mut self.outcome, Outcome::Written)
        {
            self.outcome = Outcome::Waits(Box::pin(around(inner)));
        }
    }
}

/// Makes a call through [`Service::start`](crate::Service::start), and waits for its end.
pub(crate) async fn call<S: crate::Service>(service: &S, call: Call) -> Result<Reply> {
    let mut asked = Asked::new(call, None);
    service.start(&mut asked);
    match asked.outcome {
        Outcome::Ended(result) => result,
        Outcome::Waits(future) => future.await,
        Outcome::Written => Err(written_nowhere()),
    }
}

/// A service that says it has written a reply although there was no buffer.
#[cold]
pub(crate) fn written_nowhere() -> Status {
    Status::new(Code::Internal, "the reply was written to a buffer that was not there")
}
