//! What a run does, from its flags: whom it calls, with what, how often, how long.

use std::path::PathBuf;
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
use super::{http_head, stream};
use crate::endpoint::{self, DEFAULT_TIMEOUT};
use crate::exit::Failure;
use crate::{call, demo, values};

/// How long a run is where nobody says.
const DEFAULT_DURATION: Duration = Duration::from_secs(10);
/// The longest warm-up.
const LONGEST_WARM_UP: Duration = Duration::from_millis(500);

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
    /// Over HTTP: the head of a request up to the length of its body.
    pub(super) head: Vec<u8>,
}

/// What a run does.
pub(super) struct Plan {
    /// As it was given.
    pub(super) url: String,
    pub(super) address: Address,
    /// Where it leads, to be dialled in turn.
    pub(super) addresses: Vec<SocketAddrAny>,
    pub(super) wire: Wire,
    /// As it was given.
    pub(super) method: String,
    pub(super) target: Target,
    pub(super) bodies: Bodies,
    pub(super) connections: usize,
    pub(super) in_flight: u32,
    pub(super) threads: usize,
    pub(super) stop: Stop,
    pub(super) rate: Option<f64>,
    pub(super) timeout: Duration,
    pub(super) html: Option<PathBuf>,
}

impl Plan {
    /// Reads the flags and the bodies, and asks the server for the schema where the codec needs one.
    pub(super) async fn new(args: &Bench) -> Result<Self, Failure> {
        let url = endpoint::url(&args.target.url)?;
        if let Address::Memory(_) = url.address {
            return Err(Failure::usage(format!("{url}: mem:// is for programs that call themselves")));
        }
        let names = names(url.wire, &args.method)?;
        let stop = match args.calls {
            Some(calls) => Stop::Calls(calls),
            None => Stop::After(args.duration.unwrap_or(DEFAULT_DURATION)),
        };
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
        let mut given = Vec::new();
        for argument in &args.data {
            given.push(Some(values::body(argument)?));
        }
        if given.is_empty() {
            given.push(None);
        }
        let metadata = values::metadata_of(&args.target.headers)?;
        if url.connect.is_some() {
            return Err(Failure::usage("the load tool does not speak behind a CONNECT"));
        }
        let (codec, raw) = values::on_wire(args.codec, url.wire == Wire::Netrpc, &metadata)?;
        let target = Target::new(args, codec, &url, names, &metadata)?;
        let prepare = match url.wire {
            Wire::Http => Http::prepare,
            Wire::Iip => Iip::prepare,
            Wire::Netrpc => NetRpc::prepare,
            _ => Rpcx::prepare,
        };
        let prepare = |body: &[u8]| prepare(&target, body);
        let how = if raw { call::Bodies::Bytes } else { how(args, &url, &metadata).await? };
        let bodies = Bodies::new(codec, given, &how, prepare)?;
        let resolved = stream::resolve(&url.address).await;
        let addresses = resolved.map_err(|why| unreachable(&url.address, &why))?;
        Ok(Self {
            url: args.target.url.clone(),
            address: url.address,
            addresses,
            wire: url.wire,
            method: args.method.clone(),
            target,
            bodies,
            connections,
            in_flight: args.in_flight,
            threads,
            stop,
            rate: args.rate,
            timeout: args.timeout.unwrap_or(DEFAULT_TIMEOUT),
            html: args.html.clone(),
        })
    }
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
        Ok(Self { service, method, codec, metadata, timeout, in_flight, head })
    }
}
