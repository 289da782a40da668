//! Uploads of Trunkline clients that have begun: who may write to which unfinished file.
//!
//! A name and the client's own id of its upload say which unfinished file is meant, so two uploads of one name never
//! share one. Whoever begins such an upload anew takes it from whoever had it before: the new lease is given when the
//! last write under the old one has ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use super::hash::{BLOCK, BlockHash, HASH, block_at, block_hash, blocks, hex, root};
use super::message::{Ask, Outcome, Told};
use super::name::{FileName, part_name};
use super::part::{Part, hash_of};
use super::store::Store;
use crate::{Code, Result, Status};

/// How many uploads are open at once; over it the one that was idle longest has to be begun again, with all that it
/// has.
const MOST: usize = 256;

/// How many hashes are told at once.
pub(crate) const MOST_HASHES: u64 = 256;

/// The uploads that have begun.
#[derive(Debug, Default)]
pub(crate) struct Uploads {
    table: Mutex<HashMap<Key, Arc<Upload>>>,
    /// Held while one is begun.
    begins: Mutex<()>,
}

type Key = (FileName, String);

#[derive(Debug)]
struct Upload {
    part: Part,
    size: u64,
    lease: u64,
    /// False when nobody may write any more. Writers hold it while they write.
    open: RwLock<bool>,
    /// The hashes of the blocks that came.
    hashes: Mutex<HashMap<u64, BlockHash>>,
    used: Mutex<Instant>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Upload {
    /// The hash of the whole; `None` where something is missing. What did not come under this lease is read.
    fn hash(&self) -> Result<Option<String>> {
        let mut all = Vec::new();
        for index in 0..blocks(self.size) {
            let known = lock(&self.hashes).get(&index).copied();
            let hash = match known {
                Some(hash) => Some(hash),
                None => self.part.block_hash(self.size, index)?,
            };
            let Some(hash) = hash else { return Ok(None) };
            all.push(hash);
        }
        Ok(Some(hex(&root(&all))))
    }

    /// Ends it for its writers; those that write are waited for.
    fn close(&self) -> bool {
        std::mem::replace(&mut *self.open.write().unwrap_or_else(PoisonError::into_inner), false)
    }
}

impl Uploads {
    /// Begins an upload, or takes up what there is of it.
    pub(crate) fn begin(&self, store: &Arc<Store>, ask: &Ask) -> Result<Told> {
        let key = key(ask)?;
        store.check_size(&key.0, ask.size)?;
        let _one = lock(&self.begins);
        if let Some(old) = lock(&self.table).remove(&key) {
            old.close();
        }
        let Some(part) = store.part(&key.0, part_of(&key), true)? else {
            return Err(Status::new(Code::Internal, "an upload was not created"));
        };
        let mut length = part.len()?;
        if length > ask.size {
            part.truncate(ask.size)?;
            length = ask.size;
        }
        // What cannot become whole is refused before it begins.
        let more = ask.size - length;
        if let Err(status) = store.reserve(more) {
            part.remove();
            return Err(status);
        }
        store.release(more);
        self.make_room();
        let lease = fastrand::u64(..);
        let upload = Upload {
            part,
            size: ask.size,
            lease,
            open: RwLock::new(true),
            hashes: Mutex::default(),
            used: Mutex::new(Instant::now()),
        };
        lock(&self.table).insert(key, Arc::new(upload));
        Ok(Told { lease, size: length, ..Told::default() })
    }

    /// Writes one block.
    pub(crate) fn write(&self, ask: &Ask, bytes: &[u8]) -> Result<Told> {
        let key = key(ask)?;
        let upload = match self.find(&key, ask) {
            Ok(upload) => upload,
            Err(outcome) => return Ok(outcome.into()),
        };
        let (offset, length) = block_at(upload.size, ask.block);
        if length == 0 || usize::try_from(length) != Ok(bytes.len()) {
            let text = format!("block {} has {length} bytes, {} came", ask.block, bytes.len());
            return Err(Status::new(Code::InvalidInput, text));
        }
        let written = {
            let open = upload.open.read().unwrap_or_else(PoisonError::into_inner);
            if !*open {
                return Ok(Outcome::Superseded.into());
            }
            upload.part.write_at(bytes, offset)
        };
        if let Err(status) = written {
            self.end(&key, &upload);
            upload.part.remove();
            return Err(status);
        }
        let hash = block_hash(upload.size, ask.block, bytes);
        lock(&upload.hashes).insert(ask.block, hash);
        Ok(Told::default())
    }

