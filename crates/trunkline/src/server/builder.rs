//! Building and running a server.

use std::any::TypeId;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use trunkline_wire::Limits;

use super::Core;
use super::accept::{Acceptor, ConnectionLimits, Workers};
use super::handle::ServerHandle;
use super::router::{DuplicateService, Router};
use super::running::RunningServer;
use super::stack::{Policies, Stack, stack};
use super::sys::{Sys, SysService};
use crate::layer::{Admission, Counters, DeadlineLayer, Layer, NoLayer, Stacked, Token};
use crate::net::driver::Patience;
use crate::net::transport::{Address, InvalidAddress, Listener};
use crate::reflect::{Described, Description, ReflectionServer};
use crate::service::NamedService;
use crate::{Name, Service};

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// An address to listen on cannot be read.
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    /// Two services have one name.
    #[error(transparent)]
    Duplicate(#[from] DuplicateService),
    /// Listening failed.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// A worker thread could not be started.
    #[error("cannot start a worker thread: {0}")]
    Thread(#[source] io::Error),
    /// A path cannot stand for a method.
    #[error(
        "the path {path} cannot stand for {method}: it is taken or does not begin with a slash, or there is no such method"
    )]
    Path {
        /// The path.
        path: String,
        /// The method.
        method: String,
    },
    /// Nowhere to listen.
    #[error("the server has no address to listen on: call listen(\"HOST:PORT\")")]
    NoAddress,
}

/// Settings of a server; begun by [`Server::builder`]. `L` is the user's own stack of layers.
#[derive(Debug)]
#[must_use = "a builder does nothing until it is run"]
pub struct ServerBuilder<L = NoLayer> {
    router: Router,
    layers: L,
    addresses: Vec<String>,
    /// Sockets that listen already.
    listeners: Vec<Listener>,
    limits: Limits,
    connections: ConnectionLimits,
    policies: Policies,
    patience: Patience,
    threads: usize,
    describe: bool,
    /// The names of services that are not described.
    unlisted: Vec<Name>,
    #[cfg(feature = "gateway")]
    front: Option<Arc<dyn super::http::Front>>,
    #[cfg(feature = "node")]
    saber: Option<Arc<dyn super::saber::Saber>>,
    error: Option<ServerError>,
}

impl Default for ServerBuilder {
    fn default() -> Self {
        Self {
            router: Router::default(),
            layers: NoLayer,
            addresses: Vec::new(),
            listeners: Vec::new(),
            limits: Limits::default(),
            connections: ConnectionLimits::default(),
            policies: Policies::default(),
            patience: Patience::USUAL,
            threads: 0,
            describe: false,
            unlisted: Vec::new(),
            #[cfg(feature = "gateway")]
            front: None,
            #[cfg(feature = "node")]
            saber: None,
            error: None,
        }
    }
}

impl<L> ServerBuilder<L> {
    /// Serves this service, too, under the name that it gives itself.
    pub fn serve<S: NamedService>(mut self, service: S) -> Self {
        if let Err(error) = self.router.add(service) {
            self.error.get_or_insert(error.into());
        }
        self
    }

    /// Serves this service, too, and does not list it in what the server says of itself
    /// ([`with_describe`](Self::with_describe)).
    pub fn serve_unlisted<S: NamedService>(mut self, service: S) -> Self {
        self.unlisted.push(service.describe().name);
        self.serve(service)
    }

    /// Serves this service under another name.
    pub fn serve_as<S: NamedService>(mut self, name: &str, service: S) -> Self {
        let info = service.describe().named(name);
        if let Err(error) = self.router.add_described(info, Box::new(service)) {
            self.error.get_or_insert(error.into());
        }
        self
    }

    /// Answers calls of this path, too, as those of a method that was added before: on a wire where a call has a path
    /// (IIP), which is else `/Service/Method`. A service without a name answers paths of its own.
    pub fn path(mut self, path: &str, service: &str, method: &str) -> Self {
        if !self.router.add_path(path, service, method) {
            let (path, method) = (path.to_owned(), format!("{service}.{method}"));
            self.error.get_or_insert(ServerError::Path { path, method });
        }
        self
    }

    /// Serves `Trunkline.Describe`, too: it says what is served here, for `trunkline ls` and its like. Default: not.
    pub fn with_describe(mut self) -> Self {
        self.describe = true;
        self
    }

