//! A channel: a client's connection to one endpoint, kept up, shared by all its callers.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::time::Instant;
#[cfg(feature = "netrpc")]
use trunkline_wire::netrpc;
use trunkline_wire::{Limits, Session, iip, rpcx};

use super::batch::Batch;
use super::caller;
use super::dial::{ConnectionState, Shared};
#[cfg(feature = "http")]
use super::http::{self, Http};
use super::links::Links;
use super::pushes::Pushes;
use super::settings::{Settings, Strays};
use super::url::{InvalidUrl, Url, Wire};
use crate::context::MaybeMetadata;
use crate::metadata::AUTH;
use crate::net::Address;
#[cfg(feature = "http")]
use crate::service::BoxFuture;
use crate::{Call, Code, Metadata, Origin, Push, Reply, Result, Serialization, Service, Status};

/// How long a call may take where nobody says: 10 s.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// How many pushes wait for a reader before the oldest are lost; a reader is told how many.
const PUSHES: usize = 1024;

/// A connection to one endpoint, shared by all callers: their calls are in flight side by side. When it is lost
/// it is dialled again by itself. A clone is the same channel; when the last one is dropped the connection ends
/// as soon as no call is in flight.
///
/// Every call ends: with its reply, a failure, or its deadline (10 s, where nobody says otherwise). Dropping a
/// call frees all that it held and, where the server can understand it, stops the work there.
///
/// A connection takes two file descriptors: a call that is alone on it is written by its caller, past the task that keeps the
/// connection. Where there is no second one all calls go through that task.
///
/// It is a [`Service`]: generated clients are made around it, and so are layers.
///
/// Over HTTP a call has a connection for itself while it runs, and up to 16 are kept for the next calls. Typed
/// calls go as JSON where nothing else is said, `POST /Service/Method`, as any HTTP server can read them; deadline and
/// metadata are headers. Other serialisations and calls without an answer go with rpcx's headers beside that, which
/// Trunkline and Go's rpcx understand. A call without an answer ends when it is given
/// to its connection, which waits for the answer that HTTP has all the same. A call that was in flight when its
/// connection was lost is made once more only where the connection had been kept for it and either nothing was
/// sent, or the call is idempotent and no answer had begun.
#[derive(Clone)]
pub struct Channel(Arc<Inner>);

struct Inner {
    kind: Kind,
    timeout: Duration,
    serialization: Serialization,
    /// Sent with every call, as far as the call does not say it itself; the token is in it.
    metadata: Metadata,
    origin: Origin,
    state: watch::Receiver<ConnectionState>,
    pushes: broadcast::Sender<Push>,
    strays: Arc<Strays>,
    closed: watch::Sender<bool>,
}

/// What the caller shows; it is not printed.
#[derive(Clone)]
struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

/// The wires that a channel speaks; one line each.
pub(super) enum Kind {
    Rpcx(Arc<Shared<rpcx::Rpcx>>),
    Iip(Arc<Shared<iip::Iip>>),
    #[cfg(feature = "netrpc")]
    Netrpc(Arc<Shared<netrpc::NetRpc>>),
    #[cfg(feature = "http")]
    Http(Arc<Http>),
}

impl Kind {
    /// Whether a server can send messages of its own on the wire.
    pub(super) fn pushes(&self) -> bool {
        match self {
            Self::Rpcx(_) => rpcx::Rpcx::PUSHES,
            Self::Iip(_) => iip::Iip::PUSHES,
            #[cfg(feature = "netrpc")]
            Self::Netrpc(_) => netrpc::NetRpc::PUSHES,
            #[cfg(feature = "http")]
            Self::Http(_) => false,
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.closed.send_replace(true);
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel")
            .field("address", &self.0.origin.address)
            .field("wire", &self.0.origin.wire)
            .field("state", &*self.0.state.borrow())
            .finish()
    }
}

/// Figures of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ChannelStats {
    /// Replies that came when nobody waited for them: late, doubled or made up. They completed nothing.
    pub stray_replies: u64,
    /// Connections that were made. Over HTTP they are not counted.
    pub connections: u64,
}

