//! One message of a stream: its length, the id of a type, and the rest.

use super::Error;
use super::number::{Cursor, int_width, put_bytes, put_int, put_uint, signed, uint_width, wide, zigzag};

/// One whole message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    raw: &'a [u8],
    id: i64,
    rest: &'a [u8],
}

/// The width of the length that the bytes begin with, and the length, both in bytes; `None` where more bytes have to
/// come first.
///
/// # Errors
/// Where there is no such length.
#[inline]
pub fn length(bytes: &[u8]) -> Result<Option<(usize, u64)>, Error> {
    match bytes {
        [] => Ok(None),
        [small @ 0..=0x7f, ..] => Ok(Some((1, u64::from(*small)))),
        [0xfe, high, low, ..] => Ok(Some((3, u64::from(u16::from_be_bytes([*high, *low]))))),
        [width, ..] => any_length(bytes, usize::from(0_u8.wrapping_sub(*width)).saturating_add(1)),
    }
}

fn any_length(bytes: &[u8], width: usize) -> Result<Option<(usize, u64)>, Error> {
    let mut cursor = Cursor::new(bytes.get(..width).unwrap_or_default());
    match cursor.uint() {
        Ok(length) => Ok(Some((width, length))),
        Err(_) if bytes.len() < width && width <= 9 => Ok(None),
        Err(error) => Err(error),
    }
}

impl<'a> Message<'a> {
    /// The message that the bytes begin with; `None` where it is not whole yet.
    ///
    /// # Errors
    /// Where it is longer than the limit (checked as soon as its length is there), or has no type id.
    #[inline]
    pub fn first(bytes: &'a [u8], limit: usize) -> Result<Option<Self>, Error> {
        match Self::usual(bytes) {
            Some(message) if message.raw.len() <= limit => Ok(Some(message)),
            _ => Self::any(bytes, limit),
        }
    }

    /// One whose numbers have the widths that they mostly have, if it is all there: a straight line, since each call has
    /// two messages.
    #[inline(always)]
    pub(crate) fn usual(bytes: &'a [u8]) -> Option<Self> {
        let (width, length) = match bytes {
            [small @ 0..=0x7f, ..] => (1, usize::from(*small)),
            [0xfe, high, low, ..] => (3, usize::from(u16::from_be_bytes([*high, *low]))),
            _ => return None,
        };
        let raw = bytes.get(..length.saturating_add(width))?;
        let (number, rest) = match raw.get(width..)? {
            [small @ 1..=0x7f, rest @ ..] => (*small, rest),
            [0xff, byte @ 1..=0xff, rest @ ..] => (*byte, rest),
            _ => return None,
        };
        Some(Self { raw, id: signed(u64::from(number)), rest })
    }

    fn any(bytes: &'a [u8], limit: usize) -> Result<Option<Self>, Error> {
        let Some((width, length)) = length(bytes)? else { return Ok(None) };
        let fits = usize::try_from(length).ok().filter(|length| *length <= limit);
        let Some(length) = fits else {
            let limit = u64::try_from(limit).unwrap_or(u64::MAX);
            return Err(Error::TooLarge { what: "a message in bytes", got: length, limit });
        };
        let Some(raw) = bytes.get(..width.saturating_add(length)) else { return Ok(None) };
        let mut cursor = Cursor::new(raw.get(width..).unwrap_or_default());
        let id = cursor.int().map_err(|_| Error::Malformed("a message without a type id"))?;
        if id == 0 {
            return Err(Error::Malformed("a message of type 0"));
        }
        Ok(Some(Self { raw, id, rest: cursor.rest() }))
    }

    /// The id of the value's type; negative where the message defines the type of that id, negated.
    #[inline]
    #[must_use]
    pub fn id(&self) -> i64 {
        self.id
    }

    /// Whether it is a definition and no value.
    #[inline]
    #[must_use]
    pub fn is_definition(&self) -> bool {
        self.id < 0
    }

    /// What stands behind the id.
    #[inline]
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The whole message.
    #[inline]
    #[must_use]
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// How many bytes it takes, its own length included.
    #[inline]
    #[must_use]
    pub fn length(&self) -> usize {
        self.raw.len()
    }

    /// How many bytes the message takes with another id.
    #[inline]
    #[must_use]
    pub fn length_as(&self, id: i64) -> usize {
        let length = int_width(id).saturating_add(self.rest.len());
        length.saturating_add(uint_width(u64::try_from(length).unwrap_or(u64::MAX)))
    }

    /// Where the last byte of the id stands, where the message has its length and an id of this width, both written as
    /// short as they can be.
    #[inline]
    pub(super) fn place_of_id(&self, width: usize) -> Option<usize> {
        let front = self.raw.len().saturating_sub(self.rest.len());
        let length = self.rest.len().saturating_add(width);
        let shortest = uint_width(u64::try_from(length).unwrap_or(u64::MAX)).saturating_add(width);
        (front == shortest).then(|| front.saturating_sub(1))
    }

    /// Appends the message with another id.
    #[inline]
    pub fn put_as(&self, id: i64, out: &mut Vec<u8>) {
        let length = int_width(id).saturating_add(self.rest.len());
        put_uint(u64::try_from(length).unwrap_or(u64::MAX), out);
        put_int(id, out);
        out.extend_from_slice(self.rest);
    }
}

/// An id that takes the place of another one by its last byte alone, as those do that streams define first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rename {
    /// How many bytes both take.
    pub(super) width: usize,
    pub(super) byte: u8,
}

impl Rename {
    pub(super) fn of(from: i64, to: i64) -> Option<Self> {
        let width = int_width(to);
        let byte = u8::try_from(zigzag(to)).ok()?;
        (width == int_width(from)).then_some(Self { width, byte })
    }
}

/// Begins a message of this id at the end of `out`; what it gives is for [`finish`].
#[inline]
#[must_use]
pub fn begin(id: i64, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.push(0);
    put_int(id, out);
    start
}

/// Ends the message that began at `start`: its length is put in front of it.
#[inline]
pub fn finish(start: usize, out: &mut Vec<u8>) {
    let length = out.len().saturating_sub(start).saturating_sub(1);
    match (u8::try_from(length), out.get_mut(start)) {
        (Ok(small @ 0..=0x7f), Some(front)) => *front = small,
        _ => widen(start, length, out),
    }
}

fn widen(start: usize, length: usize, out: &mut Vec<u8>) {
    let (body, end) = (start.saturating_add(1), out.len());
    let (bytes, width) = wide(u64::try_from(length).unwrap_or(u64::MAX));
    let bytes = bytes.get(..width).unwrap_or_default();
    let moved = start.saturating_add(width);
    // There is one byte for the length already.
    out.extend_from_slice(bytes.get(1..).unwrap_or_default());
    out.copy_within(body..end, moved);
    if let Some(front) = out.get_mut(start..moved) {
        front.copy_from_slice(bytes);
    }
}

/// Appends a message whose whole value is bytes or a text, of this id.
#[inline]
pub fn put_single(id: i64, bytes: &[u8], out: &mut Vec<u8>) {
    let long = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    // A zero stands in front of what is no struct.
    let front = int_width(id).saturating_add(1).saturating_add(uint_width(long));
    let length = front.saturating_add(bytes.len());
    out.reserve(length.saturating_add(9));
    put_uint(u64::try_from(length).unwrap_or(u64::MAX), out);
    put_int(id, out);
    out.push(0);
    put_bytes(bytes, out);
}
