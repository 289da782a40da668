//! Tests of both ends together, mostly without a wire between them: folders, services that fail in some way, bytes.

mod go;
mod hostile;
mod resume;
mod transfer;
mod trouble;

use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use super::hash::BLOCK;
use super::{FileClient, FileError, FileService};
use crate::{Body, Bytes, Call, Code, Reply, Result, Serialization, Service, Status};

/// A folder that is gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("trunkline-file-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// The names in it.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn service(&self) -> FileService {
        FileService::builder(&self.0).durable(false).open().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// So many bytes that do not repeat.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

fn block() -> usize {
    usize::try_from(BLOCK).unwrap()
}

fn hash(bytes: &[u8]) -> Option<String> {
    Some(blake3::hash(bytes).to_hex().to_string())
}

/// Calls a path as a peer would.
async fn ask(service: &impl Service, path: &'static str, body: impl Into<Bytes>) -> Result<Bytes> {
    let call = Call::new("", path, Serialization::Raw, body.into());
    service.call(call).await?.into_body().whole(16 << 20).await
}

/// A server like the Go examples: it does not know our own paths.
#[derive(Clone)]
struct GoServer<S>(S);

impl<S: Service> Service for GoServer<S> {
    async fn call(&self, call: Call) -> Result<Reply> {
        if call.method().starts_with("/trunkline/") {
            return Err(Status::new(Code::NotFound, "no handler for this path").not_begun());
        }
        self.0.call(call).await
    }
}

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Passes,
    /// It never arrives.
    Lost,
    /// It is done, and its answer is lost.
    AnswerLost,
    /// Nothing is heard of it; its caller is told by the signal.
    Hangs,
    /// A byte of the body is another one.
    Damaged,
    /// A byte of the answer is another one.
    AnswerDamaged,
}

/// A service behind a line on which things happen: to the calls by their number and path, from 0.
struct Line<S, F> {
    service: S,
    fate: F,
    calls: AtomicU64,
    hangs: Arc<Notify>,
}

impl<S: Service, F: Fn(u64, &str) -> Fate + Send + Sync + 'static> Line<S, F> {
    fn new(service: S, fate: F) -> Self {
        Self { service, fate, calls: AtomicU64::new(0), hangs: Arc::default() }
    }
}

fn lost() -> Status {
    Status::new(Code::Unavailable, "the connection was lost")
}

/// Changes the byte in the middle.
fn damaged(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes.into()
}

impl<S: Service, F: Fn(u64, &str) -> Fate + Send + Sync + 'static> Service for Line<S, F> {
    async fn call(&self, mut call: Call) -> Result<Reply> {
        let fate = (self.fate)(self.calls.fetch_add(1, Ordering::Relaxed), call.method());
        match fate {
            Fate::Lost => return Err(lost().not_begun()),
            Fate::Hangs => {
                self.hangs.notify_one();
                return pending().await;
            }
            Fate::Damaged => {
                if let Body::Full(body) = &mut call.body {
                    *body = damaged(body);
                }
            }
            _ => {}
        }
        let reply = self.service.call(call).await?;
        match fate {
            Fate::AnswerLost => Err(lost()),
            Fate::AnswerDamaged => Ok(Reply::new(damaged(&reply.into_body().whole(16 << 20).await?))),
            _ => Ok(reply),
        }
    }
}

fn client<S: Service>(service: S) -> FileClient<S> {
    FileClient::new(service, "test")
}

/// Only these names are in the folder.
#[track_caller]
fn only(folder: &Folder, names: &[&str]) {
    assert_eq!(folder.names(), names);
}

fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}
