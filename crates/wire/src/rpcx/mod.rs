//! The rpcx wire, which easymicro speaks too.
//!
//! A frame is a header of 16 bytes ([`Header`]), then four texts with a length each: service path, method,
//! metadata and body ([`Frame`]). [`Rpcx`] is the [`Session`](crate::Session) of both roles. Replies are tied to
//! calls by the sequence number and come in any order. All integers are big-endian.
//!
//! Where the Go programs are lax this reader is strict: the four lengths must add up to the total, an unknown
//! compression or a frame that the other side has no business to send ends the connection. A version other
//! than 0 and a status in a request are taken as the Go servers take them.

mod client;
mod encode;
mod frame;
mod header;
mod heartbeat;
mod server;
mod session;
mod usual;

pub use frame::Frame;
pub use header::Header;
pub use session::Rpcx;

use crate::WireError;

/// The wire's name, for logs and errors.
pub(crate) const NAME: &str = "rpcx";

/// Metadata keys that the wire itself gives a meaning.
pub mod keys {
    /// The text of a failure, as rpcx sends it.
    pub const RPCX_ERROR: &str = "__rpcx_error__";
    /// The text of a failure, as easymicro sends it.
    pub const EASYMICRO_ERROR: &str = "easymicro_error__";
    /// The status code of a failure, decimal; only between Trunkline peers.
    pub const CODE: &str = "__trunkline_code";
    /// The service's own error value in the serialisation of the call; only between Trunkline peers.
    pub const DETAILS: &str = "__trunkline_details";
    /// In a heartbeat: `1` asks whether the peer is Trunkline too, `2` says yes.
    pub const TRUNKLINE: &str = "__trunkline";
    /// In a one-way heartbeat frame: the call of this sequence number is not wanted any more.
    pub const CANCEL: &str = "__trunkline_cancel";
    /// In a one-way heartbeat frame that a server pushes: it will stop.
    pub const DRAIN: &str = "__trunkline_drain";
}

/// A broken rule of the wire.
#[cold]
pub(crate) fn malformed(rule: &'static str, offset: usize) -> WireError {
    WireError::Malformed { wire: NAME, rule, offset }
}

/// A length over a limit.
#[cold]
pub(crate) fn too_large(what: &'static str, got: usize, limit: usize, setting: &'static str) -> WireError {
    let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    WireError::TooLarge { wire: NAME, what, got: wide(got), limit: wide(limit), setting }
}

/// Something that the wire or the role has no words for.
#[cold]
pub(crate) fn unsupported(what: &'static str) -> WireError {
    WireError::Unsupported { wire: NAME, what }
}
