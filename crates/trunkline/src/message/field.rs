//! How the fields of a message meet a codec that knows numbers and kinds: protobuf, Thrift, later gob.
//!
//! A [`Value`] stands alone on a wire (a scalar, text, bytes, a message). A [`Field`] is a value, an option of
//! one, a list or a map. Both hand themselves to a [`Writer`] and read themselves from a [`Reader`].

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash};

use crate::codec::Error;

use super::schema::{Registry, Type};

/// What a value is on a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Kind {
    Bool,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    F32,
    F64,
    Text,
    Blob,
    Message,
}

/// How an integer is written in protobuf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Form {
    /// A varint.
    #[default]
    Plain,
    /// A zigzag varint.
    Signed,
    /// Four or eight bytes.
    Fixed,
}

/// A field as a codec sees it.
#[derive(Debug, Clone, Copy)]
pub struct Spec<'a> {
    /// Its name in JSON and MessagePack.
    pub name: &'a str,
    /// Its number in protobuf and Thrift.
    pub number: u32,
    /// How its integers are written in protobuf.
    pub form: Form,
}

impl<'a> Spec<'a> {
    /// A field.
    #[must_use]
    pub const fn new(name: &'a str, number: u32, form: Form) -> Self {
        Self { name, number, form }
    }
}

