//! How much went over a connection, for whoever looks at a server.

use std::fmt;
use std::sync::Arc;

/// How much went over a connection, or a channel. Frames and bytes are counted when they are written or
/// understood; what was kept or waits counts when it has its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Frames sent.
    pub frames_sent: u64,
    /// Frames received.
    pub frames_received: u64,
    /// Messages sent to their end.
    pub messages_sent: u64,
    /// Messages received to their end.
    pub messages_received: u64,
    /// Bytes sent, of whole frames.
    pub bytes_sent: u64,
    /// Bytes received, of whole frames.
    pub bytes_received: u64,
}

impl Traffic {
    #[inline]
    pub(crate) fn sent(&mut self, frames: u64, end: bool, bytes: u64) {
        self.frames_sent = self.frames_sent.wrapping_add(frames);
        self.messages_sent = self.messages_sent.wrapping_add(u64::from(end));
        self.bytes_sent = self.bytes_sent.wrapping_add(bytes);
    }

    #[inline]
    pub(crate) fn received(&mut self, end: bool, bytes: u64) {
        self.frames_received = self.frames_received.wrapping_add(1);
        self.messages_received = self.messages_received.wrapping_add(u64::from(end));
        self.bytes_received = self.bytes_received.wrapping_add(bytes);
    }

    /// Adds what went elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.frames_sent = self.frames_sent.wrapping_add(other.frames_sent);
        self.frames_received = self.frames_received.wrapping_add(other.frames_received);
        self.messages_sent = self.messages_sent.wrapping_add(other.messages_sent);
        self.messages_received = self.messages_received.wrapping_add(other.messages_received);
        self.bytes_sent = self.bytes_sent.wrapping_add(other.bytes_sent);
        self.bytes_received = self.bytes_received.wrapping_add(other.bytes_received);
    }
}

/// What a server's session says of itself ([`Session::report`](crate::Session::report)).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// What went over the connection.
    pub total: Traffic,
    /// How many requests that have come whole are not answered whole.
    pub unanswered: u64,
    /// The channels in ascending order.
    pub channels: Vec<ChannelReport>,
}

/// What a session says of one of its channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChannelReport {
    /// The channel.
    pub id: u32,
    /// How many frames wait to be looked at.
    pub waiting: usize,
    /// How many requests that have come whole are not answered whole.
    pub unanswered: u64,
    /// What went over it.
    pub traffic: Traffic,
}

/// Says which number a method has; `None` for names that are not counted. A clone is the same.
#[derive(Clone)]
pub struct MethodNumbers(Arc<Find>);

type Find = dyn Fn(&[u8], &[u8]) -> Option<u32> + Send + Sync;

impl MethodNumbers {
    /// By this function of the names of a service and a method.
    pub fn new(number: impl Fn(&[u8], &[u8]) -> Option<u32> + Send + Sync + 'static) -> Self {
        Self(Arc::new(number))
    }

    pub(crate) fn find(&self, service: &[u8], method: &[u8]) -> Option<u32> {
        (self.0)(service, method)
    }
}

impl fmt::Debug for MethodNumbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MethodNumbers")
    }
}
