//! `Fault`: fails in the ways that a service can fail.

use serde::{Deserialize, Serialize};
use trunkline::{Code, Message, Result, Status, service};

/// What to fail with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Fail {
    message: String,
}

/// How large a reply to give.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Size {
    bytes: i64,
}

/// So many `x`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Big {
    data: String,
}

/// Failures to order.
#[service]
pub(crate) trait Fault {
    /// Fails with exactly this message.
    async fn fail(&self, what: Fail) -> Result<()>;
    /// Panics; the process goes on, and the text does not reach the caller.
    async fn panic(&self) -> Result<()>;
    /// A text of that many `x`; over the reply limit it is an error.
    async fn big(&self, size: Size) -> Result<Big>;
}

/// Fails.
pub(crate) struct Saboteur {
    /// The largest body of a reply, in bytes.
    pub(crate) body_limit: usize,
}

impl Fault for Saboteur {
    async fn fail(&self, what: Fail) -> Result<()> {
        Err(Status::failed(what.message))
    }

    #[expect(clippy::panic, reason = "that is what it is for")]
    async fn panic(&self) -> Result<()> {
        panic!("Fault.Panic was called")
    }

    async fn big(&self, size: Size) -> Result<Big> {
        let bytes = usize::try_from(size.bytes)
            .map_err(|_| Status::new(Code::InvalidInput, "Bytes must not be negative"))?;
        // One byte over the limit is refused like any number of them, and takes no more memory than that.
        Ok(Big { data: "x".repeat(bytes.min(self.body_limit.saturating_add(1))) })
    }
}
