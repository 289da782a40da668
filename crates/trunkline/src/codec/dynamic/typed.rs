//! Trees to and from the codecs that send numbers, by a schema.

use super::Tree;
use crate::codec::{Error, MAX_DEPTH};
use crate::message::{Entry, FieldSchema, Form, Kind, Reader, Schema, Spec, Type, Writer, decode_base64};

/// Most values of one body. The schema comes from a peer too: without a bound it could make a few bytes many.
const MOST_VALUES: usize = 1 << 20;

fn wrong(what: impl std::fmt::Display) -> Error {
    Error::body("", what)
}

/// The kind and form of what stands alone on a wire.
fn single(ty: &Type) -> Result<(Kind, Form), Error> {
    match ty {
        Type::Scalar(kind, form) => Ok((*kind, *form)),
        Type::Message(_) => Ok((Kind::Message, Form::Plain)),
        _ => Err(wrong("the schema has a list, map or option inside of another")),
    }
}

fn spec(field: &FieldSchema, form: Form) -> Spec<'_> {
    Spec::new(&field.name, field.number, form)
}

/// Writes the message of the schema.
pub(super) fn write<W: Writer>(schema: &Schema, tree: &Tree, to: &mut W) -> Result<(), Error> {
    write_message(schema, 0, tree, 0, to)
}

fn write_message<W: Writer>(
    schema: &Schema,
    index: usize,
    tree: &Tree,
    depth: usize,
    to: &mut W,
) -> Result<(), Error> {
    let message = schema.messages().get(index).ok_or_else(|| wrong("the schema lacks a message"))?;
    let entries = match tree {
        Tree::Map(entries) => &entries[..],
        Tree::Null => &[],
        other => return Err(wrong(format_args!("{} where {} is expected", other.name(), message.name))),
    };
    if depth > MAX_DEPTH {
        return Err(wrong(format_args!("nested deeper than {MAX_DEPTH}")));
    }
    let known = |name: &str| message.fields.iter().any(|field| field.name == name);
    for (key, _) in entries {
        if !matches!(key, Tree::Text(name) if known(name)) {
            let Tree::Text(name) = key else { return Err(wrong("a key that is not a text")) };
            let names: Vec<&str> = message.fields.iter().map(|field| field.name.as_str()).collect();
            return Err(wrong(format_args!(
                "{} has no such field; it has {}",
                message.name,
                names.join(", ")
            ))
            .in_field(name));
        }
    }
    for field in &message.fields {
        let value =
            entries.iter().rev().find(|(key, _)| matches!(key, Tree::Text(name) if *name == field.name));
        let value = value.map_or(&Tree::Null, |(_, value)| value);
        write_field(schema, field, value, depth, to).map_err(|e| e.in_field(&field.name))?;
    }
    Ok(())
}

fn write_field<W: Writer>(
    schema: &Schema,
    field: &FieldSchema,
    value: &Tree,
    depth: usize,
    to: &mut W,
) -> Result<(), Error> {
    match (&field.ty, value) {
        // Of what is not there, the codecs need not know; and a message that holds itself ends here.
        (Type::Optional(_) | Type::List(_) | Type::Map(..) | Type::Message(_), Tree::Null) => Ok(()),
        (Type::Optional(inner), value) => {
            let (kind, form) = single(inner)?;
            to.one(&spec(field, form), kind, false, |to| put(schema, inner, value, depth, to))
        }
        (Type::List(inner), Tree::List(items)) => {
            let (kind, form) = single(inner)?;
            to.list(&spec(field, form), kind, items.iter().enumerate(), |to, (index, item)| {
                put(schema, inner, item, depth, to).map_err(|e| e.at_index(index))
            })
        }
        (Type::Map(key, inner), Tree::Map(entries)) => {
            let ((key_kind, _), (kind, form)) = (single(key)?, single(inner)?);
            let entries = entries.iter().map(|(key, value)| (key, value));
            to.map(
                &spec(field, form),
                (key_kind, kind),
                entries,
                |to, name| put(schema, key, &name.as_key(key_kind), depth, to),
                |to, value| put(schema, inner, value, depth, to),
            )
        }
        (Type::List(_), other) => Err(wrong(format_args!("{}, expected a list", other.name()))),
        (Type::Map(..), other) => Err(wrong(format_args!("{}, expected an object", other.name()))),
        (ty, value) => {
            let (kind, form) = single(ty)?;
            to.one(&spec(field, form), kind, is_zero(value), |to| put(schema, ty, value, depth, to))
        }
    }
}

fn is_zero(value: &Tree) -> bool {
    match value {
        Tree::Null | Tree::Bool(false) | Tree::Int(0) | Tree::Uint(0) | Tree::Map(_) => true,
        Tree::F32(value) => value.to_bits() == 0,
        Tree::F64(value) => value.to_bits() == 0,
        Tree::Text(text) => text.is_empty(),
        _ => false,
    }
}

