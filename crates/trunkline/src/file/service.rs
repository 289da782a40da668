//! The service: one directory, given and taken in pieces.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::go::{self, GoUploads, Readings};
use super::hash::{BLOCK, block_at, block_hash};
use super::message::{
    ABORT, Ask, BEGIN, COMMIT, GO_DOWNLOAD, GO_UPLOAD, GoUpload, HASHES, LARGEST, Outcome, READ, STAT, Told,
    WRITE, framed, unframed,
};
use super::name::FileName;
use super::part::hash_of;
use super::store::{Rules, Store, append, failure};
use super::uploads::{MOST_HASHES, Uploads};
use crate::describe::{MethodInfo, ServiceInfo};
use crate::{Bytes, Call, Code, NamedService, Reply, Result, Service, Status};

/// How many requests read or write at once; the others wait.
const AT_ONCE: usize = 16;

/// The paths that it answers, and whether a call may be made twice without harm.
const PATHS: [(&str, bool); 9] = [
    (GO_DOWNLOAD, true),
    (GO_UPLOAD, false),
    (STAT, true),
    (READ, true),
    (HASHES, true),
    (BEGIN, true),
    (WRITE, true),
    (COMMIT, true),
    (ABORT, true),
];

/// Gives and takes the files of one directory.
///
/// It is a plain path handler: its name is empty and its methods are paths. `/download_file` and `/upload_file`
/// speak as the file examples of truexf/iip do; the paths below `/trunkline/file/` are for
/// [`FileClient`](super::FileClient), with blocks of 256 KiB, several at once, and a hash of the whole.
///
/// - Names are resolved below the directory by the kernel (`openat2`, `RESOLVE_BENEATH`), whatever links there are;
///   what could mean anything but one regular file there is refused.
/// - An upload is another name in the folder of its target until it is whole, and takes the target's place in one
///   step. Folders are not made. What nobody takes up for seven days is removed when the directory is opened again.
/// - Requests may have up to 16 MiB. A clone is the same service.
#[derive(Debug, Clone)]
pub struct FileService(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<Store>,
    uploads: Uploads,
    go_uploads: GoUploads,
    readings: Readings,
    /// One reading for downloads of the Go protocol at a time: the others mostly find their piece in it.
    reads: tokio::sync::Mutex<()>,
    turns: Arc<Semaphore>,
}

/// Settings of a [`FileService`]; begun by [`FileService::builder`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it opens the directory"]
pub struct FileServiceBuilder {
    directory: PathBuf,
    rules: Rules,
}

impl FileServiceBuilder {
    /// The largest file that is taken, in bytes. Default 1 TiB.
    pub fn file_limit(mut self, bytes: u64) -> Self {
        self.rules.file_limit = bytes;
        self
    }

    /// How many bytes all files of the directory may have together, unfinished ones too; what would be more is not
    /// taken. It is counted when the directory is opened, and again before anything is refused. Default: no limit.
    pub fn total_limit(mut self, bytes: u64) -> Self {
        self.rules.total_limit = Some(bytes);
        self
    }

    /// Takes no files. Default: it does.
    pub fn read_only(mut self) -> Self {
        self.rules.read_only = true;
        self
    }

    /// Whether a file that was taken is on the disk, and not only with the kernel, before it shows under its name.
    /// Default true.
    pub fn durable(mut self, durable: bool) -> Self {
        self.rules.durable = durable;
        self
    }

    /// Opens the directory. It waits for the disk.
    ///
    /// # Errors
    /// The directory cannot be opened or read through, or the kernel has no `openat2` (Linux before 5.6).
    pub fn open(self) -> io::Result<FileService> {
        let store = Arc::new(Store::open(&self.directory, self.rules)?);
        Ok(FileService(Arc::new(Inner {
            store,
            uploads: Uploads::default(),
            go_uploads: GoUploads::default(),
            readings: Readings::default(),
            reads: tokio::sync::Mutex::default(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        })))
    }
}

impl FileService {
    /// Begins to build a service of this directory.
    pub fn builder(directory: impl AsRef<Path>) -> FileServiceBuilder {
        let rules = Rules { file_limit: 1 << 40, total_limit: None, read_only: false, durable: true };
        FileServiceBuilder { directory: directory.as_ref().to_owned(), rules }
    }

    /// Serves this directory with the default settings.
    ///
    /// # Errors
    /// As for [`FileServiceBuilder::open`].
    pub fn open(directory: impl AsRef<Path>) -> io::Result<Self> {
        Self::builder(directory).open()
    }

    #[cfg(test)]
    pub(super) fn store(&self) -> &Store {
        &self.0.store
    }

    #[cfg(test)]
    pub(super) fn readings(&self) -> Vec<usize> {
        self.0.readings.lengths()
    }

    /// Does what waits for the disk on a thread that may.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let broken = |why: String| Status::new(Code::Internal, why);
        let turn = Arc::clone(&self.0.turns).acquire_owned().await;
        let turn = turn.map_err(|error| broken(error.to_string()))?;
        let inner = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&inner)
        });
        done.await.map_err(|error| broken(format!("the work on a file broke: {error}")))?
    }

    async fn go_download(&self, body: &[u8]) -> Result<Bytes> {
        let (name, at) = go::download(body)?;
        if let Some(answer) = self.0.readings.at_hand(&self.0.store, &name, at) {
            return Ok(answer);
        }
        let _one = self.0.reads.lock().await;
        // Whoever waited finds its piece in what the one before it has read.
        if let Some(answer) = self.0.readings.at_hand(&self.0.store, &name, at) {
            return Ok(answer);
        }
        self.work(move |inner| inner.readings.read(&inner.store, &name, at)).await
    }
}

