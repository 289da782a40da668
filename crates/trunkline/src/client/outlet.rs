//! The way past a connection's task: where nothing else is in flight a call is sent by its caller, and the task sleeps on
//! until the answer comes.

use std::os::fd::OwnedFd;

use rustix::net::{SendFlags, send};
use tokio::time::Instant;

/// What a caller has to know of a connection's task before it sends.
#[derive(Debug)]
pub(super) struct Outlet {
    /// A second descriptor of the socket; none where it is no socket, where no descriptor was left, and at the end.
    socket: Option<OwnedFd>,
    /// The task had nothing to write when it was polled last.
    pub(super) free: bool,
    /// The task will be polled by then without being woken.
    pub(super) task_wakes_at: Instant,
    /// When a caller has sent last, until the task has seen it.
    pub(super) sent_at: Option<Instant>,
    /// The socket took a part of a frame. The rest goes before all else.
    pub(super) cut: bool,
}

impl Outlet {
    pub(super) fn new(socket: Option<OwnedFd>, now: Instant) -> Self {
        Self { socket, free: false, task_wakes_at: now, sent_at: None, cut: false }
    }

    /// Whether a call that ends at `deadline` may be sent past the task: it will be there to end it.
    #[inline]
    pub(super) fn takes(&self, deadline: Instant) -> bool {
        self.free && self.socket.is_some() && self.task_wakes_at <= deadline
    }

    /// Sends once; how many bytes the socket took. Where it fails the task will see why.
    #[inline]
    pub(super) fn send(&mut self, bytes: &[u8], now: Instant) -> usize {
        let Some(socket) = &self.socket else { return 0 };
        let sent = send(socket, bytes, SendFlags::NOSIGNAL).unwrap_or(0);
        self.sent_at = Some(now);
        if sent < bytes.len() {
            (self.free, self.cut) = (false, sent > 0);
        }
        sent
    }

    /// The connection is gone: its socket must not stay open for this.
    pub(super) fn close(&mut self) {
        self.socket = None;
    }
}