fn put<W: Writer>(schema: &Schema, ty: &Type, value: &Tree, depth: usize, to: &mut W) -> Result<(), Error> {
    let (kind, form) = match ty {
        Type::Scalar(kind, form) => (*kind, *form),
        Type::Message(index) => {
            return to.message(|to| write_message(schema, *index, value, depth.saturating_add(1), to));
        }
        _ => return single(ty).map(drop),
    };
    let expected = |what: &str| wrong(format_args!("{}, expected {what}", value.name()));
    match kind {
        Kind::Bool => match value {
            Tree::Null => to.bool(false),
            Tree::Bool(value) => to.bool(*value),
            _ => Err(expected("a truth value")),
        },
        Kind::I8 | Kind::I16 | Kind::I32 | Kind::I64 => {
            let number = whole(value).ok_or_else(|| expected("a whole number"))?;
            let (least, most) = match kind {
                Kind::I8 => (i8::MIN.into(), i8::MAX.into()),
                Kind::I16 => (i16::MIN.into(), i16::MAX.into()),
                Kind::I32 => (i32::MIN.into(), i32::MAX.into()),
                _ => (i64::MIN, i64::MAX),
            };
            let number = i64::try_from(number).ok().filter(|number| (least..=most).contains(number));
            to.int(kind, form, number.ok_or_else(|| wrong("the number is out of range"))?)
        }
        Kind::U8 | Kind::U16 | Kind::U32 | Kind::U64 => {
            let number = whole(value).ok_or_else(|| expected("a whole number"))?;
            let most = match kind {
                Kind::U8 => u8::MAX.into(),
                Kind::U16 => u16::MAX.into(),
                Kind::U32 => u32::MAX.into(),
                _ => u64::MAX,
            };
            let number = u64::try_from(number).ok().filter(|number| *number <= most);
            to.uint(kind, form, number.ok_or_else(|| wrong("the number is out of range"))?)
        }
        Kind::F32 => to.f32(narrow(number(value).ok_or_else(|| expected("a number"))?)),
        Kind::F64 => to.f64(number(value).ok_or_else(|| expected("a number"))?),
        Kind::Text => match value {
            Tree::Null => to.bytes(b""),
            Tree::Text(text) => to.bytes(text.as_bytes()),
            _ => Err(expected("a text")),
        },
        Kind::Blob => match value {
            Tree::Null => to.bytes(b""),
            Tree::Text(text) => to.bytes(&decode_base64(text).map_err(wrong)?),
            _ => Err(expected("base64 text")),
        },
        Kind::Message => Err(wrong("the schema names a message as a scalar")),
    }
}

fn whole(value: &Tree) -> Option<i128> {
    match value {
        Tree::Null => Some(0),
        Tree::Int(number) => Some((*number).into()),
        Tree::Uint(number) => Some((*number).into()),
        _ => None,
    }
}

// JSON has one type of number; the nearest float is what is meant.
#[allow(clippy::as_conversions, clippy::cast_possible_truncation)]
fn number(value: &Tree) -> Option<f64> {
    match value {
        Tree::F32(number) => Some((*number).into()),
        Tree::F64(number) => Some(*number),
        other => whole(other).map(|number| number as f64),
    }
}

#[allow(clippy::as_conversions, clippy::cast_possible_truncation)]
fn narrow(number: f64) -> f32 {
    number as f32
}

/// A message that is being read: its fields in the order of the schema, empty until they come.
pub(super) struct Message<'s> {
    schema: &'s Schema,
    index: usize,
    fields: Vec<Tree>,
    left: usize,
}

impl<'s> Message<'s> {
    /// The message of the schema.
    pub(super) fn new(schema: &'s Schema) -> Self {
        let mut message = Self { schema, index: 0, fields: Vec::new(), left: MOST_VALUES };
        message.fields = message.schemas().iter().map(|field| empty(&field.ty)).collect();
        message
    }

    fn schemas(&self) -> &'s [FieldSchema] {
        self.schema.messages().get(self.index).map_or(&[], |message| &message.fields)
    }

    /// Reads the field of this number, if there is one.
    pub(super) fn read<R: Reader>(&mut self, number: u32, from: &mut R) -> Result<bool, Error> {
        let found = self.schemas().iter().zip(&mut self.fields).find(|(field, _)| field.number == number);
        let Some((field, slot)) = found else { return Ok(false) };
        let mut reading = Reading { schema: self.schema, left: &mut self.left };
        reading.field(field, slot, from).map_err(|e| e.in_field(&field.name))?;
        Ok(true)
    }

    pub(super) fn into_tree(self) -> Tree {
        let names = self.schemas().iter().map(|field| Tree::Text(field.name.clone()));
        Tree::Map(names.zip(self.fields).collect())
    }
}

