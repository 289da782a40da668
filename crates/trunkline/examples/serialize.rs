//! One type travels in every codec: the caller chooses, the service does not notice.
//! Run it: `cargo run --example serialize`

use serde::{Deserialize, Serialize};
use trunkline::codec::Payload;
use trunkline::{Blob, Message, Result, Serialization, Server};

/// serde's names serve JSON and MessagePack, the numbers of `Message` protobuf and Thrift.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
struct Order {
    id: u64,
    lines: Vec<Line>,
    note: Option<String>,
    #[message(number = 10, kind = "sint")]
    balance: i64,
    receipt: Blob,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
struct Line {
    name: String,
    count: u32,
}

#[trunkline::service]
trait Orders {
    async fn confirm(&self, order: Order) -> Result<Order>;
}

struct Shop;

impl Orders for Shop {
    async fn confirm(&self, order: Order) -> Result<Order> {
        Ok(Order { note: Some("confirmed".into()), ..order })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder().serve(OrdersServer::new(Shop)).listen("127.0.0.1:0").start().await?;
    let orders = OrdersClient::connect(server.url()).await?;

    let lines = vec![Line { name: "tea".into(), count: 3 }];
    let order = Order { id: 7, lines, note: None, balance: -250, receipt: vec![0, 255].into() };
    let (json, msgpack) = (Serialization::Json, Serialization::MessagePack);
    for codec in [json, msgpack, Serialization::Protobuf, Serialization::Thrift] {
        let mut body = Vec::new();
        order.encode(codec, &mut body)?;
        println!("{codec:?}: {} bytes: {}", body.len(), body.escape_ascii());

        let confirmed = orders.confirm(order.clone()).serialization(codec).await?;
        assert_eq!(confirmed, Order { note: Some("confirmed".into()), ..order.clone() });
    }
    Ok(())
}
