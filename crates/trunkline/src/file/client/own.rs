//! Fetching and sending between Trunkline peers: blocks by their number, several at a time, each with its hash.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};

use super::super::hash::{BlockHash, HASH, block_at, blocks, hex, root};
use super::super::message::{ABORT, Ask, BEGIN, COMMIT, HASHES, Outcome, READ, STAT, Told, WRITE};
use super::super::name::part_name;
use super::super::uploads::MOST_HASHES;
use super::local::{Opened, Source, Target};
use super::{CHANGES, FileClient, FileError, Transferred, hash_at, refused};
use crate::{Bytes, Code, Service};

/// How many blocks are on their way at once.
const WINDOW: usize = 4;
/// How often a block that arrived with another hash is asked for again.
const DAMAGED: u32 = 3;

/// How an attempt ended that did not fail.
enum Ended {
    Done(Transferred),
    /// The source is another one by now, or the server does not know the upload any more.
    Again,
    /// The hash of the whole is wrong.
    Mismatch,
}

/// What came of one block.
enum Block {
    Here(u64, BlockHash, u64),
    Again,
}

impl<S: Service> FileClient<S> {
    pub(super) async fn own_get(&self, name: &str, target: &Target) -> Result<Transferred, FileError> {
        for change in 0..CHANGES {
            match self.own_get_once(name, target).await? {
                Ended::Done(done) => return Ok(done),
                Ended::Again | Ended::Mismatch => pause(change).await,
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
            return Ok(Ended::Again);
        };
        let first = count(&hashes);
        let resumed = block_at(size, first).0;
        self.watch.begin(resumed, Some(size));
        let mut next = first..blocks(size);
        let mut window = FuturesUnordered::new();
        let mut again = false;
        loop {
            while !again && window.len() < WINDOW {
                let Some(index) = next.next() else { break };
                window.push(self.fetch(&ask, size, index, target));
            }
            match window.next().await.transpose() {
                Ok(None) => break,
                Ok(Some(Block::Here(index, hash, length))) => {
                    keep(&mut hashes, index, hash);
                    self.watch.more(length);
                }
                // Those that are on their way write to the file; nothing begins anew before they have ended.
                Ok(Some(Block::Again)) => again = true,
                Err(error) => {
                    while window.next().await.is_some() {}
                    return Err(error);
                }
            }
        }
        let (told, _) = self.ask(STAT, &ask, &Bytes::new()).await?;
        if again || told.outcome != Outcome::Done || told.version != ask.version {
            return Ok(Ended::Again);
        }
        Ok(Ended::Done(Transferred { size, resumed, hash: Some(hex(&root(&hashes))) }))
    }

    /// Fetches one block into its place. Its hash comes with it, and is that of what was written here.
    async fn fetch(&self, ask: &Ask, size: u64, index: u64, target: &Target) -> Result<Block, FileError> {
        let ask = Ask { block: index, ..ask.clone() };
        let length = block_at(size, index).1;
        for _ in 0..DAMAGED {
            let (told, bytes) = self.ask(READ, &ask, &Bytes::new()).await?;
            if told.outcome != Outcome::Done {
                return Ok(Block::Again);
            }
            let mut data = bytes;
            let said = hash_at(&data.split_off(data.len().saturating_sub(HASH)));
            if u64::try_from(data.len()) != Ok(length) {
                continue;
            }
            let hash = target.write_block(size, index, data).await?;
            if said == Some(hash) {
                return Ok(Block::Here(index, hash, length));
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
        let mut mismatched = false;
        for change in 0..CHANGES {
            let opened = source.open().await?;
            match self.own_put_once(&opened, ask).await? {
                Ended::Done(done) => return Ok(done),
                Ended::Mismatch if mismatched => return Err(FileError::Corrupt(ask.name.clone())),
                Ended::Mismatch => mismatched = true,
                Ended::Again => pause(change).await,
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
            return Ok(Ended::Again);
        };
        let first = count(&hashes);
        let resumed = block_at(size, first).0;
        self.watch.begin(resumed, Some(size));
        let mut next = first..blocks(size);
        let mut window = FuturesUnordered::new();
        loop {
            while window.len() < WINDOW {
                let Some(index) = next.next() else { break };
                window.push(self.send(ask, index, opened));
            }
            match window.next().await.transpose()? {
                None => break,
                // The next beginning waits for what is written under this lease.
                Some(Block::Again) => return Ok(Ended::Again),
                Some(Block::Here(index, hash, length)) => {
                    keep(&mut hashes, index, hash);
                    self.watch.more(length);
                }
            }
        }
        drop(window);
        if !opened.is_the_same().await? {
            return Ok(Ended::Again);
        }
        ask.hash = hex(&root(&hashes));
        let (told, _) = self.ask(COMMIT, ask, &Bytes::new()).await?;
        match self.go_on(&told)? {
            Outcome::Done if told.hash == ask.hash => {
                Ok(Ended::Done(Transferred { size, resumed, hash: Some(told.hash) }))
            }
            Outcome::Done | Outcome::Mismatch => Ok(Ended::Mismatch),
            _ => Ok(Ended::Again),
        }
    }

    async fn send(&self, ask: &Ask, index: u64, opened: &Opened) -> Result<Block, FileError> {
        let Some((bytes, hash)) = opened.block(index).await? else { return Ok(Block::Again) };
        let (ask, length) = (Ask { block: index, ..ask.clone() }, bytes.len());
        let (told, _) = self.ask(WRITE, &ask, &bytes.into()).await?;
        Ok(match self.go_on(&told)? {
            Outcome::Done => Block::Here(index, hash, u64::try_from(length).unwrap_or(u64::MAX)),
            _ => Block::Again,
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
