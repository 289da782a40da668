//! A client of several endpoints: by weight, by key, and on when one is gone.
//! Run it: `cargo run --example balance`

use std::time::Duration;

use trunkline::balance::{ConsistentHash, Endpoint, Key};
use trunkline::client::Client;
use trunkline::{Result, Server, server::RunningServer};

#[trunkline::service]
trait Desk {
    /// Where the caller ended up.
    async fn city(&self) -> Result<String>;
}

struct Office(&'static str);

impl Desk for Office {
    async fn city(&self) -> Result<String> {
        Ok(self.0.to_owned())
    }
}

async fn open(city: &'static str) -> Result<RunningServer, Box<dyn std::error::Error>> {
    Ok(Server::builder().serve(DeskServer::new(Office(city))).listen("127.0.0.1:0").start().await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (paris, oslo) = (open("paris").await?, open("oslo").await?);

    // Several endpoints in one URL: in turn, by weight.
    let urls = format!("{}#3,{}", paris.url(), oslo.url());
    let desk = DeskClient::connect(&urls).await?;
    let mut at_paris = 0;
    for _ in 0..4 {
        at_paris += u32::from(desk.city().await? == "paris");
    }
    println!("by weight: paris {at_paris}, oslo {}", 4 - at_paris);

    // The same endpoint for the same user; endpoints come and go while it runs.
    let by_user = ConsistentHash::new(Key::metadata("user"));
    let client = Client::builder(oslo.url()).select(by_user).connections(2).connect().await?;
    client.add(Endpoint::new(paris.url()).with_alias("paris"))?;
    let desk = DeskClient::new(client.clone());
    let city = desk.city().metadata_pair("user", "ann").await?;
    assert_eq!(desk.city().metadata_pair("user", "ann").await?, city);
    println!("ann is always at {city}");

    // One is gone: its calls go on to the other, and it is paused until it is back.
    paris.stop(Duration::from_secs(1)).await?;
    println!("without paris: {}", desk.city().metadata_pair("user", "ann").await?);

    oslo.stop(Duration::from_secs(1)).await?;
    let status = DeskClient::connect(&urls).await.err().ok_or("somebody answers")?;
    println!("nobody: {}", status.message());
    Ok(())
}
