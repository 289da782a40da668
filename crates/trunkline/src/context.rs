//! What a handler may know about the call that it answers: time left, who calls, over which wire.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::time::Instant;

use crate::call::Names;
use crate::push::PushQueue;
use crate::{Metadata, Pusher, Trace};

/// Who is at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peer {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix socket; its caller has no address.
    Unix,
    /// The in-memory transport; the number tells connections apart.
    Memory(u64),
    /// The same process, without a connection.
    Local,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
            Self::Memory(number) => write!(f, "mem#{number}"),
            Self::Local => f.write_str("local"),
        }
    }
}

/// What is the same for all calls of a connection.
#[derive(Debug)]
pub(crate) struct ConnectionInfo {
    pub(crate) peer: Peer,
    pub(crate) wire: &'static str,
    /// Whether the wire carries messages of the server's own.
    pub(crate) can_push: bool,
    /// Whether replies go out frame by frame on the wire, and calls of names that nobody has reach the layers.
    pub(crate) can_resume: bool,
    /// The server stops: the peer makes its further calls elsewhere.
    pub(crate) leaving: AtomicBool,
    pub(crate) pushes: PushQueue,
}

/// Metadata that takes a word where there is none, as in most calls.
#[derive(Debug, Clone, Default)]
pub(crate) struct MaybeMetadata(Option<Box<Metadata>>);

impl MaybeMetadata {
    pub(crate) fn new(metadata: Metadata) -> Self {
        Self((!metadata.is_empty()).then(|| Box::new(metadata)))
    }

    pub(crate) fn into_inner(self) -> Metadata {
        self.0.map(|metadata| *metadata).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn get(&self) -> &Metadata {
        static NONE: Metadata = Metadata::new();
        self.0.as_deref().unwrap_or(&NONE)
    }
}

/// The circumstances of one call. Handlers that want it take `&Context` as their first argument.
///
/// When the call is cancelled, its deadline passes or its caller goes away, the handler's future is dropped:
/// there is nothing to ask and nothing to check.
///
/// Work that a handler gives to a task of its own is not part of that future. Where it shall end with the call, the
/// handler keeps a guard that is dropped with it, however the call ends, and the task waits for the guard:
///
/// ```
/// use std::time::Duration;
///
/// use tokio_util::sync::CancellationToken;
/// use trunkline::layer::{DeadlineLayer, Layer};
/// use trunkline::{Bytes, Call, Code, Result, Serialization, Service, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
/// let (stopped, stops) = tokio::sync::oneshot::channel();
/// let stopped = std::sync::Mutex::new(Some(stopped));
/// let service = service_fn(move |_: Call| {
///     let (ended, stopped) = (CancellationToken::new(), stopped.lock().unwrap().take());
///     let guard = ended.clone().drop_guard();
///     tokio::spawn(async move {
///         tokio::select! {
///             () = ended.cancelled() => drop(stopped.map(|stopped| stopped.send(()))),
///             () = std::future::pending() => {} // the work
///         }
///     });
///     async move {
///         let _guard = guard;
///         std::future::pending::<Result<_>>().await
///     }
/// });
/// // The caller's time is over.
/// let service = DeadlineLayer::with_default(Duration::from_millis(1)).layer(service);
/// let status = service.call(Call::new("Slow", "Slow", Serialization::Raw, Bytes::new())).await.unwrap_err();
/// assert_eq!(status.code(), Code::DeadlineExceeded);
/// stops.await.expect("the task has learned of it");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Context {
    pub(crate) deadline: Option<Instant>,
    pub(crate) metadata: MaybeMetadata,
    pub(crate) connection: Option<Arc<ConnectionInfo>>,
    pub(crate) names: Names,
}

impl Default for Context {
    fn default() -> Self {
        Self::local(None)
    }
}

impl Context {
    /// The context of a call that is made within the process.
    #[must_use]
    pub fn local(deadline: Option<Instant>) -> Self {
        Self { deadline, metadata: MaybeMetadata::default(), connection: None, names: Names::Static("", "") }
    }

    /// The circumstances as a value of their own; the names stay.
    pub(crate) fn take(&mut self) -> Self {
        let left = Self { names: self.names.clone(), ..Self::default() };
        std::mem::replace(self, left)
    }

    /// When the caller stops waiting, if it said so.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// How much time the call has left; `None` where it has no deadline.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// The caller's metadata.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        self.metadata.get()
    }

    /// The trace that the call belongs to, if its metadata says so; read when it is asked for. A value that
    /// cannot be read is no trace, and fails nothing.
    #[must_use]
    pub fn trace(&self) -> Option<Trace> {
        Trace::of(self.metadata())
    }

    /// Who calls.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        self.connection.as_ref().map_or(&Peer::Local, |connection| &connection.peer)
    }

    /// The wire that brought the call, or `local`.
    #[must_use]
    pub fn wire(&self) -> &'static str {
        self.connection.as_ref().map_or("local", |connection| connection.wire)
    }

    /// The called service's name.
    #[must_use]
    pub fn service(&self) -> &str {
        self.names.service()
    }

    /// The called method's name.
    #[must_use]
    pub fn method(&self) -> &str {
        self.names.method()
    }

    /// Sends messages of the server's own to the caller, where its wire can carry them.
    #[must_use]
    pub fn pusher(&self) -> Option<Pusher> {
        let connection = self.connection.as_ref().filter(|connection| connection.can_push)?;
        Some(Pusher::new(Arc::clone(connection)))
    }
}
