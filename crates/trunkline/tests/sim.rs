//! A cluster in memory on paused time: the same seed gives the same run, to the event.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail loudly"
)]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::{Test, bytes, call};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use trunkline::client::Channel;
use trunkline::{Server, Service, random};

/// What happened, and when.
#[derive(Clone)]
struct Trace {
    begun: Instant,
    events: Arc<Mutex<Vec<String>>>,
}

impl Trace {
    fn add(&self, event: &str) {
        let at = self.begun.elapsed().as_micros();
        self.events.lock().unwrap().push(format!("{at} {event}"));
    }
}

/// A server that is stopped hard and started again, over and over.
async fn server(number: u64, name: String, trace: Trace, mut chance: fastrand::Rng) {
    loop {
        let builder = Server::builder().serve(Test::default()).listen(format!("mem://{name}"));
        let server = builder.bind().await.unwrap();
        let handle = server.handle();
        let running = tokio::spawn(server.run());
        trace.add(&format!("server {number} up"));
        sleep(Duration::from_millis(chance.u64(100..3_000))).await;
        let limit = Duration::from_millis(if chance.bool() { 0 } else { chance.u64(1..500) });
        handle.drain(limit);
        running.await.unwrap().unwrap();
        trace.add(&format!("server {number} down, limit {limit:?}"));
        sleep(Duration::from_millis(chance.u64(1..1_000))).await;
    }
}

/// Calls whichever server, some of the calls too slow for their deadline.
async fn client(number: u64, names: Vec<String>, trace: Trace, mut chance: fastrand::Rng) {
    let channels: Vec<_> = names
        .iter()
        .map(|name| {
            let url = format!("mem://{name}?wire=rpcx");
            Channel::builder(&url).heartbeat(Duration::from_millis(700)).lazy().unwrap()
        })
        .collect();
    for n in 0..200 {
        let which = chance.usize(..channels.len());
        let (method, body) = match chance.u8(..4) {
            0 => ("Echo", n.to_string()),
            1 => ("Heavy", chance.u64(..200).to_string()),
            2 => ("Fail", n.to_string()),
            _ => ("Sleep", chance.u64(..200).to_string()),
        };
        let deadline = Instant::now() + Duration::from_millis(chance.u64(1..300));
        let result = channels[which].call(call(method, body).with_deadline(deadline)).await;
        let how = match result {
            Ok(reply) => format!("{:?}", bytes(reply)),
            Err(status) => format!("{status}"),
        };
        trace.add(&format!("client {number} call {n} {method} of server {which}: {how}"));
        sleep(Duration::from_millis(chance.u64(..50))).await;
    }
    let strays: u64 = channels.iter().map(|channel| channel.stats().stray_replies).sum();
    trace.add(&format!("client {number} done, {strays} strays"));
}

/// Three servers and five clients; `run` keeps the names of two runs apart.
fn cluster(seed: u64, run: &str) -> Vec<String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        random::seed(seed);
        let mut chance = fastrand::Rng::with_seed(seed);
        let trace = Trace { begun: Instant::now(), events: Arc::default() };
        let names: Vec<_> = (0..3).map(|n| format!("sim-{run}-{n}")).collect();
        let mut servers = JoinSet::new();
        for (number, name) in (0..).zip(&names) {
            servers.spawn(server(number, name.clone(), trace.clone(), chance.fork()));
        }
        let mut clients = JoinSet::new();
        for number in 0..5 {
            clients.spawn(client(number, names.clone(), trace.clone(), chance.fork()));
        }
        while let Some(result) = clients.join_next().await {
            result.unwrap();
        }
        let events = trace.events.lock().unwrap();
        // The names of the runs are the only thing in which they may differ.
        events.iter().map(|event| event.replace(run, "run")).collect()
    })
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 1..=10 {
        let first = cluster(seed, &format!("a{seed}"));
        let second = cluster(seed, &format!("b{seed}"));
        let differs = first.iter().zip(&second).find(|(a, b)| a != b);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(first.len(), second.len());
        assert!(first.len() > 1_000, "{} events", first.len());
        // It is a run in which something happens.
        for word in ["unavailable", "deadline", "down", "b\"", "Fail"] {
            assert!(first.iter().any(|event| event.to_lowercase().contains(&word.to_lowercase())), "{word}");
        }
    }
    assert_ne!(cluster(1, "c"), cluster(2, "d"));
}
