//! A client: a balanced set of channels, for every wire.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::Either;
use tokio::time::Instant;
use trunkline_wire::Serialization;

use super::channel::{Channel, ChannelBuilder};
use super::failover::Attempt;
use super::in_place::Calling;
use super::node::Node;
use super::url::{InvalidUrl, Url};
use crate::balance::{Endpoint, InvalidEndpoint, Member, Members, Picker, RoundRobin};
use crate::{Call, Code, Reply, Result, Service, Status};

/// After more failures in a row than this an endpoint is paused.
const FAILURES: u32 = 5;

/// How long an endpoint is paused.
const PAUSE: Duration = Duration::from_secs(5);

/// A balanced set of channels: each call goes to one of several endpoints. It is a [`Service`] as a
/// [`Channel`] is, and a clone is the same client.
///
/// An endpoint that cannot be reached, or fails more than 5 calls in a row, is paused for 5 s; then one call tries it
/// again. Failures are lost connections, passed deadlines and a server that stops, or what the
/// [health check](ClientBuilder::health_check) says; a failed call ends no connection, so that other callers are not
/// disturbed. A call that was surely not begun, because its endpoint could not be reached, stops or is at its limit,
/// goes on to the next one within its deadline, at most once to each; nothing else is tried again. For the connection
/// of an endpoint that is not known to be there it waits 1 s, or half of its time, before it goes on. Where no endpoint
/// can be called the failure names each with its reason ([`Code::Unavailable`]).
///
/// ```
/// # use trunkline::{Result, Server};
/// # use trunkline::balance::{Endpoint, LeastPending};
/// # use trunkline::client::Client;
/// # #[trunkline::service]
/// # trait Shout { async fn loud(&self, word: String) -> Result<String>; }
/// # struct Voice;
/// # impl Shout for Voice { async fn loud(&self, word: String) -> Result<String> { Ok(word.to_uppercase()) } }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let _a = Server::builder().serve(ShoutServer::new(Voice)).listen("mem://client-a").start().await?;
/// # let _b = Server::builder().serve(ShoutServer::new(Voice)).listen("mem://client-b").start().await?;
/// let client = Client::builder("mem://client-a#3,client-b").select(LeastPending::new()).connect().await?;
/// let shout = ShoutClient::new(client.clone());
/// assert_eq!(shout.loud("one".into()).await?, "ONE");
///
/// client.add(Endpoint::new("mem://client-c").with_alias("c"))?;
/// assert!(client.remove("c"));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Client(pub(super) Repr);

#[derive(Clone)]
pub(super) enum Repr {
    One(Channel),
    Several(Arc<Inner>),
}

/// What the clones of a client share.
pub(super) struct Inner {
    nodes: Mutex<Vec<Arc<Node>>>,
    pub(super) snapshot: ArcSwap<Snapshot>,
    pub(super) settings: Settings,
    builder: ChannelBuilder,
    connections: usize,
    /// What moments are counted from.
    begun: Instant,
}

/// How calls are made.
pub(super) struct Settings {
    pub(super) picker: Box<dyn Picker>,
    pub(super) timeout: Duration,
    pub(super) failover: bool,
    pub(super) failures: u32,
    /// In nanoseconds.
    pub(super) pause: u64,
    pub(super) check: Option<HealthCheck>,
}

/// Says of a call whether its endpoint is well.
pub(super) type HealthCheck = Arc<dyn Fn(&Call, Result<&Reply, &Status>) -> bool + Send + Sync>;

/// The endpoints at a moment; read without a lock.
pub(super) struct Snapshot {
    pub(super) members: Members,
    /// Each at the place of its member.
    pub(super) nodes: Box<[Arc<Node>]>,
    /// The places of those that are paused.
    pub(super) paused: Box<[usize]>,
    serialization: Serialization,
}

/// How an endpoint of a client is doing.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EndpointState {
    /// Which one.
    pub endpoint: Endpoint,
    /// The client's calls that are in flight to it.
    pub pending: usize,
    /// How many of its connections are up.
    pub connections: usize,
    /// How long its calls take, where the picker has it measured.
    pub latency: Option<Duration>,
    /// Why it is paused; none where it takes calls.
    pub paused: Option<String>,
}