/// Settings of a channel; begun by [`Channel::builder`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it connects"]
pub struct ChannelBuilder {
    url: Result<Url, InvalidUrl>,
    timeout: Duration,
    serialization: Option<Serialization>,
    metadata: Metadata,
    token: Option<Token>,
    dial_timeout: Duration,
    heartbeat: Duration,
    calls: usize,
    limits: Limits,
}

impl Channel {
    /// Begins to build a channel to a URL.
    pub fn builder(url: &str) -> ChannelBuilder {
        ChannelBuilder {
            url: url.parse(),
            timeout: DEFAULT_TIMEOUT,
            serialization: None,
            metadata: Metadata::new(),
            token: None,
            dial_timeout: Duration::from_secs(3),
            heartbeat: Duration::from_secs(5),
            calls: 65_536,
            limits: Limits::default(),
        }
    }

    /// Connects to `rpcx://HOST:PORT`, `http://HOST:PORT` and their like with the default settings.
    ///
    /// # Errors
    /// The URL cannot be read ([`Code::InvalidInput`]), or nobody answers there ([`Code::Unavailable`]).
    pub async fn connect(url: &str) -> Result<Self> {
        Self::builder(url).connect().await
    }

    /// How the channel stands: `borrow` gives the state of now, `changed` waits for the next one.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        let mut state = self.0.state.clone();
        state.mark_unchanged();
        state
    }

    /// The messages that the server sends of its own accord, from now on. They keep the channel connected as a clone
    /// of it does.
    #[must_use]
    pub fn pushes(&self) -> Pushes {
        Pushes { received: self.0.pushes.subscribe(), channel: self.clone() }
    }

    /// Figures since the start.
    #[must_use]
    pub fn stats(&self) -> ChannelStats {
        let Strays { replies, connections } = &*self.0.strays;
        ChannelStats {
            stray_replies: replies.load(Ordering::Relaxed),
            connections: connections.load(Ordering::Relaxed),
        }
    }

    /// The endpoint's address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.0.origin.address
    }

    /// Begins a batch: many calls at once, encoded in one go and waited for by one future.
    pub fn batch(&self) -> Batch {
        Batch::new(self.clone())
    }

    pub(super) fn kind(&self) -> &Kind {
        &self.0.kind
    }

    pub(super) fn timeout(&self) -> Duration {
        self.0.timeout
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.0.origin
    }

    /// Whether it dials without being called.
    pub(super) fn dials_ahead(&self) -> bool {
        match &self.0.kind {
            Kind::Rpcx(_) | Kind::Iip(_) => true,
            #[cfg(feature = "netrpc")]
            Kind::Netrpc(_) => true,
            #[cfg(feature = "http")]
            Kind::Http(_) => false,
        }
    }

    /// Waits till `limit` for a connection.
    pub(super) async fn ready(&self, limit: Instant) -> Result<()> {
        match &self.0.kind {
            Kind::Rpcx(shared) => shared.ready(limit).await,
            Kind::Iip(shared) => shared.ready(limit).await,
            #[cfg(feature = "netrpc")]
            Kind::Netrpc(shared) => shared.ready(limit).await,
            #[cfg(feature = "http")]
            Kind::Http(http) => http.connect().await,
        }
    }

    /// Adds what the channel sends with every call; what the call said itself, where that was changed.
    #[inline(always)]
    pub(super) fn complete(&self, call: &mut Call) -> Option<MaybeMetadata> {
        (!self.0.metadata.is_empty()).then(|| add(&self.0.metadata, call))
    }
}

impl Service for Channel {
    // A call is some hundred bytes, and not to be copied once more than it must be.
    #[inline(always)]
    fn call(&self, mut call: Call) -> impl Future<Output = Result<Reply>> + Send {
        self.complete(&mut call);
        match &self.0.kind {
            Kind::Rpcx(shared) => Calling::Rpcx(shared.call(call, self.0.timeout)),
            Kind::Iip(shared) => Calling::Iip(shared.call(call, self.0.timeout)),
            #[cfg(feature = "netrpc")]
            Kind::Netrpc(shared) => Calling::Netrpc(shared.call(call, self.0.timeout)),
            #[cfg(feature = "http")]
            Kind::Http(http) => Calling::Http(Box::pin(http.call(call, self.0.timeout))),
        }
    }

