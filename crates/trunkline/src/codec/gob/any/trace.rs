//! Which gob type a Rust type has, found out by reading one in which everything is zero.
//!
//! The reader is asked for one part after another and notes what for. A list is read with one element, an option with
//! a value, so that what is in them is told too; where that leads back to a struct that is being read, the type is
//! noted and the reading begun anew, and then there is nothing in the list. Each reading learns something, or is the
//! last.

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use std::cell::{Cell, RefCell};
use trunkline_wire::gob::{self as wire, Definition, Field, Shape, Types, builtin};

use super::super::{broken, go_field};
use super::{COMPLEX, Error, Failed};
use crate::codec::MAX_DEPTH;

/// Most elements of an array, which are all read.
const MOST_ELEMENTS: usize = 1 << 16;

/// The types of `T`, and the id of the whole.
pub(super) fn types_of<T: DeserializeOwned>() -> Result<(Types, i64), Error> {
    let world = World::default();
    let mut root = None;
    loop {
        let before = world.learnt.get();
        world.open.borrow_mut().clear();
        match T::deserialize(Tracer { world: &world, slot: &mut root, depth: 0 }) {
            Ok(_) => break,
            Err(_) if world.learnt.get() > before => {}
            Err(failed) => {
                let name = std::any::type_name::<T>();
                return Err(Error::unsupported(
                    super::CODEC,
                    format_args!("the type of {name} cannot be told: {}", failed.0.what()),
                ));
            }
        }
    }
    let root = root.ok_or_else(|| Error::unsupported(super::CODEC, "a type that reads nothing"))?;
    world.define(&root)
}

/// A type as far as it is known.
#[derive(Debug, Clone, PartialEq)]
enum Ty {
    Builtin(i64),
    /// A `u8`: an unsigned number, but in a list a byte.
    Byte,
    /// A struct without fields.
    Unit,
    Slice(Box<Ty>),
    Array(Box<Ty>, usize),
    Map(Box<Ty>, Box<Ty>),
    Struct(usize),
}

/// A struct that was met.
struct Known {
    name: &'static str,
    names: &'static [&'static str],
    fields: Vec<Option<Ty>>,
    /// All of it was read.
    done: bool,
}

#[derive(Default)]
struct World {
    structs: RefCell<Vec<Known>>,
    /// The structs that are being read.
    open: RefCell<Vec<usize>>,
    /// How much is known, as a number that only grows.
    learnt: Cell<usize>,
}

impl World {
    fn learn(&self) {
        self.learnt.set(self.learnt.get().saturating_add(1));
    }