/// Writes the fields of one message. The first group writes fields, the second the values in them.
pub trait Writer: Sized {
    /// One value. Where `zero` is true it may be left out.
    fn one(
        &mut self,
        spec: &Spec<'_>,
        kind: Kind,
        zero: bool,
        put: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error>;

    /// The elements of a list.
    fn list<T>(
        &mut self,
        spec: &Spec<'_>,
        kind: Kind,
        items: impl ExactSizeIterator<Item = T>,
        put: impl FnMut(&mut Self, T) -> Result<(), Error>,
    ) -> Result<(), Error>;

    /// The entries of a map.
    fn map<K, V>(
        &mut self,
        spec: &Spec<'_>,
        kinds: (Kind, Kind),
        entries: impl ExactSizeIterator<Item = (K, V)>,
        key: impl FnMut(&mut Self, K) -> Result<(), Error>,
        value: impl FnMut(&mut Self, V) -> Result<(), Error>,
    ) -> Result<(), Error>;

    /// A truth value.
    fn bool(&mut self, value: bool) -> Result<(), Error>;
    /// A signed integer of this kind.
    fn int(&mut self, kind: Kind, form: Form, value: i64) -> Result<(), Error>;
    /// An unsigned integer of this kind.
    fn uint(&mut self, kind: Kind, form: Form, value: u64) -> Result<(), Error>;
    /// Four bytes of floating point.
    fn f32(&mut self, value: f32) -> Result<(), Error>;
    /// Eight bytes of floating point.
    fn f64(&mut self, value: f64) -> Result<(), Error>;
    /// Text or bytes.
    fn bytes(&mut self, value: &[u8]) -> Result<(), Error>;
    /// A message, whose fields `fields` writes.
    fn message(&mut self, fields: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<(), Error>;
}

/// Reads the fields of one message. The first group reads fields, the second the values in them.
pub trait Reader: Sized {
    /// One value; `take` reads it.
    fn one(
        &mut self,
        kind: Kind,
        form: Form,
        take: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error>;

    /// Elements of a list; `take` reads one. There may be more of the same list later.
    fn list(
        &mut self,
        kind: Kind,
        form: Form,
        take: impl FnMut(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error>;

    /// Takes memory for an element or a nested message out of what the body is worth.
    fn charge(&mut self, bytes: usize) -> Result<(), Error>;

    /// Entries of a map. There may be more of the same map later.
    fn map(&mut self, kinds: (Kind, Kind), form: Form, entry: &mut impl Entry<Self>) -> Result<(), Error>;

    /// A truth value.
    fn bool(&mut self) -> Result<bool, Error>;
    /// A signed integer that fits this kind.
    fn int(&mut self, kind: Kind, form: Form) -> Result<i64, Error>;
    /// An unsigned integer that fits this kind.
    fn uint(&mut self, kind: Kind, form: Form) -> Result<u64, Error>;
    /// Four bytes of floating point.
    fn f32(&mut self) -> Result<f32, Error>;
    /// Eight bytes of floating point.
    fn f64(&mut self) -> Result<f64, Error>;
    /// Text.
    fn text(&mut self) -> Result<&str, Error>;
    /// Bytes.
    fn bytes(&mut self) -> Result<&[u8], Error>;
    /// A message; `field` reads the value of the field of this number, or says that it does not know it.
    fn message(&mut self, field: impl FnMut(u32, &mut Self) -> Result<bool, Error>) -> Result<(), Error>;
}

/// What a [`Reader`] tells about the entries of a map, one after another.
pub trait Entry<R> {
    /// Reads the key.
    fn key(&mut self, from: &mut R) -> Result<(), Error>;
    /// Reads the value.
    fn value(&mut self, from: &mut R) -> Result<(), Error>;
    /// The entry is complete; a part that was not read is empty.
    fn end(&mut self);
}

/// What stands alone on a wire.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot stand in a message",
    label = "not a scalar, `String`, `Blob` or message",
    note = "use bool, an integer of 8 to 64 bits, f32, f64, String, trunkline::Blob, or a struct with #[derive(Message)]; lists of lists need a message in between"
)]
pub trait Value: Sized {
    /// Its kind.
    const KIND: Kind;
    /// Zero, no text, no bytes, the message of empty fields.
    fn empty() -> Self;
    /// Whether protobuf may leave it out.
    fn is_zero(&self) -> bool;
    /// Writes it, without its field's header.
    fn put<W: Writer>(&self, form: Form, to: &mut W) -> Result<(), Error>;
    /// Reads it, without its field's header. A message takes over the fields that are there.
    fn take<R: Reader>(&mut self, form: Form, from: &mut R) -> Result<(), Error>;
    /// Its type.
    fn describe(form: Form, registry: &mut Registry) -> Type;
}

/// What may stand as the key of a map.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the key of a map in a message",
    note = "use String or an integer"
)]
pub trait Key: Value {}

/// What may stand as a field of a message.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a field of a message",
    label = "not a type that every codec can carry",
    note = "use bool, an integer of 8 to 64 bits, f32, f64, String, trunkline::Blob, a struct with #[derive(Message)], Box of one, or Option, Vec, HashMap or BTreeMap of those"
)]
pub trait Field: Sized {
    /// Its value where a body does not have it.
    fn empty() -> Self;
    /// Its type.
    fn describe(form: Form, registry: &mut Registry) -> Type;
    /// Writes it with its header, or leaves it out.
    fn write<W: Writer>(&self, spec: &Spec<'_>, to: &mut W) -> Result<(), Error>;
    /// Reads what stands behind its header.
    fn read<R: Reader>(&mut self, spec: &Spec<'_>, from: &mut R) -> Result<(), Error>;
}

impl<V: Value> Field for V {
    fn empty() -> Self {
        V::empty()
    }

    fn describe(form: Form, registry: &mut Registry) -> Type {
        V::describe(form, registry)
    }

    #[inline]
    fn write<W: Writer>(&self, spec: &Spec<'_>, to: &mut W) -> Result<(), Error> {
        to.one(spec, V::KIND, self.is_zero(), |to| self.put(spec.form, to)).map_err(|e| e.in_field(spec.name))
    }

    #[inline]
    fn read<R: Reader>(&mut self, spec: &Spec<'_>, from: &mut R) -> Result<(), Error> {
        from.one(V::KIND, spec.form, |from| self.take(spec.form, from)).map_err(|e| e.in_field(spec.name))
    }
}

impl<V: Value> Field for Option<V> {
    fn empty() -> Self {
        None
    }

    fn describe(form: Form, registry: &mut Registry) -> Type {
        Type::Optional(Box::new(V::describe(form, registry)))
    }

    fn write<W: Writer>(&self, spec: &Spec<'_>, to: &mut W) -> Result<(), Error> {
        let Some(value) = self else { return Ok(()) };
        to.one(spec, V::KIND, false, |to| value.put(spec.form, to)).map_err(|e| e.in_field(spec.name))
    }

    fn read<R: Reader>(&mut self, spec: &Spec<'_>, from: &mut R) -> Result<(), Error> {
        let value = self.get_or_insert_with(V::empty);
        from.one(V::KIND, spec.form, |from| value.take(spec.form, from)).map_err(|e| e.in_field(spec.name))
    }
}

impl<V: Value> Field for Vec<V> {
    fn empty() -> Self {
        Self::new()
    }

    fn describe(form: Form, registry: &mut Registry) -> Type {
        Type::List(Box::new(V::describe(form, registry)))
    }

    fn write<W: Writer>(&self, spec: &Spec<'_>, to: &mut W) -> Result<(), Error> {
        to.list(spec, V::KIND, self.iter(), |to, value| value.put(spec.form, to))
            .map_err(|e| e.in_field(spec.name))
    }

    fn read<R: Reader>(&mut self, spec: &Spec<'_>, from: &mut R) -> Result<(), Error> {
        let taken = from.list(V::KIND, spec.form, |from| {
            from.charge(size_of::<V>())?;
            let mut value = V::empty();
            value.take(spec.form, from).map_err(|e| e.at_index(self.len()))?;
            self.push(value);
            Ok(())
        });
        taken.map_err(|e| e.in_field(spec.name))
    }
}

/// A map and the entry that is being read.
struct Entries<'a, M, K, V> {
    map: &'a mut M,
    form: Form,
    key: Option<K>,
    value: Option<V>,
    count: usize,
}

impl<R: Reader, M: Extend<(K, V)>, K: Key, V: Value> Entry<R> for Entries<'_, M, K, V> {
    fn key(&mut self, from: &mut R) -> Result<(), Error> {
        from.charge(size_of::<(K, V)>())?;
        let key = self.key.insert(K::empty());
        key.take(Form::Plain, from).map_err(|e| e.at_index(self.count))
    }

