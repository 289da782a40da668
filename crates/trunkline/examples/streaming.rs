//! Streams: a method that answers as it goes, and one that reads its request as it arrives.
//! Run it: `cargo run --example streaming`

use serde::{Deserialize, Serialize};
use trunkline::{Message, Result, Server, Status, Streaming};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
struct Sample {
    celsius: i64,
}

#[trunkline::service]
trait Thermometer {
    /// Warmer and warmer, each sample when it is there.
    async fn watch(&self, first: Sample) -> Result<Streaming<Sample>>;
    /// The warmest of them, whatever their number.
    async fn warmest(&self, samples: Streaming<Sample>) -> Result<Sample>;
}

struct Cellar;

impl Thermometer for Cellar {
    async fn watch(&self, first: Sample) -> Result<Streaming<Sample>> {
        Ok(Streaming::produce(move |out| async move {
            for celsius in first.celsius.. {
                // It waits when nobody reads, and is dropped when the reader goes away.
                out.send(Sample { celsius }).await?;
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            Ok(())
        }))
    }

    async fn warmest(&self, mut samples: Streaming<Sample>) -> Result<Sample> {
        let mut warmest: Option<Sample> = None;
        while let Some(sample) = samples.next().await {
            let sample = sample?;
            if warmest.as_ref().is_none_or(|warmest| warmest.celsius < sample.celsius) {
                warmest = Some(sample);
            }
        }
        warmest.ok_or(Status::failed("there are no samples"))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server =
        Server::builder().serve(ThermometerServer::new(Cellar)).listen("127.0.0.1:0").start().await?;
    // Any HTTP client can have them, too: as lines of JSON, or with `Accept: text/event-stream` as events.
    let cellar = ThermometerClient::connect(&server.url().replace("rpcx://", "http://")).await?;
    let mut samples = cellar.watch(Sample { celsius: 11 }).await?;
    for _ in 0..3 {
        println!("it has {} degrees", samples.next().await.ok_or("the end")??.celsius);
    }
    let warmest = cellar.warmest(Streaming::iter([3, 21, 8].map(|celsius| Sample { celsius }))).await?;
    println!("the warmest of three: {}", warmest.celsius);
    Ok(())
}