    /// Listens on this address, too: `HOST:PORT`, `tcp://HOST:PORT`, `unix://PATH`, `mem://NAME`. Port 0 picks
    /// one.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.addresses.push(address.into());
        self
    }

    /// Accepts from this socket, too, which listens already: one that was handed to the program by what started it.
    pub fn listen_on(mut self, listener: TcpListener) -> Self {
        self.listeners.push(Listener::Tcp(listener));
        self
    }

    /// Wraps all calls in a layer of one's own, outside of those added before and inside of the default ones
    /// (catch panic, counters, admission, token, deadline).
    pub fn layer<O>(self, outer: O) -> ServerBuilder<Stacked<L, O>> {
        let layers = Stacked { inner: self.layers, outer };
        ServerBuilder {
            layers,
            router: self.router,
            addresses: self.addresses,
            listeners: self.listeners,
            limits: self.limits,
            connections: self.connections,
            policies: self.policies,
            patience: self.patience,
            threads: self.threads,
            describe: self.describe,
            unlisted: self.unlisted,
            #[cfg(feature = "gateway")]
            front: self.front,
            #[cfg(feature = "node")]
            saber: self.saber,
            error: self.error,
        }
    }

    /// The largest body of a request or a reply in bytes, after inflation. Default 4 MiB.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.limits.body = bytes;
        self
    }

    /// The most calls in flight on one connection; the next one waits unread. Default 1,024.
    pub fn calls_per_connection(mut self, calls: usize) -> Self {
        self.limits.calls = calls;
        self
    }

    /// Has all requests of HTTP answered by this, and serves no other wire. Policies and layers are for services and
    /// do not stand around it.
    #[cfg(feature = "gateway")]
    pub(crate) fn front(mut self, front: Arc<dyn super::http::Front>) -> Self {
        self.front = Some(front);
        self
    }

    /// Hands connections that speak saber to this.
    #[cfg(feature = "node")]
    pub(crate) fn saber(mut self, saber: Arc<dyn super::saber::Saber>) -> Self {
        self.saber = Some(saber);
        self
    }

    /// All limits of a connection at once.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The most connections; over it none is accepted until one ends. Default 65,536.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.connections.total = connections;
        self
    }

    /// The most connections of one address other than loopback; one more is closed. Default 4,096.
    pub fn max_connections_per_address(mut self, connections: usize) -> Self {
        self.connections.per_address = connections;
        self
    }

    /// The most calls in flight on all connections together; one more fails. Default: no such limit.
    pub fn max_in_flight(mut self, calls: usize) -> Self {
        self.policies.admission = Admission::in_flight(calls);
        self
    }

    /// Asks every caller for this token. Default: none is asked for.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.policies.token = Token::new(token);
        self
    }

    /// Gives calls that come without a deadline this one. Default: they have none.
    pub fn default_deadline(mut self, time: Duration) -> Self {
        self.policies.deadline = DeadlineLayer::with_default(time);
        self
    }

    /// How long the calls of a caller that has ended its side of the connection may go on; then they are dropped
    /// and the connection is closed. On TCP a caller that is gone and one that only sends no more look the same, so
    /// a longer time also keeps work alive for nobody. At most a day. Default 1 s. (HTTP does not count it: there a
    /// call ends with its answer or its deadline.)
    pub fn half_close_grace(mut self, time: Duration) -> Self {
        self.patience.half_closed = time.min(Duration::from_secs(86_400));
        self
    }

    /// Serves on so many threads of its own, each with a runtime for itself, to which connections are dealt in
    /// turn: the fastest way to use several cores. 0, the default, serves on the runtime that runs the server.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }
}

impl<L> ServerBuilder<L>
where
    L: Layer<Arc<Router>> + 'static,
    Stack<L::Service>: Service,
{
    /// Listens. From here on connections wait to be accepted by [`Server::run`].
    ///
    /// # Errors
    /// An address is taken or cannot be read, or two services have one name.
    pub async fn bind(mut self) -> Result<Server<Stack<L::Service>>, ServerError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if self.addresses.is_empty() && self.listeners.is_empty() {
            return Err(ServerError::NoAddress);
        }
        let mut listeners = self.listeners;
        for text in &self.addresses {
            let address: Address = text.parse()?;
            let listener = Listener::bind(&address)
                .await
                .map_err(|source| ServerError::Listen { address: text.clone(), source })?;
            listeners.push(listener);
        }
        if self.describe {
            let listed = self.router.services().filter(|info| !self.unlisted.contains(&info.name));
            let described = Described(Description::of(listed));
            self.router.add(ReflectionServer::new(described))?;
        }
        #[cfg(feature = "node")]
        if let Some(saber) = &self.saber {
            // Behind the description: it is not listed.
            let (info, service) = saber.view(self.policies.token.asks());
            self.router.add_described(info, service)?;
        }
        if TypeId::of::<L>() != TypeId::of::<NoLayer>() {
            self.router.keep_connections();
        }
        let sys = Arc::<Sys>::default();
        self.router.add(SysService(Arc::clone(&sys)))?;
        let router = Arc::new(self.router);
        let counters = Arc::new(Counters::new(router.method_count()));
        sys.set(&router, &counters, self.policies.token.asks(), self.limits.body);
        #[cfg(feature = "http")]
        let document = super::http::OpenApi::new(self.policies.token.asks());
        let stack = stack(Arc::clone(&router), self.layers, self.policies, Arc::clone(&counters));
        let core = Core::new(Arc::clone(&router), stack, self.limits);
        let core = Core { patience: self.patience, sys, ..core };
        #[cfg(feature = "http")]
        let core = Core { document, ..core };
        #[cfg(feature = "gateway")]
        let core = Core { front: self.front, ..core };
        #[cfg(feature = "node")]
        let core = Core { saber: self.saber, ..core };
        let core = Arc::new(core);
        let (stop, stopped) = watch::channel(None);
        let handle = ServerHandle { drain: Arc::clone(&core.drain), stop: Arc::new(stop), router, counters };
        Ok(Server { core, listeners, connections: self.connections, threads: self.threads, handle, stopped })
    }

    /// Listens, and serves in a task of the runtime: the way to begin where the program goes on.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trunkline::{Result, Server};
    ///
    /// #[trunkline::service]
    /// trait Greeter {
    ///     async fn greet(&self, name: String) -> Result<String>;
    /// }
    ///
    /// struct Polite;
    ///
    /// impl Greeter for Polite {
    ///     async fn greet(&self, name: String) -> Result<String> {
    ///         Ok(format!("hello {name}"))
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Server::builder().serve(GreeterServer::new(Polite)).listen("127.0.0.1:0").start().await?;
    /// let greeter = GreeterClient::connect(server.url()).await?;
    /// assert_eq!(greeter.greet("Ada".into()).await?, "hello Ada");
    /// server.stop(Duration::from_secs(5)).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As for [`bind`](ServerBuilder::bind).
    pub async fn start(self) -> Result<RunningServer, ServerError>
    where
        Stack<L::Service>: Send,
    {
        let server = self.bind().await?;
        let (url, addresses, handle) = (server.url(), server.addresses(), server.handle());
        Ok(RunningServer { url, addresses, handle, task: tokio::spawn(server.run()) })
    }

    /// Listens and serves until the process is told to stop by [`ServerHandle::drain`], which
    /// [`bind`](ServerBuilder::bind) gives: without it, for ever.
    ///
    /// # Errors
    /// As for [`bind`](ServerBuilder::bind) and [`Server::run`].
    pub async fn run(self) -> Result<(), ServerError> {
        self.bind().await?.run().await
    }
}

