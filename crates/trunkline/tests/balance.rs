//! The balanced client: pauses, failover, endpoints that come and go, on paused time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail loudly"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use support::{Test, bytes, call, serve, serve_in_memory};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use trunkline::balance::{ConsistentHash, Endpoint, Key, LeastPending, P2cEwma, Picker, Random};
use trunkline::client::{Channel, Client, EndpointState};
use trunkline::server::ServerHandle;
use trunkline::{Code, Reply, Result, Serialization, Server, Service, Status};

/// Who answers: a service that gives its own name, or fails or is slow where the body says so.
#[trunkline::service]
trait Who {
    async fn are_you(&self, how: String) -> Result<String>;
}

struct Named(String, Arc<AtomicUsize>);

impl Who for Named {
    async fn are_you(&self, how: String) -> Result<String> {
        self.1.fetch_add(1, Ordering::SeqCst);
        match how.as_str() {
            "fail" => Err(Status::failed("no")),
            "unwell" => Err(Status::new(Code::Internal, "unwell")),
            "slow" => {
                sleep(Duration::from_secs(3)).await;
                Ok(self.0.clone())
            }
            _ => Ok(self.0.clone()),
        }
    }
}

/// A server of this name in memory, and how often it was called.
async fn start(name: &str) -> (ServerHandle, Arc<AtomicUsize>) {
    let calls = Arc::<AtomicUsize>::default();
    let named = Named(name.to_owned(), Arc::clone(&calls));
    let builder = Server::builder().serve(WhoServer::new(named)).listen(format!("mem://{name}"));
    (serve(builder).await.0, calls)
}

fn count(calls: &AtomicUsize) -> usize {
    calls.load(Ordering::SeqCst)
}

async fn ask(client: &Client, how: &str) -> Result<String> {
    WhoClient::new(client.clone()).are_you(how.to_owned()).await
}

/// Who answers so many calls, one after the other.
async fn answers(client: &Client, calls: usize) -> Vec<String> {
    let mut all = Vec::new();
    for _ in 0..calls {
        all.push(ask(client, "").await.unwrap());
    }
    all
}

fn state(client: &Client, place: usize) -> EndpointState {
    client.endpoints().remove(place)
}

fn raw() -> trunkline::Call {
    trunkline::Call::new("Who", "AreYou", Serialization::Raw, "")
}

#[tokio::test(start_paused = true)]
async fn several_endpoints_in_one_url_are_called_by_weight() {
    let _servers = (start("bal-a").await, start("bal-b").await);
    let who = WhoClient::connect("mem://bal-a#3,bal-b").await.unwrap();
    let mut by_a = 0;
    for _ in 0..40 {
        by_a += usize::from(who.are_you(String::new()).await.unwrap() == "bal-a");
    }
    assert_eq!(by_a, 30);
    // One endpoint is a channel, and so is a mixture of wires a client.
    assert_eq!(
        WhoClient::connect("mem://bal-b").await.unwrap().are_you(String::new()).await.unwrap(),
        "bal-b"
    );
    let mixed = Client::connect("mem://bal-a?wire=rpcx,mem://bal-b?wire=easymicro").await.unwrap();
    assert_eq!(answers(&mixed, 4).await, ["bal-a", "bal-b", "bal-a", "bal-b"]);
    assert_eq!(mixed.serialization(), Serialization::MessagePack);
}

#[cfg(feature = "http")]
#[tokio::test(start_paused = true)]
async fn a_client_mixes_wires() {
    let _servers = (start("mix-a").await, start("mix-b").await);
    let client = Client::connect("mem://mix-a?wire=rpcx,mem://mix-b?wire=http").await.unwrap();
    assert_eq!(client.serialization(), Serialization::Json);
    assert_eq!(answers(&client, 4).await, ["mix-a", "mix-b", "mix-a", "mix-b"]);
}

