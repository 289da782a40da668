//! Protobuf by proto3's rules: zeros are left out, lists of scalars are packed and read either way, fields that
//! nobody knows are skipped.
//!
//! Varints, keys and skipping are prost's. A message is written behind one byte for its length, which is widened
//! afterwards where it has to be: no second pass only to count.

use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field,
};

use super::{Budget, Error, MAX_DEPTH, not_built};
use trunkline_wire::Serialization;

use crate::message::{self, Entry, Form, Kind, Message, Spec};

const CODEC: &str = "protobuf";

pub(crate) fn encode<M: Message>(message: &M, out: &mut Vec<u8>) -> Result<(), Error> {
    write(out, |to| message.write_fields(to))
}

pub(crate) fn decode<M: Message>(body: &[u8]) -> Result<M, Error> {
    let mut message = M::empty();
    read(body, |number, from| message.read_field(number, from))?;
    Ok(message)
}

/// Encodes a type of prost's; for [`prost_payload!`](crate::prost_payload).
pub fn prost_encode<M: prost::Message>(
    message: &M,
    name: &str,
    how: Serialization,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    only_here(name, how)?;
    message.encode(out).map_err(|e| Error::encode(CODEC, e))
}

/// Decodes a type of prost's; for [`prost_payload!`](crate::prost_payload).
pub fn prost_decode<M: prost::Message + Default>(
    name: &str,
    how: Serialization,
    body: &[u8],
) -> Result<M, Error> {
    only_here(name, how)?;
    M::decode(body).map_err(|e| Error::body(CODEC, format_args!("{name}: {e}")))
}

fn only_here(name: &str, how: Serialization) -> Result<(), Error> {
    match how {
        Serialization::Protobuf => Ok(()),
        Serialization::Other(_) => Err(not_built(how)),
        other => {
            Err(Error::unsupported("", format_args!("{name} travels as protobuf only, not as {other:?}")))
        }
    }
}

