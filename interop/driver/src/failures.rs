//! Failed calls: exact texts and kinds, and a connection that goes on.

use std::time::Duration;

use trunkline::client::{Channel, Outgoing};
use trunkline::{Bytes, Call, Code, Serialization, Service};

use crate::peer::{CODECS, Kind, Peer, fails, kept, no_strays};
use crate::services::{Args, ArithClient, Fail, FaultClient, Product};
use crate::suite::{Check, Difference, Suite, Told, ensure, same};

/// How long a call may take that has to be answered.
const LIMIT: Duration = Duration::from_secs(10);

/// How long a failed call may take: easymicro's server does not answer it.
fn patience(peer: &Peer) -> Duration {
    if peer.kind == Kind::Rpcx { LIMIT } else { Duration::from_millis(400) }
}

const E5: Difference =
    Difference { id: "E5", why: "a failed call is not answered on TCP", seen: "deadline_exceeded" };
const PANIC: Difference = Difference {
    id: "rpcx-panic",
    why: "the text of a panic is sent, and a stack trace",
    seen: "the text of the panic",
};
const CASE: Difference =
    Difference { id: "rpcx-case", why: "exact names only", seen: "rpcx: can't find service arith" };

pub(crate) async fn cases(suite: &mut Suite, peer: &Peer) {
    match peer.kind {
        Kind::Rpcx => {
            for (name, codec) in CODECS {
                suite.case(&format!("fail-texts-{name}"), fail_texts(peer, codec)).await;
                suite.case(&format!("arith-errors-{name}"), arith_errors(peer, codec)).await;
            }
            suite.case("unknown-names", unknown_names(peer)).await;
            suite.case("bad-payload", bad_payload(peer)).await;
            suite.case("bad-serialisation", bad_serialisation(peer)).await;
            suite.case("panic-survived", panic_survived(peer)).await;
            suite.differs("panic", &PANIC, panic_text(peer)).await;
            suite.differs("names-any-case", &CASE, any_case(peer)).await;
        }
        Kind::Easymicro => {
            for (name, codec) in CODECS {
                suite.differs(&format!("fail-texts-{name}"), &E5, fail_texts(peer, codec)).await;
                suite.differs(&format!("arith-errors-{name}"), &E5, arith_errors(peer, codec)).await;
            }
            suite.differs("unknown-names", &E5, unknown_names(peer)).await;
            suite.differs("panic", &E5, panic_text(peer)).await;
            suite.case("unanswered", Box::pin(unanswered(peer))).await;
            suite.case("names-any-case", any_case(peer)).await;
        }
    }
}

/// The connection goes on.
pub(crate) async fn answers(channel: &Channel) -> Check {
    let product = ArithClient::new(channel.clone())
        .mul(Args { a: 6, b: 7 })
        .timeout(LIMIT)
        .await
        .told("the next call")?;
    same("the next call", &product, &Product { c: 42 })
}

async fn fail_texts(peer: &Peer, codec: Serialization) -> Check {
    let channel = peer.channel().await?;
    let fault = FaultClient::new(channel.clone());
    let long = "long ".repeat(400);
    for text in ["refused", "größer als ✓ 名", "", "two\nlines", &long] {
        let what = Fail { message: text.to_owned() };
        let outcome = fault.fail(what).serialization(codec).timeout(patience(peer)).await;
        let begun = outcome.as_ref().is_err_and(|status| !status.may_retry());
        fails(&format!("Fail with {text:?}"), outcome, Code::Failed, text)?;
        ensure(begun, || "the failure of a service must not be one that was not begun".to_owned())?;
    }
    answers(&channel).await?;
    no_strays(&channel)
}

async fn arith_errors(peer: &Peer, codec: Serialization) -> Check {
    let channel = peer.channel().await?;
    let arith = ArithClient::new(channel.clone());
    let outcome = arith.div(Args { a: 1, b: 0 }).serialization(codec).timeout(patience(peer)).await;
    fails("1 / 0", outcome, Code::Failed, "divide by zero")?;
    let outcome = arith.mul(Args { a: i64::MAX, b: 2 }).serialization(codec).timeout(patience(peer)).await;
    fails("a product too large", outcome, Code::Failed, "overflow")?;
    let outcome = arith.add(Args { a: i64::MIN, b: -1 }).serialization(codec).timeout(patience(peer)).await;
    fails("a sum too small", outcome, Code::Failed, "overflow")?;
    answers(&channel).await
}

