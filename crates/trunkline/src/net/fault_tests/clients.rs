//! What a client does with a server that misbehaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use trunkline_wire::Serialization;
use trunkline_wire::rpcx::Rpcx;

use super::{Peer, frame, listen};
use crate::client::dial::ConnectionState;
use crate::client::links::WRITE_AHEAD;
use crate::net::tests_support::Client;
use crate::{Body, Call, Code};

fn call(method: &'static str, body: impl Into<Body>) -> Call {
    Call::new("Test", method, Serialization::Raw, body)
}

fn within(call: Call, time: Duration) -> Call {
    call.with_deadline(Instant::now() + time)
}

fn text(reply: crate::Reply) -> String {
    match reply.into_body() {
        Body::Full(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        Body::Stream(_) => panic!("a stream"),
    }
}

/// Replies that are late, doubled, or made up complete nothing, and are counted.
#[tokio::test(start_paused = true)]
async fn strange_replies_complete_nothing() {
    let mut listener = listen("fault-strays").await;
    let client = Client::<Rpcx>::new("fault-strays");
    let server = tokio::spawn(async move {
        let mut peer = Peer::accept(&mut listener).await;
        let late = peer.call().await.unwrap();
        let twice = peer.call().await.unwrap();
        sleep(Duration::from_millis(100)).await; // The first one's time is over now.
        for (seq, body) in [
            (late.seq, "late"),
            (twice.seq, "right"),
            (twice.seq, "twice"),
            (999_999, "made up"),
            (u64::MAX, "made up"),
            // The slot of the late call, used so often again.
            (late.seq + (1 << 32), "early"),
        ] {
            peer.send(&frame(0x80, seq, "Any", body.as_bytes())).await.unwrap();
        }
        let next = peer.call().await.unwrap();
        peer.send(&frame(0x80, next.seq, "Any", b"next")).await.unwrap();
        assert!(peer.call().await.is_none());
    });
    let (late, twice) = tokio::join!(
        client.call(within(call("Any", "1"), Duration::from_millis(50))),
        client.call(call("Any", "2"))
    );
    assert_eq!(late.unwrap_err().code(), Code::DeadlineExceeded);
    assert_eq!(text(twice.unwrap()), "right");
    assert_eq!(text(client.call(call("Any", "3")).await.unwrap()), "next");
    assert_eq!(client.strays(), 5);
    drop(client);
    server.await.unwrap();
}

/// A server that is silent is found out, though calls that want no answer go to it all the time.
#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up() {
    let mut listener = listen("fault-silent").await;
    let client = Client::<Rpcx>::new("fault-silent");
    let server = tokio::spawn(async move {
        let mut peer = Peer::accept(&mut listener).await;
        let begun = Instant::now();
        while peer.frame().await.is_some() {}
        (begun.elapsed(), listener)
    });
    let waits = {
        let client = client.clone();
        tokio::spawn(async move { client.call(call("Any", "x")).await })
    };
    let talks = {
        let client = client.clone();
        tokio::spawn(async move {
            for _ in 0..40 {
                let _ = client.call(within(call("Any", "x").one_way(), Duration::from_secs(1))).await;
                sleep(Duration::from_millis(500)).await;
            }
        })
    };
    let status = waits.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("heartbeats") && !status.may_retry(), "{status}");
    let (took, _listener) = server.await.unwrap();
    assert!(took <= Duration::from_secs(11), "{took:?}");
    talks.await.unwrap();
}

/// A reply that takes long to arrive is a sign of life.
#[tokio::test(start_paused = true)]
async fn a_large_reply_that_arrives_slowly_is_not_silence() {
    let mut listener = listen("fault-large").await;
    let client = Client::<Rpcx>::new("fault-large");
    tokio::spawn(async move {
        let mut peer = Peer::accept(&mut listener).await;
        let got = peer.call().await.unwrap();
        for piece in frame(0x80, got.seq, "Any", &vec![b'x'; 1 << 20]).chunks(16 << 10) {
            peer.send(piece).await.unwrap();
            sleep(Duration::from_secs(1)).await;
        }
        peer.call().await
    });
    assert_eq!(text(client.call(call("Any", "x")).await.unwrap()).len(), 1 << 20);
}

