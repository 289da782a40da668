//! What a message looks like in gob: its definitions, and the place of each field.

use trunkline_wire::gob::{Definition, Field, Shape, Types, builtin};

use super::{CODEC, Error, go_field};
use crate::message::{Kind, Schema, Type};

/// The definitions of a message and the places of its fields, and of those of the messages in it.
pub(super) struct Layout {
    /// The definitions, and the beginning of a value.
    opening: Box<[u8]>,
    /// Where the value begins.
    value: usize,
    messages: Box<[Box<[Place]>]>,
}

/// A field, in the order of writing.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) number: u32,
    /// The message that it holds, if it holds one: in itself, an option, list or map.
    pub(super) message: usize,
}

impl Layout {
    /// Of a message whose fields are written in the order of their numbers, or of one that is written in the order
    /// of the schema.
    pub(super) fn of(schema: &Schema, by_number: bool) -> Result<Self, Error> {
        let mut making = Making { schema, types: Types::new(trunkline_wire::gob::MAX_STREAM_TYPES) };
        for message in schema.messages() {
            making.push(&message.name, Shape::Struct([].into()))?;
        }
        let mut messages = Vec::new();
        for (index, message) in schema.messages().iter().enumerate() {
            let mut sorted: Vec<_> = message.fields.iter().collect();
            if by_number {
                sorted.sort_by_key(|field| field.number);
            }
            let mut fields = Vec::new();
            let mut places = Vec::new();
            for field in sorted {
                let id = making.id_of(&field.ty).map_err(|e| e.in_field(&field.name))?;
                fields.push(Field { name: go_field(&field.name).into(), id });
                places.push(Place { number: field.number, message: message_in(&field.ty).unwrap_or(0) });
            }
            let definition =
                Definition { name: message.name.as_str().into(), shape: Shape::Struct(fields.into()) };
            making.types.replace(message_id(index), definition);
            messages.push(places.into());
        }
        let mut definitions = Vec::new();
        making.types.closure(builtin::FIRST_LOCAL, &mut definitions).map_err(too_large)?;
        let value = trunkline_wire::gob::begin(builtin::FIRST_LOCAL, &mut definitions);
        Ok(Self { opening: definitions.into(), value, messages: messages.into() })
    }

    /// Appends the definitions, and begins the value; what it gives is for [`finish`](trunkline_wire::gob::finish).
    #[inline]
    pub(super) fn begin(&self, out: &mut Vec<u8>) -> usize {
        let start = out.len().saturating_add(self.value);
        out.extend_from_slice(&self.opening);
        start
    }

    pub(super) fn places(&self, message: usize) -> &[Place] {
        self.messages.get(message).map_or(&[], |places| places)
    }
}

#[cold]
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn too_large(error: trunkline_wire::gob::Error) -> Error {
    let text = error.to_string();
    Error::encode(CODEC, text.strip_prefix("gob: ").unwrap_or(&text))
}

/// The id of the message at this index: they are the first types.
fn message_id(index: usize) -> i64 {
    builtin::FIRST_LOCAL.saturating_add(i64::try_from(index).unwrap_or(i64::MAX))
}

/// The index of the message that is in a type.
pub(super) fn message_in(ty: &Type) -> Option<usize> {
    match ty {
        Type::Scalar(..) => None,
        Type::Message(index) => Some(*index),
        Type::Optional(inner) | Type::List(inner) | Type::Map(_, inner) => message_in(inner),
    }
}

struct Making<'a> {
    schema: &'a Schema,
    types: Types,
}

impl Making<'_> {
    fn push(&mut self, name: &str, shape: Shape) -> Result<i64, Error> {
        self.types.push(Definition { name: name.into(), shape }).map_err(too_large)
    }

    /// The id of a type; a list or map is defined where it is met for the first time.
    fn id_of(&mut self, ty: &Type) -> Result<i64, Error> {
        let shape = match ty {
            Type::Scalar(kind, _) => return Ok(scalar(*kind)),
            Type::Message(index) => return Ok(message_id(*index)),
            Type::Optional(inner) => return self.id_of(inner),
            Type::List(inner) if matches!(**inner, Type::Scalar(Kind::U8, _)) => return Ok(builtin::BYTES),
            Type::List(inner) => Shape::Slice { element: self.id_of(inner)? },
            Type::Map(key, value) => Shape::Map { key: self.id_of(key)?, element: self.id_of(value)? },
        };
        let name = self.name_of(ty);
        let known = self.types.iter().find(|(_, d)| d.shape == shape && *d.name == *name);
        match known {
            Some((id, _)) => Ok(id),
            None => self.push(&name, shape),
        }
    }

    /// The name that Go has for a type.
    fn name_of(&self, ty: &Type) -> String {
        match ty {
            Type::Scalar(kind, _) => go_name(*kind).to_owned(),
            Type::Message(index) => {
                self.schema.messages().get(*index).map_or_else(String::new, |m| m.name.clone())
            }
            Type::Optional(inner) => self.name_of(inner),
            Type::List(inner) => format!("[]{}", self.name_of(inner)),
            Type::Map(key, value) => format!("map[{}]{}", self.name_of(key), self.name_of(value)),
        }
    }
}

/// The built-in type of a scalar.
fn scalar(kind: Kind) -> i64 {
    match kind {
        Kind::Bool => builtin::BOOL,
        Kind::I8 | Kind::I16 | Kind::I32 | Kind::I64 => builtin::INT,
        Kind::U8 | Kind::U16 | Kind::U32 | Kind::U64 => builtin::UINT,
        Kind::F32 | Kind::F64 => builtin::FLOAT,
        Kind::Text => builtin::STRING,
        // No scalar is a message.
        Kind::Blob | Kind::Message => builtin::BYTES,
    }
}

/// The name that Go has for a scalar.
pub(super) fn go_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "bool",
        Kind::I8 => "int8",
        Kind::I16 => "int16",
        Kind::I32 => "int32",
        Kind::I64 => "int64",
        Kind::U8 => "uint8",
        Kind::U16 => "uint16",
        Kind::U32 => "uint32",
        Kind::U64 => "uint64",
        Kind::F32 => "float32",
        Kind::F64 => "float64",
        Kind::Text => "string",
        Kind::Blob => "[]uint8",
        Kind::Message => "struct",
    }
}
