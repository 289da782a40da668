//! Named peers, and what zrpc gets wrong, by id.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::time::Instant;
use trunkline::client::Channel;
use trunkline::peer::{DEFAULT_ADDRESS, Functions, NamedPeer, NamedPeerBuilder, PeerError};
use trunkline::{Blob, Bytes, Code, Message, Result, Server, Status, client::Outgoing};

/// What zrpc says, to the byte.
const NOT_FOUND: &str = "Function Name Not Find ";

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
struct Params {
    fun_name: String,
    data: Blob,
}

fn peer(name: &str, address: &str) -> NamedPeerBuilder {
    NamedPeer::builder(name)
        .listen(address)
        .function("s", |_: Bytes| async { Ok("world".into()) })
        .function("echo", |bytes: Bytes| async move { Ok(bytes) })
        .function("fail", |_: Bytes| async { Err(Status::failed("refused")) })
        .function("slow", |_: Bytes| async {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            Ok(Bytes::new())
        })
}

fn url(name: &str) -> String {
    format!("mem://{name}?wire=netrpc")
}

fn failure<T: std::fmt::Debug>(result: Result<T>) -> (Code, String) {
    let status = result.unwrap_err();
    (status.code(), status.message().to_owned())
}

fn not_found() -> (Code, String) {
    (Code::NotFound, NOT_FOUND.to_owned())
}

/// Straight to the service, past what a peer's own check would stop.
async fn deal(channel: &Channel, name: &str, data: &'static [u8]) -> Result<Bytes> {
    let params = Params { fun_name: name.into(), data: Blob::from_static(data) };
    Outgoing::new(channel, "Consumer", "Deal", params).await
}

#[tokio::test]
async fn peers_call_each_other_by_name() {
    let one = peer("one", "mem://peers-one").peer("two", &url("peers-two")).start().await.unwrap();
    let two = peer("two", "mem://peers-two").peer("one", &url("peers-one")).start().await.unwrap();
    assert_eq!((one.name(), one.address()), ("one", "mem://peers-one"));
    for (from, to) in [(&one, "two"), (&two, "one")] {
        assert_eq!(from.functions(to).await.unwrap(), ["echo", "fail", "s", "slow"]);
        for _ in 0..3 {
            assert_eq!(from.call(to, "s", "data").await.unwrap(), "world");
            assert_eq!(from.call(to, "echo", "data").await.unwrap(), "data");
            assert_eq!(failure(from.call(to, "fail", "").await), (Code::Failed, "refused".into()));
        }
    }
    let (code, text) = failure(one.call("three", "s", "").await);
    assert_eq!((code, text.contains("three")), (Code::NotFound, true));
    one.add_peer("three", &url("peers-two")).unwrap();
    assert_eq!(one.call("three", "s", "").await.unwrap(), "world");
    assert_eq!(failure(one.add_peer("four", "nowhere")).0, Code::InvalidInput);
}

#[tokio::test]
async fn values_travel_as_messagepack() {
    let one = NamedPeer::builder("one")
        .listen("mem://peers-typed")
        .typed("double", |numbers: Vec<i64>| async move {
            Ok(numbers.into_iter().map(|n| n * 2).collect::<Vec<_>>())
        })
        .peer("self", &url("peers-typed"))
        .start()
        .await
        .unwrap();
    assert_eq!(one.call_typed::<_, Vec<i64>>("self", "double", &[1, -2]).await.unwrap(), [2, -4]);
    assert_eq!(failure(one.call_typed::<_, Vec<i64>>("self", "double", "text").await).0, Code::Failed);
    assert_eq!(failure(one.call_typed::<_, String>("self", "double", &[1]).await).0, Code::InvalidInput);
}

/// As zrpc's own test does: very many calls at once, over one connection; more than a channel has in flight by itself.
#[tokio::test]
async fn very_many_calls_at_once() {
    let one = peer("one", "mem://peers-many").peer("self", &url("peers-many"));
    let one = one.timeout(Duration::from_secs(60)).start().await.unwrap();
    all_at_once(&Arc::new(one), "self", 70_000).await;
}

