//! Thrift's binary protocol: the bare struct, without a message's header.
//!
//! Every length is held against the bytes that are left before anything is done with it.

use super::{Budget, Error, MAX_DEPTH};
use crate::message::{self, Entry, Form, Kind, Message, Reader as _, Spec, Writer as _};

const CODEC: &str = "thrift";

const STOP: u8 = 0;
const BOOL: u8 = 2;
const BYTE: u8 = 3;
const DOUBLE: u8 = 4;
const I16: u8 = 6;
const I32: u8 = 8;
const I64: u8 = 10;
const STRING: u8 = 11;
const STRUCT: u8 = 12;
const MAP: u8 = 13;
const SET: u8 = 14;
const LIST: u8 = 15;

pub(crate) fn encode<M: Message>(message: &M, out: &mut Vec<u8>) -> Result<(), Error> {
    write(out, |to| message.write_fields(to))
}

pub(crate) fn decode<M: Message>(body: &[u8]) -> Result<M, Error> {
    let mut message = M::empty();
    read(body, |number, from| message.read_field(number, from))?;
    Ok(message)
}

/// Writes one struct.
pub(crate) fn write(
    out: &mut Vec<u8>,
    fields: impl FnOnce(&mut Writer<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    Writer { out }.message(fields).map_err(|e| e.in_codec(CODEC))
}

/// Reads one struct, and nothing behind it.
pub(crate) fn read(
    body: &[u8],
    field: impl FnMut(u32, &mut Reader<'_>) -> Result<bool, Error>,
) -> Result<(), Error> {
    let budget = Budget::of(body);
    let mut from = Reader { rest: body, ty: STRUCT, depth: 0, budget: &budget };
    from.message(field).map_err(|e| e.in_codec(CODEC))?;
    match from.rest.len() {
        0 => Ok(()),
        left => Err(Error::body(CODEC, format_args!("{left} bytes follow the struct"))),
    }
}

/// The type of a kind. There are no unsigned ones: the next wider stands in.
fn type_of(kind: Kind) -> u8 {
    match kind {
        Kind::Bool => BOOL,
        Kind::I8 => BYTE,
        Kind::I16 | Kind::U8 => I16,
        Kind::I32 | Kind::U16 => I32,
        Kind::I64 | Kind::U32 | Kind::U64 => I64,
        Kind::F32 | Kind::F64 => DOUBLE,
        Kind::Text | Kind::Blob => STRING,
        Kind::Message => STRUCT,
    }
}

/// The name of a type, for errors.
fn name_of(ty: u8) -> String {
    let name = match ty {
        BOOL => "bool",
        BYTE => "byte",
        DOUBLE => "double",
        I16 => "i16",
        I32 => "i32",
        I64 => "i64",
        STRING => "string",
        STRUCT => "struct",
        MAP => "map",
        SET => "set",
        LIST => "list",
        other => return format!("type {other}"),
    };
    name.to_owned()
}

/// The fewest bytes of a value of a type; none where there is no such type.
fn least(ty: u8) -> Option<usize> {
    Some(match ty {
        BOOL | BYTE | STRUCT => 1,
        I16 => 2,
        I32 | STRING => 4,
        LIST | SET => 5,
        MAP => 6,
        DOUBLE | I64 => 8,
        _ => return None,
    })
}

pub(crate) struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl Writer<'_> {
    fn header(&mut self, spec: &Spec<'_>, ty: u8) -> Result<(), Error> {
        let number = i16::try_from(spec.number)
            .map_err(|_| Error::encode(CODEC, format_args!("field number {} is over 32767", spec.number)))?;
        self.out.push(ty);
        self.out.extend_from_slice(&number.to_be_bytes());
        Ok(())
    }

    fn length(&mut self, length: usize) -> Result<(), Error> {
        let length = i32::try_from(length)
            .map_err(|_| Error::encode(CODEC, format_args!("a length of {length} is too large")))?;
        self.out.extend_from_slice(&length.to_be_bytes());
        Ok(())
    }
}

impl message::Writer for Writer<'_> {
    /// Zeros are sent too, as Go's generated code does.
    fn one(
        &mut self,
        spec: &Spec<'_>,
        kind: Kind,
        _zero: bool,
        put: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.header(spec, type_of(kind))?;
        put(self)
    }

    fn list<T>(
        &mut self,
        spec: &Spec<'_>,
        kind: Kind,
        mut items: impl ExactSizeIterator<Item = T>,
        mut put: impl FnMut(&mut Self, T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.header(spec, LIST)?;
        self.out.push(type_of(kind));
        self.length(items.len())?;
        items.try_for_each(|item| put(self, item))
    }

    fn map<K, V>(
        &mut self,
        spec: &Spec<'_>,
        kinds: (Kind, Kind),
        mut entries: impl ExactSizeIterator<Item = (K, V)>,
        mut key: impl FnMut(&mut Self, K) -> Result<(), Error>,
        mut value: impl FnMut(&mut Self, V) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.header(spec, MAP)?;
        self.out.extend_from_slice(&[type_of(kinds.0), type_of(kinds.1)]);
        self.length(entries.len())?;
        entries.try_for_each(|(k, v)| {
            key(self, k)?;
            value(self, v)
        })
    }

    fn bool(&mut self, value: bool) -> Result<(), Error> {
        self.out.push(u8::from(value));
        Ok(())
    }

    fn int(&mut self, kind: Kind, _: Form, value: i64) -> Result<(), Error> {
        // The value fits its kind, so the bytes that are left away only repeat the sign.
        let [.., a, b, c, d] = value.to_be_bytes();
        match type_of(kind) {
            BYTE => self.out.push(d),
            I16 => self.out.extend_from_slice(&[c, d]),
            I32 => self.out.extend_from_slice(&[a, b, c, d]),
            _ => self.out.extend_from_slice(&value.to_be_bytes()),
        }
        Ok(())
    }

    fn uint(&mut self, kind: Kind, form: Form, value: u64) -> Result<(), Error> {
        self.int(kind, form, value.cast_signed())
    }

    fn f32(&mut self, value: f32) -> Result<(), Error> {
        self.f64(value.into())
    }

    fn f64(&mut self, value: f64) -> Result<(), Error> {
        self.out.extend_from_slice(&value.to_be_bytes());
        Ok(())
    }

    fn bytes(&mut self, value: &[u8]) -> Result<(), Error> {
        self.length(value.len())?;
        self.out.extend_from_slice(value);
        Ok(())
    }

    fn message(&mut self, fields: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        fields(self)?;
        self.out.push(STOP);
        Ok(())
    }
}

pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// The type of the value that comes next.
    ty: u8,
    depth: usize,
    budget: &'a Budget,
}

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (value, rest) = self.rest.split_first_chunk().ok_or_else(early)?;
        self.rest = rest;
        Ok(*value)
    }

    fn byte(&mut self) -> Result<u8, Error> {
        self.array().map(|[byte]| byte)
    }

    fn advance(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (value, rest) = self.rest.split_at_checked(length).ok_or_else(early)?;
        self.rest = rest;
        Ok(value)
    }

    /// A number of things, each of at least `least` bytes.
    fn length(&mut self, least: usize) -> Result<usize, Error> {
        let count = i32::from_be_bytes(self.array()?);
        let left = self.rest.len();
        let fits = |count: &usize| count.checked_mul(least).is_some_and(|bytes| bytes <= left);
        usize::try_from(count)
            .ok()
            .filter(fits)
            .ok_or_else(|| Error::body(CODEC, format_args!("a length of {count}, but {left} bytes are left")))
    }

    fn expect(&self, wanted: u8) -> Result<(), Error> {
        if self.ty == wanted {
            return Ok(());
        }
        let (got, wanted) = (name_of(self.ty), name_of(wanted));
        Err(Error::body(CODEC, format_args!("is {got}, expected {wanted}")))
    }

    fn deeper(&mut self) -> Result<(), Error> {
        if self.depth >= MAX_DEPTH {
            return Err(Error::body(CODEC, format_args!("nested deeper than {MAX_DEPTH}")));
        }
        self.depth = self.depth.saturating_add(1);
        Ok(())
    }

    fn skip(&mut self, ty: u8) -> Result<(), Error> {
        match ty {
            STRING => {
                let length = self.length(1)?;
                self.advance(length)?;
            }
            STRUCT => self.message(|_, _| Ok(false))?,
            LIST | SET => {
                let element = self.byte()?;
                self.skip_all(&[element])?;
            }
            MAP => {
                let kinds: [u8; 2] = self.array()?;
                self.skip_all(&kinds)?;
            }
            scalar => {
                self.advance(least(scalar).ok_or_else(|| unknown(scalar))?)?;
            }
        }
        Ok(())
    }

    /// Passes over a count and as many groups of values of these types.
    fn skip_all(&mut self, types: &[u8]) -> Result<(), Error> {
        let least = types.iter().map(|ty| least(*ty)).try_fold(0_usize, |sum, size| sum.checked_add(size?));
        let count = self.length(least.unwrap_or(0))?;
        self.deeper()?;
        for _ in 0..if least.is_some() { count } else { 0 } {
            for ty in types {
                self.skip(*ty)?;
            }
        }
        if least.is_none() && count > 0 {
            return Err(Error::body(CODEC, "a list or map of an unknown type"));
        }
        self.depth = self.depth.saturating_sub(1);
        Ok(())
    }
}

