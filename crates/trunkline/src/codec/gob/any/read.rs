//! Reads a value of a type that its stream defines. What is absent is for the reader around it.

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use trunkline_wire::gob::{self as wire, Cursor, Fields, Shape, Types, builtin};

use super::super::{is_field, name_of};
use super::Failed;
use crate::codec::MAX_DEPTH;

/// The value of a type that comes next.
pub(super) struct De<'a, 'de> {
    types: &'a Types,
    id: i64,
    from: &'a mut Cursor<'de>,
    depth: usize,
}

impl<'a, 'de> De<'a, 'de> {
    pub(super) fn new(types: &'a Types, id: i64, from: &'a mut Cursor<'de>) -> Self {
        Self { types, id, from, depth: 0 }
    }

    fn deeper(&self) -> Result<usize, Failed> {
        if self.depth >= MAX_DEPTH {
            return Err(Failed::new(format_args!("nested deeper than {MAX_DEPTH}")));
        }
        Ok(self.depth.saturating_add(1))
    }

    fn shape(&self) -> Option<&'a Shape> {
        self.types.get(self.id).map(|found| &found.shape)
    }

    #[cold]
    fn unlike(&self, want: &str) -> Failed {
        Failed::new(format_args!("type mismatch: want {want}; got {}", name_of(self.types, self.id)))
    }

    fn text(&mut self) -> Result<&'de str, Failed> {
        let bytes = self.from.bytes()?;
        std::str::from_utf8(bytes).map_err(|_| Failed::new("text that is not UTF-8"))
    }

    /// Reads a list; all of it has to be wanted.
    fn list<V: Visitor<'de>>(
        self,
        element: i64,
        length: Option<u64>,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        let depth = self.deeper()?;
        let count = self.from.count()?;
        if length.is_some_and(|length| length != count as u64) {
            return Err(Failed::new("an array of another length than its type"));
        }
        let mut elements =
            Items { types: self.types, ids: (element, element), from: self.from, left: count, depth };
        let value = visitor.visit_seq(&mut elements)?;
        match elements.left {
            0 => Ok(value),
            left => Err(Failed::invalid_length(
                count,
                &format!("{} elements", count.saturating_sub(left)).as_str(),
            )),
        }
    }

    fn map<V: Visitor<'de>>(self, key: i64, element: i64, visitor: V) -> Result<V::Value, Failed> {
        let depth = self.deeper()?;
        let left = self.from.count()?;
        visitor.visit_map(Items { types: self.types, ids: (key, element), from: self.from, left, depth })
    }

    /// Reads a struct into one that has these names, or any.
    fn record<V: Visitor<'de>>(
        self,
        fields: &'a [wire::Field],
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        let depth = self.deeper()?;
        let fields = Fields::new(fields);
        visitor.visit_map(Record { types: self.types, fields, names, from: self.from, next: 0, depth })
    }
}

