//! Calls through networks and processes that fail: every call ends in time, none with a wrong answer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail loudly"
)]

mod support;

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
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
    // Two short waits before the next dials may be in it, each up to 450 ms.
    assert!(begun.elapsed() < Duration::from_secs(3), "{case}: {:?}", begun.elapsed());
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

/// How many KiB of memory the process takes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A body that its number says all of.
fn known_body(n: u64) -> Vec<u8> {
    let mut body = n.to_be_bytes().to_vec();
    body.resize(8 + usize::try_from(n * 37 % 300).unwrap(), u8::try_from(n % 251).unwrap());
    body
}

/// What became of calls through a network that turns over one bit of each connection.
#[derive(Debug, Default)]
struct Flipped {
    right: AtomicU64,
    failed: AtomicU64,
    /// The bit was in a body, and the caller sees it.
    in_body: AtomicU64,
    /// The bit was in a sequence number: the answer of another call that waited on the same connection.
    of_another: AtomicU64,
}

impl Flipped {
    /// Counts an answer; any but those that one turned bit explains is the end of the test.
    fn judge(&self, n: u64, reply: &[u8], waiting: &Mutex<HashSet<u64>>) {
        let sent = known_body(n);
        let count = if reply == sent {
            &self.right
        } else if reply.len() == sent.len()
            && reply.iter().zip(&sent).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>() == 1
        {
            &self.in_body
        } else {
            let other = u64::from_be_bytes(*reply.first_chunk().expect("no call has so short a body"));
            assert_eq!(reply, known_body(other), "an answer that no turned bit explains");
            assert!(
                other != n && waiting.lock().unwrap().contains(&other),
                "the answer of a call that is over"
            );
            &self.of_another
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Calls over a connection of their own, each with a second to end in.
async fn calls_through_a_flip(proxy: &Proxy, number: &AtomicU64, counts: &Flipped) {
    let channel = through(proxy).heartbeat(Duration::from_millis(200)).lazy().unwrap();
    let waiting = Mutex::new(HashSet::new());
    let caller = async |_| {
        for _ in 0..25 {
            let n = number.fetch_add(1, Ordering::Relaxed);
            let begun = Instant::now();
            let call = call("Owned", known_body(n)).with_deadline(begun + Duration::from_secs(1));
            waiting.lock().unwrap().insert(n);
            match channel.call(call).await {
                Ok(reply) => counts.judge(n, &bytes(reply), &waiting),
                Err(_) => drop(counts.failed.fetch_add(1, Ordering::Relaxed)),
            }
            waiting.lock().unwrap().remove(&n);
            assert!(begun.elapsed() < Duration::from_secs(2), "a call took {:?}", begun.elapsed());
        }
    };
    futures_util::future::join_all((0..8).map(caller)).await;
}

/// One bit of each connection is turned over. The wire has no checksum, so a body can be wrong, and a sequence
/// number can name another call that waits; but every call ends, nothing else is taken for an answer, nothing
/// panics or takes memory, and connections beside it do not notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3g_a_flipped_bit_costs_its_own_connection_at_most() {
    static PANICS: AtomicU64 = AtomicU64::new(0);
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // Not those of other tests that fail meanwhile.
        let here = panic.location().is_some_and(|at| at.file().ends_with(file!()));
        PANICS.fetch_add(u64::from(!here), Ordering::SeqCst);
        print(panic);
    }));
    let (_, address) = server().await;
    let proxy = Proxy::start(address.clone(), |_| {
        let flip = Some((fastrand::u64(..30_000), fastrand::u8(..8)));
        let (bad, good) = (Fault { flip, ..Fault::default() }, Fault::default());
        if fastrand::bool() { (bad, good) } else { (good, bad) }
    })
    .await;
    let (number, counts) = (AtomicU64::new(0), Flipped::default());
    let (before, until) = (resident(), Instant::now() + Duration::from_secs(4));
    let flipped = async |_| {
        while Instant::now() < until {
            calls_through_a_flip(&proxy, &number, &counts).await;
        }
    };
    let beside = async {
        let channel = Channel::connect(&format!("rpcx://{address}")).await.unwrap();
        let mut n = 0;
        while Instant::now() < until {
            assert_eq!(bytes(channel.call(call("Owned", known_body(n))).await.unwrap()), known_body(n));
            n += 1;
        }
        assert_eq!(channel.stats().stray_replies, 0);
        n
    };
    let (_, beside) = tokio::join!(futures_util::future::join_all((0..4).map(flipped)), beside);
    let connections = proxy.connections.load(Ordering::SeqCst);
    let grown = resident().saturating_sub(before);
    println!("{counts:?} over {connections} connections, {beside} beside, {grown} KiB more");
    assert_eq!(PANICS.load(Ordering::SeqCst), 0, "something panicked");
    assert!(grown < 64 << 10, "{grown} KiB more");
    let Flipped { right, failed, in_body, .. } = counts;
    assert!(right.into_inner() > 500 && failed.into_inner() > 20 && in_body.into_inner() > 5 && beside > 100);
    assert!(connections > 20, "{connections} connections");
}

/// 64 KiB a second, each way: what fits into its time is answered, what does not ends when that is over, and no
/// connection is taken for dead. (That heartbeats behind a large body do not end it is tested on paused time.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3c_a_narrow_link_loses_no_connection() {
    let (handle, address) = server().await;
    let proxy = Proxy::start(address, |_| {
        let fault = Fault { rate: 64 << 10, ..Fault::default() };
        (fault, fault)
    })
    .await;
    let before = resident();
    let calls = calls_without_an_error(&proxy, 4, Duration::from_secs(2)).await;
    assert!(calls > 50, "{calls}");
    let channel = through(&proxy).connect().await.unwrap();
    assert_eq!(bytes(channel.call(call("Echo", "x")).await.unwrap()), "x");
    let begun = Instant::now();
    let deadline = begun + Duration::from_millis(300);
    let large = call("Owned", vec![0; 60_000]).with_deadline(deadline);
    let status = channel.call(large).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(bytes(channel.call(call("Echo", "after")).await.unwrap()), "after");
    assert_eq!(proxy.connections.load(Ordering::SeqCst), 5, "a connection was lost");
    let grown = resident().saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB more");
    drop(handle);
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
