//! Trunkline: one service, every wire.

// What the macros generate names this crate from outside; inside it must have that name too.
extern crate self as trunkline;

pub mod codec;
pub mod message;

pub use message::{Blob, Message};
#[doc(inline)]
pub use trunkline_macros::Message;
pub use trunkline_wire as wire;

/// What generated code names. Not for direct use, and not covered by any promise.
#[doc(hidden)]
pub mod __private {
    pub use std::result::Result::Ok;

    pub use serde::{Serialize, de::DeserializeOwned};

    pub use crate::message::{
        Field, Fields, Form, Kind, Message, Reader, Registry, Spec, Type, Value, Writer,
    };

    #[cfg(feature = "protobuf")]
    pub use crate::codec::{prost_decode, prost_encode};

    pub type Result<T> = std::result::Result<T, crate::codec::Error>;
}
