//! One stream that can go on: its frames until they are acknowledged, and whoever reads it now.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::time::Instant;

use super::Resumed;
use super::table::Table;
use crate::body::{Frames, cost};
use crate::context::ConnectionInfo;
use crate::metadata::AUTH;
use crate::{BodyStream, Call, Code, Context as CallContext, Result, Status};

/// The largest frame that is one frame to its reader, too, on every wire: larger ones are sent in pieces (IIP), and both
/// ends have to count the same.
const MOST_FRAME: usize = 16 << 20;

/// How many frames without bytes are passed over in one go: nothing is sent of them.
const EMPTY_FRAMES: usize = 64;

/// Whose stream it is.
pub(super) struct Owner {
    token: Box<[u8]>,
    method: String,
}

/// The caller's token; no bytes where there is none.
pub(super) fn token(call: &Call) -> &[u8] {
    call.metadata().pairs().get_bytes(AUTH.as_bytes()).unwrap_or_default()
}

impl Owner {
    pub(super) fn of(call: &Call) -> Self {
        let method = format!("{}.{}", call.service(), call.method());
        Self { token: token(call).into(), method }
    }
}

/// A stream of frames, of which each is kept until its reader has acknowledged it.
pub(super) struct Flow {
    owner: Owner,
    pub(super) id: u128,
    /// When the call's time is over.
    pub(super) deadline: Option<Instant>,
    /// How many bytes are kept before what makes the stream is not asked for more.
    limit: usize,
    /// What makes the frames; none when it has ended. Whoever holds this lock may take the state's as well.
    source: Mutex<Option<BodyStream>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The frames that are not acknowledged.
    kept: VecDeque<Bytes>,
    /// What they cost.
    bytes: usize,
    /// How many came before them.
    acknowledged: u64,
    /// How it ended, when what makes it has.
    ended: Option<Result<()>>,
    /// A reader was given something, so that its peer may know the stream's name.
    begun: bool,
    /// How many readers there were before the one of now.
    readers: u64,
    /// Nobody wants the rest.
    closed: bool,
    /// The reader of now, where it waits.
    waker: Option<Waker>,
}

/// What comes next for a reader.
enum Next {
    Frame(Bytes),
    End(Option<Status>),
    /// Somebody else reads the stream, or nobody is to.
    NotMine,
    /// As much is kept as may be.
    Full,
    /// What makes the stream has to be asked.
    Ask,
}

impl Flow {
    pub(super) fn new(
        id: u128,
        owner: Owner,
        deadline: Option<Instant>,
        limit: usize,
        source: BodyStream,
    ) -> Self {
        let (source, state) = (Mutex::new(Some(source)), Mutex::default());
        Self { owner, id, deadline, limit, source, state }
    }

    /// What its reader calls it.
    pub(super) fn name(&self) -> String {
        format!("{:032x}/{}", self.id, self.owner.method)
    }

    /// Whether a caller with this token may read the method's stream.
    pub(super) fn is_of(&self, token: &[u8], method: &str) -> bool {
        *self.owner.token == *token && self.owner.method == method
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic cannot leave the state half changed: nothing in here calls out.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this reader has gone away, and another one may go on.
    pub(super) fn is_left_by(&self, reader: u64) -> Option<bool> {
        let state = self.lock();
        (state.readers == reader).then_some(state.begun && !state.closed)
    }

    /// All frames up to this number have come.
    ///
    /// # Errors
    /// There are not so many.
    pub(super) fn acknowledge(&self, number: u64) -> Result<()> {
        let mut state = self.lock();
        let freed = state.acknowledge(number)?;
        let waker = state.waker.take();
        drop(state);
        drop(freed);
        waker.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// A new reader that has all frames up to this number; whoever read before is not given anything any more. Its
    /// number among the readers.
    ///
    /// # Errors
    /// There are not so many, or later ones are gone: they were acknowledged.
    pub(super) fn take_over(&self, after: u64) -> Result<u64> {
        let mut state = self.lock();
        if after < state.acknowledged {
            return Err(out_of_range(after, &state));
        }
        let freed = state.acknowledge(after)?;
        state.begun = true;
        state.readers = state.readers.saturating_add(1);
        let (reader, waker) = (state.readers, state.waker.take());
        drop(state);
        drop(freed);
        waker.into_iter().for_each(Waker::wake);
        Ok(reader)
    }

    /// Nobody wants the rest: what makes the stream is dropped, by its reader where that asks it just now.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let (kept, waker) = (std::mem::take(&mut state.kept), state.waker.take());
        drop(state);
        let source = self.source.try_lock().ok().and_then(|mut source| source.take());
        drop((kept, source));
        waker.into_iter().for_each(Waker::wake);
    }
}

impl State {
    /// How many frames were made.
    fn made(&self) -> u64 {
        self.acknowledged.saturating_add(u64::try_from(self.kept.len()).unwrap_or(u64::MAX))
    }

