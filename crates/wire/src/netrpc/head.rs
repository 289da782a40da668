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
#[inline]
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
    /// Its definition, till it has been sent.
    unsaid: Option<Box<[u8]>>,
}

impl HeadWriter {
    /// For a connection that nothing was sent on yet.
    pub(super) fn new(definition: &[u8], outgoing: &mut Outgoing) -> Self {
        let mut unsaid = Vec::new();
        // The definitions are constants of this module, and the first ones of their connection.
        let id = outgoing.declare(definition, &mut unsaid).unwrap_or_default();
        Self { id, unsaid: Some(unsaid.into()) }
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
        if let Some(definition) = &self.unsaid {
            out.extend_from_slice(definition);
        }
        let length = value.saturating_add(crate::gob::int_width(self.id));
        out.reserve(length.saturating_add(9));
        put_uint(wide(length), out);
        put_int(self.id, out);
    }
}
