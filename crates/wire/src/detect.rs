//! Which wire do the first bytes of a connection speak?
//!
//! No more bytes are waited for than decide it:
//!
//! | first bytes | wire |
//! | --- | --- |
//! | `08` | rpcx (easymicro too) |
//! | `A` to `Z` | HTTP |
//! | `00` or `01`, then `/` | IIP; where the fifth byte is 1 to 6, saber |
//! | `2e` to `33`, then `7f` or `f8` to `ff` | gob |
//! | else a big-endian length within the limit | saber |

use crate::Limits;

/// A wire that the first bytes of a connection tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Detected {
    /// rpcx, and easymicro.
    Rpcx,
    /// HTTP/1.
    Http,
    /// IIP.
    Iip,
    /// saber's cluster wire.
    Saber,
    /// Go's gob, as net/rpc speaks it.
    Gob,
}

/// What the first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detection {
    /// They are the beginning of this wire.
    Wire(Detected),
    /// They may still be the beginning of several: ask again when there is at least one more.
    NeedMore,
    /// They are the beginning of no wire: close the connection.
    Unknown,
}

/// Says which wire a fresh connection speaks, from all bytes that have come.
///
/// The limit of a saber length is the most that its session would read past ([`Limits::skip`] and the names),
/// so that a first request that is too large is still answered there.
#[must_use]
pub fn detect(first: &[u8], limits: &Limits) -> Detection {
    match *first {
        [] => Detection::NeedMore,
        [0x08, ..] => Detection::Wire(Detected::Rpcx),
        [b'A'..=b'Z', ..] => Detection::Wire(Detected::Http),
        [0 | 1, b'/', _, _, 1..=6, ..] => Detection::Wire(Detected::Saber),
        [0 | 1, b'/', _, _, _, ..] => Detection::Wire(Detected::Iip),
        [0 | 1] | [0 | 1, b'/', ..] | [0x2e..=0x33] => Detection::NeedMore,
        [0x2e..=0x33, 0x7f | 0xf8..=0xff, ..] => Detection::Wire(Detected::Gob),
        _ => saber_length(first, limits),
    }
}

/// Says which wire is spoken after the answer to a `CONNECT` of this path: the path alone does not tell.
#[must_use]
pub fn after_connect(path: &[u8], first: &[u8]) -> Detection {
    match first {
        [] => Detection::NeedMore,
        [0x08, ..] => Detection::Wire(Detected::Rpcx),
        _ if path == b"/_rpcx_" => Detection::Unknown,
        _ => Detection::Wire(Detected::Gob),
    }
}

/// Whether the bytes can begin a saber frame: a length of four bytes, of which fewer may be enough to tell.
fn saber_length(first: &[u8], limits: &Limits) -> Detection {
    let mut least = [0; 4];
    let mut most = [0xff; 4];
    for ((least, most), byte) in least.iter_mut().zip(&mut most).zip(first) {
        *least = *byte;
        *most = *byte;
    }
    let limit = u32::try_from(limits.skip().saturating_add(limits.names)).unwrap_or(u32::MAX);
    if u32::from_be_bytes(most) <= limit {
        Detection::Wire(Detected::Saber)
    } else if u32::from_be_bytes(least) > limit {
        Detection::Unknown
    } else {
        Detection::NeedMore
    }
}