    fn acknowledge(&mut self, number: u64) -> Result<Vec<Bytes>> {
        if number > self.made() {
            return Err(out_of_range(number, self));
        }
        let mut freed = Vec::new();
        while self.acknowledged < number
            && let Some(frame) = self.kept.pop_front()
        {
            self.acknowledged = self.acknowledged.saturating_add(1);
            self.bytes = self.bytes.saturating_sub(cost(&frame));
            freed.push(frame);
        }
        Ok(freed)
    }

    /// What comes for this reader behind the frame of this number.
    fn next(&mut self, reader: u64, after: u64, limit: Option<usize>) -> Next {
        if self.closed || self.readers != reader {
            return Next::NotMine;
        }
        let place = usize::try_from(after.saturating_sub(self.acknowledged)).ok();
        if let Some(frame) = place.and_then(|place| self.kept.get(place)) {
            self.begun = true;
            return Next::Frame(frame.clone());
        }
        match &self.ended {
            Some(ended) => Next::End(ended.clone().err()),
            None if limit.is_some_and(|limit| self.bytes >= limit) => Next::Full,
            None => Next::Ask,
        }
    }

    /// Keeps a frame, in pieces where it is too large.
    fn keep(&mut self, mut frame: Bytes) {
        while !frame.is_empty() {
            let piece = frame.split_to(frame.len().min(MOST_FRAME));
            self.bytes = self.bytes.saturating_add(cost(&piece));
            self.kept.push_back(piece);
        }
    }
}

#[cold]
fn out_of_range(number: u64, state: &State) -> Status {
    let (first, last) = (state.acknowledged, state.made());
    let text = format!("the stream cannot go on behind frame {number}: behind {first} to {last} it can");
    Status::new(Code::InvalidInput, text).not_begun()
}

/// Who reads a stream over one connection.
pub(super) struct Reader {
    flow: Arc<Flow>,
    table: Arc<Table>,
    number: u64,
    /// The last frame that was given.
    after: u64,
    /// What is said before the frames.
    head: Option<Bytes>,
    connection: Option<Arc<ConnectionInfo>>,
}

impl Reader {
    pub(super) fn first(flow: Arc<Flow>, table: Arc<Table>, call: &CallContext) -> Self {
        Self { flow, table, number: 0, after: 0, head: None, connection: call.connection.clone() }
    }

    pub(super) fn resumed(
        flow: Arc<Flow>,
        table: Arc<Table>,
        call: &CallContext,
        number: u64,
        after: u64,
    ) -> Self {
        let resumed = Resumed { next: after.saturating_add(1) };
        let head = Some(serde_json::to_vec(&resumed).unwrap_or_default().into());
        Self { flow, table, number, after, head, connection: call.connection.clone() }
    }

    /// How much may be kept; none where the server stops. Its callers talk to the next one then, so that nothing more is
    /// acknowledged here, and the stream goes on as an ordinary one that cannot be taken up again.
    fn limit(&self) -> Option<usize> {
        let leaving = |connection: &Arc<ConnectionInfo>| connection.leaving.load(Ordering::Relaxed);
        let leaving = self.connection.as_ref().is_some_and(leaving);
        (!leaving).then_some(self.flow.limit)
    }

    /// What has come of asking what makes the stream.
    fn made(&self, next: Option<Result<Bytes>>) {
        let mut state = self.flow.lock();
        match next {
            Some(Ok(frame)) => {
                state.keep(frame);
                if self.limit().is_none() {
                    // It has all but the new one.
                    let _ = state.acknowledge(self.after);
                }
            }
            Some(Err(status)) => state.ended = Some(Err(status)),
            None => state.ended = Some(Ok(())),
        }
    }
}

impl Frames for Reader {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if let Some(head) = self.head.take() {
            return Poll::Ready(Some(Ok(head)));
        }
        // Held to the end: whoever takes the stream over asks after us, so that its waker is the one that is kept.
        let mut source = self.flow.source.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..EMPTY_FRAMES {
            let mut state = self.flow.lock();
            let next = state.next(self.number, self.after, self.limit());
            if let Next::Full | Next::Ask = next {
                match &mut state.waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
            }
            drop(state);
            match next {
                Next::Frame(frame) => {
                    self.after = self.after.saturating_add(1);
                    return Poll::Ready(Some(Ok(frame)));
                }
                Next::End(failure) => return Poll::Ready(failure.map(Err)),
                Next::NotMine => {
                    let closed = self.flow.lock().closed;
                    let over = if closed { source.take() } else { None };
                    drop(source);
                    drop(over);
                    let text = "the stream goes on over another connection, or nobody reads it any more";
                    return Poll::Ready(Some(Err(Status::new(Code::Cancelled, text))));
                }
                Next::Full => return Poll::Pending,
                Next::Ask => {}
            }
            let next = match &mut *source {
                Some(source) => std::task::ready!(source.poll_next(cx)),
                None => None,
            };
            if !matches!(next, Some(Ok(_))) {
                *source = None;
            }
            self.made(next);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.table.left(&self.flow, self.number);
    }
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flow").field("method", &self.owner.method).finish_non_exhaustive()
    }
}
