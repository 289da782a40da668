//! The wire of saber's clusters: frames between nodes of mailbox services.
//!
//! Every number is big-endian. A frame is a length of four bytes, of all that follows, and then:
//!
//! | bytes | field |
//! | --- | --- |
//! | 1 | type: 4 request, 5 response, 6 between Trunkline nodes; any other is passed over |
//! | 8 | handle of the service that sends |
//! | 4 | session of the call; 0: nobody waits for an answer (a notify) |
//! | 8 | handle of the service that is meant |
//! | 1+n | method, at most 64 bytes |
//! | 4 | responses only: code, 0 or why the call failed (10001) |
//! | 1+n | failed responses only: the text |
//! | rest | body, in the codec of the service (JSON where nothing else is said) |
//!
//! The frames of type 6 are ours: a Go node passes over types that it does not know.
//!
//! - A **hello** is the first frame of a connection: who dials, and whether an answer is wanted. A Trunkline node answers
//!   it on the same connection; a Go node stays silent, and reads nothing on connections that it dialled.
//! - A **hint** stands before a request and says what that has no room for: how long its caller waits, and the chain of
//!   serial services that wait for it.
//! - A **code** stands before a failed response and says which kind of failure it is.
//! - A **stop** says to those who have called on a connection that the node takes no more calls; each sends one back behind
//!   its last call.
//!
//! There is no session here: any end of a connection may call, and an answer may come by another connection than its call
//! went. So this is a decoder and encoders, and what belongs together is known to the node alone.
//!
//! Sources: the facts were read from the Go module `github.com/xingshuo/saber` (`pkg/codec.go`, `pkg/sidecar.go`), and checked
//! against the recorded bytes in `testdata/saber`.

mod decode;
mod encode;
mod handle;
mod own;

pub use decode::{Decoder, Next, Step};
pub use encode::{Mark, begin_request, begin_response, fail, finish};
pub use handle::{Handle, cluster_hash};
pub use own::{Chain, Hello, Hint, write_code, write_stop};

use crate::WireError;

/// The wire's name, for logs and errors.
pub const NAME: &str = "saber";

/// The longest name of a method in bytes: a longer one makes a Go node crash.
pub const METHOD: usize = 64;

/// The longest text of a failure in bytes: its length is one byte.
pub const TEXT: usize = 255;

/// The code of every failure, as the Go program sends it.
pub const FAILED: u32 = 10001;

/// What stands before the method's length: length, type, source, session, destination.
const FIXED: usize = 4 + 1 + 8 + 4 + 8;

/// The longest frame of our own. Every head is shorter.
const LONGEST_OWN: usize = 64 << 10;

const REQUEST: u8 = 4;
const RESPONSE: u8 = 5;
const OWN: u8 = 6;

/// A call, or a notify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The service that calls.
    pub source: Handle,
    /// Ties the response to the call; 0 where none is wanted.
    pub session: u32,
    /// The service that is called.
    pub destination: Handle,
    /// The method as the caller wrote it; not yet known to be UTF-8. At most [`METHOD`] bytes.
    pub method: &'a [u8],
}

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// The service that was called.
    pub source: Handle,
    /// The session of the call.
    pub session: u32,
    /// The service that called.
    pub destination: Handle,
    /// The method that was called.
    pub method: &'a [u8],
    /// Why the call failed, if it did: the code and the text; not yet known to be UTF-8.
    pub failure: Option<(u32, &'a [u8])>,
}

/// A whole frame, borrowed from the bytes that brought it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame<'a> {
    /// A call or a notify, with its body.
    Request(Request<'a>, &'a [u8]),
    /// An answer, with its body; that of a failure is empty.
    Response(Response<'a>, &'a [u8]),
    /// Who is at the other end, from a Trunkline node.
    Hello(Hello<'a>),
    /// What the next request of the connection has no room for, from a Trunkline node.
    Hint(Hint<'a>),
    /// What kind of failure the next response of the connection is, from a Trunkline node.
    Code(u16),
    /// The node takes no more calls here; or, as the answer to that, no more come.
    Stop,
}

fn malformed(rule: &'static str, offset: usize) -> WireError {
    WireError::Malformed { wire: NAME, rule, offset }
}
