//! Fetching from and sending to servers like the Go examples.

use futures_util::future::join;
use futures_util::stream::{FuturesOrdered, StreamExt};

use super::super::message::{GO_DOWNLOAD, GO_PIECE, GO_UPLOAD, GoDownload, GoUpload, GoUploaded, framed};
use super::local::{Opened, Source, Target};
use super::{CALL, CHANGES, FileClient, FileError, Transferred, refused};
use crate::{Bytes, Code, Service};
use tokio::time::Instant;

/// How many pieces of a download are asked for at most, and with how few that wait the next ones are asked for, all in
/// one: each alone would wake both ends.
const WINDOW: usize = 64;
const LOW: usize = WINDOW / 2;
/// What was fetched is written in pieces of so many bytes.
const WRITTEN: usize = 1 << 20;
/// How many bytes of an upload go in one request; the Go client sends up to 10 MiB.
const SENT: usize = 1 << 20;

/// One answer to a download.
struct Piece {
    last: bool,
    bytes: Bytes,
}

impl<S: Service> FileClient<S> {
    pub(super) async fn go_get(&self, name: &str, target: &Target) -> Result<Transferred, FileError> {
        let task = task();
        let resumed = self.go_resume(name, task, target).await?;
        self.watch.begin(resumed, None);
        let (mut at, mut asked) = (resumed, resumed);
        let mut unwritten = Vec::with_capacity(WRITTEN + GO_PIECE);
        let mut writing = None;
        let mut window = FuturesOrdered::new();
        loop {
            let more = if window.len() > LOW { 0 } else { WINDOW.saturating_sub(window.len()) };
            for _ in 0..more {
                window.push_back(self.piece(name, task, asked));
                asked = asked.saturating_add(u64_of(GO_PIECE));
            }
            let Some(piece) = window.next().await.transpose()? else { break };
            unwritten.extend_from_slice(&piece.bytes);
            at = at.saturating_add(u64_of(piece.bytes.len()));
            self.watch.more(u64_of(piece.bytes.len()));
            if piece.last || unwritten.len() >= WRITTEN {
                let free = written(writing.take()).await?;
                let offset = at.saturating_sub(u64_of(unwritten.len()));
                writing = Some(target.write(std::mem::replace(&mut unwritten, free), offset));
            }
            if piece.last {
                break;
            }
            if piece.bytes.is_empty() {
                let text = format!("{name}: the server gave neither bytes nor the end at {at}");
                return Err(refused(Code::Internal, text));
            }
            if piece.bytes.len() != GO_PIECE {
                // The end is near, or this server gives pieces of another size: those ahead are of no use.
                window = FuturesOrdered::new();
                asked = at;
                window.push_back(self.piece(name, task, asked));
                asked = asked.saturating_add(u64_of(GO_PIECE));
            }
        }
        written(writing).await?;
        target.truncate(at).await?;
        Ok(Transferred { size: at, resumed, hash: None })
    }

    /// Where to go on: at the end of what is here, if its last piece is what the server has there.
    async fn go_resume(&self, name: &str, task: i64, target: &Target) -> Result<u64, FileError> {
        let here = target.len().await?;
        let begin = here.saturating_sub(u64_of(GO_PIECE));
        let last = target.read(begin, GO_PIECE).await?;
        if last.is_empty() || self.piece(name, task, begin).await?.bytes.get(..last.len()) != Some(&last[..])
        {
            target.truncate(0).await?;
            return Ok(0);
        }
        Ok(here)
    }

    async fn piece(&self, name: &str, task: i64, at: u64) -> Result<Piece, FileError> {
        let ask = GoDownload { task_id: task, file_path: name.to_owned(), download_start_pos: int(at)? };
        let json = serde_json::to_vec(&ask).map_err(|error| refused(Code::Internal, error.to_string()))?;
        let mut bytes = self.call(GO_DOWNLOAD, json.into()).await?;
        let Some(end) = bytes.first_chunk::<4>().map(|end| u32::from_be_bytes(*end)) else {
            return Err(refused(Code::Internal, format!("{name}: the server's answer has no 4 bytes")));
        };
        Ok(Piece { last: end == 1, bytes: bytes.split_off(4) })
    }

