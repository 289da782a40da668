//! The served directory: every name is resolved below its one descriptor, and only regular files are opened.
//!
//! All of this waits for the disk: call it on a thread that may.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustix::buffer::spare_capacity;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2, statat, unlinkat,
};
use rustix::io::{Errno, pread};

use super::name::{FileName, is_part};
use super::part::Part;
use crate::{Code, Result, Status};

/// What a name may lead through: nothing outside the root, however many links there are.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);
/// How deep folders are looked at when the directory is counted.
const DEEPEST: usize = 64;
/// Unfinished files that nobody took up for so long are removed when the directory is opened.
const ABANDONED: Duration = Duration::from_secs(7 * 86_400);
/// What the directory holds is counted anew at most so often.
const COUNTED_EVERY: Duration = Duration::from_secs(1);

/// What may be stored, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// The largest file in bytes.
    pub(crate) file_limit: u64,
    /// How many bytes all files may have together.
    pub(crate) total_limit: Option<u64>,
    /// Nothing is stored.
    pub(crate) read_only: bool,
    /// A finished file is on the disk before it shows.
    pub(crate) durable: bool,
}

/// The served directory.
#[derive(Debug)]
pub(crate) struct Store {
    root: OwnedFd,
    pub(crate) rules: Rules,
    used: Mutex<Used>,
    /// The disk is full from this size of a file on: no test can fill one.
    #[cfg(test)]
    pub(crate) full_from: std::sync::atomic::AtomicU64,
}

/// How many bytes there are, and since when that is known.
#[derive(Debug)]
struct Used {
    bytes: u64,
    counted: Instant,
}

/// A file as it is at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Its size in bytes.
    pub(crate) size: u64,
    /// Changes when the file is changed or is another one.
    pub(crate) version: String,
}

