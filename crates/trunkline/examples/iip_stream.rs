//! Streams over IIP: an echo that answers each item as it arrives, and goes no faster than its reader.
//! Run it: `cargo run --example iip_stream`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use trunkline::{Result, Server, Streaming};

#[trunkline::service]
trait Echo {
    /// Each word, louder.
    async fn shout(&self, words: Streaming<String>) -> Result<Streaming<String>>;
    async fn count(&self) -> Result<Streaming<String>>;
}

#[derive(Default)]
struct Mountain {
    made: Arc<AtomicU64>,
}

impl Echo for Mountain {
    async fn shout(&self, mut words: Streaming<String>) -> Result<Streaming<String>> {
        Ok(Streaming::produce(|out| async move {
            while let Some(word) = words.next().await {
                out.send(word?.to_uppercase()).await?;
            }
            Ok(())
        }))
    }

    async fn count(&self) -> Result<Streaming<String>> {
        let made = Arc::clone(&self.made);
        Ok(Streaming::iter((1..).map(move |n: u64| (made.store(n, Ordering::Relaxed), n.to_string()).1)))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mountain = Mountain::default();
    let made = Arc::clone(&mountain.made);
    let server = Server::builder().serve(EchoServer::new(mountain)).listen("127.0.0.1:0").start().await?;
    let echo = EchoClient::connect(&server.url().replace("rpcx://", "iip://")).await?;

    // Each answer comes before the next word is sent.
    let (words, said) = Streaming::channel(1);
    let mut answers = echo.shout(said).await?;
    for word in ["who", "is", "there"] {
        words.send(word.to_owned()).await?;
        println!("{word}: {}", answers.next().await.ok_or("the end")??);
    }
    words.finish();
    println!("the end: {}", answers.next().await.is_none());

    let mut numbers = echo.count().await?;
    println!("the first number: {}", numbers.next().await.ok_or("the end")??);
    drop(numbers); // Nobody reads: the server is told, and makes no more.
    println!("more than were read, but not many: {}", made.load(Ordering::Relaxed) < 1_000_000_000);
    Ok(())
}
