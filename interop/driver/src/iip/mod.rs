//! The Go server of IIP, called through the library.

mod calls;
mod connection;
mod files;
mod streams;

use std::path::PathBuf;
use std::time::Duration;

use trunkline::client::{Channel, ChannelBuilder, Outgoing};
use trunkline::{Bytes, Code, Result};

use crate::failures::answers;
use crate::suite::{Check, Suite, Told, ensure, same};

/// Bounds what has to happen soon.
const LIMIT: Duration = Duration::from_secs(10);

/// The servers under test.
pub(crate) struct Peer {
    /// The module's own server.
    pub(crate) address: String,
    /// Its program, for the cases that start and kill one.
    pub(crate) program: PathBuf,
    /// A server on the module's frames, which streams.
    pub(crate) frames: String,
}

pub(crate) async fn cases(suite: &mut Suite, peer: &Peer) {
    calls::cases(suite, peer).await;
    streams::cases(suite, peer).await;
    connection::cases(suite, peer).await;
    files::cases(suite, peer).await;
}

impl Peer {
    fn builder(&self) -> ChannelBuilder {
        Channel::builder(&format!("iip://{}", self.address))
    }

    async fn channel(&self) -> Check<Channel> {
        self.builder().connect().await.told("connect")
    }

    /// To the server that streams.
    async fn streams(&self) -> Check<Channel> {
        ensure(!self.frames.is_empty(), || "the server that streams is not known: -frames".to_owned())?;
        Channel::connect(&format!("iip://{}", self.frames)).await.told("connect")
    }
}

/// A call of a plain path.
fn ask<'a>(channel: &'a Channel, path: &str, body: impl Into<Bytes>) -> Outgoing<'a, Channel, Bytes, Bytes> {
    Outgoing::new(channel, "", path, body.into())
}

/// Wants a body back as it was sent.
async fn echoed(channel: &Channel, path: &str, body: Bytes) -> Check {
    let back = ask(channel, path, body.clone()).await.told(path)?;
    ensure(back == body, || format!("{path}: of {} bytes {} came back, or others", body.len(), back.len()))
}

/// Wants a failure of this kind with this text.
fn fails<T>(what: &str, outcome: Result<T>, code: Code, text: &str) -> Check {
    crate::peer::fails(what, outcome, code, text)
}

/// Wants a failure of this kind, and a channel that goes on.
async fn fails_and_goes_on<T>(channel: &Channel, outcome: Result<T>, code: Code) -> Check {
    let Err(status) = outcome else { return Err("it was answered".to_owned()) };
    same(format!("code of {status}"), &status.code(), &code)?;
    answers(channel).await
}
