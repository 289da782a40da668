//! Writes a value whose type is known.

use serde::ser::{self, Impossible, Serialize, Serializer};
use trunkline_wire::gob::{self as wire, Field, Shape, Types, builtin};

use super::super::is_field;
use super::{COMPLEX, Error, Failed};

/// The id of the elements of a list of bytes, which stand as they are.
const BARE: i64 = 0;

/// Appends the value, without the zero of one that is no struct.
pub(super) fn write<T: Serialize>(types: &Types, id: i64, value: &T, out: &mut Vec<u8>) -> Result<(), Error> {
    let to = Ser { types, out, id, delta: 0, keep: true, sent: &mut false };
    value.serialize(to).map_err(|failed| failed.0)
}

/// Writes one value of the type.
struct Ser<'a> {
    types: &'a Types,
    out: &'a mut Vec<u8>,
    id: i64,
    /// How far the field is behind the one before; 0 where it is no field.
    delta: u64,
    /// It is sent even where it is zero.
    keep: bool,
    /// Whether it was sent.
    sent: &'a mut bool,
}

#[cold]
fn unlike() -> Failed {
    Failed(Error::encode(super::CODEC, "it is written as another type than it is read as"))
}

#[cold]
fn no_enums(name: &str) -> Failed {
    Failed(Error::unsupported(super::CODEC, format_args!("gob has no enums, and {name} is one")))
}

impl Ser<'_> {
    /// Whether the value has to be written; the field is begun then.
    fn begins(&mut self, zero: bool) -> bool {
        if zero && !self.keep {
            return false;
        }
        if self.delta > 0 {
            wire::put_uint(self.delta, self.out);
        }
        *self.sent = true;
        true
    }

    fn expect(&self, id: i64) -> Result<(), Failed> {
        if self.id == id { Ok(()) } else { Err(unlike()) }
    }

    fn int(mut self, value: i64) -> Result<(), Failed> {
        self.expect(builtin::INT)?;
        if self.begins(value == 0) {
            wire::put_int(value, self.out);
        }
        Ok(())
    }

    fn uint(mut self, value: u64) -> Result<(), Failed> {
        self.expect(builtin::UINT)?;
        if self.begins(value == 0) {
            wire::put_uint(value, self.out);
        }
        Ok(())
    }
}

type None_ = Impossible<(), Failed>;

impl<'a> Serializer for Ser<'a> {
    type Ok = ();
    type Error = Failed;
    type SerializeSeq = Items<'a>;
    type SerializeTuple = Items<'a>;
    type SerializeTupleStruct = Items<'a>;
    type SerializeTupleVariant = None_;
    type SerializeMap = Items<'a>;
    type SerializeStruct = Record<'a>;
    type SerializeStructVariant = None_;

