//! The client: fetches and sends files over any service that leads to a file service.

mod go;
mod local;
mod own;
mod progress;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use self::local::{Source, Target};
pub use self::progress::Progress;
use self::progress::Watch;
use super::hash::BlockHash;
use super::message::{Ask, Outcome, STAT, Told, framed, unframed};
use crate::{Body, Bytes, Call, Code, Reply, Serialization, Service, Status};

/// The longest that one request may take.
const CALL: Duration = Duration::from_secs(30);
/// What is tried again after a break waits between these two, longer each time.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LAST_WAIT: Duration = Duration::from_millis(500);
/// Even after a long silence a break is tried to be mended for so long.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);
/// How often a file may change while it is fetched or sent before that is given up.
const CHANGES: u32 = 8;

/// Why a file was not fetched or sent. Nothing shows under its name then, save what was there before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file here cannot be read or written.
    #[error("{}: {source}", .path.display())]
    Local {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The server refuses, or does not have the file. It ends whatever was done.
    #[error("{0}")]
    Refused(Status),
    /// The connection broke, or the server did not answer, for longer than the client's patience. What was done is
    /// kept, and taken up by the next attempt for the same source and target.
    #[error("{0}")]
    Broken(Status),
    /// The source changed again and again while it was read.
    #[error("{0} changes all the time")]
    Changed(String),
    /// The hash of the whole was wrong although it was sent twice.
    #[error("{0} arrived with another hash than it was sent with, twice")]
    Corrupt(String),
}

/// A file that was fetched or sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transferred {
    /// Its size in bytes.
    pub size: u64,
    /// How many of them were there already, from an attempt before.
    pub resumed: u64,
    /// The BLAKE3 hash of the whole in hexadecimal digits, the same at both ends; `None` where the server is one of the
    /// Go examples, which cannot say.
    pub hash: Option<String>,
}

/// Fetches and sends files. It finds out by itself whether the server is Trunkline's or one of the Go examples.
///
/// Between Trunkline peers blocks of 256 KiB go up to eight at a time; what an attempt before left is compared block by block
/// by its hashes, and whatever is not the same is sent again; the whole has one BLAKE3 hash at both ends before it
/// shows. Of the Go examples' files only their place is known: a download goes on where the file here ends, if the
/// last piece is the same, and an upload begins anew after a break, since their server appends a piece twice.
///
/// While a file is on its way either end keeps some 64 bytes for each block: 16 MiB for 64 GiB.
///
/// A transfer whose future is dropped leaves a file `.trunkline-….part` in the folder of its target. The next one with
/// the same source and target takes it up; when that ends otherwise than by [`FileError::Broken`], it is gone.
#[derive(Debug)]
pub struct FileClient<S> {
    pub(super) service: Arc<S>,
    source: String,
    patience: Duration,
    watch: Watch,
    /// When something was heard last.
    heard: Mutex<Instant>,
}

impl<S: Service> FileClient<S> {
    /// A client of the file service that `service` leads to, mostly a [`Channel`](crate::client::Channel). `source` says
    /// where that is, for example by its URL: attempts of the same source and target go on with each other's files.
    pub fn new(service: S, source: impl Into<String>) -> Self {
        Self {
            service: Arc::new(service),
            source: source.into(),
            patience: Duration::from_secs(10),
            watch: Watch::default(),
            heard: Mutex::new(Instant::now()),
        }
    }

    /// For how long, from the last answer on, a break is tried to be mended. Default 10 s.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Is told how far it is: at the begin, after each block, and at the end.
    #[must_use]
    pub fn on_progress(mut self, tell: impl FnMut(&Progress) + Send + 'static) -> Self {
        self.watch = Watch::new(tell);
        self
    }

    /// Fetches the file of this name to this path.
    ///
    /// # Errors
    /// Each of [`FileError`]; nothing new is at the path then.
    pub async fn get(&self, name: &str, target: impl AsRef<Path>) -> Result<Transferred, FileError> {
        self.begin();
        let path = target.as_ref().to_owned();
        let ask = Ask { name: name.to_owned(), ..Ask::default() };
        let told = self.ask(STAT, &ask, &Bytes::new()).await;
        let go = told.as_ref().is_err_and(is_go);
        if !go && told?.0.outcome == Outcome::Missing {
            self.drop_target(&path, name).await;
            return Err(refused(Code::NotFound, format!("open {name}: no such file")));
        }
        let target = Target::open(&path, &self.source, name, go).await?;
        let done = if go { self.go_get(name, &target).await } else { self.own_get(name, &target).await };
        target.end(done).await
    }

