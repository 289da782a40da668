//! Tokens: shown by the channel or by a call, wrong, absent.

use std::time::Duration;

use trunkline::client::Channel;
use trunkline::{Code, metadata};

use crate::codecs::IN_FLIGHT;
use crate::connection::{beating, echoes};
use crate::failures::answers;
use crate::peer::{Peer, fails, kept};
use crate::services::{Args, ArithClient};
use crate::suite::{Check, Suite, Told, poll, same};

pub(crate) async fn cases(suite: &mut Suite, peer: &Peer, token: &str) {
    suite.case("auth-good", good(peer, token)).await;
    suite.case("auth-wrong", refused(peer, Some("wrong"), token)).await;
    suite.case("auth-absent", refused(peer, None, token)).await;
    suite.case("auth-heartbeat", heartbeat(peer)).await;
}

/// The channel shows the token with every call.
async fn good(peer: &Peer, token: &str) -> Check {
    let channel = peer.builder().token(token).connect().await.told("connect")?;
    let calls = (0..IN_FLIGHT).map(|_| answers(&channel));
    futures_util::future::try_join_all(calls).await.map(drop)
}

/// Every call is refused with the server's text; the server then closes the connection, and a call that shows the
/// token is answered on the next one.
async fn refused(peer: &Peer, wrong: Option<&str>, token: &str) -> Check {
    let builder = peer.builder();
    let builder = if let Some(wrong) = wrong { builder.token(wrong) } else { builder };
    let channel = builder.connect().await.told("connect")?;
    let outcome = ArithClient::new(channel.clone()).mul(Args { a: 6, b: 7 }).await;
    fails("Mul", outcome, Code::Unauthenticated, "invalid token")?;
    let answered = || async { shown(&channel, token).await };
    poll(Duration::from_secs(10), "a call with the token is answered", answered).await
}

async fn shown(channel: &Channel, token: &str) -> Check<bool> {
    let call =
        ArithClient::new(channel.clone()).mul(Args { a: 6, b: 7 }).metadata_pair(metadata::AUTH, token).await;
    match call {
        Ok(product) => same("product", &product.c, &42).map(|()| true),
        // Not connected again yet.
        Err(status) if status.code() == Code::Unavailable => Ok(false),
        Err(status) => Err(status.to_string()),
    }
}

/// Heartbeats come before any token.
async fn heartbeat(peer: &Peer) -> Check {
    let (meter, channel) = beating(peer).await?;
    let kept = kept(&channel);
    echoes(&meter, 3).await?;
    kept()
}
