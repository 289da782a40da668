//! What the sessions have in common that are one state for both roles.

use crate::{Next, Step, WireError};

/// Which side of the connection a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Server,
    Client,
}

impl Role {
    /// An error of this wire where the role is another one.
    #[inline]
    pub(crate) fn must_be(self, role: Self, wire: &'static str, what: &'static str) -> Result<(), WireError> {
        if self == role { Ok(()) } else { Err(WireError::Unsupported { wire, what }) }
    }
}

/// Reads past what is left of a body that is too large: so many bytes.
#[cold]
pub(crate) fn read_past<'a>(left: &mut usize, input: &[u8]) -> Step<'a> {
    let consumed = (*left).min(input.len());
    *left = left.saturating_sub(consumed);
    let next = if consumed == 0 { Next::NeedMore(0) } else { Next::Again };
    Step { consumed, next }
}
