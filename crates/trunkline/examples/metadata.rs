//! Metadata travels beside the message, with the call and with its reply.
//! Run it: `cargo run --example metadata`

use trunkline::{Annotated, Bytes, Context, Metadata, Result, Server};

#[trunkline::service]
trait Greeter {
    /// A handler that wants to know about its call takes the context; one that sends metadata annotates its reply.
    async fn greet(&self, cx: &Context, name: Bytes) -> Result<Annotated<Bytes>>;
}

struct Polyglot;

impl Greeter for Polyglot {
    async fn greet(&self, cx: &Context, name: Bytes) -> Result<Annotated<Bytes>> {
        let (language, hello) = match cx.metadata().get("language") {
            Some("cy") => ("cy", "Helo"),
            Some("fr") => ("fr", "Bonjour"),
            _ => ("en", "Hello"),
        };
        let text = format!("{hello} {}", String::from_utf8_lossy(&name));
        let metadata = Metadata::builder().with("language", language).with("wire", cx.wire()).build();
        Ok(Annotated::new(text.into(), metadata))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder().serve(GreeterServer::new(Polyglot)).listen("127.0.0.1:0").start().await?;
    let greeter = GreeterClient::connect(server.url()).await?;

    // Who wants only the value awaits the call.
    let text = greeter.greet("Ann".into()).await?;
    assert_eq!(text, "Hello Ann");

    // Who wants the metadata, too, asks for the annotated reply.
    let call = greeter.greet("Ann".into()).metadata_pair("language", "cy").metadata_pair("tenant", "blue");
    let Annotated { value, metadata } = call.annotated().await?;
    println!("{}", String::from_utf8_lossy(&value));
    for (key, val) in metadata.iter() {
        println!("{} = {}", key.escape_ascii(), val.escape_ascii());
    }
    assert_eq!(value, "Helo Ann");
    assert_eq!((metadata.get("language"), metadata.get("wire")), (Some("cy"), Some("rpcx")));
    Ok(())
}
