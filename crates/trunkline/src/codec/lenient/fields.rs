//! The fields of a struct: those that the body has, and then those that it does not.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};

use super::{Nothing, Seed, Segment, Track};

/// The fields of a struct: those of the body, and then, empty, those that the body did not have.
pub(super) struct Fields<'t, A> {
    from: A,
    names: &'static [&'static str],
    seen: Seen,
    /// The field whose key was read last; none where nobody knows the key.
    current: Option<usize>,
    /// The next field to look at, once the body has no more.
    absent: Option<usize>,
    track: &'t Track,
}

impl<'t, A> Fields<'t, A> {
    pub(super) fn new(from: A, names: &'static [&'static str], track: &'t Track) -> Self {
        Self { from, names, seen: Seen::default(), current: None, absent: None, track }
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Fields<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let mut seed = Some(seed);
        if self.absent.is_none() {
            let last = self.current.take();
            let key = Key { seed: &mut seed, last, fields: self.names, seen: &self.seen, track: self.track };
            if let Some((value, index)) = self.from.next_key_seed(key)? {
                self.current = index;
                if let Some(index) = index {
                    self.seen.insert(index);
                }
                return Ok(Some(value));
            }
        }
        let from = self.absent.unwrap_or(0);
        let next = self.names.iter().enumerate().skip(from).find(|(index, _)| !self.seen.has(*index));
        let (Some((index, name)), Some(seed)) = (next, seed) else { return Ok(None) };
        self.absent = Some(index.saturating_add(1));
        self.current = Some(index);
        seed.deserialize(StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        let seed = Seed { seed, track: self.track };
        let value = match self.absent {
            None => self.from.next_value_seed(seed),
            Some(_) => seed.deserialize(Nothing::new()),
        };
        if value.is_err()
            && let Some(name) = self.current.and_then(|index| self.names.get(index))
        {
            self.track.note(Segment::Field(name));
        }
        value
    }
}

/// Which fields were there. `#[derive(Message)]` admits 256 of them.
#[derive(Default)]
struct Seen([u64; 4]);

impl Seen {
    fn insert(&mut self, index: usize) {
        if let Some(word) = self.0.get_mut(index / 64) {
            *word |= 1 << (index % 64);
        }
    }

    fn has(&self, index: usize) -> bool {
        self.0.get(index / 64).is_none_or(|word| word & (1 << (index % 64)) != 0)
    }
}

/// Reads the key of a struct and finds its field.
struct Key<'a, S> {
    seed: &'a mut Option<S>,
    last: Option<usize>,
    fields: &'static [&'static str],
    seen: &'a Seen,
    track: &'a Track,
}

impl<S> Key<'_, S> {
    fn find(&self, key: &str) -> Option<usize> {
        // Fields mostly come in their order.
        let next = self.last.map_or(0, |last| last.saturating_add(1));
        if self.fields.get(next).is_some_and(|name| *name == key) {
            return Some(next);
        }
        self.fields.iter().position(|name| *name == key).or_else(|| {
            let mut folded = self.fields.iter().enumerate();
            folded
                .find(|(index, name)| {
                    self.track.fold_case && name.eq_ignore_ascii_case(key) && !self.seen.has(*index)
                })
                .map(|(index, _)| index)
        })
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Key<'_, S> {
    type Value = (S::Value, Option<usize>);

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_identifier(self)
    }
}

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for Key<'_, S> {
    type Value = (S::Value, Option<usize>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Self::Value, E> {
        let index = self.find(key);
        let name = index.and_then(|index| self.fields.get(index)).copied().unwrap_or(key);
        let seed = self.seed.take().ok_or_else(|| E::custom("a key was read twice"))?;
        Ok((seed.deserialize(StrDeserializer::new(name))?, index))
    }

    fn visit_bytes<E: de::Error>(self, key: &[u8]) -> Result<Self::Value, E> {
        match std::str::from_utf8(key) {
            Ok(key) => self.visit_str(key),
            Err(_) => Err(E::invalid_value(de::Unexpected::Bytes(key), &self)),
        }
    }
}