    pub(super) async fn go_put(&self, source: &Source, name: &str) -> Result<Transferred, FileError> {
        let begun = Instant::now();
        let mut changes = 0;
        loop {
            let opened = source.open().await?;
            match self.go_put_once(&opened, name).await {
                Ok(Some(size)) => return Ok(Transferred { size, resumed: 0, hash: None }),
                Ok(None) => {
                    changes += 1;
                    if changes >= CHANGES {
                        return Err(FileError::Changed(source.path.display().to_string()));
                    }
                }
                // Whether the piece arrived is not known, and the Go server appends: only a new beginning is right.
                Err(FileError::Broken(status)) => {
                    let heard = *self.heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    if heard.max(begun).elapsed() >= self.patience {
                        return Err(FileError::Broken(status));
                    }
                    tokio::time::sleep(super::LAST_WAIT.min(self.patience)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends the file once; `None` where it changed meanwhile.
    async fn go_put_once(&self, opened: &Opened, name: &str) -> Result<Option<u64>, FileError> {
        let task = task();
        let size = opened.stamp.size;
        self.watch.begin(0, Some(size));
        let mut at = 0;
        let mut body = self.go_body(opened, name, task, at).await?;
        loop {
            let length = piece_length(size, at);
            // The last request has no bytes, as the Go client's.
            let completed = length == 0;
            let Some(sent) = body else { return Ok(None) };
            if completed && !opened.is_the_same().await? {
                return Ok(None);
            }
            let after = at.saturating_add(u64_of(length));
            let call = self.call_once(GO_UPLOAD, sent, Instant::now() + CALL);
            // The next piece is read while this one goes.
            let (answer, ahead) = join(call, self.go_body(opened, name, task, after)).await;
            let answer = answer?;
            let done: GoUploaded = serde_json::from_slice(&answer)
                .map_err(|error| refused(Code::Internal, format!("the server's answer: {error}")))?;
            if u64::try_from(done.done_bytes) != Ok(u64_of(length)) {
                let text = format!("{name}: the server took {} of {length} bytes", done.done_bytes);
                return Err(refused(Code::Internal, text));
            }
            self.watch.more(u64_of(length));
            if completed {
                return Ok(Some(size));
            }
            (at, body) = (after, ahead?);
        }
    }

    /// The request with the piece from here on; `None` where the file has become shorter.
    async fn go_body(
        &self,
        opened: &Opened,
        name: &str,
        task: i64,
        at: u64,
    ) -> Result<Option<Bytes>, FileError> {
        let length = piece_length(opened.stamp.size, at);
        let (file_path, completed) = (name.to_owned(), length == 0);
        let ask = GoUpload { task_id: task, file_path, upload_start_pos: int(at)?, completed };
        let head = framed(&ask, length).map_err(FileError::Refused)?;
        let whole = head.len().saturating_add(length);
        let body = opened.read_behind(head, at, length).await?;
        Ok((body.len() == whole).then(|| body.into()))
    }
}

/// Waits for a write, where there is one; memory for the next.
async fn written(
    writing: Option<impl Future<Output = Result<Vec<u8>, FileError>>>,
) -> Result<Vec<u8>, FileError> {
    match writing {
        Some(writing) => writing.await,
        None => Ok(Vec::with_capacity(WRITTEN + GO_PIECE)),
    }
}

/// How many bytes of a file of this size go in the request from here on.
fn piece_length(size: u64, at: u64) -> usize {
    SENT.min(usize::try_from(size.saturating_sub(at)).unwrap_or(SENT))
}

/// The number of a transfer; another one each time, so that no two are taken for one.
fn task() -> i64 {
    fastrand::i64(1..1 << 53)
}

fn u64_of(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// A place in a file as Go's `int`.
fn int(at: u64) -> Result<i64, FileError> {
    i64::try_from(at).map_err(|_| refused(Code::Unsupported, format!("no file has {at} bytes")))
}
