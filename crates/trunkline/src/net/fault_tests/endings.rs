//! Connections that end, or are slow, while calls are in flight.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::servers::{Test, call, channel, serve};
use super::{Peer, frame, frame_with, listen};
use crate::net::transport::{Address, Stream};
use crate::{Body, Metadata, Service};

/// Who has ended its side is waited for as long as the server was told to, and no longer.
#[tokio::test(start_paused = true)]
async fn a_half_closed_connection_has_the_time_that_was_set() {
    for (grace, sleeps, answered, ends) in [
        (None, "900", true, 900),
        (None, "20000", false, 1_000),
        (Some(30), "20000", true, 20_000),
        (Some(30), "40000", false, 30_000),
        (Some(0), "500", false, 0),
        (Some(u64::MAX), "3600000", true, 3_600_000),
    ] {
        let name = format!("fault-grace-{grace:?}-{sleeps}");
        let handle = serve(&Test::default(), &name, |builder| match grace {
            Some(seconds) => builder.half_close_grace(Duration::from_secs(seconds)),
            None => builder,
        })
        .await;
        let mut peer = Peer::dial(&name).await;
        peer.send(&frame(0, 1, "Sleep", sleeps.as_bytes())).await.unwrap();
        let begun = Instant::now();
        peer.stream.shutdown().await.unwrap();
        assert_eq!(peer.call().await.is_some(), answered, "{name}");
        assert!(peer.frame().await.is_none(), "{name}: it is closed");
        let took = begun.elapsed();
        let ends = Duration::from_millis(ends);
        assert!(took >= ends && took < ends + Duration::from_millis(100), "{name}: {took:?}");
        sleep(Duration::from_millis(10)).await;
        assert_eq!(handle.report().connections, 0, "{name}");
    }
}

/// A server that stops is gone with its last call, although a peer keeps its side open.
#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_peers_to_close() {
    let handle = serve(&Test::default(), "fault-leaves", |builder| builder).await;
    let mut peer = Peer::dial("fault-leaves").await;
    peer.send(&frame(0, 1, "Sleep", b"3000")).await.unwrap();
    sleep(Duration::from_millis(10)).await;
    let begun = Instant::now();
    handle.drain(Duration::from_secs(60));
    assert!(peer.call().await.is_some());
    let answered = begun.elapsed();
    while handle.report().connections > 0 {
        sleep(Duration::from_millis(1)).await;
    }
    let rest = begun.elapsed() - answered;
    assert!(rest <= Duration::from_millis(120), "{rest:?} after the last answer");
}

/// A refused token ends the connection as Go's rpcx does, but not before the calls that were let in are answered;
/// what comes behind it is not begun, and is told so.
#[tokio::test(start_paused = true)]
async fn a_refused_call_costs_no_call_that_was_let_in() {
    let test = Test::default();
    let handle = serve(&test, "fault-refused", |builder| builder.token("good")).await;
    let good: Metadata = [("__AUTH", "good")].into_iter().collect();
    let mut peer = Peer::dial("fault-refused").await;
    peer.send(&frame_with(&good, 0, 1, "Sleep", b"1000")).await.unwrap();
    peer.send(&frame_with(&good, 0, 2, "Sleep", b"2000")).await.unwrap();
    peer.send(&frame(0, 3, "Echo", b"x")).await.unwrap();
    peer.send(&frame_with(&good, 0, 4, "Sleep", b"10")).await.unwrap();
    let begun = Instant::now();
    let mut got = Vec::new();
    while let Some(frame) = peer.frame().await {
        got.push((frame.seq, frame.flags, begun.elapsed().as_secs()));
    }
    assert_eq!(got, [(3, 0x81, 0), (4, 0x81, 0), (1, 0x80, 1), (2, 0x80, 2)]);
    assert!(begun.elapsed() < Duration::from_millis(2_100), "it is closed when the last one is answered");
    // The last one was not begun.
    assert_eq!(test.most(), 2);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(handle.report().connections, 0);
    // With nothing in flight it is closed at once.
    let mut peer = Peer::dial("fault-refused").await;
    peer.send(&frame(0, 1, "Sleep", b"1000")).await.unwrap();
    let begun = Instant::now();
    assert_eq!(peer.frame().await.unwrap().flags, 0x81);
    assert!(peer.frame().await.is_none() && begun.elapsed() < Duration::from_millis(100));
}

