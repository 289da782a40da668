//! The Go examples' protocol at the server: pieces of files asked for and sent one at a time.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::message::{GO_PIECE, GoDownload, GoUpload, GoUploaded};
use super::name::{FileName, part_name};
use super::part::Part;
use super::store::{Store, append, failure};
use crate::{Bytes, Code, Result, Status};

/// Go's client asks for 10 KB at a time: so many of its pieces are read at once, and twice as many as before, up to the
/// second number, where it has come to the end of a reading that is still here.
const PIECES: usize = 12;
const MOST_PIECES: usize = 96;
/// How many bytes of readings are kept. With many downloads at once each has less of it, and its readings stay short.
const KEPT: usize = 8 << 20;

/// How many uploads of one name and task may be unfinished, and how many of all.
const SLOTS: usize = 8;
const MOST: usize = 256;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place in a file that may lie beyond its end, as Go's `int` has it.
fn position(value: i64) -> Result<u64> {
    let negative = |_| Status::new(Code::InvalidInput, format!("the position {value} is negative"));
    u64::try_from(value).map_err(negative)
}

/// What was read last for downloads.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    kept: Mutex<VecDeque<Reading>>,
}

#[derive(Debug)]
struct Reading {
    name: FileName,
    version: String,
    begin: u64,
    /// Whether the file ends with it.
    last: bool,
    bytes: Bytes,
}

impl Reading {
    /// The piece from here on, where all of it is in this reading.
    fn piece(&self, at: u64) -> Option<&[u8]> {
        let offset = usize::try_from(at.checked_sub(self.begin)?).ok()?;
        let rest = self.bytes.get(offset..)?;
        match rest.get(..GO_PIECE) {
            Some(piece) => Some(piece),
            None => self.last.then_some(rest),
        }
    }
}

/// 4 bytes that say whether this is the end, and the piece.
fn answer(piece: &[u8]) -> Bytes {
    let mut answer = Vec::with_capacity(4 + piece.len());
    answer.extend_from_slice(&u32::from(piece.is_empty()).to_be_bytes());
    answer.extend_from_slice(piece);
    answer.into()
}

/// What a download asks for.
pub(crate) fn download(body: &[u8]) -> Result<(FileName, u64)> {
    let ask: GoDownload = serde_json::from_slice(body)
        .map_err(|error| Status::new(Code::InvalidInput, format!("invalid request, {error}")))?;
    Ok((FileName::parse(&ask.file_path)?, position(ask.download_start_pos)?))
}

impl Readings {
    /// The answer, where the piece is at hand and the file is still the same. It looks at the file without reading
    /// it: its name was looked up a moment ago, so this waits for no disk.
    pub(crate) fn at_hand(&self, store: &Store, name: &FileName, at: u64) -> Option<Bytes> {
        if !lock(&self.kept).iter().rev().any(|reading| reading.name == *name) {
            return None;
        }
        let stamp = store.stamp(name).ok()?;
        if at >= stamp.size {
            return Some(answer(b""));
        }
        let kept = lock(&self.kept);
        let mut fitting =
            kept.iter().rev().filter(|reading| reading.name == *name && reading.version == stamp.version);
        fitting.find_map(|reading| reading.piece(at)).map(answer)
    }

    /// Reads the piece and those behind it.
    pub(crate) fn read(&self, store: &Store, name: &FileName, at: u64) -> Result<Bytes> {
        let (file, stamp) = store.read(name)?;
        if at >= stamp.size {
            return Ok(answer(b""));
        }
        let length = self.length(name, &stamp.version, at);
        let mut bytes = Vec::new();
        append(&file, at, length, &mut bytes).map_err(|error| failure("read", name, &error))?;
        let end = at.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let reading = Reading {
            name: name.clone(),
            version: stamp.version,
            begin: at,
            // It may have become shorter meanwhile.
            last: end >= stamp.size || bytes.len() < length,
            bytes: bytes.into(),
        };
        let answer = answer(reading.piece(at).unwrap_or_default());
        let mut kept = lock(&self.kept);
        kept.retain(|old| old.name != reading.name || old.version == reading.version);
        let mut room = KEPT.saturating_sub(reading.bytes.len());
        let newest = kept.iter().rev().take_while(|old| {
            let fits = old.bytes.len() <= room;
            room = room.saturating_sub(old.bytes.len());
            fits
        });
        let old = kept.len().saturating_sub(newest.count());
        kept.drain(..old);
        kept.push_back(reading);
        Ok(answer)
    }

