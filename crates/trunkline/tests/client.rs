//! What a channel adds to the calls that go through it, and how it stands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use support::{Test, bytes, call, serve, serve_in_memory};
use trunkline::client::{Channel, ConnectionState};
use trunkline::layer::{DeadlineLayer, Layer, Next, layer_fn};
use trunkline::{
    Call, Code, Message, Metadata, Reply, Result, Serialization, Server, Service, Status, service_fn,
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
struct Args {
    a: i64,
}

#[trunkline::service]
trait Typed {
    async fn same(&self, args: Args) -> Result<Args>;
    async fn nothing(&self) -> Result<()>;
    async fn text(&self, text: String) -> Result<String>;
}

struct Same;

impl Typed for Same {
    async fn same(&self, args: Args) -> Result<Args> {
        Ok(args)
    }

    async fn nothing(&self) -> Result<()> {
        Ok(())
    }

    async fn text(&self, text: String) -> Result<String> {
        Ok(text)
    }
}

/// Says in its reply's metadata what the call was serialised in.
struct Tell;

impl<S: Service> Layer<S> for Tell {
    type Service = Told<S>;

    fn layer(self, inner: S) -> Told<S> {
        Told(inner)
    }
}

struct Told<S>(S);

impl<S: Service> Service for Told<S> {
    async fn call(&self, call: Call) -> Result<Reply> {
        let how = format!("{:?}", call.serialization());
        let (body, _) = self.0.call(call).await?.into_parts();
        Ok(Reply::new(body).with_metadata([("how", how)].into_iter().collect()))
    }
}

async fn serve_typed(name: &str) {
    serve(Server::builder().serve(TypedServer::new(Same)).layer(Tell).listen(format!("mem://{name}"))).await;
}

async fn how<S: Service>(client: &TypedClient<S>) -> String {
    let reply = client.same(Args { a: 7 }).annotated().await.unwrap();
    assert_eq!(reply.value, Args { a: 7 });
    reply.metadata.get("how").unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn the_channel_says_what_typed_calls_are_serialised_in() {
    serve_typed("client-codec").await;
    let mut usual =
        vec![("mem://client-codec", "MessagePack"), ("mem://client-codec?wire=easymicro", "MessagePack")];
    if cfg!(feature = "http") {
        usual.push(("mem://client-codec?wire=http", "Json"));
    }
    for (url, expected) in usual {
        assert_eq!(how(&TypedClient::connect(url).await.unwrap()).await, expected);
        let builder = Channel::builder(url).serialization(Serialization::Json);
        let channel = builder.connect().await.unwrap();
        let client = TypedClient::new(channel.clone());
        assert_eq!(how(&client).await, "Json");
        // The same through what stands around a channel.
        assert_eq!(how(&TypedClient::new(Arc::new(channel.clone()))).await, "Json");
        assert_eq!(how(&TypedClient::new(DeadlineLayer::default().layer(channel.clone()))).await, "Json");
        let pass = layer_fn(|call: Call, next: Next| async move { next.call(call).await });
        assert_eq!(how(&TypedClient::new(pass.layer(channel.clone()))).await, "Json");
        // A call says it itself; a type that has but one way goes that way.
        let reply = client.same(Args { a: 1 }).serialization(Serialization::MessagePack).annotated().await;
        assert_eq!(reply.unwrap().metadata.get("how"), Some("MessagePack"));
        let reply = client.nothing().annotated().await.unwrap();
        assert_eq!(reply.metadata.get("how"), Some("Json"));
        let reply = client.text("größe".into()).annotated().await.unwrap();
        assert_eq!(reply.value, "größe");
        if !url.ends_with("http") {
            assert_eq!(reply.metadata.get("how"), Some("Raw"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_text_that_is_none_fails_its_call() {
    let client = TypedClient::new(service_fn(|_: Call| async { Ok(Reply::new(&b"\xff"[..])) }));
    let status = client.text("x".into()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidInput);
    assert!(status.message().contains("Typed.Text") && status.message().contains("utf-8"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn the_channels_metadata_goes_with_every_call() {
    serve(Server::builder().serve(Test::default()).token("good").listen("mem://client-metadata")).await;
    for wire in ["rpcx", "http"] {
        if wire == "http" && !cfg!(feature = "http") {
            continue;
        }
        let builder = Channel::builder(&format!("mem://client-metadata?wire={wire}"));
        let builder = builder.metadata("tenant", "ann").metadata("zone", "ö").token("good");
        let channel = builder.connect().await.unwrap();
        let texts = |reply: Reply| -> Vec<(String, String)> {
            let mut all: Vec<_> =
                reply.metadata().texts().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            all.retain(|(key, _)| key != "__AUTH");
            all.sort();
            all
        };
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let reply = channel.call(call("Meta", "")).await.unwrap();
        assert_eq!(texts(reply), pairs(&[("tenant", "ann"), ("zone", "ö")]), "{wire}");
        // What the call says itself wins.
        let own: Metadata = [("tenant", "bob"), ("x", "")].into_iter().collect();
        let reply = channel.call(call("Meta", "").with_metadata(own)).await.unwrap();
        assert_eq!(texts(reply), pairs(&[("tenant", "bob"), ("x", ""), ("zone", "ö")]), "{wire}");
        let bad: Metadata = [("__AUTH", "bad")].into_iter().collect();
        let status = channel.call(call("Meta", "").with_metadata(bad)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{wire}");
    }
    let builder = Channel::builder("mem://client-metadata").token("secret");
    assert!(!format!("{builder:?}").contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn the_state_is_of_now_and_changed_waits_for_the_next() {
    let handle = serve_in_memory("client-state").await;
    let channel = Channel::connect("mem://client-state").await.unwrap();
    let mut state = channel.state();
    assert_eq!(*state.borrow(), ConnectionState::Connected);
    let early = tokio::time::timeout(Duration::from_secs(3), state.changed()).await;
    assert!(early.is_err(), "nothing has changed since");
    handle.drain(Duration::from_secs(1));
    state.changed().await.unwrap();
    assert_ne!(*state.borrow(), ConnectionState::Connected);
}

#[tokio::test(start_paused = true)]
async fn pushes_keep_their_channel() {
    let handle = serve_in_memory("client-pushes").await;
    let channel = Channel::connect("mem://client-pushes").await.unwrap();
    let mut pushes = channel.pushes();
    channel.call(call("Push", "2")).await.unwrap();
    drop(channel);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(handle.report().connections, 1);
    for expected in ["1", "2"] {
        assert_eq!(pushes.next().await.unwrap().unwrap().body, expected);
    }
    drop(pushes);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(handle.report().connections, 0);
}

#[cfg(feature = "http")]
#[tokio::test(start_paused = true)]
async fn a_wire_without_pushes_ends_them_at_once() {
    serve_in_memory("client-no-pushes").await;
    let channel = Channel::connect("mem://client-no-pushes?wire=http").await.unwrap();
    assert!(channel.pushes().next().await.is_none());
}

/// The server's first answer says whether it understands a cancel; a call that is dropped before is told it then.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_before_the_servers_first_word_stops_there() {
    let test = Test::default();
    let (running, cancelled) = (test.running.clone(), test.cancelled.clone());
    let (handle, _) = serve(Server::builder().serve(test).listen("mem://client-early")).await;
    let channel = Channel::builder("mem://client-early").lazy().unwrap();
    channel.state().wait_for(|state| *state == ConnectionState::Connected).await.unwrap();
    {
        let mut early = std::pin::pin!(channel.call(call("Sleep", "9000")));
        let now = std::future::poll_fn(|cx| std::task::Poll::Ready(early.as_mut().poll(cx)));
        assert!(now.await.is_pending());
        assert_eq!(handle.report().calls, 0, "the server has not read it yet");
    }
    assert_eq!(bytes(channel.call(call("Echo", "x")).await.unwrap()), "x");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((running.load(Ordering::SeqCst), cancelled.load(Ordering::SeqCst)), (0, 1));
}

/// A method that does not ask for its circumstances is not given them; a layer around it sees them all the same.
#[tokio::test(start_paused = true)]
async fn a_layer_sees_who_calls_although_the_method_does_not_ask() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let sees = Arc::clone(&seen);
    let look = layer_fn(move |call: Call, next: Next| {
        sees.lock().unwrap().push((call.context().wire(), call.context().pusher().is_some()));
        async move { next.call(call).await }
    });
    let builder = Server::builder().serve(TypedServer::new(Same)).layer(look).listen("mem://client-sees");
    let (_, _) = serve(builder).await;
    let client = TypedClient::connect("mem://client-sees").await.unwrap();
    client.same(Args { a: 1 }).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [("rpcx", true)]);
}

#[tokio::test(start_paused = true)]
async fn a_closures_layer_stands_around_a_channel() {
    serve_in_memory("client-layer").await;
    let channel = Channel::connect("mem://client-layer").await.unwrap();
    let guard = layer_fn(|call: Call, next: Next| async move {
        if call.method() == "Fail" {
            return Err(Status::new(Code::Limited, "not today"));
        }
        let reply = next.call(call).await?;
        Ok(reply.with_metadata([("seen", "yes")].into_iter().collect()))
    });
    let guarded = guard.layer(channel);
    let reply = guarded.call(call("Owned", "x")).await.unwrap();
    assert_eq!(reply.metadata().get("seen"), Some("yes"));
    assert_eq!(bytes(reply), "x");
    assert_eq!(guarded.call(call("Fail", "x")).await.unwrap_err().code(), Code::Limited);
}

#[tokio::test(start_paused = true)]
async fn a_started_server_runs_till_it_is_stopped() {
    let server = Server::builder().serve(Test::default()).listen("mem://client-start").start().await.unwrap();
    assert_eq!(server.addresses(), ["mem://client-start"]);
    let channel = Channel::connect(server.url()).await.unwrap();
    let slow = tokio::spawn({
        let channel = channel.clone();
        async move { channel.call(call("Sleep", "1000")).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.stop(Duration::from_secs(5)).await.unwrap();
    slow.await.unwrap().unwrap();
    assert_eq!(channel.call(call("Echo", "")).await.unwrap_err().code(), Code::Unavailable);

    // Nobody has to hold it.
    let url = Server::builder()
        .serve(Test::default())
        .listen("mem://client-start")
        .start()
        .await
        .unwrap()
        .url()
        .to_owned();
    let channel = Channel::connect(&url).await.unwrap();
    assert_eq!(bytes(channel.call(call("Echo", "x")).await.unwrap()), "x");
    let taken = Server::builder().listen("mem://client-start").start().await;
    assert!(taken.is_err_and(|error| error.to_string().contains("mem://client-start")));
}