    /// Sends the file of this path under this name.
    ///
    /// # Errors
    /// Each of [`FileError`]; the server has nothing new under the name then.
    pub async fn put(&self, source: impl AsRef<Path>, name: &str) -> Result<Transferred, FileError> {
        self.begin();
        let source = Source::new(source.as_ref());
        // Before anybody is asked.
        drop(source.open().await?);
        let ask = Ask { name: name.to_owned(), ..Ask::default() };
        match self.ask(STAT, &ask, &Bytes::new()).await {
            Err(error) if is_go(&error) => self.go_put(&source, name).await,
            Err(error) => Err(error),
            Ok(_) => self.own_put(&source, name).await,
        }
    }

    fn begin(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Where the server has no such file, what an attempt before left is of no use.
    async fn drop_target(&self, path: &Path, name: &str) {
        if let Ok(target) = Target::open(path, &self.source, name, false).await {
            target.remove().await;
        }
    }

    /// Asks one of our own questions.
    async fn ask(&self, path: &'static str, ask: &Ask, bytes: &Bytes) -> Result<(Told, Bytes), FileError> {
        let mut body = framed(ask, bytes.len()).map_err(FileError::Refused)?;
        body.extend_from_slice(bytes);
        let answer = self.call(path, body.into()).await?;
        unframed(&answer).map_err(|status| {
            refused(Code::Internal, format!("the server's answer cannot be read: {}", status.message()))
        })
    }

    /// Makes one call, again and again while the connection is broken and patience lasts. The call must do no harm when
    /// it is made twice.
    async fn call(&self, path: &'static str, body: Bytes) -> Result<Bytes, FileError> {
        let mut wait = FIRST_WAIT;
        let mut until: Option<Instant> = None;
        loop {
            let now = Instant::now();
            let time = until.map_or(CALL, |until| until.saturating_duration_since(now).max(LEAST_PATIENCE));
            match self.call_once(path, body.clone(), now + time).await {
                Err(FileError::Broken(status)) => {
                    let now = Instant::now();
                    let until = *until.get_or_insert_with(|| {
                        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
                        (heard + self.patience).max(now + LEAST_PATIENCE.min(self.patience))
                    });
                    if now + wait >= until {
                        return Err(FileError::Broken(status));
                    }
                }
                ended => return ended,
            }
            tokio::time::sleep(wait).await;
            wait = wait.saturating_mul(2).min(LAST_WAIT);
        }
    }

    async fn call_once(
        &self,
        path: &'static str,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, FileError> {
        let call =
            Call::new(crate::Name::default(), crate::Name::from_static(path), Serialization::Raw, body);
        // Services that are no channels do not look at deadlines.
        let answer = async {
            let reply: Reply = self.service.call(call.idempotent().with_deadline(deadline)).await?;
            match reply.into_body() {
                Body::Full(bytes) => Ok(bytes),
                stream => stream.whole(super::message::LARGEST).await,
            }
        };
        let answer = tokio::time::timeout_at(deadline, answer).await;
        let answer =
            answer.unwrap_or_else(|_| Err(Status::new(Code::DeadlineExceeded, "context deadline exceeded")));
        match answer {
            Err(status) if is_break(&status) => Err(FileError::Broken(status)),
            ended => {
                *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                ended.map_err(FileError::Refused)
            }
        }
    }
}

/// Whether a server might answer the same call later, or elsewhere.
fn is_break(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::Draining | Code::Limited | Code::Cancelled
    )
}

/// Whether the server does not know our own paths. The failures of ours have other codes.
fn is_go(error: &FileError) -> bool {
    matches!(error, FileError::Refused(status) if status.code() == Code::NotFound)
}

fn refused(code: Code, text: String) -> FileError {
    FileError::Refused(Status::new(code, text))
}

/// A hash from the bytes of an answer.
fn hash_at(bytes: &[u8]) -> Option<BlockHash> {
    bytes.try_into().ok()
}

/// Does what waits for the disk on a thread that may, from now on.
fn blocking<T, W>(path: &Path, work: W) -> impl Future<Output = Result<T, FileError>> + use<T, W>
where
    T: Send + 'static,
    W: FnOnce() -> io::Result<T> + Send + 'static,
{
    let (path, work) = (path.to_owned(), tokio::task::spawn_blocking(work));
    async move {
        let done = work.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        done.map_err(|source| FileError::Local { path, source })
    }
}