#[cold]
fn early() -> Error {
    Error::body(CODEC, "the body ends too early")
}

#[cold]
fn unknown(ty: u8) -> Error {
    Error::body(CODEC, format_args!("unknown type {ty}"))
}

impl message::Reader for Reader<'_> {
    fn one(
        &mut self,
        kind: Kind,
        _: Form,
        take: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.expect(type_of(kind))?;
        take(self)
    }

    fn list(
        &mut self,
        kind: Kind,
        _: Form,
        mut take: impl FnMut(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.ty != SET {
            self.expect(LIST)?;
        }
        let element = self.byte()?;
        let count = self.length(least(type_of(kind)).unwrap_or(1))?;
        if count > 0 {
            self.ty = element;
            self.expect(type_of(kind)).map_err(|e| e.at_index(0))?;
        }
        for _ in 0..count {
            take(self)?;
        }
        Ok(())
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Error> {
        if self.budget.take(bytes) { Ok(()) } else { Err(Error::body(CODEC, Budget::EXCEEDED)) }
    }

    fn map(&mut self, kinds: (Kind, Kind), _: Form, entry: &mut impl Entry<Self>) -> Result<(), Error> {
        self.expect(MAP)?;
        let (key, value) = (type_of(kinds.0), type_of(kinds.1));
        let [got_key, got_value] = self.array()?;
        let least = least(key).unwrap_or(1).saturating_add(least(value).unwrap_or(1));
        let count = self.length(least)?;
        if count > 0 && (got_key, got_value) != (key, value) {
            let names = [got_key, got_value, key, value].map(name_of);
            let [got_key, got_value, key, value] = &names;
            let text = format_args!("is map<{got_key},{got_value}>, expected map<{key},{value}>").to_string();
            return Err(Error::body(CODEC, text));
        }
        for _ in 0..count {
            entry.key(self)?;
            entry.value(self)?;
            entry.end();
        }
        Ok(())
    }

    fn bool(&mut self) -> Result<bool, Error> {
        Ok(self.byte()? != 0)
    }

    fn int(&mut self, kind: Kind, _: Form) -> Result<i64, Error> {
        Ok(match type_of(kind) {
            BYTE => i8::from_be_bytes(self.array()?).into(),
            I16 => i16::from_be_bytes(self.array()?).into(),
            I32 => i32::from_be_bytes(self.array()?).into(),
            _ => i64::from_be_bytes(self.array()?),
        })
    }

    fn uint(&mut self, kind: Kind, form: Form) -> Result<u64, Error> {
        let value = self.int(kind, form)?;
        // What is negative of a narrower type becomes too large for it, and is refused by it.
        Ok(value.cast_unsigned())
    }

    fn f32(&mut self) -> Result<f32, Error> {
        let value = self.f64()?;
        // A float was sent as the double of the same value.
        #[allow(clippy::cast_possible_truncation, clippy::as_conversions)]
        Ok(value as f32)
    }

    fn f64(&mut self) -> Result<f64, Error> {
        Ok(f64::from_be_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<&str, Error> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Error::body(CODEC, "text that is not UTF-8"))
    }

    fn bytes(&mut self) -> Result<&[u8], Error> {
        let length = self.length(1)?;
        self.advance(length)
    }

    fn message(&mut self, mut field: impl FnMut(u32, &mut Self) -> Result<bool, Error>) -> Result<(), Error> {
        self.deeper()?;
        loop {
            let ty = self.byte()?;
            if ty == STOP {
                break;
            }
            let number = i16::from_be_bytes(self.array()?);
            self.ty = ty;
            // A negative number is one that nobody knows.
            let known = match u32::try_from(number) {
                Ok(number) => field(number, self)?,
                Err(_) => false,
            };
            if !known {
                self.skip(ty).map_err(|e| e.in_field(&format!("{number} (unknown)")))?;
            }
        }
        self.depth = self.depth.saturating_sub(1);
        Ok(())
    }
}
