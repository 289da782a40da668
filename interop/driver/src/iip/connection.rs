//! Deadlines, late answers, heartbeats, a server that is killed, and two servers behind one client.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::{self, FutureExt};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::time::timeout;
use trunkline::balance::LeastPending;
use trunkline::client::{Channel, Client, ConnectionState, Outgoing};
use trunkline::{Bytes, Code};

use super::{LIMIT, Peer, ask, echoed, fails};
use crate::failures::answers;
use crate::meter::Meter;
use crate::peer::{GoServer, kept};
use crate::services::{Args, ArithClient, Product, Sleep, SlowClient};
use crate::suite::{Check, Difference, Suite, Told, ensure, poll, same};

const LATE: &str = "context deadline exceeded";

const SERIAL: Difference = Difference {
    id: "iip-caller-gone",
    why: "a handler ends neither at its deadline nor when its caller goes",
    seen: "the server's work has ended: not so",
};

pub(super) async fn cases(suite: &mut Suite, peer: &Peer) {
    suite.case("iip-timeout", timeouts(peer)).await;
    suite.case("iip-late-answer", late_answer(peer)).await;
    suite.case("iip-dropped-call", dropped_call(peer)).await;
    suite.case("iip-slow-channel", slow_channel(peer)).await;
    suite.differs("iip-deadline-ends-work", &SERIAL, deadline_ends_work(peer)).await;
    suite.case("iip-heartbeat", heartbeat(peer)).await;
    suite.case("iip-one-way", one_way(peer)).await;
    suite.case("iip-reconnect", reconnect(peer)).await;
    suite.case("iip-balanced", balanced(peer)).await;
    suite.case("iip-balanced-killed", balanced_killed(peer)).await;
}

/// Of calls in flight together those that are too long fail, each at its own time. One channel of the wire for each,
/// since Go's server runs the calls of a channel one after the other.
async fn timeouts(peer: &Peer) -> Check {
    let channel = &peer.builder().iip_channels(20).connect().await.told("connect")?;
    let slow = &SlowClient::new(channel.clone());
    let calls = (0..20).map(|n| async move {
        let long = n % 2 == 0;
        let sleep = Sleep { millis: if long { 1500 } else { n } };
        let begun = Instant::now();
        let outcome = slow.sleep(sleep).timeout(Duration::from_millis(if long { 200 } else { 5000 })).await;
        if long {
            ensure(begun.elapsed() < Duration::from_secs(1), || {
                format!("a deadline of 200 ms took {:?}", begun.elapsed())
            })?;
            return fails("Sleep", outcome, Code::DeadlineExceeded, LATE);
        }
        same("Sleep", &outcome.told("Sleep")?.slept, &n)
    });
    future::try_join_all(calls).await?;
    answers(channel).await
}

/// On one channel of the wire: the answer of a call that timed out is nobody else's.
async fn late_answer(peer: &Peer) -> Check {
    let channel = peer.builder().iip_channels(1).connect().await.told("connect")?;
    let kept = kept(&channel);
    let slow = SlowClient::new(channel.clone());
    for n in 0..5 {
        let outcome = slow.sleep(Sleep { millis: 200 + n }).timeout(Duration::from_millis(30)).await;
        fails("Sleep", outcome, Code::DeadlineExceeded, LATE)?;
        echoed(&channel, "/echo", format!("after {n}").into()).await?;
        same("Sleep", &slow.sleep(Sleep { millis: n }).await.told("Sleep")?.slept, &n)?;
    }
    kept()
}

/// A call that was dropped while it was made, or while the server works for it.
async fn dropped_call(peer: &Peer) -> Check {
    let channel = peer.builder().iip_channels(1).connect().await.told("connect")?;
    let kept = kept(&channel);
    let slow = SlowClient::new(channel.clone());
    for wait in [0, 1, 20] {
        let sleep = slow.sleep(Sleep { millis: 100 });
        let outcome = timeout(Duration::from_millis(wait), sleep.send()).await;
        ensure(outcome.is_err(), || format!("answered: {outcome:?}"))?;
        echoed(&channel, "/echo", format!("after {wait} ms").into()).await?;
    }
    kept()
}

/// A channel of the wire that sleeps does not hold back the calls of the others.
async fn slow_channel(peer: &Peer) -> Check {
    let channel = peer.channel().await?;
    let slow = SlowClient::new(channel.clone());
    let sleep = slow.sleep(Sleep { millis: 2000 }).send();
    let quick = async {
        let begun = Instant::now();
        for n in 0..50 {
            echoed(&channel, "/echo", format!("quick {n}").into()).await?;
        }
        ensure(begun.elapsed() < Duration::from_millis(1500), || {
            format!("50 calls took {:?}", begun.elapsed())
        })
    };
    let (slept, quick) = future::join(sleep, quick).await;
    quick?;
    same("Sleep", &slept.told("Sleep")?.slept, &2000)
}

async fn deadline_ends_work(peer: &Peer) -> Check {
    let channel = peer.channel().await?;
    let slow = SlowClient::new(channel.clone());
    let before = slow.stats().await.told("Stats")?;
    let outcome = slow.sleep(Sleep { millis: 2500 }).timeout(Duration::from_millis(100)).await;
    fails("Sleep", outcome, Code::DeadlineExceeded, LATE)?;
    let ended = || async { Ok(slow.stats().await.told("Stats")?.cancelled > before.cancelled) };
    poll(Duration::from_secs(1), "the server's work has ended", ended).await
}

