//! Deadlines, and answers that come when nobody waits any more.

use std::time::Duration;

use trunkline::Code;
use trunkline::client::Channel;

use crate::failures::answers;
use crate::peer::{Kind, Peer, fails, no_strays};
use crate::services::{Sleep, Slept, SlowClient, Stats};
use crate::suite::{Check, Difference, Suite, Told, ensure, poll, same};

const LATE: &str = "context deadline exceeded";
const LIMIT: Duration = Duration::from_secs(10);

const CALLER_GONE: Difference = Difference {
    id: "rpcx-caller-gone",
    why: "a handler ends at its deadline, not when its caller goes",
    seen: "the server's work has ended: not so",
};
const NEITHER: Difference = Difference {
    id: "easymicro-deadline",
    why: "a handler ends neither at its deadline nor when its caller goes",
    seen: "the server's work has ended: not so",
};

pub(crate) async fn cases(suite: &mut Suite, peer: &Peer) {
    let ends = deadline_ends_work(peer);
    let cancel = dropping_ends_work(peer);
    match peer.kind {
        Kind::Rpcx => {
            suite.case("deadline-ends-work", ends).await;
            suite.differs("cancel", &CALLER_GONE, cancel).await;
        }
        Kind::Easymicro => {
            suite.differs("deadline-ends-work", &NEITHER, ends).await;
            suite.differs("cancel", &NEITHER, cancel).await;
        }
    }
    suite.case("deadline-met", deadline_met(peer)).await;
    suite.case("deadline-side-by-side", deadlines_side_by_side(peer)).await;
    suite.case("late-answer", late_answer(peer)).await;
    suite.case("dropped-call", dropped_call(peer)).await;
}

pub(crate) async fn stats(slow: &SlowClient<Channel>) -> Check<Stats> {
    slow.stats().await.told("Slow.Stats")
}

/// Waits until no sleep of an earlier case is left at the server.
pub(crate) async fn quiet(slow: &SlowClient<Channel>) -> Check<Stats> {
    poll(LIMIT, "earlier work is done", || async { Ok(stats(slow).await?.running == 0) }).await?;
    stats(slow).await
}

async fn cancelled(slow: &SlowClient<Channel>, before: &Stats) -> Check {
    let so = || async { Ok(stats(slow).await?.cancelled > before.cancelled) };
    poll(Duration::from_secs(2), "the server's work has ended", so).await
}

/// The deadline travels, and the server gives the work up.
async fn deadline_ends_work(peer: &Peer) -> Check {
    let channel = peer.channel().await?;
    let slow = SlowClient::new(channel.clone());
    let before = quiet(&slow).await?;
    let outcome = slow.sleep(Sleep { millis: 3000 }).timeout(Duration::from_millis(150)).await;
    fails("Sleep", outcome, Code::DeadlineExceeded, LATE)?;
    cancelled(&slow, &before).await?;
    answers(&channel).await
}

async fn dropping_ends_work(peer: &Peer) -> Check {
    let channel = peer.channel().await?;
    let slow = SlowClient::new(channel.clone());
    let before = quiet(&slow).await?;
    drop_running(&slow, 3000).await?;
    cancelled(&slow, &before).await
}

/// Drops a call while the server works for it.
async fn drop_running(slow: &SlowClient<Channel>, millis: i64) -> Check {
    let runs = poll(LIMIT, "the call runs", || async { Ok(stats(slow).await?.running == 1) });
    tokio::select! {
        answer = slow.sleep(Sleep { millis }).send() => Err(format!("answered before it ran: {answer:?}")),
        runs = runs => runs,
    }
}

async fn deadline_met(peer: &Peer) -> Check {
    let channel = peer.channel().await?;
    let slow = SlowClient::new(channel.clone());
    for millis in [0, 1, 50] {
        let slept = slow.sleep(Sleep { millis }).timeout(Duration::from_secs(5)).await.told("Sleep")?;
        same("Sleep", &slept, &Slept { slept: millis })?;
    }
    no_strays(&channel)
}

/// Of two hundred calls in flight those that are too long fail, and each at its own time.
async fn deadlines_side_by_side(peer: &Peer) -> Check {
    let channel = peer.channel().await?;
    let slow = &SlowClient::new(channel.clone());
    let calls = (0..200).map(|n| async move {
        let long = n % 2 == 0;
        let sleep = Sleep { millis: if long { 2500 } else { n } };
        let begun = tokio::time::Instant::now();
        let outcome = slow.sleep(sleep).timeout(Duration::from_millis(if long { 300 } else { 5000 })).await;
        if long {
            let took = begun.elapsed();
            ensure(took < Duration::from_secs(2), || format!("a deadline of 300 ms took {took:?}"))?;
            return fails("Sleep", outcome, Code::DeadlineExceeded, LATE);
        }
        same("Sleep", &outcome.told("Sleep")?.slept, &n)
    });
    futures_util::future::try_join_all(calls).await?;
    answers(&channel).await
}

/// An answer after the caller's own time limit, which the server was not told, completes nothing.
async fn late_answer(peer: &Peer) -> Check {
    let channel = peer.builder().timeout(Duration::from_millis(150)).connect().await.told("connect")?;
    quiet(&SlowClient::new(peer.channel().await?)).await?;
    let outcome = SlowClient::new(channel.clone()).sleep(Sleep { millis: 500 }).await;
    fails("Sleep", outcome, Code::DeadlineExceeded, LATE)?;
    one_stray(&channel).await
}

async fn dropped_call(peer: &Peer) -> Check {
    let channel = peer.channel().await?;
    let slow = SlowClient::new(channel.clone());
    quiet(&slow).await?;
    drop_running(&slow, 500).await?;
    one_stray(&channel).await
}

/// One answer comes too late; it is counted, and the calls beside it get their own.
async fn one_stray(channel: &Channel) -> Check {
    no_strays(channel)?;
    let counted = || async {
        answers(channel).await?;
        Ok(channel.stats().stray_replies > 0)
    };
    poll(LIMIT, "the late answer is counted", counted).await?;
    answers(channel).await?;
    same("late answers", &channel.stats().stray_replies, &1)
}
