//! Go's gob, as far as a service needs it: numbers, messages, type definitions, and how both are taken off one
//! stream and put onto another.
//!
//! A gob stream is a row of messages, each behind its length. A message begins with a type's id: a negative one
//! defines the type, a positive one is followed by a value of it. A stream defines a type once, before the first
//! value that needs it, so that a value alone cannot be read. What travels as a body inside of this framework is
//! therefore *self-contained*: the definitions that its value needs, in the form that [`Types::closure`] gives
//! them, and then the value. [`Incoming`] makes such a body of what a connection brings, [`Outgoing`] takes one
//! apart again for a connection that has had some of the types before.
//!
//! ```
//! use trunkline_wire::Limits;
//! use trunkline_wire::gob::{Incoming, Message, Outgoing};
//!
//! // `Args{A: 7}` as a Go program sends it: the definition of its type, then the value.
//! let wire = b"\x1e\xff\x81\x03\x01\x01\x04Args\x01\xff\x82\x00\x01\x02\x01\x01A\x01\x04\x00\x01\x01B\x01\x04\x00\x00\x00\
//!              \x05\xff\x82\x01\x0e\x00";
//! let limits = Limits::default();
//! let (mut incoming, mut body) = (Incoming::new(&limits), Vec::new());
//! let definition = Message::first(wire, limits.body)?.expect("a whole message");
//! incoming.define(&definition)?;
//! let value = Message::first(&wire[definition.length()..], limits.body)?.expect("another");
//! incoming.graft(&value, &mut body)?;
//! assert_eq!(body, wire);
//!
//! // The second time a connection needs the value alone.
//! let (mut outgoing, mut out) = (Outgoing::new(&limits), Vec::new());
//! outgoing.graft(&body, &mut out)?;
//! let first = out.len();
//! outgoing.graft(&body, &mut out)?;
//! assert_eq!((first, out.len() - first), (36, 6));
//! # Ok::<(), trunkline_wire::gob::Error>(())
//! ```
//!
//! Values of interfaces are passed over, never read: which type they have is said by a name that only Go knows.

mod define;
mod graft;
mod message;
mod number;
mod types;
mod value;

pub use define::write_definition;
pub use graft::{Incoming, Outgoing, split, value_behind};
pub use message::{Message, begin, finish, length, put_single};
pub use number::{Cursor, int_width, put_bytes, put_complex, put_float, put_int, put_uint, uint_width};
pub use types::{Definition, Field, Own, Shape, Types};
pub use value::{Fields, record, skip};

use crate::WireError;

/// How deep values may be nested: a struct, slice, array or map in another counts one.
pub const MAX_DEPTH: usize = 64;

/// Most definitions that one value may need.
pub const MAX_STREAM_TYPES: usize = 256;

/// Most bytes of definitions that one value may need.
pub const MAX_STREAM_DEFINITIONS: usize = 64 << 10;

/// Most bytes of one definition.
pub const MAX_DEFINITION: usize = 32 << 10;

/// Most bytes of definitions that are kept for one connection and direction.
pub const MAX_DEFINITIONS: usize = 512 << 10;

/// The types that every stream knows without a definition.
pub mod builtin {
    /// `bool`.
    pub const BOOL: i64 = 1;
    /// Every signed integer.
    pub const INT: i64 = 2;
    /// Every unsigned integer.
    pub const UINT: i64 = 3;
    /// Every float.
    pub const FLOAT: i64 = 4;
    /// `[]byte`.
    pub const BYTES: i64 = 5;
    /// `string`.
    pub const STRING: i64 = 6;
    /// Every complex number.
    pub const COMPLEX: i64 = 7;
    /// A value behind an interface.
    pub const INTERFACE: i64 = 8;
    /// The first id that a stream defines. Go's own programs begin here.
    pub const FIRST_DEFINED: i64 = 64;
    /// The first id in a self-contained stream.
    pub const FIRST_LOCAL: i64 = 65;
}

/// What is wrong with a stream. The texts begin with `gob: `, and are Go's where Go has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes break a rule of gob.
    #[error("gob: {0}")]
    Malformed(&'static str),
    /// A length or count is over a limit.
    #[error("gob: {what}: {got} is over the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is, as announced.
        got: u64,
        /// The limit, in the same unit.
        limit: u64,
    },
    /// A value or a definition names a type that was not defined.
    #[error("gob: unknown type id {0}")]
    UnknownType(i64),
    /// An id was defined twice.
    #[error("gob: duplicate type received: id {0}")]
    Duplicate(i64),
    /// The value cannot be carried.
    #[error("gob: {0}")]
    Unsupported(&'static str),
}

impl Error {
    /// A count or length over its limit.
    #[cold]
    pub(crate) fn too_large(what: &'static str, got: usize, limit: usize) -> Self {
        let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Self::TooLarge { what, got: wide(got), limit: wide(limit) }
    }

    /// The same as what a session of that wire says.
    #[cold]
    #[must_use]
    pub fn on_wire(self, wire: &'static str) -> WireError {
        match self {
            Self::Malformed(rule) => WireError::Malformed { wire, rule, offset: 0 },
            Self::TooLarge { what, got, limit } => {
                WireError::TooLarge { wire, what, got, limit, setting: "body_limit" }
            }
            Self::UnknownType(_) => WireError::Malformed { wire, rule: "unknown type id", offset: 0 },
            Self::Duplicate(_) => WireError::Malformed { wire, rule: "duplicate type received", offset: 0 },
            Self::Unsupported(what) => WireError::Unsupported { wire, what },
        }
    }
}
