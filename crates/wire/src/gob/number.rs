//! Numbers: unsigned, signed, floats, and the lengths of texts.

use super::Error;

/// What there is to say when the bytes end first.
const CUT: Error = Error::Malformed("the message ends within a value");

/// Appends an unsigned number: one byte up to 127, else the count of its bytes, negated, and the bytes, big-endian.
#[inline]
pub fn put_uint(value: u64, out: &mut Vec<u8>) {
    match u8::try_from(value) {
        Ok(small) if small <= 0x7f => out.push(small),
        // Ids are mostly of this width.
        Ok(byte) => out.extend_from_slice(&[0xff, byte]),
        Err(_) => put_wide(value, out),
    }
}

fn put_wide(value: u64, out: &mut Vec<u8>) {
    let (bytes, width) = wide(value);
    out.extend_from_slice(bytes.get(..width).unwrap_or_default());
}

/// The form of a number over 127, and how many of the bytes it takes.
pub(super) fn wide(value: u64) -> ([u8; 9], usize) {
    let zeros = value.leading_zeros().checked_div(8).unwrap_or(0);
    let count = 8_u8.saturating_sub(u8::try_from(zeros).unwrap_or(0));
    // What is written stands in front.
    let [a, b, c, d, e, f, g, h] = value.checked_shl(zeros.saturating_mul(8)).unwrap_or(0).to_be_bytes();
    ([0_u8.wrapping_sub(count), a, b, c, d, e, f, g, h], usize::from(count).saturating_add(1))
}

/// Appends a signed number: shifted left by one, all bits turned round where it is negative.
#[inline]
pub fn put_int(value: i64, out: &mut Vec<u8>) {
    put_uint(zigzag(value), out);
}

/// Appends a float: its bits, the bytes in reverse order, as an unsigned number.
#[inline]
pub fn put_float(value: f64, out: &mut Vec<u8>) {
    put_uint(value.to_bits().swap_bytes(), out);
}

/// Appends a complex number: its real part, then its imaginary part.
pub fn put_complex(re: f64, im: f64, out: &mut Vec<u8>) {
    put_float(re, out);
    put_float(im, out);
}

/// Appends a text or bytes behind their length.
#[inline]
pub fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_uint(u64::try_from(bytes.len()).unwrap_or(u64::MAX), out);
    out.extend_from_slice(bytes);
}

/// How many bytes [`put_uint`] appends.
#[inline]
#[must_use]
pub fn uint_width(value: u64) -> usize {
    if value <= 0x7f {
        return 1;
    }
    let bits = u64::BITS.saturating_sub(value.leading_zeros());
    usize::try_from(bits.div_ceil(8)).unwrap_or(8).saturating_add(1)
}

/// How many bytes [`put_int`] appends.
#[inline]
#[must_use]
pub fn int_width(value: i64) -> usize {
    uint_width(zigzag(value))
}

#[inline]
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// The signed number that an unsigned one stands for.
#[inline]
pub(super) fn signed(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ (number & 1).cast_signed().wrapping_neg()
}