impl Inner {
    fn stat(&self, ask: &Ask) -> Result<Vec<u8>> {
        let told = match self.store.stamp(&FileName::parse(&ask.name)?) {
            Ok(stamp) => Told { size: stamp.size, version: stamp.version, ..Told::default() },
            Err(status) if status.code() == Code::NotFound => Outcome::Missing.into(),
            Err(status) => return Err(status),
        };
        framed(&told, 0)
    }

    /// One block and its hash behind it.
    fn read(&self, ask: &Ask) -> Result<Vec<u8>> {
        let name = FileName::parse(&ask.name)?;
        let changed = || framed(&Told::from(Outcome::Changed), 0);
        let (file, stamp) = match self.store.read(&name) {
            Ok(opened) => opened,
            Err(status) if status.code() == Code::NotFound => return changed(),
            Err(status) => return Err(status),
        };
        if stamp.version != ask.version {
            return changed();
        }
        let (offset, length) = block_at(stamp.size, ask.block);
        let length = usize::try_from(length).unwrap_or_default();
        let mut body = framed(&Told::default(), length.saturating_add(32))?;
        let begin = body.len();
        let read =
            append(&file, offset, length, &mut body).map_err(|error| failure("read", &name, &error))?;
        if length == 0 || read != length || self.store.stamp(&name).ok() != Some(stamp.clone()) {
            return changed();
        }
        let hash = block_hash(stamp.size, ask.block, body.get(begin..).unwrap_or_default());
        body.extend_from_slice(&hash);
        Ok(body)
    }

    fn hashes(&self, ask: &Ask) -> Result<Vec<u8>> {
        let (told, all) =
            if ask.upload.is_empty() { self.file_hashes(ask)? } else { self.uploads.hashes(ask)? };
        let mut body = framed(&told, all.len())?;
        body.extend_from_slice(&all);
        Ok(body)
    }

    fn file_hashes(&self, ask: &Ask) -> Result<(Told, Vec<u8>)> {
        let name = FileName::parse(&ask.name)?;
        let changed = || Ok((Outcome::Changed.into(), Vec::new()));
        let (file, stamp) = match self.store.read(&name) {
            Ok(opened) if opened.1.version == ask.version => opened,
            Ok(_) => return changed(),
            Err(status) if status.code() == Code::NotFound => return changed(),
            Err(status) => return Err(status),
        };
        let mut all = Vec::new();
        for index in ask.block..ask.block.saturating_add(ask.count.min(MOST_HASHES)) {
            let hash = hash_of(&file, stamp.size, index).map_err(|error| failure("read", &name, &error))?;
            let Some(hash) = hash else { break };
            all.extend_from_slice(&hash);
        }
        if self.store.stamp(&name).ok() != Some(stamp) { changed() } else { Ok((Told::default(), all)) }
    }

    fn own(&self, path: &str, body: &Bytes) -> Result<Vec<u8>> {
        let (ask, bytes): (Ask, Bytes) = unframed(body)?;
        match path {
            STAT => self.stat(&ask),
            READ => self.read(&ask),
            HASHES => self.hashes(&ask),
            BEGIN => framed(&self.uploads.begin(&self.store, &ask)?, 0),
            WRITE => framed(&self.uploads.write(&ask, &bytes)?, 0),
            COMMIT => framed(&self.uploads.commit(&self.store, &ask)?, 0),
            ABORT => framed(&self.uploads.abort(&ask)?, 0),
            _ => Err(Status::new(Code::NotFound, format!("no path {path}")).not_begun()),
        }
    }
}

impl Service for FileService {
    async fn call(&self, call: Call) -> Result<Reply> {
        let known = PATHS.iter().find(|(path, _)| path.eq_ignore_ascii_case(call.method()));
        let Some((path, _)) = known.copied() else {
            let text = format!("rpcx: can't find method {}", call.method());
            return Err(Status::new(Code::NotFound, text).not_begun());
        };
        // Only TCP tells the connections of one task's clients apart; elsewhere they share their uploads.
        let peer = call.context().peer().to_string();
        let body = call.into_parts().1.whole(LARGEST).await?;
        Ok(Reply::new(match path {
            GO_DOWNLOAD => self.go_download(&body).await?,
            GO_UPLOAD => {
                let taken = self.work(move |inner| {
                    let (ask, bytes): (GoUpload, Bytes) = unframed(&body)?;
                    inner.go_uploads.take(&inner.store, &peer, &ask, &bytes)
                });
                taken.await?.into()
            }
            path => self.work(move |inner| inner.own(path, &body)).await?.into(),
        }))
    }
}

impl NamedService for FileService {
    fn describe(&self) -> ServiceInfo {
        let method = |(path, idempotent)| MethodInfo { idempotent, ..MethodInfo::new(path) };
        ServiceInfo { name: "".into(), doc: "The files of one directory.", methods: PATHS.map(method).into() }
    }
}

/// A block fits into a reply under the usual limit.
const _: () = assert!(BLOCK < 4 << 20);