    fn serialization(&self) -> Serialization {
        self.0.serialization
    }
}

/// A call on the channel's wire.
enum Calling<'a> {
    Rpcx(caller::Calling<'a, rpcx::Rpcx>),
    Iip(caller::Calling<'a, iip::Iip>),
    #[cfg(feature = "netrpc")]
    Netrpc(caller::Calling<'a, netrpc::NetRpc>),
    #[cfg(feature = "http")]
    Http(BoxFuture<'a>),
}

impl Future for Calling<'_> {
    type Output = Result<Reply>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Reply>> {
        match &mut *self {
            Self::Rpcx(call) => Pin::new(call).poll(cx),
            Self::Iip(call) => Pin::new(call).poll(cx),
            #[cfg(feature = "netrpc")]
            Self::Netrpc(call) => Pin::new(call).poll(cx),
            #[cfg(feature = "http")]
            Self::Http(call) => call.as_mut().poll(cx),
        }
    }
}

/// What a channel on any wire with a connection of its own begins with.
struct Setup {
    pushes: broadcast::Sender<Push>,
    strays: Arc<Strays>,
    address: Address,
    connect: Option<&'static str>,
    dial_timeout: Duration,
}

impl Setup {
    /// Begins to keep the channel connected.
    fn begin<W: Session>(
        self,
        settings: Settings,
        state: watch::Sender<ConnectionState>,
        closing: watch::Receiver<bool>,
    ) -> Arc<Shared<W>> {
        let Self { pushes, strays, address, connect, dial_timeout } = self;
        let (links, current) = (Arc::new(Links::new(settings)), std::sync::Mutex::default());
        let shared =
            Arc::new(Shared { links, current, state, pushes, strays, address, connect, dial_timeout });
        tokio::spawn(Arc::clone(&shared).keep_connected(closing));
        shared
    }
}

/// All channels with the usual limits have the same: what every call looks at stays in the processor's caches.
fn shared(limits: Limits) -> Arc<Limits> {
    static USUAL: LazyLock<Arc<Limits>> = LazyLock::new(Arc::default);
    if limits == **USUAL { Arc::clone(&USUAL) } else { Arc::new(limits) }
}

/// Adds to a call's metadata what of the channel's it does not say itself; what was there before.
#[cold]
fn add(channels: &Metadata, call: &mut Call) -> MaybeMetadata {
    let unsaid = channels.iter().filter(|(key, _)| call.metadata().pairs().get_bytes(key).is_none());
    let begun = Metadata::builder().with_all(call.metadata().pairs());
    let all = unsaid.fold(begun, |all, (key, value)| all.with_bytes(key, value)).build();
    std::mem::replace(&mut call.context.metadata, MaybeMetadata::new(all))
}

impl ChannelBuilder {
    /// How long a call may take where it does not say itself. Default 10 s. Where the reply is a stream, that is the time
    /// until it begins.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// What typed calls are serialised in where the call does not say it. Default: JSON over HTTP and IIP, MessagePack on
    /// rpcx and easymicro; on netrpc it is gob whatever is said. Bodies of bytes or text go as they are, types of prost's as protobuf.
    pub fn serialization(mut self, serialization: Serialization) -> Self {
        self.serialization = Some(serialization);
        self
    }

    /// Sends this pair of metadata, too, with every call that has none of this key. Default: none.
    pub fn metadata(mut self, key: &str, value: &str) -> Self {
        self.metadata = Metadata::builder().with_all(self.metadata.pairs()).with(key, value).build();
        self
    }

    /// Shows this token to the server with every call that does not bring one of its own (`__AUTH` in its
    /// metadata). Default: none.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(Token(token.into()));
        self
    }

    /// How long a dial may take. Default 3 s.
    pub fn dial_timeout(mut self, timeout: Duration) -> Self {
        self.dial_timeout = timeout;
        self
    }

    /// A connection that was silent this long, in either direction, is asked whether the peer is there, and is
    /// given up when no answer comes within as long again. Default 5 s.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = interval;
        self
    }

    /// The most calls in flight; one more fails with [`Code::Limited`]. Default 65,536. Over HTTP each has a
    /// connection of its own.
    pub fn max_in_flight(mut self, calls: usize) -> Self {
        self.calls = calls;
        self
    }

    /// The largest body of a reply in bytes, after inflation. Default 4 MiB.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.limits.body = bytes;
        self
    }

    /// How many channels of IIP a connection has. Answers on one channel come in the order of its calls, so that a slow
    /// call holds back those behind it; a call takes the channel with the fewest in flight. On other wires it means
    /// nothing. Default 8.
    pub fn iip_channels(mut self, channels: u32) -> Self {
        self.limits.client_channels = channels;
        self
    }

    /// Makes the channel without waiting for its connection: calls wait for it.
    ///
    /// # Errors
    /// The URL cannot be read: [`Code::InvalidInput`].
    pub fn lazy(self) -> Result<Channel> {
        let url = self.url.map_err(|error| Status::new(Code::InvalidInput, error.to_string()).not_begun())?;
        let address = url.address.to_string();
        let (state, watched) = watch::channel(ConnectionState::Connecting);
        let (pushes, _) = broadcast::channel(PUSHES);
        let (closed, closing) = watch::channel(false);
        let strays = Arc::<Strays>::default();
        let settings = Settings {
            limits: shared(self.limits),
            calls: self.calls,
            heartbeat: self.heartbeat,
            lower_case: url.wire == Wire::Easymicro,
            address: address.clone(),
        };
        let (to, dial_timeout) = (url.address.clone(), self.dial_timeout);
        let strays_of = Arc::clone(&strays);
        let setup = Setup {
            pushes: pushes.clone(),
            strays: strays_of,
            address: to,
            connect: url.connect,
            dial_timeout,
        };
        let (kind, wire) = match url.wire {
            Wire::Rpcx | Wire::Easymicro => {
                (Kind::Rpcx(setup.begin(settings, state, closing)), rpcx::Rpcx::NAME)
            }
            Wire::Iip => (Kind::Iip(setup.begin(settings, state, closing)), iip::Iip::NAME),
            #[cfg(feature = "netrpc")]
            Wire::Netrpc => (Kind::Netrpc(setup.begin(settings, state, closing)), netrpc::NetRpc::NAME),
            #[cfg(feature = "http")]
            Wire::Http => {
                let http = Http::new(url.address, settings, self.dial_timeout, state)?;
                (Kind::Http(Arc::new(http)), http::NAME)
            }
            #[cfg(not(feature = "netrpc"))]
            Wire::Netrpc => {
                let text = format!("cannot call {address} over net/rpc: built without the feature netrpc");
                return Err(Status::new(Code::Unsupported, text).not_begun());
            }
            #[cfg(not(feature = "http"))]
            Wire::Http => {
                let text = format!("cannot call {address} over HTTP: built without the feature http");
                return Err(Status::new(Code::Unsupported, text).not_begun());
            }
        };
        let origin = Origin { address, wire, attempt: 1 };
        let usual = url.wire.serialization();
        let pairs = Metadata::builder().with_all(self.metadata.pairs());
        let pairs = self.token.iter().fold(pairs, |pairs, Token(token)| pairs.with(AUTH, token));
        Ok(Channel(Arc::new(Inner {
            kind,
            timeout: self.timeout,
            serialization: match usual {
                Serialization::Gob => usual,
                _ => self.serialization.unwrap_or(usual),
            },
            metadata: pairs.build(),
            origin,
            state: watched,
            pushes,
            strays,
            closed,
        })))
    }

    /// Connects.
    ///
    /// # Errors
    /// As for [`Channel::connect`].
    pub async fn connect(self) -> Result<Channel> {
        let dial_timeout = self.dial_timeout;
        let channel = self.lazy()?;
        channel.ready(Instant::now() + dial_timeout + Duration::from_secs(1)).await?;
        Ok(channel)
    }

    /// The same settings for another URL.
    pub(super) fn to(&self, url: Url) -> Self {
        Self { url: Ok(url), ..self.clone() }
    }

    pub(super) fn usual_timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn usual_dial_timeout(&self) -> Duration {
        self.dial_timeout
    }

    pub(super) fn usual_serialization(&self) -> Option<Serialization> {
        self.serialization
    }
}
