//! `Echo`: the same bytes back, by the borrowed path and by an ordinary handler.

use trunkline::{Bytes, ReplyBuf, Result, service};

/// Bodies of any kind, in any serialisation.
#[service]
pub(crate) trait Echo {
    /// The same bytes, from the read buffer into the write buffer.
    fn echo(&self, body: &[u8], reply: &mut ReplyBuf<'_>) -> Result<()>;
    /// The same bytes, through a handler that owns them.
    async fn owned(&self, body: Bytes) -> Result<Bytes>;
}

/// Gives back what it gets.
pub(crate) struct Mirror;

impl Echo for Mirror {
    fn echo(&self, body: &[u8], reply: &mut ReplyBuf<'_>) -> Result<()> {
        reply.extend_from_slice(body);
        Ok(())
    }

    async fn owned(&self, body: Bytes) -> Result<Bytes> {
        Ok(body)
    }
}
