//! A cluster in one process, in memory, on paused time: an hour passes in milliseconds, and a seed repeats it.
//! Run it: `cargo run --example cluster`

use std::time::Duration;

use tokio::time::{Instant, sleep};
use trunkline::client::Channel;
use trunkline::{Bytes, Code, Context, Result, Server, server::ServerHandle};

#[trunkline::service]
trait Relay {
    /// Works for a minute, then has the next node do its part.
    async fn pass(&self, cx: &Context) -> Result<Bytes>;
}

struct Node(u32, Option<RelayClient<Channel>>);

impl Relay for Node {
    async fn pass(&self, cx: &Context) -> Result<Bytes> {
        sleep(Duration::from_secs(60)).await;
        let Some(next) = &self.1 else { return Ok(format!("node {}", self.0).into()) };
        // Within the time that is left of the call: it shrinks hop by hop.
        next.pass().within(cx).await
    }
}

/// Starts a node that passes on to the one after it; the last one answers.
async fn start(number: u32) -> Result<ServerHandle, Box<dyn std::error::Error>> {
    let next = (number < 5).then(|| Channel::builder(&format!("mem://node-{}", number + 1)).lazy());
    let node = Node(number, next.transpose()?.map(RelayClient::new));
    let builder = Server::builder().serve(RelayServer::new(node)).listen(format!("mem://node-{number}"));
    Ok(builder.start().await?.handle())
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    trunkline::random::seed(7);
    let (clock, begun) = (std::time::Instant::now(), Instant::now());
    let mut nodes = Vec::new();
    for number in 1..=5 {
        nodes.push(start(number).await?);
    }
    let first = RelayClient::connect("mem://node-1").await?;
    assert_eq!(first.pass().timeout(Duration::from_secs(301)).await?, "node 5");
    println!("five nodes: {} s", begun.elapsed().as_secs());
    let status = first.pass().timeout(Duration::from_secs(150)).await.err().ok_or("too quick")?;
    println!("half the time: {}", status.message());
    assert_eq!((status.code(), begun.elapsed().as_secs()), (Code::DeadlineExceeded, 450));

    nodes.remove(2).drain(Duration::ZERO); // Node 3 is gone for an hour; node 2 connects again by itself.
    sleep(Duration::from_secs(3600)).await;
    let _third = start(3).await?;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(first.pass().timeout(Duration::from_secs(301)).await?, "node 5");
    println!("{} s, of which really {:?}", begun.elapsed().as_secs(), clock.elapsed());
    Ok(())
}
