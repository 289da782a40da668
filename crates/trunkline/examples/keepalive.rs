//! A channel notices that its peer hangs, and connects again by itself as soon as somebody answers.
//! Run it: `cargo run --example keepalive`

use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use trunkline::client::{Channel, ConnectionState};
use trunkline::{Result, Server};

#[trunkline::service]
trait Health {
    async fn check(&self) -> Result<()>;
}

struct Healthy;

impl Health for Healthy {
    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A peer that hangs: it takes one connection and never says a word.
    let hanging = TcpListener::bind("127.0.0.1:0").await?;
    let address = hanging.local_addr()?.to_string();
    let builder = Channel::builder(&format!("rpcx://{address}")).heartbeat(Duration::from_millis(100));
    let (channel, accepted) = tokio::join!(builder.connect(), hanging.accept());
    let (channel, _silent) = (channel?, accepted?);
    drop(hanging);

    // Nobody calls. The channel asks whether the peer is there, gets no answer, and gives the connection up.
    let begun = Instant::now();
    let mut state = channel.state();
    let lost = state.wait_for(|state| matches!(state, ConnectionState::Failed { .. })).await?.clone();
    println!("after {} ms: {lost:?}", begun.elapsed().as_millis());

    // A server comes up at the same address. The channel dials it, whether somebody calls or not.
    let _server = Server::builder().serve(HealthServer::new(Healthy)).listen(&address).start().await?;
    state.wait_for(|state| *state == ConnectionState::Connected).await?;
    println!("connected again");

    HealthClient::new(channel).check().await?;
    println!("healthy");
    Ok(())
}
