//! Reads JSON and MessagePack the way Go does: `null` and what is absent are empty, whatever the type.
//!
//! One adapter around any serde deserialiser. On the way out of an error it notes the path, so that the
//! error can name the field. It hides what a body claims about lengths: memory grows with what was read.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Visitor,
};

use super::{Budget, Error};

mod fields;

use fields::Fields;

/// What one read keeps beside the value.
pub(crate) struct Track {
    /// Names of structs match without case where none matches exactly (encoding/json does this).
    fold_case: bool,
    budget: Budget,
    path: RefCell<Vec<Segment>>,
}

#[derive(Clone, Copy)]
enum Segment {
    Field(&'static str),
    Index(usize),
}

impl Track {
    pub(crate) fn new(body: &[u8], fold_case: bool) -> Self {
        Self { fold_case, budget: Budget::of(body), path: RefCell::default() }
    }

    /// Takes memory for a value of this type.
    fn charge<T, E: de::Error>(&self) -> Result<(), E> {
        if self.budget.take(size_of::<T>()) { Ok(()) } else { Err(E::custom(Budget::EXCEEDED)) }
    }

    /// The error with the path at which it arose.
    pub(crate) fn locate(&self, error: Error) -> Error {
        self.path.borrow().iter().fold(error, |error, segment| match segment {
            Segment::Field(name) => error.in_field(name),
            Segment::Index(index) => error.at_index(*index),
        })
    }

    fn note(&self, segment: Segment) {
        self.path.borrow_mut().push(segment);
    }
}

/// Reads one value.
pub(crate) fn read<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    from: D,
    track: &Track,
) -> Result<T, D::Error> {
    T::deserialize(Lenient { from, track })
}

struct Lenient<'t, D> {
    from: D,
    track: &'t Track,
}

/// A seed that reads through [`Lenient`].
struct Seed<'t, S> {
    seed: S,
    track: &'t Track,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Seed<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<S::Value, D::Error> {
        self.seed.deserialize(Lenient { from, track: self.track })
    }
}

/// Scalars and texts: nothing reads as `$empty`, everything else as the visitor wants it.
macro_rules! or_empty {
    ($($method:ident $visit:ident $empty:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            struct Or<V>(V);
            impl<'de, V: Visitor<'de>> Visitor<'de> for Or<V> {
                type Value = V::Value;
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    self.0.expecting(f)
                }
                fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
                    self.0.$visit($empty)
                }
                fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<V::Value, D::Error> {
                    from.$method(self.0)
                }
            }
            self.from.deserialize_option(Or(visitor))
        }
    )*};
}

impl<'de, 't, D: Deserializer<'de>> Deserializer<'de> for Lenient<'t, D> {
    type Error = D::Error;

    or_empty! {
        deserialize_bool visit_bool false;
        deserialize_i8 visit_i8 0;
        deserialize_i16 visit_i16 0;
        deserialize_i32 visit_i32 0;
        deserialize_i64 visit_i64 0;
        deserialize_i128 visit_i128 0;
        deserialize_u8 visit_u8 0;
        deserialize_u16 visit_u16 0;
        deserialize_u32 visit_u32 0;
        deserialize_u64 visit_u64 0;
        deserialize_u128 visit_u128 0;
        deserialize_f32 visit_f32 0.0;
        deserialize_f64 visit_f64 0.0;
        deserialize_char visit_char '\0';
        deserialize_str visit_borrowed_str "";
        deserialize_string visit_borrowed_str "";
        deserialize_bytes visit_borrowed_bytes b"";
        deserialize_byte_buf visit_borrowed_bytes b"";
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.from.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.from.deserialize_ignored_any(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.from.deserialize_identifier(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.from.deserialize_option(Nest { visitor, track: self.track, shape: Opt })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.from.deserialize_option(Nest { visitor, track: self.track, shape: Seq })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, D::Error> {
        self.from.deserialize_tuple(len, Nest { visitor, track: self.track, shape: Tuple { len } })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.from.deserialize_tuple_struct(
            name,
            len,
            Nest { visitor, track: self.track, shape: Tuple { len } },
        )
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.from.deserialize_option(Nest { visitor, track: self.track, shape: Map })
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.from.deserialize_option(Nest { visitor, track: self.track, shape: Unit })
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        // A nested message may be in a box, which no element of a list shows.
        self.track.charge::<V::Value, D::Error>()?;
        self.from.deserialize_option(Nest { visitor, track: self.track, shape: Struct { name, fields } })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.from.deserialize_newtype_struct(name, Nest { visitor, track: self.track, shape: Newtype })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.from.deserialize_enum(name, variants, visitor)
    }

    fn is_human_readable(&self) -> bool {
        self.from.is_human_readable()
    }
}

/// What a [`Nest`] is asked for.
trait Shape: Copy {
    /// Reads it where there is something.
    fn some<'de, D: Deserializer<'de>, V: Visitor<'de>>(
        self,
        from: D,
        nest: Nest<'_, V, Self>,
    ) -> Result<V::Value, D::Error>;

    /// What it is where there is nothing.
    fn none<'de, V: Visitor<'de>, E: de::Error>(self, visitor: V, track: &Track) -> Result<V::Value, E>;

    /// The names of a struct; none for everything else.
    fn fields(self) -> Option<&'static [&'static str]> {
        None
    }
}

