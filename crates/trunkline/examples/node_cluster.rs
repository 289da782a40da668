//! Two nodes that call each other, as saber's do. Run it: `cargo run --features node --example node_cluster`

use std::time::Duration;

use serde::{Deserialize, Serialize};
use trunkline::node::{Cluster, ClusterTable, Node, State};
use trunkline::{Message, Result, Server};

#[derive(Debug, Clone, Serialize, Deserialize, Message)]
struct Name {
    name: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, Message)]
struct Greeting {
    text: String,
    guests: u32,
}

/// The attribute makes `LobbyHandle` beside the rest: what a service is called by, in this node or in another.
#[trunkline::service(mailbox, name = "lobby")]
trait Lobby {
    async fn enter(&self, guest: Name) -> Result<Greeting>;
}

/// State that only the service's handlers touch.
#[derive(Default)]
struct Hall(State<u32>);

impl Lobby for Hall {
    async fn enter(&self, guest: Name) -> Result<Greeting> {
        let guests = self.0.with(|guests| std::mem::replace(guests, *guests + 1)) + 1;
        Ok(Greeting { text: format!("hello {}", guest.name), guests })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // One node has the lobby, on a server as any other: Go nodes may call it, too.
    let game = Node::builder("game").serve(101, LobbyServer::new(Hall::default())).start()?;
    let game_cluster = Cluster::start(&game, &ClusterTable::new("game"))?;
    let game_server = Server::builder().cluster(&game_cluster).listen("127.0.0.1:0").start().await?;

    // The other one knows it by its table.
    let gate = Node::builder("gate").start()?;
    let table = ClusterTable::new("gate").remote("game", &game_server.addresses()[0]);
    let gate_cluster = Cluster::start(&gate, &table)?;

    // A call within a node goes by value, one to another node through JSON; the caller sees no difference.
    let lobby: LobbyHandle = gate.at("game", 101);
    let greeting = lobby.enter(Name { name: "Ada".into() }).await?;
    println!("{}, guest number {}", greeting.text, greeting.guests);
    lobby.notify().enter(Name { name: "Grace".into() }).await?;
    let greeting = lobby.enter(Name { name: "Edsger".into() }).await?;
    println!("{}, guest number {}", greeting.text, greeting.guests);

    gate_cluster.stop(Duration::from_secs(1)).await;
    game_server.stop(Duration::from_secs(1)).await?;
    Ok(())
}