/// The calls of a server that reads nothing are bounded in memory, and the connection is given up after 10 s.
#[tokio::test(start_paused = true)]
async fn a_server_that_never_reads_is_given_up() {
    let mut listener = listen("fault-deaf").await;
    let client = Client::<Rpcx>::new("fault-deaf");
    let peer = Peer::accept(&mut listener).await;
    let begun = Instant::now();
    let calls = (0..1_000).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            client.call(within(call("Any", vec![b'x'; 64 << 10]), Duration::from_secs(60))).await
        })
    });
    let calls: Vec<_> = calls.collect();
    sleep(Duration::from_secs(5)).await;
    let link = client.shared.current().unwrap();
    let waiting = link.lock().out.len();
    assert!(waiting <= WRITE_AHEAD + (65 << 10), "{waiting} bytes wait");
    drop(listener);
    let (mut begun_calls, mut retries) = (0, 0);
    for call in calls {
        let status = call.await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        if status.may_retry() {
            retries += 1;
        } else {
            begun_calls += 1;
        }
    }
    assert!(begun.elapsed() >= Duration::from_secs(10) && begun.elapsed() < Duration::from_secs(12));
    // What was put into the buffer may have reached the server; what waited before it has not.
    assert!((16..=40).contains(&begun_calls) && retries > 900, "{begun_calls} begun, {retries} not");
    drop(peer);
}

/// Small calls do not wait for one another: a burst of them is written whole, though it is more than others may be ahead.
#[tokio::test(start_paused = true)]
async fn a_burst_of_small_calls_is_written_at_once() {
    const CALLS: usize = 2 * WRITE_AHEAD / 100;
    let mut listener = listen("fault-burst").await;
    let client = Client::<Rpcx>::new("fault-burst");
    let mut peer = Peer::accept(&mut listener).await;
    tokio::spawn(async move {
        while let Some(got) = peer.call().await {
            peer.send(&frame(0x80, got.seq, "Any", b"done")).await.unwrap();
        }
    });
    assert_eq!(text(client.call(call("Any", "x")).await.unwrap()), "done");
    let calls = (0..CALLS).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { client.call(call("Any", [b'x'; 100].to_vec())).await })
    });
    let calls: Vec<_> = calls.collect();
    // The connection's task has its turn when all of them have had theirs.
    let link = client.shared.current().unwrap();
    let mut most = 0;
    for _ in 0..CALLS {
        most = most.max(link.lock().out.len());
        tokio::task::yield_now().await;
    }
    assert!(most > 2 * WRITE_AHEAD, "{most} bytes were waiting to be written");
    for call in calls {
        assert_eq!(text(call.await.unwrap().unwrap()), "done");
    }
}

/// Where the server takes nothing small calls wait as all do, and those that have waited were not begun.
#[tokio::test(start_paused = true)]
async fn small_calls_wait_for_a_server_that_does_not_read() {
    let mut listener = listen("fault-small").await;
    let client = Client::<Rpcx>::new("fault-small");
    let peer = Peer::accept(&mut listener).await;
    let first = client.clone();
    tokio::spawn(async move { first.call(call("Any", vec![b'x'; 1 << 20])).await });
    sleep(Duration::from_millis(10)).await;
    let calls = (0..20_000).map(|_| {
        let client = client.clone();
        let call = within(call("Any", [b'x'; 100].to_vec()), Duration::from_secs(3));
        tokio::spawn(async move { client.call(call).await })
    });
    let calls: Vec<_> = calls.collect();
    sleep(Duration::from_secs(1)).await;
    let waiting = client.shared.current().unwrap().lock().out.len();
    assert!((WRITE_AHEAD..WRITE_AHEAD + 512).contains(&waiting), "{waiting} bytes wait");
    let mut not_begun = 0;
    for call in calls {
        let status = call.await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
        not_begun += usize::from(status.may_retry());
    }
    assert!(not_begun > 10_000, "{not_begun} not begun");
    drop(peer);
}

/// Calls that wait for room in the buffer end with their deadline.
#[tokio::test(start_paused = true)]
async fn calls_that_wait_for_room_end_in_time() {
    let mut listener = listen("fault-room").await;
    let client = Client::<Rpcx>::new("fault-room");
    let mut peer = Peer::accept(&mut listener).await;
    let begun = Instant::now();
    let calls = (0..100).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            client.call(within(call("Any", vec![b'x'; 64 << 10]), Duration::from_secs(3))).await
        })
    });
    for call in calls.collect::<Vec<_>>() {
        let status = call.await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    }
    assert_eq!(begun.elapsed().as_secs(), 3);
    // The server reads again, and the connection goes on.
    tokio::spawn(async move {
        while let Some(got) = peer.call().await {
            peer.send(&frame(0x80, got.seq, "Any", got.method.as_bytes())).await.unwrap();
        }
    });
    assert_eq!(text(client.call(call("Last", "x")).await.unwrap()), "Last");
}

