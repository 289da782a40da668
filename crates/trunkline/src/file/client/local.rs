//! The files at the client: what is read, and what becomes the target.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{OFlags, fstat};
use tokio::time::Instant;

use super::super::hash::{BlockHash, block_at, block_hash};
use super::super::name::part_name;
use super::super::part::hash_of;
use super::super::store::{Stamp, append, stamp};
use super::{FileError, Transferred, blocking};
use crate::Bytes;

/// How long another attempt for the same target may take to let go of it.
const BUSY: Duration = Duration::from_secs(2);

/// The file that becomes the target when it is whole. Nobody else writes to it while it is open.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) path: PathBuf,
    part: PathBuf,
    file: Arc<File>,
}

impl Target {
    /// Opens what an attempt before left, or begins.
    pub(super) async fn open(path: &Path, source: &str, name: &str, go: bool) -> Result<Self, FileError> {
        let given = path.to_owned();
        let source = format!("{source}\n{name}");
        let until = Instant::now() + BUSY;
        loop {
            let (path, source) = (given.clone(), source.clone());
            match blocking(&given, move || Self::open_now(&path, &source, go)).await? {
                Some(target) => return Ok(target),
                // An attempt that was dropped a moment ago may still write.
                None if Instant::now() < until => tokio::time::sleep(Duration::from_millis(20)).await,
                None => {
                    let source = io::Error::new(io::ErrorKind::ResourceBusy, "it is being fetched already");
                    return Err(FileError::Local { path: given, source });
                }
            }
        }
    }

    fn open_now(path: &Path, source: &str, go: bool) -> io::Result<Option<Self>> {
        let path = real(path)?;
        let leaf = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy().into_owned();
        let parent = path.parent().unwrap_or(Path::new(""));
        // What came in order and what came in any order are not taken for each other.
        let kinds = if go { ["get-go", "get"] } else { ["get", "get-go"] };
        let [part, other] = kinds.map(|kind| parent.join(part_name(kind, &leaf, source)));
        _ = fs::remove_file(other);
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let flags = flags.bits().cast_signed();
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(flags)
            .open(&part)?;
        regular(&file)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Whoever had the lock may have finished and taken the name away.
        let there = File::options()
            .read(true)
            .custom_flags(flags)
            .open(&part)
            .and_then(|now| fstat(&now).map_err(Into::into));
        let own = fstat(&file)?;
        if !there.is_ok_and(|there| (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)) {
            return Ok(None);
        }
        Ok(Some(Self { path, part, file: Arc::new(file) }))
    }

    pub(super) async fn len(&self) -> Result<u64, FileError> {
        let file = Arc::clone(&self.file);
        self.work(move || Ok(file.metadata()?.len())).await
    }

    pub(super) async fn truncate(&self, length: u64) -> Result<(), FileError> {
        let file = Arc::clone(&self.file);
        self.work(move || file.set_len(length)).await
    }

    /// Begins to write at once, and gives the memory back when that is done.
    pub(super) fn write(
        &self,
        mut bytes: Vec<u8>,
        offset: u64,
    ) -> impl Future<Output = Result<Vec<u8>, FileError>> {
        let file = Arc::clone(&self.file);
        blocking(&self.path, move || {
            file.write_all_at(&bytes, offset)?;
            bytes.clear();
            Ok(bytes)
        })
    }

    pub(super) async fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, FileError> {
        let file = Arc::clone(&self.file);
        self.work(move || read(&file, offset, length)).await
    }

    /// Writes one block and gives its hash.
    pub(super) async fn write_block(
        &self,
        size: u64,
        index: u64,
        bytes: Bytes,
    ) -> Result<BlockHash, FileError> {
        let file = Arc::clone(&self.file);
        self.work(move || {
            file.write_all_at(&bytes, block_at(size, index).0)?;
            Ok(block_hash(size, index, &bytes))
        })
        .await
    }

    /// The hashes of some blocks, up to the first that is not whole.
    pub(super) async fn hashes(
        &self,
        size: u64,
        first: u64,
        count: usize,
    ) -> Result<Vec<BlockHash>, FileError> {
        let file = Arc::clone(&self.file);
        self.work(move || hashes(&file, size, first, count)).await
    }