fn empty(ty: &Type) -> Tree {
    match ty {
        Type::Scalar(Kind::Bool, _) => Tree::Bool(false),
        Type::Scalar(Kind::Text | Kind::Blob, _) => Tree::Text(String::new()),
        Type::Scalar(Kind::F32 | Kind::F64, _) => Tree::F64(0.0),
        Type::Scalar(..) => Tree::Int(0),
        Type::Message(_) | Type::Optional(_) => Tree::Null,
        Type::List(_) => Tree::List(Vec::new()),
        Type::Map(..) => Tree::Map(Vec::new()),
    }
}

struct Reading<'a> {
    schema: &'a Schema,
    left: &'a mut usize,
}

impl Reading<'_> {
    fn count(&mut self, values: usize) -> Result<(), Error> {
        let left = self.left.checked_sub(values);
        *self.left = left.ok_or_else(|| wrong(format_args!("more than {MOST_VALUES} values")))?;
        Ok(())
    }

    fn field<R: Reader>(&mut self, field: &FieldSchema, slot: &mut Tree, from: &mut R) -> Result<(), Error> {
        match (&field.ty, slot) {
            (Type::List(inner), Tree::List(items)) => {
                let (kind, form) = single(inner)?;
                from.list(kind, form, |from| {
                    let mut item = Tree::Null;
                    self.take(inner, &mut item, from).map_err(|e| e.at_index(items.len()))?;
                    items.push(item);
                    Ok(())
                })
            }
            (Type::Map(key, inner), Tree::Map(entries)) => {
                let ((key_kind, _), (kind, form)) = (single(key)?, single(inner)?);
                let mut entry = MapEntry {
                    reading: self,
                    types: (key, inner),
                    entries,
                    next: (empty(key), empty(inner)),
                };
                from.map((key_kind, kind), form, &mut entry)
            }
            (Type::Optional(inner), slot) => {
                let (kind, form) = single(inner)?;
                from.one(kind, form, |from| self.take(inner, slot, from))
            }
            (ty, slot) => {
                let (kind, form) = single(ty)?;
                from.one(kind, form, |from| self.take(ty, slot, from))
            }
        }
    }

    fn take<R: Reader>(&mut self, ty: &Type, slot: &mut Tree, from: &mut R) -> Result<(), Error> {
        self.count(1)?;
        let (kind, form) = match ty {
            Type::Scalar(kind, form) => (*kind, *form),
            Type::Message(index) => return self.message(*index, slot, from),
            _ => return single(ty).map(drop),
        };
        *slot = match kind {
            Kind::Bool => Tree::Bool(from.bool()?),
            Kind::I8 | Kind::I16 | Kind::I32 | Kind::I64 => Tree::Int(from.int(kind, form)?),
            Kind::U8 | Kind::U16 | Kind::U32 | Kind::U64 => Tree::Uint(from.uint(kind, form)?),
            Kind::F32 => Tree::F32(from.f32()?),
            Kind::F64 => Tree::F64(from.f64()?),
            Kind::Text => Tree::Text(from.text()?.to_owned()),
            Kind::Blob => Tree::Bytes(from.bytes()?.to_owned()),
            Kind::Message => return Err(wrong("the schema names a message as a scalar")),
        };
        Ok(())
    }

    /// Reads a message into its slot; one that came before is gone over, as protobuf has it.
    fn message<R: Reader>(&mut self, index: usize, slot: &mut Tree, from: &mut R) -> Result<(), Error> {
        let fields = self
            .schema
            .messages()
            .get(index)
            .map(|m| &m.fields[..])
            .ok_or_else(|| wrong("no such message"))?;
        if *slot == Tree::Null {
            self.count(fields.len())?;
            let empties = fields.iter().map(|field| (Tree::Text(field.name.clone()), empty(&field.ty)));
            *slot = Tree::Map(empties.collect());
        }
        let Tree::Map(entries) = slot else { return Err(wrong("two types of one field")) };
        from.message(|number, from| {
            let found = fields.iter().zip(&mut *entries).find(|(field, _)| field.number == number);
            let Some((field, (_, slot))) = found else { return Ok(false) };
            self.field(field, slot, from).map_err(|e| e.in_field(&field.name))?;
            Ok(true)
        })
    }
}

struct MapEntry<'a, 'b> {
    reading: &'a mut Reading<'b>,
    types: (&'a Type, &'a Type),
    entries: &'a mut Vec<(Tree, Tree)>,
    next: (Tree, Tree),
}

impl<R: Reader> Entry<R> for MapEntry<'_, '_> {
    fn key(&mut self, from: &mut R) -> Result<(), Error> {
        self.reading.take(self.types.0, &mut self.next.0, from)
    }

    fn value(&mut self, from: &mut R) -> Result<(), Error> {
        self.reading.take(self.types.1, &mut self.next.1, from)
    }

    fn end(&mut self) {
        let fresh = (empty(self.types.0), empty(self.types.1));
        self.entries.push(std::mem::replace(&mut self.next, fresh));
    }
}
