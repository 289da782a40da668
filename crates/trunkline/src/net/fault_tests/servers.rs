//! What a server does with a caller that misbehaves.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep};
use trunkline_wire::Serialization;

use super::{Peer, frame};
use crate::client::Channel;
use crate::describe::{MethodInfo, ServiceInfo};
use crate::server::{ServerBuilder, ServerHandle};
use crate::{Body, Call, Code, NamedService, Reply, Result, Server, Service};

const METHODS: [&str; 4] = ["Echo", "Sleep", "Spin", "Large"];

#[derive(Default, Clone)]
pub(super) struct Test {
    running: Arc<AtomicU64>,
    most: Arc<AtomicU64>,
    stop: Arc<AtomicU64>,
}

impl Test {
    /// The most calls that ran at once.
    pub(super) fn most(&self) -> u64 {
        self.most.load(Ordering::SeqCst)
    }
}

struct Running<'a>(&'a Test);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl NamedService for Test {
    fn describe(&self) -> ServiceInfo {
        let methods = METHODS.iter().map(|name| MethodInfo::new(name));
        ServiceInfo { name: "Test".into(), doc: "", methods: methods.collect() }
    }
}

impl Service for Test {
    async fn call(&self, call: Call) -> Result<Reply> {
        let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let _running = Running(self);
        let method = METHODS[call.method_id().unwrap().index()];
        let Body::Full(body) = call.into_parts().1 else { panic!("a stream") };
        let number = || std::str::from_utf8(&body).unwrap().parse::<u64>().unwrap();
        match method {
            // Milliseconds.
            "Sleep" => sleep(Duration::from_millis(number())).await,
            // Wakes itself whenever it is asked, until it is told to end.
            "Spin" => {
                std::future::poll_fn(|cx| {
                    if self.stop.load(Ordering::SeqCst) > 0 {
                        return Poll::Ready(());
                    }
                    cx.waker().wake_by_ref();
                    Poll::Pending
                })
                .await;
            }
            // A second later, so many bytes.
            "Large" => {
                sleep(Duration::from_secs(1)).await;
                return Ok(Reply::new(vec![b'x'; usize::try_from(number()).unwrap()]));
            }
            _ => {}
        }
        Ok(Reply::new(body))
    }
}

pub(super) async fn serve(
    test: &Test,
    name: &str,
    with: impl FnOnce(ServerBuilder) -> ServerBuilder,
) -> ServerHandle {
    let builder = Server::builder().serve(test.clone()).listen(format!("mem://{name}"));
    let server = with(builder).bind().await.unwrap();
    let handle = server.handle();
    tokio::spawn(server.run());
    handle
}

pub(super) fn call(method: &'static str, body: impl Into<Body>) -> Call {
    Call::new("Test", method, Serialization::Raw, body)
}

pub(super) async fn channel(name: &str) -> Channel {
    Channel::connect(&format!("mem://{name}?wire=rpcx")).await.unwrap()
}

/// Calls over and over until it is told to end; how often.
fn good(channel: Channel) -> (tokio::task::JoinHandle<u64>, Arc<AtomicU64>) {
    let end = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&end);
    let task = tokio::spawn(async move {
        let mut calls = 0;
        while told.load(Ordering::SeqCst) == 0 {
            let begun = Instant::now();
            channel.call(call("Echo", calls.to_string())).await.unwrap();
            assert!(begun.elapsed() < Duration::from_millis(5), "{:?}", begun.elapsed());
            calls += 1;
            sleep(Duration::from_millis(10)).await;
        }
        calls
    });
    (task, end)
}