    /// The struct of this name and these fields, and whether it is being read.
    fn meet(&self, name: &'static str, names: &'static [&'static str]) -> (usize, bool) {
        let mut structs = self.structs.borrow_mut();
        let same = |known: &Known| known.name == name && std::ptr::eq(known.names, names);
        let index = structs.iter().position(same).unwrap_or_else(|| {
            structs.push(Known { name, names, fields: vec![None; names.len()], done: false });
            structs.len().saturating_sub(1)
        });
        (index, self.open.borrow().contains(&index))
    }

    /// Whether all that the type holds is known, or will be when what is being read has been read.
    fn is_complete(&self, ty: &Ty) -> bool {
        match ty {
            Ty::Slice(inner) | Ty::Array(inner, _) => self.is_complete(inner),
            Ty::Map(key, value) => self.is_complete(key) && self.is_complete(value),
            Ty::Struct(index) => {
                self.open.borrow().contains(index)
                    || self.structs.borrow().get(*index).is_some_and(|known| known.done)
            }
            _ => true,
        }
    }

    fn field(&self, index: usize, field: usize) -> Option<Ty> {
        self.structs.borrow().get(index).and_then(|known| known.fields.get(field).cloned().flatten())
    }

    fn note(&self, index: usize, field: usize, ty: Option<Ty>) {
        let mut structs = self.structs.borrow_mut();
        let place = structs.get_mut(index).and_then(|known| known.fields.get_mut(field));
        if let (Some(place), Some(ty)) = (place, ty)
            && place.as_ref() != Some(&ty)
        {
            *place = Some(ty);
            self.learn();
        }
    }

    /// All structs first, in the order in which they were met; then what is defined between them.
    fn define(&self, root: &Ty) -> Result<(Types, i64), Error> {
        let mut types = Types::new(wire::MAX_STREAM_TYPES);
        let structs = self.structs.borrow();
        let empty = |name: &str| Definition { name: name.into(), shape: Shape::Struct([].into()) };
        for known in structs.iter() {
            types.push(empty(known.name)).map_err(broken)?;
        }
        for (id, known) in (builtin::FIRST_LOCAL..).zip(structs.iter()) {
            let mut fields = Vec::with_capacity(known.names.len());
            for (name, ty) in known.names.iter().zip(&known.fields) {
                // A field that reads nothing is never sent.
                let Some(ty) = ty else { continue };
                fields.push(Field { name: go_field(name).into(), id: id_of(ty, &mut types)? });
            }
            types.replace(id, Definition { name: known.name.into(), shape: Shape::Struct(fields.into()) });
        }
        let id = id_of(root, &mut types)?;
        Ok((types, id))
    }
}

fn id_of(ty: &Ty, types: &mut Types) -> Result<i64, Error> {
    let shape = match ty {
        Ty::Builtin(id) => return Ok(*id),
        Ty::Byte => return Ok(builtin::UINT),
        Ty::Struct(index) => {
            return Ok(builtin::FIRST_LOCAL.saturating_add(i64::try_from(*index).unwrap_or(i64::MAX)));
        }
        Ty::Slice(inner) if **inner == Ty::Byte => return Ok(builtin::BYTES),
        Ty::Slice(inner) => Shape::Slice { element: id_of(inner, types)? },
        Ty::Array(inner, length) => Shape::Array { element: id_of(inner, types)?, length: *length as u64 },
        Ty::Map(key, value) => Shape::Map { key: id_of(key, types)?, element: id_of(value, types)? },
        Ty::Unit => Shape::Struct([].into()),
    };
    let known = types.iter().find(|(_, known)| known.shape == shape && known.name.is_empty());
    match known {
        Some((id, _)) => Ok(id),
        None => types.push(Definition { name: "".into(), shape }).map_err(broken),
    }
}

/// Reads zeros, and notes what was asked for.
struct Tracer<'a> {
    world: &'a World,
    /// What is known of the type, before and after.
    slot: &'a mut Option<Ty>,
    depth: usize,
}

impl<'a> Tracer<'a> {
    fn is(self, ty: Ty) -> &'a World {
        if self.slot.is_none() {
            self.world.learn();
        }
        *self.slot = Some(ty);
        self.world
    }

    fn is_complete(&self) -> bool {
        self.slot.as_ref().is_some_and(|ty| self.world.is_complete(ty))
    }

    fn deeper(&self) -> Result<usize, Failed> {
        if self.depth >= MAX_DEPTH {
            return Err(Failed::new("it is nested deeper than 64"));
        }
        Ok(self.depth.saturating_add(1))
    }
}

