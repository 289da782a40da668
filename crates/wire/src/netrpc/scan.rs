//! Where the value behind a head begins and ends.

use super::{too_large, wide};
use crate::gob::{Cursor, Incoming, MAX_DEFINITION, Message, length};
use crate::{Limits, WireError};

/// What stands behind a head.
#[derive(Debug)]
pub(super) enum Behind<'a> {
    /// It is not all there: of the input so many bytes make it whole, or 0 where that is not known.
    More(usize),
    /// The value is whole, and begins so many bytes into the input.
    Whole(usize, Message<'a>),
    /// The value, which begins there, is over the limit of bodies: so many bytes, its own length included.
    Large(usize, usize),
}

/// Looks for the value that begins at `at` or, where its types are defined first, behind them. What the peer has defined
/// is not changed, so that the look can be repeated.
///
/// # Errors
/// There is none that can be told or read past.
pub(super) fn behind<'a>(
    input: &'a [u8],
    from: usize,
    known: &Incoming,
    limits: &Limits,
) -> Result<Behind<'a>, WireError> {
    let mut at = from;
    let mut definitions = 0_usize;
    loop {
        let rest = input.get(at..).unwrap_or_default();
        let Some((width, length)) = length(rest).map_err(on_wire)? else { return Ok(Behind::More(0)) };
        let Some(inside) = rest.get(width..).filter(|inside| !inside.is_empty()) else {
            return Ok(Behind::More(0));
        };
        let whole = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(width);
        let is_definition = match Cursor::new(inside).int() {
            Ok(id) => id < 0,
            Err(_) if inside.len() < 9 && whole > rest.len() => return Ok(Behind::More(0)),
            Err(error) => return Err(on_wire(error)),
        };
        let limit = if is_definition { MAX_DEFINITION } else { limits.body };
        if whole > limit.saturating_add(width) || !is_definition && whole > limit {
            if is_definition || whole > limits.skip() {
                let what = if is_definition { "type definition" } else { "body" };
                return Err(too_large(what, length, limit, "body_limit"));
            }
            return Ok(Behind::Large(at, whole));
        }
        let Some(message) = Message::first(rest, limit).map_err(on_wire)? else {
            // A value is what ends it; behind a definition there is more.
            return Ok(Behind::More(if is_definition { 0 } else { at.saturating_add(whole) }));
        };
        if !is_definition {
            return Ok(Behind::Whole(at, message));
        }
        // They are looked at again with each piece that comes, so there must not be many.
        definitions = definitions.saturating_add(1);
        let types = known.types().len().saturating_add(definitions);
        if types > limits.types {
            return Err(too_large("number of types", wide(types), limits.types, "types"));
        }
        at = at.saturating_add(message.length());
    }
}

/// Takes the definitions that stand in these bytes.
///
/// # Errors
/// One of them is broken or comes twice.
pub(super) fn define_all(known: &mut Incoming, bytes: &[u8]) -> Result<(), WireError> {
    let mut rest = bytes;
    while let Some(message) = Message::first(rest, MAX_DEFINITION).map_err(on_wire)? {
        known.define(&message).map_err(on_wire)?;
        rest = rest.get(message.length()..).unwrap_or_default();
    }
    Ok(())
}

/// A broken rule of gob ends the connection.
#[cold]
pub(super) fn on_wire(error: crate::gob::Error) -> WireError {
    error.on_wire(super::NAME)
}