impl Store {
    /// Opens the directory, removes what was abandoned in it and counts what there is.
    pub(crate) fn open(directory: &Path, rules: Rules) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, directory, flags, Mode::empty())?;
        // Says at the start whether the kernel can keep names inside, and not at the first call.
        drop(openat2(&root, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), BENEATH)?);
        let store = Self {
            root,
            rules,
            used: Mutex::new(Used { bytes: 0, counted: Instant::now() }),
            #[cfg(test)]
            full_from: u64::MAX.into(),
        };
        let bytes = store.count(!rules.read_only)?;
        store.used.lock().unwrap_or_else(PoisonError::into_inner).bytes = bytes;
        Ok(store)
    }

    /// Opens a regular file to read it.
    pub(crate) fn read(&self, name: &FileName) -> Result<(File, Stamp)> {
        self.stamp(name)?;
        // Nothing but a file is opened, since to open can have effects of its own; whatever came in its place
        // since does not make us wait.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = openat2(&self.root, name.as_str(), flags, Mode::empty(), BENEATH);
        let file = opened.map_err(|errno| failure("open", name, &errno.into()))?;
        let stat = fstat(&file).map_err(|errno| failure("open", name, &errno.into()))?;
        check_regular(name, &stat)?;
        Ok((file.into(), stamp(&stat)))
    }

    /// Looks at a regular file without opening it.
    pub(crate) fn stamp(&self, name: &FileName) -> Result<Stamp> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let looked = openat2(&self.root, name.as_str(), flags, Mode::empty(), BENEATH);
        let looked = looked.map_err(|errno| failure("open", name, &errno.into()))?;
        let stat = fstat(&looked).map_err(|errno| failure("open", name, &errno.into()))?;
        check_regular(name, &stat)?;
        Ok(stamp(&stat))
    }

    /// Opens what there is of an upload, or begins it; `None` where it is to be found and is not there.
    pub(crate) fn part(
        self: &std::sync::Arc<Self>,
        name: &FileName,
        part: String,
        begin: bool,
    ) -> Result<Option<Part>> {
        if self.rules.read_only {
            return Err(Status::failed(format!("open {}: this server only gives files", name.as_str())));
        }
        let at = |errno: Errno| failure("open", name, &errno.into());
        let (folder, leaf) = name.split();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = match openat2(&self.root, folder.unwrap_or("."), flags, Mode::empty(), BENEATH) {
            Err(Errno::NOENT) => {
                let text = format!("open {}: there is no such folder", name.as_str());
                return Err(Status::new(Code::NotFound, text));
            }
            opened => opened.map_err(at)?,
        };
        match statat(&folder, leaf, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) => check_regular(name, &there)?,
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(at(errno)),
        }
        let create = if begin { OFlags::CREATE } else { OFlags::empty() };
        let flags = OFlags::RDWR | create | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = BENEATH | ResolveFlags::NO_SYMLINKS;
        let mode = if begin { Mode::from_raw_mode(0o666) } else { Mode::empty() };
        let file = match openat2(&folder, part.as_str(), flags, mode, resolve) {
            Err(Errno::NOENT) if !begin => return Ok(None),
            opened => opened.map_err(at)?,
        };
        let stat = fstat(&file).map_err(at)?;
        check_regular(name, &stat)?;
        Ok(Some(Part::new(std::sync::Arc::clone(self), file.into(), folder, part, name.clone(), size(&stat))))
    }

    /// Takes so many bytes more out of the quota.
    pub(crate) fn reserve(&self, more: u64) -> Result<()> {
        let Some(limit) = self.rules.total_limit else { return Ok(()) };
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let over = |used: &Used| used.bytes.saturating_add(more) > limit;
        // Others may have removed files.
        if over(&used) && used.counted.elapsed() >= COUNTED_EVERY {
            *used = Used {
                bytes: self.count(false).map_err(|error| Status::failed(error.to_string()))?,
                counted: Instant::now(),
            };
        }
        if over(&used) {
            let text = format!(
                "quota: {more} bytes more than the {} that are stored are over the limit of {limit} bytes for all files (total_limit)",
                used.bytes
            );
            return Err(Status::new(Code::TooLarge, text));
        }
        used.bytes = used.bytes.saturating_add(more);
        Ok(())
    }

    /// Gives bytes back to the quota.
    pub(crate) fn release(&self, bytes: u64) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.bytes = used.bytes.saturating_sub(bytes);
    }

    /// A file of this size would be too large.
    pub(crate) fn check_size(&self, name: &FileName, size: u64) -> Result<()> {
        let limit = self.rules.file_limit;
        if size > limit {
            let text = format!(
                "quota: {} would have {size} bytes, over the limit of {limit} bytes for a file (file_limit)",
                name.as_str()
            );
            return Err(Status::new(Code::TooLarge, text));
        }
        Ok(())
    }

    /// How many bytes all files have.
    fn count(&self, remove_abandoned: bool) -> io::Result<u64> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(&self.root, ".", flags, Mode::empty())?;
        let mut folders = vec![(root, 0)];
        let mut bytes = 0_u64;
        while let Some((folder, depth)) = folders.pop() {
            for entry in Dir::read_from(&folder)? {
                let entry = entry?;
                let name = entry.file_name();
                if matches!(name.to_bytes(), b"." | b"..") {
                    continue;
                }
                // What is gone by now is not counted.
                let Ok(stat) = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
                match FileType::from_raw_mode(stat.st_mode) {
                    FileType::RegularFile if remove_abandoned && is_abandoned(name, &stat) => {
                        _ = unlinkat(&folder, name, AtFlags::empty());
                    }
                    FileType::RegularFile => bytes = bytes.saturating_add(size(&stat)),
                    FileType::Directory if depth < DEEPEST => {
                        if let Ok(inner) = openat(&folder, name, flags | OFlags::NOFOLLOW, Mode::empty()) {
                            folders.push((inner, depth + 1));
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(bytes)
    }
}

fn is_abandoned(name: &CStr, stat: &Stat) -> bool {
    let written = u64::try_from(stat.st_mtime).unwrap_or_default();
    let written = SystemTime::UNIX_EPOCH + Duration::from_secs(written);
    is_part(name.to_bytes()) && written.elapsed().is_ok_and(|age| age > ABANDONED)
}

/// Fails where this is anything but a regular file.
pub(crate) fn check_regular(name: &FileName, stat: &Stat) -> Result<()> {
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return Ok(()),
        FileType::Directory => "a directory",
        FileType::Symlink => "a link",
        _ => "a special file",
    };
    Err(Status::new(Code::InvalidInput, format!("open {}: it is {what}", name.as_str())))
}

pub(crate) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or_default()
}

/// What tells a file from what it was before and from any other.
pub(crate) fn stamp(stat: &Stat) -> Stamp {
    let mut hasher = blake3::Hasher::new();
    for number in [stat.st_mtime, stat.st_ctime, stat.st_size] {
        hasher.update(&number.to_be_bytes());
    }
    for number in [stat.st_mtime_nsec, stat.st_ctime_nsec, stat.st_ino, stat.st_dev] {
        hasher.update(&number.to_be_bytes());
    }
    let version = hasher.finalize().to_hex().chars().take(16).collect();
    Stamp { size: size(stat), version }
}

/// What is said of a name that the kernel did not keep inside.
const OUTSIDE: &str = "it leads out of the served directory, or nowhere";

/// The failure of something on a file, without a word about where the directory is.
pub(crate) fn failure(what: &str, name: &FileName, error: &io::Error) -> Status {
    let name = name.as_str();
    let (code, why) = match error.kind() {
        io::ErrorKind::NotFound => (Code::NotFound, "no such file".to_owned()),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (Code::Failed, "no space left on the server's disk".to_owned())
        }
        io::ErrorKind::CrossesDevices => (Code::InvalidInput, OUTSIDE.to_owned()),
        _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            (Code::InvalidInput, OUTSIDE.to_owned())
        }
        io::ErrorKind::NotADirectory => (Code::NotFound, "no such file".to_owned()),
        _ => (Code::Failed, error.to_string()),
    };
    Status::new(code, format!("{what} {name}: {why}"))
}

/// Appends the bytes of a file from an offset on, so many or as many as there are.
pub(crate) fn append(file: impl AsFd, offset: u64, length: usize, into: &mut Vec<u8>) -> io::Result<usize> {
    let begin = into.len();
    into.reserve(length);
    loop {
        let done = into.len().saturating_sub(begin);
        if done >= length {
            break;
        }
        let at = offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
        match pread(&file, spare_capacity(into), at) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    // The room may have been larger than what was asked for.
    into.truncate(begin.saturating_add(length));
    Ok(into.len().saturating_sub(begin))
}