/// A server that makes the client answer and does not read the answers gets no memory for them.
#[tokio::test(start_paused = true)]
async fn a_server_that_asks_and_never_reads_is_not_read() {
    let mut listener = listen("fault-asks").await;
    let client = Client::<Rpcx>::new("fault-asks");
    let mut peer = Peer::accept(&mut listener).await;
    let beat = frame(0x40, 1, "", &[b'x'; 1000]);
    let mut sent = 0usize;
    let result = tokio::time::timeout(Duration::from_secs(100), async {
        while peer.send(&beat).await.is_ok() {
            sent += beat.len();
        }
    });
    result.await.expect("the connection is closed");
    // Two pipes of 256 KiB, and a few batches.
    assert!(sent < 1 << 20, "{sent} bytes were read");
    drop(client);
}

/// A server that accepts and closes is dialled with pauses that grow, never by two dials at once.
#[tokio::test(start_paused = true)]
async fn a_server_that_closes_at_once_is_not_stormed() {
    for answers in [false, true] {
        let name = format!("fault-storm-{answers}");
        let mut listener = listen(&name).await;
        crate::random::seed(3);
        let client = Client::<Rpcx>::new(&name);
        let dials = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dials);
        let server = tokio::spawn(async move {
            loop {
                let mut peer = Peer::accept(&mut listener).await;
                counter.fetch_add(1, Ordering::SeqCst);
                if answers {
                    let mut greeting = peer.frame().await.unwrap();
                    greeting.flags |= 0x80;
                    peer.send(&frame(greeting.flags, greeting.seq, "", &greeting.body)).await.unwrap();
                    sleep(Duration::from_millis(1)).await;
                }
            }
        });
        sleep(Duration::from_secs(60)).await;
        let dials = dials.load(Ordering::SeqCst);
        let most = if answers { 600 } else { 60 };
        assert!((3..=most).contains(&dials), "{dials} dials in a minute (answers: {answers})");
        let begun = Instant::now();
        let status = client.call(within(call("Any", ""), Duration::from_secs(120))).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(begun.elapsed() < Duration::from_secs(31), "{:?}", begun.elapsed());
        server.abort();
    }
}

/// There is one connection at a time, whatever happens to the one before.
#[tokio::test(start_paused = true)]
async fn there_is_one_connection_at_a_time() {
    let mut listener = listen("fault-one").await;
    let client = Client::<Rpcx>::new("fault-one");
    let mut state = client.shared.state.subscribe();
    for round in 0..20 {
        let mut peer = Peer::accept(&mut listener).await;
        state.wait_for(|state| *state == ConnectionState::Connected).await.unwrap();
        let more = tokio::time::timeout(Duration::from_secs(2), listener.accept()).await;
        assert!(more.is_err(), "a second connection beside the first (round {round})");
        let call = {
            let client = client.clone();
            tokio::spawn(async move { client.call(call("Any", "x")).await })
        };
        peer.call().await.unwrap();
        drop(peer);
        let status = call.await.unwrap().unwrap_err();
        assert_eq!((status.code(), status.may_retry()), (Code::Unavailable, false), "{status}");
    }
}

/// What a server has said before it went away is read, although the next call cannot be written any more; that call
/// fails with the connection, and the one after it goes to the next.
#[tokio::test(start_paused = true)]
async fn a_server_that_is_gone_is_read_to_its_end() {
    let mut listener = listen("fault-unheard").await;
    let client = Client::<Rpcx>::new("fault-unheard");
    let first = tokio::spawn({
        let client = client.clone();
        async move { client.call(call("Any", "1")).await }
    });
    let mut peer = Peer::accept(&mut listener).await;
    let asked = peer.call().await.unwrap();
    peer.send(&frame(0x80, asked.seq, "Any", b"said")).await.unwrap();
    drop(peer);
    // Before the connection's task learns of any of it.
    let mut second = Box::pin(client.call(call("Any", "2")));
    assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(second.as_mut().poll(cx))).await.is_pending());
    assert_eq!(text(first.await.unwrap().unwrap()), "said");
    assert_eq!(second.await.unwrap_err().code(), Code::Unavailable);
    let third = tokio::spawn(async move { client.call(call("Any", "3")).await });
    let mut peer = Peer::accept(&mut listener).await;
    let asked = peer.call().await.unwrap();
    peer.send(&frame(0x80, asked.seq, "Any", b"next")).await.unwrap();
    assert_eq!(text(third.await.unwrap().unwrap()), "next");
}
