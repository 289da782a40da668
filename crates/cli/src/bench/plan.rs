//! What a run does, from its flags: whom it calls, with what, how often, how long.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::SocketAddrAny;
use tokio::time::Instant;
use trunkline::client::{Url, Wire};
use trunkline::wire::iip::Iip;
use trunkline::wire::netrpc::NetRpc;
use trunkline::wire::rpcx::Rpcx;
use trunkline::{Address, Metadata, Serialization};

use super::args::{Bench, MOST_PLACES};
use super::bodies::Bodies;
use super::exchange::Exchange as _;
use super::http::Http;
use super::saber::{Callers, Saber};
use super::{http_head, stream};
use crate::endpoint::{self, DEFAULT_TIMEOUT};
use crate::exit::Failure;
use crate::saber::{Target as Node, is_saber};
use crate::{call, demo, values};

/// How long a run is where nobody says.
const DEFAULT_DURATION: Duration = Duration::from_secs(10);
/// The callers' node, where nobody says.
const CALLERS: &str = "trunkline_bench";
/// The method of saber's own stress test.
const LOGIN: &str = "ReqLogin";
/// The longest warm-up.
const LONGEST_WARM_UP: Duration = Duration::from_millis(500);

/// What the load tool drives itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// easymicro, too.
    Rpcx,
    Http,
    Iip,
    NetRpc,
    Saber,
}

/// When a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// After this time.
    After(Duration),
    /// After so many calls.
    Calls(u64),
}

/// How long the server is warmed up before a run of this length.
pub(super) fn warm_up(run: Duration) -> Duration {
    (run / 20).min(LONGEST_WARM_UP)
}

/// Whom the calls go to, as the wires say it.
pub(super) struct Target {
    pub(super) service: String,
    pub(super) method: String,
    pub(super) codec: Serialization,
    /// What goes with each call.
    pub(super) metadata: Metadata,
    /// The timeout that is announced, in milliseconds.
    pub(super) timeout: Option<String>,
    /// How many calls may be in flight on each connection.
    pub(super) in_flight: u32,
    /// The path of the CONNECT that comes before the wire.
    pub(super) connect: Option<&'static str>,
    /// Over HTTP: the head of a request up to the length of its body.
    pub(super) head: Vec<u8>,
    /// On saber's wire: who calls.
    pub(super) callers: Option<Arc<Callers>>,
}

/// What a run does.
pub(super) struct Plan {
    /// As it was given.
    pub(super) url: String,
    pub(super) address: Address,
    /// Where it leads, to be dialled in turn.
    pub(super) addresses: Vec<SocketAddrAny>,
    pub(super) protocol: Protocol,
    /// As it was given.
    pub(super) method: String,
    pub(super) target: Target,
    pub(super) bodies: Bodies,
    pub(super) connections: usize,
    pub(super) in_flight: u32,
    /// How many calls each place for one makes at most.
    pub(super) each: u32,
    /// Where answers are taken, too.
    pub(super) listener: Option<TcpListener>,
    pub(super) threads: usize,
    pub(super) stop: Stop,
    pub(super) rate: Option<f64>,
    pub(super) timeout: Duration,
    pub(super) html: Option<PathBuf>,
}

