//! Bodies of several frames, both ways, and several answers to one request.

use std::time::Duration;

use fastrand::Rng;
use futures_util::future;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::time::timeout;
use trunkline::client::{Channel, Outgoing};
use trunkline::{Bytes, Code, Result, Streaming};

use super::{LIMIT, Peer, ask, echoed};
use crate::failures::answers;
use crate::peer::kept;
use crate::services::{Sleep, SlowClient};
use crate::suite::{Check, Suite, Told, ensure, same};

pub(super) async fn cases(suite: &mut Suite, peer: &Peer) {
    suite.case("iip-request-in-frames", request_in_frames(peer)).await;
    suite.case("iip-long-request", long_request(peer)).await;
    suite.case("iip-answer-in-frames", answer_in_frames(peer)).await;
    suite.case("iip-both-in-frames", both(peer)).await;
    suite.case("iip-100000-frames", many_frames(peer)).await;
    suite.case("iip-large-frames", large_frames(peer)).await;
    suite.case("iip-stream-dropped", dropped(peer)).await;
    suite.case("iip-stream-cut", cut(peer)).await;
    suite.case("iip-request-given-up", given_up(peer)).await;
    suite.case("iip-mixed", mixed(peer)).await;
    suite.case("iip-several-answers", several_answers(peer)).await;
    suite.case("iip-unknown-in-frames", unknown_in_frames(peer)).await;
}

/// A call with a body in these frames.
fn send<'a>(
    channel: &'a Channel,
    path: &str,
    frames: impl IntoIterator<Item = String, IntoIter: Send + 'static>,
) -> Outgoing<'a, Channel, Streaming<String>, Bytes> {
    Outgoing::new(channel, "", path, Streaming::iter(frames))
}

/// A call whose reply is read frame by frame.
async fn frames(channel: &Channel, path: &str, body: Bytes) -> Check<Streaming<String>> {
    let call = Outgoing::<_, Bytes, Streaming<String>>::new(channel, "", path, body);
    call.await.told(path)
}

async fn all(what: &str, mut frames: Streaming<String>, expected: impl Iterator<Item = String>) -> Check {
    for (n, expected) in expected.enumerate() {
        let frame = timeout(LIMIT, frames.next()).await.told(format!("{what}: frame {n}"))?;
        let frame = frame.ok_or_else(|| format!("{what}: it ended before frame {n}"))?;
        same(format!("{what}: frame {n}"), &frame.told(what)?, &expected)?;
    }
    ensure(frames.next().await.is_none(), || format!("{what}: too many frames"))
}

/// Go's handler is called at each frame and has all of it at the end.
async fn request_in_frames(peer: &Peer) -> Check {
    let channel = &peer.channel().await?;
    for count in [1, 2, 3, 50] {
        let parts = (0..count).map(|n| format!("part {n:2},"));
        let back = send(channel, "/upper", parts.clone()).await.told("/upper")?;
        same("/upper", &back, &parts.map(|part| part.to_uppercase()).collect::<String>().into())?;
    }
    let parts = ["{\"A\":6", ",\"B\"", ":7}"].map(str::to_owned);
    let product = send(channel, "/Arith/Mul", parts).await.told("Mul")?;
    same("Mul", &product, &Bytes::from("{\"C\":42}"))?;
    // Beside whole calls, which must not come in between on the same channel of the wire.
    let calls = (0..100).map(|n| async move {
        if n % 2 == 0 {
            return echoed(channel, "/echo", format!("whole {n}").into()).await;
        }
        let parts = (0..5).map(move |part| format!("{n}.{part} "));
        let back = send(channel, "/upper", parts.clone()).await.told("/upper")?;
        same("/upper", &back, &parts.collect::<String>().into())
    });
    stream::iter(calls).buffer_unordered(100).try_collect::<()>().await?;
    answers(channel).await
}