/// Makes so many calls, each in a task of its own.
async fn all_at_once(from: &Arc<NamedPeer>, to: &'static str, calls: usize) {
    let calls: Vec<_> = (0..calls)
        .map(|_| {
            let from = Arc::clone(from);
            tokio::spawn(async move { from.call(to, "s", "data").await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), "world");
    }
}

/// The same over TCP, a peer a thread, and how fast: `cargo test -p trunkline --release --test netrpc -- --ignored --nocapture`.
#[test]
#[ignore = "a figure, in release"]
fn a_hundred_thousand_calls_at_once() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (tell, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        runtime().block_on(async {
            let other = peer("other", "127.0.0.1:0").start().await.unwrap();
            tell.send(other.address().to_owned()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    let address = address.recv().unwrap();
    runtime().block_on(async {
        let one = peer("one", "127.0.0.1:0").peer("other", &address).timeout(Duration::from_secs(60));
        let one = Arc::new(one.start().await.unwrap());
        let mut rates = Vec::new();
        for _ in 0..5 {
            let begun = std::time::Instant::now();
            all_at_once(&one, "other", 100_000).await;
            rates.push(100_000.0 / begun.elapsed().as_secs_f64());
        }
        rates.sort_by(f64::total_cmp);
        println!("100,000 calls at once: {:.0} a second, the median of 5 rounds", rates[2]);
    });
}

#[tokio::test]
async fn several_endpoints_and_connections_take_turns() {
    let counts: Vec<_> = (0..2).map(|_| Arc::<AtomicU64>::default()).collect();
    let mut servers = vec![];
    for count in &counts {
        let count = Arc::clone(count);
        let functions = Functions::new().function("count", move |_: Bytes| {
            count.fetch_add(1, Ordering::SeqCst);
            async { Ok(Bytes::new()) }
        });
        let server = Server::builder().serve(functions.into_service()).listen("127.0.0.1:0");
        servers.push(server.start().await.unwrap());
    }
    let endpoints = format!("{},{}", servers[0].addresses()[0], servers[1].addresses()[0]);
    let one = peer("one", "mem://peers-turns").peer("both", &endpoints).connections(2).start().await.unwrap();
    for _ in 0..100 {
        one.call("both", "count", "").await.unwrap();
    }
    let [first, second] = [0, 1].map(|at: usize| counts[at].load(Ordering::SeqCst));
    assert_eq!(first + second, 100);
    assert!(first.abs_diff(second) <= 8, "{first} and {second}");
    // One is gone: the other goes on.
    servers.remove(0).stop(Duration::ZERO).await.unwrap();
    for _ in 0..20 {
        one.call("both", "count", "").await.unwrap();
    }
}

#[tokio::test]
async fn a_peer_that_cannot_be_what_it_says_does_not_start() {
    let empty = peer("one", "mem://peers-bad").function("", |_: Bytes| async { Ok(Bytes::new()) });
    assert!(matches!(empty.start().await, Err(PeerError::Function(name)) if name.is_empty()));
    assert!(matches!(
        peer("one", "mem://peers-bad").function("s", |b: Bytes| async { Ok(b) }).start().await,
        Err(PeerError::Function(name)) if name == "s"
    ));
    assert!(matches!(
        peer("one", "mem://peers-bad").peer("two", "no port").start().await,
        Err(PeerError::Endpoints { name, .. }) if name == "two"
    ));
}

/// Z1: one request for a function that is not there ends zrpc's process.
#[tokio::test]
async fn z1_an_unknown_function_is_refused_on_both_sides() {
    let one = peer("one", "mem://peers-z1").peer("self", &url("peers-z1")).start().await.unwrap();
    let calls = || one.server().handle().counters().iter().map(|(.., counters)| counters.calls).sum::<u64>();
    one.call("self", "s", "").await.unwrap();
    one.functions("self").await.unwrap();
    let before = calls();
    assert!(before > 0);
    for name in ["x", "S", "Consumer", " "] {
        assert_eq!(failure(one.call("self", name, "data").await), not_found());
    }
    assert_eq!(calls(), before, "nothing was sent");
    let channel = Channel::connect(&url("peers-z1")).await.unwrap();
    for name in ["x", "S", "Consumer", " "] {
        assert_eq!(failure(deal(&channel, name, b"data").await).1, NOT_FOUND);
    }
    assert_eq!(deal(&channel, "s", b"").await.unwrap(), "world");
}

/// Z2: an empty argument arrives at zrpc's functions as a nil pointer.
#[tokio::test]
async fn z2_an_empty_argument_is_there_and_empty() {
    let one = peer("one", "mem://peers-z2").peer("self", &url("peers-z2")).start().await.unwrap();
    assert_eq!(one.call("self", "echo", "").await.unwrap(), "");
    let channel = Channel::connect(&url("peers-z2")).await.unwrap();
    assert_eq!(deal(&channel, "echo", b"").await.unwrap(), "");
}

/// Z4: zrpc does not start where another peer is down, so that two that need each other cannot, and never dials again.
#[tokio::test(start_paused = true)]
async fn z4_peers_start_in_any_order_and_find_each_other_again() {
    let one = peer("one", "mem://peers-z4-a").peer("two", &url("peers-z4-b")).start().await.unwrap();
    assert_eq!(failure(one.call("two", "s", "").await).0, Code::Unavailable);
    let two = peer("two", "mem://peers-z4-b").peer("one", &url("peers-z4-a")).start().await.unwrap();
    let answered = async |function: &str| {
        let end = Instant::now() + Duration::from_secs(120);
        loop {
            match one.call("two", function, "").await {
                Ok(answer) => return answer,
                Err(status) => assert!(Instant::now() < end, "{status}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert_eq!(answered("s").await, "world");
    assert_eq!(two.call("one", "s", "").await.unwrap(), "world");
    // It comes back with other functions: they are asked for again.
    two.stop(Duration::ZERO).await.unwrap();
    let _two = NamedPeer::builder("two")
        .listen("mem://peers-z4-b")
        .function("new", |_: Bytes| async { Ok("again".into()) })
        .start()
        .await
        .unwrap();
    assert_eq!(answered("new").await, "again");
    assert_eq!(failure(one.call("two", "s", "").await), not_found());
}

/// Z5: a call of zrpc to a peer that says nothing waits for ever.
#[tokio::test(start_paused = true)]
async fn z5_every_call_ends() {
    let one = peer("one", "mem://peers-z5").peer("self", &url("peers-z5")).start().await.unwrap();
    let begun = Instant::now();
    assert_eq!(failure(one.call("self", "slow", "").await).0, Code::DeadlineExceeded);
    assert_eq!(begun.elapsed().as_secs(), 10);
}

/// Z5, on a socket: it accepts and says nothing, not even what it offers.
#[tokio::test]
async fn z5_a_silent_peer_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let time = Duration::from_millis(300);
    let one = peer("one", "mem://peers-z5-tcp").peer("silent", &address).timeout(time).start().await.unwrap();
    let begun = Instant::now();
    let calls = (0..3).map(|_| one.call("silent", "s", ""));
    for ended in futures_util::future::join_all(calls).await {
        assert_eq!(failure(ended).0, Code::DeadlineExceeded);
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
}

/// Z6: the index of a Go peer lists the empty name, which passes its check and ends the process of the other; and
/// anybody may call, since it listens on all addresses.
#[tokio::test]
async fn z6_empty_names_mean_nothing_and_nobody_else_hears() {
    #[trunkline::service(name = "Consumer")]
    trait Consumer {
        async fn deal(&self, params: Params) -> Result<Bytes>;
        async fn get_index(&self, params: Params) -> Result<Bytes>;
    }
    /// As Go's.
    struct Go(AtomicU64);
    impl Consumer for Go {
        async fn deal(&self, _: Params) -> Result<Bytes> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok("dealt".into())
        }
        async fn get_index(&self, params: Params) -> Result<Bytes> {
            assert_eq!(params, Params::default());
            // Recorded: ["", "", "", "", "s", "echo", "nil", "fail"].
            Ok(Bytes::from_static(b"\x81\xa5Index\x98\xa0\xa0\xa0\xa0\xa1s\xa4echo\xa3nil\xa4fail"))
        }
    }
    let go = Server::builder().serve(ConsumerServer::new(Go(AtomicU64::new(0)))).listen("mem://peers-z6-go");
    let go = go.start().await.unwrap();
    let one = peer("one", "mem://peers-z6").peer("go", &url("peers-z6-go")).start().await.unwrap();
    assert_eq!(one.functions("go").await.unwrap(), ["echo", "fail", "nil", "s"]);
    assert_eq!(failure(one.call("go", "", "data").await), not_found());
    assert_eq!(one.call("go", "s", "").await.unwrap(), "dealt");
    drop(go);
    let channel = Channel::connect(&url("peers-z6")).await.unwrap();
    assert_eq!(failure(deal(&channel, "", b"data").await).1, NOT_FOUND);
    let index: Bytes = Outgoing::new(&channel, "Consumer", "GetIndex", Params::default()).await.unwrap();
    assert_eq!(index, &b"\x81\xa5Index\x94\xa4echo\xa4fail\xa1s\xa4slow"[..], "no empty names");
    assert!(DEFAULT_ADDRESS.starts_with("127.0.0.1:"));
}