impl<'de> Deserializer<'de> for De<'_, 'de> {
    type Error = Failed;

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Failed> {
        match self.id {
            builtin::BOOL => visitor.visit_bool(self.from.bool()?),
            builtin::INT => visitor.visit_i64(self.from.int()?),
            builtin::UINT => visitor.visit_u64(self.from.uint()?),
            builtin::FLOAT => visitor.visit_f64(self.from.float()?),
            builtin::STRING => visitor.visit_borrowed_str(self.text()?),
            builtin::BYTES => visitor.visit_borrowed_bytes(self.from.bytes()?),
            _ => match self.shape() {
                Some(Shape::Struct(fields)) => self.record(fields, &[], visitor),
                Some(Shape::Slice { element }) => self.list(*element, None, visitor),
                Some(Shape::Array { element, length }) => self.list(*element, Some(*length), visitor),
                Some(Shape::Map { key, element }) => self.map(*key, *element, visitor),
                _ => Err(self.unlike("a value that can be read")),
            },
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "as Go does it; what becomes infinite is refused")]
    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        if self.id != builtin::FLOAT {
            return self.deserialize_any(visitor);
        }
        let value = self.from.float()?;
        let narrow = value as f32;
        if narrow.is_infinite() && value.is_finite() {
            return Err(Failed::new(format_args!("value {value} is out of range of float32")));
        }
        visitor.visit_f32(narrow)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let number = match self.id {
            builtin::INT => self.from.int().map(|number| u32::try_from(number).ok())?,
            builtin::UINT => self.from.uint().map(|number| u32::try_from(number).ok())?,
            _ => return Err(self.unlike("rune")),
        };
        let found = number.and_then(char::from_u32);
        visitor.visit_char(found.ok_or_else(|| Failed::new("a number that is no character"))?)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        match self.id {
            builtin::BYTES | builtin::STRING => visitor.visit_borrowed_bytes(self.from.bytes()?),
            _ => Err(self.unlike("[]uint8")),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        if self.id == builtin::BYTES {
            return Err(self.unlike("string"));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        match self.shape() {
            Some(Shape::Slice { element }) => self.list(*element, None, visitor),
            Some(Shape::Array { element, length }) => self.list(*element, Some(*length), visitor),
            _ if self.id == builtin::BYTES => visitor.visit_seq(Bytes(self.from.bytes()?)),
            _ => Err(self.unlike("slice")),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Failed> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        if self.id == builtin::COMPLEX {
            let float = builtin::FLOAT;
            let depth = self.deeper()?;
            return visitor.visit_seq(&mut Items {
                types: self.types,
                ids: (float, float),
                from: self.from,
                left: 2,
                depth,
            });
        }
        self.deserialize_seq(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        match self.shape() {
            Some(Shape::Struct(fields)) => self.record(fields, names, visitor),
            _ => Err(self.unlike(&format!("struct type {name}"))),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Failed> {
        Err(Failed::new(format_args!("gob has no enums, and {name} is one")))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        wire::skip(self.types, self.id, self.from, self.depth)?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f64 unit unit_struct map identifier
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Elements of a list, or entries of a map.
struct Items<'a, 'de> {
    types: &'a Types,
    ids: (i64, i64),
    from: &'a mut Cursor<'de>,
    left: usize,
    depth: usize,
}

impl<'de> Items<'_, 'de> {
    fn next<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Failed> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        let id = self.ids.0;
        seed.deserialize(De { types: self.types, id, from: &mut *self.from, depth: self.depth }).map(Some)
    }
}

impl<'de> SeqAccess<'de> for &mut Items<'_, 'de> {
    type Error = Failed;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Failed> {
        self.next(seed)
    }
}

impl<'de> MapAccess<'de> for Items<'_, 'de> {
    type Error = Failed;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Failed> {
        self.next(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Failed> {
        let id = self.ids.1;
        seed.deserialize(De { types: self.types, id, from: &mut *self.from, depth: self.depth })
    }
}

/// The bytes of a list of bytes, one by one.
struct Bytes<'de>(&'de [u8]);

impl<'de> SeqAccess<'de> for Bytes<'de> {
    type Error = Failed;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Failed> {
        let Some((byte, rest)) = self.0.split_first() else { return Ok(None) };
        self.0 = rest;
        seed.deserialize(Byte(*byte)).map(Some)
    }
}

struct Byte(u8);

impl<'de> Deserializer<'de> for Byte {
    type Error = Failed;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        visitor.visit_u8(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

/// The fields of a struct that are there.
struct Record<'a, 'de> {
    types: &'a Types,
    fields: Fields<'a>,
    /// What the fields are called by the reader.
    names: &'static [&'static str],
    from: &'a mut Cursor<'de>,
    /// The type of the value that comes next.
    next: i64,
    depth: usize,
}

impl<'de> MapAccess<'de> for Record<'_, 'de> {
    type Error = Failed;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Failed> {
        let Some(field) = self.fields.next(self.from)? else { return Ok(None) };
        self.next = field.id;
        let name = self.names.iter().find(|name| is_field(name, &field.name));
        seed.deserialize(StrDeserializer::new(name.copied().unwrap_or(&field.name))).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Failed> {
        let id = self.next;
        seed.deserialize(De { types: self.types, id, from: &mut *self.from, depth: self.depth })
    }
}
