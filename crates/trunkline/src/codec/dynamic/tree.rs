//! A value of any codec, in the order in which it came.

use std::fmt;

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use super::super::{Error, json};
use crate::message::{Kind, Schema, Type, decode_base64, encode_base64};

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    F32(f32),
    F64(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Tree>),
    Map(Vec<(Tree, Tree)>),
}

impl Tree {
    pub(super) fn from_json(body: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(body).map_err(|e| Error::body("json", json::text(&e)))
    }

    pub(super) fn to_json(&self) -> Result<String, Error> {
        serde_json::to_string(self).map_err(|e| Error::encode("json", e))
    }

    /// What it is, for errors.
    #[cfg(any(feature = "protobuf", feature = "thrift", feature = "netrpc"))]
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a truth value",
            Self::Int(_) | Self::Uint(_) => "a whole number",
            Self::F32(_) | Self::F64(_) => "a number",
            Self::Text(_) => "a text",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "a list",
            Self::Map(_) => "an object",
        }
    }

    /// The keys of an object are texts; those of a map may be numbers.
    pub(super) fn as_key(&self, kind: Kind) -> Self {
        match self {
            Self::Text(text) if kind != Kind::Text => {
                let number = text.parse().map(Self::Int).or_else(|_| text.parse().map(Self::Uint));
                number.unwrap_or_else(|_| self.clone())
            }
            other => other.clone(),
        }
    }

    /// Turns what JSON has as text into bytes, and into numbers where they are keys, by the schema. Elsewhere the
    /// tree need not fit the schema.
    pub(super) fn fit(&mut self, schema: &Schema) -> Result<(), Error> {
        if schema.message().is_some() { self.fit_type(&Type::Message(0), schema) } else { Ok(()) }
    }

    fn fit_type(&mut self, ty: &Type, schema: &Schema) -> Result<(), Error> {
        match (ty, self) {
            (Type::Scalar(Kind::Blob, _), tree) => {
                if let Self::Text(text) = tree {
                    *tree = Self::Bytes(decode_base64(text).map_err(|e| Error::body("json", e))?);
                }
                Ok(())
            }
            (Type::Message(index), Self::Map(entries)) => {
                let fields = schema.messages().get(*index).map_or(&[][..], |message| &message.fields);
                for (key, value) in entries {
                    let Self::Text(name) = key else { continue };
                    if let Some(field) = fields.iter().find(|field| field.name == *name) {
                        value.fit_type(&field.ty, schema).map_err(|e| e.in_field(name))?;
                    }
                }
                Ok(())
            }
            (Type::Optional(inner), tree) => tree.fit_type(inner, schema),
            (Type::List(inner), Self::List(items)) => {
                items.iter_mut().try_for_each(|item| item.fit_type(inner, schema))
            }
            (Type::Map(kind, inner), Self::Map(entries)) => {
                entries.iter_mut().try_for_each(|(key, value)| {
                    if let Type::Scalar(kind, _) = **kind {
                        *key = key.as_key(kind);
                    }
                    value.fit_type(inner, schema)
                })
            }
            _ => Ok(()),
        }
    }
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => to.serialize_none(),
            Self::Bool(value) => to.serialize_bool(*value),
            Self::Int(value) => to.serialize_i64(*value),
            Self::Uint(value) => to.serialize_u64(*value),
            Self::F32(value) => to.serialize_f32(*value),
            Self::F64(value) => to.serialize_f64(*value),
            Self::Text(value) => to.serialize_str(value),
            Self::Bytes(value) if to.is_human_readable() => to.serialize_str(&encode_base64(value)),
            Self::Bytes(value) => to.serialize_bytes(value),
            Self::List(items) => to.collect_seq(items),
            Self::Map(entries) => {
                let mut map = to.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Uint(value))
    }

    fn visit_f32<E>(self, value: f32) -> Result<Tree, E> {
        Ok(Tree::F32(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::F64(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Tree, E> {
        Ok(Tree::Bytes(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = from.next_entry()? {
            entries.push(entry);
        }
        Ok(Tree::Map(entries))
    }

    /// An extension of MessagePack: times as text, others as their bytes.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<Tree, D::Error> {
        let Tree::List(parts) = Tree::deserialize(from)? else {
            return Err(de::Error::custom("a broken extension"));
        };
        Ok(match <[Tree; 2]>::try_from(parts) {
            Ok([Tree::Int(-1), Tree::Bytes(time)]) => time_text(&time).map_or(Tree::Bytes(time), Tree::Text),
            Ok([_, data]) => data,
            Err(_) => Tree::Null,
        })
    }
}

/// A time of MessagePack by RFC 3339, in UTC, with the digits of its fraction that count.
fn time_text(time: &[u8]) -> Option<String> {
    let (seconds, nanos) = match time.len() {
        4 => (i64::from(u32::from_be_bytes(time.try_into().ok()?)), 0),
        8 => {
            let both = u64::from_be_bytes(time.try_into().ok()?);
            (i64::try_from(both & 0x3_ffff_ffff).ok()?, u32::try_from(both >> 34).ok()?)
        }
        12 => {
            let (nanos, seconds) = time.split_at_checked(4)?;
            (i64::from_be_bytes(seconds.try_into().ok()?), u32::from_be_bytes(nanos.try_into().ok()?))
        }
        _ => return None,
    };
    moment(seconds, nanos).map(|text| text + "Z")
}

/// A time as Go's `time.Time` encodes itself, by RFC 3339, in its own zone.
#[cfg(feature = "netrpc")]
pub(super) fn go_time(time: &[u8]) -> Option<String> {
    /// Seconds from the year 1, where Go counts from, to 1970.
    const TO_1970: i64 = 62_135_596_800;
    let (version, rest) = time.split_first()?;
    let (seconds, rest) = rest.split_first_chunk()?;
    let (nanos, zone) = rest.split_first_chunk()?;
    let (zone, odd) = zone.split_first_chunk()?;
    // The second version has the seconds of a zone that is no whole number of minutes; RFC 3339 has not.
    let known = matches!((version, odd.len()), (1, 0) | (2, 1));
    let minutes = i64::from(i16::from_be_bytes(*zone));
    let (offset, zone) = match minutes {
        -1 | 0 => (0, "Z".to_owned()),
        minutes => {
            let (sign, size) = if minutes < 0 { ('-', -minutes) } else { ('+', minutes) };
            (minutes * 60, format!("{sign}{:02}:{:02}", size / 60, size % 60))
        }
    };
    let seconds = i64::from_be_bytes(*seconds).checked_sub(TO_1970)?.checked_add(offset)?;
    let text = moment(seconds, u32::from_be_bytes(*nanos))?;
    known.then(|| text + &zone)
}

/// Date and time of so many seconds since 1970, without a zone.
fn moment(seconds: i64, nanos: u32) -> Option<String> {
    let (year, month, day) = civil(seconds.div_euclid(86_400))?;
    let second = seconds.rem_euclid(86_400);
    let clock = format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
    let fraction = match nanos {
        0 => String::new(),
        nanos => format!(".{nanos:09}").trim_end_matches('0').to_owned(),
    };
    Some(format!("{year:04}-{month:02}-{day:02}T{clock}{fraction}"))
}

/// Year, month and day of a day since 1970-01-01, for the years 0 to 9999: every 400 years have as many days,
/// and a year that begins in March ends with the leap day.
fn civil(day: i64) -> Option<(i64, i64, i64)> {
    let day = day.checked_add(719_468)?;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (0..=9999).contains(&year).then_some((year, month, of_year - (153 * from_march + 2) / 5 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_go_writes_them() {
        // Of rpcx/kinds-msgpack.
        let first = [0, 0, 0, 0x14, 0x65, 0x53, 0xf1, 0];
        assert_eq!(time_text(&first).unwrap(), "2023-11-14T22:13:20.000000005Z");
        let zero = [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xf1, 0x88, 0x6e, 9, 0];
        assert_eq!(time_text(&zero).unwrap(), "0001-01-01T00:00:00Z");
        assert_eq!(time_text(&[0, 0, 0, 0]).unwrap(), "1970-01-01T00:00:00Z");
        assert_eq!(time_text(&951_782_400_u32.to_be_bytes()).unwrap(), "2000-02-29T00:00:00Z");
        assert_eq!(time_text(&[0; 5]), None);
        assert_eq!(time_text(&[0xff; 12]).unwrap(), "1969-12-31T23:59:59.4294967295Z");
        assert_eq!(time_text(&[0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
