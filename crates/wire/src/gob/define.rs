//! Type definitions as messages.

use super::message::{begin, finish};
use super::number::{put_bytes, put_int, put_uint};
use super::types::{Definition, Own, Shape};

/// Appends the message that defines a type by this id; `rename` says which id each type that it uses has on the stream.
/// The bytes are those of Go's encoder.
pub fn write_definition(id: i64, definition: &Definition, rename: impl Fn(i64) -> i64, out: &mut Vec<u8>) {
    let start = begin(id.saturating_neg(), out);
    // Which field of Go's `wireType` it is, counted from 1.
    out.push(match &definition.shape {
        Shape::Array { .. } => 1,
        Shape::Slice { .. } => 2,
        Shape::Struct(_) => 3,
        Shape::Map { .. } => 4,
        Shape::Own(Own::GobEncoder) => 5,
        Shape::Own(Own::BinaryMarshaler) => 6,
        Shape::Own(Own::TextMarshaler) => 7,
    });
    out.push(1);
    let named = !definition.name.is_empty();
    if named {
        out.push(1);
        put_bytes(definition.name.as_bytes(), out);
    }
    out.push(if named { 1 } else { 2 });
    put_int(id, out);
    out.push(0);
    let part = |id: i64, out: &mut Vec<u8>| {
        out.push(1);
        put_int(rename(id), out);
    };
    match &definition.shape {
        Shape::Array { element, length } => {
            part(*element, out);
            if *length > 0 {
                out.push(1);
                put_int(i64::try_from(*length).unwrap_or(i64::MAX), out);
            }
        }
        Shape::Slice { element } => part(*element, out),
        Shape::Map { key, element } => {
            part(*key, out);
            part(*element, out);
        }
        Shape::Struct(fields) => {
            if !fields.is_empty() {
                out.push(1);
                put_uint(u64::try_from(fields.len()).unwrap_or(u64::MAX), out);
            }
            for field in fields {
                let named = !field.name.is_empty();
                if named {
                    out.push(1);
                    put_bytes(field.name.as_bytes(), out);
                }
                out.push(if named { 1 } else { 2 });
                put_int(rename(field.id), out);
                out.push(0);
            }
        }
        Shape::Own(_) => {}
    }
    // The end of the kind, and of the whole.
    out.extend_from_slice(&[0, 0]);
    finish(start, out);
}
