//! Codecs: one message type in every serialisation that a wire can name.
//!
//! [`Payload`] is what a service method takes and gives. A type with `#[derive(Message)]` is one, and so are
//! [`bytes::Bytes`], `Vec<u8>` and `String` (the body as it is), `()` (the message without fields) and prost's types
//! ([`prost_payload!`](crate::prost_payload)).

use std::cell::Cell;

use bytes::Bytes;
use trunkline_wire::Serialization;

use crate::message::{Message, Schema};

pub mod dynamic;
mod error;
#[cfg(feature = "netrpc")]
pub mod gob;
pub mod gzip;
mod json;
mod lenient;
mod msgpack;
#[cfg(feature = "protobuf")]
mod protobuf;
#[cfg(feature = "thrift")]
mod thrift;

/// MessagePack of values that are no messages.
#[cfg(feature = "netrpc")]
pub(crate) mod msgpack_any {
    pub(crate) use super::msgpack::{decode_any as decode, encode_any as encode};
}

pub use error::Error;
#[cfg(feature = "protobuf")]
#[doc(hidden)]
pub use protobuf::{prost_decode, prost_encode};

/// How deep messages may be nested in protobuf, Thrift, gob and MessagePack; JSON has 128.
pub(crate) const MAX_DEPTH: usize = 64;

/// A message may take this much memory whatever the size of its body.
const FREE_MEMORY: usize = 4 << 20;

/// Beyond [`FREE_MEMORY`], a message may take so many bytes of memory for a byte of its body. Elements that are
/// empty on the wire are not so in memory: without a bound a body of 4 MiB could ask for gigabytes.
const MEMORY_RATIO: usize = 64;

/// What a message may still take while it is read.
pub(crate) struct Budget(Cell<usize>);

impl Budget {
    fn of(body: &[u8]) -> Self {
        Self(Cell::new(FREE_MEMORY.saturating_add(body.len().saturating_mul(MEMORY_RATIO))))
    }

    /// Takes memory for an element or a nested message; `false` where there is none left.
    fn take(&self, bytes: usize) -> bool {
        let left = self.0.get().checked_sub(bytes);
        self.0.set(left.unwrap_or(0));
        left.is_some()
    }

    /// What to say when it is exceeded.
    const EXCEEDED: &str = "the message would take more than 64 times the memory of its body";
}

/// What a client sends a value in, unless it is told otherwise.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preferred {
    /// In what the channel says.
    Channels,
    /// As the type of the reply says.
    Replys,
    /// In this one.
    Only(Serialization),
}

impl Preferred {
    /// For an argument of this preference and a reply of that one; `None` where it is for the channel to say.
    pub(crate) fn of_call(argument: Self, reply: Self) -> Option<Serialization> {
        match (argument, reply) {
            // Bytes go as they are in any of them; the reply does not.
            (Self::Only(Serialization::Raw), Self::Channels) => None,
            (Self::Only(one), _) | (Self::Replys, Self::Only(one)) => Some(one),
            _ => None,
        }
    }
}

/// A value that travels as the body of a call or a reply.
///
/// A field that is absent from a body reads as empty (zero, no text, no elements), in every codec, as it
/// does in Go; fields that nobody knows are passed over.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use trunkline::codec::Payload;
/// use trunkline::wire::Serialization;
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize, trunkline::Message)]
/// #[serde(rename_all = "PascalCase")]
/// struct Args {
///     a: i64,
///     b: i64,
/// }
///
/// let mut body = Vec::new();
/// Args { a: 10, b: 20 }.encode(Serialization::Json, &mut body)?;
/// assert_eq!(body, br#"{"A":10,"B":20}"#);
/// assert_eq!(Args::decode(Serialization::Json, br#"{"B":20}"#)?, Args { a: 0, b: 20 });
///
/// let error = Args::decode(Serialization::Json, br#"{"B":"x"}"#).unwrap_err();
/// assert_eq!(error.to_string(), r#"json: field B: invalid type: string "x", expected i64"#);
/// # Ok::<(), trunkline::codec::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel as the body of a call or a reply",
    note = "derive serde's Serialize and Deserialize and trunkline::Message for it, or use trunkline::Bytes, String or ()"
)]
pub trait Payload: Sized {
    /// Appends the body to `out`; on an error `out` is as it was.
    ///
    /// # Errors
    /// Where the serialisation cannot carry the value ([`Error::is_unsupported`]).
    fn encode(&self, how: Serialization, out: &mut Vec<u8>) -> Result<(), Error>;

    /// Reads the value from a whole body.
    ///
    /// # Errors
    /// Where the serialisation is not supported for the type, or the bytes are not such a message. What the
    /// bytes say never makes it panic, recurse without end, or take memory for elements that are not there.
    fn decode(how: Serialization, body: &[u8]) -> Result<Self, Error>;

