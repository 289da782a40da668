//! What a server sends of its own accord, as a channel's user reads it.

use tokio::sync::broadcast;

use super::channel::Channel;
use crate::{Code, Push, Result, Status};

/// The messages that a server sends of its own accord; begun by [`Channel::pushes`].
#[derive(Debug)]
pub struct Pushes {
    pub(super) received: broadcast::Receiver<Push>,
    /// Keeps the connection that they come on.
    pub(super) channel: Channel,
}

impl Pushes {
    /// The next message, over whatever connection the channel has by then; `None`, at once, where the wire has no such
    /// messages (HTTP).
    ///
    /// # Errors
    /// The reader was too slow, and so many messages were lost: [`Code::Limited`]. The stream goes on.
    pub async fn next(&mut self) -> Option<Result<Push>> {
        if !self.channel.kind().pushes() {
            return None;
        }
        match self.received.recv().await {
            Ok(push) => Some(Ok(push)),
            Err(broadcast::error::RecvError::Closed) => None,
            Err(broadcast::error::RecvError::Lagged(lost)) => {
                let text = format!("{lost} pushes were lost: the reader was too slow");
                Some(Err(Status::new(Code::Limited, text)))
            }
        }
    }
}
