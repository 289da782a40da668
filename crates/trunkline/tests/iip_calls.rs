//! Calls over IIP between our own client and server: what is said beside names and body.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail loudly"
)]

use std::time::Duration;

use tokio::time::Instant;
use trunkline::client::Channel;
use trunkline::{
    Bytes, Call, Code, Context, Metadata, ReplyBuf, Result, Serialization, Server, Service, Status, metadata,
    service,
};

#[service]
trait Probe {
    /// Answered on the spot, where nothing says otherwise.
    fn borrowed(&self, body: &[u8], reply: &mut ReplyBuf<'_>) -> Result<()>;
    /// What the metadata says of a key.
    async fn said(&self, context: &Context, key: String) -> Result<String>;
    /// Says no, with an error value of its own.
    async fn fails(&self) -> Result<()>;
    /// Never ends.
    async fn waits(&self) -> Result<()>;
}

struct Here;

impl Probe for Here {
    fn borrowed(&self, body: &[u8], reply: &mut ReplyBuf<'_>) -> Result<()> {
        reply.extend_from_slice(body);
        Ok(())
    }

    async fn said(&self, context: &Context, key: String) -> Result<String> {
        Ok(context.metadata().get(&key).unwrap_or("nothing").to_owned())
    }

    async fn fails(&self) -> Result<()> {
        Err(Status::new(Code::Limited, "no \"more\"\n").with_details(&7u32))
    }

    async fn waits(&self) -> Result<()> {
        std::future::pending().await
    }
}

async fn channel(name: &str, token: Option<&str>, shows: Option<&str>) -> Channel {
    let mut server = Server::builder().serve(ProbeServer::new(Here)).listen(format!("mem://{name}"));
    if let Some(token) = token {
        server = server.token(token);
    }
    let server = server.bind().await.unwrap();
    tokio::spawn(server.run());
    let channel = Channel::builder(&format!("mem://{name}?wire=iip"));
    let channel = shows.into_iter().fold(channel, |channel, token| channel.token(token));
    channel.connect().await.unwrap()
}

fn borrowed(body: &str) -> Call {
    Call::new("Probe", "Borrowed", Serialization::Raw, Bytes::from(body.to_owned()))
}

/// A call that carries a token or a deadline in its URI is not answered on the spot, where neither is seen.
#[tokio::test(start_paused = true)]
async fn a_token_is_asked_of_plain_functions_too() {
    let right = channel("iip-token", Some("secret"), Some("secret")).await;
    assert_eq!(right.call(borrowed("x")).await.unwrap().into_body().whole(9).await.unwrap(), "x");
    let none = channel("iip-no-token", Some("secret"), None).await;
    assert_eq!(none.call(borrowed("x")).await.unwrap_err().code(), Code::Unauthenticated);
    let wrong = channel("iip-wrong-token", Some("secret"), Some("guess")).await;
    assert_eq!(wrong.call(borrowed("x")).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test(start_paused = true)]
async fn metadata_and_failures_come_through() {
    let probe = ProbeClient::new(channel("iip-said", None, None).await);
    let pairs = Metadata::builder().with("tenant", "größer & <b>").build();
    let said = probe.said("tenant".into()).metadata(pairs).await.unwrap();
    assert_eq!(said, "größer & <b>");
    assert_eq!(probe.said("tenant".into()).await.unwrap(), "nothing");
    let status = probe.fails().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Limited, "no \"more\"\n"));
    assert_eq!(status.details::<u32>().unwrap(), 7);
}

/// The server's own deadline ends the handler; the caller's is told to it.
#[tokio::test(start_paused = true)]
async fn a_deadline_is_told() {
    let probe = ProbeClient::new(channel("iip-deadline", None, None).await);
    let said = probe.said(metadata::SERVER_TIMEOUT.into()).timeout(Duration::from_secs(3)).await.unwrap();
    assert_eq!(said, "3000");
    let begun = Instant::now();
    let status = probe.waits().timeout(Duration::from_secs(3)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(begun.elapsed().as_secs(), 3);
}

/// Paths are found as they are written, and answered by whatever they stand for.
#[tokio::test(start_paused = true)]
async fn a_path_stands_for_a_method() {
    let server = Server::builder().serve(ProbeServer::new(Here)).path("/echo", "Probe", "Borrowed");
    let server = server.listen("mem://iip-path").start().await.unwrap();
    let channel = Channel::connect("mem://iip-path?wire=iip").await.unwrap();
    let call = |path: &str| Call::new("", path.to_owned(), Serialization::Raw, Bytes::from_static(b"abc"));
    for path in ["/echo", "/echo?a=b"] {
        assert_eq!(channel.call(call(path)).await.unwrap().into_body().whole(9).await.unwrap(), "abc");
    }
    for path in ["/Echo", "/echo/", "/nope", "/sys/nope"] {
        assert_eq!(channel.call(call(path)).await.unwrap_err().code(), Code::NotFound, "{path}");
    }
    drop(server);
    for (path, method) in [("echo", "Borrowed"), ("/echo", "Nope")] {
        let builder = Server::builder().serve(ProbeServer::new(Here)).path(path, "Probe", method);
        assert!(builder.listen("mem://iip-path-bad").bind().await.is_err(), "{path} {method}");
    }
}
