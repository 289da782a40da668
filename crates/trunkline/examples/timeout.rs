//! A deadline or a dropped call stops the work at the server. Run it: `cargo run --example timeout`

use std::time::Duration;

use tokio::sync::mpsc;
use trunkline::{Code, Context, Result, Server};

#[trunkline::service]
trait Novel {
    fn ping(&self) -> Result<()>;
    async fn write(&self, cx: &Context) -> Result<()>;
}

/// Tells what becomes of its work.
struct Writer(mpsc::UnboundedSender<&'static str>);

impl Novel for Writer {
    fn ping(&self) -> Result<()> {
        Ok(())
    }

    async fn write(&self, cx: &Context) -> Result<()> {
        let _work = Work(self);
        let _ = self.0.send(if cx.time_left().is_some() { "begun with a deadline" } else { "begun" });
        tokio::time::sleep(Duration::from_secs(3600)).await;
        Ok(())
    }
}

/// Lives in the handler's future, and is dropped with it when the call ends early.
struct Work<'a>(&'a Writer);

impl Drop for Work<'_> {
    fn drop(&mut self) {
        let _ = self.0.0.send("stopped");
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (tell, mut told) = mpsc::unbounded_channel();
    let builder = Server::builder().serve(NovelServer::new(Writer(tell)));
    let server = builder.listen("127.0.0.1:0").start().await?;
    let novel = NovelClient::connect(server.url()).await?;
    novel.ping().await?; // With its first reply the server tells that it understands a cancel.
    let status = novel.write().timeout(Duration::from_millis(300)).await.err().ok_or("so soon?")?;
    println!("{status}");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!((told.recv().await, told.recv().await), (Some("begun with a deadline"), Some("stopped")));

    // Dropping a call cancels it: here as soon as the work has begun.
    tokio::select! {
        result = novel.write() => result?,
        begun = told.recv() => assert_eq!(begun, Some("begun")),
    }
    assert_eq!(told.recv().await, Some("stopped"));
    println!("the work was stopped both times");
    Ok(())
}
