//! The structs before the bodies: `Request` and `Response`.

use super::wide;
use crate::gob::builtin::{STRING, UINT};
use crate::gob::{
    Cursor, Error, Message, Outgoing, Shape, Types, put_bytes, put_int, put_uint, record, uint_width,
};

/// The fields in Go's order.
const FIELDS: [(&str, i64); 3] = [("ServiceMethod", STRING), ("Seq", UINT), ("Error", STRING)];

/// A `Request`, or a `Response`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Head<'a> {
    /// The name as it was sent.
    pub(super) name: &'a [u8],
    pub(super) seq: u64,
    /// Empty in a request, and where the call went well.
    pub(super) error: &'a [u8],
    /// The value's own bytes, where the fields have Go's order: a response that says nothing else begins with the same.
    pub(super) repeats: &'a [u8],
}

/// Reads the heads of one connection.
#[derive(Debug, Default)]
pub(super) struct Heads {
    /// The id of the type whose fields have Go's order, where the peer has sent one.
    usual: Option<i64>,
}

impl Heads {
    /// The head of a call, or of a reply that went well, as Go writes it; `None` for every other one.
    #[inline(always)]
    pub(super) fn read_plain<'a>(&self, message: &Message<'a>) -> Option<Head<'a>> {
        let value = message.rest();
        // The first field is a short name, the second a number, and there is no third.
        let [1, length @ 0..=0x7f, behind @ ..] = value else { return None };
        let (name, behind) = behind.split_at_checked(usize::from(*length))?;
        let [1, behind @ ..] = behind else { return None };
        let seq = match behind {
            [small @ 0..=0x7f, 0] => u64::from(*small),
            // It is read with what stands before it, eight bytes at once, and that is cut off.
            [width @ 0xf8..=0xff, number @ .., 0]
                if number.len() == usize::from(0_u8.wrapping_sub(*width)) =>
            {
                let more = u32::from(width.wrapping_sub(0xf8)).saturating_mul(8);
                let eight = value.split_last()?.1.last_chunk()?;
                u64::from_be_bytes(*eight) & u64::MAX.checked_shr(more)?
            }
            _ => return None,
        };
        (self.usual == Some(message.id())).then_some(Head { name, seq, error: &[], repeats: value })
    }

    /// The head that a message holds.
    ///
    /// # Errors
    /// It is no struct, or none of these fields has its type: what follows cannot be told.
    #[inline]
    pub(super) fn read<'a>(&mut self, types: &Types, message: &Message<'a>) -> Result<Head<'a>, Error> {
        if self.usual == Some(message.id()) {
            return usual(message.rest());
        }
        self.read_first(types, message)
    }

    #[cold]
    fn read_first<'a>(&mut self, types: &Types, message: &Message<'a>) -> Result<Head<'a>, Error> {
        let definition = types.get(message.id()).ok_or(Error::UnknownType(message.id()))?;
        let Shape::Struct(fields) = &definition.shape else {
            return Err(Error::Malformed("a value of net/rpc begins with a struct"));
        };
        let known = |field: &crate::gob::Field| FIELDS.contains(&(&*field.name, field.id));
        if !fields.iter().any(known) {
            return Err(Error::Malformed("the struct has no field of a net/rpc head"));
        }
        let pairs = fields.iter().map(|field| (&*field.name, field.id));
        if fields.len() <= FIELDS.len()
            && pairs.eq(FIELDS.into_iter().take(fields.len()))
            && fields.len() >= 2
        {
            self.usual = Some(message.id());
            return usual(message.rest());
        }
        let mut head = Head::default();
        record(types, message, |name, id, from| {
            match (name, id) {
                ("ServiceMethod", STRING) => head.name = from.bytes()?,
                ("Seq", UINT) => head.seq = from.uint()?,
                ("Error", STRING) => head.error = from.bytes()?,
                ("ServiceMethod" | "Seq" | "Error", _) => {
                    return Err(Error::Malformed("a field of a net/rpc head has another type"));
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(head)
    }
}

/// A value whose fields have Go's order.
fn usual(value: &[u8]) -> Result<Head<'_>, Error> {
    let mut from = Cursor::new(value);
    let mut head = Head { repeats: value, ..Head::default() };
    let mut field = 0;
    loop {
        let delta = from.uint()?;
        if delta == 0 {
            break;
        }
        field = delta.saturating_add(field);
        match field {
            1 => head.name = from.bytes()?,
            2 => head.seq = from.uint()?,
            3 => head.error = from.bytes()?,
            _ => return Err(Error::Malformed("a field that the struct does not have")),
        }
    }
    if from.is_empty() { Ok(head) } else { Err(Error::Malformed("bytes behind a value")) }
}

/// Writes the heads of one connection.
#[derive(Debug)]
pub(super) struct HeadWriter {
    /// The id of their type.
    id: i64,
    /// The same as gob writes the first of a connection's types, which it is: behind a byte of its own.
    byte: Option<u8>,
    /// Its definition, till it has been sent.
    unsaid: Option<Box<[u8]>>,
}

impl HeadWriter {
    /// For a connection that nothing was sent on yet.
    pub(super) fn new(definition: &[u8], outgoing: &mut Outgoing) -> Self {
        let mut unsaid = Vec::new();
        // The definitions are constants of this module, and the first ones of their connection.
        let id = outgoing.declare(definition, &mut unsaid).unwrap_or_default();
        let mut form = Vec::new();
        put_int(id, &mut form);
        let byte = if let [0xff, byte] = form[..] { Some(byte) } else { None };
        Self { id, byte, unsaid: Some(unsaid.into()) }
    }

    /// What was written last stands, and will not be cut off any more.
    #[inline]
    pub(super) fn said(&mut self) {
        if self.unsaid.is_some() {
            self.unsaid = None;
        }
    }

    /// Appends the head that repeats a value's own bytes.
    #[inline]
    pub(super) fn repeat(&self, value: &[u8], out: &mut Vec<u8>) {
        self.begin(value.len(), out);
        out.extend_from_slice(value);
    }

    /// Appends a head. The name comes in parts.
    #[inline]
    pub(super) fn write(&self, name: [&[u8]; 3], seq: u64, error: &[u8], out: &mut Vec<u8>) {
        let long = name.iter().map(|part| part.len()).sum();
        let field = |length: usize| match length {
            0 => 0,
            _ => length.saturating_add(uint_width(wide(length))).saturating_add(1),
        };
        let number = if seq == 0 { 0 } else { uint_width(seq).saturating_add(1) };
        let length = field(long).saturating_add(number).saturating_add(field(error.len())).saturating_add(1);
        self.begin(length, out);
        let mut last = 0;
        let mut next = |index: u64, out: &mut Vec<u8>| {
            put_uint(index.saturating_sub(last), out);
            last = index;
        };
        if long > 0 {
            next(1, out);
            put_uint(wide(long), out);
            name.iter().for_each(|part| out.extend_from_slice(part));
        }
        if seq != 0 {
            next(2, out);
            put_uint(seq, out);
        }
        if !error.is_empty() {
            next(3, out);
            put_bytes(error, out);
        }
        out.push(0);
    }

    /// The definition where it was not sent yet, the length and the type of a value of so many bytes.
    #[inline]
    fn begin(&self, value: usize, out: &mut Vec<u8>) {
        if self.unsaid.is_none()
            && let (Some(byte), Ok(length @ 0..=0x7f)) = (self.byte, u8::try_from(value.saturating_add(2)))
        {
            return out.extend_from_slice(&[length, 0xff, byte]);
        }
        self.begin_anew(value, out);
    }

    fn begin_anew(&self, value: usize, out: &mut Vec<u8>) {
        if let Some(definition) = &self.unsaid {
            out.extend_from_slice(definition);
        }
        let length = value.saturating_add(crate::gob::int_width(self.id));
        put_uint(wide(length), out);
        put_int(self.id, out);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Limits;
    use crate::netrpc::REQUEST;

    #[test]
    fn a_plain_head_is_read_as_any_other() {
        let limits = Limits::default();
        let writer = HeadWriter::new(REQUEST, &mut Outgoing::new(&limits));
        let types = Types::of(writer.unsaid.as_deref().unwrap()).unwrap();
        let mut heads = Heads::default();
        let longer = "S.".repeat(70);
        for name in ["", "A.B", "Arith.Mul", &longer] {
            for seq in (0..64).flat_map(|bit| [(1 << bit) - 1, 1 << bit, u64::MAX >> bit]) {
                for error in ["", "refused"] {
                    let mut out = Vec::new();
                    writer.write([name.as_bytes(), b"", b""], seq, error.as_bytes(), &mut out);
                    let value = out.get(writer.unsaid.as_ref().unwrap().len()..).unwrap();
                    let message = Message::first(value, 1000).unwrap().unwrap();
                    let head = heads.read(&types, &message).unwrap();
                    assert_eq!((head.name, head.seq, head.error), (name.as_bytes(), seq, error.as_bytes()));
                    let plain = heads.read_plain(&message);
                    assert!(plain.is_none_or(|plain| plain == head), "{plain:?}");
                    let usual = name == "Arith.Mul" && seq > 0 && error.is_empty();
                    assert!(plain.is_some() || !usual, "{name} {seq}");
                }
            }
        }
        // What is cut, or has more behind it, is none.
        let mut value = vec![0xff, 0x80, 1, 1, b'S', 1, 0xfe, 1, 2, 0];
        for length in 1..value.len() {
            let cut = [&[u8::try_from(length).unwrap()], value.get(..length).unwrap()].concat();
            if let Ok(Some(message)) = Message::first(&cut, 100) {
                assert_eq!(heads.read_plain(&message), None, "{cut:?}");
            }
        }
        value.push(0);
        value.insert(0, 11);
        assert_eq!(heads.read_plain(&Message::first(&value, 100).unwrap().unwrap()), None);
    }
}
