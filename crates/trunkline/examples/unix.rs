//! The same service on a Unix socket, on TCP and in memory, from one server.
//! Run it: `cargo run --example unix`

use trunkline::{Bytes, Context, Result, Server};

#[trunkline::service]
trait Who {
    async fn am_i(&self, cx: &Context) -> Result<Bytes>;
}

struct Doorman;

impl Who for Doorman {
    async fn am_i(&self, cx: &Context) -> Result<Bytes> {
        Ok(cx.peer().to_string().into())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("trunkline-example-{}.sock", std::process::id()));
    let socket = format!("unix://{}", path.display());
    let builder = Server::builder().serve(WhoServer::new(Doorman));
    let server = builder.listen(&socket).listen("mem://doorman").listen("127.0.0.1:0").start().await?;
    println!("serving on {}", server.addresses().join(" "));

    // Where the scheme is a transport, the wire on it is rpcx, or what a parameter says.
    let who = WhoClient::connect(&socket).await?;
    assert_eq!(who.am_i().await?, "unix");
    let who = WhoClient::connect("mem://doorman?wire=easymicro").await?;
    assert!(who.am_i().await?.starts_with(b"mem#"));
    let who = WhoClient::connect(&format!("rpcx://{}", server.addresses()[2])).await?;
    assert!(who.am_i().await?.starts_with(b"127.0.0.1:"));
    println!("three transports, one service");

    // A server that stops takes its socket file with it.
    server.stop(std::time::Duration::from_secs(5)).await?;
    assert!(!path.exists());
    println!("the socket file is gone");
    Ok(())
}
