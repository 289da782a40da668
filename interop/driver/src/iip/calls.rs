//! Calls with whole bodies: generated messages, sizes, order, metadata, paths, failures.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Value, json};
use trunkline::client::Channel;
use trunkline::{Bytes, Code};

use super::{Peer, ask, echoed, fails, fails_and_goes_on};
use crate::bodies::body;
use crate::failures::answers;
use crate::peer::kept;
use crate::services::{Args, ArithClient, Big, Fail, FaultClient, Product, Size, Sleep, SlowClient};
use crate::suite::{Check, Difference, Suite, Told, ensure, same};

/// Generated messages of a kind.
const MESSAGES: usize = 200;
/// How many of them are in flight at once.
const IN_FLIGHT: usize = 100;
/// The largest body of a frame.
const FRAME: usize = 16 << 20;

const TOO_LARGE: Difference = Difference {
    id: "I1",
    why: "an answer of more than 16 MiB closes the connection",
    seen: "the connection was lost",
};

pub(super) async fn cases(suite: &mut Suite, peer: &Peer) {
    suite.case("iip-json", json_calls(peer)).await;
    suite.case("iip-json-values", json_values(peer)).await;
    suite.case("iip-bytes", bytes(peer)).await;
    suite.case("iip-sizes", sizes(peer)).await;
    suite.case("iip-16mib", largest(peer)).await;
    suite.case("iip-over-limit", over_limit(peer)).await;
    suite.differs("iip-over-16mib", &TOO_LARGE, over_frame(peer)).await;
    suite.case("iip-order-1000", in_order(peer)).await;
    suite.case("iip-batch", batch(peer)).await;
    suite.case("iip-channels", channels(peer)).await;
    suite.case("iip-metadata", metadata(peer)).await;
    suite.case("iip-paths", paths(peer)).await;
    suite.case("iip-failures", failures(peer)).await;
    suite.case("iip-unknown", unknown(peer)).await;
    suite.case("iip-no-data", no_data(peer)).await;
}

fn number(rng: &mut Rng) -> i64 {
    let shift = rng.u32(33..64);
    rng.i64(..) >> shift
}

async fn json_calls(peer: &Peer) -> Check {
    let arith = &ArithClient::new(peer.channel().await?);
    let mut rng = Rng::with_seed(21);
    let calls = (0..MESSAGES).map(|_| (number(&mut rng), number(&mut rng))).collect::<Vec<_>>();
    let calls = calls.into_iter().map(|(a, b)| async move {
        same(format!("{a} × {b}"), &arith.mul(Args { a, b }).await.told("Mul")?, &Product { c: a * b })?;
        same(format!("{a} + {b}"), &arith.add(Args { a, b }).await.told("Add")?, &Product { c: a + b })
    });
    stream::iter(calls).buffer_unordered(IN_FLIGHT).try_collect().await
}

fn letter(rng: &mut Rng) -> char {
    const LETTERS: [char; 16] =
        ['a', 'Z', ' ', '0', '"', '\\', '/', '\n', '\t', '\0', 'ä', 'ß', '✓', '名', '😀', '<'];
    rng.choice(LETTERS).unwrap_or('x')
}

/// Any JSON value.
fn value(rng: &mut Rng, depth: usize) -> Value {
    match rng.u8(0..if depth == 0 { 4 } else { 6 }) {
        0 => json!(rng.i64(..)),
        1 => rng.choice([Value::Null, json!(true), json!(false)]).unwrap_or_default(),
        2 => json!(rng.f64() * 1e9),
        3 => Value::String((0..rng.usize(0..40)).map(|_| letter(rng)).collect()),
        4 => (0..rng.usize(0..5)).map(|_| value(rng, depth - 1)).collect(),
        _ => (0..rng.usize(0..5)).map(|n| (format!("k{n} ö"), value(rng, depth - 1))).collect(),
    }
}

async fn json_values(peer: &Peer) -> Check {
    let channel = &peer.channel().await?;
    let mut rng = Rng::with_seed(22);
    let values = (0..MESSAGES).map(|_| value(&mut rng, 4)).collect::<Vec<_>>();
    let calls = values.into_iter().map(|value| async move {
        let body = serde_json::to_vec(&value).told("JSON")?;
        echoed(channel, "/echo", body.into()).await
    });
    stream::iter(calls).buffer_unordered(IN_FLIGHT).try_collect().await
}

async fn bytes(peer: &Peer) -> Check {
    let channel = &peer.channel().await?;
    let mut rng = Rng::with_seed(23);
    let bodies = (0..MESSAGES).map(|_| {
        let bits = rng.u32(1..17);
        let size = rng.usize(1..=1 << bits);
        (0..size).map(|_| rng.u8(..)).collect::<Bytes>()
    });
    let bodies = bodies.collect::<Vec<_>>();
    let calls = bodies.into_iter().map(|body| echoed(channel, "/Echo/Owned", body));
    stream::iter(calls).buffer_unordered(IN_FLIGHT).try_collect().await
}

