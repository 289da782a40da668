//! Named peers, as zrpc has them: each offers functions and calls those of others, which may start later.
//! Run it: `cargo run --example peers`

use std::time::Duration;

use serde::{Deserialize, Serialize};
use trunkline::peer::NamedPeer;
use trunkline::{Bytes, Result, Status};

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Order {
    item: String,
    count: u32,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let shop = NamedPeer::builder("shop")
        .listen("127.0.0.1:0")
        .function("s", |_: Bytes| async { Ok("world".into()) })
        .typed("order", |order: Order| async move {
            if order.count == 0 {
                return Err(Status::failed("nothing is ordered"));
            }
            Ok(format!("{} x {}", order.count, order.item))
        })
        .start()
        .await?;
    // Two endpoints to one name are called in turn; here they are one, over two connections.
    let desk = NamedPeer::builder("desk")
        .listen("127.0.0.1:0")
        .peer("shop", shop.address())
        .connections(2)
        .timeout(Duration::from_secs(2))
        .start()
        .await?;

    println!("the shop offers {}", desk.functions("shop").await?.join(", "));
    let answer = desk.call("shop", "s", "hello").await?;
    println!("s: {}", String::from_utf8_lossy(&answer));
    let order = Order { item: "tea".into(), count: 3 };
    println!("order: {}", desk.call_typed::<_, String>("shop", "order", &order).await?);
    let refused = desk.call_typed::<_, String>("shop", "order", &Order { count: 0, ..order }).await;
    println!("nothing: {}", refused.err().ok_or("it was sold")?.message());

    // What is not offered is refused before anything is sent.
    let missing = desk.call("shop", "nope", "").await.err().ok_or("it is there")?;
    println!("nope: {} (begun: {})", missing.message(), !missing.may_retry());

    // The other way round: the shop learns of the desk later.
    shop.add_peer("desk", desk.address())?;
    println!("the desk offers {} functions", shop.functions("desk").await?.len());
    Ok(())
}