async fn unknown_names(peer: &Peer) -> Check {
    let channel = peer.channel().await?;
    for (service, method, text) in [
        ("Nope", "Mul", "rpcx: can't find service Nope"),
        ("Arith", "Nope", "rpcx: can't find method Nope"),
        ("", "Mul", "rpcx: can't find service "),
        ("größer", "名", "rpcx: can't find service größer"),
    ] {
        let call: Outgoing<'_, _, _, Product> =
            Outgoing::new(&channel, service, method, Args { a: 6, b: 7 }).timeout(patience(peer));
        fails(&format!("{service}.{method}"), call.await, Code::NotFound, text)?;
    }
    answers(&channel).await
}

async fn bad_payload(peer: &Peer) -> Check {
    let channel = peer.channel().await?;
    for (name, codec) in CODECS {
        let call = Call::new("Arith", "Mul", codec, Bytes::from_static(b"\xff\xff\xff\xff"));
        let Err(status) = channel.call(call).await else {
            return Err(format!("{name}: what is no message was answered"));
        };
        same(format!("{name}: {status}"), &status.code(), &Code::Failed)?;
        ensure(!status.message().is_empty(), || format!("{name}: no text"))?;
    }
    answers(&channel).await
}

async fn bad_serialisation(peer: &Peer) -> Check {
    let channel = peer.channel().await?;
    let call = Call::new("Arith", "Mul", Serialization::Other(9), Bytes::from_static(b"{}"));
    fails("serialisation 9", channel.call(call).await, Code::Unsupported, "can not find codec for 9")?;
    answers(&channel).await
}

async fn panic_survived(peer: &Peer) -> Check {
    let channel = peer.channel().await?;
    let outcome = FaultClient::new(channel.clone()).panic().await;
    let Err(status) = outcome else { return Err("a panic was answered".to_owned()) };
    same(format!("code of {status}"), &status.code(), &Code::Internal)?;
    answers(&channel).await
}

/// The text of a panic is none of the caller's business.
async fn panic_text(peer: &Peer) -> Check {
    let channel = peer.channel().await?;
    let outcome = FaultClient::new(channel.clone()).panic().timeout(patience(peer)).await;
    let Err(status) = outcome else { return Err("a panic was answered".to_owned()) };
    same(format!("code of {status}"), &status.code(), &Code::Internal)?;
    ensure(!status.message().contains("the text of the panic"), || status.message().to_owned())
}

async fn any_case(peer: &Peer) -> Check {
    let channel = peer.channel().await?;
    for (service, method) in [("arith", "mul"), ("ARITH", "MUL"), ("aRiTh", "mUl")] {
        let call: Outgoing<'_, _, _, Product> =
            Outgoing::new(&channel, service, method, Args { a: 6, b: 7 }).timeout(LIMIT);
        same(service, &call.await.told(service)?.c, &42)?;
    }
    Ok(())
}

/// What the server does not answer ends at its deadline, and only that.
async fn unanswered(peer: &Peer) -> Check {
    let channel = peer.channel().await?;
    let kept = kept(&channel);
    let soon = patience(peer);
    let (fault, arith) = (FaultClient::new(channel.clone()), ArithClient::new(channel.clone()));
    let unknown: Outgoing<'_, _, _, Product> =
        Outgoing::new(&channel, "Arith", "Nope", Args { a: 6, b: 7 }).timeout(soon);
    let garbage: Outgoing<'_, _, Bytes, Bytes> =
        Outgoing::new(&channel, "Arith", "Mul", Bytes::from_static(b"no JSON")).timeout(soon);
    let late = "context deadline exceeded";
    let (failed, panicked, divided, unknown, garbage, answered) = tokio::join!(
        fault.fail(Fail { message: "refused".to_owned() }).timeout(soon).send(),
        fault.panic().timeout(soon).send(),
        arith.div(Args { a: 1, b: 0 }).timeout(soon).send(),
        unknown.send(),
        garbage.serialization(Serialization::Json).send(),
        answers(&channel),
    );
    answered?;
    fails("Fail", failed, Code::DeadlineExceeded, late)?;
    fails("Panic", panicked, Code::DeadlineExceeded, late)?;
    fails("Div", divided, Code::DeadlineExceeded, late)?;
    fails("an unknown method", unknown, Code::DeadlineExceeded, late)?;
    fails("what is no message", garbage, Code::DeadlineExceeded, late)?;
    answers(&channel).await?;
    kept()?;
    no_strays(&channel)
}