/// A client of ours makes its other calls on another connection at once.
#[tokio::test(start_paused = true)]
async fn a_refused_call_costs_its_channel_no_other() {
    serve(&Test::default(), "fault-refused-channel", |builder| builder.token("good")).await;
    let channel = channel("fault-refused-channel").await;
    let good: Metadata = [("__AUTH", "good")].into_iter().collect();
    let with_token =
        |method, body: &'static str| channel.call(call(method, body).with_metadata(good.clone()));
    // So that each side knows the other.
    with_token("Echo", "x").await.unwrap();
    let after = async {
        sleep(Duration::from_millis(10)).await;
        channel.call(call("Echo", "x")).await.unwrap_err();
        sleep(Duration::from_millis(10)).await;
        for _ in 0..10 {
            with_token("Echo", "x").await.unwrap();
        }
    };
    let (slow, ()) = tokio::join!(with_token("Sleep", "3000"), after);
    slow.expect("it was let in");
}

/// A link of so many bytes a second, between two names.
async fn slow_link(from: &str, to: &str, rate: usize) -> JoinSet<()> {
    let mut listener = listen(from).await;
    let to = Address::Memory(to.to_owned());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let near = listener.accept().await.unwrap().0;
        let far = Stream::dial(&to).await.unwrap();
        let ((near_read, near_write), (far_read, far_write)) =
            (tokio::io::split(near), tokio::io::split(far));
        tokio::join!(throttled(near_read, far_write, rate), throttled(far_read, near_write, rate));
    });
    tasks
}

async fn throttled(
    mut from: impl tokio::io::AsyncRead + Unpin,
    mut to: impl tokio::io::AsyncWrite + Unpin,
    rate: usize,
) {
    let mut piece = vec![0; rate / 10];
    while let Ok(read @ 1..) = tokio::io::AsyncReadExt::read(&mut from, &mut piece).await {
        if to.write_all(&piece[..read]).await.is_err() {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// A body that takes a minute each way is no silence: a server says that it is there while a call arrives, so that
/// the heartbeat that waits behind the body does not end the connection.
#[tokio::test(start_paused = true)]
async fn d3c_a_slow_link_is_no_silent_peer() {
    let handle = serve(&Test::default(), "fault-slow-server", |builder| builder).await;
    let _link = slow_link("fault-slow-link", "fault-slow-server", 16 << 10).await;
    let channel = channel("fault-slow-link").await;
    channel.call(call("Echo", "x")).await.unwrap();
    let begun = Instant::now();
    let body = vec![7; 1 << 20];
    let deadline = begun + Duration::from_secs(300);
    let reply = channel.call(call("Echo", body.clone()).with_deadline(deadline)).await.unwrap();
    assert!(matches!(reply.into_body(), Body::Full(bytes) if bytes == body));
    assert!(begun.elapsed() > Duration::from_secs(120), "{:?}", begun.elapsed());
    assert_eq!(handle.report().connections, 1);
    // One that has less time than it takes ends when that is over, and the connection goes on.
    let begun = Instant::now();
    let deadline = begun + Duration::from_secs(20);
    let status = channel.call(call("Echo", body).with_deadline(deadline)).await.unwrap_err();
    assert_eq!(status.code(), crate::Code::DeadlineExceeded);
    assert!(begun.elapsed() < Duration::from_secs(21), "{:?}", begun.elapsed());
    let deadline = begun + Duration::from_secs(300);
    channel.call(call("Echo", "x").with_deadline(deadline)).await.unwrap();
}
