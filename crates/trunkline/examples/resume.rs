//! A stream that goes on although its connection is lost.
//! Run it: `cargo run --example resume`

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use trunkline::client::{Channel, Resuming};
use trunkline::layer::Resume;
use trunkline::{Result, Server, Streaming};

#[trunkline::service]
trait Log {
    /// The lines of a log, as they are written.
    async fn follow(&self, from: String) -> Result<Streaming<String>>;
}

struct Lines;

impl Log for Lines {
    async fn follow(&self, from: String) -> Result<Streaming<String>> {
        Ok(Streaming::produce(|out| async move {
            for line in 1..=9 {
                out.send(format!("{from} {line}")).await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        }))
    }
}

/// A bad network between the two: each connection lasts a moment.
async fn cut(listener: TcpListener, server: String) -> std::io::Result<()> {
    loop {
        let (mut near, _) = listener.accept().await?;
        let mut far = TcpStream::connect(&server).await?;
        let pass = tokio::io::copy_bidirectional(&mut near, &mut far);
        let _ = tokio::time::timeout(Duration::from_millis(70), pass).await;
        println!("the connection is cut");
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // What was sent is kept until it is acknowledged, and a stream for 30 s when nobody reads it.
    let builder = Server::builder().serve(LogServer::new(Lines)).layer(Resume::new());
    let server = builder.listen("127.0.0.1:0").start().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("iip://{}", listener.local_addr()?);
    tokio::spawn(cut(listener, server.addresses().concat().replace("tcp://", "")));

    let log = LogClient::new(Resuming::new(Channel::connect(&url).await?));
    let mut lines = log.follow("line".into()).await?;
    while let Some(line) = lines.next().await {
        println!("{}", line?);
    }
    println!("each came once");
    Ok(())
}
