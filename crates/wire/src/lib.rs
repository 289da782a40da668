//! The wires that Trunkline speaks: bytes in, events out; calls and replies in, bytes out.
//!
//! Nothing here does I/O, reads a clock or spawns. A [`Session`] is the state machine of one wire on one
//! connection; the one connection driver of the `trunkline` crate feeds it what it reads and writes what it
//! encodes. Every length is checked against its [`Limits`] before memory is taken for it.

#![warn(clippy::indexing_slicing, clippy::as_conversions, clippy::arithmetic_side_effects)]

pub mod detect;
mod error;
mod event;
pub mod gob;
pub mod iip;
mod limits;
mod metadata;
pub mod netrpc;
mod read;
mod role;
pub mod rpcx;
pub mod saber;
mod scratch;
mod session;
mod traffic;

pub use error::WireError;
pub use event::{
    CallHead, Compression, Event, Failure, Payload, PushHead, Refusal, ReplyHead, Serialization,
};
pub use limits::Limits;
pub use metadata::{InvalidMetadata, Metadata, MetadataBuilder, Pairs};
pub use read::Reader;
pub use scratch::Scratch;
pub use session::{CallFrame, Mark, Next, PlainReply, PushFrame, ReplyFrame, Session, Step};
pub use traffic::{ChannelReport, MethodNumbers, Report, Traffic};