    fn value(&mut self, from: &mut R) -> Result<(), Error> {
        let value = self.value.insert(V::empty());
        value.take(self.form, from).map_err(|e| e.at_index(self.count))
    }

    fn end(&mut self) {
        let key = self.key.take().unwrap_or_else(K::empty);
        let value = self.value.take().unwrap_or_else(V::empty);
        self.map.extend([(key, value)]);
        self.count = self.count.saturating_add(1);
    }
}

macro_rules! maps {
    ($($map:ident<K, V $(, $hasher:ident: $bound:ident)?> $(where $key:ident)?;)*) => {$(
        impl<K: Key $(+ $key)? + Eq + Hash, V: Value $(, $hasher: $bound + Default)?> Field for $map<K, V $(, $hasher)?> {
            fn empty() -> Self {
                Self::default()
            }

            fn describe(form: Form, registry: &mut Registry) -> Type {
                let key = K::describe(Form::Plain, registry);
                Type::Map(Box::new(key), Box::new(V::describe(form, registry)))
            }

            fn write<W: Writer>(&self, spec: &Spec<'_>, to: &mut W) -> Result<(), Error> {
                let key = |to: &mut W, key: &K| key.put(Form::Plain, to);
                let value = |to: &mut W, value: &V| value.put(spec.form, to);
                to.map(spec, (K::KIND, V::KIND), self.iter(), key, value).map_err(|e| e.in_field(spec.name))
            }

            fn read<R: Reader>(&mut self, spec: &Spec<'_>, from: &mut R) -> Result<(), Error> {
                let mut entries = Entries { map: self, form: spec.form, key: None, value: None, count: 0 };
                from.map((K::KIND, V::KIND), spec.form, &mut entries).map_err(|e| e.in_field(spec.name))
            }
        }
    )*};
}

maps! {
    HashMap<K, V, S: BuildHasher>;
    BTreeMap<K, V> where Ord;
}