    /// How many bytes each reading has that is kept.
    #[cfg(test)]
    pub(crate) fn lengths(&self) -> Vec<usize> {
        lock(&self.kept).iter().map(|reading| reading.bytes.len()).collect()
    }

    /// How many bytes to read from here on.
    fn length(&self, name: &FileName, version: &str, at: u64) -> usize {
        let kept = lock(&self.kept);
        let before = kept.iter().rev().find(|reading| {
            let length = u64::try_from(reading.bytes.len()).unwrap_or(u64::MAX);
            reading.begin.saturating_add(length) == at && reading.name == *name && reading.version == version
        });
        let twice = before.map_or(0, |reading| reading.bytes.len().saturating_mul(2));
        twice.clamp(PIECES * GO_PIECE, MOST_PIECES * GO_PIECE)
    }
}

/// The uploads that have begun. Their requests have no id but a number that every client counts from 1, so each
/// connection has its own unfinished file; one that goes on where another connection ended takes that one's.
#[derive(Debug, Default)]
pub(crate) struct GoUploads {
    table: Mutex<HashMap<(FileName, i64), Vec<Slot>>>,
}

#[derive(Debug)]
struct Slot {
    number: usize,
    peer: String,
    used: Instant,
    /// Held while a piece is written.
    part: Arc<Mutex<Option<Part>>>,
}

impl GoUploads {
    /// Takes a piece; the name is the file's when one has come that says that it is the last.
    pub(crate) fn take(
        &self,
        store: &Arc<Store>,
        peer: &str,
        ask: &GoUpload,
        bytes: &[u8],
    ) -> Result<Vec<u8>> {
        let name = FileName::parse(&ask.file_path)?;
        let at = position(ask.upload_start_pos)?;
        let end = at.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let key = (name, ask.task_id);
        let held = if at == 0 { self.begin(store, &key, peer)? } else { self.go_on(store, &key, peer, at)? };
        let mut slot = lock(&held);
        let Some(part) = slot.as_ref() else {
            return Err(Status::failed("the upload has ended; begin it anew"));
        };
        let done = (|| {
            if at == 0 {
                part.truncate(0)?;
            }
            part.write_at(bytes, at)?;
            if ask.completed {
                part.truncate(end)?;
                part.commit()?;
            }
            Ok::<_, Status>(())
        })();
        if done.is_err() {
            part.remove();
        }
        if done.is_err() || ask.completed {
            *slot = None;
            drop(slot);
            self.forget(&key, &held);
        }
        done?;
        let done =
            GoUploaded { task_id: ask.task_id, done_bytes: i64::try_from(bytes.len()).unwrap_or(i64::MAX) };
        serde_json::to_vec(&done).map_err(|error| Status::new(Code::Internal, error.to_string()))
    }

    /// The connection's own unfinished file, or a new one.
    fn begin(
        &self,
        store: &Arc<Store>,
        key: &(FileName, i64),
        peer: &str,
    ) -> Result<Arc<Mutex<Option<Part>>>> {
        let mut table = lock(&self.table);
        if let Some(own) = own(&mut table, key, peer) {
            return Ok(own);
        }
        make_room(&mut table);
        let slots = table.entry(key.clone()).or_default();
        let number = (0..SLOTS).find(|number| slots.iter().all(|slot| slot.number != *number));
        let number = match number {
            Some(number) => number,
            // Nobody was as long without a sign of life.
            None => take_oldest(slots).map(|slot| slot.number).unwrap_or_default(),
        };
        let part = store.part(&key.0, part_of(key, number), true)?;
        Ok(add(slots, number, peer, part))
    }