#[tokio::test]
async fn what_is_wrong_in_a_list_is_an_invalid_input() {
    for (urls, why) in [
        ("rpcx://a:1#0,b:2", "weight 0"),
        ("rpcx://a:1,", "comma"),
        ("rpcx://a:1,rpcx://a:1", "there already"),
        ("rpcx://a:1,b", "port is missing"),
        ("a:1,b:2", "scheme is missing"),
        ("nope://a:1,b:2", "scheme nope"),
    ] {
        let status = WhoClient::connect(urls).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidInput);
        assert!(status.message().contains(why), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn i15_i16_an_empty_list_is_a_status_and_no_panic() {
    let (_server, _) = start("only").await;
    for picker in ["round-robin", "random", "least-pending", "p2c-ewma", "consistent-hash"] {
        let picker = trunkline::balance::by_name(picker).unwrap();
        let client = Client::builder("").select(picker).connect().await.unwrap();
        let status = client.call(raw()).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unavailable, "the client has no endpoints"));
        assert!(status.may_retry());
        // I15: the only one is removed; it ends, and the next call says so, too.
        client.add(Endpoint::new("mem://only")).unwrap();
        assert_eq!(ask(&client, "").await.unwrap(), "only");
        assert!(client.remove("mem://only") && !client.remove("mem://only"));
        assert!(client.endpoints().is_empty());
        assert_eq!(client.call(raw()).await.unwrap_err().message(), "the client has no endpoints");
    }
}

#[tokio::test]
async fn i16_an_endpoint_that_hangs_holds_nobody_else_up() {
    let (_server, _) = start("quick").await;
    // Somebody listens, and never says a word.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    if cfg!(not(feature = "http")) {
        return;
    }
    let client = Client::builder(&format!("{url},mem://quick")).lazy().unwrap();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.call(call_who()).await })
        })
        .collect();
    while state(&client, 0).pending < 2 {
        tokio::task::yield_now().await;
    }
    let more: Vec<_> = (0..10)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { ask(&client, "").await.unwrap() })
        })
        .collect();
    // Every other call is its turn.
    let begun = Instant::now();
    while more.iter().filter(|call| call.is_finished()).count() < 5 {
        assert!(begun.elapsed() < Duration::from_secs(8), "somebody waits for the one that hangs");
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(state(&client, 0).pending, 7);
    more.iter().for_each(tokio::task::JoinHandle::abort);
    assert!(client.remove(&url));
    assert_eq!(answers(&client, 3).await, ["quick"; 3]);
    assert_eq!(waiting.iter().filter(|call| !call.is_finished()).count(), 2);
}

