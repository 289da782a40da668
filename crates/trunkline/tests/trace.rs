//! A chain of services keeps the trace of the first call and hands on less and less time.
#![allow(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::time::Duration;

use serde::{Deserialize, Serialize};
use trunkline::{Context, Message, Result, Server};

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// What each service of the chain saw, the last one first.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize, Message)]
struct Seen {
    traces: Vec<String>,
    millis: Vec<u64>,
    metadata: Vec<String>,
}

#[trunkline::service]
trait Hop {
    async fn pass(&self, cx: &Context) -> Result<Seen>;
}

/// Works for 100 ms and then asks the next one, if there is one.
struct Link(Option<HopClient>);

impl Hop for Link {
    async fn pass(&self, cx: &Context) -> Result<Seen> {
        let left = cx.time_left().map_or(0, |left| u64::try_from(left.as_millis()).unwrap());
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut seen = match &self.0 {
            Some(next) => next.pass().metadata_pair("hop", "yes").within(cx).await?,
            None => Seen::default(),
        };
        seen.traces.push(cx.trace().map_or(String::new(), |trace| trace.to_string()));
        seen.millis.push(left);
        let mut keys: Vec<_> = cx.metadata().iter().map(|(key, _)| String::from_utf8_lossy(key)).collect();
        keys.sort();
        seen.metadata.push(keys.join(" "));
        Ok(seen)
    }
}

/// Three services in memory, of which each calls the next; the client calls the first.
async fn chain(name: &str) -> HopClient {
    let mut next = None;
    for number in 0..3 {
        let address = format!("mem://{name}-{number}");
        let server = Server::builder().serve(HopServer::new(Link(next))).listen(&address);
        tokio::spawn(server.bind().await.unwrap().run());
        next = Some(HopClient::connect(&format!("{address}?wire=rpcx")).await.unwrap());
    }
    next.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_chain_keeps_its_trace_and_time_shrinks_hop_by_hop() {
    let first = chain("trace-chain").await;
    let call = first.pass().metadata_pair("traceparent", TRACEPARENT).metadata_pair("tracestate", "a=1");
    let call = call.metadata_pair("ot-baggage-user", "x").metadata_pair("tenant", "t");
    let seen = call.timeout(Duration::from_secs(1)).await.unwrap();
    assert_eq!(seen.traces, [TRACEPARENT; 3]);
    // On paused time the wire costs none; the millisecond is the unit in which the time left is said.
    for (left, expected) in seen.millis.iter().zip([800, 900, 1000]) {
        assert!((expected - 2..=expected).contains(left), "{:?}", seen.millis);
    }
    let further = "__ServerTimeout hop ot-baggage-user traceparent tracestate";
    let first = "__ServerTimeout ot-baggage-user tenant traceparent tracestate";
    assert_eq!(seen.metadata, [further, further, first]);
}

#[tokio::test(start_paused = true)]
async fn a_chain_runs_out_of_time_as_a_whole() {
    let first = chain("trace-late").await;
    let begun = tokio::time::Instant::now();
    let status = first.pass().timeout(Duration::from_millis(250)).await.unwrap_err();
    assert_eq!(status.code(), trunkline::Code::DeadlineExceeded);
    assert_eq!(begun.elapsed().as_millis(), 250);
}

/// easymicro's keys pass a Trunkline service as they came, and a broken trace goes no further and fails nothing.
#[tokio::test(start_paused = true)]
async fn keys_of_easymicro_go_on_and_broken_ones_do_not() {
    let first = chain("trace-easymicro").await;
    let call = first.pass().metadata_pair("ot-tracer-traceid", "1f").metadata_pair("ot-tracer-spanid", "2");
    let seen = call.metadata_pair("ot-tracer-sampled", "false").await.unwrap();
    assert_eq!(seen.traces, ["00-0000000000000000000000000000001f-0000000000000002-00"; 3]);
    let seen = first.pass().metadata_pair("traceparent", "00-broken").await.unwrap();
    assert_eq!(seen.traces, [""; 3]);
    assert_eq!(seen.metadata[1], "hop");
    assert_eq!(seen.metadata[2], "traceparent");
}