/// Reads values from the bytes of one message. No length is believed before it is compared with what is left.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Reads from the start of the bytes.
    #[inline]
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not read yet.
    #[inline]
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether all was read.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// One byte as it is.
    ///
    /// # Errors
    /// Where there is none left.
    #[inline]
    pub fn byte(&mut self) -> Result<u8, Error> {
        let (byte, rest) = self.rest.split_first().ok_or(CUT)?;
        self.rest = rest;
        Ok(*byte)
    }

    /// An unsigned number. As in Go it may be written wider than it has to be.
    ///
    /// # Errors
    /// Where the bytes end first, or claim more than eight of them.
    #[inline]
    pub fn uint(&mut self) -> Result<u64, Error> {
        match self.rest.split_first() {
            Some((&small @ 0..=0x7f, rest)) => {
                self.rest = rest;
                Ok(small.into())
            }
            Some((&width, rest)) => self.wide(width, rest),
            None => Err(CUT),
        }
    }

    #[inline]
    fn wide(&mut self, width: u8, rest: &'a [u8]) -> Result<u64, Error> {
        let (number, rest) = match (width, rest) {
            // Ids and most lengths.
            (0xff, [one, rest @ ..]) => (u64::from(*one), rest),
            (0xfe, [high, low, rest @ ..]) => (u64::from(u16::from_be_bytes([*high, *low])), rest),
            _ => return self.wider(width, rest),
        };
        self.rest = rest;
        Ok(number)
    }

    fn wider(&mut self, width: u8, rest: &'a [u8]) -> Result<u64, Error> {
        let width = usize::from(0_u8.wrapping_sub(width));
        if width > 8 {
            return Err(Error::Malformed("a number of more than eight bytes"));
        }
        let (bytes, behind) = rest.split_at_checked(width).ok_or(CUT)?;
        self.rest = behind;
        let shorter = u32::try_from(8_usize.saturating_sub(width)).unwrap_or(0).saturating_mul(8);
        Ok(match rest.first_chunk() {
            // Mostly more follows, and all eight are read at once.
            Some(eight) => u64::from_be_bytes(*eight).checked_shr(shorter).unwrap_or(0),
            None => bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte)),
        })
    }

    /// A signed number.
    ///
    /// # Errors
    /// As [`uint`](Self::uint).
    #[inline]
    pub fn int(&mut self) -> Result<i64, Error> {
        self.uint().map(signed)
    }

    /// A truth value: any number but zero is true.
    ///
    /// # Errors
    /// As [`uint`](Self::uint).
    #[inline]
    pub fn bool(&mut self) -> Result<bool, Error> {
        Ok(self.uint()? != 0)
    }

    /// A float.
    ///
    /// # Errors
    /// As [`uint`](Self::uint).
    #[inline]
    pub fn float(&mut self) -> Result<f64, Error> {
        Ok(f64::from_bits(self.uint()?.swap_bytes()))
    }

    /// A text or bytes, behind their length.
    ///
    /// # Errors
    /// Where there are not as many bytes as the length says.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let length = self.uint()?;
        let parts = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let (bytes, rest) = parts.ok_or(Error::Malformed("a length over what is left of the message"))?;
        self.rest = rest;
        Ok(bytes)
    }

    /// A text, which has to be UTF-8.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes), and where it is not.
    pub fn text(&mut self) -> Result<&'a str, Error> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Error::Malformed("text that is not UTF-8"))
    }

    /// The number of elements that follow. Each takes a byte at the least, so more than there are bytes left
    /// cannot be true.
    ///
    /// # Errors
    /// Where it is not.
    #[inline]
    pub fn count(&mut self) -> Result<usize, Error> {
        let count = self.uint()?;
        usize::try_from(count)
            .ok()
            .filter(|count| *count <= self.rest.len())
            .ok_or(Error::Malformed("more elements than there are bytes left"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_are_those_of_gos_documentation() {
        let mut out = Vec::new();
        for number in [0, 7, 127, 128, 256, u64::MAX] {
            put_uint(number, &mut out);
        }
        assert_eq!(out, [&[0, 7, 0x7f, 0xff, 0x80, 0xfe, 1, 0, 0xf8][..], &[0xff; 8]].concat());
        out.clear();
        for number in [-129, 5, i64::MIN] {
            put_int(number, &mut out);
        }
        put_float(17.0, &mut out);
        let wanted = [&[0xfe, 1, 1, 10, 0xf8][..], &[0xff; 8], &[0xfe, 0x31, 0x40]].concat();
        assert_eq!(out, wanted);
        let mut cursor = Cursor::new(&wanted);
        assert_eq!([cursor.int(), cursor.int(), cursor.int()], [Ok(-129), Ok(5), Ok(i64::MIN)]);
        assert_eq!((cursor.float(), cursor.is_empty()), (Ok(17.0), true));
        for number in [0, 127, 128, 255, 256, 65_535, 65_536, u64::MAX >> 8, u64::MAX] {
            out.clear();
            put_uint(number, &mut out);
            assert_eq!((Cursor::new(&out).uint(), uint_width(number)), (Ok(number), out.len()));
        }
    }

    #[test]
    fn what_is_cut_or_too_wide_is_refused() {
        for bytes in [&[][..], &[0xff], &[0xfe, 1], &[0xf7, 1, 2, 3, 4, 5, 6, 7, 8, 9], &[0x80; 200]] {
            assert!(Cursor::new(bytes).uint().is_err(), "{bytes:?}");
        }
        // A length and a count of 2^60.
        let huge = [0xf8, 0x10, 0, 0, 0, 0, 0, 0, 0, 1];
        assert!(Cursor::new(&huge).bytes().is_err());
        assert!(Cursor::new(&huge).count().is_err());
        assert_eq!(Cursor::new(&[0xfe, 0, 5]).uint(), Ok(5));
    }
}
