//! A thousand streams at once over IIP, one of which nobody reads: what the others notice of it.
//!
//! `cargo test -p trunkline --release --test iip_many_streams -- --ignored --nocapture` prints the figure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use trunkline::client::Channel;
use trunkline::server::RunningServer;
use trunkline::{Bytes, Result, Server, Streaming};

const CONNECTIONS: usize = 10;
const ITEM: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(60);

#[trunkline::service]
trait Feed {
    /// So many items as the text says.
    async fn items(&self, count: String) -> Result<Streaming<Bytes>>;
}

struct Feeder;

impl Feed for Feeder {
    async fn items(&self, count: String) -> Result<Streaming<Bytes>> {
        let count: u64 = count.parse().unwrap_or(0);
        Ok(Streaming::iter((0..count).map(item)))
    }
}

/// The item of a number, which it begins with.
fn item(n: u64) -> Bytes {
    let mut item = vec![0; ITEM];
    item[..8].copy_from_slice(&n.to_be_bytes());
    item.into()
}

struct Stand {
    _server: RunningServer,
    channels: Vec<Channel>,
    each: u32,
    items: u64,
}

impl Stand {
    /// So many streams on each connection, each of so many items.
    async fn new(each: u32, items: u64) -> Self {
        let server = Server::builder().serve(FeedServer::new(Feeder)).listen("127.0.0.1:0");
        let server = server.start().await.unwrap();
        let url = server.url().replace("rpcx://", "iip://");
        let mut channels = Vec::new();
        for _ in 0..CONNECTIONS {
            channels.push(Channel::builder(&url).iip_channels(each).connect().await.unwrap());
        }
        Self { _server: server, channels, each, items }
    }

    /// Opens all streams, takes one item of each, and then the rest of all but perhaps one: how long that took. The one
    /// is read when the others have ended, and has lost nothing.
    async fn read_all(&self, stalls: bool) -> Duration {
        let mut open = Vec::new();
        for channel in &self.channels {
            for _ in 0..self.each {
                let client = FeedClient::<Channel>::new(channel.clone());
                let mut stream = client.items(self.items.to_string()).await.unwrap();
                assert_eq!(stream.next().await.unwrap().unwrap(), item(0));
                open.push(stream);
            }
        }
        let stalled = if stalls { open.pop() } else { None };
        let (begun, mut readers) = (Instant::now(), JoinSet::new());
        for stream in open {
            readers.spawn(rest(stream, self.items));
        }
        let all = async { while readers.join_next().await.is_some_and(|ended| ended.is_ok()) {} };
        tokio::time::timeout(PATIENCE, all).await.expect("nobody waits for the stalled one");
        assert!(readers.is_empty(), "a reader failed");
        let took = begun.elapsed();
        if let Some(stream) = stalled {
            tokio::time::timeout(PATIENCE, rest(stream, self.items)).await.expect("it goes on");
        }
        took
    }
}

/// Reads a stream, whose first item has come, to its end.
async fn rest(mut stream: Streaming<Bytes>, items: u64) {
    for n in 1..items {
        assert_eq!(stream.next().await.unwrap().unwrap(), item(n));
    }
    assert!(stream.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_streams_end_beside_one_that_stalls_and_it_goes_on_afterwards() {
    let stand = Stand::new(10, 64).await;
    for stalls in [true, false, true] {
        stand.read_all(stalls).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: run it with --release"]
async fn a_thousand_streams_are_not_slowed_by_more_than_a_tenth_where_one_stalls() {
    let stand = Stand::new(100, 256).await;
    // Whatever is done once.
    stand.read_all(false).await;
    let (mut ratios, mut without) = (Vec::new(), Vec::new());
    for round in 0..11 {
        // Whoever goes first in a round is the other one in the next.
        let first = stand.read_all(round % 2 == 0).await.as_secs_f64();
        let second = stand.read_all(round % 2 == 1).await.as_secs_f64();
        let (with, all) = if round % 2 == 0 { (first, second) } else { (second, first) };
        ratios.push(with / all);
        without.push(all);
    }
    ratios.sort_by(f64::total_cmp);
    without.sort_by(f64::total_cmp);
    let ratio = ratios[ratios.len() / 2];
    println!(
        "1,000 streams, one stalled: {ratio:.3} of the time without (rounds {:.3} to {:.3}; {:.0} ms without)",
        ratios[0],
        ratios[ratios.len() - 1],
        without[without.len() / 2] * 1e3
    );
    assert!(ratio <= 1.1, "the others take {ratio:.3} times as long");
}