    /// What was fetched takes the target's place, and what is of no more use is removed.
    pub(super) async fn end(self, done: Result<Transferred, FileError>) -> Result<Transferred, FileError> {
        match done {
            Ok(done) => {
                let (file, part, path) = (Arc::clone(&self.file), self.part.clone(), self.path.clone());
                let shown = self.work(move || {
                    file.sync_all()?;
                    fs::rename(&part, &path)
                });
                match shown.await {
                    Ok(()) => Ok(done),
                    Err(error) => {
                        self.remove().await;
                        Err(error)
                    }
                }
            }
            Err(error @ FileError::Broken(_)) => Err(error),
            Err(error) => {
                self.remove().await;
                Err(error)
            }
        }
    }

    pub(super) async fn remove(self) {
        let part = self.part.clone();
        // Where it is gone already there is nothing to do.
        let _ = self.work(move || fs::remove_file(&part)).await;
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, FileError> {
        blocking(&self.path, work).await
    }
}

/// The file that a path means: behind links, and nothing but a file.
fn real(path: &Path) -> io::Result<PathBuf> {
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it names a directory"));
    }
    let path = match fs::symlink_metadata(path) {
        Ok(there) if there.is_symlink() => fs::canonicalize(path)?,
        Ok(_) => path.to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(path.to_owned()),
        Err(error) => return Err(error),
    };
    let there = fs::symlink_metadata(&path)?;
    if there.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
    }
    if there.is_file() { Ok(path) } else { Err(no_file()) }
}

fn no_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")
}

fn regular(file: &File) -> io::Result<()> {
    if file.metadata()?.is_file() { Ok(()) } else { Err(no_file()) }
}

fn read(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    append(file, offset, length, &mut bytes)?;
    Ok(bytes)
}

fn hashes(file: &File, size: u64, first: u64, count: usize) -> io::Result<Vec<BlockHash>> {
    let mut all = Vec::new();
    for index in (first..).take(count) {
        let Some(hash) = hash_of(file, size, index)? else { break };
        all.push(hash);
    }
    Ok(all)
}

/// A file that is sent.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
}

/// The same, opened, as it was at that moment.
#[derive(Debug)]
pub(super) struct Opened {
    path: PathBuf,
    file: Arc<File>,
    pub(super) stamp: Stamp,
}

impl Source {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    pub(super) async fn open(&self) -> Result<Opened, FileError> {
        let path = self.path.clone();
        blocking(&self.path, move || Opened::open_now(path)).await
    }

    /// What tells this file from others that are sent to the same place.
    pub(super) fn identity(&self) -> String {
        let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        let machine = rustix::system::uname();
        format!("{}\n{}", machine.nodename().to_string_lossy(), path.display())
    }
}

impl Opened {
    fn open_now(path: PathBuf) -> io::Result<Self> {
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        // A path that is no file is not opened, since to open can have effects of its own.
        if !fs::metadata(&path)?.is_file() {
            return Err(no_file());
        }
        let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(&path)?;
        regular(&file)?;
        let stamp = stamp(&fstat(&file)?);
        Ok(Self { path, file: Arc::new(file), stamp })
    }

    /// Puts bytes of it behind what is there; fewer where it has become shorter.
    pub(super) async fn read_behind(
        &self,
        mut there: Vec<u8>,
        offset: u64,
        length: usize,
    ) -> Result<Vec<u8>, FileError> {
        let file = Arc::clone(&self.file);
        let read = move || append(&file, offset, length, &mut there).map(|_| there);
        blocking(&self.path, read).await
    }

    /// One block with its hash; `None` where it is not whole.
    pub(super) async fn block(&self, index: u64) -> Result<Option<(Vec<u8>, BlockHash)>, FileError> {
        let (file, size) = (Arc::clone(&self.file), self.stamp.size);
        blocking(&self.path, move || {
            let (offset, length) = block_at(size, index);
            let bytes = read(&file, offset, usize::try_from(length).unwrap_or_default())?;
            let whole = u64::try_from(bytes.len()) == Ok(length);
            let hash = block_hash(size, index, &bytes);
            Ok(whole.then_some((bytes, hash)))
        })
        .await
    }

    /// The hashes of some blocks, up to the first that is not whole.
    pub(super) async fn hashes(&self, first: u64, count: usize) -> Result<Vec<BlockHash>, FileError> {
        let (file, size) = (Arc::clone(&self.file), self.stamp.size);
        blocking(&self.path, move || hashes(&file, size, first, count)).await
    }

    /// Whether the path still leads to the same file, as it was when it was opened.
    pub(super) async fn is_the_same(&self) -> Result<bool, FileError> {
        let path = self.path.clone();
        let now = blocking(&self.path, move || Ok(Self::open_now(path)?.stamp)).await?;
        Ok(now == self.stamp)
    }
}
