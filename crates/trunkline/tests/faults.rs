//! Calls through networks and processes that fail: every call ends in time, none with a wrong answer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail loudly"
)]

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use support::proxy::{Cut, Fault, Proxy};
use support::{Test, bytes, call, serve};
use tokio::task::JoinSet;
use tokio::time::Instant;
use trunkline::client::{Channel, ConnectionState};
use trunkline::{Code, Server, Service};

async fn server() -> (trunkline::server::ServerHandle, String) {
    serve(Server::builder().serve(Test::default()).listen("127.0.0.1:0")).await
}

fn through(proxy: &Proxy) -> trunkline::client::ChannelBuilder {
    Channel::builder(&format!("rpcx://{}", proxy.address))
}

/// A body of a random length that no other call has.
fn body(n: u64) -> Vec<u8> {
    let mut body = n.to_be_bytes().to_vec();
    let most = if n.is_multiple_of(50) { 20_000 } else { 300 };
    body.resize(8 + fastrand::usize(..most), u8::try_from(n % 251).unwrap());
    body
}

/// Calls over so many connections for so long; every answer is right and there is no error. How many.
async fn calls_without_an_error(proxy: &Proxy, connections: usize, time: Duration) -> u64 {
    let mut tasks = JoinSet::new();
    let end = Instant::now() + time;
    let number = Arc::new(AtomicU64::new(0));
    for _ in 0..connections {
        let channel = through(proxy).connect().await.unwrap();
        for _ in 0..4 {
            let (channel, number) = (channel.clone(), Arc::clone(&number));
            tasks.spawn(async move {
                while Instant::now() < end {
                    let n = number.fetch_add(1, Ordering::Relaxed);
                    let body = body(n);
                    let method = if n.is_multiple_of(2) { "Echo" } else { "Owned" };
                    assert_eq!(bytes(channel.call(call(method, body.clone())).await.unwrap()), body);
                }
                assert_eq!(channel.stats().stray_replies, 0);
            });
        }
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
    assert_eq!(proxy.connections.load(Ordering::SeqCst), connections as u64, "a connection was lost");
    number.load(Ordering::Relaxed)
}

fn slices() -> (Fault, Fault) {
    let fault = Fault { slices: true, ..Fault::default() };
    (fault, fault)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3b_writes_of_1_to_7_bytes_change_nothing() {
    let (_, address) = server().await;
    let proxy = Proxy::start(address, |_| slices()).await;
    let calls = calls_without_an_error(&proxy, 4, Duration::from_secs(2)).await;
    assert!(calls > 100, "{calls}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes 60 s: 16 connections through writes of 1 to 7 bytes (cargo test -- --ignored)"]
async fn d3b_writes_of_1_to_7_bytes_change_nothing_for_a_minute() {
    let (_, address) = server().await;
    let proxy = Proxy::start(address, |_| slices()).await;
    let calls = calls_without_an_error(&proxy, 16, Duration::from_secs(60)).await;
    println!("{calls} calls over 16 connections in 60 s, no error");
    assert!(calls > 10_000, "{calls}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3a_delays_change_nothing() {
    let (_, address) = server().await;
    let proxy = Proxy::start(address, |_| {
        let fault = Fault { delay: Duration::from_millis(40), ..Fault::default() };
        (fault, fault)
    })
    .await;
    let calls = calls_without_an_error(&proxy, 4, Duration::from_secs(2)).await;
    assert!(calls > 50, "{calls}");
}

/// How many bytes one call of 10 bytes takes, there and back: greeting and its answer, request and reply.
async fn bytes_of_a_call() -> (u64, u64) {
    let greeting = 16 + 16 + (4 + 11 + 4 + 1) + 9;
    let there = 16 + 4 + 4 + 4 + 5 + 4 + 4 + 10;
    (greeting + there, greeting + there)
}

/// The end of the connection at each byte of the greeting and the call, both ways: an error that says so, at once,
/// and no call is made of a part of one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3e_an_end_at_any_byte_is_an_error_and_nothing_is_made_of_a_part() {
    let (handle, address) = server().await;
    let (there, back) = bytes_of_a_call().await;
    let mut made = 0;
    for reset in [false, true] {
        let cut = move |at| Some(if reset { Cut::Reset(at) } else { Cut::Fin(at) });
        for at in 0..there {
            let proxy = Proxy::start(address.clone(), move |_| {
                (Fault { cut: cut(at), ..Fault::default() }, Fault::default())
            })
            .await;
            one_call_fails(&proxy, &format!("{at} bytes there, reset {reset}")).await;
        }
        let counted: u64 = handle.counters().iter().map(|(_, _, counters)| counters.calls).sum();
        assert_eq!(counted, made, "a part of a call was made");
        for at in 0..back {
            let proxy = Proxy::start(address.clone(), move |_| {
                (Fault::default(), Fault { cut: cut(at), ..Fault::default() })
            })
            .await;
            one_call_fails(&proxy, &format!("{at} bytes back, reset {reset}")).await;
        }
        // With all of it the call goes through, so the numbers above are the right ones.
        let proxy = Proxy::start(address.clone(), move |_| {
            (Fault::default(), Fault { cut: Some(Cut::Fin(back)), ..Fault::default() })
        })
        .await;
        let channel = through(&proxy).lazy().unwrap();
        assert_eq!(bytes(channel.call(call("Owned", "0123456789")).await.unwrap()), "0123456789");
        made = handle.counters().iter().map(|(_, _, counters)| counters.calls).sum();
        assert!(made > 0);
    }
    let channel = Channel::connect(&format!("rpcx://{address}")).await.unwrap();
    assert_eq!(bytes(channel.call(call("Echo", "alive")).await.unwrap()), "alive");
}

async fn one_call_fails(proxy: &Proxy, case: &str) {
    let channel = through(proxy).lazy().unwrap();
    let begun = Instant::now();
    let deadline = begun + Duration::from_secs(5);
    let status = channel.call(call("Owned", "0123456789").with_deadline(deadline)).await;
    let status = match status {
        Err(status) => status,
        Ok(reply) => panic!("{case}: {:?}", bytes(reply)),
    };
    assert_eq!(status.code(), Code::Unavailable, "{case}: {status}");
    assert!(begun.elapsed() < Duration::from_secs(1), "{case}: {:?}", begun.elapsed());
    assert!(status.origin().is_some(), "{case}: {status}");
}

/// Resets at random bytes under load: every call ends at once, with its own answer or an error that says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3d_resets_at_random_bytes_fail_calls_and_mix_up_none() {
    let (_, address) = server().await;
    let proxy = Proxy::start(address, |_| {
        let cut = || Some(Cut::Reset(fastrand::u64(200..200_000)));
        (Fault { cut: cut(), ..Fault::default() }, Fault { cut: cut(), ..Fault::default() })
    })
    .await;
    let (good, bad) = load(&proxy.address, 4, 8, Duration::from_secs(3), &AtomicBool::new(false)).await;
    let connections = proxy.connections.load(Ordering::SeqCst);
    assert!(
        good > 500 && bad > 20 && connections > 20,
        "{good} good, {bad} failed, {connections} connections"
    );
}

/// Calls for so long, or until it is told to end. Each ends within 1 s, with its own answer or as unavailable. How
/// many were good, and how many failed.
async fn load(
    address: &str,
    channels: usize,
    callers: usize,
    time: Duration,
    end: &AtomicBool,
) -> (u64, u64) {
    let until = Instant::now() + time;
    let number = AtomicU64::new(0);
    let (good, bad) = (AtomicU64::new(0), AtomicU64::new(0));
    let channels: Vec<_> =
        (0..channels).map(|_| Channel::builder(&format!("rpcx://{address}")).lazy().unwrap()).collect();
    let caller = async |channel: &Channel| {
        while Instant::now() < until && !end.load(Ordering::Relaxed) {
            let n = number.fetch_add(1, Ordering::Relaxed);
            let body = body(n);
            let begun = Instant::now();
            let deadline = begun + Duration::from_secs(10);
            match channel.call(call("Owned", body.clone()).with_deadline(deadline)).await {
                Ok(reply) => {
                    assert!(bytes(reply) == body, "a wrong answer");
                    good.fetch_add(1, Ordering::Relaxed);
                }
                Err(status) => {
                    assert_eq!(status.code(), Code::Unavailable, "{status}");
                    bad.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            let took = begun.elapsed();
            assert!(took < Duration::from_secs(1), "a call took {took:?}");
        }
    };
    let all = channels.iter().flat_map(|channel| std::iter::repeat_n(channel, callers)).map(&caller);
    futures_util::future::join_all(all).await;
    (good.into_inner(), bad.into_inner())
}

/// No FIN, no RST: heartbeats find out, the calls fail, and when the network is back so is the channel.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3h_a_black_hole_is_found_by_heartbeats() {
    let (_, address) = server().await;
    let proxy = Proxy::start(address, |_| (Fault::default(), Fault::default())).await;
    let heartbeat = Duration::from_millis(200);
    let channel = through(&proxy).heartbeat(heartbeat).connect().await.unwrap();
    let mut state = channel.state();
    assert_eq!(bytes(channel.call(call("Echo", "x")).await.unwrap()), "x");
    proxy.black_hole.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    let calls = (0..10).map(|_| channel.call(call("Echo", "x")));
    for result in futures_util::future::join_all(calls).await {
        let status = result.unwrap_err();
        assert_eq!((status.code(), status.may_retry()), (Code::Unavailable, false), "{status}");
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    proxy.black_hole.store(false, Ordering::SeqCst);
    let healed = Instant::now();
    tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            state.wait_for(|state| *state == ConnectionState::Connected).await.unwrap();
            let deadline = Instant::now() + Duration::from_secs(1);
            if channel.call(call("Echo", "x").with_deadline(deadline)).await.is_ok() {
                break;
            }
        }
    })
    .await
    .unwrap();
    println!("healed in {:?}", healed.elapsed());
}

/// A server in a process of its own.
struct Process {
    child: Child,
    address: String,
}

const CHILD: &str = "TRUNKLINE_FAULTS_SERVE";

impl Process {
    /// This very program, as a server; see [`child_server`].
    fn start(address: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child_server", "--exact", "--nocapture"])
            .env(CHILD, address)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.map_while(std::io::Result::ok).find_map(|line| {
            let at = line.find("ready ")?;
            Some(line[at + 6..].to_owned())
        });
        Self { child, address: ready.expect("the server does not start") }
    }

    /// kill -9.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The server process of the tests below; by itself it does nothing.
#[test]
fn child_server() {
    let Ok(address) = std::env::var(CHILD) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = Server::builder().serve(Test::default()).listen(address).bind().await.unwrap();
        println!("\nready {}", server.addresses()[0]);
        server.run().await.unwrap();
    });
}

