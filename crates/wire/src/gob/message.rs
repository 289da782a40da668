//! One message of a stream: its length, the id of a type, and the rest.

use super::Error;
use super::number::{Cursor, int_width, put_int, put_uint, uint_width, wide};

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
pub fn length(bytes: &[u8]) -> Result<Option<(usize, u64)>, Error> {
    let width = match bytes.first() {
        None => return Ok(None),
        Some(0..=0x7f) => 1,
        Some(width) => usize::from(0_u8.wrapping_sub(*width)).saturating_add(1),
    };
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
        let (width, length) = match bytes {
            [small @ 0..=0x7f, ..] => (1, u64::from(*small)),
            _ => match length(bytes)? {
                Some(found) => found,
                None => return Ok(None),
            },
        };
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

    /// Whether its length and its id are written as short as they can be.
    pub(crate) fn is_minimal(&self) -> bool {
        let length = int_width(self.id).saturating_add(self.rest.len());
        let front = uint_width(u64::try_from(length).unwrap_or(u64::MAX));
        self.raw.len() == front.saturating_add(length)
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
    let moved = start.saturating_add(width);
    out.resize(moved.saturating_add(length), 0);
    out.copy_within(body..end, moved);
    for (to, byte) in out.iter_mut().skip(start).zip(bytes.iter().take(width)) {
        *to = *byte;
    }
}
