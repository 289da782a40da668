//! A server sends messages of its own accord over the connection that a call came on.
//! Run it: `cargo run --example push`

use serde::{Deserialize, Serialize};
use trunkline::client::Channel;
use trunkline::{Code, Context, Message, Push, Result, Serialization, Server, Status};

#[derive(Serialize, Deserialize, Message)]
struct Subscription {
    prices: u32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, Message)]
struct Price {
    cents: u32,
}

#[trunkline::service]
trait Market {
    /// From now on the caller is told the price whenever it changes.
    async fn subscribe(&self, cx: &Context, subscription: Subscription) -> Result<()>;
}

struct Exchange;

impl Market for Exchange {
    async fn subscribe(&self, cx: &Context, subscription: Subscription) -> Result<()> {
        let unable = || Status::new(Code::Unsupported, "this wire carries no pushes");
        let pusher = cx.pusher().ok_or_else(unable)?;
        // The pusher may outlive the call; when the connection is gone it fails, and the task ends.
        tokio::spawn(async move {
            for n in 1..=subscription.prices {
                let price = Price { cents: 100 * n };
                pusher.push(Push::new("Market", "Price", Serialization::Json, price)?).await?;
            }
            Ok::<_, Status>(())
        });
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder().serve(MarketServer::new(Exchange)).listen("127.0.0.1:0").start().await?;
    let channel = Channel::connect(server.url()).await?;

    let mut pushes = channel.pushes();
    let market = MarketClient::new(channel);
    market.subscribe(Subscription { prices: 3 }).await?;
    for expected in [100, 200, 300] {
        let push = pushes.next().await.ok_or("this wire carries no pushes")??;
        let price: Price = push.decode()?;
        println!("{}.{}: {price:?}", push.service, push.method);
        assert_eq!(price.cents, expected);
    }
    Ok(())
}
