//! Calls of our channel over HTTP: to our own server in memory and on paused time, and to servers that misbehave.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use support::{Test, bytes, call, serve, serve_in_memory};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use trunkline::client::{Channel, ConnectionState, Outgoing};
use trunkline::{
    BodyStream, Bytes, Call, Code, Message, Metadata, Reply, Result, Serialization, Server, Service,
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
struct Args {
    a: i64,
    b: i64,
}

async fn connect(name: &str) -> Channel {
    Channel::connect(&format!("mem://{name}?wire=http")).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn bodies_of_every_size_come_back() {
    serve_in_memory("http-sizes").await;
    let channel = connect("http-sizes").await;
    for size in [0, 1, 1024, 4095, 4096, 65_536, 1 << 20, 4 << 20] {
        let body = vec![b'x'; size];
        for method in ["Echo", "Owned"] {
            let reply = channel.call(call(method, body.clone())).await.unwrap();
            assert_eq!(bytes(reply), body, "{method} {size}");
        }
    }
}

#[tokio::test]
async fn tcp_and_unix_sockets_are_called_as_memory_is() {
    let path = std::env::temp_dir().join(format!("trunkline-http-client-{}", std::process::id()));
    let unix = format!("unix://{}", path.display());
    let builder = Server::builder().serve(Test::default()).listen("127.0.0.1:0").listen(&*unix);
    let server = builder.bind().await.unwrap();
    let tcp = server.addresses().remove(0);
    tokio::spawn(server.run());
    for url in [format!("http://{tcp}"), format!("http://{tcp}/"), format!("{unix}?wire=http")] {
        let channel = Channel::connect(&url).await.unwrap();
        assert_eq!(bytes(channel.call(call("Echo", "x")).await.unwrap()), "x", "{url}");
        let status = channel.call(call("Fail", "no")).await.unwrap_err();
        assert_eq!(status.origin().unwrap().wire, "http");
        assert_eq!(status.origin().unwrap().address, channel.address());
    }
}

#[tokio::test(start_paused = true)]
async fn every_serialisation_comes_back() {
    serve_in_memory("http-typed").await;
    let channel = connect("http-typed").await;
    let args = Args { a: 6, b: i64::MAX };
    let call = |method: &'static str| Outgoing::<_, Args, Args>::new(&channel, "Test", method, args.clone());
    assert_eq!(call("Owned").await.unwrap(), args);
    for how in
        [Serialization::Json, Serialization::MessagePack, Serialization::Protobuf, Serialization::Thrift]
    {
        let pair = call("Owned").metadata_pair("a", "1 &ü");
        let reply = pair.serialization(how).annotated().await.unwrap();
        assert_eq!(reply.value, args, "{how:?}");
        let failed = call("Fail").serialization(how).await.unwrap_err();
        assert_eq!(failed.code(), Code::Failed, "{how:?}");
        let unknown = call("Nope").serialization(how).await.unwrap_err();
        assert_eq!(unknown.code(), Code::NotFound, "{how:?}");
        assert!(unknown.message().contains("can't find method Nope"), "{unknown}");
        let late = call("Owned").serialization(how).timeout(Duration::ZERO).await.unwrap_err();
        assert_eq!(late.code(), Code::DeadlineExceeded, "{how:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_http_cannot_carry_is_refused_before_it_begins() {
    serve_in_memory("http-unsupported").await;
    let channel = connect("http-unsupported").await;
    let status = channel.call(Call::new("Test", "Echo", Serialization::Gob, "x")).await.unwrap_err();
    assert_eq!((status.code(), status.may_retry()), (Code::Unsupported, true));
    let status = channel.call(Call::new("Te\nst", "Echo", Serialization::Thrift, "x")).await.unwrap_err();
    assert_eq!((status.code(), status.may_retry()), (Code::InvalidInput, true));
    let (_sender, stream) = BodyStream::channel();
    let stream = Call::new("Test", "Echo", Serialization::MessagePack, stream);
    let status = channel.call(stream).await.unwrap_err();
    assert_eq!((status.code(), status.may_retry()), (Code::Unsupported, true));
    let status = channel.call(Call::new("", "Echo", Serialization::Raw, "x")).await.unwrap_err();
    assert_eq!((status.code(), status.may_retry()), (Code::InvalidInput, true));
    let status = Channel::connect("https://127.0.0.1:1").await.unwrap_err();
    assert!(status.code() == Code::InvalidInput && status.message().contains("TLS"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn failures_come_back_with_their_text() {
    serve_in_memory("http-fail").await;
    let channel = connect("http-fail").await;
    let status = channel.call(call("Fail", "größer\r\n\"no\"")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Failed, "größer\r\n\"no\""));
    let status = channel.call(call("Panic", "")).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert!(!status.message().contains("secret"));
    let status = channel.call(call("Nope", "")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    // A name is a name, whatever is in it.
    for (service, method) in [("Te st/../ü", "Echo"), ("Test", "a?b#c%41/..")] {
        let odd = Call::new(service, method, Serialization::Raw, "");
        let status = channel.call(odd).await.unwrap_err();
        let named = [service, method].iter().any(|name| status.message().ends_with(name));
        assert!(status.code() == Code::NotFound && named, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_over_a_limit_fail_alone() {
    let handle = serve_in_memory("http-over").await;
    let channel = connect("http-over").await;
    let status = channel.call(call("Owned", vec![b'x'; (4 << 20) + 1])).await.unwrap_err();
    assert_eq!(status.code(), Code::TooLarge, "{status}");
    assert!(status.message().contains("4194304") && status.message().contains("body_limit"), "{status}");
    assert_eq!(bytes(channel.call(call("Echo", "after")).await.unwrap()), "after");

    let small = Channel::builder("mem://http-over?wire=http").body_limit(1000).connect().await.unwrap();
    assert_eq!(bytes(small.call(call("Owned", vec![b'x'; 1000])).await.unwrap()).len(), 1000);
    let status = small.call(call("Owned", vec![b'x'; 1001])).await.unwrap_err();
    assert_eq!(status.code(), Code::TooLarge, "{status}");
    assert!(status.message().contains("1000 bytes (setting body_limit"), "{status}");
    assert_eq!(bytes(small.call(call("Echo", "after")).await.unwrap()), "after");
    drop((channel, small));
    until(|| handle.report().connections == 0).await;
}

#[tokio::test(start_paused = true)]
async fn metadata_travels_both_ways() {
    serve_in_memory("http-meta").await;
    let channel = connect("http-meta").await;
    let metadata: Metadata = [("a", "1 2&3=4%41+"), ("b", ""), ("ü", "ß")].into_iter().collect();
    let reserved = Metadata::builder().with_all(metadata.pairs()).with("__ServerTimeout", "1").build();
    let reply = channel.call(call("Meta", "").with_metadata(reserved)).await.unwrap();
    assert_eq!(reply.metadata(), &metadata);
    let bad: Metadata = [("a", "1\r\nX-Evil: 2")].into_iter().collect();
    let status = channel.call(call("Meta", "").with_metadata(bad)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidInput);
    let bad: Metadata = [("__AUTH", "1\r\nX-Evil: 2")].into_iter().collect();
    let status = channel.call(call("Meta", "").with_metadata(bad)).await.unwrap_err();
    assert_eq!((status.code(), status.may_retry()), (Code::InvalidInput, true));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_shown() {
    serve(Server::builder().serve(Test::default()).token("good").listen("mem://http-token")).await;
    let channel = connect("http-token").await;
    for good in ["good", "Bearer good"] {
        let metadata: Metadata = [("__AUTH", good)].into_iter().collect();
        channel.call(call("Echo", "x").with_metadata(metadata)).await.unwrap();
    }
    let metadata: Metadata = [("__AUTH", "bad")].into_iter().collect();
    for bad in [metadata, Metadata::new()] {
        let status = channel.call(call("Echo", "x").with_metadata(bad)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_call_and_the_work() {
    let test = Test::default();
    let (running, cancelled) = (test.running.clone(), test.cancelled.clone());
    serve(Server::builder().serve(test).listen("mem://http-deadline")).await;
    let channel = connect("http-deadline").await;
    let begun = Instant::now();
    let deadline = begun + Duration::from_millis(200);
    let status = channel.call(call("Sleep", "60000").with_deadline(deadline)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(begun.elapsed() < Duration::from_millis(300), "{:?}", begun.elapsed());
    until(|| running.load(Ordering::SeqCst) == 0).await;
    assert_eq!(cancelled.load(Ordering::SeqCst), 1);
    let status = channel.call(call("Sleep", "1").with_deadline(begun)).await.unwrap_err();
    assert_eq!((status.code(), status.may_retry()), (Code::DeadlineExceeded, true));

    let begun = Instant::now();
    let status = channel.call(call("Sleep", "60000")).await.unwrap_err();
    assert_eq!((status.code(), begun.elapsed().as_secs()), (Code::DeadlineExceeded, 10));
}

#[tokio::test(start_paused = true)]
async fn dropping_a_call_stops_the_work() {
    let test = Test::default();
    let (running, cancelled) = (test.running.clone(), test.cancelled.clone());
    let (handle, _) = serve(Server::builder().serve(test).listen("mem://http-drop")).await;
    let channel = connect("http-drop").await;
    let dropped = tokio::time::timeout(Duration::from_millis(50), channel.call(call("Sleep", "60000"))).await;
    assert!(dropped.is_err());
    assert_eq!(running.load(Ordering::SeqCst), 1);
    until(|| running.load(Ordering::SeqCst) == 0).await;
    assert_eq!(cancelled.load(Ordering::SeqCst), 1);
    until(|| handle.report().connections == 0).await;
    assert_eq!(bytes(channel.call(call("Echo", "x")).await.unwrap()), "x");
}

#[tokio::test(start_paused = true)]
async fn connections_are_used_again_and_few_are_kept() {
    let handle = serve_in_memory("http-pool").await;
    let channel = connect("http-pool").await;
    for _ in 0..100 {
        channel.call(call("Owned", "x")).await.unwrap();
        channel.call(call("Fail", "x")).await.unwrap_err();
        assert_eq!(handle.report().connections, 1);
    }
    let calls: Vec<_> = (0..40)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { channel.call(call("Sleep", "100")).await })
        })
        .collect();
    until(|| handle.report().calls == 40).await;
    assert_eq!(handle.report().connections, 40);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    until(|| handle.report().connections == 16).await;
    // One that was kept too long is not used any more.
    tokio::time::sleep(Duration::from_secs(61)).await;
    channel.call(call("Owned", "x")).await.unwrap();
    until(|| handle.report().connections == 1).await;
    let mut state = channel.state();
    drop(channel);
    until(|| handle.report().connections == 0).await;
    state.wait_for(|state| *state == ConnectionState::Closed).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn calls_over_the_limit_fail_at_once() {
    let handle = serve_in_memory("http-limit").await;
    let channel = Channel::builder("mem://http-limit?wire=http").max_in_flight(1).connect().await.unwrap();
    let slow = tokio::spawn({
        let channel = channel.clone();
        async move { channel.call(call("Sleep", "1000")).await }
    });
    until(|| handle.report().calls == 1).await;
    let status = channel.call(call("Echo", "x")).await.unwrap_err();
    assert_eq!((status.code(), status.may_retry()), (Code::Limited, true));
    slow.await.unwrap().unwrap();
    channel.call(call("Echo", "x")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_way_calls_are_made_and_not_waited_for() {
    let test = Test::default();
    let running = test.running.clone();
    let (handle, _) = serve(Server::builder().serve(test).listen("mem://http-oneway")).await;
    let channel = Channel::builder("mem://http-oneway?wire=http").max_in_flight(1).connect().await.unwrap();
    let begun = Instant::now();
    channel.call(call("Sleep", "1000").one_way()).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(10));
    until(|| running.load(Ordering::SeqCst) == 1).await;
    // Its answer does not wait for its end: the one place of the channel is free again.
    tokio::time::sleep(Duration::from_millis(10)).await;
    channel.call(call("Echo", "")).await.unwrap();
    assert_eq!((running.load(Ordering::SeqCst), handle.report().calls), (1, 1));
    until(|| handle.report().calls == 0).await;
    until(|| running.load(Ordering::SeqCst) == 0).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    channel.call(call("Fail", "").one_way()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_one_way_call_over_http_outlives_its_caller() {
    let test = Test::default();
    let (running, cancelled) = (test.running.clone(), test.cancelled.clone());
    let (handle, _) = serve(Server::builder().serve(test).listen("mem://http-oneway-gone")).await;
    let channel = Channel::connect("mem://http-oneway-gone?wire=http").await.unwrap();
    channel.call(call("Sleep", "20000").one_way()).await.unwrap();
    until(|| running.load(Ordering::SeqCst) == 1).await;
    drop(channel);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(running.load(Ordering::SeqCst), 1);
    // A server that stops waits for it.
    handle.drain(Duration::from_secs(60));
    until(|| handle.report().connections == 0).await;
    assert_eq!((running.load(Ordering::SeqCst), cancelled.load(Ordering::SeqCst)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_back_is_called_again() {
    let nobody = Channel::connect("mem://http-again?wire=http").await.unwrap_err();
    assert_eq!((nobody.code(), nobody.may_retry()), (Code::Unavailable, true));

    let handle = serve_in_memory("http-again").await;
    let channel = Channel::builder("mem://http-again?wire=http").lazy().unwrap();
    let state = channel.state();
    assert_eq!(*state.borrow(), ConnectionState::Connecting);
    assert_eq!(handle.report().connections, 0);
    channel.call(call("Owned", "x")).await.unwrap();
    assert_eq!(*state.borrow(), ConnectionState::Connected);

    handle.drain(Duration::from_secs(1));
    until(|| handle.report().connections == 0).await;
    let status = channel.call(call("Owned", "x")).await.unwrap_err();
    assert_eq!((status.code(), status.may_retry()), (Code::Unavailable, true));
    assert!(matches!(&*state.borrow(), ConnectionState::Failed { .. }));

    // The connection that was kept is closed by a stop: a call that must not run twice is not lost to that.
    let handle = serve_in_memory("http-again").await;
    channel.call(call("Owned", "x")).await.unwrap();
    handle.drain(Duration::from_secs(1));
    until(|| handle.report().connections == 0).await;
    serve_in_memory("http-again").await;
    assert_eq!(bytes(channel.call(call("Owned", "y")).await.unwrap()), "y");
    assert_eq!(*state.borrow(), ConnectionState::Connected);
}

#[tokio::test]
async fn nobody_at_the_port_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let status = Channel::connect(&url).await.unwrap_err();
    assert_eq!((status.code(), status.may_retry()), (Code::Unavailable, true));
    assert_eq!(status.origin().unwrap().address, &url[7..]);
}

// From here on: servers by hand.

/// Reads one request; its text, or `None` where the connection ended.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    loop {
        if stream.read_buf(&mut text).await.ok()? == 0 {
            return None;
        }
        let whole = String::from_utf8_lossy(&text).into_owned();
        let Some((head, body)) = whole.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return Some(whole);
        }
    }
}

/// A server that handles every connection so, by its number from 0.
async fn by_hand<F>(handle: impl Fn(usize, TcpStream) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(handle(number, stream));
        }
    });
    url
}

/// Makes a call of a server that gives every request the same answer.
async fn answered(answer: &str) -> Result<Reply> {
    let answer = Arc::new(answer.to_owned());
    let url = by_hand(move |_, mut stream| {
        let answer = Arc::clone(&answer);
        async move {
            while request(&mut stream).await.is_some() {
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let channel = Channel::builder(&url).body_limit(10).connect().await.unwrap();
    channel.call(call("Echo", "x")).await
}

#[tokio::test]
async fn every_status_has_its_code() {
    for (status, code) in [
        ("400 Bad", Code::InvalidInput),
        ("401 No", Code::Unauthenticated),
        ("404 Not Found", Code::NotFound),
        ("408 Late", Code::DeadlineExceeded),
        ("413 Large", Code::TooLarge),
        ("429 Many", Code::Limited),
        ("500 Failed", Code::Failed),
        ("502 Bad Gateway", Code::Unavailable),
        ("503 Stop", Code::Draining),
        ("504 Late", Code::DeadlineExceeded),
        ("301 Moved", Code::Unsupported),
        ("405 Other", Code::Unsupported),
        ("418 Teapot", Code::InvalidInput),
        ("599 Odd", Code::Failed),
    ] {
        let failed =
            answered(&format!("HTTP/1.1 {status}\r\nContent-Length: 3\r\n\r\nbut")).await.unwrap_err();
        assert_eq!(failed.code(), code, "{status}");
        assert!(failed.message().contains(&status[..3]) && failed.message().ends_with(": but"), "{failed}");
    }
    // What the body says wins, as far as it says something.
    let body = r#"{"error":{"code":"limited","message":"m"}}"#;
    let head = "HTTP/1.1 500 Failed\r\nConnection: close\r\n\r\n";
    let channel = |body: &str| {
        let answer = format!("{head}{body}");
        async move {
            let url = by_hand(move |_, mut stream| {
                let answer = answer.clone();
                async move {
                    request(&mut stream).await;
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            })
            .await;
            Channel::connect(&url).await.unwrap().call(call("Echo", "x")).await.unwrap_err()
        }
    };
    let failed = channel(body).await;
    assert_eq!((failed.code(), failed.message()), (Code::Limited, "m"));
    let failed = channel(r#"{"error":{"code":"from_the_future","message":"m"}}"#).await;
    assert_eq!((failed.code(), failed.message()), (Code::Failed, "m"));
    let failed = channel(r#"{"error":{"message":"m"}}"#).await;
    assert_eq!((failed.code(), failed.message()), (Code::Failed, "m"));
    let failed = channel("\u{1b}[31m").await;
    assert!(!failed.message().contains('\u{1b}'));
}

#[tokio::test]
async fn failures_in_rpcxs_headers_are_read() {
    for (status, text, code) in [
        ("200 OK", "empty servicepath", Code::InvalidInput),
        ("500 Failed", "rpcx: can't find service Test", Code::NotFound),
        ("500 Failed", "divide by zero", Code::Failed),
        ("401 No", "who are you?", Code::Unauthenticated),
    ] {
        let headers = format!("X-Rpcx-Messagestatustype: Error\r\nX-Rpcx-Errormessage: {text}\r\n");
        let failed = answered(&format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\n\r\n")).await;
        let failed = failed.unwrap_err();
        assert_eq!((failed.code(), failed.message()), (code, text));
    }
}

#[tokio::test]
async fn answers_that_break_the_rules_fail_their_call() {
    for (answer, code, says) in [
        ("SSH-2.0-x\r\n\r\n", Code::Unavailable, "the connection was lost"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n", Code::TooLarge, "10 bytes (setting body_limit"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n123456\r\n5\r\n12345\r\n",
            Code::TooLarge,
            "10 bytes (setting body_limit",
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", Code::Unavailable, "lost"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", Code::Unavailable, "lost"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-RPCX-Meta: a=%\r\n\r\n", Code::Internal, "metadata"),
    ] {
        let failed = answered(answer).await.unwrap_err();
        assert_eq!(failed.code(), code, "{answer} {failed}");
        assert!(failed.message().contains(says) && !failed.may_retry(), "{failed}");
    }
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(70_000));
    let failed = answered(&long).await.unwrap_err();
    assert_eq!(failed.code(), Code::TooLarge, "{failed}");
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n5\r\n67890\r\n0\r\n\r\n";
    assert_eq!(bytes(answered(chunked).await.unwrap()), "1234567890");
}

#[tokio::test]
async fn a_request_looks_as_servers_expect_it() {
    let (tell, mut told) = tokio::sync::mpsc::channel(8);
    let url = by_hand(move |_, mut stream| {
        let tell = tell.clone();
        async move {
            while let Some(text) = request(&mut stream).await {
                tell.send(text).await.unwrap();
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            }
        }
    })
    .await;
    let channel = Channel::connect(&url).await.unwrap();
    let metadata: Metadata = [("__AUTH", "t"), ("b", "2"), ("a", "1 ")].into_iter().collect();
    let json = Call::new("Te st", "Echo", Serialization::Json, "{}").with_metadata(metadata);
    channel.call(json.with_deadline(Instant::now() + Duration::from_secs(3600))).await.unwrap();
    let text = told.recv().await.unwrap();
    assert!(text.starts_with("POST /Te%20st/Echo HTTP/1.1\r\n"), "{text}");
    for line in ["Content-Type: application/json", "Authorization: Bearer t", "Content-Length: 2"] {
        assert!(text.contains(&format!("\r\n{line}\r\n")), "{line}: {text}");
    }
    assert!(text.to_ascii_lowercase().contains("\r\nx-rpcx-meta: a=1+&b=2\r\n"), "{text}");
    assert!(text.contains(&format!("\r\nHost: {}\r\n", &url[7..])), "{text}");
    let timeout = text.split_once("X-Timeout: ").unwrap().1.split_once("ms\r\n").unwrap().0;
    assert!((3_500_000..=3_600_000).contains(&timeout.parse().unwrap()), "{timeout}");
    // Without a deadline of the caller's none is sent; raw bodies go as bytes.
    channel.call(call("Echo", Bytes::from_static(b"\0"))).await.unwrap();
    let text = told.recv().await.unwrap();
    assert!(!text.contains("X-Timeout") && text.contains("Content-Type: application/octet-stream"), "{text}");
}

/// The server takes the second request of a connection and closes it without a byte: it may have run.
async fn closes_at_the_second() -> (String, Arc<AtomicUsize>) {
    let requests = Arc::<AtomicUsize>::default();
    let seen = Arc::clone(&requests);
    let url = by_hand(move |_, mut stream| {
        let seen = Arc::clone(&seen);
        async move {
            request(&mut stream).await;
            seen.fetch_add(1, Ordering::SeqCst);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx").await.unwrap();
            if request(&mut stream).await.is_some() {
                seen.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    (url, requests)
}

#[tokio::test]
async fn a_call_that_may_have_run_is_made_again_only_where_it_is_idempotent() {
    let (url, requests) = closes_at_the_second().await;
    let channel = Channel::connect(&url).await.unwrap();
    channel.call(call("Echo", "")).await.unwrap();
    let status = channel.call(call("Echo", "")).await.unwrap_err();
    assert_eq!((status.code(), status.may_retry()), (Code::Unavailable, false), "{status}");
    assert_eq!(status.origin().unwrap().attempt, 1);
    assert_eq!(requests.load(Ordering::SeqCst), 2);

    let (url, requests) = closes_at_the_second().await;
    let channel = Channel::connect(&url).await.unwrap();
    channel.call(call("Echo", "")).await.unwrap();
    assert_eq!(bytes(channel.call(call("Echo", "").idempotent()).await.unwrap()), "x");
    assert_eq!(requests.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_call_is_made_again_once_and_never_when_its_answer_has_begun() {
    // The first connection answers once; every later request, on any connection, is taken and dropped.
    let requests = Arc::<AtomicUsize>::default();
    let seen = Arc::clone(&requests);
    let url = by_hand(move |_, mut stream| {
        let seen = Arc::clone(&seen);
        async move {
            while request(&mut stream).await.is_some() && seen.fetch_add(1, Ordering::SeqCst) == 0 {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            }
        }
    })
    .await;
    let channel = Channel::connect(&url).await.unwrap();
    channel.call(call("Echo", "")).await.unwrap();
    let status = channel.call(call("Echo", "").idempotent()).await.unwrap_err();
    assert_eq!((status.code(), status.origin().unwrap().attempt), (Code::Unavailable, 2), "{status}");
    assert_eq!(requests.load(Ordering::SeqCst), 3);
    // On a connection of its own not even once.
    channel.call(call("Echo", "").idempotent()).await.unwrap_err();
    assert_eq!(requests.load(Ordering::SeqCst), 4);

    let requests = Arc::<AtomicUsize>::default();
    let seen = Arc::clone(&requests);
    let url = by_hand(move |_, mut stream| {
        let seen = Arc::clone(&seen);
        async move {
            while request(&mut stream).await.is_some() {
                let number = seen.fetch_add(1, Ordering::SeqCst);
                let whole = &b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"[..];
                stream.write_all(if number == 0 { whole } else { b"HTTP/1.1 2" }).await.unwrap();
                if number > 0 {
                    return;
                }
            }
        }
    })
    .await;
    let channel = Channel::connect(&url).await.unwrap();
    channel.call(call("Echo", "")).await.unwrap();
    let status = channel.call(call("Echo", "").idempotent()).await.unwrap_err();
    assert_eq!((status.code(), status.origin().unwrap().attempt), (Code::Unavailable, 1), "{status}");
    assert_eq!(requests.load(Ordering::SeqCst), 2);
}

/// Polls until it is so.
async fn until(so: impl Fn() -> bool) {
    tokio::time::timeout(Duration::from_secs(30), async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("it did not become so within 30 s");
}
