//! Fetching and sending between Trunkline peers: blocks by their number, several at a time, each with its hash.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

use super::super::hash::{BlockHash, HASH, block_at, blocks, hex, root};
use super::super::message::{ABORT, Ask, BEGIN, COMMIT, HASHES, Outcome, READ, STAT, Told, WRITE};
use super::super::name::part_name;
use super::super::uploads::MOST_HASHES;
use super::local::{Opened, Source, Target};
use super::{CHANGES, FileClient, FileError, Transferred, hash_at, refused};
use crate::{Bytes, Code, Service};

/// How many blocks are on their way at once, at most: one at first, and on a line so slow that a block takes long.
const WINDOW: usize = 8;
/// A block that takes less leaves time for more of them, and one that takes more for fewer.
const QUICK: Duration = Duration::from_secs(2);
const SLOW: Duration = Duration::from_secs(5);
/// How often a server may forget an upload, as one does that is started anew, before that is given up.
const RESTARTS: u32 = 1000;
/// How often a block that arrived with another hash is asked for again.
const DAMAGED: u32 = 3;

/// How an attempt ended that did not fail.
enum Ended {
    Done(Transferred),
    /// The source is another one by now.
    Changed,
    /// The server does not know the upload any more.
    Restart,
    /// The hash of the whole is wrong.
    Mismatch,
}

/// What came of one block.
enum Block {
    Here { index: u64, hash: BlockHash, length: u64, took: Duration },
    Changed,
    Restart,
}

/// How many blocks are on their way.
struct Window(usize);

impl Window {
    fn after(&mut self, took: Duration) {
        if took < QUICK {
            self.0 = (self.0 + 1).min(WINDOW);
        } else if took > SLOW {
            self.0 = 1;
        }
    }
}

impl<S: Service> FileClient<S> {
    pub(super) async fn own_get(&self, name: &str, target: &Target) -> Result<Transferred, FileError> {
        for change in 0..CHANGES {
            match self.own_get_once(name, target).await? {
                Ended::Done(done) => return Ok(done),
                Ended::Changed | Ended::Restart | Ended::Mismatch => pause(change).await,
            }
        }
        Err(FileError::Changed(name.to_owned()))
    }

    async fn own_get_once(&self, name: &str, target: &Target) -> Result<Ended, FileError> {
        let ask = Ask { name: name.to_owned(), ..Ask::default() };
        let (told, _) = self.ask(STAT, &ask, &Bytes::new()).await?;
        if told.outcome != Outcome::Done {
            return Err(refused(Code::NotFound, format!("open {name}: no such file")));
        }
        let (size, ask) = (told.size, Ask { version: told.version, ..ask });
        if target.len().await? > size {
            target.truncate(size).await?;
        }
        let Some(mut hashes) = self.compare(&ask, size, Compared::Target(target)).await? else {
            return Ok(Ended::Changed);
        };
        let first = count(&hashes);
        let resumed = block_at(size, first).0;
        self.watch.begin(resumed, Some(size));
        let mut next = first..blocks(size);
        let (mut window, mut most) = (FuturesUnordered::new(), Window(1));
        let mut changed = false;
        loop {
            while !changed && window.len() < most.0 {
                let Some(index) = next.next() else { break };
                window.push(self.fetch(&ask, size, index, target));
            }
            match window.next().await.transpose() {
                Ok(None) => break,
                Ok(Some(Block::Here { index, hash, length, took })) => {
                    keep(&mut hashes, index, hash);
                    self.watch.more(length);
                    most.after(took);
                }
                // Those that are on their way write to the file; nothing begins anew before they have ended.
                Ok(Some(_)) => changed = true,
                Err(error) => {
                    while window.next().await.is_some() {}
                    return Err(error);
                }
            }
        }
        let (told, _) = self.ask(STAT, &ask, &Bytes::new()).await?;
        if changed || told.outcome != Outcome::Done || told.version != ask.version {
            return Ok(Ended::Changed);
        }
        Ok(Ended::Done(Transferred { size, resumed, hash: Some(hex(&root(&hashes))) }))
    }