/// Settings of a client; begun by [`Client::builder`].
#[must_use = "a builder does nothing until it connects"]
pub struct ClientBuilder {
    endpoints: Result<Vec<Endpoint>, InvalidEndpoint>,
    picker: Box<dyn Picker>,
    channels: ChannelBuilder,
    connections: usize,
    failures: u32,
    pause: Duration,
    failover: bool,
    check: Option<HealthCheck>,
}

impl Client {
    /// Begins to build a client of these endpoints: `rpcx://a:1#3,b:2#1,http://c:3`, with weights from 1 to 100 behind
    /// `#` (1 where none is said). A part without a scheme has that of the one before it. An empty text is no
    /// endpoint: they are added later.
    pub fn builder(urls: &str) -> ClientBuilder {
        ClientBuilder {
            endpoints: if urls.is_empty() { Ok(Vec::new()) } else { Endpoint::list(urls) },
            picker: Box::new(RoundRobin::new()),
            channels: Channel::builder(""),
            connections: 1,
            failures: FAILURES,
            pause: PAUSE,
            failover: true,
            check: None,
        }
    }

    /// Connects to the first of these endpoints that can be reached, with the default settings.
    ///
    /// # Errors
    /// The URLs cannot be read ([`Code::InvalidInput`]), or nobody answers at any of them ([`Code::Unavailable`]).
    pub async fn connect(urls: &str) -> Result<Self> {
        Self::builder(urls).connect().await
    }

    /// What generated clients connect through.
    #[doc(hidden)]
    pub async fn of_url(url: &str) -> Result<Self> {
        if url.contains([',', '#']) {
            Self::connect(url).await
        } else {
            Channel::connect(url).await.map(Self::from)
        }
    }

    fn inner(&self) -> Option<&Arc<Inner>> {
        match &self.0 {
            Repr::One(_) => None,
            Repr::Several(inner) => Some(inner),
        }
    }

    /// Adds an endpoint, from the next call on. It is dialled when a call goes there.
    ///
    /// # Errors
    /// Its URL or its weight is wrong, there is one of its alias, or the client was made of a channel
    /// ([`Code::InvalidInput`]).
    pub fn add(&self, endpoint: Endpoint) -> Result<()> {
        let Some(inner) = self.inner() else {
            return Err(invalid("a client that was made of a channel has no other endpoints".to_owned()));
        };
        inner.add(std::iter::once(endpoint))
    }

    /// Takes the endpoint of this alias (its URL where it has no other) out; whether there was one. Its calls in flight
    /// go on to their end, then its connections are closed.
    pub fn remove(&self, alias: &str) -> bool {
        let Some(inner) = self.inner() else { return false };
        let mut nodes = inner.lock();
        let before = nodes.len();
        nodes.retain(|node| node.member.endpoint().alias() != alias);
        inner.publish(&nodes);
        nodes.len() < before
    }

    /// The endpoints and how they are doing, in the order in which they were added.
    #[must_use]
    pub fn endpoints(&self) -> Vec<EndpointState> {
        let inner = match &self.0 {
            Repr::One(channel) => {
                let connected = *channel.state().borrow() == super::ConnectionState::Connected;
                let (wire, address) = (channel.origin().wire, channel.address());
                let url =
                    if address.contains("://") { address.into() } else { format!("{wire}://{address}") };
                return vec![EndpointState {
                    endpoint: Endpoint::new(url),
                    pending: 0,
                    connections: usize::from(connected),
                    latency: None,
                    paused: None,
                }];
            }
            Repr::Several(inner) => inner,
        };
        let snapshot = inner.snapshot.load();
        let states = snapshot.nodes.iter().map(|node| EndpointState {
            endpoint: node.member.endpoint().clone(),
            pending: node.member.pending(),
            connections: node.connections(),
            latency: node.member.latency(),
            paused: node.member.health.reason(),
        });
        states.collect()
    }

    /// How many connections were made to all of its endpoints: whoever keeps what a peer has said sees by it that it may
    /// have changed.
    #[cfg(feature = "netrpc")]
    pub(crate) fn connections_made(&self) -> u64 {
        match &self.0 {
            Repr::One(channel) => channel.stats().connections,
            Repr::Several(inner) => {
                inner.snapshot.load().nodes.iter().map(|node| node.connections_made()).sum()
            }
        }
    }

