//! Large bodies can travel compressed. A small relay between client and server counts the bytes.
//! Run it: `cargo run --example compress`

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
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
    let server = Server::builder().serve(EchoServer::new(Mirror)).listen("127.0.0.1:0").start().await?;
    let address = server.addresses()[0].clone();
    let relay = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("rpcx://{}", relay.local_addr()?);

    let body = Bytes::from("a line that says the same again and again\n".repeat(1000));
    let mut sent = Vec::new();
    for compressed in [false, true] {
        let call = async {
            let echo = EchoClient::connect(&url).await?;
            let call = echo.echo(body.clone());
            // The reply comes compressed where the request did. Bodies up to 1 KiB never are: it is not worth it.
            let reply = if compressed { call.compressed().await? } else { call.await? };
            assert_eq!(reply, body);
            Ok::<_, Box<dyn std::error::Error>>(())
        };
        let count = async {
            let (mut client, _) = relay.accept().await?;
            let mut server = TcpStream::connect(&address).await?;
            Ok(copy_bidirectional(&mut client, &mut server).await?)
        };
        let ((), (there, back)) = tokio::try_join!(call, count)?;
        println!("compressed: {compressed}: {there} bytes there, {back} back");
        sent.push((there, back));
    }
    let [(plain, plain_back), (small, small_back)] = sent[..] else { return Err("not two calls".into()) };
    assert!(small * 20 < plain && small_back * 20 < plain_back);
    Ok(())
}
