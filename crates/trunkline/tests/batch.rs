//! Batches: many calls as one future, and every rule of a single call for each of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail loudly"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use trunkline::client::Channel;
use trunkline::server::RunningServer;
use trunkline::{Body, Bytes, Call, Code, Context, Reply, Result, Serialization, Server, Status, service};

#[service]
trait Work {
    async fn double(&self, word: String) -> Result<String>;
    async fn fail(&self, word: String) -> Result<String>;
    async fn wait(&self, context: &Context, millis: String) -> Result<String>;
}

#[derive(Default)]
struct Worker {
    dropped: Arc<AtomicUsize>,
}

struct CountDrop(Arc<AtomicUsize>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Work for Worker {
    async fn double(&self, word: String) -> Result<String> {
        Ok(word.repeat(2))
    }

    async fn fail(&self, word: String) -> Result<String> {
        Err(Status::failed(word))
    }

    async fn wait(&self, _: &Context, millis: String) -> Result<String> {
        let _dropped = CountDrop(Arc::clone(&self.dropped));
        tokio::time::sleep(Duration::from_millis(millis.parse().unwrap())).await;
        Ok(millis)
    }
}

async fn serve(listen: &str) -> (RunningServer, Channel, Arc<AtomicUsize>) {
    let worker = Worker::default();
    let dropped = Arc::clone(&worker.dropped);
    let server = Server::builder().serve(WorkServer::new(worker)).listen(listen).start().await.unwrap();
    let channel = Channel::connect(server.url()).await.unwrap();
    (server, channel, dropped)
}

fn call(method: &'static str, body: impl Into<Bytes>) -> Call {
    Call::new("Work", method, Serialization::Raw, body.into())
}

fn text(reply: Result<Reply>) -> String {
    match reply.map(Reply::into_body) {
        Ok(Body::Full(body)) => String::from_utf8(body.to_vec()).unwrap(),
        Ok(Body::Stream(_)) => panic!("a stream"),
        Err(status) => format!("{:?}: {}", status.code(), status.message()),
    }
}

#[tokio::test(start_paused = true)]
async fn answers_are_in_the_order_of_the_calls() {
    let (_server, channel, _) = serve("mem://batch-order").await;
    let mut batch = channel.batch();
    assert!(batch.is_empty());
    batch.push(call("Wait", "50"));
    batch.push(call("Double", "a"));
    batch.push(call("Fail", "no"));
    batch.push(call("Nowhere", ""));
    batch.push(call("Wait", "10"));
    assert_eq!(batch.len(), 5);
    let answers: Vec<String> = batch.send().await.into_vec().into_iter().map(text).collect();
    let unknown = "NotFound: rpcx: can't find method Nowhere";
    assert_eq!(answers, ["50", "aa", "Failed: no", unknown, "10"]);
    assert!(channel.batch().send().await.into_vec().is_empty());
}

#[tokio::test(start_paused = true)]
async fn answers_come_as_calls_end() {
    let (_server, channel, _) = serve("mem://batch-stream").await;
    let mut batch = channel.batch();
    for millis in ["50", "10", "30"] {
        batch.push(call("Wait", millis));
    }
    let (mut arriving, mut order) = (batch.stream(), Vec::new());
    while let Some((number, reply)) = arriving.next().await {
        order.push((number, text(reply)));
    }
    assert_eq!(order, [(1, "10".to_owned()), (2, "30".to_owned()), (0, "50".to_owned())]);
    assert!(arriving.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn each_call_has_its_own_deadline() {
    let (_server, channel, dropped) = serve("mem://batch-deadline").await;
    let begun = Instant::now();
    let mut batch = channel.batch();
    batch.push(call("Wait", "5000").with_deadline(begun + Duration::from_millis(100)));
    batch.push(call("Wait", "60000")); // The channel's 10 s end it.
    batch.push(call("Wait", "1").with_deadline(begun)); // Over before it is begun.
    batch.push(call("Double", "b"));
    let answers: Vec<String> = batch.send().await.into_vec().into_iter().map(text).collect();
    let late = "DeadlineExceeded: context deadline exceeded";
    assert_eq!(answers, [late, late, late, "bb"]);
    assert_eq!(begun.elapsed().as_secs(), 10);
    while dropped.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
}

/// As for a single call: what a call says itself counts, be it longer than the channel's time.
#[tokio::test(start_paused = true)]
async fn a_call_of_a_batch_may_take_longer_than_the_channel_gives() {
    let (_server, channel, _) = serve("mem://batch-longer").await;
    let own = Instant::now() + Duration::from_secs(60);
    for each in [false, true] {
        let mut batch = channel.batch();
        batch.push(call("Wait", "20000").with_deadline(own));
        let reply = if each {
            batch.stream().next().await.unwrap().1
        } else {
            batch.send().await.into_vec().remove(0)
        };
        assert_eq!(text(reply), "20000");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_dropped_ends_its_calls_at_the_server() {
    let (_server, channel, dropped) = serve("mem://batch-drop").await;
    for each in [false, true] {
        dropped.store(0, Ordering::SeqCst);
        let mut batch = channel.batch();
        for _ in 0..10 {
            batch.push(call("Wait", "9000"));
        }
        let short = Duration::from_millis(20);
        if each {
            let mut arriving = batch.stream();
            assert!(tokio::time::timeout(short, arriving.next()).await.is_err());
        } else {
            assert!(tokio::time::timeout(short, batch.send()).await.is_err());
        }
        let begun = Instant::now();
        while dropped.load(Ordering::SeqCst) < 10 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(begun.elapsed() < Duration::from_secs(1), "the calls were cancelled");
    }
}

/// More than the write buffer takes at once, and more than the server lets a connection have in flight.
#[tokio::test]
async fn a_batch_may_be_larger_than_any_buffer() {
    let (_server, channel, _) = serve("127.0.0.1:0").await;
    for each in [false, true] {
        let mut batch = channel.batch();
        for number in 0..3000 {
            batch.push(call("Double", format!("{number:01000}")));
        }
        let mut seen = BTreeSet::new();
        if each {
            let mut arriving = batch.stream();
            while let Some((number, reply)) = arriving.next().await {
                assert_eq!(text(reply), format!("{number:01000}").repeat(2));
                assert!(seen.insert(number));
            }
        } else {
            for (number, reply) in batch.send().await.into_vec().into_iter().enumerate() {
                assert_eq!(text(reply), format!("{number:01000}").repeat(2));
                seen.insert(number);
            }
        }
        assert_eq!(seen.len(), 3000);
    }
}

#[tokio::test]
async fn a_lost_server_ends_every_call_of_a_batch_once() {
    let (server, channel, _) = serve("127.0.0.1:0").await;
    let mut batch = channel.batch();
    for _ in 0..20 {
        batch.push(call("Wait", "30000"));
    }
    let sent = tokio::spawn(batch.send());
    // What was begun before this one is with the server.
    assert_eq!(text(trunkline::Service::call(&channel, call("Double", "x")).await), "xx");
    server.stop(Duration::ZERO).await.ok();
    let answers = tokio::time::timeout(Duration::from_secs(9), sent).await.unwrap().unwrap().into_vec();
    assert_eq!(answers.len(), 20);
    assert!(answers.iter().all(Result::is_err), "{answers:?}");
}

#[tokio::test]
async fn nobody_there_is_said_for_every_call() {
    let channel = Channel::builder("mem://batch-nobody").lazy().unwrap();
    let mut batch = channel.batch();
    batch.push(call("Double", "a"));
    batch.push(call("Double", "b"));
    for answer in batch.send().await.into_vec() {
        assert_eq!(answer.unwrap_err().code(), Code::Unavailable);
    }
}

#[cfg(feature = "http")]
#[tokio::test]
async fn a_batch_goes_over_http_too() {
    let (server, _, _) = serve("127.0.0.1:0").await;
    let channel = Channel::connect(&format!("http://{}", server.addresses().first().unwrap())).await.unwrap();
    let work = WorkClient::new(channel.clone());
    let mut batch = channel.batch();
    let tickets: Vec<_> = (0..40).map(|n| batch.add(work.double(n.to_string())).unwrap()).collect();
    let mut answers = batch.send().await;
    for (n, ticket) in tickets.into_iter().enumerate() {
        assert_eq!(answers.take(ticket).await.unwrap(), n.to_string().repeat(2));
    }
}