    /// Fetches one block into its place. Its hash comes with it, and is that of what was written here.
    async fn fetch(&self, ask: &Ask, size: u64, index: u64, target: &Target) -> Result<Block, FileError> {
        let ask = Ask { block: index, ..ask.clone() };
        let length = block_at(size, index).1;
        let begun = Instant::now();
        for _ in 0..DAMAGED {
            let (told, bytes) = self.ask(READ, &ask, &Bytes::new()).await?;
            if told.outcome != Outcome::Done {
                return Ok(Block::Changed);
            }
            let mut data = bytes;
            let said = hash_at(&data.split_off(data.len().saturating_sub(HASH)));
            if u64::try_from(data.len()) != Ok(length) {
                continue;
            }
            let hash = target.write_block(size, index, data).await?;
            if said == Some(hash) {
                return Ok(Block::Here { index, hash, length, took: begun.elapsed() });
            }
        }
        Err(FileError::Corrupt(ask.name))
    }

    pub(super) async fn own_put(&self, source: &Source, name: &str) -> Result<Transferred, FileError> {
        let upload = part_name("id", &format!("{}\n{name}", self.source), &source.identity());
        let upload = upload.chars().filter(char::is_ascii_alphanumeric).collect();
        let mut ask = Ask { name: name.to_owned(), upload, ..Ask::default() };
        let done = self.own_put_tries(source, &mut ask).await;
        match &done {
            Ok(_) | Err(FileError::Broken(_)) => {}
            Err(_) if ask.lease == 0 => {}
            // If the server does not hear this, it removes what is there some day by itself.
            Err(_) => _ = self.ask(ABORT, &ask, &Bytes::new()).await,
        }
        done
    }

    async fn own_put_tries(&self, source: &Source, ask: &mut Ask) -> Result<Transferred, FileError> {
        let (mut mismatched, mut changes, mut restarts) = (false, 0, 0);
        while changes < CHANGES {
            let opened = source.open().await?;
            match self.own_put_once(&opened, ask).await? {
                Ended::Done(done) => return Ok(done),
                Ended::Mismatch if mismatched => return Err(FileError::Corrupt(ask.name.clone())),
                Ended::Mismatch => mismatched = true,
                Ended::Changed => {
                    pause(changes).await;
                    changes += 1;
                }
                Ended::Restart if restarts < RESTARTS => {
                    pause(restarts.min(CHANGES)).await;
                    restarts += 1;
                }
                Ended::Restart => {
                    let text = format!("the server forgets the upload of {} again and again", ask.name);
                    return Err(refused(Code::Internal, text));
                }
            }
        }
        Err(FileError::Changed(source.path.display().to_string()))
    }

    async fn own_put_once(&self, opened: &Opened, ask: &mut Ask) -> Result<Ended, FileError> {
        let size = opened.stamp.size;
        ask.size = size;
        let (told, _) = self.ask(BEGIN, ask, &Bytes::new()).await?;
        ask.lease = told.lease;
        let Some(mut hashes) = self.compare(ask, size, Compared::Source(opened, told.size)).await? else {
            return Ok(Ended::Restart);
        };
        let first = count(&hashes);
        let resumed = block_at(size, first).0;
        self.watch.begin(resumed, Some(size));
        let mut next = first..blocks(size);
        let (mut window, mut most) = (FuturesUnordered::new(), Window(1));
        loop {
            while window.len() < most.0 {
                let Some(index) = next.next() else { break };
                window.push(self.send(ask, index, opened));
            }
            match window.next().await.transpose()? {
                None => break,
                // The next beginning waits for what is written under this lease.
                Some(Block::Changed) => return Ok(Ended::Changed),
                Some(Block::Restart) => return Ok(Ended::Restart),
                Some(Block::Here { index, hash, length, took }) => {
                    keep(&mut hashes, index, hash);
                    self.watch.more(length);
                    most.after(took);
                }
            }
        }
        drop(window);
        if !opened.is_the_same().await? {
            return Ok(Ended::Changed);
        }
        ask.hash = hex(&root(&hashes));
        let (told, _) = self.ask(COMMIT, ask, &Bytes::new()).await?;
        match self.go_on(&told)? {
            Outcome::Done if told.hash == ask.hash => {
                Ok(Ended::Done(Transferred { size, resumed, hash: Some(told.hash) }))
            }
            Outcome::Done | Outcome::Mismatch => Ok(Ended::Mismatch),
            _ => Ok(Ended::Restart),
        }
    }

