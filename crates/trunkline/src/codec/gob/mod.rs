//! Go's gob: a body is a self-contained stream ([`wire::gob`](crate::wire::gob)), which a session of net/rpc takes off
//! its connection and puts onto it.
//!
//! - A message is a struct whose fields have the names that they have in JSON, beginning with a capital letter as all that
//!   Go sends do; one that was sent without it is known, too.
//!   Fields are matched by name, whatever their order and number. Zeros and empty lists are not sent; a nested message
//!   that is no `Option` is. Fields that nobody knows are passed over.
//! - All signed integers are one type, and so are all unsigned ones and all floats. A value is converted where it
//!   fits, between signed and unsigned too, and else refused with the name of its field.
//! - `Blob`, `Bytes` and `Vec<u8>` are Go's `[]byte`, `String` is `string`, `()` a struct without fields.
//! - [`Gob`] carries everything else that serde can say: a bare number, lists of lists, arrays, complex numbers.
//! - Types that encode themselves (`GobEncoder`, such as `time.Time`) and interfaces are refused where a field wants
//!   them, and passed over where none does.
//!
//! What a type looks like on the wire is worked out once a thread, and so is how the fields of a peer's type meet
//! those of ours: plans are found by the bytes of the definitions.

use std::borrow::Cow;

use bytes::Bytes;
use trunkline_wire::gob::{self as wire, Cursor, Message as WireMessage, builtin};

use super::{Budget, Error};
use crate::message::{Message, Schema};

mod any;
mod cache;
mod layout;
mod plan;
mod read;
mod write;

pub use any::{Complex, Gob};
pub(super) use plan::name_of;

pub(super) const CODEC: &str = "gob";

/// The name of a field as Go can have it: it begins with a capital letter, or nobody outside its package sees it.
fn go_field(name: &str) -> Cow<'_, str> {
    match name.as_bytes().first() {
        Some(first) if first.is_ascii_lowercase() => {
            let (first, rest) = name.split_at(1);
            Cow::Owned(first.to_ascii_uppercase() + rest)
        }
        _ => Cow::Borrowed(name),
    }
}

/// Whether a field of ours is the peer's of this name: [`go_field`], or as it is.
fn is_field(ours: &str, theirs: &str) -> bool {
    match (ours.as_bytes().split_first(), theirs.as_bytes().split_first()) {
        (Some((our, our_rest)), Some((their, their_rest))) => {
            our_rest == their_rest && (our == their || our.to_ascii_uppercase() == *their)
        }
        (ours, theirs) => ours == theirs,
    }
}

/// What the wire says, as an error of a body.
#[cold]
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn broken(error: wire::Error) -> Error {
    let text = error.to_string();
    Error::body(CODEC, text.strip_prefix("gob: ").unwrap_or(&text))
}

/// Writes a message of the schema, which `fields` fills.
pub(super) fn write_by(
    schema: &Schema,
    out: &mut Vec<u8>,
    fields: impl FnOnce(&mut write::Writer<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    put(&layout::Layout::of(schema, false)?, out, fields)
}

/// Reads a message of the schema: `field` takes each field that is there.
pub(super) fn read_by(
    schema: &Schema,
    body: &[u8],
    field: impl FnMut(u32, &mut read::Reader<'_>) -> Result<bool, Error>,
) -> Result<(), Error> {
    let (definitions, value) = wire::split(body).map_err(broken)?;
    let plan = plan::Plan::of(schema, definitions, value.id())?;
    read::fields(&plan, (value.id(), value.rest()), &Budget::of(body), field)
}

fn put(
    layout: &layout::Layout,
    out: &mut Vec<u8>,
    fields: impl FnOnce(&mut write::Writer<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let start = layout.begin(out);
    write::fields(layout, out, fields)?;
    wire::finish(start, out);
    Ok(())
}

pub(crate) fn encode<M: Message>(message: &M, out: &mut Vec<u8>) -> Result<(), Error> {
    let layout = cache::layout::<M>()?;
    put(&layout, out, |to| message.write_fields(to))
}

pub(crate) fn decode<M: Message>(body: &[u8]) -> Result<M, Error> {
    let cache::Planned { how, id, value } = cache::plan::<M>(body)?;
    let budget = Budget::of(body);
    let mut message = M::empty();
    read::fields(&how, (id, value), &budget, |number, from| message.read_field(number, from))?;
    Ok(message)
}

/// Writes bytes or a text as the whole value.
#[inline(never)]
pub(super) fn encode_bytes(bytes: &[u8], id: i64, out: &mut Vec<u8>) {
    wire::put_single(id, bytes, out);
}

/// The bytes of a value that is bytes, or a text: what a caller without a schema writes for them.
pub(super) fn decode_bytes(body: &[u8]) -> Result<&[u8], Error> {
    let (types, value) = split_single(body)?;
    if ![builtin::BYTES, builtin::STRING].contains(&value.id()) {
        return Err(mismatch("[]uint8", types, value.id()));
    }
    single(&value)
}

/// The same as a part of the body.
#[inline(never)]
pub(super) fn share_bytes(mut body: Bytes) -> Result<Bytes, Error> {
    // They stand at the end.
    let front = body.len().saturating_sub(decode_bytes(&body)?.len());
    bytes::Buf::advance(&mut body, front);
    Ok(body)
}

pub(super) fn decode_text(body: &[u8]) -> Result<&str, Error> {
    let (types, value) = split_single(body)?;
    if value.id() != builtin::STRING {
        return Err(mismatch("string", types, value.id()));
    }
    std::str::from_utf8(single(&value)?).map_err(|_| Error::body(CODEC, "text that is not UTF-8"))
}

fn split_single(body: &[u8]) -> Result<(&[u8], WireMessage<'_>), Error> {
    wire::split(body).map_err(broken)
}

fn single<'a>(value: &WireMessage<'a>) -> Result<&'a [u8], Error> {
    let mut from = Cursor::new(value.rest());
    open(&mut from)?;
    let bytes = from.bytes().map_err(broken)?;
    end(&from)?;
    Ok(bytes)
}

/// Passes the zero in front of a value that is no struct.
fn open(from: &mut Cursor<'_>) -> Result<(), Error> {
    match from.uint() {
        Ok(0) => Ok(()),
        _ => Err(Error::body(CODEC, "a value that is no struct without a zero in front of it")),
    }
}

#[inline]
fn end(from: &Cursor<'_>) -> Result<(), Error> {
    match from.rest().len() {
        0 => Ok(()),
        left => Err(Error::body(CODEC, format_args!("{left} bytes follow the value"))),
    }
}

#[cold]
fn mismatch(want: &str, definitions: &[u8], id: i64) -> Error {
    let types = wire::Types::of(definitions).unwrap_or_else(|_| wire::Types::new(0));
    let got = name_of(&types, id);
    Error::body(CODEC, format_args!("type mismatch in decoder: want {want}; got {got}"))
}