/// A listener that lets nobody in, at the level of TCP; what keeps its queue full comes with it.
async fn closed_door() -> (tokio::net::TcpListener, Vec<tokio::net::TcpStream>) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    for _ in 0..16 {
        let dial = tokio::net::TcpStream::connect(address);
        match tokio::time::timeout(Duration::from_secs(1), dial).await {
            Ok(stream) => waiting.push(stream.unwrap()),
            Err(_) => return (listener, waiting),
        }
    }
    panic!("everybody was let in");
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn i16_a_dial_that_hangs_costs_a_moment_and_blocks_nobody() {
    let ((_server, _), (door, _waiting)) = (start("open").await, closed_door().await);
    let urls = format!("rpcx://{},mem://open", door.local_addr().unwrap());
    let client = Client::builder(&urls).channels(|channel| channel.dial_timeout(Duration::from_secs(60)));
    let client = client.lazy().unwrap();
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..12 {
        let client = client.clone();
        callers.spawn(async move { ask(&client, "").await.unwrap() });
    }
    while let Some(answer) = callers.join_next().await {
        assert_eq!(answer.unwrap(), "open");
    }
    // The six that were to go there waited side by side; then it is paused.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(state(&client, 0).paused.unwrap().starts_with("no connection within"));
    // Half of the time of a call is left for the other endpoint.
    let client = Client::builder(&urls).channels(|channel| channel.dial_timeout(Duration::from_secs(60)));
    let client = client.lazy().unwrap();
    let call = call_who().with_deadline(Instant::now() + Duration::from_millis(1_600));
    assert!(client.call(call).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_dead_endpoint_costs_one_failover() {
    let (_server, calls) = start("alive").await;
    let client = Client::builder("mem://dead,alive").lazy().unwrap();
    let (outcome, attempts) = client.call_traced(call_who()).await;
    outcome.unwrap();
    let origins: Vec<_> =
        attempts.iter().map(|attempt| (attempt.origin.address.as_str(), attempt.origin.attempt)).collect();
    assert_eq!(origins, [("mem://dead", 1), ("mem://alive", 2)]);
    assert!(attempts[0].failure.as_ref().unwrap().may_retry() && attempts[1].failure.is_none());
    assert!(state(&client, 0).paused.is_some() && state(&client, 1).paused.is_none());
    let begun = Instant::now();
    for _ in 0..1_000 {
        let (outcome, attempts) = client.call_traced(call_who()).await;
        outcome.unwrap();
        assert_eq!(attempts.len(), 1, "the dead one costs nothing any more");
    }
    // Nor when it is tried again: it is dialled first, and calls go on elsewhere meanwhile.
    for _ in 0..20 {
        sleep(Duration::from_secs(1)).await;
        let (outcome, attempts) = client.call_traced(call_who()).await;
        outcome.unwrap();
        assert_eq!(attempts.len(), 1);
    }
    assert!(begun.elapsed() < Duration::from_secs(21));
    assert_eq!(count(&calls), 1_021);
}

fn call_who() -> trunkline::Call {
    trunkline::Call::new("Who", "AreYou", Serialization::Json, r#""""#)
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_there_again_is_called_again() {
    let (_a, _) = start("again-a").await;
    let client = Client::builder("mem://again-a,again-b").lazy().unwrap();
    assert_eq!(answers(&client, 4).await, ["again-a"; 4]);
    let (_b, calls) = start("again-b").await;
    // Not before its time.
    sleep(Duration::from_millis(4_900)).await;
    assert_eq!(answers(&client, 4).await, ["again-a"; 4]);
    sleep(Duration::from_millis(200)).await;
    let mut asked = 0;
    while count(&calls) == 0 {
        asked += 1;
        assert!(asked < 10, "it was never tried");
        answers(&client, 1).await;
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(state(&client, 1).paused, None);
    let mut last = answers(&client, 2).await;
    last.sort();
    assert_eq!(last, ["again-a", "again-b"]);
}

#[tokio::test(start_paused = true)]
async fn where_all_are_paused_each_says_why() {
    let client = Client::builder("mem://none-a,mem://none-b").lazy().unwrap();
    let status = client.call(raw()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.may_retry());
    let origin = status.origin().unwrap();
    assert_eq!((origin.address.as_str(), origin.attempt), ("mem://none-b", 2));
    for part in ["mem://none-a: ", "mem://none-b: ", "nobody listens"] {
        assert!(status.message().contains(part), "{status}");
    }
    // Paused: nobody is dialled, and it says so.
    let status = client.call(raw()).await.unwrap_err();
    assert!(status.message().contains("mem://none-a: paused (") && status.may_retry(), "{status}");
    assert_eq!(status.origin(), None);
    assert!(Client::connect("mem://none-a,mem://none-b").await.unwrap_err().message().contains("none-b"));
    // After the pause a call waits for the connection, since there is nobody else.
    let (_server, _) = start("none-b").await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(ask(&client, "").await.unwrap(), "none-b");
}

#[tokio::test(start_paused = true)]
async fn the_sixth_failure_in_a_row_pauses_for_5_s_and_one_call_tries_again() {
    let ((_a, a), (_b, b)) = (start("sick-a").await, start("sick-b").await);
    let unwell = |_: &trunkline::Call, outcome: Result<&Reply, &Status>| {
        outcome.err().is_none_or(|status| status.code() != Code::Internal)
    };
    let client = Client::builder("mem://sick-a,sick-b").health_check(unwell).lazy().unwrap();
    for _ in 0..5 {
        assert_eq!(ask(&client, "unwell").await.unwrap_err().message(), "unwell");
        answers(&client, 1).await;
    }
    assert_eq!((count(&a), state(&client, 0).paused), (5, None));
    ask(&client, "unwell").await.unwrap_err();
    assert_eq!(state(&client, 0).paused.as_deref(), Some("unwell"));
    answers(&client, 10).await;
    assert_eq!((count(&a), count(&b)), (6, 15));

    // Half open: one call goes through, the others wait elsewhere for its verdict.
    sleep(Duration::from_secs(5)).await;
    let slow = tokio::spawn({
        let client = client.clone();
        async move { ask(&client, "slow").await }
    });
    sleep(Duration::from_millis(1)).await;
    assert_eq!(answers(&client, 5).await, ["sick-b"; 5]);
    assert_eq!(slow.await.unwrap().unwrap(), "sick-a");
    assert_eq!(state(&client, 0).paused, None);
    assert_eq!(answers(&client, 4).await.iter().filter(|name| *name == "sick-a").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_try_that_fails_or_is_dropped_keeps_the_endpoint_paused() {
    let ((_a, a), (_b, _)) = (start("half-a").await, start("half-b").await);
    let check = |_: &trunkline::Call, outcome: Result<&Reply, &Status>| {
        outcome.err().is_none_or(|status| status.code() != Code::Internal)
    };
    let client = Client::builder("mem://half-a,half-b").health_check(check).failures(0).lazy().unwrap();
    ask(&client, "unwell").await.unwrap_err();
    assert_eq!(count(&a), 1);
    sleep(Duration::from_secs(5)).await;
    // Dropped: the next call tries.
    let dropped = tokio::time::timeout(Duration::from_millis(10), ask(&client, "slow")).await;
    assert!(dropped.is_err() && count(&a) == 2);
    assert_eq!(ask(&client, "unwell").await.unwrap_err().message(), "unwell");
    assert_eq!(count(&a), 3);
    // Failed: paused again, from now.
    sleep(Duration::from_millis(4_900)).await;
    assert_eq!(answers(&client, 3).await, ["half-b"; 3]);
    sleep(Duration::from_millis(200)).await;
    assert_eq!(answers(&client, 1).await, ["half-a"]);
}

#[tokio::test(start_paused = true)]
async fn the_services_own_failures_pause_nobody() {
    let (_a, a) = start("says-no").await;
    let client = Client::builder("mem://says-no").lazy().unwrap();
    for _ in 0..20 {
        assert_eq!(ask(&client, "fail").await.unwrap_err().code(), Code::Failed);
        assert_eq!(ask(&client, "unwell").await.unwrap_err().code(), Code::Internal);
    }
    assert_eq!((count(&a), state(&client, 0).paused), (40, None));
}

#[tokio::test(start_paused = true)]
async fn i13_a_timeout_disturbs_no_other_caller() {
    let _server = serve_in_memory("i13").await;
    let client = Client::builder("mem://i13").lazy().unwrap();
    let others: Vec<_> = (0..10)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.call(call("Sleep", "4000")).await })
        })
        .collect();
    sleep(Duration::from_millis(10)).await;
    // More of them than it takes to pause the endpoint.
    for _ in 0..7 {
        let soon = Instant::now() + Duration::from_millis(100);
        let status = client.call(call("Sleep", "60000").with_deadline(soon)).await.unwrap_err();
        assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Unavailable), "{status}");
    }
    assert!(state(&client, 0).paused.unwrap().contains("deadline"));
    assert_eq!(state(&client, 0).connections, 1, "the connection is left as it is");
    for other in others {
        assert_eq!(bytes(other.await.unwrap().unwrap()), "4000");
    }
}

#[tokio::test(start_paused = true)]
async fn a_removed_endpoint_ends_what_it_has_and_gets_no_more() {
    let ((_a, a), (_b, _)) = (start("gone-a").await, start("gone-b").await);
    let client = Client::builder("mem://gone-a,gone-b").lazy().unwrap();
    let slow = tokio::spawn({
        let client = client.clone();
        async move { ask(&client, "slow").await }
    });
    sleep(Duration::from_millis(1)).await;
    assert_eq!(state(&client, 0).pending, 1);
    assert!(client.remove("mem://gone-a"));
    assert_eq!(answers(&client, 5).await, ["gone-b"; 5]);
    assert_eq!(slow.await.unwrap().unwrap(), "gone-a");
    assert_eq!(count(&a), 1);
    let endpoint = Endpoint::new("mem://gone-a").with_alias("new");
    client.add(endpoint.clone()).unwrap();
    assert_eq!(client.add(endpoint).unwrap_err().code(), Code::InvalidInput);
    assert!(answers(&client, 4).await.contains(&"gone-a".to_owned()));
    assert!(client.add(Endpoint::new("mem://x").with_weight(0)).is_err());
    assert!(client.add(Endpoint::new("nowhere")).is_err());
}

#[tokio::test(start_paused = true)]
async fn endpoints_come_and_go_under_load() {
    let mut servers = Vec::new();
    for number in 0..4 {
        servers.push(start(&format!("load-{number}")).await);
    }
    let urls = "mem://load-0,load-1,load-2,load-3";
    let pickers: [Box<dyn Picker>; 4] = [
        Box::new(Random::new()),
        Box::new(LeastPending::new()),
        Box::new(P2cEwma::new()),
        Box::new(ConsistentHash::new(Key::call())),
    ];
    for picker in pickers {
        let client = Client::builder(urls).select(picker).connections(3).connect().await.unwrap();
        let mut callers = JoinSet::new();
        for _ in 0..20 {
            let client = client.clone();
            callers.spawn(async move {
                for _ in 0..30 {
                    ask(&client, "").await.unwrap();
                    sleep(Duration::from_millis(7)).await;
                }
            });
        }
        for round in 0..40 {
            let url = format!("mem://load-{}", round % 4);
            assert!(client.remove(&url));
            sleep(Duration::from_millis(3)).await;
            client.add(Endpoint::new(url)).unwrap();
        }
        while let Some(ended) = callers.join_next().await {
            ended.unwrap();
        }
        assert!(client.endpoints().iter().all(|state| state.pending == 0 && state.paused.is_none()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_hands_its_calls_over() {
    let ((a, _), (_b, _)) = (start("stop-a").await, start("stop-b").await);
    let client = Client::connect("mem://stop-a,stop-b").await.unwrap();
    answers(&client, 4).await;
    a.drain(Duration::from_secs(1));
    // Not one of them fails.
    for _ in 0..50 {
        ask(&client, "").await.unwrap();
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(answers(&client, 4).await, ["stop-b"; 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rolling_restart_loses_no_call() {
    let names = ["roll-0", "roll-1", "roll-2"];
    let mut servers = Vec::new();
    for name in names {
        servers.push(start(name).await);
    }
    for picker in ["round-robin", "p2c-ewma", "consistent-hash"] {
        let picker = trunkline::balance::by_name(picker).unwrap();
        let builder = Client::builder("mem://roll-0,roll-1,roll-2").select(picker).connections(2);
        let client = builder.pause(Duration::from_millis(50)).connect().await.unwrap();
        let stop = Arc::<AtomicUsize>::default();
        let mut callers = JoinSet::new();
        for caller in 0..8 {
            let (client, stop) = (client.clone(), Arc::clone(&stop));
            callers.spawn(async move {
                let mut made = 0;
                while count(&stop) == 0 {
                    let answer = ask(&client, &format!("{caller} {made}")).await;
                    assert!(answer.is_ok(), "{answer:?}");
                    made += 1;
                    tokio::task::yield_now().await;
                }
                made
            });
        }
        for round in 0..6 {
            let place = round % names.len();
            // A connection that was made a moment ago may not know yet that it is told.
            sleep(Duration::from_millis(100)).await;
            servers[place].0.drain(Duration::from_secs(5));
            // The name is free when the server is gone.
            servers[place] = loop {
                let calls = Arc::<AtomicUsize>::default();
                let named = Named(names[place].to_owned(), Arc::clone(&calls));
                let builder = Server::builder().serve(WhoServer::new(named));
                match builder.listen(format!("mem://{}", names[place])).bind().await {
                    Ok(server) => {
                        let handle = server.handle();
                        tokio::spawn(server.run());
                        break (handle, calls);
                    }
                    Err(_) => sleep(Duration::from_millis(1)).await,
                }
            };
            let begun = Instant::now();
            while count(&servers[place].1) == 0 {
                assert!(begun.elapsed() < Duration::from_secs(20), "{} is not called again", names[place]);
                sleep(Duration::from_millis(1)).await;
            }
        }
        stop.store(1, Ordering::SeqCst);
        while let Some(made) = callers.join_next().await {
            assert!(made.unwrap() > 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_have_begun_is_made_once() {
    let ((a, calls), (_b, other)) = (start("once-a").await, start("once-b").await);
    let client = Client::connect("mem://once-a,once-b").await.unwrap();
    let slow = tokio::spawn({
        let client = client.clone();
        async move { ask(&client, "slow").await }
    });
    sleep(Duration::from_millis(100)).await;
    assert_eq!(count(&calls), 1);
    a.drain(Duration::ZERO);
    let status = slow.await.unwrap().unwrap_err();
    assert!(!status.may_retry(), "{status}");
    assert_eq!((count(&calls), count(&other)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn failover_ends_with_the_deadline_and_can_be_left_out() {
    let (_b, calls) = start("late-b").await;
    let client = Client::builder("mem://late-a,late-b").failover(false).lazy().unwrap();
    let status = client.call(raw()).await.unwrap_err();
    assert_eq!((status.code(), status.origin().unwrap().attempt), (Code::Unavailable, 1));
    assert_eq!(count(&calls), 0);
    // A call without any time left is nobody's fault.
    let client = Client::connect("mem://late-b,mem://late-b?wire=easymicro").await.unwrap();
    for _ in 0..20 {
        let status = client.call(raw().with_deadline(Instant::now())).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
    }
    assert!(client.endpoints().iter().all(|state| state.paused.is_none()));
}

#[tokio::test(start_paused = true)]
async fn connections_are_opened_as_calls_come() {
    let (_server, _) = start("many").await;
    let client = Client::builder("mem://many").connections(3).lazy().unwrap();
    for connections in [0, 1, 2, 3, 3] {
        assert_eq!(state(&client, 0).connections, connections);
        ask(&client, "").await.unwrap();
    }
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn the_same_key_goes_to_the_same_endpoint_until_that_is_gone() {
    let servers = [start("key-0").await, start("key-1").await, start("key-2").await];
    let by_user = ConsistentHash::new(Key::metadata("user"));
    let client = Client::builder("mem://key-0,key-1,key-2").select(by_user).connect().await.unwrap();
    let who = WhoClient::new(client.clone());
    let home = async |user: usize| {
        who.are_you(String::new()).metadata_pair("user", &user.to_string()).await.unwrap()
    };
    let mut homes = Vec::new();
    for user in 0..30 {
        homes.push(home(user).await);
        assert_eq!(home(user).await, homes[user]);
    }
    servers[1].0.drain(Duration::ZERO);
    sleep(Duration::from_millis(500)).await;
    for (user, before) in homes.iter().enumerate() {
        let now = home(user).await;
        assert!(now == *before || before == "key-1" && now != "key-1", "{before} {now}");
    }
    // It is back: its keys return to it, and nobody else's.
    let _again = start("key-1").await;
    sleep(Duration::from_secs(6)).await;
    for round in 0..3 {
        for (user, before) in homes.iter().enumerate() {
            let now = home(user).await;
            assert!(round == 0 || now == *before, "round {round}: {before} {now}");
        }
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_of_a_channel_is_that_channel() {
    let (_server, _) = start("alone").await;
    let client = Client::from(Channel::connect("mem://alone").await.unwrap());
    assert_eq!(ask(&client, "").await.unwrap(), "alone");
    assert_eq!(client.add(Endpoint::new("mem://x")).unwrap_err().code(), Code::InvalidInput);
    assert!(!client.remove("mem://alone"));
    let (outcome, attempts) = client.call_traced(call_who()).await;
    outcome.unwrap();
    assert_eq!(attempts[0].origin.address, "mem://alone");
    assert_eq!(state(&client, 0).endpoint.url(), "mem://alone");
    // Served by the other sample service it is a service like any other.
    let _ = Test::default();
}

#[tokio::test]
async fn a_call_of_a_client_allocates_no_more_than_one_of_a_channel() {
    let _servers = (serve_in_memory("cost-a").await, serve_in_memory("cost-b").await);
    let channel = Channel::connect("mem://cost-a").await.unwrap();
    let client = Client::connect("mem://cost-a,mem://cost-b").await.unwrap();
    let least =
        Client::builder("mem://cost-a,mem://cost-b").select(LeastPending::new()).connect().await.unwrap();
    async fn allocations(service: &impl Service) -> u64 {
        let body = trunkline::Bytes::from_static(b"body");
        let mut all = 0;
        for round in 0..1_000 {
            let call = call("Echo", body.clone());
            let (mut call, mut done) = (std::pin::pin!(service.call(call)), false);
            // Polls of the call alone: not the tasks of the connections and of the servers.
            std::future::poll_fn(|cx| {
                let info = allocation_counter::measure(|| done = call.as_mut().poll(cx).is_ready());
                all += if round < 100 { 0 } else { info.count_total };
                if done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
            })
            .await;
        }
        all
    }
    let usual = allocations(&channel).await;
    for client in [&client, &least] {
        let more = allocations(client).await.saturating_sub(usual);
        assert!(more < 90, "{more} allocations more in 900 calls");
    }
}

#[cfg(feature = "expressions")]
#[tokio::test(start_paused = true)]
async fn i14_an_expression_picks_for_each_call_by_itself() {
    let mut servers = Vec::new();
    for number in 0..3 {
        servers.push(start(&format!("expr-{number}")).await);
    }
    let expression = trunkline::balance::Expression::new("int(params.shard) % endpoints").unwrap();
    let client = Client::builder("mem://expr-0,expr-1,expr-2").select(expression).connect().await.unwrap();
    let mut callers = JoinSet::new();
    for shard in 0..60 {
        let who = WhoClient::new(client.clone());
        callers.spawn(async move {
            let uri = format!("/Who/AreYou?shard={shard}");
            let name = who.are_you(String::new()).metadata_pair(trunkline::balance::URI, &uri).await.unwrap();
            assert_eq!(name, format!("expr-{}", shard % 3));
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
    let status = ask(&client, "").await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidInput);
    // Where its endpoint is gone the call goes to another one.
    servers[1].0.drain(Duration::ZERO);
    sleep(Duration::from_millis(500)).await;
    let who = WhoClient::new(client.clone());
    let uri = "/Who/AreYou?shard=1";
    for _ in 0..3 {
        let name = who.are_you(String::new()).metadata_pair(trunkline::balance::URI, uri).await.unwrap();
        assert_ne!(name, "expr-1");
    }
}