/// One after the other, then side by side.
async fn sizes(peer: &Peer) -> Check {
    const SIZES: [usize; 8] = [1, 1024, 1025, 4095, 14_000, 65_536, 1 << 20, 4 << 20];
    let channel = &peer.channel().await?;
    let mut rng = Rng::with_seed(24);
    let bodies = SIZES.map(|size| body(&mut rng, size));
    for body in &bodies {
        echoed(channel, "/echo", body.clone()).await?;
    }
    let calls = bodies.into_iter().rev().map(|body| echoed(channel, "/echo", body));
    stream::iter(calls).buffer_unordered(SIZES.len()).try_collect().await
}

/// As much as a frame holds.
async fn largest(peer: &Peer) -> Check {
    let channel = peer.builder().body_limit(FRAME).connect().await.told("connect")?;
    let mut rng = Rng::with_seed(25);
    for size in [FRAME - 1, FRAME] {
        echoed(&channel, "/echo", body(&mut rng, size)).await?;
    }
    answers(&channel).await
}

/// A reply over our limit fails its call, names the limit, and the connection goes on.
async fn over_limit(peer: &Peer) -> Check {
    let channel = peer.channel().await?;
    let kept = kept(&channel);
    let Err(status) = FaultClient::new(channel.clone()).big(Size { bytes: 4 << 20 }).await else {
        return Err("a reply over the limit was taken".to_owned());
    };
    same(format!("code of {status}"), &status.code(), &Code::TooLarge)?;
    let named = ["4194304", "body_limit"].iter().all(|name| status.message().contains(*name));
    ensure(named, || format!("{status} does not name the limit and its setting"))?;
    answers(&channel).await?;
    kept()
}

/// More than a frame holds: the Go server's own reply.
async fn over_frame(peer: &Peer) -> Check {
    let channel = peer.builder().body_limit(2 * FRAME).connect().await.told("connect")?;
    let kept = kept(&channel);
    let bytes = i64::try_from(FRAME).told("size")?;
    let outcome = FaultClient::new(channel.clone()).big(Size { bytes }).timeout(Duration::from_secs(5)).await;
    kept()?;
    let Big { data } = outcome.told("Big")?;
    same("size", &data.len(), &FRAME)
}

/// Many calls outstanding on one channel of the wire, slow ones among them: each gets its own answer.
async fn in_order(peer: &Peer) -> Check {
    let channel = &peer.builder().iip_channels(1).connect().await.told("connect")?;
    let slow = &SlowClient::new(channel.clone());
    let calls = (0..1000_i64).map(|n| async move {
        if n % 10 == 3 {
            let millis = n % 7;
            return same("Sleep", &slow.sleep(Sleep { millis }).await.told("Sleep")?.slept, &millis);
        }
        echoed(channel, "/echo", format!("call {n}").into()).await
    });
    stream::iter(calls).buffer_unordered(1000).try_collect().await
}

async fn batch(peer: &Peer) -> Check {
    let channel = peer.channel().await?;
    let arith = ArithClient::new(channel.clone());
    let fault = FaultClient::new(channel.clone());
    let mut batch = channel.batch();
    let mut tickets = Vec::new();
    for n in 0..200 {
        tickets.push(batch.add(arith.mul(Args { a: n, b: 3 })).told("add")?);
    }
    let failed = batch.add(fault.fail(Fail { message: "in a batch".to_owned() })).told("add")?;
    let mut replies = batch.send().await;
    fails("Fail", replies.take(failed).await, Code::Failed, "in a batch")?;
    for (n, ticket) in (0..).zip(tickets) {
        let Product { c } = replies.take(ticket).await.told("Mul")?;
        same(format!("call {n}"), &c, &(n * 3))?;
    }
    answers(&channel).await
}

/// One channel of the wire, and more than Go's own client ever opens.
async fn channels(peer: &Peer) -> Check {
    for count in [1, 2, 64] {
        let channel = &peer.builder().iip_channels(count).connect().await.told("connect")?;
        let calls = (0..300).map(|n| echoed(channel, "/echo", format!("{n} of {count}").into()));
        stream::iter(calls).buffer_unordered(300).try_collect::<()>().await?;
        answers(channel).await?;
    }
    Ok(())
}

async fn headers(channel: &Channel, pairs: &[(&str, &str)]) -> Check<BTreeMap<String, Vec<String>>> {
    let call =
        pairs.iter().fold(ask(channel, "/headers", "x"), |call, (key, value)| call.metadata_pair(key, value));
    let seen = call.await.told("/headers")?;
    serde_json::from_slice(&seen).told(format!("{seen:?}"))
}