/// A caller that does not read its answers is closed after 10 s; others do not notice it, and nothing spins.
#[tokio::test(start_paused = true)]
async fn a_caller_that_does_not_read_slows_only_itself() {
    let test = Test::default();
    let handle = serve(&test, "fault-reader", |b| b).await;
    let (good, end) = good(channel("fault-reader").await);
    let mut peer = Peer::dial("fault-reader").await;
    let send = async {
        for seq in 0..1_000 {
            if peer.send(&frame(0, seq, "Echo", &[b'x'; 10_000])).await.is_err() {
                return seq;
            }
        }
        panic!("10 MB of calls were read, and no answer was");
    };
    let begun = Instant::now();
    let taken = send.await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(10) && took < Duration::from_secs(11), "{took:?}");
    // Two pipes of 256 KiB, and a few batches.
    assert!(taken < 100, "{taken} calls of 10 kB were taken");
    assert_eq!(handle.report().connections, 1);
    end.store(1, Ordering::SeqCst);
    assert!(good.await.unwrap() > 500);
}

/// The same where calls are at their limit: it waits for two things at once, and its timers must not run hot.
#[tokio::test(start_paused = true)]
async fn a_caller_that_is_blocked_and_does_not_read_is_closed() {
    let test = Test::default();
    let handle = serve(&test, "fault-blocked", |b| b.calls_per_connection(1)).await;
    let mut peer = Peer::dial("fault-blocked").await;
    // One a second: the pipe is full after 5 s, while the next call runs and those behind it wait.
    for seq in 0..20 {
        peer.send(&frame(0, seq, "Large", b"60000")).await.unwrap();
    }
    sleep(Duration::from_secs(13)).await;
    assert_eq!(handle.report().connections, 1);
    sleep(Duration::from_secs(4)).await;
    assert_eq!(handle.report().connections, 0);
}

/// A few bytes now and then do not keep a connection that takes 10 s for each 10 KiB.
#[tokio::test(start_paused = true)]
async fn reading_by_the_drop_is_not_reading() {
    let test = Test::default();
    let handle = serve(&test, "fault-drops", |b| b).await;
    for (each, lasts) in [(100, false), (12 << 10, true)] {
        let mut peer = Peer::dial("fault-drops").await;
        peer.send(&frame(0, 1, "Large", b"2000000")).await.unwrap();
        let mut buffer = vec![0; each];
        for _ in 0..10 {
            sleep(Duration::from_secs(5)).await;
            let _ = peer.stream.read_exact(&mut buffer).await;
        }
        assert_eq!(handle.report().connections, usize::from(lasts), "{each} bytes each 5 s");
    }
}

/// A frame that was begun has to go on: 10 KiB in each 10 s.
#[tokio::test(start_paused = true)]
async fn a_frame_by_the_drop_is_closed_after_ten_seconds() {
    let test = Test::default();
    let handle = serve(&test, "fault-slowloris", |b| b).await;
    let (good, end) = good(channel("fault-slowloris").await);
    let large = frame(0, 1, "Echo", &[b'x'; 60_000]);
    for (piece, every, most) in [
        (1, Duration::from_secs(2), Some(12)), // By the byte, within the head and behind it.
        (1, Duration::from_millis(50), Some(12)),
        (1_000, Duration::from_secs(2), Some(12)), // A body by 500 bytes a second.
        (2_400, Duration::from_secs(2), None),     // A little over 1 KiB a second.
    ] {
        let mut peer = Peer::dial("fault-slowloris").await;
        let begun = Instant::now();
        let mut pieces = large.chunks(piece);
        let whole = loop {
            let Some(piece) = pieces.next() else { break true };
            if peer.send(piece).await.is_err() {
                break false;
            }
            sleep(every).await;
        };
        let took = begun.elapsed().as_secs();
        match most {
            Some(most) => assert!(!whole && (10..=most).contains(&took), "{piece} each {every:?}: {took} s"),
            None => assert_eq!(peer.call().await.unwrap().body.len(), 60_000),
        }
        drop(peer);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(handle.report().connections, 1);
    }
    // Before the first byte there is no limit: callers may connect early.
    let mut early = Peer::dial("fault-slowloris").await;
    sleep(Duration::from_secs(100)).await;
    early.send(&frame(0, 1, "Echo", b"x")).await.unwrap();
    assert_eq!(early.call().await.unwrap().body, b"x");
    end.store(1, Ordering::SeqCst);
    assert!(good.await.unwrap() > 500);
}

