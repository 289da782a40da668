//! One connection of a channel, for its task and for batches of calls.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::sync::{Notify, broadcast};
use tokio::time::Instant;
use trunkline_wire::Session;

use super::calls::{Ended, Outcome};
use super::links::{Links, Locked, Place, WRITE_AHEAD, abandon_all};
use super::settings::{Settings, Strays};
use crate::net::driver::Close;
use crate::{Call, Code, Origin, Push, Status};

/// One connection of a channel, as long as its task runs or a batch is on it.
pub(crate) struct Link<W> {
    pub(super) links: Arc<Links<W>>,
    pub(super) number: u64,
    pub(super) pushes: broadcast::Sender<Push>,
    pub(super) strays: Arc<Strays>,
    /// Told when the server announces that it will stop.
    pub(crate) draining: Notify,
    /// Told when there is room in the write buffer again, or never will be.
    pub(super) room: Notify,
}

/// Why a group of calls was not begun to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// It was.
    Enough,
    /// The connection takes no new calls.
    Elsewhere,
    /// The server does not take what was written so far: see [`Link::room`].
    Later,
}

impl<W> Drop for Link<W> {
    fn drop(&mut self) {
        self.links.leave(self.number);
    }
}

impl<W: Session> Link<W> {
    /// A new connection, which the channel's calls go to from now on; callers may send to `socket` themselves.
    pub(crate) fn new(
        socket: Option<OwnedFd>,
        links: Arc<Links<W>>,
        pushes: broadcast::Sender<Push>,
        strays: Arc<Strays>,
    ) -> Self {
        let number = links.add(socket);
        Self { links, number, pushes, strays, draining: Notify::new(), room: Notify::new() }
    }

    pub(crate) fn lock(&self) -> Locked<'_, W> {
        self.links.get(self.number)
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.links.settings
    }

    pub(super) fn origin(&self) -> Origin {
        self.settings().origin::<W>()
    }

    pub(super) fn status(&self, code: Code, message: impl Into<std::borrow::Cow<'static, str>>) -> Status {
        self.settings().status::<W>(code, message)
    }

    /// Puts calls into the write buffer in one go, from the front, as long as there is room. What is left in `calls` was
    /// not begun; the ids of those that were come to `ids`, and `failed` is told by its number of each that cannot be made.
    /// The group is the one given, or a new one with a place for each answer as `ended` makes it.
    pub(crate) fn begin_group(
        &self,
        calls: &mut VecDeque<(usize, Call)>,
        deadline: Instant,
        group: &mut Option<u32>,
        ended: impl FnOnce() -> Ended,
        ids: &mut Vec<u64>,
        mut failed: impl FnMut(usize, Status),
    ) -> Room {
        let mut prepared = self.settings().prepare_all::<W>(calls).into_iter();
        let some = if prepared.len() == 0 { calls.len() } else { prepared.len() };
        let mut room = if some < calls.len() { Room::Later } else { Room::Enough };
        let ended = group.is_none().then(ended);
        let mut gone = 0;
        let mut guard = self.lock();
        let state = &mut *guard;
        if let Some(ended) = ended {
            *group = state.calls.group(ended);
        }
        for (number, call) in calls.iter_mut().take(some) {
            match state.place() {
                Place::Free => {}
                Place::Closed => {
                    room = Room::Elsewhere;
                    break;
                }
                Place::Full => {
                    room = Room::Later;
                    break;
                }
            }
            gone += 1;
            let prepared = match prepared.next() {
                Some(Err(status)) => {
                    failed(*number, status);
                    continue;
                }
                Some(Ok(prepared)) => prepared,
                None => None,
            };
            let deadline = call.context.deadline.unwrap_or(deadline);
            let inserted = group.and_then(|group| state.calls.insert_in(group, *number, deadline));
            match state.write(self.settings(), inserted, call, prepared.as_ref()) {
                Ok(id) => ids.push(id),
                Err(status) => failed(*number, status),
            }
        }
        let task = state.task.take();
        drop(guard);
        calls.drain(..gone);
        if let Some(task) = task {
            task.wake();
        }
        room
    }

    /// Whether the server has said anything.
    pub(crate) fn was_heard(&self) -> bool {
        self.lock().heard
    }

    /// Waits until a call may be put into the write buffer, or the connection is closed.
    pub(crate) async fn room(&self) {
        let mut room = std::pin::pin!(self.room.notified());
        // Before the look at the buffer, so that no notice is missed.
        room.as_mut().enable();
        let full = {
            let state = self.lock();
            !state.closed && state.out.len() >= WRITE_AHEAD
        };
        if full {
            room.await;
        }
    }

    /// Ready when all calls of the group have ended, with each at its number; the group is forgotten then.
    pub(crate) fn poll_all(&self, group: u32, cx: &Context<'_>) -> Poll<Vec<Option<Outcome>>> {
        let mut guard = self.lock();
        let ended = std::task::ready!(guard.calls.poll_all(group, cx));
        guard.finish();
        Poll::Ready(ended)
    }

    /// The number of the next call of the group that has ended, and how; none where all were given.
    pub(crate) fn poll_each(&self, group: u32, cx: &Context<'_>) -> Poll<Option<(usize, Outcome)>> {
        let mut guard = self.lock();
        let ended = std::task::ready!(guard.calls.poll_each(group, cx));
        guard.finish();
        Poll::Ready(ended)
    }

    /// Nobody waits for a group any more.
    pub(crate) fn abandon_group(&self, group: u32, ids: &[u64]) {
        abandon_all(self.lock(), ids, |state| state.calls.remove_group(group));
    }

    /// No new calls on this connection; it ends when the last one has.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let task = state.task.take();
        drop(state);
        self.room.notify_waiters();
        if let Some(task) = task {
            task.wake();
        }
    }

    /// The connection is gone: every call that waits fails.
    pub(crate) fn fail_all(&self, close: &Close) {
        let text = match close {
            Close::Done => "the connection was lost: the server closed it".to_owned(),
            close => format!("the connection was lost: {close}"),
        };
        let mut wakers = Vec::new();
        let mut guard = self.lock();
        let state = &mut *guard;
        state.closed = true;
        state.outlet.close();
        let kept = (std::mem::take(&mut state.outflows), std::mem::take(&mut state.out));
        state
            .calls
            .end_all(|| Err(self.status(Code::Unavailable, text.clone())), |waker| wakers.extend(waker));
        drop(guard);
        drop(kept);
        self.room.notify_waiters();
        wakers.into_iter().for_each(Waker::wake);
    }
}