/// What a Go handler sees of our metadata: headers, as an adapter sends them.
async fn metadata(peer: &Peer) -> Check {
    let channel = &peer.channel().await?;
    same("without metadata", &headers(channel, &[]).await?.len(), &0)?;
    let pairs = [
        ("tenant", "größer ✓"),
        ("x-empty", ""),
        ("Accept-Language", "de, en;q=0.5"),
        ("a/b?c&d=e", "&=?/ %20"),
    ];
    let seen = headers(channel, &pairs).await?;
    for (key, value) in pairs {
        // Header names have no case.
        let found = seen.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, values)| values);
        same(format!("{key} in {seen:?}"), &found, &Some(&vec![value.to_owned()]))?;
    }
    same("all", &seen.len(), &pairs.len())?;
    // Side by side each call has its own.
    let calls = (0..100).map(|n| async move {
        let text = format!("call {n}");
        let seen = headers(channel, &[("tenant", &text)]).await?;
        same("tenant", &seen.values().next(), &Some(&vec![text]))
    });
    stream::iter(calls).buffer_unordered(IN_FLIGHT).try_collect::<()>().await?;
    answers(channel).await
}

/// Paths with queries and with characters that need none of our help.
async fn paths(peer: &Peer) -> Check {
    let channel = &peer.channel().await?;
    for path in [
        "/echo",
        "/echo?",
        "/echo?q=%20%2F%00",
        "/echo?q=ä✓名",
        "/echo?q=\"<>'{}|^`",
        "/a/b/c",
        "/Echo/Echo?x",
        "/%65cho",
    ] {
        echoed(channel, path, format!("at {path}").into()).await?;
    }
    echoed(channel, &format!("/echo?{}", "x".repeat(2000)), "long".into()).await?;
    let seen = ask(channel, "/query?a=1&b=%C3%B6%20&a=2", "x").await.told("/query")?;
    let seen = serde_json::from_slice::<Value>(&seen).told("JSON")?;
    same("query", &seen, &json!({"a": ["1", "2"], "b": ["ö "]}))?;
    let seen = ask(channel, "/query?a=1", "x").metadata_pair("k", "v").await.told("/query")?;
    let seen = serde_json::from_slice::<Value>(&seen).told("JSON")?;
    same("query beside metadata", &seen.get("a"), &Some(&json!(["1"])))?;
    // What no Go server could answer is not sent.
    let long = format!("/{}", "x".repeat(2048));
    fails_and_goes_on(channel, ask(channel, &long, "x").await, Code::Unsupported).await?;
    fails_and_goes_on(channel, ask(channel, "/a\0b", "x").await, Code::Unsupported).await
}

async fn failures(peer: &Peer) -> Check {
    let channel = peer.channel().await?;
    let fault = FaultClient::new(channel.clone());
    for text in [
        "refused",
        "größer als ✓ 名",
        "",
        "two\nlines",
        "handler fail:",
        "{\"code\":1}",
        &"long ".repeat(400),
    ] {
        fails("Fail", fault.fail(Fail { message: text.to_owned() }).await, Code::Failed, text)?;
    }
    let arith = ArithClient::new(channel.clone());
    fails("Div", arith.div(Args { a: 1, b: 0 }).await, Code::Failed, "divide by zero")?;
    let bad = ask(&channel, "/Arith/Mul", "{\"A\":").await;
    fails("bad input", bad, Code::Failed, "unexpected end of JSON input")?;
    answers(&channel).await
}

async fn unknown(peer: &Peer) -> Check {
    let channel = &peer.channel().await?;
    for path in ["/nope", "/Nope/Mul", "/Arith/Nope", "/Arith", "/a/b/c/d", "/ECHO"] {
        let Err(status) = ask(channel, path, "x").await else { return Err(format!("{path} was answered")) };
        same(format!("{path}: code of {status}"), &status.code(), &Code::NotFound)?;
        ensure(status.may_retry(), || format!("{path}: {status} was surely not begun"))?;
    }
    answers(channel).await
}

/// A handler that gives no data, or panics, is a failure of the service, and not of the connection.
async fn no_data(peer: &Peer) -> Check {
    let channel = peer.channel().await?;
    fails("no data", ask(&channel, "/nothing", "x").await, Code::Failed, "handle no response")?;
    fails("a panic", FaultClient::new(channel.clone()).panic().await, Code::Failed, "handle no response")?;
    // A body of no bytes goes as {}, since the wire has none.
    let none = ask(&channel, "/echo", "").await.told("/echo")?;
    same("no bytes", &none, &Bytes::from("{}"))?;
    answers(&channel).await
}