    /// The hashes of blocks that are on the disk, up to the first that is not whole.
    pub(crate) fn hashes(&self, ask: &Ask) -> Result<(Told, Vec<u8>)> {
        let upload = match self.find(&key(ask)?, ask) {
            Ok(upload) => upload,
            Err(outcome) => return Ok((outcome.into(), Vec::new())),
        };
        let mut all = Vec::new();
        for index in ask.block..ask.block.saturating_add(ask.count.min(MOST_HASHES)) {
            let Some(hash) = upload.part.block_hash(upload.size, index)? else { break };
            lock(&upload.hashes).insert(index, hash);
            all.extend_from_slice(&hash);
        }
        Ok((Told::default(), all))
    }

    /// Ends an upload: it takes its name if it is whole and its hash is what the client says.
    pub(crate) fn commit(&self, store: &Arc<Store>, ask: &Ask) -> Result<Told> {
        let key = key(ask)?;
        let done = || Told { hash: ask.hash.clone(), ..Told::default() };
        // The answer to a commit may have been lost.
        let ended = |outcome: Outcome| if is_there(store, &key.0, ask) { done() } else { outcome.into() };
        let upload = match self.find(&key, ask) {
            Ok(upload) => upload,
            Err(outcome) => return Ok(ended(outcome)),
        };
        let mut open = upload.open.write().unwrap_or_else(PoisonError::into_inner);
        if !*open {
            return Ok(ended(Outcome::Superseded));
        }
        match upload.hash()? {
            Some(hash) if hash == ask.hash => {}
            _ => return Ok(Outcome::Mismatch.into()),
        }
        let committed = upload.part.commit();
        *open = false;
        drop(open);
        self.end(&key, &upload);
        if let Err(status) = committed {
            upload.part.remove();
            return Err(status);
        }
        Ok(done())
    }

    /// Gives an upload up: nothing of it stays.
    pub(crate) fn abort(&self, ask: &Ask) -> Result<Told> {
        let key = key(ask)?;
        match self.find(&key, ask) {
            Ok(upload) => {
                self.end(&key, &upload);
                upload.part.remove();
                Ok(Told::default())
            }
            Err(outcome) => Ok(outcome.into()),
        }
    }

    fn find(&self, key: &Key, ask: &Ask) -> Result<Arc<Upload>, Outcome> {
        let upload = lock(&self.table).get(key).map(Arc::clone).ok_or(Outcome::Restart)?;
        if upload.lease != ask.lease {
            return Err(Outcome::Superseded);
        }
        *lock(&upload.used) = Instant::now();
        Ok(upload)
    }

    fn end(&self, key: &Key, upload: &Arc<Upload>) {
        upload.close();
        let mut table = lock(&self.table);
        if table.get(key).is_some_and(|there| Arc::ptr_eq(there, upload)) {
            table.remove(key);
        }
    }

    fn make_room(&self) {
        let mut table = lock(&self.table);
        if table.len() < MOST {
            return;
        }
        let oldest = table.iter().min_by_key(|(_, upload)| *lock(&upload.used)).map(|(key, _)| key.clone());
        let oldest = oldest.and_then(|key| table.remove(&key));
        drop(table);
        if let Some(upload) = oldest {
            upload.close();
        }
    }
}

fn key(ask: &Ask) -> Result<Key> {
    let name = FileName::parse(&ask.name)?;
    let plain = ask.upload.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if ask.upload.is_empty() || ask.upload.len() > 64 || !plain {
        return Err(Status::new(Code::InvalidInput, "an upload's id has 1 to 64 letters and digits"));
    }
    Ok((name, ask.upload.clone()))
}

fn part_of((name, upload): &Key) -> String {
    part_name("put", name.split().1, upload)
}

/// Whether the file is there as the client has it.
fn is_there(store: &Store, name: &FileName, ask: &Ask) -> bool {
    let Ok((file, stamp)) = store.read(name) else { return false };
    if stamp.size != ask.size {
        return false;
    }
    let hashes: Option<Vec<_>> =
        (0..blocks(stamp.size)).map(|index| hash_of(&file, stamp.size, index).ok().flatten()).collect();
    hashes.is_some_and(|hashes| hex(&root(&hashes)) == ask.hash)
}

/// One message holds a block with its hash.
const _: () = assert!(BLOCK + 2 * HASH as u64 <= super::message::LARGEST as u64);