/// One patience does not shorten another: a begun frame does not take from the time for reading.
#[tokio::test(start_paused = true)]
async fn each_patience_has_its_own_time() {
    let test = Test::default();
    let handle = serve(&test, "fault-patience", |b| b).await;
    let mut peer = Peer::dial("fault-patience").await;
    sleep(Duration::from_secs(1)).await;
    for seq in 0..2 {
        peer.send(&frame(0, seq, "Sleep", b"9000")).await.unwrap();
    }
    peer.send(&frame(0, 2, "Large", b"1000000")).await.unwrap();
    // The beginning of a frame at 0 s; at 1 s a reply that is not read at once.
    let last = frame(0, 3, "Echo", b"x");
    peer.send(&last[..20]).await.unwrap();
    sleep(Duration::from_millis(9_500)).await;
    peer.send(&last[20..]).await.unwrap();
    sleep(Duration::from_millis(1_200)).await;
    assert_eq!(handle.report().connections, 1);
    let mut seen = 0;
    while seen < 4 {
        peer.call().await.expect("the connection goes on");
        seen += 1;
    }
}

/// A caller that goes away while its calls wait unread is noticed, and its handlers are dropped.
#[tokio::test(start_paused = true)]
async fn a_caller_that_is_gone_is_noticed_though_its_calls_wait() {
    let test = Test::default();
    let handle = serve(&test, "fault-gone", |b| b.calls_per_connection(2)).await;
    let mut peer = Peer::dial("fault-gone").await;
    for seq in 0..20 {
        peer.send(&frame(0, seq, "Sleep", b"3600000")).await.unwrap();
    }
    sleep(Duration::from_secs(5)).await;
    assert_eq!((test.running.load(Ordering::SeqCst), handle.report().connections), (2, 1));
    drop(peer);
    sleep(Duration::from_secs(2)).await;
    assert_eq!((test.running.load(Ordering::SeqCst), handle.report().connections), (0, 0));
}

/// A handler that wakes itself all the time slows its connection, and stops nobody.
#[tokio::test(start_paused = true)]
async fn a_handler_that_wakes_itself_stops_nobody() {
    let test = Test::default();
    serve(&test, "fault-spin", |b| b).await;
    let mut peer = Peer::dial("fault-spin").await;
    peer.send(&frame(0, 1, "Spin", b"")).await.unwrap();
    for seq in 2..100 {
        peer.send(&frame(0, seq, "Echo", b"x")).await.unwrap();
        assert_eq!(peer.call().await.unwrap().seq, seq);
    }
    test.stop.store(1, Ordering::SeqCst);
    assert_eq!(peer.call().await.unwrap().seq, 1);
}

/// N calls run, the next one waits; N bytes pass, one more fails.
#[tokio::test(start_paused = true)]
async fn limits_are_exact() {
    for limit in [1usize, 2, 7, 64] {
        let test = Test::default();
        let name = format!("fault-limits-{limit}");
        serve(&test, &name, |b| b.calls_per_connection(limit).body_limit(1_000 * limit)).await;
        let mut peer = Peer::dial(&name).await;
        let count = u64::try_from(limit).unwrap();
        for seq in 0..=count {
            peer.send(&frame(0, seq, "Sleep", b"1000")).await.unwrap();
        }
        sleep(Duration::from_millis(500)).await;
        assert_eq!(test.running.load(Ordering::SeqCst), count);
        for _ in 0..=count {
            peer.call().await.unwrap();
        }
        assert_eq!(test.most.load(Ordering::SeqCst), count);
        for (more, flags) in [(0, 0x80), (1, 0x81)] {
            peer.send(&frame(0, 100, "Echo", &vec![b'x'; 1_000 * limit + more])).await.unwrap();
            assert_eq!(peer.call().await.unwrap().flags, flags, "{limit} + {more}");
        }
        // The reply's limit is the same.
        for (more, flags) in [(0, 0x80), (1, 0x81)] {
            peer.send(&frame(0, 101, "Large", (1_000 * limit + more).to_string().as_bytes())).await.unwrap();
            assert_eq!(peer.call().await.unwrap().flags, flags, "{limit} + {more}");
        }
    }
}

