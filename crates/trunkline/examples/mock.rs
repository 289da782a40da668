//! Code that calls a service is tested without a server: `#[service]` makes a mock, too.
//! Run it: `cargo run --example mock`

use serde::{Deserialize, Serialize};
use trunkline::{Code, Message, Result, Service, Status};

#[derive(Serialize, Deserialize, Message)]
struct Item {
    name: String,
}

#[derive(Serialize, Deserialize, Message)]
struct Price {
    cents: u64,
}

#[trunkline::service]
trait Prices {
    #[idempotent]
    async fn look_up(&self, item: Item) -> Result<Price>;
}

/// What is to be tested. It takes a client through anything: a channel in production, a mock in a test.
async fn total(prices: &PricesClient<impl Service>, names: &[&str]) -> Result<u64> {
    let mut total = 0;
    for name in names {
        let item = Item { name: (*name).to_owned() };
        total += match prices.look_up(item).await {
            Ok(price) => price.cents,
            Err(status) if status.code() == Code::NotFound => 0,
            Err(status) => return Err(status),
        };
    }
    Ok(total)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mock = PricesMock::new().look_up(|item| match item.name.as_str() {
        "tea" => Ok(Price { cents: 250 }),
        "lead" => Err(Status::failed("not for sale")),
        _ => Err(Status::new(Code::NotFound, "no such item")),
    });
    // No network, but the codecs: what would not survive the wire does not survive this either.
    let prices = mock.clone().client();

    assert_eq!(total(&prices, &["tea", "gold", "tea"]).await?, 500);
    println!("unknown items cost nothing");
    let status = total(&prices, &["tea", "lead"]).await.err().ok_or("lead was sold")?;
    assert_eq!(status.message(), "not for sale");
    println!("a failure is handed on");
    assert_eq!(mock.look_up_calls(), 5);
    println!("{} calls were made", mock.look_up_calls());
    Ok(())
}