/// A server that listens. Begin with [`Server::builder`].
#[must_use = "a server accepts nothing until it is run"]
pub struct Server<S = ()> {
    pub(super) core: Arc<Core<S>>,
    listeners: Vec<Listener>,
    connections: ConnectionLimits,
    threads: usize,
    handle: ServerHandle,
    stopped: watch::Receiver<Option<tokio::time::Instant>>,
}

impl<S> std::fmt::Debug for Server<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("addresses", &self.addresses()).finish_non_exhaustive()
    }
}

impl Server {
    /// Begins to build a server.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }
}

impl<S> Server<S> {
    /// Where it listens, with the ports that were picked.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let known = self.listeners.iter().filter_map(|listener| listener.local_address().ok());
        known.map(|address| address.to_string()).collect()
    }

    /// The URL at which a client reaches the first of its addresses, on the rpcx wire (a gateway's: over
    /// HTTP). Empty where the system does not say where it listens.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), trunkline::server::ServerError> {
    /// let server = trunkline::Server::builder().listen("mem://url").bind().await?;
    /// assert_eq!(server.url(), "mem://url?wire=rpcx");
    /// let server = trunkline::Server::builder().listen("127.0.0.1:0").bind().await?;
    /// assert!(server.url().starts_with("rpcx://127.0.0.1:"));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn url(&self) -> String {
        let mut known = self.listeners.iter().filter_map(|listener| listener.local_address().ok());
        #[cfg(feature = "gateway")]
        let wire = if self.core.front.is_some() { "http" } else { "rpcx" };
        #[cfg(not(feature = "gateway"))]
        let wire = "rpcx";
        match known.next() {
            Some(Address::Tcp(address)) => format!("{wire}://{address}"),
            Some(other) => format!("{other}?wire={wire}"),
            None => String::new(),
        }
    }

    /// To stop the server and to look at it.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }
}

impl<S: Service> Server<S> {
    /// Serves until [`ServerHandle::drain`] was called and the last connection has ended, or its limit passed.
    ///
    /// # Errors
    /// A worker thread could not be started.
    pub async fn run(self) -> Result<(), ServerError> {
        let workers = Workers::start(&self.core, self.threads).map_err(ServerError::Thread)?;
        #[cfg(feature = "node")]
        let saber = self.core.saber.clone();
        let mut acceptor = Acceptor::new(self.core, workers, self.connections);
        acceptor.accept_until_stopped(self.listeners, self.stopped).await;
        #[cfg(feature = "node")]
        if let Some(saber) = saber {
            saber.stop().await;
        }
        Ok(())
    }

    /// As [`run`](Server::run), and begins to stop when `signal` ends, with 30 s for calls in flight.
    ///
    /// # Errors
    /// As for [`run`](Server::run).
    pub async fn run_until(self, signal: impl Future<Output = ()>) -> Result<(), ServerError> {
        let handle = self.handle();
        let mut run = std::pin::pin!(self.run());
        tokio::select! {
            biased;
            result = &mut run => return result,
            () = signal => handle.drain(Duration::from_secs(30)),
        }
        run.await
    }
}
