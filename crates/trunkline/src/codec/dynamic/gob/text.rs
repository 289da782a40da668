//! gob to the JSON that Go's encoding/json gives for a value of the type that the stream defines.
//!
//! Every field is there. What a struct has left out is zero; of slices, maps, pointers and structs that is `null`: a
//! struct is left out only where it was a pointer, and nil. Bytes are base64, keys of maps are texts and sorted.

use std::fmt::Write as _;

use trunkline_wire::gob::{self as wire, Cursor, Shape, Types, builtin};

use super::super::tree::go_time;
use crate::codec::gob::{CODEC, broken, name_of};
use crate::codec::{Budget, Error, MAX_DEPTH};
use crate::message::encode_base64;

/// The value of a self-contained stream as JSON on one line.
pub(in super::super) fn decode(body: &[u8]) -> Result<String, Error> {
    let (definitions, value) = wire::split(body).map_err(broken)?;
    let types = Types::of(definitions).map_err(broken)?;
    let mut from = Cursor::new(value.rest());
    let id = value.id();
    let is_struct = types.get(id).is_some_and(|found| matches!(found.shape, Shape::Struct(_)));
    if !is_struct && from.uint().map_err(broken)? != 0 {
        return Err(Error::body(CODEC, "a value that is no struct without a zero in front of it"));
    }
    let mut to = Text { types: &types, text: String::new(), budget: Budget::of(body) };
    to.value(id, &mut from, 0)?;
    if !from.is_empty() {
        return Err(Error::body(CODEC, format_args!("{} bytes follow the value", from.rest().len())));
    }
    Ok(to.text)
}

struct Text<'t> {
    types: &'t Types,
    text: String,
    budget: Budget,
}

