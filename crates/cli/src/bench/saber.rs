//! Load on mailbox services: saber's stress test, and its report.
//!
//! The callers are services of one node, each with one call at a time, all over one connection. Answers come back over it,
//! or, from a node that has ours in its table, over that node's own connection to us.

mod load;
mod report;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use trunkline::Serialization;

use super::args::Bench;
use super::figures::Figures;
use super::plan::Stop;
use super::report::Summary;
use super::thread::Times;
use crate::endpoint::DEFAULT_TIMEOUT;
use crate::exit::{Failure, print};
use crate::refuse;
pub(super) use crate::saber::is_saber;
use crate::saber::{Target, service_of};
use crate::values;
use load::Load;

/// The name of the services that call, and of their node where nobody says.
const NAME: &str = "trunkline_bench";
/// The id of the first caller, and of the first service that is called: as in saber's own test.
const FIRST_CALLER: u32 = 2;
const FIRST_SERVICE: u32 = 101;

/// What a run does.
struct Plan {
    target: Target,
    node: String,
    service: String,
    /// Where no id is given by the service's name: caller i calls 101 + i mod so many.
    services: Option<u32>,
    id: u32,
    method: String,
    /// In turn; where there are none, each caller has the body of saber's own test.
    bodies: Vec<Vec<u8>>,
    callers: u32,
    stop: Stop,
    timeout: Duration,
}

/// Runs the load and reports.
pub(super) async fn run(args: &Bench) -> Result<ExitCode, Failure> {
    let plan = Plan::new(args)?;
    let listen = args.listen.as_deref().unwrap_or("127.0.0.1:0");
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|error| Failure::usage(format!("cannot listen on {listen}: {error}")))?;
    let address = &plan.target.address;
    let dialled = tokio::time::timeout(plan.timeout, TcpStream::connect(address.as_str())).await;
    let stream = match dialled {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(Failure::transport(format!("cannot reach {address}: {error}"))),
        Err(_) => return Err(Failure::transport(format!("cannot reach {address}: no connection in time"))),
    };
    let _ = stream.set_nodelay(true);
    let times = Times::start(plan.stop);
    let load = Load::new(&plan, stream, listener, times).run().await?;
    let summary = summary(&plan, times, &load);
    if args.json {
        print(summary.json())?;
    } else {
        let title =
            format!("{} {}: {} callers over one connection", args.target.url, args.method, plan.callers);
        print(summary.text_of(&title, false, &load.figures))?;
        print(report::text(&plan.method, plan.callers, summary.duration_s, &load))?;
    }
    super::verdict(&summary, &load.figures)
}

impl Plan {
    fn new(args: &Bench) -> Result<Self, Failure> {
        let later = [
            ("-q", args.rate.is_some()),
            ("-p", args.in_flight != 1),
            ("--html", args.html.is_some()),
            ("--threads", args.threads.is_some_and(|threads| threads > 1)),
            ("-H", !args.target.headers.is_empty()),
            ("--codec", !matches!(args.codec, Serialization::Json | Serialization::Raw)),
        ];
        if let Some((flag, _)) = later.iter().find(|(_, given)| *given) {
            return Err(refuse::later(&format!("bench {flag} on saber://")));
        }
        let (service, method) = values::method(&args.method)?;
        if method.len() > 64 {
            return Err(Failure::usage("the name of a method has at most 64 bytes on saber://"));
        }
        let named = service.contains('/');
        if named && args.services.is_some() {
            return Err(Failure::usage(
                "--services says the ids already: leave the one behind the service out",
            ));
        }
        let (name, id) = service_of(service)?;
        let mut bodies = Vec::new();
        for argument in &args.data {
            let body = values::body(argument)?;
            if args.codec == Serialization::Json {
                let read = serde_json::from_slice::<Value>(&body);
                read.map_err(|error| Failure::usage(format!("the body does not fit: {error}")))?;
            }
            bodies.push(body);
        }
        if bodies.is_empty() && method != "ReqLogin" {
            bodies.push(if args.codec == Serialization::Json { b"{}".to_vec() } else { Vec::new() });
        }
        Ok(Self {
            target: Target::parse(&args.target.url)?,
            node: args.node.clone().unwrap_or_else(|| NAME.to_owned()),
            service: name.to_owned(),
            // A service that is no lobby has the number 1 where nobody says.
            services: args.services.or((!named && name == "lobby").then_some(1)),
            id,
            method: method.to_owned(),
            bodies,
            callers: args.connections,
            stop: match args.calls {
                Some(calls) => Stop::Calls(calls),
                None => Stop::After(args.duration.unwrap_or(super::plan::DEFAULT_DURATION)),
            },
            timeout: args.timeout.unwrap_or(DEFAULT_TIMEOUT),
        })
    }
}

fn summary(plan: &Plan, times: Times, load: &load::Done) -> Summary {
    let figures: &Figures = &load.figures;
    let at = |quantile| figures.latency.value_at_quantile(quantile) as f64 / 1e3;
    let duration_s = figures.last_end.saturating_sub(times.begin) as f64 / 1e9;
    Summary {
        rps: if duration_s > 0.0 { figures.n() as f64 / duration_s } else { 0.0 },
        n: figures.n(),
        ok: figures.ok,
        failed: figures.failed(),
        p50_us: at(0.5),
        p90_us: at(0.9),
        p99_us: at(0.99),
        p999_us: at(0.999),
        max_us: figures.latency.max() as f64 / 1e3,
        duration_s,
        connections: 1,
        in_flight: plan.callers,
        bytes_in: figures.bytes_in,
        bytes_out: figures.bytes_out,
        errors: BTreeMap::clone(&figures.errors),
        asked_rps: None,
        started_rps: None,
    }
}
