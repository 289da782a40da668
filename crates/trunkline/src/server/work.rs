//! A call that is being answered: its future, and what is kept to write its reply.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use trunkline_wire::{CallHead, Compression, Failure, Pairs, Refusal, Serialization};

use super::Core;
use super::router::Router;
use crate::metadata::SERVER_TIMEOUT;
use crate::net::buffers::share;
use crate::service::{Answer, BoxFuture, ReplyBuf, Request, Service};
use crate::{Call, Code, MethodId, Name, Reply, Result, Status};

/// A future that answers a call, in the connection's own task or in one of its own.
pub(crate) enum Work<'a> {
    Here(BoxFuture<'a>),
    Spawned(Spawned),
}

/// A call in a task of its own. The task ends when nobody waits for it any more, but for a one-way call: that was
/// not waited for at any time.
pub(crate) struct Spawned {
    task: JoinHandle<Result<Reply>>,
    outlives: bool,
}

/// How many one-way calls of a server may go on when their connections are gone.
pub(crate) const OUTLIVING: usize = 65_536;

impl Spawned {
    /// Begins the call.
    pub(crate) fn begin<S: Service>(core: &Arc<Core<S>>, call: Call) -> Self {
        let core = Arc::clone(core);
        // A server that stops waits for these calls as it waits for connections.
        let place = call.one_way.then(|| Arc::clone(&core.outliving).try_acquire_owned().ok()).flatten();
        let outlives = place.map(|place| (place, core.drain.watch()));
        Self {
            outlives: outlives.is_some(),
            task: tokio::spawn(async move {
                let _outlives = outlives;
                core.stack.call(call).await
            }),
        }
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if !self.outlives {
            self.task.abort();
        }
    }
}

impl Work<'_> {
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply>> {
        match self {
            Self::Here(future) => future.as_mut().poll(cx),
            Self::Spawned(task) => Pin::new(&mut task.task).poll(cx).map(|result| {
                result.unwrap_or_else(|_| Err(Status::new(Code::Internal, "the call's task was stopped")))
            }),
        }
    }
}

/// What is kept of a call to write its reply.
pub(crate) struct ReplyTo {
    pub(crate) id: u64,
    pub(crate) compression: Compression,
    pub(crate) one_way: bool,
    /// How many bytes of memory the call's body took.
    pub(crate) held: usize,
    note: u64,
    serialization: Serialization,
    method: Option<MethodId>,
    /// The names as the caller wrote them, where they are not exactly the method's.
    names: Option<Box<(Bytes, Bytes)>>,
}

impl ReplyTo {
    /// `held` bytes of memory are the call's body; `exact` is the method whose names the caller wrote letter by letter.
    pub(crate) fn new(head: &CallHead<'_>, exact: Option<MethodId>, held: usize, batch: &Bytes) -> Self {
        let to = match exact {
            Some(method) => Self::of(head, Some(method), None),
            None => Self::as_sent(head, batch),
        };
        Self { held, ..to }
    }

    /// With the names as the caller wrote them.
    pub(crate) fn as_sent(head: &CallHead<'_>, batch: &Bytes) -> Self {
        let names = (share(batch, head.service), share(batch, head.method));
        Self::of(head, None, Some(Box::new(names)))
    }

    fn of(head: &CallHead<'_>, method: Option<MethodId>, names: Option<Box<(Bytes, Bytes)>>) -> Self {
        Self {
            id: head.id,
            note: head.note,
            serialization: head.serialization,
            compression: head.compression,
            one_way: head.one_way,
            held: 0,
            method,
            names,
        }
    }

    /// The head that the session writes the reply to.
    pub(crate) fn head<'a>(&'a self, router: &'a Router) -> CallHead<'a> {
        let (service, method) = match (&self.names, self.method.and_then(|id| router.names(id))) {
            (Some(names), _) => (&*names.0, &*names.1),
            (None, Some(names)) => (names.service().as_bytes(), names.method().as_bytes()),
            (None, None) => (&[][..], &[][..]),
        };
        CallHead {
            id: self.id,
            service,
            method,
            again: false,
            metadata: Pairs::empty(),
            serialization: self.serialization,
            compression: self.compression,
            one_way: self.one_way,
            note: self.note,
            repeats: &[],
            uri: &[],
        }
    }
}

/// Answers on the spot; `None` where the service declines.
pub(crate) fn answer<S: Service>(
    stack: &S,
    request: &Request<'_>,
    out: &mut Vec<u8>,
    limit: usize,
) -> Option<Result<()>> {
    let mut reply = ReplyBuf::new(out, limit);
    match stack.answer(request, &mut reply) {
        Answer::Done(result) => Some(result.and_then(|()| reply.limit_check())),
        Answer::Declined => None,
    }
}

/// A name that no service has, as far as it is text.
pub(crate) fn name(bytes: &[u8]) -> Name {
    String::from_utf8_lossy(bytes).into_owned().into()
}

/// The time that the caller gave the call, as rpcx says it; a text that is no number says nothing.
pub(crate) fn deadline(metadata: Pairs<'_>) -> Option<Instant> {
    let left: i64 = metadata.get(SERVER_TIMEOUT)?.parse().ok()?;
    Instant::now().checked_add(Duration::from_millis(u64::try_from(left).unwrap_or(0)))
}

/// A failure as a session writes it.
pub(crate) fn failure(status: &Status) -> Failure<'_> {
    Failure {
        message: status.message().as_bytes(),
        code: Some(status.wire_code()),
        details: status.details_bytes().map(|bytes| &**bytes),
    }
}

/// Why the session did not let a call through.
pub(crate) fn refusal(reason: Refusal) -> Status {
    match reason {
        Refusal::BodyTooLarge { got, limit } => Status::new(
            Code::TooLarge,
            format!(
                "the request's body of {got} bytes is over the limit of {limit} bytes \
                 (setting body_limit, flag --body-limit)"
            ),
        )
        .not_begun(),
        _ => Status::new(Code::InvalidInput, "the call was refused").not_begun(),
    }
}