#[derive(Clone, Copy)]
struct Opt;
#[derive(Clone, Copy)]
struct Seq;
#[derive(Clone, Copy)]
struct Tuple {
    len: usize,
}
#[derive(Clone, Copy)]
struct Map;
#[derive(Clone, Copy)]
struct Unit;
#[derive(Clone, Copy)]
struct Newtype;
#[derive(Clone, Copy)]
struct Struct {
    name: &'static str,
    fields: &'static [&'static str],
}

type Nothing<E> = de::value::UnitDeserializer<E>;

impl Shape for Opt {
    fn some<'de, D: Deserializer<'de>, V: Visitor<'de>>(
        self,
        from: D,
        nest: Nest<'_, V, Self>,
    ) -> Result<V::Value, D::Error> {
        nest.visitor.visit_some(Lenient { from, track: nest.track })
    }
    fn none<'de, V: Visitor<'de>, E: de::Error>(self, visitor: V, _: &Track) -> Result<V::Value, E> {
        visitor.visit_none()
    }
}

impl Shape for Seq {
    fn some<'de, D: Deserializer<'de>, V: Visitor<'de>>(
        self,
        from: D,
        nest: Nest<'_, V, Self>,
    ) -> Result<V::Value, D::Error> {
        from.deserialize_seq(nest)
    }
    fn none<'de, V: Visitor<'de>, E: de::Error>(self, visitor: V, _: &Track) -> Result<V::Value, E> {
        visitor.visit_seq(Absent::<E>(PhantomData))
    }
}

/// An array has its length even where nothing is there.
impl Shape for Tuple {
    fn some<'de, D: Deserializer<'de>, V: Visitor<'de>>(
        self,
        from: D,
        nest: Nest<'_, V, Self>,
    ) -> Result<V::Value, D::Error> {
        from.deserialize_tuple(self.len, nest)
    }
    fn none<'de, V: Visitor<'de>, E: de::Error>(self, visitor: V, track: &Track) -> Result<V::Value, E> {
        let nothing = std::iter::repeat_n((), self.len);
        visitor.visit_seq(Elements { from: de::value::SeqDeserializer::new(nothing), track, index: 0 })
    }
}

impl Shape for Map {
    fn some<'de, D: Deserializer<'de>, V: Visitor<'de>>(
        self,
        from: D,
        nest: Nest<'_, V, Self>,
    ) -> Result<V::Value, D::Error> {
        from.deserialize_map(nest)
    }
    fn none<'de, V: Visitor<'de>, E: de::Error>(self, visitor: V, _: &Track) -> Result<V::Value, E> {
        visitor.visit_map(Absent::<E>(PhantomData))
    }
}

impl Shape for Unit {
    fn some<'de, D: Deserializer<'de>, V: Visitor<'de>>(
        self,
        from: D,
        nest: Nest<'_, V, Self>,
    ) -> Result<V::Value, D::Error> {
        // Go writes a struct without fields as a map without entries, serde for MessagePack as an empty list.
        from.deserialize_any(Skip)?;
        nest.visitor.visit_unit()
    }
    fn none<'de, V: Visitor<'de>, E: de::Error>(self, visitor: V, _: &Track) -> Result<V::Value, E> {
        visitor.visit_unit()
    }
}