    async fn send(&self, ask: &Ask, index: u64, opened: &Opened) -> Result<Block, FileError> {
        let begun = Instant::now();
        let Some((bytes, hash)) = opened.block(index).await? else { return Ok(Block::Changed) };
        let ask = Ask { block: index, ..ask.clone() };
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let (told, _) = self.ask(WRITE, &ask, &bytes.into()).await?;
        Ok(match self.go_on(&told)? {
            Outcome::Done => Block::Here { index, hash, length, took: begun.elapsed() },
            _ => Block::Restart,
        })
    }

    /// How a step of an upload went; it fails where somebody else has taken the upload over.
    fn go_on(&self, told: &Told) -> Result<Outcome, FileError> {
        match told.outcome {
            Outcome::Superseded => Err(refused(
                Code::Failed,
                "another command has begun to send the same file to the same place".into(),
            )),
            outcome => Ok(outcome),
        }
    }

    /// Compares what is at the far end of a transfer with its source, from the beginning up to the first block that
    /// differs: the hashes of those that are the same. `None` where the source has changed or the upload is not known.
    async fn compare(
        &self,
        ask: &Ask,
        size: u64,
        what: Compared<'_>,
    ) -> Result<Option<Vec<BlockHash>>, FileError> {
        let there = match &what {
            Compared::Target(target) => target.len().await?,
            Compared::Source(_, there) => *there,
        };
        let mut same: Vec<BlockHash> = Vec::new();
        loop {
            let first = count(&same);
            let most = usize_of(MOST_HASHES);
            if block_at(size, first).0 >= there.min(size) {
                return Ok(Some(same));
            }
            let here = match &what {
                Compared::Target(target) => target.hashes(size, first, most).await?,
                Compared::Source(source, _) => source.hashes(first, most).await?,
            };
            let ask = Ask { block: first, count: count(&here), ..ask.clone() };
            let (told, bytes) = self.ask(HASHES, &ask, &Bytes::new()).await?;
            if told.outcome != Outcome::Done {
                return Ok(None);
            }
            let pairs = here.iter().zip(bytes.chunks(HASH));
            let before = same.len();
            same.extend(pairs.take_while(|(here, there)| here[..] == **there).map(|(here, _)| *here));
            if same.len() - before < most {
                return Ok(Some(same));
            }
        }
    }
}

/// Whose blocks are compared with the server's.
enum Compared<'a> {
    /// Those that were fetched.
    Target(&'a Target),
    /// Those that are sent, with how many bytes the server has.
    Source(&'a Opened, u64),
}

/// Keeps the hash of a block. What is kept grows with the blocks that are here, not with what the server says.
fn keep(hashes: &mut Vec<BlockHash>, index: u64, hash: BlockHash) {
    let index = usize_of(index);
    if hashes.len() <= index {
        hashes.resize(index.saturating_add(1), BlockHash::default());
    }
    if let Some(place) = hashes.get_mut(index) {
        *place = hash;
    }
}

fn count(hashes: &[BlockHash]) -> u64 {
    u64::try_from(hashes.len()).unwrap_or(u64::MAX)
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A file that is being written gets a moment to become whole.
async fn pause(change: u32) {
    tokio::time::sleep(Duration::from_millis(20).saturating_mul(change.saturating_mul(change))).await;
}
