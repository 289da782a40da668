//! The IIP wire.
//!
//! A frame is a status, a path ended by a zero byte, a channel, and a length with so many bytes of data ([`Frame`]).
//! [`Iip`] is the [`Session`](crate::Session) of both roles. A channel keeps its order both ways: that is the only tie
//! between a request and its answer. Channels are independent of each other. All integers are big-endian.
//!
//! **Names.** A path of exactly two segments that are not empty is service and method; of every other path, and of system
//! paths (`/sys/…`), the service is empty and the method is the whole path, without its query. Nothing is percent-decoded, neither for the names nor
//! for the path that an answer repeats: a decoded zero byte would end it early.
//!
//! **Failures** are data, `{"code":…,"message":…}`. A reply that is such an object and nothing else is read as a
//! failure; so is the last frame of a reply of several. The text is given with its JSON escapes, which
//! [`Session::text`](crate::Session::text) takes out.
//!
//! **Several answers to one request.** A Go server answers each frame of a request whose path it does not know, or
//! whose handler returns before the end. The order is all there is, so the client takes the first answer and sends
//! nothing behind a request of several frames before that has come; where it is a failure, or came before the request's
//! end, the channel is left, and what else comes on it is nobody's. A handler that answers early and well is not noticed:
//! its further answers go to the next calls.
//!
//! **Between Trunkline peers** (the client has asked `/sys/trunkline`, and was answered `{"code":0,"trunkline":2}`) metadata
//! travels in the query ([`metadata`]), a body of no bytes is marked there (the wire has no empty data), and further
//! frames on channel 0 tell of calls that are cancelled, of servers that stop, and how much more of a streamed body may be
//! sent. Nobody else sees any of it. To others
//! a reply without a body is what a Go server says of a handler that gives no data (code 101), a request without a body
//! is `{}`, and a body of several frames whose end comes without data ends with a line feed.
//!
//! Where the Go programs are lax this reader is strict; what they close the connection for, it closes it for too.

mod answers;
mod channel;
mod client;
mod frame;
mod json;
mod known;
mod lane;
mod methods;
mod path;
mod reply;
mod server;
mod session;
mod turn;
mod window;

pub use frame::{Frame, most_uri};
pub use path::{bare, headers, metadata, names};
pub use session::Iip;

pub use crate::Traffic;

use crate::WireError;

/// The wire's name, for logs and errors.
pub(crate) const NAME: &str = "iip";

/// The most data of one frame in bytes.
pub(crate) const MOST_DATA: usize = 16 << 20;

/// The longest path without its query in bytes: a Go server could not write the answer to a longer one, and closes
/// the connection.
pub const MOST_PATH: usize = 2048;

/// The system paths that the session answers itself.
pub(crate) const NEW_CHANNEL: &[u8] = b"/sys/new_channel";
pub(crate) const DELETE_CHANNEL: &[u8] = b"/sys/delete_channel";
pub(crate) const TRUNKLINE: &[u8] = b"/sys/trunkline";

/// What a file is sent to: its data may have all that a frame holds, whatever the limit of bodies is.
const UPLOAD: &[u8] = b"/upload_file";

/// The parameter that says how many more bytes of a body may be sent: `more=CHANNEL.NUMBER.BYTES`.
pub(crate) const MORE: &[u8] = b"more";

/// What stands for no data where the wire needs some.
pub(crate) const NO_DATA: &[u8] = b"{}";

/// What a status says; the same for answers with 4 added.
pub(crate) const FIRST: u8 = 0;
pub(crate) const WHOLE: u8 = 1;
pub(crate) const LATER: u8 = 2;
pub(crate) const LAST: u8 = 3;
pub(crate) const ANSWER: u8 = 4;
pub(crate) const CLOSE: u8 = 8;

/// The status of one frame of a message.
pub(crate) fn status(first: bool, last: bool) -> u8 {
    match (first, last) {
        (true, false) => FIRST,
        (true, true) => WHOLE,
        (false, false) => LATER,
        (false, true) => LAST,
    }
}

/// What the session's own paths may carry at the least, whatever the limit of bodies is: channels are granted there.
const SYSTEM: usize = 4096;

/// The most data that is taken on a path.
#[inline]
pub(crate) fn body_limit(path: &[u8], limits: &crate::Limits) -> usize {
    match path {
        UPLOAD => MOST_DATA,
        NEW_CHANNEL | DELETE_CHANNEL | TRUNKLINE => limits.body.max(SYSTEM),
        _ => limits.body,
    }
}

/// A length as the neutral vocabulary has it.
pub(crate) fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// A broken rule of the wire.
#[cold]
pub(crate) fn malformed(rule: &'static str, offset: usize) -> WireError {
    WireError::Malformed { wire: NAME, rule, offset }
}

/// A length over a limit.
#[cold]
pub(crate) fn too_large(what: &'static str, got: usize, limit: usize, setting: &'static str) -> WireError {
    WireError::TooLarge { wire: NAME, what, got: wide(got), limit: wide(limit), setting }
}

/// Something that the wire or the role has no words for.
#[cold]
pub(crate) fn unsupported(what: &'static str) -> WireError {
    WireError::Unsupported { wire: NAME, what }
}
