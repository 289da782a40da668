//! What happens on a connection beside calls and answers: side by side, one-way, pushes, heartbeats, a lost server.

use std::time::{Duration, Instant};

use futures_util::future::{self, FutureExt};
use tokio::time::timeout;
use trunkline::client::{Channel, ConnectionState};
use trunkline::{Code, Serialization};

use crate::codecs::IN_FLIGHT;
use crate::failures::answers;
use crate::meter::Meter;
use crate::peer::{GoServer, Kind, Peer, fails, kept, no_strays};
use crate::services::{
    Args, ArithClient, EchoClient, Fail, FaultClient, PushClient, Sleep, SlowClient, Start, Tick,
};
use crate::suite::{Check, Difference, Suite, Told, ensure, poll, same};
use crate::time::{quiet, stats};

/// Bounds what has to happen soon.
const LIMIT: Duration = Duration::from_secs(10);

pub(crate) async fn cases(suite: &mut Suite, peer: &Peer) {
    suite.case("in-flight-100", in_flight(peer)).await;
    suite.case("one-way", one_way(peer)).await;
    match peer.kind {
        Kind::Rpcx => {
            suite.case("one-way-silent", one_way_silent(peer)).await;
            suite.case("push", push(peer)).await;
        }
        Kind::Easymicro => {
            let answered = Difference {
                id: "easymicro-one-way",
                why: "one-way requests are answered",
                seen: "answers that nobody waited for: got 21,",
            };
            suite.differs("one-way-silent", &answered, one_way_silent(peer)).await;
            suite.long("heartbeat-idle", idle(peer)).await;
        }
    }
    suite.case("heartbeat", heartbeat(peer)).await;
    suite.case("reconnect", reconnect(peer)).await;
}

/// A hundred calls run at the server at the same time, and a later call is answered before them.
async fn in_flight(peer: &Peer) -> Check {
    let channel = peer.channel().await?;
    let slow = &SlowClient::new(channel.clone());
    let before = quiet(slow).await?;
    let sleeps = future::join_all((0..IN_FLIGHT).map(|_| slow.sleep(Sleep { millis: 2000 }).send()));
    let meanwhile = async {
        let all = i64::try_from(IN_FLIGHT).told("count")?;
        poll(LIMIT, "all run at once", || async { Ok(stats(slow).await?.running >= all) }).await?;
        answers(&channel).await?;
        same("ended before a later call", &stats(slow).await?.completed, &before.completed)
    };
    let (slept, meanwhile) = future::join(sleeps, meanwhile).await;
    meanwhile?;
    for slept in slept {
        same("Sleep", &slept.told("Sleep")?.slept, &2000)?;
    }
    no_strays(&channel)
}

/// The work is done although nobody waits for it.
async fn one_way(peer: &Peer) -> Check {
    let slow = SlowClient::new(peer.channel().await?);
    let before = stats(&slow).await?.completed;
    for _ in 0..100 {
        slow.sleep(Sleep { millis: 1 }).one_way().await.told("one-way")?;
    }
    poll(LIMIT, "all are done", || async { Ok(stats(&slow).await?.completed >= before + 100) }).await
}

/// Nothing comes back, for failures neither.
async fn one_way_silent(peer: &Peer) -> Check {
    let channel = peer.channel().await?;
    let slow = SlowClient::new(channel.clone());
    let before = stats(&slow).await?.completed;
    FaultClient::new(channel.clone())
        .fail(Fail { message: "unheard".to_owned() })
        .one_way()
        .await
        .told("one-way")?;
    EchoClient::new(channel.clone()).owned("unheard".into()).one_way().await.told("one-way")?;
    ArithClient::new(channel.clone()).div(Args { a: 1, b: 0 }).one_way().await.told("one-way")?;
    for _ in 0..20 {
        slow.sleep(Sleep { millis: 1 }).one_way().await.told("one-way")?;
    }
    poll(LIMIT, "all are done", || async { Ok(stats(&slow).await?.completed >= before + 20) }).await?;
    // What was answered before this call was, came before its answer.
    slow.sleep(Sleep { millis: 100 }).await.told("Sleep")?;
    no_strays(&channel)
}