    /// The unfinished file that has all bytes before this place: the connection's own, then one of a connection that
    /// was silent longest, then one that a process before this left.
    fn go_on(
        &self,
        store: &Arc<Store>,
        key: &(FileName, i64),
        peer: &str,
        at: u64,
    ) -> Result<Arc<Mutex<Option<Part>>>> {
        let length = |part: &Arc<Mutex<Option<Part>>>| {
            lock(part).as_ref().and_then(|part| part.len().ok()).unwrap_or_default()
        };
        let missing = |has: u64| {
            let text = format!("the upload cannot go on at {at}: {has} bytes of it are here");
            Status::failed(text)
        };
        let mut table = lock(&self.table);
        if let Some(own) = own(&mut table, key, peer) {
            drop(table);
            let has = length(&own);
            return if has >= at { Ok(own) } else { Err(missing(has)) };
        }
        make_room(&mut table);
        let slots = table.entry(key.clone()).or_default();
        let mut others: Vec<&mut Slot> = slots.iter_mut().collect();
        others.sort_by_key(|slot| slot.used);
        // Exactly there is where a client that lost its connection goes on, unless an answer was lost, too.
        let exact = others.iter().position(|slot| length(&slot.part) == at);
        let found = exact.or_else(|| others.iter().position(|slot| length(&slot.part) > at));
        if let Some(slot) = found.and_then(|index| others.into_iter().nth(index)) {
            (slot.peer, slot.used) = (peer.to_owned(), Instant::now());
            return Ok(Arc::clone(&slot.part));
        }
        for number in 0..SLOTS {
            if slots.iter().any(|slot| slot.number == number) {
                continue;
            }
            let part = store.part(&key.0, part_of(key, number), false)?;
            if let Some(part) = part
                && part.len()? >= at
            {
                return Ok(add(slots, number, peer, Some(part)));
            }
        }
        if slots.is_empty() {
            table.remove(key);
        }
        Err(missing(0))
    }

    fn forget(&self, key: &(FileName, i64), held: &Arc<Mutex<Option<Part>>>) {
        let mut table = lock(&self.table);
        if let Some(slots) = table.get_mut(key) {
            slots.retain(|slot| !Arc::ptr_eq(&slot.part, held));
            if slots.is_empty() {
                table.remove(key);
            }
        }
    }
}

type Table = HashMap<(FileName, i64), Vec<Slot>>;

fn own(table: &mut Table, key: &(FileName, i64), peer: &str) -> Option<Arc<Mutex<Option<Part>>>> {
    let slot = table.get_mut(key)?.iter_mut().find(|slot| slot.peer == peer)?;
    slot.used = Instant::now();
    Some(Arc::clone(&slot.part))
}

fn add(slots: &mut Vec<Slot>, number: usize, peer: &str, part: Option<Part>) -> Arc<Mutex<Option<Part>>> {
    let part = Arc::new(Mutex::new(part));
    slots.push(Slot { number, peer: peer.to_owned(), used: Instant::now(), part: Arc::clone(&part) });
    part
}

fn take_oldest(slots: &mut Vec<Slot>) -> Option<Slot> {
    let (index, _) = slots.iter().enumerate().min_by_key(|(_, slot)| slot.used)?;
    let slot = slots.swap_remove(index);
    // Whoever writes to it is waited for, and then finds that it has ended.
    lock(&slot.part).take();
    Some(slot)
}

/// The one that was silent longest is forgotten, and found again by its unfinished file if it goes on.
fn make_room(table: &mut Table) {
    if table.values().map(Vec::len).sum::<usize>() < MOST {
        return;
    }
    let oldest = table
        .iter()
        .min_by_key(|(_, slots)| slots.iter().map(|slot| slot.used).min())
        .map(|(key, _)| key.clone());
    if let Some(key) = oldest
        && let Some(slots) = table.get_mut(&key)
    {
        take_oldest(slots);
        if slots.is_empty() {
            table.remove(&key);
        }
    }
}

fn part_of((name, task): &(FileName, i64), number: usize) -> String {
    part_name("upload", name.split().1, &format!("{task}.{number}"))
}
