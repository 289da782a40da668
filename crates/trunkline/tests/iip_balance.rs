//! The balanced client over IIP: weights, the ways to pick, and what a failing server costs others, on real servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]

mod iip_support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use iip_support::{Fake, Frame, PATIENCE, until};
use tokio::net::TcpListener;
use tokio::time::timeout;
use trunkline::balance::{self, CLIENT, ConsistentHash, Endpoint, Key, LeastPending, Picker};
use trunkline::client::{Client, EndpointState};
use trunkline::server::RunningServer;
use trunkline::{Bytes, Call, Code, Metadata, Result, Serialization, Server, Service, Status};

#[trunkline::service]
trait Who {
    async fn are_you(&self, how: String) -> Result<String>;
}

struct Named(&'static str, Arc<AtomicUsize>);

impl Who for Named {
    async fn are_you(&self, how: String) -> Result<String> {
        self.1.fetch_add(1, Ordering::SeqCst);
        match how.as_str() {
            "fail" => Err(Status::failed("no")),
            "slow" => std::future::pending().await,
            _ => Ok(self.0.to_owned()),
        }
    }
}

async fn start_at(name: &'static str, address: &str) -> (RunningServer, Arc<AtomicUsize>) {
    let calls = Arc::<AtomicUsize>::default();
    let service = WhoServer::new(Named(name, Arc::clone(&calls)));
    let server = Server::builder().serve(service).path("/who", "Who", "AreYou").listen(address);
    (server.start().await.unwrap(), calls)
}

async fn start(name: &'static str) -> (RunningServer, Arc<AtomicUsize>) {
    start_at(name, "127.0.0.1:0").await
}

/// `iip://A#weight,B#weight`; only the first part has a scheme.
fn urls(servers: &[(&RunningServer, u32)]) -> String {
    let parts = servers.iter().map(|(server, weight)| format!("{}#{weight}", server.addresses()[0]));
    format!("iip://{}", parts.collect::<Vec<_>>().join(","))
}

/// A call of this path, or why it failed.
async fn path(client: &Client, path: &str) -> Result<String> {
    said(client, Call::new("", path.to_owned(), Serialization::Json, "x")).await
}

async fn said(client: &Client, call: Call) -> Result<String> {
    let body = timeout(PATIENCE, client.call(call)).await.expect("every call ends")?.into_body();
    Ok(String::from_utf8(body.whole(1 << 20).await?.to_vec()).unwrap())
}

async fn spread(client: &Client, calls: usize) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for _ in 0..calls {
        *all.entry(path(client, "/who").await.unwrap()).or_default() += 1;
    }
    all
}

fn state(client: &Client, place: usize) -> EndpointState {
    client.endpoints().remove(place)
}

#[tokio::test]
async fn all_ways_to_pick_work_over_iip() {
    let ((a, _), (b, _)) = (start("a").await, start("b").await);
    for name in balance::NAMES {
        let picker = balance::by_name(name).unwrap();
        let client = Client::builder(&urls(&[(&a, 3), (&b, 1)])).select(picker).connections(2).connect();
        let client = client.await.unwrap();
        let all = spread(&client, 80).await;
        assert_eq!(all.values().sum::<usize>(), 80);
        match name {
            "round-robin" | "weighted" => {
                assert_eq!(all, BTreeMap::from([("a".into(), 60), ("b".into(), 20)]));
            }
            "random" => assert!(all["a"] > all["b"] && all["b"] > 2, "{all:?}"),
            // The same call goes to the same one.
            "consistent-hash" => assert_eq!(all.len(), 1),
            _ => assert!(all.contains_key("a"), "{name}: {all:?}"),
        }
        assert!(state(&client, 0).connections <= 2 && state(&client, 1).connections <= 2);
    }
}

#[tokio::test]
async fn a_parameter_of_the_uri_and_the_clients_address_pick_the_server() {
    let ((a, _), (b, _)) = (start("a").await, start("b").await);
    let by =
        |key: Key| Client::builder(&urls(&[(&a, 1), (&b, 1)])).select(ConsistentHash::new(key)).connect();
    let client = by(Key::parameter("user")).await.unwrap();
    let mut at = BTreeMap::<String, usize>::new();
    for user in 0..30 {
        let first = path(&client, &format!("/who?user=u{user}")).await.unwrap();
        // Written in another way it is the same.
        let again = path(&client, &format!("/who?x=1&user=%75{user}&user=other")).await.unwrap();
        assert_eq!(first, again);
        *at.entry(first).or_default() += 1;
    }
    assert!(at.len() == 2, "{at:?}");
    let client = by(Key::client()).await.unwrap();
    let mut at = BTreeMap::<String, usize>::new();
    for user in 0..30 {
        let call = || {
            let call = Call::new("Who", "AreYou", Serialization::Json, "x");
            call.with_metadata(Metadata::builder().with(CLIENT, &format!("10.0.0.{user}")).build())
        };
        let first = said(&client, call()).await.unwrap();
        assert_eq!(said(&client, call()).await.unwrap(), first);
        *at.entry(first).or_default() += 1;
    }
    assert!(at.len() == 2, "{at:?}");
}

