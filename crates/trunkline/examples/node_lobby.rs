//! A game's lobby: serial, with state that survives a panic.
//! Run it: `cargo run --features node --example node_lobby`

use std::time::Duration;

use serde::{Deserialize, Serialize};
use trunkline::node::{Mailbox, Node, Restarts, State};
use trunkline::{Message, Result, Status};

#[derive(Clone, Serialize, Deserialize, Message)]
struct Player {
    name: String,
}

#[derive(Serialize, Deserialize, Message)]
struct Seat {
    table: u64,
    place: u64,
}

#[trunkline::service(mailbox, name = "lobby")]
trait Lobby {
    /// Takes a seat at the next table that has one; a table has two.
    async fn join(&self, player: Player) -> Result<Seat>;
}

struct Hall(State<Vec<String>>);

impl Lobby for Hall {
    async fn join(&self, player: Player) -> Result<Seat> {
        assert!(!player.name.starts_with("bot"), "this lobby has a bug");
        let count = self.0.with(|players| {
            players.push(player.name);
            players.len() as u64 - 1
        });
        Ok(Seat { table: count / 2, place: count % 2 })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let node = Node::builder("games").start()?;
    // A panic fails its own call; then the lobby is made anew out of what the old one leaves.
    let supervised = Mailbox::with_snapshot(
        |players| LobbyServer::new(Hall(State::new(players.unwrap_or_default()))),
        |lobby: &LobbyServer<Hall>| lobby.inner().0.intact(Vec::clone),
    );
    let pauses = Restarts { first: Duration::from_millis(10), ..Restarts::default() };
    let lobby = node.serve(101, supervised.serial().restarts(pauses))?;
    for name in ["ann", "bob", "bot 7", "cid"] {
        match lobby.join(Player { name: name.into() }).await {
            Ok(seat) => println!("{name}: table {}, place {}", seat.table, seat.place),
            Err(status) => println!("{name}: {}", status.code()),
        }
    }
    let view = lobby.mailbox().view().ok_or_else(|| Status::failed("it is in this node"))?;
    println!("handled {}, panics {}, restarts {}", view.handled, view.panics, view.restarts);
    node.stop().await;
    Ok(())
}
