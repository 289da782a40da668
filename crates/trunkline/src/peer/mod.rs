//! Named peers, as zrpc has them: each listens, offers functions from bytes to bytes by name, and calls those of others.
//!
//! Over the wire a peer is a service of Go's net/rpc (`Consumer.Deal`, `Consumer.GetIndex`), so that zrpc's brokers and
//! these call each other. It is built of the server and the client that everything else has: limits, deadlines, several
//! endpoints to a name, their failover and pauses are theirs.
//!
//! - Others are dialled when they are called for the first time, so that peers that need each other can start in any
//!   order, and are dialled again by themselves when they were lost.
//! - What another one offers is asked for before the first call, and again after each new connection. What it does not
//!   offer is refused without asking it, and refused by it all the same.
//! - Every call ends: after 10 s where nobody says otherwise.
//!
//! ```
//! use trunkline::Bytes;
//! use trunkline::peer::NamedPeer;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let hello = NamedPeer::builder("hello")
//!     .listen("127.0.0.1:0")
//!     .function("say", |name: Bytes| async move { Ok([b"hello ", &name[..]].concat().into()) })
//!     .typed("add", |(a, b): (i64, i64)| async move { Ok(a + b) })
//!     .start()
//!     .await?;
//! let world = NamedPeer::builder("world").listen("127.0.0.1:0").peer("hello", hello.address()).start().await?;
//! assert_eq!(world.call("hello", "say", "Ada").await?, "hello Ada");
//! assert_eq!(world.call_typed::<_, i64>("hello", "add", &(40, 2)).await?, 42);
//! # Ok(()) }
//! ```

mod consumer;
mod remote;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::{Future, ready};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::Either;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::client::ClientBuilder;
use crate::server::{RunningServer, ServerBuilder, ServerError};
use crate::{Code, Result, Server, Status};
pub use consumer::Functions;
use consumer::{decode, encode};
use remote::Remote;

/// Where a peer listens where nobody says: zrpc's port, on loopback.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:5825";

/// How long a call may take where nobody says.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a peer does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// It cannot listen.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The endpoints of another peer cannot be read.
    #[error("the peer {name}: {status}")]
    Endpoints {
        /// The other peer.
        name: String,
        /// Why.
        status: Status,
    },
    /// A function without a name, or two of one name. An empty name is in the index of every zrpc peer and means none.
    #[error("the function {0:?} has no name, or there are two of it")]
    Function(String),
}

/// Settings of a peer; begun by [`NamedPeer::builder`].
#[must_use = "a builder does nothing until it is started"]
pub struct NamedPeerBuilder {
    name: String,
    address: String,
    functions: Functions,
    peers: BTreeMap<String, String>,
    settings: Settings,
    server: Box<dyn FnOnce(ServerBuilder) -> ServerBuilder + Send>,
}

/// How others are called.
struct Settings {
    timeout: Duration,
    connections: usize,
    client: Option<Adjust>,
}

type Adjust = Box<dyn Fn(ClientBuilder) -> ClientBuilder + Send + Sync>;

impl NamedPeerBuilder {
    /// Where it listens, as [`ServerBuilder::listen`] takes it. Default [`DEFAULT_ADDRESS`]: nobody but this machine.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.address = address.into();
        self
    }

    /// Offers a function: see [`Functions::function`].
    pub fn function<F, R>(mut self, name: &str, function: F) -> Self
    where
        F: Fn(Bytes) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Bytes>> + Send + 'static,
    {
        self.functions = self.functions.function(name, function);
        self
    }

    /// Offers a function of values: see [`Functions::typed`].
    pub fn typed<F, A, T, R>(mut self, name: &str, function: F) -> Self
    where
        F: Fn(A) -> R + Send + Sync + 'static,
        A: DeserializeOwned,
        T: Serialize,
        R: Future<Output = Result<T>> + Send + 'static,
    {
        self.functions = self.functions.typed(name, function);
        self
    }

    /// Another peer by its name, and its endpoints: `HOST:PORT`, or several with commas and weights as
    /// [`Client::builder`](crate::client::Client::builder) takes them, which are called in turn. The last endpoints of a
    /// name count.
    pub fn peer(mut self, name: &str, endpoints: &str) -> Self {
        self.peers.insert(name.to_owned(), endpoints.to_owned());
        self
    }

    /// How many connections each endpoint gets, which are used in turn. Default 1.
    pub fn connections(mut self, connections: usize) -> Self {
        self.settings.connections = connections;
        self
    }

    /// How long a call of another peer's function may take. Default 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// Changes the client that others are called with: how endpoints are picked, the channels' settings.
    pub fn client(mut self, adjust: impl Fn(ClientBuilder) -> ClientBuilder + Send + Sync + 'static) -> Self {
        self.settings.client = Some(Box::new(adjust));
        self
    }

    /// Changes the server that others call: more addresses, services beside the functions, limits.
    pub fn server(mut self, adjust: impl FnOnce(ServerBuilder) -> ServerBuilder + Send + 'static) -> Self {
        let before = self.server;
        self.server = Box::new(|builder| adjust(before(builder)));
        self
    }

    /// Listens. Nobody is dialled yet.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn start(self) -> Result<NamedPeer, PeerError> {
        if let Some(name) = self.functions.wrong {
            return Err(PeerError::Function(name));
        }
        let builder = Server::builder().serve(self.functions.into_service()).listen(self.address);
        let peer = Inner { name: self.name, settings: self.settings, peers: ArcSwap::default() };
        for (name, endpoints) in self.peers {
            peer.add(&name, &endpoints).map_err(|status| PeerError::Endpoints { name, status })?;
        }
        let server = (self.server)(builder).start().await?;
        Ok(NamedPeer { server, inner: Arc::new(peer) })
    }
}