#[cfg(feature = "expressions")]
#[tokio::test]
async fn an_expression_over_path_and_parameters_picks_the_server() {
    use trunkline::balance::Expression;
    let ((a, _), (b, _)) = (start("a").await, start("b").await);
    let text = r#"path == "/who" && has(params.user) ? int(params.user) % endpoints : 1"#;
    let picker = Expression::new(text).unwrap();
    let client = Client::builder(&urls(&[(&a, 1), (&b, 1)])).select(picker).connect().await.unwrap();
    for user in 0..10 {
        let expected = if user % 2 == 0 { "a" } else { "b" };
        assert_eq!(path(&client, &format!("/who?user={user}")).await.unwrap(), expected);
    }
    assert_eq!(path(&client, "/who").await.unwrap(), "b");
    let call = Call::new("Who", "AreYou", Serialization::Json, "x");
    assert_eq!(said(&client, call).await.unwrap(), "b", "its path is /Who/AreYou");
}

/// I14: each call is routed by its own parameters, however many are under way.
#[cfg(feature = "expressions")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i14_calls_at_the_same_time_are_routed_by_their_own_parameters() {
    use trunkline::balance::Expression;
    let ((a, _), (b, _)) = (start("a").await, start("b").await);
    let picker = Expression::new("int(params.to)").unwrap();
    let client = Client::builder(&urls(&[(&a, 1), (&b, 1)])).select(picker).connect().await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let client = client.clone();
        tasks.spawn(async move {
            for n in 0..100 {
                let to = (task + n) % 2;
                let expected = ["a", "b"][to];
                assert_eq!(path(&client, &format!("/who?to={to}")).await.unwrap(), expected);
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    // One without the parameter fails by itself.
    assert_eq!(path(&client, "/who").await.unwrap_err().code(), Code::InvalidInput);
}

/// I13: one call runs into its deadline; those beside it on the same connection, of a server that cannot be told, go on,
/// and get their own answers.
#[tokio::test]
async fn i13_a_slow_call_closes_nobody_elses_connection() {
    let (address, fake) =
        Fake::start(|frame: &Frame| (!frame.path.starts_with("/slow")).then(|| frame.data.clone())).await;
    let client = Client::builder(&format!("iip://{address}")).connect().await.unwrap();
    let call = |path: &'static str, body: String, time: u64| {
        let deadline = tokio::time::Instant::now() + Duration::from_millis(time);
        Call::new("", path, Serialization::Json, Bytes::from(body)).with_deadline(deadline)
    };
    let slow = said(&client, call("/slow", "slow".into(), 200));
    let others = async {
        for n in 0..200 {
            let answer = said(&client, call("/echo", format!("{n}"), 5000)).await.unwrap();
            assert_eq!(answer, n.to_string());
        }
    };
    let (slow, ()) = tokio::join!(slow, others);
    assert_eq!(slow.unwrap_err().code(), Code::DeadlineExceeded);
    assert_eq!(said(&client, call("/echo", "after".into(), 5000)).await.unwrap(), "after");
    assert_eq!(fake.connections(), 1);
    assert_eq!(state(&client, 0).paused, None);
}

/// I13: where the connection is lost, all that wait on it learn of it at once and not at their deadlines.
#[tokio::test]
async fn i13_all_learn_at_once_that_their_connection_is_lost() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (cut, wait) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = 0;
        while asked < 20 {
            let frame = iip_support::read_frame(&mut stream, 1).await.unwrap();
            let answer = match frame.path.as_str() {
                "/sys/new_channel" => r#"{"code":0,"channel_id":1}"#.to_owned(),
                "/sys/trunkline" => iip_support::UNKNOWN.to_owned(),
                _ => {
                    asked += 1;
                    continue;
                }
            };
            let bytes = iip_support::written(5, &frame.path, 0, answer.as_bytes());
            tokio::io::AsyncWriteExt::write_all(&mut stream, &bytes).await.unwrap();
        }
        wait.await.unwrap();
    });
    let url = format!("iip://{address}");
    let client = Client::builder(&url).channels(|channel| channel.iip_channels(1)).connect().await.unwrap();
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { path(&client, "/slow").await })
        })
        .collect();
    until("all calls are in flight", || state(&client, 0).pending == 20).await;
    cut.send(()).unwrap();
    server.await.unwrap();
    let begun = std::time::Instant::now();
    for waits in waiting {
        assert_eq!(waits.await.unwrap().unwrap_err().code(), Code::Unavailable);
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "they have not waited for their time to pass");
}