impl Text<'_> {
    /// Appends, where the text may still grow: a few bytes of a body can stand for many names.
    fn put(&mut self, text: &str) -> Result<(), Error> {
        if !self.budget.take(text.len()) {
            return Err(Error::body(CODEC, Budget::EXCEEDED));
        }
        self.text.push_str(text);
        Ok(())
    }

    fn quoted(&mut self, text: &str) -> Result<(), Error> {
        let quoted = serde_json::to_string(text).map_err(|e| Error::encode("json", e))?;
        self.put(&quoted)
    }

    fn value(&mut self, id: i64, from: &mut Cursor<'_>, depth: usize) -> Result<(), Error> {
        match id {
            builtin::BOOL => {
                let value = from.bool().map_err(broken)?;
                self.put(if value { "true" } else { "false" })
            }
            builtin::INT => self.put(&from.int().map_err(broken)?.to_string()),
            builtin::UINT => self.put(&from.uint().map_err(broken)?.to_string()),
            builtin::FLOAT => self.put(&float(from.float().map_err(broken)?)),
            builtin::COMPLEX => {
                let (re, im) = (from.float().map_err(broken)?, from.float().map_err(broken)?);
                self.put(&complex(re, im))
            }
            builtin::STRING => {
                // As Go writes bytes that are no UTF-8.
                let text = String::from_utf8_lossy(from.bytes().map_err(broken)?);
                self.quoted(&text)
            }
            builtin::BYTES => {
                let bytes = from.bytes().map_err(broken)?;
                if bytes.is_empty() {
                    self.put("null")
                } else {
                    self.put(&format!("\"{}\"", encode_base64(bytes)))
                }
            }
            _ => self.defined(id, from, depth),
        }
    }

    fn defined(&mut self, id: i64, from: &mut Cursor<'_>, depth: usize) -> Result<(), Error> {
        let types = self.types;
        let Some(found) = types.get(id) else {
            return Err(Error::body(CODEC, format_args!("{} cannot be shown", name_of(types, id))));
        };
        if depth >= MAX_DEPTH {
            return Err(Error::body(CODEC, format_args!("nested deeper than {MAX_DEPTH}")));
        }
        let inside = depth.saturating_add(1);
        match &found.shape {
            Shape::Struct(fields) => self.record(fields, from, inside),
            Shape::Slice { element } => self.list(*element, None, from, inside),
            Shape::Array { element, length } => self.list(*element, Some(*length), from, inside),
            Shape::Map { key, element } => self.map(*key, *element, from, inside),
            Shape::Own(own) => self.own(*own, &found.name, from),
        }
    }

    fn record(&mut self, all: &[wire::Field], from: &mut Cursor<'_>, depth: usize) -> Result<(), Error> {
        self.put("{")?;
        let mut fields = wire::Fields::new(all);
        let mut next = fields.next(from).map_err(broken)?.map(|_| fields.index());
        for (index, field) in all.iter().enumerate() {
            if index > 0 {
                self.put(",")?;
            }
            self.quoted(&field.name)?;
            self.put(":")?;
            if next == Some(index) {
                self.value(field.id, from, depth).map_err(|e| e.in_field(&field.name))?;
                next = fields.next(from).map_err(broken)?.map(|_| fields.index());
            } else {
                self.zero(field.id, depth).map_err(|e| e.in_field(&field.name))?;
            }
        }
        self.put("}")
    }

    fn list(
        &mut self,
        element: i64,
        length: Option<u64>,
        from: &mut Cursor<'_>,
        depth: usize,
    ) -> Result<(), Error> {
        let count = from.count().map_err(broken)?;
        match length {
            // As Go reads an empty slice.
            None if count == 0 => return self.put("null"),
            Some(length) if length != count as u64 => {
                return Err(Error::body(CODEC, "an array of another length than its type"));
            }
            _ => {}
        }
        self.put("[")?;
        for index in 0..count {
            if index > 0 {
                self.put(",")?;
            }
            self.value(element, from, depth).map_err(|e| e.at_index(index))?;
        }
        self.put("]")
    }

    fn map(&mut self, key: i64, element: i64, from: &mut Cursor<'_>, depth: usize) -> Result<(), Error> {
        let mut entries = Vec::new();
        for index in 0..from.count().map_err(broken)? {
            if !self.budget.take(size_of::<(String, String)>()) {
                return Err(Error::body(CODEC, Budget::EXCEEDED));
            }
            let around = std::mem::take(&mut self.text);
            let read = self.value(key, from, depth).and_then(|()| {
                let name = std::mem::take(&mut self.text);
                self.value(element, from, depth).map(|()| name)
            });
            let value = std::mem::replace(&mut self.text, around);
            entries.push((read.map_err(|e| e.at_index(index))?, value));
        }
        // A key that is a text has its quotes already.
        for (name, _) in &mut entries {
            if !name.starts_with('"') {
                *name = serde_json::to_string(name).map_err(|e| Error::encode("json", e))?;
            }
        }
        entries.sort_by(|one, other| one.0.cmp(&other.0));
        self.put("{")?;
        for (index, (name, value)) in entries.iter().enumerate() {
            // They were paid for.
            let comma = if index > 0 { "," } else { "" };
            _ = write!(self.text, "{comma}{name}:{value}");
        }
        self.put("}")
    }

    /// A type that encodes itself is shown where its bytes are a text, or a time.
    fn own(&mut self, own: wire::Own, name: &str, from: &mut Cursor<'_>) -> Result<(), Error> {
        let bytes = from.bytes().map_err(broken)?;
        let text = match own {
            wire::Own::TextMarshaler => std::str::from_utf8(bytes).ok().map(str::to_owned),
            _ if name == "Time" => go_time(bytes),
            _ => None,
        };
        let unknown = || Error::body(CODEC, format_args!("{name} encodes itself, which only Go can read"));
        self.quoted(&text.ok_or_else(unknown)?)
    }

    /// What a struct has left out.
    fn zero(&mut self, id: i64, depth: usize) -> Result<(), Error> {
        match id {
            builtin::BOOL => self.put("false"),
            builtin::INT | builtin::UINT | builtin::FLOAT => self.put("0"),
            builtin::COMPLEX => self.put(&complex(0.0, 0.0)),
            builtin::STRING => self.put("\"\""),
            builtin::BYTES | builtin::INTERFACE => self.put("null"),
            _ => match self.types.get(id).map(|found| &found.shape) {
                // Go sends arrays of zeros, too; somebody else may not.
                Some(Shape::Array { element, length }) if depth < MAX_DEPTH => {
                    self.put("[")?;
                    for index in 0..*length {
                        if index > 0 {
                            self.put(",")?;
                        }
                        self.zero(*element, depth.saturating_add(1))?;
                    }
                    self.put("]")
                }
                _ => self.put("null"),
            },
        }
    }
}

/// A float as Go writes it: without an exponent from 1e-6 to 1e21. gob does not say which width it had: one that four
/// bytes hold is written with the digits that they need.
#[allow(clippy::cast_possible_truncation, reason = "that is asked")]
fn float(value: f64) -> String {
    if !value.is_finite() {
        return "null".to_owned();
    }
    let narrow = value as f32;
    let is_narrow = f64::from(narrow).to_bits() == value.to_bits();
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = if is_narrow { format!("{narrow:e}") } else { format!("{value:e}") };
        return match text.split_once('e') {
            Some((digits, power)) if !power.starts_with('-') => format!("{digits}e+{power}"),
            _ => text,
        };
    }
    if is_narrow { narrow.to_string() } else { value.to_string() }
}

/// JSON has no complex numbers, and Go refuses them: the text that Go prints.
fn complex(re: f64, im: f64) -> String {
    let sign = if im.is_sign_negative() { "" } else { "+" };
    format!("\"({}{sign}{}i)\"", float(re), float(im))
}