    /// The same from bytes that may be kept: [`Bytes`] takes them without a copy.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    fn decode_bytes(how: Serialization, body: Bytes) -> Result<Self, Error> {
        Self::decode(how, &body)
    }

    /// What the type looks like, for `describe`, `template` and fingerprints.
    fn schema() -> Schema;

    /// What a client sends it in, unless it is told otherwise.
    #[doc(hidden)]
    const DEFAULT: Preferred = Preferred::Channels;

    /// The body in memory of its own; [`Bytes`] gives itself without a copy.
    #[doc(hidden)]
    fn into_bytes(self, how: Serialization) -> Result<Bytes, Error> {
        let mut out = Vec::with_capacity(256);
        self.encode(how, &mut out)?;
        Ok(out.into())
    }
}

/// The bytes are the body; in gob they are a `[]byte`.
impl Payload for Bytes {
    #[inline]
    fn encode(&self, how: Serialization, out: &mut Vec<u8>) -> Result<(), Error> {
        put_bytes(self, how, out);
        Ok(())
    }

    fn decode(how: Serialization, body: &[u8]) -> Result<Self, Error> {
        take_bytes(how, body).map(Self::copy_from_slice)
    }

    #[inline]
    fn decode_bytes(how: Serialization, body: Bytes) -> Result<Self, Error> {
        match how {
            #[cfg(feature = "netrpc")]
            Serialization::Gob => gob::share_bytes(body),
            _ => Ok(body),
        }
    }

    fn schema() -> Schema {
        Schema::raw()
    }

    const DEFAULT: Preferred = Preferred::Only(Serialization::Raw);

    #[inline]
    fn into_bytes(self, how: Serialization) -> Result<Bytes, Error> {
        Ok(if how == Serialization::Gob { framed(&self, how) } else { self })
    }
}

/// As [`Bytes`].
impl Payload for Vec<u8> {
    fn encode(&self, how: Serialization, out: &mut Vec<u8>) -> Result<(), Error> {
        put_bytes(self, how, out);
        Ok(())
    }

    fn decode(how: Serialization, body: &[u8]) -> Result<Self, Error> {
        take_bytes(how, body).map(<[u8]>::to_vec)
    }

    fn decode_bytes(how: Serialization, body: Bytes) -> Result<Self, Error> {
        if how == Serialization::Gob { Self::decode(how, &body) } else { Ok(body.into()) }
    }

    fn schema() -> Schema {
        Schema::raw()
    }

    const DEFAULT: Preferred = Preferred::Only(Serialization::Raw);

    fn into_bytes(self, how: Serialization) -> Result<Bytes, Error> {
        Ok(if how == Serialization::Gob { framed(&self, how) } else { self.into() })
    }
}

/// Appends bytes as the whole body.
#[inline(always)]
fn put_bytes(bytes: &[u8], how: Serialization, out: &mut Vec<u8>) {
    match how {
        #[cfg(feature = "netrpc")]
        Serialization::Gob => gob::encode_bytes(bytes, trunkline_wire::gob::builtin::BYTES, out),
        _ => out.extend_from_slice(bytes),
    }
}

/// The bytes that are the whole body.
fn take_bytes(how: Serialization, body: &[u8]) -> Result<&[u8], Error> {
    match how {
        #[cfg(feature = "netrpc")]
        Serialization::Gob => gob::decode_bytes(body),
        _ => Ok(body),
    }
}

/// A body around the bytes, in memory of its own.
#[inline(never)]
fn framed(bytes: &[u8], how: Serialization) -> Bytes {
    let mut out = Vec::with_capacity(bytes.len().saturating_add(16));
    put_bytes(bytes, how, &mut out);
    out.into()
}

/// The body as it is, which has to be UTF-8; in gob it is a `string`.
impl Payload for String {
    fn encode(&self, how: Serialization, out: &mut Vec<u8>) -> Result<(), Error> {
        match how {
            #[cfg(feature = "netrpc")]
            Serialization::Gob => {
                gob::encode_bytes(self.as_bytes(), trunkline_wire::gob::builtin::STRING, out);
            }
            _ => out.extend_from_slice(self.as_bytes()),
        }
        Ok(())
    }

    fn decode(how: Serialization, body: &[u8]) -> Result<Self, Error> {
        #[cfg(feature = "netrpc")]
        if how == Serialization::Gob {
            return gob::decode_text(body).map(str::to_owned);
        }
        let _ = how;
        match std::str::from_utf8(body) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(Error::body("raw", error)),
        }
    }

    fn schema() -> Schema {
        Schema::raw()
    }

    const DEFAULT: Preferred = Preferred::Only(Serialization::Raw);

    fn into_bytes(self, how: Serialization) -> Result<Bytes, Error> {
        if how != Serialization::Gob {
            return Ok(self.into_bytes().into());
        }
        let mut out = Vec::new();
        self.encode(how, &mut out)?;
        Ok(out.into())
    }
}

