//! Bodies that arrive frame by frame, on their way to whoever reads them.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use bytes::Bytes;
use trunkline_wire::Session;

use crate::{BodySender, BodyStream, Status};

/// So many bytes of a body, and one frame, may wait behind a frame that has no room; beyond it the connection is not
/// read.
const MOST_BEHIND: usize = 256 << 10;

/// The streamed bodies of one connection that have not ended.
#[derive(Debug, Default)]
pub(crate) struct Inflows(Vec<Inflow>);

#[derive(Debug)]
struct Inflow {
    id: u64,
    sender: BodySender,
    /// Frames whose reader had no room. Mostly one: the session holds this call back, or the connection is not read.
    /// Where the peer has to be told to wait, what was on its way.
    held: VecDeque<(Bytes, bool)>,
    /// How many bytes those behind the first one have.
    behind: usize,
    /// The session holds this call back by itself.
    alone: bool,
}

impl Inflows {
    /// A body begins with this frame; whole it may have `limit` bytes.
    pub(crate) fn open(&mut self, id: u64, first: Bytes, limit: usize) -> BodyStream {
        let (sender, stream) = BodyStream::limited(limit);
        if !first.is_empty() {
            sender.push(first);
        }
        self.0.push(Inflow { id, sender, held: VecDeque::new(), behind: 0, alone: false });
        stream
    }

    /// The next frame of a body; it waits for [`pass_on`](Inflows::pass_on). What belongs to no call that is
    /// there is read past.
    pub(crate) fn hold<W: Session>(&mut self, session: &mut W, id: u64, frame: Bytes, end: bool) {
        if let Some(inflow) = self.0.iter_mut().find(|inflow| inflow.id == id) {
            inflow.behind =
                inflow.behind.saturating_add(if inflow.held.is_empty() { 0 } else { frame.len() });
            inflow.held.push_back((frame, end));
            // Behind the last frame nothing comes that would have to be held back.
            inflow.alone = end || session.hold(id);
        }
    }

    /// The body comes to an end in another way than by its last frame: what is still on its way is read past.
    pub(crate) fn take<W: Session>(
        &mut self,
        session: &mut W,
        id: u64,
        out: &mut Vec<u8>,
    ) -> Option<BodySender> {
        let index = self.0.iter().position(|inflow| inflow.id == id)?;
        let inflow = self.0.swap_remove(index);
        if !inflow.held.is_empty() {
            session.release(id, out);
        }
        Some(inflow.sender)
    }

    /// The connection is gone: readers get what has come, whether they have room or not, and a body that is not whole
    /// fails.
    pub(crate) fn fail_all(&mut self, status: impl Fn() -> Status) {
        for Inflow { sender, held, .. } in self.0.drain(..) {
            let whole = held.back().is_some_and(|(_, end)| *end);
            let frames = held.into_iter().map(|(frame, _)| frame);
            frames.filter(|frame| !frame.is_empty()).for_each(|frame| sender.push(frame));
            if whole { sender.finish() } else { sender.fail(status()) }
        }
    }

    /// Whether no body arrives.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lets go of bodies whose reader is gone, although nothing more of them has come; `cx` is woken for the next
    /// one. Their calls are given to `unread`.
    pub(crate) fn drop_unread<W: Session>(
        &mut self,
        session: &mut W,
        cx: &mut Context<'_>,
        mut unread: impl FnMut(&mut W, u64),
    ) {
        let mut index = 0;
        while let Some(inflow) = self.0.get(index) {
            // A frame that is held is what its body is looked at for.
            if !inflow.held.is_empty() || !inflow.sender.poll_unread(cx) {
                index += 1;
                continue;
            }
            let id = inflow.id;
            self.0.swap_remove(index);
            unread(session, id);
        }
    }

    /// Hands frames that wait to readers that have room. Whether the connection has to wait for one; calls whose reader is gone
    /// within their body are given to `unread`.
    pub(crate) fn pass_on<W: Session>(
        &mut self,
        session: &mut W,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
        mut unread: impl FnMut(&mut W, u64),
    ) -> bool {
        let mut stalled = false;
        let mut index = 0;
        while let Some(inflow) = self.0.get_mut(index) {
            if inflow.held.is_empty() {
                index += 1;
                continue;
            }
            let Poll::Ready(room) = inflow.sender.poll_ready(cx) else {
                let last = inflow.held.back().map_or(0, |(frame, _)| frame.len());
                stalled |= !inflow.alone || inflow.behind.saturating_sub(last) > MOST_BEHIND;
                index += 1;
                continue;
            };
            let Some((frame, end)) = inflow.held.pop_front() else { continue };
            let next = inflow.held.front().map_or(0, |(frame, _)| frame.len());
            inflow.behind = inflow.behind.saturating_sub(next);
            let id = inflow.id;
            if room.is_ok() && !frame.is_empty() {
                inflow.sender.push(frame);
            }
            if end {
                self.0.swap_remove(index).sender.finish();
            } else if room.is_err() {
                self.0.swap_remove(index);
                unread(session, id);
            } else if !inflow.held.is_empty() {
                // The next one may have room, too.
                continue;
            } else {
                index += 1;
            }
            session.release(id, out);
        }
        stalled
    }
}