macro_rules! scalars {
    ($($method:ident $visit:ident $zero:expr, $ty:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
            self.is($ty);
            visitor.$visit($zero)
        }
    )*};
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Failed;

    scalars! {
        deserialize_bool visit_bool false, Ty::Builtin(builtin::BOOL);
        deserialize_i8 visit_i8 0, Ty::Builtin(builtin::INT);
        deserialize_i16 visit_i16 0, Ty::Builtin(builtin::INT);
        deserialize_i32 visit_i32 0, Ty::Builtin(builtin::INT);
        deserialize_i64 visit_i64 0, Ty::Builtin(builtin::INT);
        deserialize_u8 visit_u8 0, Ty::Byte;
        deserialize_u16 visit_u16 0, Ty::Builtin(builtin::UINT);
        deserialize_u32 visit_u32 0, Ty::Builtin(builtin::UINT);
        deserialize_u64 visit_u64 0, Ty::Builtin(builtin::UINT);
        deserialize_f32 visit_f32 0.0, Ty::Builtin(builtin::FLOAT);
        deserialize_f64 visit_f64 0.0, Ty::Builtin(builtin::FLOAT);
        deserialize_char visit_char '\0', Ty::Builtin(builtin::INT);
        deserialize_str visit_borrowed_str "", Ty::Builtin(builtin::STRING);
        deserialize_string visit_borrowed_str "", Ty::Builtin(builtin::STRING);
        deserialize_bytes visit_borrowed_bytes b"", Ty::Builtin(builtin::BYTES);
        deserialize_byte_buf visit_borrowed_bytes b"", Ty::Builtin(builtin::BYTES);
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Failed> {
        Err(Failed::new("it takes anything"))
    }

    fn deserialize_i128<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Failed> {
        Err(Failed::new("gob has no integers of 128 bits"))
    }

    fn deserialize_u128<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Failed> {
        Err(Failed::new("gob has no integers of 128 bits"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Failed> {
        Err(Failed::new(format_args!("gob has no enums, and {name} is one")))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        if self.is_complete() {
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.is(Ty::Unit);
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let count = if self.is_complete() { 0 } else { 1 };
        let mut inner = match &self.slot {
            Some(Ty::Slice(inner)) => Some((**inner).clone()),
            _ => None,
        };
        let elements = Elements { world: self.world, slot: &mut inner, left: count, depth: self.deeper()? };
        let read = visitor.visit_seq(elements);
        if let Some(inner) = inner {
            self.is(Ty::Slice(Box::new(inner)));
        }
        read
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Failed> {
        if len > MOST_ELEMENTS {
            return Err(Failed::new(format_args!("an array of more than {MOST_ELEMENTS} elements")));
        }
        let mut inner = match &self.slot {
            Some(Ty::Array(inner, _)) => Some((**inner).clone()),
            _ => None,
        };
        let elements = Elements { world: self.world, slot: &mut inner, left: len, depth: self.deeper()? };
        let read = visitor.visit_seq(elements);
        if let Some(inner) = inner {
            self.is(Ty::Array(Box::new(inner), len));
        } else if len == 0 {
            self.is(Ty::Array(Box::new(Ty::Builtin(builtin::INT)), 0));
        }
        read
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        if name != COMPLEX {
            return self.deserialize_tuple(len, visitor);
        }
        let depth = self.deeper()?;
        let world = self.is(Ty::Builtin(builtin::COMPLEX));
        visitor.visit_seq(Elements { world, slot: &mut None, left: len, depth })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let left = if self.is_complete() { 0 } else { 1 };
        let (mut key, mut value) = match &self.slot {
            Some(Ty::Map(key, value)) => (Some((**key).clone()), Some((**value).clone())),
            _ => (None, None),
        };
        let entries =
            Entries { world: self.world, key: &mut key, value: &mut value, left, depth: self.deeper()? };
        let read = visitor.visit_map(entries);
        if let (Some(key), Some(value)) = (key, value) {
            self.is(Ty::Map(Box::new(key), Box::new(value)));
        }
        read
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        let depth = self.deeper()?;
        let (index, is_open) = self.world.meet(name, names);
        let world = self.is(Ty::Struct(index));
        if is_open {
            return Err(Failed::new(format_args!("{name} leads back to itself")));
        }
        world.open.borrow_mut().push(index);
        let read = visitor.visit_map(StructFields { world, index, names, next: 0, depth })?;
        world.open.borrow_mut().pop();
        if let Some(known) = world.structs.borrow_mut().get_mut(index)
            && !known.done
        {
            known.done = true;
            world.learn();
        }
        Ok(read)
    }

    forward_to_deserialize_any! { identifier ignored_any }

    fn is_human_readable(&self) -> bool {
        false
    }
}

struct Elements<'a> {
    world: &'a World,
    slot: &'a mut Option<Ty>,
    left: usize,
    depth: usize,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Failed;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Failed> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        let before = self.slot.clone();
        let tracer = Tracer { world: self.world, slot: &mut *self.slot, depth: self.depth };
        let value = seed.deserialize(tracer)?;
        if before.is_some() && before != *self.slot {
            return Err(Failed::new("gob has no tuples of several types"));
        }
        Ok(Some(value))
    }
}

struct Entries<'a> {
    world: &'a World,
    key: &'a mut Option<Ty>,
    value: &'a mut Option<Ty>,
    left: usize,
    depth: usize,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Failed;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Failed> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        let tracer = Tracer { world: self.world, slot: &mut *self.key, depth: self.depth };
        seed.deserialize(tracer).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Failed> {
        seed.deserialize(Tracer { world: self.world, slot: &mut *self.value, depth: self.depth })
    }
}

struct StructFields<'a> {
    world: &'a World,
    index: usize,
    names: &'static [&'static str],
    next: usize,
    depth: usize,
}

impl<'de> MapAccess<'de> for StructFields<'_> {
    type Error = Failed;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Failed> {
        let Some(name) = self.names.get(self.next) else { return Ok(None) };
        seed.deserialize(StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Failed> {
        let mut ty = self.world.field(self.index, self.next);
        let value = seed.deserialize(Tracer { world: self.world, slot: &mut ty, depth: self.depth });
        self.world.note(self.index, self.next, ty);
        let name = self.names.get(self.next).copied().unwrap_or_default();
        self.next = self.next.saturating_add(1);
        value.map_err(|failed| Failed::new(format_args!("field {name}: {}", failed.0.what())))
    }
}