impl Payload for () {
    fn encode(&self, how: Serialization, out: &mut Vec<u8>) -> Result<(), Error> {
        if how == Serialization::Raw {
            return Ok(());
        }
        crate::message::Empty {}.encode(how, out)
    }

    /// No bytes at all are the empty message too, in every serialisation.
    fn decode(how: Serialization, body: &[u8]) -> Result<Self, Error> {
        if body.is_empty() {
            return known(how);
        }
        crate::message::Empty::decode(how, body).map(drop)
    }

    fn schema() -> Schema {
        Schema::of::<crate::message::Empty>()
    }

    const DEFAULT: Preferred = Preferred::Replys;
}

impl<M: Message> Payload for M {
    fn encode(&self, how: Serialization, out: &mut Vec<u8>) -> Result<(), Error> {
        let start = out.len();
        let done = match how {
            Serialization::Json => json::encode(self, out),
            Serialization::MessagePack => msgpack::encode(self, out),
            #[cfg(feature = "protobuf")]
            Serialization::Protobuf => protobuf::encode(self, out),
            #[cfg(feature = "thrift")]
            Serialization::Thrift => thrift::encode(self, out),
            #[cfg(feature = "netrpc")]
            Serialization::Gob => gob::encode(self, out),
            other => Err(not_here::<M>(other)),
        };
        if done.is_err() {
            out.truncate(start);
        }
        done
    }

    fn decode(how: Serialization, body: &[u8]) -> Result<Self, Error> {
        match how {
            Serialization::Json => json::decode(body),
            Serialization::MessagePack => msgpack::decode(body),
            #[cfg(feature = "protobuf")]
            Serialization::Protobuf => protobuf::decode(body),
            #[cfg(feature = "thrift")]
            Serialization::Thrift => thrift::decode(body),
            #[cfg(feature = "netrpc")]
            Serialization::Gob => gob::decode(body),
            other => Err(not_here::<M>(other)),
        }
    }

    fn schema() -> Schema {
        Schema::of::<M>()
    }
}

/// Whether a serialisation exists at all and is built in.
fn known(how: Serialization) -> Result<(), Error> {
    match how {
        Serialization::Raw | Serialization::Json | Serialization::MessagePack => Ok(()),
        Serialization::Protobuf if cfg!(feature = "protobuf") => Ok(()),
        Serialization::Thrift if cfg!(feature = "thrift") => Ok(()),
        Serialization::Gob if cfg!(feature = "netrpc") => Ok(()),
        other => Err(not_built(other)),
    }
}

/// Makes types that prost generated payloads: `prost_payload!(Args, Reply);`. They travel as protobuf only.
///
/// Each type must implement `prost::Message` (0.14) and `Default`.
#[cfg(feature = "protobuf")]
#[macro_export]
macro_rules! prost_payload {
    ($($type:ty),+ $(,)?) => {$(
        impl $crate::codec::Payload for $type {
            fn encode(
                &self,
                how: $crate::wire::Serialization,
                out: &mut ::std::vec::Vec<u8>,
            ) -> ::std::result::Result<(), $crate::codec::Error> {
                $crate::__private::prost_encode(self, ::std::stringify!($type), how, out)
            }

            fn decode(
                how: $crate::wire::Serialization,
                body: &[u8],
            ) -> ::std::result::Result<Self, $crate::codec::Error> {
                $crate::__private::prost_decode(::std::stringify!($type), how, body)
            }

            fn schema() -> $crate::message::Schema {
                $crate::message::Schema::opaque(::std::stringify!($type))
            }

            const DEFAULT: $crate::codec::Preferred =
                $crate::codec::Preferred::Only($crate::wire::Serialization::Protobuf);
        }
    )+};
}

/// Why a message cannot travel in `how`.
#[cold]
fn not_here<M: Message>(how: Serialization) -> Error {
    match how {
        Serialization::Raw => {
            Error::unsupported("raw", format_args!("{} has fields; raw bytes carry none", M::NAME))
        }
        other => not_built(other),
    }
}

/// Why nothing can travel in `how`. The text for an unknown number is the one that rpcx's clients know.
#[cold]
pub(crate) fn not_built(how: Serialization) -> Error {
    let (codec, feature) = match how {
        Serialization::Protobuf => ("protobuf", "protobuf"),
        Serialization::Thrift => ("thrift", "thrift"),
        Serialization::Gob => ("gob", "netrpc"),
        Serialization::Other(number) => {
            return Error::unsupported("", format_args!("can not find codec for {number}"));
        }
        other => return Error::unsupported("", format_args!("can not find codec for {other:?}")),
    };
    Error::unsupported(
        codec,
        format_args!("this program was built without the feature `{feature}` of trunkline"),
    )
}