/// All pushes arrive in their order, between the answers of calls, at the connection that asked and no other.
async fn push(peer: &Peer) -> Check {
    const COUNT: i64 = 200;
    let (channel, other) = (peer.channel().await?, peer.channel().await?);
    let (mut pushes, mut others) = (channel.pushes(), other.pushes());
    let arith = ArithClient::new(channel.clone());
    let calls = future::try_join_all((0..100).map(|n| {
        let call = arith.mul(Args { a: n, b: 3 }).send();
        async move { same("product", &call.await.told("Mul")?.c, &(n * 3)) }
    }));
    let client = PushClient::new(channel.clone());
    let (started, calls) = future::join(client.start(Start { count: COUNT }).send(), calls).await;
    same("Start", &started.told("Start")?.started, &COUNT)?;
    calls?;
    for n in 1..=COUNT {
        let next = timeout(LIMIT, pushes.next()).await.told(format!("push {n}"))?;
        let push = next.ok_or("the channel is gone")?.told("push")?;
        same("path", &(&*push.service, &*push.method), &("Push", "Tick"))?;
        same("serialisation", &push.serialization, &Serialization::Raw)?;
        same("body", &push.body, &format!("{{\"N\":{n}}}").into())?;
        let tick: Tick = trunkline::codec::Payload::decode(Serialization::Json, &push.body).told("body")?;
        same("push", &tick.n, &n)?;
    }
    answers(&channel).await?;
    answers(&other).await?;
    ensure(pushes.next().now_or_never().is_none(), || "more pushes than were asked for".to_owned())?;
    ensure(others.next().now_or_never().is_none(), || "another connection got a push".to_owned())?;
    no_strays(&channel)
}

/// Unanswered heartbeats would end the connection: the server echoes them, in the midst of a call too.
async fn heartbeat(peer: &Peer) -> Check {
    let (meter, channel) = beating(peer).await?;
    let kept = kept(&channel);
    echoes(&meter, 3).await?;
    let slept = SlowClient::new(channel.clone()).sleep(Sleep { millis: 1200 }).await.told("Sleep")?;
    same("Sleep", &slept.slept, &1200)?;
    kept()?;
    no_strays(&channel)
}

/// A channel with a heartbeat every half second, through a meter.
pub(crate) async fn beating(peer: &Peer) -> Check<(Meter, Channel)> {
    let meter = Meter::start(&peer.address).await?;
    let builder = Channel::builder(&peer.url(&meter.address)).heartbeat(Duration::from_millis(500));
    let channel = builder.connect().await.told("connect")?;
    Ok((meter, channel))
}

/// Waits for so many echoes, one after the other: nothing else comes.
pub(crate) async fn echoes(meter: &Meter, count: usize) -> Check {
    for _ in 0..count {
        let before = meter.counts().1;
        poll(LIMIT, "a heartbeat is echoed", || async { Ok(meter.counts().1 > before) }).await?;
    }
    Ok(())
}

/// easymicro's server drops what is silent for ten seconds: heartbeats keep the connection, without them it goes.
async fn idle(peer: &Peer) -> Check {
    let channel = peer.channel().await?;
    let silent = peer.builder().heartbeat(Duration::from_secs(60)).connect().await.told("connect")?;
    let (kept, mut lost) = (kept(&channel), silent.state());
    lost.mark_unchanged();
    answers(&channel).await?;
    answers(&silent).await?;
    timeout(Duration::from_secs(15), lost.changed())
        .await
        .told("a silent connection is dropped")?
        .told("state")?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    kept()?;
    answers(&channel).await?;
    // The other is there again by itself.
    answers(&silent).await
}

/// The server is killed in the midst of calls and started again: every call ends, and the channel goes on.
async fn reconnect(peer: &Peer) -> Check {
    let mut server = GoServer::start(&peer.program, "127.0.0.1:0").await?;
    let address = server.address.clone();
    let channel = Channel::connect(&peer.url(&address)).await.told("connect")?;
    let slow = &SlowClient::new(channel.clone());
    let mut state = channel.state();
    for _ in 0..3 {
        answers(&channel).await?;
        let calls = future::join_all((0..IN_FLIGHT).map(|_| slow.sleep(Sleep { millis: 9000 }).send()));
        let mut killed = Instant::now();
        let kill = async {
            poll(LIMIT, "all run", || async { Ok(stats(slow).await?.running >= 100) }).await?;
            killed = Instant::now();
            server.kill()
        };
        let (ended, kill) = future::join(calls, kill).await;
        kill?;
        let took = killed.elapsed();
        ensure(took < Duration::from_secs(1), || format!("the calls ended {took:?} after the server"))?;
        for outcome in ended {
            let begun = outcome.as_ref().is_err_and(|status| !status.may_retry());
            lost("a call in flight", outcome)?;
            ensure(begun, || "a call that was begun must not be one that was not".to_owned())?;
        }
        let gone = state.wait_for(|state| matches!(state, ConnectionState::Failed { .. }));
        timeout(LIMIT, gone).await.told("the loss is noticed")?.told("state").map(drop)?;
        lost("a call to nobody", slow.sleep(Sleep { millis: 1 }).await)?;
        server = GoServer::start(&peer.program, &address).await?;
        let back = state.wait_for(|state| *state == ConnectionState::Connected);
        timeout(LIMIT, back).await.told("connected again")?.told("state").map(drop)?;
    }
    answers(&channel).await?;
    no_strays(&channel)
}

fn lost<T>(what: &str, outcome: trunkline::Result<T>) -> Check {
    let text = outcome.as_ref().err().map(|status| status.message().to_owned()).unwrap_or_default();
    fails(what, outcome, Code::Unavailable, &text)
}