/// More than a frame holds, in the frames that we make of it.
async fn long_request(peer: &Peer) -> Check {
    let channel = peer.builder().body_limit(64 << 20).connect().await.told("connect")?;
    let parts = (0..40).map(|n| char::from(b'a' + n % 26).to_string().repeat(1 << 20));
    let told = send(&channel, "/frames", parts).timeout(Duration::from_secs(15)).await.told("/frames")?;
    let told = String::from_utf8_lossy(&told).into_owned();
    ensure(told.ends_with(", 41943040 bytes") || told.ends_with(", 41943041 bytes"), || told.clone())?;
    answers(&channel).await
}

/// Each frame of an answer is an item.
async fn answer_in_frames(peer: &Peer) -> Check {
    let channel = peer.streams().await?;
    for count in [1, 2, 5, 1000] {
        let frames = frames(&channel, &format!("/count?n={count}"), "x".into()).await?;
        all("/count", frames, (1..=count).map(|n| n.to_string())).await?;
    }
    // Whole, where nobody asks for frames.
    let whole = ask(&channel, "/count?n=10", "x").await.told("/count")?;
    same("whole", &whole, &Bytes::from("12345678910"))
}

/// Each frame is answered before the next one is sent.
async fn both(peer: &Peer) -> Check {
    let channel = peer.streams().await?;
    let (sender, parts) = Streaming::channel(1);
    let call: Outgoing<'_, _, Streaming<String>, Streaming<String>> =
        Outgoing::new(&channel, "", "/upper", parts);
    sender.send("first".to_owned()).await.told("send")?;
    let mut back = timeout(LIMIT, call.send()).await.told("the answer begins")?.told("/upper")?;
    for n in 0..20 {
        let frame = timeout(LIMIT, back.next()).await.told(format!("frame {n}"))?;
        let expected = if n == 0 { "FIRST".to_owned() } else { format!("FRAME {n}") };
        same("frame", &frame.ok_or("ended")?.told("/upper")?, &expected)?;
        sender.send(format!("frame {}", n + 1)).await.told("send")?;
    }
    sender.finish();
    let rest = timeout(LIMIT, back.all(10)).await.told("the end")?.told("/upper")?;
    same("rest", &rest.concat().trim_end().to_owned(), &"FRAME 20".to_owned())
}

async fn many_frames(peer: &Peer) -> Check {
    let channel = peer.streams().await?;
    let frames = frames(&channel, "/count?n=100000", "x".into()).await?;
    all("/count", frames, (1..=100_000).map(|n| n.to_string())).await
}

/// 64 MiB in frames of 1 MiB: more than a body may be, and never all of it here.
async fn large_frames(peer: &Peer) -> Check {
    let channel = peer.streams().await?;
    let body = "x".repeat(1 << 20);
    let mut frames = frames(&channel, "/parts?n=64", body.clone().into()).await?;
    let mut count = 0;
    while let Some(frame) = timeout(LIMIT, frames.next()).await.told("frame")? {
        ensure(frame.told("/parts")? == body, || format!("frame {count} is another one"))?;
        count += 1;
    }
    same("frames", &count, &64)
}

/// A reply that nobody reads any more disturbs no other call.
async fn dropped(peer: &Peer) -> Check {
    let channel = &peer.streams().await?;
    for _ in 0..10 {
        let mut frames = frames(channel, "/count?n=5000", "x".into()).await?;
        timeout(LIMIT, frames.next()).await.told("frame")?.ok_or("ended")?.told("/count")?;
    }
    let calls = (1..50_i32).map(|n| async move {
        let whole = ask(channel, &format!("/count?n={n}"), "x").await.told("/count")?;
        same("whole", &whole, &(1..=n).map(|n| n.to_string()).collect::<String>().into())
    });
    stream::iter(calls).buffer_unordered(50).try_collect().await
}

