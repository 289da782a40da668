//! Read and write buffers that belong to the thread, not to the connection: an idle connection holds none.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;
use trunkline_wire::Payload;

/// How much is read at once, and how much is written at once. More does not fit in the processor's caches:
/// measured, 256 KiB halves the throughput of small calls.
pub(crate) const BATCH: usize = 64 << 10;

/// A thread reads into blocks of this size. Handlers that wait keep a share of a block alive, so a block serves
/// many small reads before the next one is taken.
const BLOCK: usize = 2 * BATCH;

/// The beginning of a frame up to this size is moved to the thread's buffer before the next read; of a larger
/// one the rest is read to where its beginning is.
const MOVED: usize = 8 << 10;

/// How many blocks that were read full, and of which something is still held, a thread keeps to read into again. A new
/// block costs the kernel more than what is read into it: it clears its pages first.
const USED_BLOCKS: usize = 16;

thread_local! {
    static READ: RefCell<Blocks> = RefCell::default();
    static WRITE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Takes the thread's write buffer; it is empty.
pub(crate) fn take_write() -> Vec<u8> {
    WRITE.with(RefCell::take)
}

/// Gives the thread's write buffer back; what grew beyond twice a batch is freed.
pub(crate) fn give_write(mut buffer: Vec<u8>) {
    buffer.clear();
    if buffer.capacity() <= 2 * BATCH {
        WRITE.with(|cell| *cell.borrow_mut() = buffer);
    }
}

/// The memory that a thread reads into.
#[derive(Default)]
struct Blocks {
    block: BytesMut,
    /// The latest at the end.
    used: Vec<BytesMut>,
}

impl Blocks {
    /// A block with room for so many bytes.
    fn with_room(&mut self, wanted: usize) -> &mut BytesMut {
        // Where nobody holds on to it, it is used again from its start.
        if self.block.capacity() < wanted && !self.block.try_reclaim(wanted) {
            self.take_another(wanted);
        }
        &mut self.block
    }

    #[cold]
    fn take_another(&mut self, wanted: usize) {
        let free = self.used.iter_mut().rposition(|block| block.try_reclaim(wanted));
        let next = match free {
            Some(free) => self.used.remove(free),
            None => BytesMut::with_capacity(BLOCK.max(wanted)),
        };
        let full = std::mem::replace(&mut self.block, next);
        if self.used.len() >= USED_BLOCKS {
            drop(self.used.remove(0));
        }
        self.used.push(full);
    }
}

/// What a connection has read and not dealt with: the beginning of a frame at most, else nothing.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    rest: BytesMut,
    /// How long the frame is that `rest` begins, as far as that is known.
    frame: usize,
}

impl Inbound {
    /// Whether the beginning of a frame waits for more.
    pub(crate) fn is_partial(&self) -> bool {
        !self.rest.is_empty()
    }

    /// How many bytes of a begun frame wait.
    pub(crate) fn len(&self) -> usize {
        self.rest.len()
    }

    /// Keeps what was not dealt with, in memory of its own, so that no block stays alive for it.
    pub(crate) fn keep(&mut self, rest: &[u8], frame: usize) {
        debug_assert!(self.rest.is_empty());
        if !rest.is_empty() {
            self.rest.extend_from_slice(rest);
        }
        self.frame = frame;
    }

    /// Reads once. The batch begins with what was kept. `None` at the end of the stream.
    pub(crate) fn poll_read<I: AsyncRead + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Bytes>>> {
        if self.rest.len() <= MOVED {
            READ.with(|blocks| {
                let blocks = &mut blocks.borrow_mut();
                self.poll_read_block(blocks.with_room(BATCH.saturating_add(self.rest.len())), io, cx)
            })
        } else {
            self.poll_read_large(io, cx)
        }
    }

    fn poll_read_block<I: AsyncRead + Unpin>(
        &mut self,
        block: &mut BytesMut,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Bytes>>> {
        block.extend_from_slice(&self.rest);
        let read = poll_read_buf(Pin::new(io), cx, &mut (&mut *block).limit(BATCH));
        if !matches!(read, Poll::Ready(Ok(1..))) {
            block.clear();
        }
        Poll::Ready(match ready!(read)? {
            0 => Ok(None),
            _ => {
                self.rest = BytesMut::new();
                Ok(Some(block.split().freeze()))
            }
        })
    }

    /// Memory grows with what has come, not with what a length announces.
    fn poll_read_large<I: AsyncRead + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Bytes>>> {
        loop {
            // A head of which not even the length is known yet is small, but must not be read byte by byte.
            let missing = match self.frame.saturating_sub(self.rest.len()) {
                0 => MOVED,
                missing => missing.min(BATCH),
            };
            self.rest.reserve(missing);
            let read = ready!(poll_read_buf(Pin::new(io), cx, &mut (&mut self.rest).limit(missing)))?;
            if read == 0 {
                return Poll::Ready(Ok(None));
            }
            if self.rest.len() >= self.frame {
                return Poll::Ready(Ok(Some(std::mem::take(&mut self.rest).freeze())));
            }
        }
    }
}

/// A part of a batch as a value of its own: shared where it lies in the batch, else copied.
#[inline]
pub(crate) fn share(batch: &Bytes, part: &[u8]) -> Bytes {
    let inside = {
        let (outer, inner) = (batch.as_ptr_range(), part.as_ptr_range());
        outer.start <= inner.start && inner.end <= outer.end
    };
    if inside { batch.slice_ref(part) } else { Bytes::copy_from_slice(part) }
}

/// An event's payload as a value of its own.
#[inline]
pub(crate) fn owned(payload: &Payload<'_>, batch: &Bytes) -> Bytes {
    match payload {
        Payload::Input(bytes) => share(batch, bytes),
        Payload::Owned(bytes) => bytes.clone(),
        Payload::Scratch(bytes) => Bytes::copy_from_slice(bytes),
    }
}
