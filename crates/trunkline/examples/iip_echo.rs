//! IIP: a service under `/Service/Method` and under a path of its own, called by names and by path.
//! Run it: `cargo run --example iip_echo`

use std::time::Duration;

use trunkline::client::{Channel, Outgoing};
use trunkline::{Bytes, Result, Server};

#[trunkline::service]
trait Echo {
    async fn echo(&self, body: Bytes) -> Result<Bytes>;
}

struct Mirror;

impl Echo for Mirror {
    async fn echo(&self, body: Bytes) -> Result<Bytes> {
        Ok(body)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The port speaks all wires; on IIP `/echo` is `/Echo/Echo` by a shorter name.
    let server = Server::builder().serve(EchoServer::new(Mirror)).path("/echo", "Echo", "Echo");
    let server = server.listen("127.0.0.1:0").start().await?;
    let url = server.url().replace("rpcx://", "iip://");
    println!("serving on {url}");

    // A connection has several channels; requests of a channel are answered in their order.
    let channel = Channel::connect(&url).await?;
    let echo = EchoClient::new(channel.clone());
    println!("by its names: {}", text(&echo.echo("hello".into()).await?));

    // A method without a service is a path, with its query.
    let call: Outgoing<'_, _, Bytes, Bytes> = Outgoing::new(&channel, "", "/echo?key=x", "hello".into());
    println!("by its path: {}", text(&call.timeout(Duration::from_secs(1)).await?));

    let calls = (0..100).map(|n| echo.echo(format!("{n}").into()).send());
    let answers = futures_util::future::try_join_all(calls).await?;
    let right = answers.iter().enumerate().all(|(n, answer)| text(answer) == n.to_string());
    println!("a hundred at once, each with its own answer: {right}");

    let call: Outgoing<'_, _, Bytes, Bytes> = Outgoing::new(&channel, "", "/nobody", "hello".into());
    println!("an unknown path: {}", call.await.err().ok_or("it was answered")?);
    server.stop(Duration::from_secs(1)).await?;
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