/// N connections are served, the next one waits until one ends, on whichever listener it comes.
#[tokio::test(start_paused = true)]
async fn the_limit_of_connections_is_exact_over_all_listeners() {
    let test = Test::default();
    let handle = serve(&test, "fault-many-a", |b| b.listen("mem://fault-many-b").max_connections(3)).await;
    let mut peers = Vec::new();
    for name in ["a", "a", "a"] {
        let mut peer = Peer::dial(&format!("fault-many-{name}")).await;
        peer.send(&frame(0, 1, "Echo", b"x")).await.unwrap();
        peer.call().await.expect("it is served");
        peers.push(peer);
    }
    let mut more = Peer::dial("fault-many-b").await;
    more.send(&frame(0, 1, "Echo", b"x")).await.unwrap();
    let waits = tokio::time::timeout(Duration::from_secs(60), more.call()).await;
    assert!(waits.is_err() && handle.report().connections == 3);
    peers.pop();
    assert_eq!(more.call().await.unwrap().body, b"x");
}

/// Who is told of the stop finishes what is on its way: a call that fails was surely not begun.
#[tokio::test(start_paused = true)]
async fn a_stop_under_load_loses_no_call() {
    for round in 0..20 {
        let test = Test::default();
        let name = format!("fault-stop-{round}");
        let handle = serve(&test, &name, |b| b).await;
        let mut callers = Vec::new();
        for n in 0..20u64 {
            let channel = channel(&name).await;
            callers.push(tokio::spawn(async move {
                let mut good = 0u64;
                loop {
                    let method = if n % 2 == 0 { "Echo" } else { "Sleep" };
                    match channel.call(call(method, (n % 7).to_string())).await {
                        Ok(_) => good += 1,
                        Err(status) => {
                            assert_eq!(status.code(), Code::Unavailable, "{status}");
                            assert!(status.may_retry(), "a call was lost: {status}");
                            return good;
                        }
                    }
                    // Time stands still while anybody is busy.
                    sleep(Duration::from_millis(1 + n % 3)).await;
                }
            }));
        }
        sleep(Duration::from_millis(20 + round)).await;
        let begun = Instant::now();
        handle.drain(Duration::from_secs(30));
        for caller in callers {
            assert!(caller.await.unwrap() > 0);
        }
        while handle.report().connections > 0 {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    }
}

/// Heads that are large and come in pieces are read in pieces, too.
#[test]
fn a_large_head_is_not_read_byte_by_byte() {
    struct Counting<'a>(&'a [u8], usize);
    impl tokio::io::AsyncRead for Counting<'_> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            into: &mut tokio::io::ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            self.1 += 1;
            let n = into.remaining().min(self.0.len());
            let (now, later) = self.0.split_at(n);
            into.put_slice(now);
            self.0 = later;
            Poll::Ready(Ok(()))
        }
    }
    let bytes = vec![8; 20_000];
    let mut io = Counting(&bytes, 0);
    let mut inbound = crate::net::buffers::Inbound::default();
    inbound.keep(&[8; 9_000], 0);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let mut got = 9_000;
    while got < 29_000 {
        let Poll::Ready(Ok(Some(batch))) = inbound.poll_read(&mut io, &mut cx) else { panic!("no more") };
        assert!(batch.len() > got);
        got = batch.len();
        inbound.keep(&batch, 0);
    }
    assert!(io.1 <= 4, "{} reads", io.1);
}

/// What each connection takes in its task: futures grow without anybody noticing.
#[tokio::test]
async fn a_connection_is_small() {
    let router = Arc::new(crate::server::Router::default());
    let (stack, limits) = (Arc::clone(&router), trunkline_wire::Limits::default());
    let core = Arc::new(crate::server::Core::new(router, stack, limits));
    let stream = crate::net::transport::Stream::Memory(tokio::io::duplex(1).0);
    let connection = crate::server::serve::serve(core, stream, crate::Peer::Memory(0));
    let size = std::mem::size_of_val(&connection);
    println!("{size} bytes");
    assert!(size <= 816, "{size} bytes");
}
