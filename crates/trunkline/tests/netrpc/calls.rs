//! Calls through the library's server and client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use trunkline::client::{Channel, Client, ConnectionState};
use trunkline::server::{RunningServer, ServerBuilder};
use trunkline::{
    Annotated, Bytes, Call, Code, Context, Message, ReplyBuf, Result, Serialization, Server, Service as _,
    Status,
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
struct Args {
    a: i64,
    b: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
struct Product {
    c: i64,
}

#[trunkline::service]
trait Test {
    fn mul(&self, args: Args) -> Result<Product>;
    async fn later(&self, args: Args) -> Result<Product>;
    async fn fail(&self, text: String) -> Result<()>;
    async fn panic(&self) -> Result<()>;
    fn echo(&self, body: &[u8], reply: &mut ReplyBuf<'_>) -> Result<()>;
    async fn owned(&self, body: Bytes) -> Result<Bytes>;
    async fn meta(&self, context: &Context) -> Result<Annotated<String>>;
    async fn big(&self, size: Args) -> Result<Bytes>;
    async fn nothing(&self) -> Result<()>;
}

#[derive(Default, Clone)]
struct Tester(Arc<AtomicU64>);

impl Test for Tester {
    fn mul(&self, Args { a, b }: Args) -> Result<Product> {
        let c = a.checked_mul(b).ok_or_else(|| Status::failed("overflow"))?;
        Ok(Product { c })
    }

    async fn later(&self, Args { a, b }: Args) -> Result<Product> {
        tokio::time::sleep(Duration::from_millis(u64::try_from(a).unwrap())).await;
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(Product { c: b })
    }

    async fn fail(&self, text: String) -> Result<()> {
        Err(Status::failed(text))
    }

    async fn panic(&self) -> Result<()> {
        panic!("a secret")
    }

    fn echo(&self, body: &[u8], reply: &mut ReplyBuf<'_>) -> Result<()> {
        reply.extend_from_slice(body);
        Ok(())
    }

    async fn owned(&self, body: Bytes) -> Result<Bytes> {
        Ok(body)
    }

    async fn meta(&self, context: &Context) -> Result<Annotated<String>> {
        Ok(Annotated::new(context.wire().to_owned(), context.metadata().clone()))
    }

    async fn big(&self, size: Args) -> Result<Bytes> {
        Ok(vec![7; usize::try_from(size.a).unwrap()].into())
    }

    async fn nothing(&self) -> Result<()> {
        Ok(())
    }
}

async fn start(address: &str, adjust: impl FnOnce(ServerBuilder) -> ServerBuilder) -> RunningServer {
    let builder = Server::builder().serve(TestServer::new(Tester::default())).listen(address);
    adjust(builder).start().await.unwrap()
}

/// A client on net/rpc of a server in memory.
async fn pair(name: &str) -> (RunningServer, TestClient<Channel>, Channel) {
    let server = start(&format!("mem://{name}"), |builder| builder).await;
    let channel = Channel::connect(&format!("mem://{name}?wire=netrpc")).await.unwrap();
    (server, TestClient::new(channel.clone()), channel)
}

fn failure<T: std::fmt::Debug>(result: Result<T>) -> (Code, String) {
    let status = result.unwrap_err();
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn the_same_trait_is_called_over_gob() {
    let (_server, test, channel) = pair("netrpc-trait").await;
    for n in 0..3 {
        assert_eq!(test.mul(Args { a: 6, b: 7 + n }).await.unwrap(), Product { c: 42 + 6 * n });
        assert_eq!(test.later(Args { a: 0, b: n }).await.unwrap(), Product { c: n });
        for body in [Bytes::new(), Bytes::from(vec![0, 1, 255]), Bytes::from(vec![7; 100_000])] {
            assert_eq!(test.owned(body.clone()).await.unwrap(), body);
        }
        test.nothing().await.unwrap();
        assert_eq!(test.meta().await.unwrap(), "netrpc");
    }
    let echo = Call::new("Test", "Echo", Serialization::Gob, Bytes::from_static(b"\x03\x04\x00\x05"));
    let body = channel.call(echo).await.unwrap().into_body().whole(100).await.unwrap();
    assert_eq!(body, "\x03\x04\x00\x05");
    assert_eq!(channel.stats().stray_replies, 0);
}

#[tokio::test]
async fn failures_have_their_texts_and_the_connection_goes_on() {
    let (_server, test, channel) = pair("netrpc-failures").await;
    assert_eq!(failure(test.fail("divide by zero".into()).await), (Code::Failed, "divide by zero".into()));
    assert_eq!(failure(test.mul(Args { a: i64::MAX, b: 2 }).await), (Code::Failed, "overflow".into()));
    let (_, text) = failure(test.panic().await);
    assert!(!text.contains("secret") && !text.is_empty(), "{text}");
    let raw = |service: &str, method: &str, body: &'static [u8]| {
        let call = Call::new(service, method, Serialization::Gob, Bytes::from_static(body));
        let channel = channel.clone();
        async move { failure(channel.call(call).await) }
    };
    let int = b"\x03\x04\x00\x05";
    let not_found = |text: &str| (Code::NotFound, text.to_owned());
    assert_eq!(raw("Nope", "Mul", int).await, not_found("rpc: can't find service Nope.Mul"));
    assert_eq!(raw("Test", "Nope", int).await, not_found("rpc: can't find method Test.Nope"));
    assert_eq!(raw("", "Mul", int).await, not_found("rpc: can't find service .Mul"));
    let (code, text) = raw("Test", "Mul", int).await;
    assert_eq!(code, Code::InvalidInput);
    assert!(text.starts_with("gob: type mismatch"), "{text}");
    // What cannot be said on the wire is not sent.
    let json = Call::new("Test", "Mul", Serialization::Json, "{}");
    assert_eq!(failure(channel.call(json).await).0, Code::Unsupported);
    assert_eq!(
        failure(channel.call(Call::new("Test", "Mul", Serialization::Gob, "x")).await).0,
        Code::Unsupported
    );
    let state = channel.state();
    assert!(!state.has_changed().unwrap());
    assert_eq!(test.mul(Args { a: 6, b: 7 }).await.unwrap(), Product { c: 42 });
}

#[tokio::test]
async fn the_limit_is_named_and_the_connection_goes_on() {
    let server = start("127.0.0.1:0", |builder| builder.body_limit(10_000)).await;
    let channel = Channel::connect(&format!("netrpc://{}", server.addresses()[0])).await.unwrap();
    let test = TestClient::new(channel.clone());
    for size in [10_000, 50_000, 159_000] {
        let (_, text) = failure(test.owned(vec![1; size].into()).await);
        assert!(text.contains("limit of 10000 bytes") && text.contains("--body-limit"), "{text}");
        let (_, text) = failure(test.big(Args { a: i64::try_from(size).unwrap(), b: 0 }).await);
        assert!(text.contains("limit of 10000 bytes"), "{text}");
        assert_eq!(test.owned(vec![1; 9_990].into()).await.unwrap().len(), 9_990);
    }
    assert_eq!(channel.stats().connections, 1);
    // Over what is read past the connection ends, and its call with it.
    assert_eq!(failure(test.owned(vec![1; 170_000].into()).await).0, Code::Unavailable);
    assert_eq!(test.mul(Args { a: 6, b: 7 }).await.unwrap(), Product { c: 42 });
    // The client's own limit.
    let small = Channel::builder(&format!("netrpc://{}", server.addresses()[0])).body_limit(100);
    let test = TestClient::new(small.connect().await.unwrap());
    assert_eq!(failure(test.big(Args { a: 200, b: 0 }).await).0, Code::TooLarge);
    assert_eq!(test.big(Args { a: 90, b: 0 }).await.unwrap().len(), 90);
}

#[tokio::test(start_paused = true)]
async fn many_in_flight_are_answered_in_any_order_and_late_answers_dropped() {
    let (_server, test, channel) = pair("netrpc-order").await;
    let begun = Instant::now();
    let mut calls: Vec<_> = (0..500)
        .map(|n| {
            let test = test.clone();
            tokio::spawn(async move {
                let product = test.later(Args { a: 1000 - n, b: n }).await.unwrap();
                assert_eq!(product, Product { c: n });
            })
        })
        .collect();
    for call in calls.drain(..) {
        call.await.unwrap();
    }
    assert!(begun.elapsed() < Duration::from_millis(1500), "they ran side by side");
    // Over time, and given up: the answers find nobody.
    let late = test.later(Args { a: 300, b: 1 }).timeout(Duration::from_millis(100)).await;
    assert_eq!(failure(late).0, Code::DeadlineExceeded);
    drop(tokio::time::timeout(Duration::from_millis(50), test.later(Args { a: 300, b: 2 }).send()).await);
    let stays = test.later(Args { a: 1000, b: 3 }).await.unwrap();
    assert_eq!((stays, channel.stats().stray_replies), (Product { c: 3 }, 2));
}

#[cfg(feature = "http")]
#[tokio::test]
async fn it_is_spoken_after_a_connect_too() {
    let server = start("127.0.0.1:0", |builder| builder).await;
    let address = &server.addresses()[0];
    let test = TestClient::connect(&format!("netrpc://{address}?connect=/_goRPC_")).await.unwrap();
    assert_eq!(test.mul(Args { a: 6, b: 7 }).await.unwrap(), Product { c: 42 });
    assert_eq!(test.meta().await.unwrap(), "netrpc");
    // rpcx behind a CONNECT, as it always was at the server.
    let test = TestClient::connect(&format!("rpcx://{address}?connect=/_rpcx_")).await.unwrap();
    assert_eq!(test.meta().await.unwrap(), "rpcx");
    // To the byte what Go's client and server exchanged (golden case `http`), but for the ids of types.
    let recorded = include_bytes!("../../../wire/testdata/netrpc/http.c2s.bin");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(recorded).await.unwrap();
    let mut answer = vec![0; 300];
    let mut length = 0;
    while !answer[..length].windows(5).any(|part| part == b"Arith") {
        length += stream.read(&mut answer[length..]).await.unwrap();
    }
    assert!(answer.starts_with(b"HTTP/1.0 200 Connected to Go RPC\n\n\x39\x7f\x03\x01\x01\x08Response"));
    // Nobody answers behind another path, and says so.
    let refused = TcpStream::connect(address).await.unwrap();
    drop(refused);
}

#[tokio::test]
async fn what_no_go_program_sends_is_closed_without_an_answer() {
    let server = start("127.0.0.1:0", |builder| builder).await;
    let request = b"\x2e\x7f\x03\x01\x01\x07Request\x01\xff\x80\x00\x01\x02\x01\x0dServiceMethod\x01\x0c\x00\x01\x03Seq\x01\x06\x00\x00\x00";
    for tail in [&b"\xf8\x40\0\0\0\0\0\0\0\x01"[..], b"\x03\xff\x90\x00", b"\xf7\xff\xff", b"\0\0\0"] {
        let mut stream = TcpStream::connect(&server.addresses()[0]).await.unwrap();
        stream.write_all(&[&request[..], tail].concat()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.is_empty(), "{answer:?}");
    }
}

#[tokio::test]
async fn several_endpoints_and_batches() {
    let (one, two) = (start("127.0.0.1:0", |b| b).await, start("127.0.0.1:0", |b| b).await);
    let urls = format!("netrpc://{},{}", one.addresses()[0], two.addresses()[0]);
    let client = Client::builder(&urls).connections(2).connect().await.unwrap();
    let test = TestClient::new(client.clone());
    for n in 0..40 {
        assert_eq!(test.mul(Args { a: 6, b: n }).await.unwrap(), Product { c: 6 * n });
    }
    assert_eq!(one.handle().counters()[0].2.calls, 20);
    one.stop(Duration::from_secs(1)).await.unwrap();
    for n in 0..40 {
        assert_eq!(test.mul(Args { a: 6, b: n }).await.unwrap(), Product { c: 6 * n });
    }
    let channel = Channel::connect(two.url().replace("rpcx", "netrpc").as_str()).await.unwrap();
    let test = TestClient::new(channel.clone());
    let mut batch = channel.batch();
    let tickets: Vec<_> = (0..300).map(|n| batch.add(test.mul(Args { a: n, b: 2 })).unwrap()).collect();
    let mut answers = batch.send().await;
    for (n, ticket) in (0..).zip(tickets) {
        assert_eq!(answers.take(ticket).await.unwrap(), Product { c: 2 * n });
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_fails_its_calls_and_comes_back() {
    let (server, test, channel) = pair("netrpc-lost").await;
    let waiting = tokio::spawn({
        let test = test.clone();
        async move { failure(test.later(Args { a: 60_000, b: 1 }).timeout(Duration::from_secs(100)).await) }
    });
    while server.handle().report().calls == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    server.stop(Duration::ZERO).await.unwrap();
    assert_eq!(waiting.await.unwrap().0, Code::Unavailable);
    let _again = start("mem://netrpc-lost", |builder| builder).await;
    let mut state = channel.state();
    state.wait_for(|state| *state == ConnectionState::Connected).await.unwrap();
    // The new connection has had no types.
    assert_eq!(test.mul(Args { a: 6, b: 7 }).await.unwrap(), Product { c: 42 });
}
