//! Messages: structs whose fields have numbers, and that can describe themselves.
//!
//! `#[derive(Message)]` implements [`Message`]; nothing here is implemented by hand. What it generates knows no
//! codec: it hands each field to a [`Writer`] or takes it from a [`Reader`], and a codec with field numbers is
//! one implementation of the two. JSON and MessagePack go through serde.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec::Error;

mod blob;
mod field;
mod render;
mod scalars;
mod schema;

pub use blob::Blob;
pub(crate) use blob::{decode_base64, encode_base64};
#[doc(hidden)]
pub use field::{Entry, Field, Form, Key, Kind, Reader, Spec, Value, Writer};
pub(crate) use render::fingerprint;
#[doc(hidden)]
pub use schema::Registry;
pub use schema::{FieldSchema, Fields, MessageSchema, Schema, Type};

/// A struct that travels in every codec. Derive it beside serde's two traits:
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use trunkline::{Blob, Message};
///
/// #[derive(Serialize, Deserialize, Message)]
/// #[serde(rename_all = "PascalCase")]
/// struct Order {
///     id: u64,                            // number 1, named `Id` in JSON and MessagePack
///     lines: Vec<Line>,                   // number 2
///     note: Option<String>,               // sent when it is there, even where it is empty
///     #[message(number = 10, kind = "sint")]
///     balance: i64,                       // zigzag in protobuf
///     #[message(kind = "fixed")]
///     checksum: u32,                      // number 11, four bytes in protobuf
///     receipt: Blob,                      // bytes
/// }
///
/// #[derive(Serialize, Deserialize, Message)]
/// struct Line {
///     name: String,
///     count: u32,
/// }
/// ```
///
/// - A field's number is one more than that of the field before it, from 1, or `#[message(number = N)]`. Numbers
///   are what protobuf and Thrift send: never change one, never use one again for another thing.
/// - Its name is serde's: `rename` and `rename_all` count, so that JSON, MessagePack and the schema agree.
///   Attributes of serde that would let them differ (`flatten`, `with`, `tag`, …) are refused.
/// - Integers are varints in protobuf unless `#[message(kind = "sint")]` (zigzag) or `kind = "fixed"` (4 or
///   8 bytes) say otherwise. Thrift has no unsigned integers: a `u8` travels as i16, a `u16` as i32, a `u32` as
///   i64, a `u64` as the i64 of the same bits.
/// - Types: `bool`, `i8` to `i64`, `u8` to `u64`, `f32`, `f64`, `String`, [`Blob`], other messages, `Box` of
///   one; `Option` and `Vec` of those; `HashMap` and `BTreeMap` from `String` or integers to those. Others are
///   refused with a message that says so:
///
///   ```compile_fail,E0277
///   #[derive(serde::Serialize, serde::Deserialize, trunkline::Message)]
///   struct Args {
///       at: std::time::Duration,
///   }
///   ```
/// - What a body does not have reads as empty. A struct that holds itself does so in an `Option<Box<_>>` or a
///   `Vec`.
///
/// The generated methods are not for direct use; [`Payload`](crate::codec::Payload) is.
pub trait Message: Serialize + DeserializeOwned + 'static {
    /// The name of the struct, for people; it is not sent.
    const NAME: &'static str;

    #[doc(hidden)]
    const UNIT: bool = false;

    /// The message in which every field is empty.
    fn empty() -> Self;

    #[doc(hidden)]
    fn describe(fields: &mut Fields<'_>);

    #[doc(hidden)]
    fn write_fields<W: Writer>(&self, to: &mut W) -> Result<(), Error>;

    /// Reads the value of field `number`; `false` where there is no such field, and then nothing was read.
    #[doc(hidden)]
    fn read_field<R: Reader>(&mut self, number: u32, from: &mut R) -> Result<bool, Error>;
}

/// The message without fields, which `()` stands for.
#[derive(Serialize, Deserialize, trunkline_macros::Message)]
pub(crate) struct Empty {}
