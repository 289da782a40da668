//! A file that is not whole yet: another name in the folder of its target, until it takes the target's place.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, fstat, fsync, renameat, statat, unlinkat};

use super::hash::{BlockHash, block_at, block_hash};
use super::name::FileName;
use super::store::{Store, append, check_regular, failure, size};
use crate::Result;

/// What there is of an upload.
#[derive(Debug)]
pub(crate) struct Part {
    store: Arc<Store>,
    file: File,
    /// The folder of both names.
    folder: OwnedFd,
    part: String,
    name: FileName,
    /// How many bytes of it the quota knows of.
    counted: Mutex<u64>,
}

impl Part {
    pub(super) fn new(
        store: Arc<Store>,
        file: File,
        folder: OwnedFd,
        part: String,
        name: FileName,
        size: u64,
    ) -> Self {
        Self { store, file, folder, part, name, counted: Mutex::new(size) }
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> Result<u64> {
        let stat = fstat(&self.file).map_err(|errno| self.failure(&errno.into()))?;
        Ok(size(&stat))
    }

    /// Writes bytes at their place, under both limits.
    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let end = offset.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.store.check_size(&self.name, end)?;
        {
            let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            if end > *counted {
                self.store.reserve(end - *counted)?;
                *counted = end;
            }
        }
        #[cfg(test)]
        if end > self.store.full_from.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(self.failure(&rustix::io::Errno::NOSPC.into()));
        }
        self.file.write_all_at(bytes, offset).map_err(|error| self.failure(&error))
    }

    /// Makes it so long; what was behind is gone.
    pub(crate) fn truncate(&self, length: u64) -> Result<()> {
        self.file.set_len(length).map_err(|error| self.failure(&error))?;
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        self.store.release(counted.saturating_sub(length));
        *counted = (*counted).min(length);
        Ok(())
    }

    /// The hash of one block, read from the disk; `None` where it is not whole.
    pub(crate) fn block_hash(&self, size: u64, index: u64) -> Result<Option<BlockHash>> {
        hash_of(&self.file, size, index).map_err(|error| self.failure(&error))
    }

    /// Lets it take the place of its target.
    pub(crate) fn commit(&self) -> Result<()> {
        let (_, leaf) = self.name.split();
        let old = match statat(&self.folder, leaf, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(old) => {
                check_regular(&self.name, &old)?;
                size(&old)
            }
            Err(_) => 0,
        };
        if self.store.rules.durable {
            self.file.sync_all().map_err(|error| self.failure(&error))?;
        }
        renameat(&self.folder, self.part.as_str(), &self.folder, leaf)
            .map_err(|errno| self.failure(&errno.into()))?;
        self.store.release(old);
        if self.store.rules.durable {
            fsync(&self.folder).map_err(|errno| self.failure(&errno.into()))?;
        }
        Ok(())
    }

    /// Removes it.
    pub(crate) fn remove(&self) {
        if unlinkat(&self.folder, self.part.as_str(), AtFlags::empty()).is_ok() {
            let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            self.store.release(std::mem::take(&mut *counted));
        }
    }

    fn failure(&self, error: &io::Error) -> crate::Status {
        failure("write", &self.name, error)
    }
}

/// The hash of one block of a file that shall have this size in the end; `None` where the block is not whole.
pub(crate) fn hash_of(file: &File, size: u64, index: u64) -> io::Result<Option<BlockHash>> {
    let (offset, length) = block_at(size, index);
    let length = usize::try_from(length).unwrap_or_default();
    let mut bytes = Vec::new();
    let read = append(file, offset, length, &mut bytes)?;
    Ok((length > 0 && read == length).then(|| block_hash(size, index, &bytes)))
}
