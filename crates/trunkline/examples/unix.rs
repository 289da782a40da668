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
    let server = builder.listen(&socket).listen("mem://doorman").listen("127.0.0.1:0").bind().await?;
    println!("serving on {}", server.addresses().join(" "));
    let (tcp, handle) = (server.addresses().remove(2), server.handle());
    let serving = tokio::spawn(server.run());

    // Where the scheme is a transport, the wire to speak on it is a parameter.
    let who = WhoClient::connect(&format!("{socket}?wire=rpcx")).await?;
    assert_eq!(who.am_i().await?, "unix");
    let who = WhoClient::connect("mem://doorman?wire=rpcx").await?;
    assert!(who.am_i().await?.starts_with(b"mem#"));
    let who = WhoClient::connect(&format!("rpcx://{tcp}")).await?;
    assert!(who.am_i().await?.starts_with(b"127.0.0.1:"));
    println!("three transports, one service");

    // A server that stops takes its socket file with it.
    handle.drain(std::time::Duration::from_secs(5));
    serving.await??;
    assert!(!path.exists());
    println!("the socket file is gone");
    Ok(())
}