    /// Makes a call and tells where it went: each attempt in order. The last one is the one that answered, where the
    /// call did not fail.
    pub async fn call_traced(&self, call: Call) -> (Result<Reply>, Vec<Attempt>) {
        match &self.0 {
            Repr::One(channel) => {
                let outcome = channel.call(call).await;
                let failure = outcome.as_ref().err().cloned();
                let origin = failure.as_ref().and_then(Status::origin).unwrap_or(channel.origin());
                let attempts = vec![Attempt { origin: origin.clone(), failure }];
                (outcome, attempts)
            }
            Repr::Several(inner) => {
                let mut attempts = Vec::new();
                let outcome = inner.call_traced(call, &mut attempts).await;
                (outcome, attempts)
            }
        }
    }
}

/// The client of this channel alone, as it is: nothing is paused, and it has no other endpoints.
impl From<Channel> for Client {
    fn from(channel: Channel) -> Self {
        Self(Repr::One(channel))
    }
}

impl Service for Client {
    // A call is some hundred bytes, and not to be copied once more than it must be.
    #[inline(always)]
    fn call(&self, call: Call) -> impl Future<Output = Result<Reply>> + Send {
        match &self.0 {
            Repr::One(channel) => Either::Left(channel.call(call)),
            Repr::Several(inner) => Either::Right(Calling::new(inner, call)),
        }
    }

