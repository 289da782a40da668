//! Go's net/rpc over gob, which zrpc speaks too.
//!
//! Each side sends one gob stream for the whole life of the connection. A request is two values: the struct
//! `Request{ServiceMethod, Seq}`, then the argument; a response is `Response{ServiceMethod, Seq, Error}`, then the reply,
//! or an empty struct where `Error` says why there is none. Responses come in any order. [`NetRpc`] is the
//! [`Session`](crate::Session) of both roles.
//!
//! - Bodies are self-contained gob streams ([`Serialization::Gob`](crate::Serialization::Gob)): the session takes them off the
//!   connection's stream and puts them onto it ([`gob`](crate::gob)), so that nobody else has to know what the connection has
//!   defined before.
//! - A name is split at its last dot, and refused in Go's words where it has none.
//! - The wire has no metadata, no heartbeats, no compression, no pushes, no streams, and cannot say that a call was given
//!   up. A late answer is consumed and completes nothing.
//! - Where Go's reader is lax this one is strict: a definition that is broken or comes twice ends the connection. A value
//!   whose type was not defined costs its call alone, as in Go.
//!
//! Written from Go's `net/rpc` (`server.go`, `client.go`) and the documentation of `encoding/gob`, and held against recorded
//! bytes in `testdata/netrpc`.

mod client;
mod head;
mod scan;
mod server;
mod session;

pub use session::NetRpc;

use crate::WireError;

/// The wire's name, for logs and errors.
pub(crate) const NAME: &str = "netrpc";

/// The longest text of a failure, in bytes; net/rpc itself has no limit but gob's.
pub const MAX_ERROR: usize = 512 << 10;

/// The definition of `Request`, as a self-contained stream begins.
const REQUEST: &[u8] =
    b"\x2f\xff\x81\x03\x01\x01\x07Request\x01\xff\x82\x00\x01\x02\x01\x0dServiceMethod\x01\x0c\x00\x01\x03Seq\x01\x06\x00\x00\x00";

/// The definition of `Response`.
const RESPONSE: &[u8] =
    b"\x3a\xff\x81\x03\x01\x01\x08Response\x01\xff\x82\x00\x01\x03\x01\x0dServiceMethod\x01\x0c\x00\x01\x03Seq\x01\x06\x00\
      \x01\x05Error\x01\x0c\x00\x00\x00";

/// What stands behind a failure: a struct without a name and without fields, as a self-contained stream.
const EMPTY: &[u8] = b"\x0a\xff\x81\x03\x01\x02\xff\x82\x00\x00\x00\x03\xff\x82\x00";

/// Something that the wire or the role has no words for.
#[cold]
pub(crate) fn unsupported(what: &'static str) -> WireError {
    WireError::Unsupported { wire: NAME, what }
}

/// A length over a limit.
#[cold]
pub(crate) fn too_large(what: &'static str, got: u64, limit: usize, setting: &'static str) -> WireError {
    WireError::TooLarge { wire: NAME, what, got, limit: wide(limit), setting }
}

/// A length as events have it.
pub(crate) fn wide(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::gob::builtin::{STRING, UINT};
    use crate::gob::{Definition, Field, Shape, write_definition};

    #[test]
    fn the_definitions_are_those_that_gob_writes() {
        let field = |name: &str, id| Field { name: name.into(), id };
        let all = [field("ServiceMethod", STRING), field("Seq", UINT), field("Error", STRING)];
        for (bytes, name, count) in [(REQUEST, "Request", 2), (RESPONSE, "Response", 3), (EMPTY, "", 0)] {
            let shape = Shape::Struct(all.get(..count).unwrap().into());
            let mut out = Vec::new();
            write_definition(65, &Definition { name: name.into(), shape }, |id| id, &mut out);
            assert_eq!(out, bytes.get(..out.len()).unwrap(), "{name}");
            assert_eq!(bytes.get(out.len()..).unwrap().is_empty(), count > 0);
        }
    }
}