impl Plan {
    /// Reads the flags and the bodies, and asks the server for the schema where the codec needs one.
    pub(super) async fn new(args: &Bench) -> Result<Self, Failure> {
        if is_saber(&args.target.url) {
            return Self::of_node(args, Node::parse(&args.target.url)?).await;
        }
        let only = [
            ("--services", args.services.is_some()),
            ("--node", args.node.is_some()),
            ("--listen", args.listen.is_some()),
        ];
        if let Some((flag, _)) = only.iter().find(|(_, given)| *given) {
            return Err(Failure::usage(format!("{flag} is for saber://")));
        }
        let url = endpoint::url(&args.target.url)?;
        if let Address::Memory(_) = url.address {
            return Err(Failure::usage(format!("{url}: mem:// is for programs that call themselves")));
        }
        let names = names(url.wire, &args.method)?;
        let stop = stop(args, 1);
        let most = match stop {
            Stop::Calls(calls) => usize::try_from(calls).unwrap_or(usize::MAX),
            Stop::After(_) => usize::MAX,
        };
        let connections = (args.connections as usize).min(most);
        if u64::from(args.connections) * u64::from(args.in_flight) > MOST_PLACES {
            return Err(Failure::usage(format!(
                "-c {} times -p {} is over {MOST_PLACES} calls in flight",
                args.connections, args.in_flight
            )));
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = args.threads.map_or((cores / 2).max(1), usize::from).min(connections);
        let metadata = values::metadata_of(&args.target.headers)?;
        let (codec, raw) = values::on_wire(args.codec, url.wire == Wire::Netrpc, &metadata)?;
        let target = Target::new(args, codec, &url, names, &metadata)?;
        let (protocol, prepare) = match url.wire {
            Wire::Http => (Protocol::Http, Http::prepare as Prepare),
            Wire::Iip => (Protocol::Iip, Iip::prepare as Prepare),
            Wire::Netrpc => (Protocol::NetRpc, NetRpc::prepare as Prepare),
            _ => (Protocol::Rpcx, Rpcx::prepare as Prepare),
        };
        let prepare = |body: &[u8]| prepare(&target, body);
        let how = if raw { call::Bodies::Bytes } else { how(args, &url, &metadata).await? };
        let bodies = Bodies::new(codec, given(args)?, &how, prepare)?;
        let addresses = addresses(&url.address).await?;
        Ok(Self {
            url: args.target.url.clone(),
            address: url.address,
            addresses,
            protocol,
            method: args.method.clone(),
            target,
            bodies,
            connections,
            in_flight: args.in_flight,
            each: u32::MAX,
            listener: None,
            threads,
            stop,
            rate: args.rate,
            timeout: args.timeout.unwrap_or(DEFAULT_TIMEOUT),
            html: args.html.clone(),
        })
    }

    /// Callers of a node: all share one connection, and each has one call in flight.
    async fn of_node(args: &Bench, node: Node) -> Result<Self, Failure> {
        let address = Address::Tcp(node.address);
        let refused = |what: &str| Err(Failure::usage(format!("{what} on saber's wire")));
        if !matches!(args.codec, Serialization::Json | Serialization::Raw) {
            return refused("bodies are json or raw");
        }
        if !args.target.headers.is_empty() {
            return refused("-H is not possible");
        }
        if args.in_flight != 1 || args.threads.is_some_and(|threads| threads != 1) {
            return refused("each of the -c callers has one call in flight, and one thread has them all");
        }
        let each = args.calls.map_or(Ok(u32::MAX), u32::try_from);
        let each = each.map_err(|_| Failure::usage("-n is too large"))?;
        let (service, method) = values::method(&args.method)?;
        let nodes = (args.node.as_deref().unwrap_or(CALLERS), &*node.cluster);
        let login = args.data.is_empty() && method == LOGIN;
        let callers = Callers::new(nodes, service, args.services, args.connections, login)?;
        let target = Target {
            service: service.to_owned(),
            method: method.to_owned(),
            codec: args.codec,
            metadata: Metadata::new(),
            timeout: args.timeout.map(|timeout| timeout.as_millis().max(1).to_string()),
            in_flight: args.connections,
            connect: None,
            head: Vec::new(),
            callers: Some(Arc::new(callers)),
        };
        let how = match args.codec {
            Serialization::Raw => call::Bodies::Bytes,
            _ => call::Bodies::Json { request: None, reply: None },
        };
        let bodies = Bodies::new(args.codec, given(args)?, &how, |body| Saber::prepare(&target, body))?;
        let addresses = addresses(&address).await?;
        Ok(Self {
            url: args.target.url.clone(),
            address,
            addresses,
            protocol: Protocol::Saber,
            method: args.method.clone(),
            target,
            bodies,
            connections: 1,
            in_flight: args.connections,
            each,
            listener: args.listen.as_deref().map(listen).transpose()?,
            threads: 1,
            stop: stop(args, args.connections),
            rate: args.rate,
            timeout: args.timeout.unwrap_or(DEFAULT_TIMEOUT),
            html: args.html.clone(),
        })
    }
}

/// How the wire prepares a body.
type Prepare = fn(&Target, &[u8]) -> Result<Vec<u8>, String>;

/// When the run ends; `-n` counts for each of so many callers.
fn stop(args: &Bench, callers: u32) -> Stop {
    match args.calls {
        Some(calls) => Stop::Calls(calls.saturating_mul(callers.into())),
        None => Stop::After(args.duration.unwrap_or(DEFAULT_DURATION)),
    }
}

/// The bodies that were given; nothing where none was.
fn given(args: &Bench) -> Result<Vec<Option<Vec<u8>>>, Failure> {
    let given: Result<Vec<_>, _> =
        args.data.iter().map(|argument| values::body(argument).map(Some)).collect();
    given.map(|given| if given.is_empty() { vec![None] } else { given })
}

async fn addresses(address: &Address) -> Result<Vec<SocketAddrAny>, Failure> {
    stream::resolve(address).await.map_err(|why| unreachable(address, &why))
}

/// Takes connections, without waiting for them.
fn listen(address: &str) -> Result<TcpListener, Failure> {
    let failed = |error| Failure::usage(format!("cannot listen on {address}: {error}"));
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// Nothing is called.
pub(super) fn unreachable(address: &Address, why: &str) -> Failure {
    Failure::transport(format!("cannot reach {address}: {why}"))
}

/// Service and method, or on IIP a path.
fn names(wire: Wire, text: &str) -> Result<(&str, &str), Failure> {
    if wire == Wire::Iip && text.starts_with('/') { Ok(("", text)) } else { values::method(text) }
}

/// How the bodies are written: only protobuf and thrift have to ask.
async fn how(args: &Bench, url: &Url, metadata: &Metadata) -> Result<call::Bodies, Failure> {
    match args.codec {
        Serialization::Protobuf | Serialization::Thrift => {}
        _ => return Ok(call::Bodies::Json { request: None, reply: None }),
    }
    let deadline = Instant::now() + DEFAULT_TIMEOUT;
    let connected = endpoint::connect(url, deadline).await;
    let channel = connected.map_err(|status| Failure::of_call(&status, &url.address.to_string()))?;
    let (service, method) = names(url.wire, &args.method)?;
    let sample = demo::description().method(service, method).cloned();
    let target = endpoint::Target::One(url.clone());
    call::bodies(&channel, args.codec, &args.method, &target, metadata, deadline, sample).await
}

impl Target {
    fn new(
        args: &Bench,
        codec: Serialization,
        url: &Url,
        (service, method): (&str, &str),
        metadata: &Metadata,
    ) -> Result<Self, Failure> {
        let mut head = Vec::new();
        if url.wire == Wire::Http {
            head = http_head::head(&url.address, (service, method), codec, metadata, args.timeout)
                .map_err(Failure::usage)?;
        }
        let (mut service, mut method) = (service.to_owned(), method.to_owned());
        if url.wire == Wire::Easymicro {
            service.make_ascii_lowercase();
            method.make_ascii_lowercase();
        }
        let timeout = args.timeout.map(|timeout| timeout.as_millis().max(1).to_string());
        let (metadata, in_flight) = (metadata.clone(), args.in_flight);
        let connect = url.connect;
        Ok(Self { service, method, codec, metadata, timeout, in_flight, connect, head, callers: None })
    }
}
