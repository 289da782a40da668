//! Messages that a server sends of its own accord, on their way to the connection.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use trunkline_wire::{PushHead, Serialization};

use crate::codec::Payload;
use crate::context::ConnectionInfo;
use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering};
use crate::{Code, Metadata, Name, Result, Status};

/// One message of the server's own.
#[derive(Debug, Clone)]
pub struct Push {
    /// The service path; may be empty.
    pub service: Name,
    /// The method; may be empty.
    pub method: Name,
    /// Metadata beside it.
    pub metadata: Metadata,
    /// How the body is serialised.
    pub serialization: Serialization,
    /// The body.
    pub body: Bytes,
}

impl Push {
    /// A message with this value as its body.
    ///
    /// # Errors
    /// The serialisation cannot carry the value.
    pub fn new<T: Payload>(
        service: impl Into<Name>,
        method: impl Into<Name>,
        serialization: Serialization,
        value: T,
    ) -> Result<Self> {
        let body = value.into_bytes(serialization)?;
        let (service, method, metadata) = (service.into(), method.into(), Metadata::new());
        Ok(Self { service, method, metadata, serialization, body })
    }

    /// The value in the body.
    ///
    /// # Errors
    /// The body is no such value: [`Code::InvalidInput`] with codec and field.
    pub fn decode<T: Payload>(&self) -> Result<T> {
        Ok(T::decode_bytes(self.serialization, self.body.clone())?)
    }

    /// What a client received, with what lies in `batch` shared and not copied.
    pub(crate) fn received(head: &PushHead<'_>, body: Bytes, share: impl FnOnce(&[u8]) -> Bytes) -> Self {
        let name = |bytes: &[u8]| Name::from(String::from_utf8_lossy(bytes).into_owned());
        Self {
            service: name(head.service),
            method: name(head.method),
            metadata: head.metadata.share(share),
            serialization: head.serialization,
            body,
        }
    }
}

/// The pushes of one connection that wait for their turn: at most 1,024, and none is added to 1 MiB of them; a
/// further one waits.
#[derive(Debug)]
pub(crate) struct PushQueue {
    /// Whether something may wait, or the connection was not yet asked to be woken: looked at before each reply and
    /// in each poll of the connection, without the lock.
    any: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Push>,
    /// The bytes of their bodies.
    bytes: usize,
    open: bool,
    connection: Option<Waker>,
    writers: Vec<Waker>,
}

/// How many pushes wait on a connection before their senders have to.
const WAITING: usize = if cfg!(all(test, trunkline_loom)) { 1 } else { 1024 };

/// How many bytes of pushes wait on a connection before their senders have to.
const WAITING_BYTES: usize = 1 << 20;

impl State {
    fn pop(&mut self) -> Option<(Push, Vec<Waker>)> {
        let push = self.waiting.pop_front()?;
        self.bytes = self.bytes.saturating_sub(push.body.len());
        Some((push, std::mem::take(&mut self.writers)))
    }
}

impl PushQueue {
    /// A queue whose connection is there.
    pub(crate) fn open() -> Self {
        let state = State { open: true, ..State::default() };
        Self { any: AtomicBool::new(true), state: Mutex::new(state) }
    }

    /// Whether there may be one.
    #[inline]
    pub(crate) fn may_have(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// The next push, if there is one now.
    pub(crate) fn try_next(&self) -> Option<Push> {
        if !self.may_have() {
            return None;
        }
        let (push, writers) = self.lock().pop()?;
        writers.into_iter().for_each(Waker::wake);
        Some(push)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next push, for the connection, which is woken when there is one. A connection's task is always the same
    /// one, so it registers once for each time that it is woken.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Push> {
        if !self.may_have() {
            return Poll::Pending;
        }
        let mut state = self.lock();
        match state.pop() {
            Some((push, writers)) => {
                drop(state);
                writers.into_iter().for_each(Waker::wake);
                Poll::Ready(push)
            }
            None => {
                self.any.store(false, Ordering::Release);
                match &mut state.connection {
                    Some(waker) => waker.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        }
    }

    pub(crate) fn poll_send(&self, cx: &mut Context<'_>, push: &mut Option<Push>) -> Poll<Result<()>> {
        let mut state = self.lock();
        if !state.open {
            return Poll::Ready(Err(Status::new(Code::Unavailable, "the caller is gone").not_begun()));
        }
        if state.waiting.len() >= WAITING || state.bytes >= WAITING_BYTES {
            if !state.writers.iter().any(|waker| waker.will_wake(cx.waker())) {
                state.writers.push(cx.waker().clone());
            }
            return Poll::Pending;
        }
        if let Some(push) = push.take() {
            state.bytes = state.bytes.saturating_add(push.body.len());
            state.waiting.push_back(push);
        }
        self.any.store(true, Ordering::Release);
        let connection = state.connection.take();
        drop(state);
        if let Some(connection) = connection {
            connection.wake();
        }
        Poll::Ready(Ok(()))
    }

    /// The connection is gone: whoever sends learns it.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.open = false;
        state.waiting.clear();
        state.bytes = 0;
        let writers = std::mem::take(&mut state.writers);
        drop(state);
        writers.into_iter().for_each(Waker::wake);
    }
}

/// Sends messages of the server's own over the connection that a call came on. It may outlive the call.
#[derive(Debug, Clone)]
pub struct Pusher(Arc<ConnectionInfo>);

impl Pusher {
    pub(crate) fn new(connection: Arc<ConnectionInfo>) -> Self {
        Self(connection)
    }

    /// Hands a message to the connection; waits while 1,024 of them or 1 MiB wait there. They keep their order, and go out
    /// before the reply of the call that sends them.
    ///
    /// # Errors
    /// The connection is gone: [`Code::Unavailable`].
    pub async fn push(&self, push: Push) -> Result<()> {
        let mut push = Some(push);
        std::future::poll_fn(|cx| self.0.pushes.poll_send(cx, &mut push)).await
    }
}
