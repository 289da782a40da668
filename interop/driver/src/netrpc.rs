//! The Go server of net/rpc and a zrpc broker, called through the library.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use fastrand::Rng;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use trunkline::client::{Channel, Client, ConnectionState, Outgoing};
use trunkline::codec::gob::Gob;
use trunkline::peer::NamedPeer;
use trunkline::{Blob, Bytes, Code, Message, Result, Server, service};

use crate::bodies::body;
use crate::peer::{GoServer, fails, kept, no_strays};
use crate::services::{
    Args, ArithClient, EchoClient, Fail, FaultClient, Product, Size, Sleep, Slept, SlowClient,
};
use crate::suite::{Check, Difference, Suite, Told, ensure, same};

/// Generated messages of a kind.
const MESSAGES: usize = 200;
/// How many of them are in flight at once.
const IN_FLIGHT: usize = 100;
/// Bounds what has to happen soon.
const LIMIT: Duration = Duration::from_secs(10);
/// What zrpc says, to the byte.
const NOT_FOUND: &str = "Function Name Not Find ";

/// The servers under test.
pub(crate) struct Peer {
    pub(crate) address: String,
    /// Where `CONNECT` is served.
    pub(crate) connect: String,
    /// A zrpc broker.
    pub(crate) zrpc: String,
    pub(crate) program: PathBuf,
}

