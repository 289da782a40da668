//! Calls between our own client and server on the rpcx wire, in memory and on paused time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail loudly"
)]

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use support::{Test, bytes, call, serve, serve_in_memory};
use tokio::time::Instant;
use trunkline::client::{Channel, ConnectionState};
use trunkline::{Code, Limits, Metadata, Server, Service};

async fn connect(name: &str) -> Channel {
    Channel::connect(&format!("mem://{name}?wire=rpcx")).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn bodies_of_every_size_come_back() {
    serve_in_memory("call-sizes").await;
    let channel = connect("call-sizes").await;
    for size in [0, 1, 1024, 1025, 4095, 4096, 65_536, 1 << 20, 4 << 20] {
        let body = vec![b'x'; size];
        for method in ["Echo", "Owned"] {
            let reply = channel.call(call(method, body.clone())).await.unwrap();
            assert_eq!(bytes(reply), body, "{method} {size}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_limit_fails_alone() {
    serve_in_memory("call-over").await;
    let channel = connect("call-over").await;
    for method in ["Echo", "Owned"] {
        let status = channel.call(call(method, vec![b'x'; (4 << 20) + 1])).await.unwrap_err();
        assert_eq!(status.code(), Code::TooLarge, "{status}");
        assert!(
            status.message().contains("4194304") && status.message().contains("--body-limit"),
            "{status}"
        );
        assert_eq!(bytes(channel.call(call(method, "after")).await.unwrap()), "after");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_come_back_with_their_text() {
    serve_in_memory("call-fail").await;
    let channel = connect("call-fail").await;
    let status = channel.call(call("Fail", "it did not work")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Failed, "it did not work"));
    assert_eq!(status.origin().unwrap().address, "mem://call-fail");
    let status = channel.call(call("Panic", "")).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert!(!status.message().contains("secret"));
    let status = channel.call(call("Nope", "")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::NotFound, "rpcx: can't find method Nope"));
    // What the server knows of whether the call was begun comes along.
    assert!(status.may_retry());
    assert!(!channel.call(call("Fail", "")).await.unwrap_err().may_retry());
}

#[tokio::test(start_paused = true)]
async fn a_failure_may_say_much_but_not_everything() {
    serve_in_memory("call-fail-long").await;
    let channel = connect("call-fail-long").await;
    for length in [8_180, 100_000, 500_000] {
        let text = "ü".repeat(length / 2);
        let status = channel.call(call("Fail", text.clone())).await.unwrap_err();
        assert_eq!(status.message(), text);
    }
    let status = channel.call(call("Fail", "x".repeat(1 << 20))).await.unwrap_err();
    assert!(
        status.message().starts_with("xxx") && status.message().contains("1048576 bytes is cut"),
        "{status}"
    );
    assert_eq!(bytes(channel.call(call("Echo", "after")).await.unwrap()), "after");
}

/// A peer that never stops calling does not keep a server that stops.
#[tokio::test(start_paused = true)]
async fn a_stop_ends_under_a_busy_peer() {
    let (handle, address) = serve(Server::builder().serve(Test::default()).listen("127.0.0.1:0")).await;
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let begun = Instant::now();
    let busy = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        for id in 0..1000 {
            if stream.write_all(&support::frame(0, id, "Sleep", b"300")).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    until(|| handle.report().calls == 3).await;
    handle.drain(Duration::from_secs(30));
    until(|| handle.report().connections == 0).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    busy.abort();
}

/// What was begun and not ended when a stop begins was no call.
#[tokio::test(start_paused = true)]
async fn a_begun_frame_does_not_delay_a_stop() {
    for bytes in [&b"\x08"[..], &support::frame(0, 1, "Owned", b"body")[..30], b"\0"] {
        use tokio::io::AsyncWriteExt;
        let (handle, address) = serve(Server::builder().serve(Test::default()).listen("127.0.0.1:0")).await;
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        until(|| handle.report().connections == 1).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let begun = Instant::now();
        handle.drain(Duration::from_secs(30));
        until(|| handle.report().connections == 0).await;
        assert!(begun.elapsed() < Duration::from_secs(2), "{bytes:?} {:?}", begun.elapsed());
    }
}

/// Its calls wait unread behind a full connection; that it is gone is noticed all the same.
#[tokio::test]
async fn a_lost_caller_is_noticed_behind_a_full_connection() {
    let test = Test::default();
    let (running, cancelled) = (test.running.clone(), test.cancelled.clone());
    let builder = Server::builder().serve(test).calls_per_connection(4).listen("127.0.0.1:0");
    let (_, address) = serve(builder).await;
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    {
        use tokio::io::AsyncWriteExt;
        let calls: Vec<u8> = (0..4000).flat_map(|id| support::frame(0, id, "Sleep", b"600000")).collect();
        stream.write_all(&calls).await.unwrap();
    }
    until(|| running.load(Ordering::SeqCst) == 4).await;
    drop(stream);
    until(|| running.load(Ordering::SeqCst) == 0).await;
    assert_eq!(cancelled.load(Ordering::SeqCst), 4);
}

#[tokio::test(start_paused = true)]
async fn names_match_whatever_their_case() {
    serve_in_memory("call-case").await;
    let channel = connect("call-case").await;
    let lower = trunkline::Call::new("test", "eCHO", trunkline::Serialization::Raw, "x");
    assert_eq!(bytes(channel.call(lower).await.unwrap()), "x");
}

#[tokio::test(start_paused = true)]
async fn a_quick_call_overtakes_a_slow_one() {
    serve_in_memory("call-order").await;
    let channel = connect("call-order").await;
    for slow in ["Sleep", "Heavy"] {
        let begun = Instant::now();
        let (slow, quick) = tokio::join!(
            async {
                channel.call(call(slow, "1000")).await.unwrap();
                begun.elapsed()
            },
            async {
                channel.call(call("Owned", "")).await.unwrap();
                begun.elapsed()
            }
        );
        assert!(quick < Duration::from_millis(10) && slow >= Duration::from_secs(1), "{quick:?} {slow:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_call_and_the_work() {
    let test = Test::default();
    let (running, cancelled) = (test.running.clone(), test.cancelled.clone());
    serve(Server::builder().serve(test).listen("mem://call-deadline")).await;
    let channel = connect("call-deadline").await;
    for method in ["Sleep", "Heavy"] {
        let begun = Instant::now();
        let deadline = begun + Duration::from_millis(200);
        let status = channel.call(call(method, "60000").with_deadline(deadline)).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(begun.elapsed() < Duration::from_millis(300), "{:?}", begun.elapsed());
    }
    until(|| running.load(Ordering::SeqCst) == 0).await;
    assert_eq!(cancelled.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_deadline_has_ten_seconds() {
    serve_in_memory("call-default").await;
    let channel = connect("call-default").await;
    let begun = Instant::now();
    let status = channel.call(call("Sleep", "60000")).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(begun.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_call_stops_the_work() {
    let test = Test::default();
    let (running, cancelled) = (test.running.clone(), test.cancelled.clone());
    serve(Server::builder().serve(test).listen("mem://call-drop")).await;
    let channel = connect("call-drop").await;
    // The server says that it understands before the first call is dropped.
    channel.call(call("Owned", "")).await.unwrap();
    let dropped = tokio::time::timeout(Duration::from_millis(50), channel.call(call("Sleep", "60000"))).await;
    assert!(dropped.is_err());
    until(|| running.load(Ordering::SeqCst) == 0).await;
    assert_eq!(cancelled.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_caller_stops_the_work() {
    let test = Test::default();
    let (running, cancelled) = (test.running.clone(), test.cancelled.clone());
    let (_, address) = serve(Server::builder().serve(test).listen("mem://call-lost")).await;
    assert_eq!(address, "mem://call-lost");
    {
        use tokio::io::AsyncWriteExt;
        // A caller that knows nothing of cancelling: it just goes away.
        let tcp = serve(
            Server::builder()
                .serve(Test { running: running.clone(), cancelled: cancelled.clone() })
                .listen("127.0.0.1:0"),
        )
        .await
        .1;
        let mut stream = tokio::net::TcpStream::connect(tcp).await.unwrap();
        let mut frame = vec![8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 30];
        for part in ["Test", "Sleep", "", "60000"] {
            frame.extend_from_slice(&u32::try_from(part.len()).unwrap().to_be_bytes());
            frame.extend_from_slice(part.as_bytes());
        }
        stream.write_all(&frame).await.unwrap();
        until(|| running.load(Ordering::SeqCst) == 1).await;
    }
    until(|| running.load(Ordering::SeqCst) == 0).await;
    assert_eq!(cancelled.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn metadata_travels_both_ways() {
    serve_in_memory("call-meta").await;
    let channel = connect("call-meta").await;
    let metadata: Metadata = [("a", "1"), ("", ""), ("ü", "ß")].into_iter().collect();
    let reply = channel.call(call("Meta", "").with_metadata(metadata.clone())).await.unwrap();
    assert_eq!(reply.metadata(), &metadata);
}

#[tokio::test(start_paused = true)]
async fn pushes_come_in_order_and_before_the_reply() {
    serve_in_memory("call-push").await;
    let channel = connect("call-push").await;
    let mut pushes = channel.pushes();
    let calls = async {
        channel.call(call("Push", "100")).await.unwrap();
        // Read in one go before anything else can come, so that they came before the reply.
        for n in 1..=100 {
            let push = std::pin::pin!(pushes.next());
            let std::task::Poll::Ready(push) = futures_util::poll!(push) else { panic!("push {n} is late") };
            assert_eq!(push.unwrap().unwrap().body, n.to_string());
        }
    };
    calls.await;
    channel.call(call("Push", "100")).await.unwrap();
    for n in 1..=100 {
        let push = pushes.next().await.unwrap().unwrap();
        assert_eq!((&*push.service, &*push.method), ("Test", "Tick"));
        assert_eq!(push.body, n.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn one_way_calls_are_made_and_not_answered() {
    let test = Test::default();
    let running = test.running.clone();
    serve(Server::builder().serve(test).listen("mem://call-oneway")).await;
    let channel = connect("call-oneway").await;
    channel.call(call("Sleep", "1000").one_way()).await.unwrap();
    channel.call(call("Fail", "").one_way()).await.unwrap();
    channel.call(call("Nope", "").one_way()).await.unwrap();
    until(|| running.load(Ordering::SeqCst) == 1).await;
    assert_eq!(bytes(channel.call(call("Echo", "x")).await.unwrap()), "x");
    assert_eq!(channel.stats().stray_replies, 0);
}

/// Nobody waited for the answer, so that nobody's going away ends the work; a server that stops waits for it.
#[tokio::test(start_paused = true)]
async fn a_one_way_call_outlives_its_caller() {
    let test = Test::default();
    let (running, cancelled) = (test.running.clone(), test.cancelled.clone());
    let (handle, _) = serve(Server::builder().serve(test).listen("mem://call-outlives")).await;
    let channel = connect("call-outlives").await;
    channel.call(call("Sleep", "20000").one_way()).await.unwrap();
    until(|| running.load(Ordering::SeqCst) == 1).await;
    drop(channel);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(running.load(Ordering::SeqCst), 1);
    handle.drain(Duration::from_secs(60));
    until(|| handle.report().connections == 0).await;
    assert_eq!((running.load(Ordering::SeqCst), cancelled.load(Ordering::SeqCst)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_calls_and_no_longer() {
    let handle = serve_in_memory("call-drain").await;
    let channel = connect("call-drain").await;
    let slow = tokio::spawn({
        let channel = channel.clone();
        async move { channel.call(call("Sleep", "1500")).await }
    });
    until(|| handle.report().calls == 1).await;
    let begun = Instant::now();
    handle.drain(Duration::from_secs(30));
    assert_eq!(handle.report().connections, 1);
    slow.await.unwrap().unwrap();
    until(|| handle.report().connections == 0).await;
    assert!(begun.elapsed() < Duration::from_millis(1600), "{:?}", begun.elapsed());
}

/// Calls that were made before their client heard of the stop are answered; later ones may be made elsewhere.
#[tokio::test(start_paused = true)]
async fn a_stop_loses_no_call() {
    for round in 0..20 {
        let name = format!("call-drain-{round}");
        let handle = serve_in_memory(&name).await;
        let channel = connect(&name).await;
        channel.call(call("Owned", "")).await.unwrap();
        let callers: Vec<_> = (0..8)
            .map(|_| {
                let channel = channel.clone();
                tokio::spawn(async move {
                    let mut answered = 0;
                    loop {
                        match channel.call(call("Sleep", "1")).await {
                            Ok(_) => answered += 1,
                            Err(status) => break (answered, status),
                        }
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_micros(20_000 + round * 97)).await;
        handle.drain(Duration::from_secs(30));
        for caller in callers {
            let (answered, status) = caller.await.unwrap();
            assert!(answered > 0);
            assert!(status.may_retry(), "{status}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_has_a_hard_limit() {
    let handle = serve_in_memory("call-drain-hard").await;
    let channel = connect("call-drain-hard").await;
    let slow = tokio::spawn({
        let channel = channel.clone();
        async move { channel.call(call("Sleep", "9000")).await }
    });
    until(|| handle.report().calls == 1).await;
    handle.drain(Duration::from_secs(2));
    let status = slow.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(!status.may_retry());
}

#[tokio::test(start_paused = true)]
async fn a_lost_server_is_dialled_again() {
    let handle = serve_in_memory("call-again").await;
    let channel = connect("call-again").await;
    handle.drain(Duration::ZERO);
    let mut state = channel.state();
    state.wait_for(|state| matches!(state, ConnectionState::Failed { .. })).await.unwrap();
    let status = channel.call(call("Echo", "x")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.may_retry());
    serve_in_memory("call-again").await;
    state.wait_for(|state| *state == ConnectionState::Connected).await.unwrap();
    assert_eq!(bytes(channel.call(call("Echo", "x")).await.unwrap()), "x");
}

#[tokio::test(start_paused = true)]
async fn calls_over_the_limit_wait_unread() {
    let builder = Server::builder().serve(Test::default()).calls_per_connection(4).listen("mem://call-limit");
    let (handle, _) = serve(builder).await;
    let channel = connect("call-limit").await;
    let calls: Vec<_> = (0..12)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { channel.call(call("Sleep", "100")).await })
        })
        .collect();
    until(|| handle.report().calls == 4).await;
    let begun = Instant::now();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert!(begun.elapsed() >= Duration::from_millis(290), "{:?}", begun.elapsed());
}

/// The bodies of calls that wait are bounded together, not only in number.
#[tokio::test(start_paused = true)]
async fn bodies_over_the_limit_together_wait_unread() {
    let mut limits = Limits::default();
    limits.held = 1000;
    let builder = Server::builder().serve(Test::default()).limits(limits).listen("mem://call-held");
    let (handle, _) = serve(builder).await;
    let channel = connect("call-held").await;
    // 100 milliseconds, in a text of 600 bytes: two of them are over the limit, and the third waits.
    let body = format!("{:0600}", 100);
    let begun = Instant::now();
    let calls: Vec<_> = (0..6)
        .map(|_| {
            let (channel, body) = (channel.clone(), body.clone());
            tokio::spawn(async move { channel.call(call("Sleep", body)).await })
        })
        .collect();
    until(|| handle.report().calls == 2).await;
    for call in calls {
        call.await.unwrap().unwrap();
        assert!(handle.report().calls <= 2);
    }
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
}

/// The heartbeats of a client whose calls wait unread wait, too; it must not take the server for dead.
#[tokio::test(start_paused = true)]
async fn a_busy_server_is_not_taken_for_a_silent_one() {
    let builder = Server::builder().serve(Test::default()).calls_per_connection(1).listen("mem://call-busy");
    serve(builder).await;
    let channel = connect("call-busy").await;
    let deadline = Instant::now() + Duration::from_secs(300);
    let (first, second) = tokio::join!(
        channel.call(call("Sleep", "60000").with_deadline(deadline)),
        channel.call(call("Sleep", "60000").with_deadline(deadline)),
    );
    first.unwrap();
    second.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_token_is_asked_for() {
    let builder = Server::builder().serve(Test::default()).token("good").listen("mem://call-token");
    serve(builder).await;
    let channel = connect("call-token").await;
    for good in ["good", "Bearer good"] {
        let metadata: Metadata = [("__AUTH", good)].into_iter().collect();
        channel.call(call("Echo", "x").with_metadata(metadata)).await.unwrap();
    }
    let metadata: Metadata = [("__AUTH", "bad")].into_iter().collect();
    let status = channel.call(call("Echo", "x").with_metadata(metadata)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let status = channel.call(call("Owned", "x")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test(start_paused = true)]
async fn a_channel_shows_its_token_where_the_call_has_none() {
    serve(Server::builder().serve(Test::default()).token("good").listen("mem://call-channel-token")).await;
    let builder = |token: &str| Channel::builder("mem://call-channel-token?wire=rpcx").token(token);
    assert!(!format!("{:?}", builder("good")).contains("good"), "a token is not printed");
    let metadata: Metadata = [("tenant", "a")].into_iter().collect();
    let good = builder("good").connect().await.unwrap();
    let reply = good.call(call("Meta", "").with_metadata(metadata.clone())).await.unwrap();
    assert_eq!(reply.metadata().get("tenant"), Some("a"), "the call's own metadata goes with it");
    let bad = builder("bad").connect().await.unwrap();
    let status = bad.call(call("Echo", "x")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let own: Metadata = [("__AUTH", "good")].into_iter().collect();
    bad.call(call("Echo", "x").with_metadata(own)).await.unwrap();
}

#[tokio::test]
async fn threads_share_the_connections() {
    let builder = Server::builder().serve(Test::default()).threads(2).listen("127.0.0.1:0");
    let (handle, address) = serve(builder).await;
    let mut channels = Vec::new();
    for _ in 0..8 {
        let channel = Channel::connect(&format!("rpcx://{address}")).await.unwrap();
        assert_eq!(bytes(channel.call(call("Owned", "x")).await.unwrap()), "x");
        channels.push(channel);
    }
    assert_eq!(handle.report().connections, 8);
    drop(channels);
    until(|| handle.report().connections == 0).await;
}

/// Polls until it is so; the runtime's limit is the test's.
async fn until(so: impl Fn() -> bool) {
    tokio::time::timeout(Duration::from_secs(30), async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("it did not become so within 30 s");
}

/// What listens already, and is handed to the server, is served beside what it listens on itself.
#[tokio::test]
async fn a_socket_that_listens_already_is_served() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // It comes before the server, and waits in the socket's queue.
    let early = tokio::net::TcpStream::connect(address).await.unwrap();
    let server = Server::builder().listen_on(listener).listen("127.0.0.1:0").start().await.unwrap();
    assert_eq!(server.addresses().len(), 2);
    assert_eq!(server.addresses()[0], address.to_string());
    let channel = Channel::connect(&format!("rpcx://{address}")).await.unwrap();
    let call = trunkline::Call::new("No", "Such", trunkline::Serialization::Raw, "");
    assert_eq!(channel.call(call).await.unwrap_err().code(), Code::NotFound);
    drop(early);
}
