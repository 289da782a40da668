//! A mailbox service in a node: called, notified, called by name through the codec.
//! Run it: `cargo run --features node --example node_hello`

use serde::{Deserialize, Serialize};
use trunkline::node::{Node, State};
use trunkline::{Bytes, Call, Message, Result, Serialization};

#[derive(Serialize, Deserialize, Message)]
struct Guest {
    name: String,
}

#[trunkline::service(mailbox, name = "greeter")]
trait Greeter {
    /// Greets a guest.
    async fn greet(&self, guest: Guest) -> Result<Guest>;
    /// A guest has left; nobody waits to hear anything.
    async fn leave(&self, guest: Guest) -> Result<()>;
}

/// Handlers run one at a time, so the state needs no lock that is waited for.
#[derive(Default)]
struct Porter {
    inside: State<Vec<String>>,
}

impl Greeter for Porter {
    async fn greet(&self, guest: Guest) -> Result<Guest> {
        let count = self.inside.with(|inside| {
            inside.push(guest.name.clone());
            inside.len()
        });
        Ok(Guest { name: format!("hello {}, you are number {count}", guest.name) })
    }

    async fn leave(&self, guest: Guest) -> Result<()> {
        self.inside.with(|inside| inside.retain(|name| *name != guest.name));
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let node = Node::builder("hotel").serve(1, GreeterServer::new(Porter::default())).start()?;
    let greeter: GreeterHandle = node.at("hotel", 1);
    println!("{}", greeter.greet(Guest { name: "Ada".into() }).await?.name);
    // By value, without an answer, in the order of sending.
    greeter.notify().leave(Guest { name: "Ada".into() }).await?;
    println!("{}", greeter.greet(Guest { name: "Bob".into() }).await?.name);

    let call = Call::new("greeter", "Greet", Serialization::Json, Bytes::from(r#"{"name":"Eve"}"#));
    let reply = node.call("greeter", 1, call).await?;
    println!("as JSON: {}", String::from_utf8_lossy(&reply.into_body().whole(1024).await?));
    node.stop().await;
    println!("stopped: {}", greeter.greet(Guest { name: "Late".into() }).await.is_err());
    Ok(())
}
