//! tower's middleware around a server and around a client.
//! Run it: `cargo run -p trunkline --features tower --example tower`

use std::time::Duration;

use tokio::time::sleep;
use tower::{ServiceBuilder, timeout::Timeout};
use trunkline::client::Channel;
use trunkline::tower::{from_tower, to_tower, tower_layer};
use trunkline::{Bytes, Code, Result, Server};

#[trunkline::service]
trait Kitchen {
    async fn cook(&self, dish: Bytes) -> Result<Bytes>;
}

struct Cook;

impl Kitchen for Cook {
    async fn cook(&self, dish: Bytes) -> Result<Bytes> {
        sleep(Duration::from_millis(if dish == "roast" { 60_000 } else { 100 })).await;
        Ok(dish)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Two calls at a time; a third one is refused and does not wait.
    let policy = ServiceBuilder::new().load_shed().concurrency_limit(2);
    let builder = Server::builder().serve(KitchenServer::new(Cook)).layer(tower_layer(policy));
    let server = builder.listen("127.0.0.1:0").start().await?;
    let channel = Channel::connect(server.url()).await?;

    let kitchen = KitchenClient::new(channel.clone());
    let (soup, salad, bread) = tokio::join!(
        kitchen.cook("soup".into()),
        kitchen.cook("salad".into()),
        kitchen.cook("bread".into()),
    );
    assert_eq!((soup?, salad?), ("soup".into(), "salad".into()));
    let status = bread.err().ok_or("three at a time")?;
    println!("soup and salad are served; bread: {status}");
    assert_eq!(status.code(), Code::Limited);

    let hurried = from_tower(Timeout::new(to_tower(channel), Duration::from_millis(50)));
    let status = KitchenClient::new(hurried).cook("roast".into()).await.err().ok_or("so soon?")?;
    println!("hurried: {status}");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    Ok(())
}