async fn kill_under_load(times: usize) -> (u64, u64) {
    let mut process = Process::start("127.0.0.1:0");
    let address = process.address.clone();
    let end = AtomicBool::new(false);
    let kills = async {
        let channel = Channel::builder(&format!("rpcx://{address}")).lazy().unwrap();
        let mut state = channel.state();
        for _ in 0..times {
            let connected = state.wait_for(|state| *state == ConnectionState::Connected);
            let _ = tokio::time::timeout(Duration::from_secs(10), connected).await.unwrap().unwrap();
            // Not before the others are connected again, too.
            tokio::time::sleep(Duration::from_millis(100 + fastrand::u64(..200))).await;
            process.kill();
            let lost = state.wait_for(|state| *state != ConnectionState::Connected);
            let _ = tokio::time::timeout(Duration::from_secs(1), lost).await.unwrap().unwrap();
            process = Process::start(&address);
        }
        end.store(true, Ordering::Relaxed);
    };
    let (result, ()) = tokio::join!(load(&address, 4, 8, Duration::from_secs(600), &end), kills);
    result
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d4a_a_killed_server_fails_its_calls_at_once() {
    let (good, bad) = kill_under_load(3).await;
    assert!(good > 300 && bad >= 3, "{good} good, {bad} failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes about a minute: the server is killed 100 times under load (cargo test -- --ignored)"]
async fn d4a_a_server_killed_100_times_fails_its_calls_at_once() {
    let (good, bad) = kill_under_load(100).await;
    println!("100 kills: {good} calls answered, {bad} failed, each within 1 s, none wrong");
    assert!(good > 10_000 && bad >= 100, "{good} good, {bad} failed");
}

/// A client that ends its side after its request still gets the reply.
#[tokio::test]
async fn d3f_a_half_closed_connection_is_answered() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (_, address) = server().await;
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    for (method, body) in [("Sleep", "100"), ("Owned", "abc"), ("Echo", "abc")] {
        stream.write_all(&support::frame(0, 7, method, body.as_bytes())).await.unwrap();
    }
    stream.shutdown().await.unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).await.unwrap();
    let length = |method: &str, body: &str| 16 + 16 + 4 + method.len() + body.len();
    assert_eq!(got.len(), length("Sleep", "100") + length("Owned", "abc") + length("Echo", "abc"));
}