    fn serialize_bool(mut self, value: bool) -> Result<(), Failed> {
        self.expect(builtin::BOOL)?;
        if self.begins(!value) {
            self.out.push(u8::from(value));
        }
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<(), Failed> {
        self.int(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<(), Failed> {
        self.int(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<(), Failed> {
        self.int(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<(), Failed> {
        self.int(value)
    }

    fn serialize_u8(self, value: u8) -> Result<(), Failed> {
        if self.id == BARE {
            self.out.push(value);
            return Ok(());
        }
        self.uint(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<(), Failed> {
        self.uint(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<(), Failed> {
        self.uint(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<(), Failed> {
        self.uint(value)
    }

    fn serialize_f32(self, value: f32) -> Result<(), Failed> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(mut self, value: f64) -> Result<(), Failed> {
        self.expect(builtin::FLOAT)?;
        if self.begins(value.to_bits() == 0) {
            wire::put_float(value, self.out);
        }
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Failed> {
        self.int(u32::from(value).into())
    }

    fn serialize_str(mut self, value: &str) -> Result<(), Failed> {
        self.expect(builtin::STRING)?;
        if self.begins(value.is_empty()) {
            wire::put_bytes(value.as_bytes(), self.out);
        }
        Ok(())
    }

    fn serialize_bytes(mut self, value: &[u8]) -> Result<(), Failed> {
        self.expect(builtin::BYTES)?;
        if self.begins(value.is_empty()) {
            wire::put_bytes(value, self.out);
        }
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Failed> {
        if self.delta > 0 {
            return Ok(());
        }
        Err(Failed(Error::encode(super::CODEC, "gob has no element that is nothing")))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Failed> {
        value.serialize(Ser { keep: true, ..self })
    }

    fn serialize_unit(mut self) -> Result<(), Failed> {
        if !matches!(self.types.get(self.id).map(|found| &found.shape), Some(Shape::Struct(_))) {
            return Err(unlike());
        }
        self.begins(false);
        self.out.push(0);
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Failed> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, name: &'static str, _: u32, _: &'static str) -> Result<(), Failed> {
        Err(no_enums(name))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Failed> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Failed> {
        Err(no_enums(name))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items<'a>, Failed> {
        let ids = match self.types.get(self.id).map(|found| &found.shape) {
            Some(Shape::Slice { element }) => (*element, *element),
            None if self.id == builtin::BYTES => (BARE, BARE),
            // A list of a fixed length may say so only where it is read.
            Some(Shape::Array { element, .. }) => (*element, *element),
            _ => return Err(unlike()),
        };
        Ok(Items::new(self, ids, true))
    }

    fn serialize_tuple(self, len: usize) -> Result<Items<'a>, Failed> {
        match self.types.get(self.id).map(|found| &found.shape) {
            Some(Shape::Array { element, length }) if *length == len as u64 => {
                let ids = (*element, *element);
                Ok(Items::new(self, ids, true))
            }
            _ => self.serialize_seq(Some(len)),
        }
    }

    fn serialize_tuple_struct(self, name: &'static str, len: usize) -> Result<Items<'a>, Failed> {
        if name != COMPLEX {
            return self.serialize_tuple(len);
        }
        self.expect(builtin::COMPLEX)?;
        Ok(Items::new(self, (builtin::FLOAT, builtin::FLOAT), false))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<None_, Failed> {
        Err(no_enums(name))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Items<'a>, Failed> {
        match self.types.get(self.id).map(|found| &found.shape) {
            Some(Shape::Map { key, element }) => {
                let ids = (*key, *element);
                Ok(Items::new(self, ids, true))
            }
            _ => Err(unlike()),
        }
    }

    fn serialize_struct(mut self, _: &'static str, _: usize) -> Result<Record<'a>, Failed> {
        let Some(Shape::Struct(fields)) = self.types.get(self.id).map(|found| &found.shape) else {
            return Err(unlike());
        };
        self.begins(false);
        Ok(Record { types: self.types, out: self.out, fields, at: 0, sent: 0 })
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<None_, Failed> {
        Err(no_enums(name))
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Elements of a list, entries of a map, parts of a complex number. How many there are is known at the end, and then
/// put in front of them.
struct Items<'a> {
    to: Ser<'a>,
    /// The types of elements that come in turn: keys and values.
    ids: (i64, i64),
    start: usize,
    count: u64,
    /// Whether the number of the elements stands in front of them.
    counted: bool,
}

impl<'a> Items<'a> {
    fn new(to: Ser<'a>, ids: (i64, i64), counted: bool) -> Self {
        let start = to.out.len();
        Self { to, ids, start, count: 0, counted }
    }

    fn put<T: Serialize + ?Sized>(&mut self, id: i64, value: &T) -> Result<(), Failed> {
        let mut sent = false;
        let to = &mut self.to;
        value.serialize(Ser { types: to.types, out: &mut *to.out, id, delta: 0, keep: true, sent: &mut sent })
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failed> {
        self.count = self.count.saturating_add(1);
        self.put(self.ids.0, value)
    }

    fn finish(mut self) -> Result<(), Failed> {
        let shape = self.to.types.get(self.to.id).map(|found| &found.shape);
        let (is_array, fits) = match shape {
            Some(Shape::Array { length, .. }) => (true, *length == self.count),
            _ => (false, true),
        };
        if !fits {
            return Err(unlike());
        }
        let zero = match self.counted {
            true => self.count == 0 && !is_array,
            false => self.to.out.get(self.start..) == Some(&[0, 0]),
        };
        // The head is written behind the elements, and turned round to the front.
        let end = self.to.out.len();
        if !self.to.begins(zero) {
            self.to.out.truncate(self.start);
            return Ok(());
        }
        if self.counted {
            wire::put_uint(self.count, self.to.out);
        }
        let head = self.to.out.len().saturating_sub(end);
        if let Some(all) = self.to.out.get_mut(self.start..) {
            all.rotate_right(head);
        }
        Ok(())
    }
}

impl ser::SerializeSeq for Items<'_> {
    type Ok = ();
    type Error = Failed;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failed> {
        let index = usize::try_from(self.count).unwrap_or(usize::MAX);
        self.element(value).map_err(|failed| Failed(failed.0.at_index(index)))
    }

    fn end(self) -> Result<(), Failed> {
        self.finish()
    }
}

impl ser::SerializeTuple for Items<'_> {
    type Ok = ();
    type Error = Failed;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failed> {
        self.element(value)
    }

    fn end(self) -> Result<(), Failed> {
        self.finish()
    }
}

impl ser::SerializeTupleStruct for Items<'_> {
    type Ok = ();
    type Error = Failed;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failed> {
        self.element(value)
    }

    fn end(self) -> Result<(), Failed> {
        self.finish()
    }
}

impl ser::SerializeMap for Items<'_> {
    type Ok = ();
    type Error = Failed;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Failed> {
        self.element(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failed> {
        self.put(self.ids.1, value)
    }

    fn end(self) -> Result<(), Failed> {
        self.finish()
    }
}

/// The fields of a struct.
struct Record<'a> {
    types: &'a Types,
    out: &'a mut Vec<u8>,
    fields: &'a [Field],
    /// The index of the field that comes next.
    at: usize,
    /// The index of the field that was sent last, plus one.
    sent: usize,
}

impl ser::SerializeStruct for Record<'_> {
    type Ok = ();
    type Error = Failed;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Failed> {
        let mut rest = self.fields.iter().enumerate().skip(self.at);
        let (index, field) = rest.find(|(_, field)| is_field(key, &field.name)).ok_or_else(unlike)?;
        self.at = index.saturating_add(1);
        let delta = self.at.saturating_sub(self.sent) as u64;
        let mut sent = false;
        let to = Ser { types: self.types, out: self.out, id: field.id, delta, keep: false, sent: &mut sent };
        value.serialize(to).map_err(|failed| Failed(failed.0.in_field(key)))?;
        if sent {
            self.sent = self.at;
        }
        Ok(())
    }

    fn end(self) -> Result<(), Failed> {
        self.out.push(0);
        Ok(())
    }
}