/// Writes the fields of one message.
pub(crate) fn write(
    out: &mut Vec<u8>,
    fields: impl FnOnce(&mut Writer<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    fields(&mut Writer { out }).map_err(|e| e.in_codec(CODEC))
}

/// Reads the fields of one message.
pub(crate) fn read(
    body: &[u8],
    field: impl FnMut(u32, &mut Reader<'_>) -> Result<bool, Error>,
) -> Result<(), Error> {
    let budget = Budget::of(body);
    let mut from = Reader { rest: body, wire: WireType::LengthDelimited, depth: 0, budget: &budget };
    from.fields(field).map_err(|e| e.in_codec(CODEC))
}

fn wire_of(kind: Kind, form: Form) -> WireType {
    match (kind, form) {
        (Kind::Text | Kind::Blob | Kind::Message, _) => WireType::LengthDelimited,
        (Kind::F64, _) | (Kind::I64 | Kind::U64, Form::Fixed) => WireType::SixtyFourBit,
        (Kind::Bool, _) => WireType::Varint,
        (Kind::F32, _) | (_, Form::Fixed) => WireType::ThirtyTwoBit,
        _ => WireType::Varint,
    }
}

fn low_half(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

pub(crate) struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl Writer<'_> {
    fn key(&mut self, spec: &Spec<'_>, wire: WireType) {
        encode_key(spec.number, wire, self.out);
    }

    /// Writes something behind its length.
    fn delimited(&mut self, body: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        let start = self.out.len();
        self.out.push(0);
        body(self)?;
        let body = start.saturating_add(1);
        let end = self.out.len();
        let mut length = [0; 10];
        let mut spare: &mut [u8] = &mut length;
        encode_varint(end.saturating_sub(body) as u64, &mut spare);
        let width = 10_usize.saturating_sub(spare.len());
        let more = width.saturating_sub(1);
        if more > 0 {
            self.out.resize(end.saturating_add(more), 0);
            self.out.copy_within(body..end, body.saturating_add(more));
        }
        for (to, byte) in self.out.iter_mut().skip(start).zip(length.iter().take(width)) {
            *to = *byte;
        }
        Ok(())
    }
}

impl message::Writer for Writer<'_> {
    #[inline]
    fn one(
        &mut self,
        spec: &Spec<'_>,
        kind: Kind,
        zero: bool,
        put: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if !zero {
            self.key(spec, wire_of(kind, spec.form));
            return put(self);
        }
        if kind == Kind::Message {
            // Only once it is written is it known to have no fields to send.
            let start = self.out.len();
            self.key(spec, WireType::LengthDelimited);
            let body = self.out.len();
            put(self)?;
            if self.out.len() == body.saturating_add(1) {
                self.out.truncate(start);
            }
        }
        Ok(())
    }

    fn list<T>(
        &mut self,
        spec: &Spec<'_>,
        kind: Kind,
        mut items: impl ExactSizeIterator<Item = T>,
        mut put: impl FnMut(&mut Self, T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let wire = wire_of(kind, spec.form);
        if wire != WireType::LengthDelimited {
            if items.len() == 0 {
                return Ok(());
            }
            self.key(spec, WireType::LengthDelimited);
            return self.delimited(|to| items.try_for_each(|item| put(to, item)));
        }
        items.try_for_each(|item| {
            self.key(spec, wire);
            put(self, item)
        })
    }

    fn map<K, V>(
        &mut self,
        spec: &Spec<'_>,
        kinds: (Kind, Kind),
        mut entries: impl ExactSizeIterator<Item = (K, V)>,
        mut key: impl FnMut(&mut Self, K) -> Result<(), Error>,
        mut value: impl FnMut(&mut Self, V) -> Result<(), Error>,
    ) -> Result<(), Error> {
        entries.try_for_each(|(k, v)| {
            self.key(spec, WireType::LengthDelimited);
            self.delimited(|to| {
                encode_key(1, wire_of(kinds.0, Form::Plain), to.out);
                key(to, k)?;
                encode_key(2, wire_of(kinds.1, spec.form), to.out);
                value(to, v)
            })
        })
    }

    #[inline]
    fn bool(&mut self, value: bool) -> Result<(), Error> {
        self.out.push(u8::from(value));
        Ok(())
    }

    #[inline]
    fn int(&mut self, kind: Kind, form: Form, value: i64) -> Result<(), Error> {
        match form {
            Form::Plain => encode_varint(value.cast_unsigned(), self.out),
            Form::Signed => encode_varint(((value << 1) ^ (value >> 63)).cast_unsigned(), self.out),
            Form::Fixed if kind == Kind::I64 => self.out.extend_from_slice(&value.to_le_bytes()),
            // The lower half of a number that fits 32 bits, in two's complement.
            Form::Fixed => self.out.extend_from_slice(&low_half(value.cast_unsigned()).to_le_bytes()),
        }
        Ok(())
    }

    #[inline]
    fn uint(&mut self, kind: Kind, form: Form, value: u64) -> Result<(), Error> {
        match form {
            Form::Plain | Form::Signed => encode_varint(value, self.out),
            Form::Fixed if kind == Kind::U64 => self.out.extend_from_slice(&value.to_le_bytes()),
            Form::Fixed => self.out.extend_from_slice(&low_half(value).to_le_bytes()),
        }
        Ok(())
    }

    fn f32(&mut self, value: f32) -> Result<(), Error> {
        self.out.extend_from_slice(&value.to_le_bytes());
        Ok(())
    }

    fn f64(&mut self, value: f64) -> Result<(), Error> {
        self.out.extend_from_slice(&value.to_le_bytes());
        Ok(())
    }

    #[inline]
    fn bytes(&mut self, value: &[u8]) -> Result<(), Error> {
        encode_varint(value.len() as u64, self.out);
        self.out.extend_from_slice(value);
        Ok(())
    }

    fn message(&mut self, fields: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        self.delimited(fields)
    }
}

pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// The wire type of the value that comes next.
    wire: WireType,
    depth: usize,
    budget: &'a Budget,
}

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Result<u64, Error> {
        decode_varint(&mut self.rest).map_err(|_| Error::body(CODEC, "a varint is cut or too long"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (value, rest) =
            self.rest.split_first_chunk().ok_or_else(|| Error::body(CODEC, "the body ends too early"))?;
        self.rest = rest;
        Ok(*value)
    }

    /// The bytes behind a length.
    fn delimited(&mut self) -> Result<&'a [u8], Error> {
        let length = self.varint()?;
        let parts = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let (body, rest) = parts.ok_or_else(|| {
            let left = self.rest.len();
            Error::body(CODEC, format_args!("a length of {length} bytes, but {left} are left"))
        })?;
        self.rest = rest;
        Ok(body)
    }

    /// A reader for the bytes behind a length, one level deeper.
    fn nested(&mut self) -> Result<Self, Error> {
        if self.depth >= MAX_DEPTH {
            return Err(Error::body(CODEC, format_args!("nested deeper than {MAX_DEPTH}")));
        }
        Ok(Self { rest: self.delimited()?, depth: self.depth.saturating_add(1), ..*self })
    }

    fn fields(&mut self, mut field: impl FnMut(u32, &mut Self) -> Result<bool, Error>) -> Result<(), Error> {
        while !self.rest.is_empty() {
            let (number, wire) =
                decode_key(&mut self.rest).map_err(|_| Error::body(CODEC, "a field's key is broken"))?;
            self.wire = wire;
            if !field(number, self)? {
                skip_field(wire, number, &mut self.rest, DecodeContext::default()).map_err(|_| {
                    Error::body(CODEC, format_args!("the unknown field {number} is cut or nested too deeply"))
                })?;
            }
        }
        Ok(())
    }

    fn expect(&self, wanted: WireType) -> Result<(), Error> {
        if self.wire == wanted {
            return Ok(());
        }
        let got = self.wire;
        Err(Error::body(CODEC, format_args!("wire type {got:?}, expected {wanted:?}")))
    }
}

impl message::Reader for Reader<'_> {
    #[inline]
    fn one(
        &mut self,
        kind: Kind,
        form: Form,
        take: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.expect(wire_of(kind, form))?;
        take(self)
    }

    fn list(
        &mut self,
        kind: Kind,
        form: Form,
        mut take: impl FnMut(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let wire = wire_of(kind, form);
        if self.wire == wire {
            return take(self);
        }
        self.expect(WireType::LengthDelimited)?;
        let mut packed = Self { rest: self.delimited()?, wire, ..*self };
        while !packed.rest.is_empty() {
            take(&mut packed)?;
        }
        Ok(())
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Error> {
        if self.budget.take(bytes) { Ok(()) } else { Err(Error::body(CODEC, Budget::EXCEEDED)) }
    }

    fn map(&mut self, kinds: (Kind, Kind), form: Form, entry: &mut impl Entry<Self>) -> Result<(), Error> {
        self.expect(WireType::LengthDelimited)?;
        self.nested()?.fields(|number, from| {
            match number {
                1 => from.one(kinds.0, Form::Plain, |from| entry.key(from))?,
                2 => from.one(kinds.1, form, |from| entry.value(from))?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        entry.end();
        Ok(())
    }

    #[inline]
    fn bool(&mut self) -> Result<bool, Error> {
        Ok(self.varint()? != 0)
    }

    /// An int32 takes the lower half of what came, as every implementation does; narrower types are not of
    /// protobuf, and their range is checked.
    #[inline]
    fn int(&mut self, kind: Kind, form: Form) -> Result<i64, Error> {
        Ok(match form {
            Form::Fixed if kind == Kind::I64 => i64::from_le_bytes(self.array()?),
            Form::Fixed => i32::from_le_bytes(self.array()?).into(),
            Form::Plain if kind == Kind::I32 => low_half(self.varint()?).cast_signed().into(),
            Form::Plain => self.varint()?.cast_signed(),
            Form::Signed => {
                let value = self.varint()?;
                let value = if kind == Kind::I32 { low_half(value).into() } else { value };
                (value >> 1).cast_signed() ^ (value & 1).cast_signed().wrapping_neg()
            }
        })
    }

    #[inline]
    fn uint(&mut self, kind: Kind, form: Form) -> Result<u64, Error> {
        Ok(match form {
            Form::Fixed if kind == Kind::U64 => u64::from_le_bytes(self.array()?),
            Form::Fixed => u32::from_le_bytes(self.array()?).into(),
            _ if kind == Kind::U32 => low_half(self.varint()?).into(),
            _ => self.varint()?,
        })
    }

    fn f32(&mut self) -> Result<f32, Error> {
        Ok(f32::from_le_bytes(self.array()?))
    }

    fn f64(&mut self) -> Result<f64, Error> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    #[inline]
    fn text(&mut self) -> Result<&str, Error> {
        std::str::from_utf8(self.delimited()?).map_err(|_| Error::body(CODEC, "text that is not UTF-8"))
    }

    #[inline]
    fn bytes(&mut self) -> Result<&[u8], Error> {
        self.delimited()
    }

    fn message(&mut self, field: impl FnMut(u32, &mut Self) -> Result<bool, Error>) -> Result<(), Error> {
        self.nested()?.fields(field)
    }
}