/// A connection that ends within an answer: a part is not taken for the whole.
async fn cut(peer: &Peer) -> Check {
    let channel = peer.streams().await?;
    let whole: Result<Bytes> = ask(&channel, "/cut", "x").await;
    let code = whole.as_ref().err().map(trunkline::Status::code);
    same(format!("{whole:?}"), &code, &Some(Code::Unavailable))?;
    let call = Outgoing::<_, Bytes, Streaming<String>>::new(&channel, "", "/cut", "x".into());
    let mut frames = match call.await {
        Ok(frames) => frames,
        // The end may be known before the call has returned.
        Err(status) => return same("code", &status.code(), &Code::Unavailable),
    };
    loop {
        match timeout(LIMIT, frames.next()).await.told("frame")? {
            Some(Ok(frame)) => same("frame", &frame.as_str(), &"half")?,
            Some(Err(status)) => return same("code", &status.code(), &Code::Unavailable),
            None => return Err("half an answer is taken for the whole".to_owned()),
        }
    }
}

/// Requests that are given up between their frames, more of them than a connection has channels for: what the server
/// has of one is never taken for a whole one, and whole calls go on.
async fn given_up(peer: &Peer) -> Check {
    let channel = &peer.channel().await?;
    for n in 0..100 {
        let (sender, parts) = Streaming::channel(1);
        let call: Outgoing<'_, _, Streaming<String>, Bytes> = Outgoing::new(channel, "", "/upper", parts);
        let begin = async {
            for part in 0..4 {
                sender.send(format!("{n}.{part}")).await.told("send")?;
            }
            Ok::<_, String>(())
        };
        tokio::select! {
            answer = call.send() => return Err(format!("answered before its end: {answer:?}")),
            begun = begin => begun?,
        }
        echoed(channel, "/echo", format!("after {n}").into()).await?;
    }
    let back = send(channel, "/upper", ["a", "b"].map(str::to_owned)).await.told("/upper")?;
    same("/upper", &back, &"AB".into())
}

/// Calls of all kinds side by side, in whole and in frames, some of which are given up at any moment.
async fn mixed(peer: &Peer) -> Check {
    let channel = &peer.channel().await?;
    let kept = kept(channel);
    let slow = &SlowClient::new(channel.clone());
    let calls = (0..1500_u64).map(|n| async move {
        let mut rng = Rng::with_seed(n);
        let body = format!("call {n} {}", "x".repeat(rng.usize(0..20_000)));
        match n % 5 {
            0 => {
                let parts = (0..rng.u32(1..6)).map(move |part| format!("{n}.{part} "));
                let back = send(channel, "/upper", parts.clone()).await.told("/upper")?;
                same("/upper", &back, &parts.collect::<String>().into())
            }
            1 => {
                // Given up while it waits, is under way, or is answered. A request that is whole disturbs nobody.
                let given_up = ask(channel, "/echo", body).send();
                drop(timeout(Duration::from_micros(rng.u64(0..3000)), given_up).await);
                Ok(())
            }
            2 => {
                let millis = rng.i64(0..3);
                same("Sleep", &slow.sleep(Sleep { millis }).await.told("Sleep")?.slept, &millis)
            }
            3 => {
                let status = ask(channel, &format!("/not/there/{n}"), body).await.err();
                same("code", &status.map(|status| status.code()), &Some(Code::NotFound))
            }
            _ => echoed(channel, "/Echo/Owned", body.into()).await,
        }
    });
    stream::iter(calls).buffer_unordered(200).try_collect::<()>().await?;
    answers(channel).await?;
    kept()
}

/// The echo example answers each frame: the calls behind get their own answers all the same (I17).
async fn several_answers(peer: &Peer) -> Check {
    after_frames(&peer.builder().iip_channels(1).connect().await.told("connect")?, "/early").await
}

async fn unknown_in_frames(peer: &Peer) -> Check {
    after_frames(&peer.builder().iip_channels(1).connect().await.told("connect")?, "/nope").await
}

/// Calls that are made while a request is under way in three frames get their own answers.
async fn after_frames(channel: &Channel, path: &str) -> Check {
    let calls = (0..3).map(|n| echoed(channel, "/echo", format!("after {n}").into()));
    let parts = ["a", "b", "c"].map(str::to_owned);
    let (_, after) = future::join(send(channel, path, parts).send(), future::try_join_all(calls)).await;
    after.map(drop)
}