    /// JSON where one of the endpoints is called over HTTP or IIP, gob where the first is called on net/rpc, else
    /// MessagePack; or what the channels' settings say.
    fn serialization(&self) -> Serialization {
        match &self.0 {
            Repr::One(channel) => channel.serialization(),
            Repr::Several(inner) => inner.snapshot.load().serialization,
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::One(channel) => f.debug_tuple("Client").field(channel).finish(),
            Repr::Several(inner) => {
                let snapshot = inner.snapshot.load();
                let urls = snapshot.members.iter().map(|member| member.endpoint().url());
                f.debug_tuple("Client").field(&urls.collect::<Vec<_>>()).finish()
            }
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Node>>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds all of them or none.
    fn add(&self, endpoints: impl Iterator<Item = Endpoint>) -> Result<()> {
        let mut nodes = self.lock();
        let mut all = nodes.clone();
        let mut aliases: HashSet<String> =
            nodes.iter().map(|node| node.member.endpoint().alias().to_owned()).collect();
        for endpoint in endpoints {
            if !aliases.insert(endpoint.alias().to_owned()) {
                return Err(invalid(format!("the endpoint {} is there already", endpoint.alias())));
            }
            all.push(self.node(endpoint)?);
        }
        *nodes = all;
        self.publish(&nodes);
        Ok(())
    }

    fn node(&self, endpoint: Endpoint) -> Result<Arc<Node>> {
        endpoint.check().map_err(|error| invalid(error.to_string()))?;
        let url: Url = endpoint.url().parse().map_err(|error: InvalidUrl| invalid(error.to_string()))?;
        let member = Arc::new(Member::new(endpoint, Instant::now()));
        Ok(Arc::new(Node::new(member, url, self.builder.clone(), self.connections)))
    }

    /// Makes what stands in the table known to the next calls.
    fn publish(&self, nodes: &[Arc<Node>]) {
        self.snapshot.store(Arc::new(Snapshot::new(nodes, &self.builder)));
    }

    /// The same, after an endpoint was paused or has returned.
    pub(super) fn refresh(&self) {
        self.publish(&self.lock());
    }

    /// Nanoseconds since the client was made.
    pub(super) fn at(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.begun).as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Snapshot {
    fn new(nodes: &[Arc<Node>], builder: &ChannelBuilder) -> Self {
        let all: Arc<[_]> = nodes.iter().map(|node| Arc::clone(&node.member)).collect();
        let open: Vec<bool> = all.iter().map(|member| member.health.is_open()).collect();
        let paused = (0..).zip(&open).filter(|(_, open)| !**open).map(|(place, _)| place).collect();
        let mut wires = nodes.iter().map(|node| node.wire().serialization());
        let usual = match wires.next() {
            // That wire carries nothing else, and no other wire carries it.
            Some(Serialization::Gob) => Serialization::Gob,
            first if first == Some(Serialization::Json) || wires.any(|how| how == Serialization::Json) => {
                Serialization::Json
            }
            _ => Serialization::MessagePack,
        };
        Self {
            members: Members::new(all, |place| open.get(place).copied().unwrap_or_default()),
            nodes: nodes.into(),
            paused,
            serialization: match usual {
                Serialization::Gob => usual,
                _ => builder.usual_serialization().unwrap_or(usual),
            },
        }
    }
}

fn invalid(why: String) -> Status {
    Status::new(Code::InvalidInput, why).not_begun()
}

impl ClientBuilder {
    /// Adds an endpoint.
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoints = self.endpoints.map(|mut all| {
            all.push(endpoint);
            all
        });
        self
    }

    /// How calls are spread. Default: [`RoundRobin`].
    pub fn select(mut self, picker: impl Picker) -> Self {
        self.picker = Box::new(picker);
        self
    }

    /// Settings of all channels: timeouts, token, metadata and so on.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use trunkline::client::Client;
    /// let builder = Client::builder("rpcx://a:1,b:2").channels(|channel| channel.timeout(Duration::from_secs(2)));
    /// # let _ = builder;
    /// ```
    pub fn channels(mut self, set: impl FnOnce(ChannelBuilder) -> ChannelBuilder) -> Self {
        self.channels = set(self.channels);
        self
    }

    /// How long a call may take that does not say it itself.
    #[cfg(feature = "netrpc")]
    pub(crate) fn usual_timeout(&self) -> Duration {
        self.channels.usual_timeout()
    }

    /// How many connections are kept to each endpoint. Default 1; each is opened by the first call that comes for it.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// How many failures in a row an endpoint may have; the next one pauses it. Default 5.
    pub fn failures(mut self, failures: u32) -> Self {
        self.failures = failures;
        self
    }

    /// How long an endpoint is paused before one call tries it again. Default 5 s.
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Whether a call that was surely not begun goes on to the next endpoint. Default: yes.
    pub fn failover(mut self, failover: bool) -> Self {
        self.failover = failover;
        self
    }

    /// Has this function say of every call that has ended whether its endpoint is well. Default: it is not where the
    /// call ended with [`Code::Unavailable`], [`Code::DeadlineExceeded`] or [`Code::Draining`]. An endpoint that
    /// cannot be reached is paused whatever it says. A body that was streamed is not in the call that it sees.
    pub fn health_check(
        mut self,
        check: impl Fn(&Call, Result<&Reply, &Status>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.check = Some(Arc::new(check));
        self
    }

    /// Makes the client; nothing is dialled before the first call. It needs a Tokio runtime then, not now.
    ///
    /// # Errors
    /// A URL or a weight is wrong, or an alias is there twice: [`Code::InvalidInput`].
    pub fn lazy(self) -> Result<Client> {
        let endpoints = self.endpoints.map_err(|error| invalid(error.to_string()))?;
        let settings = Settings {
            picker: self.picker,
            timeout: self.channels.usual_timeout(),
            failover: self.failover,
            failures: self.failures,
            pause: u64::try_from(self.pause.as_nanos()).unwrap_or(u64::MAX),
            check: self.check,
        };
        let inner = Inner {
            nodes: Mutex::default(),
            snapshot: ArcSwap::from_pointee(Snapshot::new(&[], &self.channels)),
            settings,
            builder: self.channels,
            connections: self.connections,
            begun: Instant::now(),
        };
        inner.add(endpoints.into_iter())?;
        Ok(Client(Repr::Several(Arc::new(inner))))
    }

    /// Makes the client and connects to the first endpoint that can be reached, in turn; those before it are paused.
    /// A client without endpoints waits for nothing.
    ///
    /// # Errors
    /// As for [`Client::connect`].
    pub async fn connect(self) -> Result<Client> {
        let dial_timeout = self.channels.usual_dial_timeout();
        let client = self.lazy()?;
        if let Some(inner) = client.inner().filter(|inner| !inner.snapshot.load().nodes.is_empty()) {
            inner.reach(dial_timeout).await?;
        }
        Ok(client)
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("endpoints", &self.endpoints)
            .field("picker", &self.picker)
            .field("channels", &self.channels)
            .finish_non_exhaustive()
    }
}
