//! Generated messages in every codec with a hundred calls in flight, every other message, metadata.

use std::collections::BTreeMap;

use fastrand::Rng;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use trunkline::client::Channel;
use trunkline::{Bytes, Metadata, Serialization};

use crate::bodies::body;
use crate::peer::{CODECS, Kind, Peer, no_strays};
use crate::services::{
    Args, ArithClient, Big, EchoClient, FaultClient, MetaClient, Size, Sleep, Slept, SlowClient,
};
use crate::suite::{Check, Difference, Suite, Told, ensure, same};

/// Generated messages for each codec.
const MESSAGES: u64 = 200;

/// How many calls share the connection at a time.
pub(crate) const IN_FLIGHT: usize = 100;

pub(crate) async fn cases(suite: &mut Suite, peer: &Peer) {
    for (name, codec) in CODECS {
        suite.case(&format!("codec-{name}"), generated(peer, codec)).await;
        suite.case(&format!("messages-{name}"), messages(peer, codec)).await;
    }
    suite.case("codec-raw", generated_bodies(peer)).await;
    if peer.kind == Kind::Easymicro {
        let e1 = Difference { id: "E1", why: "a byte slice in Thrift kills the server", seen: "" };
        suite.not_run("bytes-thrift", &e1);
    }
    suite.case("say", say(peer)).await;
    suite.case("meta", metadata(peer)).await;
    suite.case("meta-side-by-side", metadata_side_by_side(peer)).await;
}

/// Numbers of all magnitudes and signs whose product and sum both fit.
fn args(rng: &mut Rng) -> Args {
    let a = rng.i64(..) >> rng.u32(1..64);
    let most = i64::MAX / 2 / a.saturating_abs().max(1);
    let b = rng.i64(-most..=most) >> rng.u32(0..63);
    if rng.bool() { Args { a, b } } else { Args { a: b, b: a } }
}

/// The calls share one connection, and each gets its own answer.
async fn generated(peer: &Peer, codec: Serialization) -> Check {
    let channel = peer.channel().await?;
    let arith = &ArithClient::new(channel.clone());
    let mut rng = Rng::with_seed(1);
    let calls = (0..MESSAGES).map(|_| args(&mut rng)).map(|args| async move {
        let what = format!("{args:?}");
        let product = arith.mul(args.clone()).serialization(codec).await.told(&what)?;
        same(format!("product of {what}"), &product.c, &args.a.wrapping_mul(args.b))?;
        let sum = arith.add(args.clone()).serialization(codec).await.told(&what)?;
        same(format!("sum of {what}"), &sum.c, &args.a.wrapping_add(args.b))
    });
    stream::iter(calls).buffer_unordered(IN_FLIGHT).try_collect::<()>().await?;
    no_strays(&channel)
}

async fn generated_bodies(peer: &Peer) -> Check {
    let channel = peer.channel().await?;
    let echo = &EchoClient::new(channel.clone());
    let mut rng = Rng::with_seed(2);
    let bodies: Vec<Bytes> = (0..MESSAGES)
        .map(|_| {
            let bits = rng.u32(0..15);
            let size = rng.usize(0..1 << bits);
            body(&mut rng, size)
        })
        .collect();
    let calls = bodies.into_iter().map(|body| async move {
        let what = format!("{} bytes", body.len());
        let back = echo.echo(body.clone()).await.told(&what)?;
        ensure(back == body, || format!("Echo of {what}: {} bytes came back", back.len()))?;
        let back = echo.owned(body.clone()).await.told(&what)?;
        ensure(back == body, || format!("Owned of {what}: {} bytes came back", back.len()))
    });
    stream::iter(calls).buffer_unordered(IN_FLIGHT).try_collect::<()>().await?;
    no_strays(&channel)
}

async fn messages(peer: &Peer, codec: Serialization) -> Check {
    let channel = peer.channel().await?;
    let slow = SlowClient::new(channel.clone());
    let slept = slow.sleep(Sleep { millis: 3 }).serialization(codec).await.told("Sleep")?;
    same("Sleep", &slept, &Slept { slept: 3 })?;
    let stats = slow.stats().serialization(codec).await.told("Stats")?;
    ensure(stats.completed >= 1, || format!("Stats: {stats:?}"))?;
    let big = FaultClient::new(channel.clone()).big(Size { bytes: 777 }).serialization(codec).await;
    same("Big", &big.told("Big")?, &Big { data: "x".repeat(777) })?;
    MetaClient::new(channel.clone()).echo().serialization(codec).await.told("Meta").map(drop)?;
    let quotient = ArithClient::new(channel).div(Args { a: -7, b: 2 }).serialization(codec).await;
    same("Div", &quotient.told("Div")?.c, &-3)
}

/// The benchmark's message, decoded and encoded by Go, to the byte as recorded.
async fn say(peer: &Peer) -> Check {
    use trunkline::{Call, Service};
    let request = &include_bytes!("../../../crates/wire/testdata/say-request.bin")[..];
    let expected = &include_bytes!("../../../crates/wire/testdata/say-reply.bin")[..];
    let channel = peer.channel().await?;
    let reply =
        channel.call(Call::new("Hello", "Say", Serialization::Protobuf, request)).await.told("Say")?;
    let body = reply.into_body().whole(expected.len() * 2).await.told("Say")?;
    ensure(body == expected, || format!("the answer of {} bytes is not the recorded one", body.len()))
}

fn pairs(metadata: &Metadata) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    metadata.iter().map(|(key, value)| (text(key), text(value))).collect()
}

async fn metadata_back(channel: &Channel, sent: &Metadata) -> Check {
    let meta = MetaClient::new(channel.clone());
    let reply = meta.echo().metadata(sent.clone()).annotated().await.told("Meta.Echo")?;
    same("metadata", &pairs(&reply.metadata), &pairs(sent))
}

async fn metadata(peer: &Peer) -> Check {
    let channel = peer.channel().await?;
    let long = "m".repeat(5000);
    let all = [("k", "v"), ("empty", ""), ("名", "größer ✓"), ("UPPER", "Case"), ("long", &long)];
    for sent in [&all[..0], &all[..1], &all] {
        metadata_back(&channel, &sent.iter().copied().collect()).await?;
    }
    no_strays(&channel)
}

/// The calls of one connection do not get each other's metadata.
async fn metadata_side_by_side(peer: &Peer) -> Check {
    let channel = &peer.channel().await?;
    let calls = (0..MESSAGES).map(|n| async move {
        let sent = if n % 3 == 0 { Metadata::new() } else { [("n", n.to_string())].into_iter().collect() };
        metadata_back(channel, &sent).await
    });
    stream::iter(calls).buffer_unordered(IN_FLIGHT).try_collect().await
}