/// The question for what the server is serves as a heartbeat: its answer, a failure, is a sign of life.
async fn heartbeat(peer: &Peer) -> Check {
    let meter = Meter::start(&peer.address).await?;
    let builder = Channel::builder(&format!("iip://{}", meter.address)).heartbeat(Duration::from_millis(300));
    let channel = builder.connect().await.told("connect")?;
    let kept = kept(&channel);
    answers(&channel).await?;
    for _ in 0..4 {
        let before = meter.counts();
        let so = || async { Ok(meter.counts().0 > before.0 && meter.counts().1 > before.1) };
        poll(LIMIT, "a heartbeat is answered", so).await?;
    }
    let slept = SlowClient::new(channel.clone()).sleep(Sleep { millis: 1200 }).await.told("Sleep")?;
    same("Sleep", &slept.slept, &1200)?;
    answers(&channel).await?;
    kept()
}

/// The work is done, and the answer that comes all the same is nobody else's.
async fn one_way(peer: &Peer) -> Check {
    let channel = peer.channel().await?;
    let slow = SlowClient::new(channel.clone());
    let before = slow.stats().await.told("Stats")?.completed;
    for _ in 0..50 {
        slow.sleep(Sleep { millis: 1 }).one_way().await.told("one-way")?;
    }
    let done = || async { Ok(slow.stats().await.told("Stats")?.completed >= before + 50) };
    poll(LIMIT, "all are done", done).await?;
    answers(&channel).await
}

/// The server is killed in the midst of calls and started again: every call ends, and the channel goes on.
async fn reconnect(peer: &Peer) -> Check {
    let mut server = GoServer::start(&peer.program, "127.0.0.1:0").await?;
    let address = server.address.clone();
    let channel = Channel::connect(&format!("iip://{address}")).await.told("connect")?;
    let slow = &SlowClient::new(channel.clone());
    let mut state = channel.state();
    for _ in 0..3 {
        answers(&channel).await?;
        let calls = future::join_all((0..50).map(|_| slow.sleep(Sleep { millis: 9000 }).send()));
        let mut killed = Instant::now();
        let kill = async {
            // The channels of the wire that the calls do not take are free for the question.
            let other = SlowClient::new(Channel::connect(&format!("iip://{address}")).await.told("connect")?);
            poll(LIMIT, "some run", || async { Ok(other.stats().await.told("Stats")?.running > 0) }).await?;
            killed = Instant::now();
            server.kill()
        };
        let (ended, kill) = future::join(calls, kill).await;
        kill?;
        ensure(killed.elapsed() < Duration::from_secs(1), || {
            format!("the calls ended after {:?}", killed.elapsed())
        })?;
        for outcome in ended {
            let Err(status) = outcome else { return Err("a call was answered".to_owned()) };
            same(format!("code of {status}"), &status.code(), &Code::Unavailable)?;
            ensure(!status.may_retry(), || {
                format!("{status}: a call that was begun must not be one that was not")
            })?;
        }
        let gone = state.wait_for(|state| matches!(state, ConnectionState::Failed { .. }));
        timeout(LIMIT, gone).await.told("the loss is noticed")?.told("state").map(drop)?;
        server = GoServer::start(&peer.program, &address).await?;
        let back = state.wait_for(|state| *state == ConnectionState::Connected);
        timeout(LIMIT, back).await.told("connected again")?.told("state").map(drop)?;
    }
    answers(&channel).await
}

/// Which server answered.
async fn who(client: &Client) -> trunkline::Result<String> {
    let call = Outgoing::<_, Bytes, Bytes>::new(client, "", "/who", "x".into());
    call.await.map(|address| String::from_utf8_lossy(&address).into_owned())
}

/// Two Go servers behind one client, by weight: each has its share, and each call its own answer.
async fn balanced(peer: &Peer) -> Check {
    let other = GoServer::start(&peer.program, "127.0.0.1:0").await?;
    let urls = format!("iip://{}#3,{}#1", peer.address, other.address);
    let client = &Client::builder(&urls).connections(2).connect().await.told("connect")?;
    let mut served = BTreeMap::<_, usize>::new();
    for _ in 0..100 {
        *served.entry(who(client).await.told("/who")?).or_default() += 1;
    }
    let counts =
        [&peer.address, &other.address].map(|address| served.get(address).copied().unwrap_or_default());
    same("served by", &counts, &[75, 25])?;
    let arith = &ArithClient::new(client.clone());
    let calls = (0..400).map(|n| async move {
        same("Mul", &arith.mul(Args { a: n, b: 7 }).await.told("Mul")?, &Product { c: n * 7 })
    });
    stream::iter(calls).buffer_unordered(100).try_collect().await
}

/// One of two servers is killed: the other one takes the calls, and when it is there again it gets its share.
async fn balanced_killed(peer: &Peer) -> Check {
    let mut other = GoServer::start(&peer.program, "127.0.0.1:0").await?;
    let address = other.address.clone();
    let builder = Client::builder(&format!("iip://{},{address}", peer.address)).select(LeastPending::new());
    let client = &builder.pause(Duration::from_millis(300)).connect().await.told("connect")?;
    let served = || async { who(client).await.told("/who") };
    poll(LIMIT, "both serve", || async { Ok(served().await? == address) }).await?;
    poll(LIMIT, "both serve", || async { Ok(served().await? == peer.address) }).await?;
    other.kill()?;
    // What is in flight at that moment may fail; what comes later goes to the other one.
    let mut failed = 0;
    for _ in 0..100 {
        match who(client).await {
            Ok(address) => same("served by", &address, &peer.address)?,
            Err(_) => failed += 1,
        }
    }
    ensure(failed <= 1, || format!("{failed} of 100 calls failed"))?;
    let _other = GoServer::start(&peer.program, &address).await?;
    poll(LIMIT, "it serves again", || async { Ok(served().await? == address) }).await?;
    ask(&peer.channel().await?, "/echo", "x").send().map(|back| back.map(drop).told("/echo")).await
}
