//! A client of several IIP servers: by weight, by a parameter of the URI, and on when one is gone.
//! Run it: `cargo run --example iip_balance`

use std::collections::BTreeMap;
use std::time::Duration;

use trunkline::balance::{ConsistentHash, Key, LeastPending};
use trunkline::client::{Client, Outgoing};
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
    let server = Server::builder().serve(DeskServer::new(Office(city))).path("/city", "Desk", "City");
    Ok(server.listen("127.0.0.1:0").start().await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (paris, oslo) = (open("paris").await?, open("oslo").await?);
    // `iip://HOST:PORT#WEIGHT,HOST:PORT#WEIGHT`; two connections to each, with eight channels each.
    let urls = format!("iip://{}#3,{}#1", paris.addresses()[0], oslo.addresses()[0]);
    let desk = DeskClient::new(Client::builder(&urls).connections(2).connect().await?);
    let mut cities = BTreeMap::new();
    for _ in 0..40 {
        *cities.entry(desk.city().await?).or_insert(0) += 1;
    }
    println!("by weight: {cities:?}");

    // The same server for the same user, as the URI says.
    let by_user = ConsistentHash::new(Key::parameter("user"));
    let client = Client::builder(&urls).select(by_user).connect().await?;
    let at = |path: &'static str| Outgoing::<_, (), String>::new(&client, "", path, ());
    println!("the same: {}", at("/city?user=ann").await? == at("/city?x=1&user=ann").await?);

    // One is gone: its calls go on to the other, and it is paused until it is back.
    let desk = DeskClient::new(Client::builder(&urls).select(LeastPending::new()).connect().await?);
    paris.stop(Duration::from_secs(1)).await?;
    for _ in 0..10 {
        assert_eq!(desk.city().await?, "oslo");
    }
    println!("without paris: all at oslo");
    oslo.stop(Duration::from_secs(1)).await?;
    println!("nobody: {}", desk.city().await.err().ok_or("somebody answers")?.message());
    Ok(())
}