impl Shape for Newtype {
    fn some<'de, D: Deserializer<'de>, V: Visitor<'de>>(
        self,
        from: D,
        nest: Nest<'_, V, Self>,
    ) -> Result<V::Value, D::Error> {
        nest.visitor.visit_newtype_struct(Lenient { from, track: nest.track })
    }
    fn none<'de, V: Visitor<'de>, E: de::Error>(self, visitor: V, track: &Track) -> Result<V::Value, E> {
        visitor.visit_newtype_struct(Lenient { from: Nothing::<E>::new(), track })
    }
}

impl Shape for Struct {
    fn some<'de, D: Deserializer<'de>, V: Visitor<'de>>(
        self,
        from: D,
        nest: Nest<'_, V, Self>,
    ) -> Result<V::Value, D::Error> {
        from.deserialize_struct(self.name, self.fields, nest)
    }
    fn none<'de, V: Visitor<'de>, E: de::Error>(self, visitor: V, track: &Track) -> Result<V::Value, E> {
        visitor.visit_map(Fields::new(Absent::<E>(PhantomData), self.fields, track))
    }
    fn fields(self) -> Option<&'static [&'static str]> {
        Some(self.fields)
    }
}

/// A visitor that hands what it sees on, nested values made lenient.
struct Nest<'t, V, S> {
    visitor: V,
    track: &'t Track,
    shape: S,
}

impl<'de, V: Visitor<'de>, S: Shape> Visitor<'de> for Nest<'_, V, S> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
        self.shape.none(self.visitor, self.track)
    }

    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        self.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<V::Value, D::Error> {
        self.shape.some(from, self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_newtype_struct(Lenient { from, track: self.track })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, from: A) -> Result<V::Value, A::Error> {
        if self.shape.fields().is_some() {
            // Messages are maps from names, never lists.
            return Err(de::Error::invalid_type(de::Unexpected::Seq, &"a message with named fields"));
        }
        self.visitor.visit_seq(Elements { from, track: self.track, index: 0 })
    }

    fn visit_map<A: MapAccess<'de>>(self, from: A) -> Result<V::Value, A::Error> {
        match self.shape.fields() {
            Some(fields) => self.visitor.visit_map(Fields::new(from, fields, self.track)),
            None => self.visitor.visit_map(Entries { from, track: self.track, index: 0 }),
        }
    }

    fn visit_enum<A: EnumAccess<'de>>(self, from: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_enum(from)
    }
}

/// Passes over what is in a map or list.
struct Skip;

impl<'de> Visitor<'de> for Skip {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<(), A::Error> {
        while from.next_element::<de::IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<(), A::Error> {
        while from.next_entry::<de::IgnoredAny, de::IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// A list or map without elements.
struct Absent<E>(PhantomData<E>);

impl<'de, E: de::Error> SeqAccess<'de> for Absent<E> {
    type Error = E;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, _: T) -> Result<Option<T::Value>, E> {
        Ok(None)
    }
}

impl<'de, E: de::Error> MapAccess<'de> for Absent<E> {
    type Error = E;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, _: K) -> Result<Option<K::Value>, E> {
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, E> {
        seed.deserialize(Nothing::new())
    }
}

/// The elements of a list. It gives no hint of their number: that is only a claim of the peer.
struct Elements<'t, A> {
    from: A,
    track: &'t Track,
    index: usize,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Elements<'_, A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        self.track.charge::<T::Value, A::Error>()?;
        let next = self.from.next_element_seed(Seed { seed, track: self.track });
        if next.is_err() {
            self.track.note(Segment::Index(self.index));
        }
        self.index = self.index.saturating_add(1);
        next
    }
}

/// The entries of a map; an error names the number of the entry.
struct Entries<'t, A> {
    from: A,
    track: &'t Track,
    index: usize,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Entries<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        self.track.charge::<K::Value, A::Error>()?;
        self.from.next_key_seed(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.track.charge::<V::Value, A::Error>()?;
        let next = self.from.next_value_seed(Seed { seed, track: self.track });
        if next.is_err() {
            self.track.note(Segment::Index(self.index));
        }
        self.index = self.index.saturating_add(1);
        next
    }
}