impl fmt::Debug for NamedPeerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamedPeerBuilder")
            .field("name", &self.name)
            .field("address", &self.address)
            .field("peers", &self.peers)
            .finish_non_exhaustive()
    }
}

/// A peer that listens, and calls others: see the [module](self).
pub struct NamedPeer {
    server: RunningServer,
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    settings: Settings,
    /// Read with each call, and changed hardly ever.
    peers: ArcSwap<HashMap<String, Arc<Remote>>>,
}

impl NamedPeer {
    /// Begins to build a peer of this name. The name is for logs; others know it by the name that they give it.
    pub fn builder(name: &str) -> NamedPeerBuilder {
        NamedPeerBuilder {
            name: name.to_owned(),
            address: DEFAULT_ADDRESS.to_owned(),
            functions: Functions::default(),
            peers: BTreeMap::new(),
            settings: Settings { timeout: TIMEOUT, connections: 1, client: None },
            server: Box::new(|builder| builder),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Where it listens, with the port that was picked.
    #[must_use]
    pub fn address(&self) -> &str {
        self.server.addresses().first().map_or("", String::as_str)
    }

    /// Makes another peer known by a name, or gives it other endpoints, as [`NamedPeerBuilder::peer`] does.
    ///
    /// # Errors
    /// The endpoints cannot be read: [`Code::InvalidInput`].
    pub fn add_peer(&self, name: &str, endpoints: &str) -> Result<()> {
        self.inner.add(name, endpoints)
    }

    /// Calls a function of another peer with bytes.
    ///
    /// # Errors
    /// The peer is not known or offers no such function ([`Code::NotFound`], and nothing was sent), cannot be reached
    /// ([`Code::Unavailable`]), does not answer in time ([`Code::DeadlineExceeded`]), or the function fails
    /// ([`Code::Failed`] with its text).
    // The future is the call's own: one of an `async fn` would hold the call again beside it, and a peer may have a
    // hundred thousand in flight.
    pub fn call(
        &self,
        peer: &str,
        function: &str,
        argument: impl Into<Bytes>,
    ) -> impl Future<Output = Result<Bytes>> + Send {
        match self.inner.peers.load().get(peer) {
            Some(remote) => Either::Left(remote.call(function, argument.into(), self.inner.settings.timeout)),
            None => Either::Right(ready(Err(unknown(peer)))),
        }
    }

    /// Calls a function of another peer with a value, which travels as MessagePack as the answer does.
    ///
    /// # Errors
    /// As [`call`](Self::call); or argument or answer is no such value ([`Code::InvalidInput`]).
    pub async fn call_typed<A, T>(&self, peer: &str, function: &str, argument: &A) -> Result<T>
    where
        A: Serialize + ?Sized + Sync,
        T: DeserializeOwned,
    {
        let argument = encode(argument)?;
        decode(&self.call(peer, function, argument).await?)
    }

    /// What another peer offers, sorted; it is asked where that is not known, or may have changed.
    ///
    /// # Errors
    /// As [`call`](Self::call), where it cannot say so.
    pub async fn functions(&self, peer: &str) -> Result<Vec<String>> {
        let deadline = Instant::now() + self.inner.settings.timeout;
        let remote = self.inner.peers.load().get(peer).cloned();
        remote.ok_or_else(|| unknown(peer))?.functions(deadline).await
    }

    /// The server, to look at it and to stop it from elsewhere.
    #[must_use]
    pub fn server(&self) -> &RunningServer {
        &self.server
    }

    /// Stops listening: what has begun is answered, for at most `limit`. Connections to others end.
    ///
    /// # Errors
    /// As [`RunningServer::wait`].
    pub async fn stop(self, limit: Duration) -> Result<(), ServerError> {
        self.server.stop(limit).await
    }
}

impl fmt::Debug for NamedPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamedPeer")
            .field("name", &self.inner.name)
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn add(&self, name: &str, endpoints: &str) -> Result<()> {
        let remote = Arc::new(Remote::new(endpoints, &self.settings)?);
        self.peers.rcu(|peers| {
            let mut peers = HashMap::clone(peers);
            peers.insert(name.to_owned(), Arc::clone(&remote));
            peers
        });
        Ok(())
    }
}

#[cold]
fn unknown(name: &str) -> Status {
    Status::new(Code::NotFound, format!("no peer is named {name}")).not_begun()
}
