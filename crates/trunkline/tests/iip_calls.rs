//! Calls over IIP between our own client and server: what is said beside names and body.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail loudly"
)]

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use trunkline::client::{Channel, Outgoing};
use trunkline::{
    Bytes, Call, Code, Context, Metadata, ReplyBuf, Result, Serialization, Server, Service, Status,
    Streaming, metadata, service,
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

/// A Go server looks paths up decoded, and whoever takes its place has to find the same handlers. What is registered as
/// it is written counts first, and the system's paths are theirs alone.
#[tokio::test(start_paused = true)]
async fn a_path_that_is_not_known_as_it_is_written_is_looked_up_decoded() {
    let server = Server::builder().serve(ProbeServer::new(Here)).path("/echo", "Probe", "Borrowed");
    let server = server.path("/ech%6f", "Probe", "Fails").listen("mem://iip-decoded").start().await.unwrap();
    let channel = Channel::connect("mem://iip-decoded?wire=iip").await.unwrap();
    let call = |path: &str| Call::new("", path.to_owned(), Serialization::Raw, Bytes::from_static(b"abc"));
    for path in ["/%65cho", "/%65ch%6F?a=%20", "/Probe/Bor%72owed", "/Probe%2FBorrowed", "/prob%65/borrowed"]
    {
        let reply = channel.call(call(path)).await.unwrap();
        assert_eq!(reply.into_body().whole(9).await.unwrap(), "abc", "{path}");
    }
    // The method that is registered so, which takes no such body.
    assert_eq!(channel.call(call("/ech%6f")).await.unwrap_err().code(), Code::InvalidInput);
    for path in ["/ec%zzho", "/%65cho%", "/%2565cho", "/%65cho%00", "/nop%65", "/%73ys/server_count"] {
        assert_eq!(channel.call(call(path)).await.unwrap_err().code(), Code::NotFound, "{path}");
    }
    drop(server);
}

/// A server that grants channels, begins an answer to anything else, and closes the connection within it.
async fn half_an_answer(listener: tokio::net::TcpListener) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut granted = 0_u8;
    loop {
        let mut status = [0];
        stream.read_exact(&mut status).await.unwrap();
        let mut path = Vec::new();
        while path.last() != Some(&0) {
            path.push(stream.read_u8().await.unwrap());
        }
        let (channel, length) = (stream.read_u32().await.unwrap(), stream.read_u32().await.unwrap());
        let mut data = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut data).await.unwrap();
        let (status, answer) = match &*path {
            b"/sys/trunkline\0" => (5, r#"{"code":102,"message":"handle error"}"#.to_owned()),
            b"/sys/new_channel\0" => {
                granted += 1;
                (5, format!(r#"{{"code":0,"channel_id":{granted}}}"#))
            }
            _ => (4, "half".to_owned()),
        };
        let length = u32::try_from(answer.len()).unwrap();
        let head = [&[status], &*path, &channel.to_be_bytes(), &length.to_be_bytes()].concat();
        stream.write_all(&[&head, answer.as_bytes()].concat()).await.unwrap();
        if status == 4 {
            return;
        }
    }
}

/// Found by the interop suite: it was said that the caller had cancelled the call.
#[tokio::test]
async fn a_connection_lost_within_a_reply_is_said_to_be_lost() {
    for whole in [false, true] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(half_an_answer(listener));
        let channel = Channel::connect(&format!("iip://{address}")).await.unwrap();
        let status = if whole {
            let call: Outgoing<'_, _, Bytes, Bytes> = Outgoing::new(&channel, "", "/file", "x".into());
            call.await.unwrap_err()
        } else {
            let call: Outgoing<'_, _, Bytes, Streaming<Bytes>> =
                Outgoing::new(&channel, "", "/file", "x".into());
            let mut reply = call.await.unwrap();
            assert_eq!(reply.next().await.unwrap().unwrap(), "half");
            reply.next().await.unwrap().unwrap_err()
        };
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(!status.may_retry());
        assert_eq!(status.origin().unwrap().address, address);
        server.await.unwrap();
    }
}

/// Dropping a call ends its handler, and a server that stops finishes what it has: on this wire, too.
#[tokio::test(start_paused = true)]
async fn a_dropped_call_ends_its_handler_and_a_stop_waits_for_the_others() {
    let (begun, mut calls) = tokio::sync::mpsc::channel(4);
    let go_on = std::sync::Arc::new(tokio::sync::Notify::new());
    let held = std::sync::Arc::clone(&go_on);
    let layer = trunkline::layer::layer_fn(move |_: Call, _| {
        let (begun, held) = (begun.clone(), std::sync::Arc::clone(&held));
        async move {
            // Told when the handler is dropped.
            let (guard, dropped) = tokio::sync::oneshot::channel::<()>();
            begun.send(dropped).await.unwrap();
            held.notified().await;
            drop(guard);
            Ok(trunkline::Reply::new("done"))
        }
    });
    let server = Server::builder().serve(ProbeServer::new(Here)).layer(layer).listen("mem://iip-drop");
    let server = server.start().await.unwrap();
    let channel = Channel::connect("mem://iip-drop?wire=iip").await.unwrap();
    let call = || {
        let channel = channel.clone();
        tokio::spawn(async move { channel.call(Call::new("Probe", "Waits", Serialization::Raw, "{}")).await })
    };
    let (given_up, waited_for) = (call(), call());
    let ended = calls.recv().await.unwrap();
    let mut other = calls.recv().await.unwrap();
    given_up.abort();
    // The sender is dropped without a word.
    assert!(tokio::time::timeout(Duration::from_secs(1), ended).await.unwrap().is_err());
    assert!(other.try_recv().is_err_and(|error| error == tokio::sync::oneshot::error::TryRecvError::Empty));
    let stop = tokio::spawn(server.stop(Duration::from_secs(5)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    go_on.notify_waiters();
    let reply = waited_for.await.unwrap().unwrap();
    assert_eq!(reply.into_body().whole(9).await.unwrap(), "done");
    stop.await.unwrap().unwrap();
}