/// A struct with every kind of field, as the Go programs have it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct All {
    base: Base,
    bool: bool,
    i8: i8,
    i16: i16,
    i32: i32,
    i64: i64,
    u8: u8,
    u16: u16,
    u32: u32,
    u64: u64,
    f32: f32,
    f64: f64,
    str: String,
    bytes: Blob,
    ints: Vec<i64>,
    strs: Vec<String>,
    floats: Vec<f64>,
    map: BTreeMap<String, i64>,
    inner: Inner,
    ptr: Option<Inner>,
    nest: Vec<Vec<String>>,
    inners: Vec<Inner>,
    maps: BTreeMap<String, Inner>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Base {
    #[serde(rename = "ID")]
    id: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Inner {
    name: String,
    n: i64,
}

/// Served by the Go server, and by ours to the Go client.
#[service]
pub(crate) trait Types {
    async fn all(&self, all: Gob<All>) -> Result<Gob<All>>;
    async fn name(&self, inner: Inner) -> Result<String>;
    async fn sum(&self, numbers: Gob<Vec<i64>>) -> Result<Gob<i64>>;
}

/// Gives back what it gets.
pub(crate) struct Mirror;

impl Types for Mirror {
    async fn all(&self, all: Gob<All>) -> Result<Gob<All>> {
        Ok(all)
    }

    async fn name(&self, inner: Inner) -> Result<String> {
        Ok(inner.name)
    }

    async fn sum(&self, Gob(numbers): Gob<Vec<i64>>) -> Result<Gob<i64>> {
        Ok(Gob(numbers.into_iter().fold(0, i64::wrapping_add)))
    }
}

pub(crate) async fn cases(suite: &mut Suite, peer: &Peer) {
    for (way, url) in [("", peer.url()), ("-connect", format!("netrpc://{}?connect=/_goRPC_", peer.connect))]
    {
        let url = url.as_str();
        suite.case(&format!("netrpc-generated{way}"), generated(url)).await;
        suite.case(&format!("netrpc-types{way}"), types(url)).await;
        suite.case(&format!("netrpc-bytes{way}"), bytes(url)).await;
        suite.case(&format!("netrpc-failures{way}"), failures(url)).await;
        suite.case(&format!("netrpc-in-flight{way}"), in_flight(url)).await;
    }
    suite.case("netrpc-batch", batch(peer)).await;
    suite.case("netrpc-over-limit", over_limit(peer)).await;
    suite.case("netrpc-late-answer", late(peer)).await;
    suite.case("netrpc-reconnect", reconnect(peer)).await;
    suite.case("netrpc-balanced", balanced(peer)).await;
    suite.case("netrpc-zrpc", zrpc(peer)).await;
    suite.case("netrpc-zrpc-at-once", zrpc_at_once(peer)).await;
    suite.case("netrpc-zrpc-killed", zrpc_killed(peer)).await;
    let dies = Difference { id: "Z1", why: "an unknown name ends the process", seen: "" };
    suite.not_run("netrpc-zrpc-unknown", &dies);
    let dies = Difference { id: "Z2", why: "an empty payload ends the process", seen: "" };
    suite.not_run("netrpc-zrpc-empty", &dies);
}

impl Peer {
    fn url(&self) -> String {
        format!("netrpc://{}", self.address)
    }

    async fn channel(&self) -> Check<Channel> {
        Channel::connect(&self.url()).await.told("connect")
    }
}

fn number(rng: &mut Rng) -> i64 {
    let shift = rng.u32(33..64);
    rng.i64(..) >> shift
}

async fn works(channel: &Channel) -> Check {
    let product = ArithClient::new(channel.clone()).mul(Args { a: 6, b: 7 }).await.told("6 × 7")?;
    same("6 × 7", &product, &Product { c: 42 })
}

async fn generated(url: &str) -> Check {
    let channel = Channel::connect(url).await.told("connect")?;
    let kept = kept(&channel);
    let arith = &ArithClient::new(channel.clone());
    let mut rng = Rng::with_seed(31);
    let calls = (0..MESSAGES).map(|_| (number(&mut rng), number(&mut rng))).collect::<Vec<_>>();
    let calls = calls.into_iter().map(|(a, b)| async move {
        same(format!("{a} × {b}"), &arith.mul(Args { a, b }).await.told("Mul")?, &Product { c: a * b })?;
        same(format!("{a} + {b}"), &arith.add(Args { a, b }).await.told("Add")?, &Product { c: a + b })
    });
    stream::iter(calls).buffer_unordered(IN_FLIGHT).try_collect::<()>().await?;
    no_strays(&channel)?;
    kept()
}

fn text(rng: &mut Rng) -> String {
    const WORDS: [&str; 5] = ["", "größer", "名", "hello world", "a"];
    let mut word = || rng.choice(WORDS).unwrap_or_default();
    word().to_owned() + word()
}

fn inner(rng: &mut Rng) -> Inner {
    Inner { name: text(rng), n: number(rng) }
}

fn all(rng: &mut Rng) -> All {
    let several = |rng: &mut Rng| 0..rng.usize(0..5);
    All {
        base: Base { id: rng.u64(..) >> rng.u32(0..64) },
        bool: rng.bool(),
        i8: rng.i8(..),
        i16: rng.i16(..),
        i32: rng.i32(..),
        i64: number(rng),
        u8: rng.u8(..),
        u16: rng.u16(..),
        u32: rng.u32(..),
        u64: rng.u64(..),
        f32: rng.f32(),
        f64: rng.f64() * 1e100,
        str: text(rng),
        bytes: body(rng, 40).into(),
        ints: several(rng).map(|_| number(rng)).collect(),
        strs: several(rng).map(|_| text(rng)).collect(),
        floats: several(rng).map(|_| rng.f64()).collect(),
        map: several(rng).map(|_| (text(rng), number(rng))).collect(),
        inner: inner(rng),
        ptr: rng.bool().then(|| Inner { n: 1, ..inner(rng) }),
        nest: several(rng).map(|_| several(rng).map(|_| text(rng)).collect()).collect(),
        inners: several(rng).map(|_| inner(rng)).collect(),
        maps: several(rng).map(|_| (text(rng), inner(rng))).collect(),
    }
}

async fn types(url: &str) -> Check {
    let types = TypesClient::new(Channel::connect(url).await.told("connect")?);
    let mut rng = Rng::with_seed(32);
    for n in 0..MESSAGES {
        let all = all(&mut rng);
        let back = types.all(Gob(all.clone())).await.told(format!("value {n}"))?;
        same(format!("value {n}"), &back.0, &all)?;
        let inner = all.inner;
        same("the name", &types.name(inner.clone()).await.told("Name")?, &inner.name)?;
        let sum = all.ints.iter().copied().fold(0, i64::wrapping_add);
        same("the sum", &types.sum(Gob(all.ints)).await.told("Sum")?.0, &sum)?;
    }
    Ok(())
}

async fn bytes(url: &str) -> Check {
    let channel = Channel::connect(url).await.told("connect")?;
    let echo = EchoClient::new(channel.clone());
    let mut rng = Rng::with_seed(33);
    let sizes = [0, 1, 127, 128, 1024, 65_536, 1 << 20, (4 << 20) - 64].into_iter();
    for size in sizes.chain((0..MESSAGES).map(|n| n * 13)) {
        let body = body(&mut rng, size);
        let back = echo.owned(body.clone()).await.told(format!("{size} bytes"))?;
        ensure(back == body, || format!("of {size} bytes {} came back, or others", back.len()))?;
    }
    no_strays(&channel)
}

async fn failures(url: &str) -> Check {
    let channel = Channel::connect(url).await.told("connect")?;
    let kept = kept(&channel);
    let (arith, fault) = (ArithClient::new(channel.clone()), FaultClient::new(channel.clone()));
    for text in ["refused", "größer als ✓ 名", "two\nlines", "x".repeat(100_000).as_str()] {
        let failed = fault.fail(Fail { message: text.to_owned() }).await;
        fails("Fail", failed, Code::Failed, text)?;
    }
    fails("Div", arith.div(Args { a: 1, b: 0 }).await, Code::Failed, "divide by zero")?;
    for (service, method, text) in [
        ("Nope", "Mul", "rpc: can't find service Nope.Mul"),
        ("Arith", "Nope", "rpc: can't find method Arith.Nope"),
        ("arith", "mul", "rpc: can't find service arith.mul"),
    ] {
        let call: Outgoing<'_, _, Args, Product> =
            Outgoing::new(&channel, service, method, Args { a: 1, b: 2 });
        fails(method, call.await, Code::NotFound, text)?;
    }
    let call: Outgoing<'_, _, String, Product> = Outgoing::new(&channel, "Arith", "Mul", "text".to_owned());
    let status = call.await.err().ok_or("a text was taken for arguments")?;
    same(format!("{status}"), &status.code(), &Code::InvalidInput)?;
    works(&channel).await?;
    no_strays(&channel)?;
    kept()
}

/// 3,000 calls of several kinds at once, answered as they are done.
async fn in_flight(url: &str) -> Check {
    let channel = Channel::connect(url).await.told("connect")?;
    let (arith, slow) = (ArithClient::new(channel.clone()), SlowClient::new(channel.clone()));
    let echo = EchoClient::new(channel.clone());
    let (arith, slow, echo) = (&arith, &slow, &echo);
    let calls = (0..3000).map(|n: i64| async move {
        match n % 3 {
            0 => {
                let slept = slow.sleep(Sleep { millis: n % 20 }).await.told("Sleep")?;
                same("Sleep", &slept, &Slept { slept: n % 20 })
            }
            1 => {
                let body = Bytes::from(n.to_string());
                same("Echo", &echo.echo(body.clone()).await.told("Echo")?, &body)
            }
            _ => same("Mul", &arith.mul(Args { a: n, b: 3 }).await.told("Mul")?, &Product { c: 3 * n }),
        }
    });
    stream::iter(calls).buffer_unordered(3000).try_collect::<()>().await?;
    no_strays(&channel)
}

async fn batch(peer: &Peer) -> Check {
    let channel = peer.channel().await?;
    let arith = ArithClient::new(channel.clone());
    let mut batch = channel.batch();
    let mut tickets = Vec::new();
    for n in 0..1000 {
        tickets.push(batch.add(arith.mul(Args { a: n, b: 2 })).told("add")?);
    }
    let mut answers = batch.send().await;
    for (n, ticket) in (0..).zip(tickets) {
        same(format!("answer {n}"), &answers.take(ticket).await.told("take")?, &Product { c: 2 * n })?;
    }
    Ok(())
}

async fn over_limit(peer: &Peer) -> Check {
    let channel = Channel::builder(&peer.url()).body_limit(10_000).connect().await.told("connect")?;
    let kept = kept(&channel);
    let fault = FaultClient::new(channel.clone());
    for bytes in [10_000, 100_000] {
        let status = fault.big(Size { bytes }).await.err().ok_or("it was taken")?;
        same(format!("{status}"), &status.code(), &Code::TooLarge)?;
        works(&channel).await?;
    }
    kept()
}

/// The answer to a call that was given up is nobody else's.
async fn late(peer: &Peer) -> Check {
    let channel = peer.channel().await?;
    let slow = SlowClient::new(channel.clone());
    for _ in 0..5 {
        let late = slow.sleep(Sleep { millis: 200 }).timeout(Duration::from_millis(50)).await;
        fails("a late call", late, Code::DeadlineExceeded, "context deadline exceeded")?;
        works(&channel).await?;
    }
    slow.sleep(Sleep { millis: 400 }).await.told("Sleep")?;
    same("late answers", &channel.stats().stray_replies, &5)
}

async fn reconnect(peer: &Peer) -> Check {
    let mut server = GoServer::start(&peer.program, "127.0.0.1:0").await?;
    let address = server.address.clone();
    let channel = Channel::connect(&format!("netrpc://{address}")).await.told("connect")?;
    for round in 0..3 {
        works(&channel).await?;
        let slow = SlowClient::new(channel.clone());
        let waiting: Vec<_> = (0..50)
            .map(|_| {
                let slow = slow.clone();
                tokio::spawn(async move { slow.sleep(Sleep { millis: 9000 }).await })
            })
            .collect();
        tokio::task::yield_now().await;
        works(&channel).await?;
        server.kill()?;
        for call in waiting {
            let status = call.await.told("join")?.err().ok_or("a killed server answers")?;
            same(format!("round {round}: {status}"), &status.code(), &Code::Unavailable)?;
        }
        server = GoServer::start(&peer.program, &address).await?;
        let mut state = channel.state();
        let connected = state.wait_for(|state| *state == ConnectionState::Connected);
        tokio::time::timeout(LIMIT, connected).await.told("no connection")?.told("state")?;
    }
    works(&channel).await
}

async fn balanced(peer: &Peer) -> Check {
    let mut other = GoServer::start(&peer.program, "127.0.0.1:0").await?;
    let urls = format!("netrpc://{},{}", peer.address, other.address);
    let client = Client::builder(&urls).connections(2).connect().await.told("connect")?;
    let arith = ArithClient::new(client);
    for n in 0..200 {
        if n == 100 {
            other.kill()?;
        }
        let product = arith.mul(Args { a: n, b: 2 }).await.told(format!("call {n}"))?;
        same("Mul", &product, &Product { c: 2 * n })?;
    }
    Ok(())
}

async fn desk(zrpc: &str) -> Check<NamedPeer> {
    let desk = NamedPeer::builder("desk").listen("127.0.0.1:0").peer("go", zrpc).connections(2);
    desk.start().await.told("start")
}

async fn zrpc(peer: &Peer) -> Check {
    let desk = desk(&peer.zrpc).await?;
    let functions = desk.functions("go").await.told("index")?;
    same("the index", &functions, &["echo", "fail", "nil", "s"].map(str::to_owned).to_vec())?;
    let mut rng = Rng::with_seed(34);
    for _ in 0..MESSAGES {
        same("s", &desk.call("go", "s", "data").await.told("s")?, &Bytes::from("world"))?;
        let body = {
            let size = rng.usize(1..2000);
            body(&mut rng, size)
        };
        same("echo", &desk.call("go", "echo", body.clone()).await.told("echo")?, &body)?;
    }
    same("nil", &desk.call("go", "nil", "").await.told("nil")?, &Bytes::from("true"))?;
    fails("fail", desk.call("go", "fail", "").await, Code::Failed, "refused")?;
    // What is not there is refused here: it would end the Go process.
    for name in ["", "nope", "S"] {
        let status = desk.call("go", name, "data").await.err().ok_or("it was answered")?;
        same(
            format!("{name:?}: {status}"),
            &(status.code(), status.message()),
            &(Code::NotFound, NOT_FOUND),
        )?;
    }
    same("s", &desk.call("go", "s", "data").await.told("s")?, &Bytes::from("world"))
}

async fn zrpc_at_once(peer: &Peer) -> Check {
    let desk = &desk(&peer.zrpc).await?;
    let calls = (0..5000).map(|n: u32| async move {
        let body = Bytes::from(n.to_string());
        same("echo", &desk.call("go", "echo", body.clone()).await.told("echo")?, &body)
    });
    stream::iter(calls).buffer_unordered(5000).try_collect().await
}

/// A broker that is killed under a call: the call fails, and others are refused or fail, but end.
async fn zrpc_killed(peer: &Peer) -> Check {
    let mut server = GoServer::start(&peer.program, "127.0.0.1:0").await?;
    // Another of our peers that the same name leads to goes on.
    let functions = trunkline::peer::Functions::new()
        .function("s", |_: Bytes| async { Ok("ours".into()) })
        .into_service();
    let ours = Server::builder().serve(functions).listen("127.0.0.1:0").start().await.told("start")?;
    let endpoints = format!("{},{}", server.other("zrpc")?, ours.addresses()[0]);
    let desk = desk(&endpoints).await?;
    for _ in 0..10 {
        desk.call("go", "s", "").await.told("s")?;
    }
    server.kill()?;
    let mut answered = 0;
    for _ in 0..50 {
        answered += usize::from(desk.call("go", "s", "").await.is_ok_and(|answer| answer == "ours"));
    }
    ensure(answered >= 45, || format!("{answered} of 50 calls were answered by the one that is left"))
}
