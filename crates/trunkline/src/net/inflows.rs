//! Bodies that arrive frame by frame, on their way to whoever reads them.

use std::task::{Context, Poll};

use bytes::Bytes;
use trunkline_wire::Session;

use crate::{BodySender, BodyStream, Status};

/// The streamed bodies of one connection that have not ended.
#[derive(Debug, Default)]
pub(crate) struct Inflows(Vec<Inflow>);

#[derive(Debug)]
struct Inflow {
    id: u64,
    sender: BodySender,
    /// A frame whose reader had no room. There is never a second one: the session holds this call back, or
    /// the connection is not read.
    held: Option<(Bytes, bool)>,
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
        self.0.push(Inflow { id, sender, held: None, alone: false });
        stream
    }

    /// The next frame of a body; it waits for [`pass_on`](Inflows::pass_on). What belongs to no call that is
    /// there is read past.
    pub(crate) fn hold<W: Session>(&mut self, session: &mut W, id: u64, frame: Bytes, end: bool) {
        if let Some(inflow) = self.0.iter_mut().find(|inflow| inflow.id == id) {
            inflow.held = Some((frame, end));
            inflow.alone = session.hold(id);
        }
    }

    /// The body comes to an end in another way than by its last frame: what is still on its way is read past.
    pub(crate) fn take<W: Session>(&mut self, session: &mut W, id: u64) -> Option<BodySender> {
        let index = self.0.iter().position(|inflow| inflow.id == id)?;
        let inflow = self.0.swap_remove(index);
        if inflow.held.is_some() {
            session.release(id);
        }
        Some(inflow.sender)
    }

    /// Nothing more of any body will come.
    pub(crate) fn fail_all(&mut self, why: impl Fn() -> Status) {
        self.0.drain(..).for_each(|inflow| inflow.sender.fail(why()));
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
            if inflow.held.is_some() || !inflow.sender.poll_unread(cx) {
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
        mut unread: impl FnMut(&mut W, u64),
    ) -> bool {
        let mut stalled = false;
        let mut index = 0;
        while let Some(inflow) = self.0.get_mut(index) {
            let Some((frame, end)) = inflow.held.take() else {
                index += 1;
                continue;
            };
            let Poll::Ready(room) = inflow.sender.poll_ready(cx) else {
                inflow.held = Some((frame, end));
                stalled |= !inflow.alone;
                index += 1;
                continue;
            };
            let id = inflow.id;
            if room.is_ok() && !frame.is_empty() {
                inflow.sender.push(frame);
            }
            if end {
                self.0.swap_remove(index).sender.finish();
            } else if room.is_err() {
                self.0.swap_remove(index);
                unread(session, id);
            } else {
                index += 1;
            }
            session.release(id);
        }
        stalled
    }
}
