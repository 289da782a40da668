//! A one-way call is done when it is on its way: nobody waits for an answer, and none is sent.
//! Run it: `cargo run --example oneway`

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use trunkline::{Message, Result, Server, Status};

#[derive(Debug, PartialEq, Serialize, Deserialize, Message)]
struct Event {
    text: String,
}

/// A service does not say whether it is called one-way: each caller chooses.
#[trunkline::service]
trait Log {
    async fn write(&self, event: Event) -> Result<()>;
}

struct Journal(mpsc::Sender<Event>);

impl Log for Journal {
    async fn write(&self, event: Event) -> Result<()> {
        if event.text.is_empty() {
            return Err(Status::failed("nothing to write"));
        }
        self.0.send(event).await.map_err(|_| Status::failed("the journal is closed"))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (journal, mut written) = mpsc::channel(16);
    let server =
        Server::builder().serve(LogServer::new(Journal(journal))).listen("127.0.0.1:0").start().await?;
    let log = LogClient::connect(server.url()).await?;

    for text in ["one", "", "two"] {
        // Well done, as far as the caller learns; that the service refuses the empty text stays with the service.
        log.write(Event { text: text.into() }).one_way().await?;
    }
    // They run side by side: which one is written first is open.
    let mut texts = Vec::new();
    for _ in 0..2 {
        texts.push(written.recv().await.ok_or("the journal is gone")?.text);
    }
    texts.sort();
    println!("written: {texts:?}");
    assert_eq!(texts, ["one", "two"]);

    // The same method, called for an answer.
    let status = log.write(Event { text: String::new() }).await.err().ok_or("nothing was written")?;
    println!("refused: {}", status.message());
    assert_eq!(status.message(), "nothing to write");
    Ok(())
}
