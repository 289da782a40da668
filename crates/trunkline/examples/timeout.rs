//! A deadline, or a caller that goes away, stops the work at the server.
//! Run it: `cargo run --example timeout`

use std::time::Duration;

use tokio::sync::mpsc;
use trunkline::{Code, Context, Result, Server};

#[trunkline::service]
trait Report {
    /// Takes an hour.
    async fn write(&self, cx: &Context) -> Result<()>;
}

/// Tells what becomes of its work.
struct Author(mpsc::UnboundedSender<&'static str>);

/// Lives as long as the handler's future. When the call ends early the future is dropped, and this with it.
struct Work<'a>(&'a Author);

impl Drop for Work<'_> {
    fn drop(&mut self) {
        let _ = self.0.0.send("stopped");
    }
}

impl Report for Author {
    async fn write(&self, cx: &Context) -> Result<()> {
        let _work = Work(self);
        let _ = self.0.send(if cx.time_left().is_some() { "begun with a deadline" } else { "begun" });
        tokio::time::sleep(Duration::from_secs(3600)).await;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (tell, mut told) = mpsc::unbounded_channel();
    let server =
        Server::builder().serve(ReportServer::new(Author(tell))).listen("127.0.0.1:0").bind().await?;
    let report = ReportClient::connect(&server.url()).await?;
    tokio::spawn(server.run());

    // The deadline travels with the call: both sides keep it. Without one a call has 10 s.
    let status = report.write().timeout(Duration::from_millis(100)).await.unwrap_err();
    println!("{status}");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!((told.recv().await, told.recv().await), (Some("begun with a deadline"), Some("stopped")));

    // Dropping a call cancels it. Here `select!` drops it once the work has begun.
    tokio::select! {
        result = report.write() => result?,
        begun = told.recv() => assert_eq!(begun, Some("begun")),
    }
    assert_eq!(told.recv().await, Some("stopped"));
    println!("the work was stopped both times");
    Ok(())
}
