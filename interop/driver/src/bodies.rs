//! Bodies of every size in every codec, the limit, and gzip in both directions.

use fastrand::Rng;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use trunkline::client::{Channel, Outgoing};
use trunkline::codec::Payload;
use trunkline::{Bytes, Code, Serialization};

use crate::meter::Meter;
use crate::peer::{CODECS, Kind, Peer, kept, no_strays};
use crate::services::{EchoClient, Text};
use crate::suite::{Check, Suite, Told, ensure, same};

/// The limit of a reply's body at our client.
const LIMIT: usize = 4 << 20;

/// The sizes of encoded bodies.
const SIZES: [usize; 9] = [0, 1, 1024, 1025, 4095, 4096, 65_536, 1 << 20, LIMIT];

pub(crate) async fn cases(suite: &mut Suite, peer: &Peer) {
    for (name, codec) in CODECS {
        suite.case(&format!("sizes-{name}"), texts(peer, codec, false)).await;
        suite.case(&format!("gzip-{name}"), texts(peer, codec, true)).await;
        suite.case(&format!("over-limit-{name}"), over_limit(peer, codec)).await;
    }
    suite.case("sizes-raw", bytes(peer, false)).await;
    suite.case("gzip-raw", bytes(peer, true)).await;
    suite.case("over-limit-raw", over_limit_raw(peer)).await;
    suite.case("gzip-on-the-wire", gzip_on_the_wire(peer)).await;
}

/// So many bytes, which compress well enough to shrink and badly enough to notice a mix-up.
pub(crate) fn body(rng: &mut Rng, size: usize) -> Bytes {
    (0..size).map(|_| rng.choice(b"trunkline 0123456789abcdefghijk\n").copied().unwrap_or_default()).collect()
}

fn encoded(text: &Text, codec: Serialization) -> Check<usize> {
    let mut out = Vec::new();
    text.encode(codec, &mut out).told("encode")?;
    Ok(out.len())
}

/// A message whose body has exactly this size; none where the codec has no such message.
fn fit(size: usize, codec: Serialization) -> Check<Option<Text>> {
    let mut text = Text { s: String::new() };
    for _ in 0..8 {
        let got = encoded(&text, codec)?;
        if got == size {
            return Ok(Some(text));
        }
        let Some(length) = (text.s.len() + size).checked_sub(got) else { return Ok(None) };
        text.s = "x".repeat(length);
    }
    Ok(None)
}

fn echo<'a>(
    peer: &Peer,
    channel: &'a Channel,
    text: Text,
    codec: Serialization,
) -> Outgoing<'a, Channel, Text, Text> {
    Outgoing::new(channel, peer.text_service(), "Echo", text).serialization(codec)
}

async fn text_back(peer: &Peer, channel: &Channel, size: usize, codec: Serialization, gzip: bool) -> Check {
    let Some(text) = fit(size, codec)? else {
        return ensure(size < 16, || format!("no {codec:?} message of {size} bytes"));
    };
    let call = echo(peer, channel, text.clone(), codec);
    let call = if gzip { call.compressed() } else { call };
    let back = call.await.told(format!("{size} bytes"))?;
    ensure(back == text, || {
        format!("{size} bytes: a text of {} came back with {}", text.s.len(), back.s.len())
    })
}

/// One after the other, then side by side on the same connection, so that small answers pass large ones.
async fn texts(peer: &Peer, codec: Serialization, gzip: bool) -> Check {
    let channel = &peer.channel().await?;
    for size in SIZES {
        text_back(peer, channel, size, codec, gzip).await?;
    }
    let calls = SIZES.iter().rev().map(|size| text_back(peer, channel, *size, codec, gzip));
    stream::iter(calls).buffer_unordered(SIZES.len()).try_collect::<()>().await?;
    no_strays(channel)
}

async fn bytes(peer: &Peer, gzip: bool) -> Check {
    let channel = peer.channel().await?;
    let echo = EchoClient::new(channel.clone());
    let mut rng = Rng::with_seed(3);
    for size in SIZES {
        let body = body(&mut rng, size);
        for call in [echo.echo(body.clone()), echo.owned(body.clone())] {
            let call = if gzip { call.compressed() } else { call };
            let back = call.await.told(format!("{size} bytes"))?;
            ensure(back == body, || format!("{size} bytes: {} came back", back.len()))?;
        }
    }
    no_strays(&channel)
}

/// A reply of one more than the limit fails its call and nothing else.
fn too_large<T>(outcome: trunkline::Result<T>) -> Check {
    let Err(status) = outcome else { return Err(format!("a reply of {} bytes was taken", LIMIT + 1)) };
    same(format!("code of {status}"), &status.code(), &Code::TooLarge)?;
    let named = [&LIMIT.to_string(), "body_limit"].iter().all(|name| status.message().contains(*name));
    ensure(named, || format!("{status} does not name the limit and its setting"))
}

async fn over_limit(peer: &Peer, codec: Serialization) -> Check {
    let channel = peer.channel().await?;
    let kept = kept(&channel);
    let text = fit(LIMIT + 1, codec)?.ok_or("no message of one more than the limit")?;
    for gzip in [false, true] {
        let call = echo(peer, &channel, text.clone(), codec);
        too_large(if gzip { call.compressed() } else { call }.await)?;
    }
    text_back(peer, &channel, 1024, codec, false).await?;
    kept()
}

async fn over_limit_raw(peer: &Peer) -> Check {
    let channel = peer.channel().await?;
    let kept = kept(&channel);
    let echo = EchoClient::new(channel.clone());
    let large = body(&mut Rng::with_seed(4), LIMIT + 1);
    for call in [echo.owned(large.clone()), echo.owned(large).compressed()] {
        too_large(call.await)?;
    }
    let back = echo.owned("still here".into()).await.told("the next call")?;
    same("the next call", &back, &"still here".into())?;
    kept()
}

/// Counted at a proxy: what is compressed in which direction, and that 1,024 bytes are not.
async fn gzip_on_the_wire(peer: &Peer) -> Check {
    let meter = Meter::start(&peer.address).await?;
    let quiet = Channel::builder(&peer.url(&meter.address)).heartbeat(std::time::Duration::from_secs(60));
    let channel = quiet.connect().await.told("connect")?;
    let echo = EchoClient::new(channel);
    // Head, names and lengths, and the little that is left of a compressed body.
    let small = |size: usize, bytes: usize| bytes < 200 + size / 100;
    for (size, gzip, compressed) in
        [(1024, true, false), (1025, true, true), (1 << 20, true, true), (1 << 20, false, false)]
    {
        let body = Bytes::from(vec![b'x'; size]);
        let before = meter.counts();
        let call = echo.echo(body.clone());
        let back = if gzip { call.compressed() } else { call }.await.told(size)?;
        ensure(back == body, || format!("{size} bytes: {} came back", back.len()))?;
        let after = meter.counts();
        let (up, down) = (after.0 - before.0, after.1 - before.1);
        same(format!("{size} bytes took {up}: compressed"), &small(size, up), &compressed)?;
        // easymicro's server never compresses an answer.
        let answers = compressed && peer.kind == Kind::Rpcx;
        same(format!("an answer of {size} bytes took {down}: compressed"), &small(size, down), &answers)?;
    }
    Ok(())
}