/// I16: no endpoint is a status, also after the last one was removed; and a dial that leads nowhere holds nobody up.
#[tokio::test]
async fn i16_no_backend_is_a_status_and_a_dead_one_holds_nobody_up() {
    let (a, _) = start("a").await;
    let client = Client::builder(&urls(&[(&a, 1)])).connect().await.unwrap();
    assert_eq!(path(&client, "/who").await.unwrap(), "a");
    assert!(client.remove(&format!("iip://{}", a.addresses()[0])));
    assert_eq!(path(&client, "/who").await.unwrap_err().message(), "the client has no endpoints");
    client.add(Endpoint::new(format!("iip://{}", a.addresses()[0]))).unwrap();
    assert_eq!(path(&client, "/who").await.unwrap(), "a");
    // Nobody listens there: its calls go on to the other.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    client.add(Endpoint::new(format!("iip://{closed}")).with_alias("closed")).unwrap();
    for _ in 0..20 {
        assert_eq!(path(&client, "/who").await.unwrap(), "a");
    }
    assert!(client.remove("closed"));
    // Nobody answers there: calls that are not for it do not wait for those that are.
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    client.add(Endpoint::new(format!("iip://{}", deaf.local_addr().unwrap()))).unwrap();
    let calls = (0..20).map(|_| {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(2);
        said(&client, Call::new("", "/who", Serialization::Json, "x").with_deadline(deadline))
    });
    let ended = futures_util::future::join_all(calls).await;
    let answered = ended.iter().filter(|answer| answer.as_deref().ok() == Some("a")).count();
    assert!((10..20).contains(&answered), "{ended:?}");
}

/// More than 5 failures in a row pause a server; after the pause one call tries it, and it is back.
#[tokio::test]
async fn a_server_that_is_gone_is_paused_and_comes_back() {
    let ((a, _), (b, _)) = (start("a").await, start("b").await);
    let address = b.addresses()[0].clone();
    let client = Client::builder(&urls(&[(&a, 1), (&b, 1)])).pause(Duration::from_millis(300));
    let client = client.select(LeastPending::new()).connect().await.unwrap();
    assert_eq!(spread(&client, 10).await.len(), 2);
    b.stop(Duration::from_millis(100)).await.unwrap();
    // No call is lost: what was surely not begun goes on to the other.
    assert_eq!(spread(&client, 40).await, BTreeMap::from([("a".to_owned(), 40)]));
    until("it is paused", || state(&client, 1).paused.is_some()).await;
    let (_b, calls) = start_at("b again", &address).await;
    let begun = std::time::Instant::now();
    while calls.load(Ordering::SeqCst) == 0 {
        assert!(begun.elapsed() < PATIENCE, "it is never tried again");
        let answer = path(&client, "/who").await.unwrap();
        assert!(answer == "a" || answer == "b again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    until("it is no longer paused", || state(&client, 1).paused.is_none()).await;
    assert_eq!(spread(&client, 10).await.len(), 2);
}

/// What a handler answers is no failure of its server; what the health check says is.
#[tokio::test]
async fn failures_of_handlers_pause_nobody_and_a_health_check_does() {
    let (a, _) = start("a").await;
    let client = Client::builder(&urls(&[(&a, 1)])).connect().await.unwrap();
    for _ in 0..20 {
        let call = Call::new("Who", "AreYou", Serialization::Json, "fail");
        assert_eq!(said(&client, call).await.unwrap_err().message(), "no");
        assert_eq!(path(&client, "/nobody").await.unwrap_err().code(), Code::NotFound);
    }
    assert_eq!(state(&client, 0).paused, None);
    let unwell = |_: &Call, outcome: Result<&trunkline::Reply, &Status>| outcome.is_ok();
    let client = Client::builder(&urls(&[(&a, 1)])).health_check(unwell).connect().await.unwrap();
    for _ in 0..6 {
        let call = Call::new("Who", "AreYou", Serialization::Json, "fail");
        said(&client, call).await.unwrap_err();
    }
    assert!(state(&client, 0).paused.is_some());
}

/// A deadline that passes again and again pauses the server, and none of it closes its connection.
#[tokio::test]
async fn deadlines_pause_a_server_without_closing_its_connection() {
    let ((a, _), (b, slow)) = (start("a").await, start("b").await);
    let client = Client::builder(&urls(&[(&a, 1), (&b, 1)])).failures(2).pause(Duration::from_secs(60));
    let client = client.select(Fixed(1)).connect().await.unwrap();
    for _ in 0..3 {
        let deadline = tokio::time::Instant::now() + Duration::from_millis(30);
        let call = Call::new("Who", "AreYou", Serialization::Json, "slow").with_deadline(deadline);
        assert_eq!(said(&client, call).await.unwrap_err().code(), Code::DeadlineExceeded);
    }
    assert_eq!(slow.load(Ordering::SeqCst), 3);
    let paused = state(&client, 1);
    assert!(paused.paused.is_some() && paused.connections == 1, "{paused:?}");
    assert_eq!(path(&client, "/who").await.unwrap(), "a", "its calls go elsewhere meanwhile");
}

/// Always the same place.
#[derive(Debug)]
struct Fixed(usize);

impl Picker for Fixed {
    fn pick(&self, _: &balance::Members, _: &Call) -> Result<usize> {
        Ok(self.0)
    }
}
