//! tower's services and layers around ours, and ours inside of tower's.
#![cfg(feature = "tower")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]

mod support;

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use support::{Test, bytes, call, serve_in_memory};
use tokio::time::Instant;
use tower::limit::ConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower::timeout::TimeoutLayer;
use tower::util::BoxCloneService;
use tower::{ServiceBuilder, ServiceExt};
use trunkline::client::Channel;
use trunkline::layer::Layer;
use trunkline::tower::{from_tower, to_tower, tower_layer};
use trunkline::{Bytes, Call, Code, Reply, Serialization, Server, Service, Status, service_fn};

/// A service that sleeps for a second, and the most of its calls that ran at a time.
fn sleeper() -> (impl Service + Clone, Arc<AtomicUsize>) {
    let (running, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let seen = Arc::clone(&most);
    let service = service_fn(move |call: Call| {
        let (running, seen) = (Arc::clone(&running), Arc::clone(&seen));
        async move {
            seen.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(1)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(Reply::new(call.into_parts().1))
        }
    });
    (service, most)
}

#[tokio::test(start_paused = true)]
async fn a_concurrency_limit_is_shared_by_all_calls() {
    let (service, most) = sleeper();
    let limited = Arc::new(from_tower(
        ServiceBuilder::new().layer(ConcurrencyLimitLayer::new(5)).service(to_tower(service)),
    ));
    let begun = Instant::now();
    let calls: Vec<_> = (0..20)
        .map(|n: u32| {
            let limited = Arc::clone(&limited);
            tokio::spawn(async move { (n, limited.call(call("Echo", n.to_string())).await) })
        })
        .collect();
    for task in calls {
        let (n, reply) = task.await.unwrap();
        assert_eq!(bytes(reply.unwrap()), n.to_string());
    }
    assert_eq!(most.load(Ordering::SeqCst), 5);
    assert_eq!(begun.elapsed().as_secs(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_ends_the_call_and_the_work() {
    let test = Test::default();
    let (running, cancelled) = (test.running.clone(), test.cancelled.clone());
    let builder = Server::builder()
        .serve(test)
        .layer(tower_layer(TimeoutLayer::new(Duration::from_millis(100))))
        .listen("mem://tower-timeout");
    let server = builder.bind().await.unwrap();
    tokio::spawn(server.run());
    let channel = Channel::connect("mem://tower-timeout?wire=rpcx").await.unwrap();
    let begun = Instant::now();
    let status = channel.call(call("Sleep", "60000")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::DeadlineExceeded, "request timed out"));
    assert_eq!(begun.elapsed().as_millis() / 10, 10);
    assert_eq!((running.load(Ordering::SeqCst), cancelled.load(Ordering::SeqCst)), (0, 1));
    // What the service itself fails with passes tower's boxed error unharmed.
    let status = channel.call(call("Fail", "it did not work")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Failed, "it did not work"));
    // A method that is answered on the spot elsewhere is answered here, too.
    assert_eq!(bytes(channel.call(call("Echo", "x")).await.unwrap()), "x");
}

#[tokio::test(start_paused = true)]
async fn a_server_takes_towers_layers() {
    let builder = Server::builder()
        .serve(Test::default())
        .layer(tower_layer(ConcurrencyLimitLayer::new(5)))
        .listen("mem://tower-layer");
    let server = builder.bind().await.unwrap();
    tokio::spawn(server.run());
    // The limit is the server's, not the connection's.
    let begun = Instant::now();
    let mut calls = Vec::new();
    for _ in 0..10 {
        let channel = Channel::connect("mem://tower-layer?wire=rpcx").await.unwrap();
        calls.push(tokio::spawn(async move { channel.call(call("Sleep", "1000")).await }));
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert!((2000..2100).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_shed_was_not_begun() {
    let (service, most) = sleeper();
    let stack = ServiceBuilder::new().layer(LoadShedLayer::new()).layer(ConcurrencyLimitLayer::new(1));
    let service = Arc::new(from_tower(stack.service(to_tower(service))));
    let (first, second) = tokio::join!(service.call(call("Echo", "x")), service.call(call("Echo", "y")));
    assert_eq!(bytes(first.unwrap()), "x");
    let status = second.unwrap_err();
    assert_eq!((status.code(), status.may_retry()), (Code::Limited, true));
    assert_eq!(most.load(Ordering::SeqCst), 1);
    // The place is free again.
    service.call(call("Echo", "x")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn dropping_a_call_drops_what_runs_behind_tower() {
    let test = Test::default();
    let (running, cancelled) = (test.running.clone(), test.cancelled.clone());
    let builder = Server::builder()
        .serve(test)
        .layer(tower_layer(tower::layer::util::Identity::new()))
        .listen("mem://tower-drop");
    let server = builder.bind().await.unwrap();
    tokio::spawn(server.run());
    let channel = Channel::connect("mem://tower-drop?wire=rpcx").await.unwrap();
    channel.call(call("Owned", "")).await.unwrap();
    let dropped = tokio::time::timeout(Duration::from_millis(50), channel.call(call("Sleep", "60000"))).await;
    assert!(dropped.is_err());
    for _ in 0..1000 {
        if running.load(Ordering::SeqCst) == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!((running.load(Ordering::SeqCst), cancelled.load(Ordering::SeqCst)), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_channel_is_a_service_of_towers() {
    serve_in_memory("tower-channel").await;
    let channel = Channel::connect("mem://tower-channel?wire=rpcx").await.unwrap();
    let service = to_tower(channel).map_request(|text: &'static str| call("Echo", text));
    let reply = service.clone().oneshot("hello").await.unwrap();
    assert_eq!(bytes(reply), "hello");
    // One that is not `Sync` and whose type is erased.
    let boxed = BoxCloneService::new(to_tower(service_fn(|_| async { Err(Status::failed("no")) })));
    let status = from_tower(boxed).clone().call(call("Echo", "x")).await.unwrap_err();
    assert_eq!(status.message(), "no");
}

#[tokio::test]
async fn a_service_made_by_tower_answers() {
    let service =
        tower::service_fn(|call: Call| async move { Ok::<_, Infallible>(Reply::new(call.into_parts().1)) });
    let raw = Call::new("A", "B", Serialization::Raw, Bytes::from_static(b"x"));
    assert_eq!(bytes(from_tower(service).call(raw).await.unwrap()), "x");
}

#[test]
fn errors_become_what_they_were() {
    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Status);

    let inner = Status::new(Code::Limited, "inner").not_begun();
    let behind = Status::from(Box::<dyn Error + Send + Sync>::from(Outer(inner.clone())));
    assert_eq!(behind, inner);
    let other = Status::from(Box::<dyn Error + Send + Sync>::from("a text"));
    assert_eq!((other.code(), other.message()), (Code::Failed, "a text"));
}

/// What a channel's clients send messages in is not lost behind tower.
#[tokio::test(start_paused = true)]
async fn the_usual_serialisation_passes_through() {
    serve_in_memory("tower-serialisation").await;
    let channel = Channel::connect("mem://tower-serialisation?wire=http").await.unwrap();
    assert_eq!(channel.serialization(), Serialization::Json);
    let layer = tower_layer(TimeoutLayer::new(Duration::from_secs(1)));
    assert_eq!(layer.layer(channel.clone()).serialization(), Serialization::Json);

    let wrapped = from_tower(to_tower(channel)).with_serialization(Serialization::Json);
    assert_eq!(wrapped.clone().serialization(), wrapped.serialization());
    assert_eq!(wrapped.serialization(), Serialization::Json);
}
