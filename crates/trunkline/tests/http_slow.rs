//! Callers over HTTP that do not read, and callers that are gone: each costs itself, and no more than a bound.

#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, reason = "helpers of tests may fail loudly")]

mod http_support;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http_support::{PATIENCE, Raw, post, start, until};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpSocket;

/// The process's resident memory in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// One caller asks for 256 answers of 1 MiB and reads none, while eight others make their calls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_slows_only_itself() {
    const ASKED: usize = 256;
    let server = start(|b| b).await;
    let call = post("/Arith/Mul", "", r#"{"A":6,"B":7}"#);
    let callers = |count: usize| {
        let (address, call) = (server.address.clone(), call.clone());
        async move {
            let mut slowest = Duration::ZERO;
            let mut raw = Raw::open(&address).await;
            for _ in 0..count {
                let begun = Instant::now();
                raw.send(&call).await;
                assert_eq!(raw.answer().await.unwrap().text(), r#"{"C":42}"#);
                slowest = slowest.max(begun.elapsed());
            }
            slowest
        }
    };
    // What the process needs once.
    callers(100).await;
    let (before, calls) = (resident(), server.seen.calls.load(Ordering::SeqCst));
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let mut slow =
        Raw { stream: BufReader::new(socket.connect(server.address.parse().unwrap()).await.unwrap()) };
    slow.send(post("/Fault/Big", "", r#"{"Bytes":1048576}"#).repeat(ASKED)).await;
    until("the first answer is made", || server.seen.calls.load(Ordering::SeqCst) > calls).await;
    let others: Vec<_> = (0..8).map(|_| tokio::spawn(callers(200))).collect();
    for other in others {
        let slowest = tokio::time::timeout(PATIENCE, other).await.expect("all calls end").unwrap();
        assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    }
    // Its answers are made as it reads, not as it asks: what was made fits the kernel's buffers and a little more.
    let made = server.seen.calls.load(Ordering::SeqCst) - calls - 8 * 200;
    let grown = resident().saturating_sub(before);
    println!("{made} answers made, {grown} bytes grown");
    assert!(made < 32, "{made} answers were made for nobody");
    assert!(grown < 48 << 20, "{grown} bytes");
    // It is there all the time, and gets what it asked for as soon as it reads.
    assert_eq!(slow.answer().await.unwrap().body.len(), 1_048_578);
}

/// A caller that has sent more than is read ahead, and dies: its call ends all the same.
#[tokio::test]
async fn a_caller_that_dies_behind_many_requests_is_noticed() {
    let server = start(|b| b).await;
    let sleep = post("/Slow/Sleep", "", r#"{"Millis":600000}"#);
    let filler = post("/Arith/Mul", &format!("X: {}\r\n", "x".repeat(8000)), "{}").repeat(25);
    for (number, (more, reset)) in [
        (filler.as_str(), true),
        (&filler, false),
        ("GET / HTTP/9\r\n\r\n", true),
        ("GET / HTTP/9\r\n\r\n", false),
    ]
    .into_iter()
    .enumerate()
    {
        let count = u64::try_from(number).unwrap() + 1;
        let mut raw = Raw::open(&server.address).await;
        raw.send(format!("{sleep}{more}")).await;
        until("the handler runs", || server.seen.sleeping.load(Ordering::SeqCst) == count).await;
        let mut socket = raw.stream.into_inner();
        if reset {
            socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
        } else {
            // An end that comes behind bytes that nobody reads.
            socket.shutdown().await.unwrap();
        }
        let dropped = || server.seen.dropped.load(Ordering::SeqCst) == count;
        if reset {
            drop(socket);
            until(&format!("the handler is dropped ({number})"), dropped).await;
        } else {
            until(&format!("the handler is dropped ({number})"), dropped).await;
        }
    }
    assert_eq!(server.seen.calls.load(Ordering::SeqCst), 4);
}

/// It waits for its answers as long as it is there, however much it has sent.
#[tokio::test]
async fn a_caller_that_has_sent_much_and_waits_is_answered() {
    let server = start(|b| b).await;
    let sleep = post("/Slow/Sleep", "", r#"{"Millis":1500}"#);
    let filler = post("/Arith/Mul", &format!("X: {}\r\n", "x".repeat(8000)), r#"{"A":6,"B":7}"#);
    let mut raw = Raw::open(&server.address).await;
    raw.send(sleep + &filler.repeat(60)).await;
    assert_eq!(raw.answer().await.unwrap().text(), r#"{"Slept":1500}"#);
    for _ in 0..60 {
        assert_eq!(raw.answer().await.unwrap().text(), r#"{"C":42}"#);
    }
}
