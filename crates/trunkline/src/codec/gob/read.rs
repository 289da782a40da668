//! Reads the value of a message by its plan.

use trunkline_wire::gob::{self as wire, Cursor, Shape, Types, builtin};

use super::layout::go_name;
use super::plan::Plan;
use super::{Budget, CODEC, Error, broken, end};
use crate::codec::MAX_DEPTH;
use crate::message::{self, Entry, Form, Kind};

/// Reads the fields of the whole value, which is of the type of this id.
pub(super) fn fields(
    plan: &Plan,
    (id, value): (i64, &[u8]),
    budget: &Budget,
    field: impl FnMut(u32, &mut Reader<'_>) -> Result<bool, Error>,
) -> Result<(), Error> {
    let mut from = Reader { from: Cursor::new(value), plan, id, pair: 0, bare: false, depth: 0, budget };
    message::Reader::message(&mut from, field).map_err(|e| e.in_codec(CODEC))?;
    end(&from.from)
}

pub(crate) struct Reader<'a> {
    from: Cursor<'a>,
    plan: &'a Plan,
    /// The type of the value that comes next.
    id: i64,
    /// The pair by which a message that comes next is read.
    pair: usize,
    /// What comes next is a byte as it is.
    bare: bool,
    depth: usize,
    budget: &'a Budget,
}

#[cold]
fn out_of_range(value: impl std::fmt::Display, kind: Kind) -> Error {
    Error::body(CODEC, format_args!("value {value} is out of range of {}", go_name(kind)))
}

#[cold]
fn unplanned() -> Error {
    Error::body(CODEC, "a value that the plan does not have")
}

impl<'a> Reader<'a> {
    fn types(&self) -> &'a Types {
        &self.plan.types
    }

    fn shape(&self) -> Option<&'a Shape> {
        self.types().get(self.id).map(|found| &found.shape)
    }

    #[inline]
    fn deeper(&mut self) -> Result<(), Error> {
        if self.depth >= MAX_DEPTH {
            return Err(Error::body(CODEC, format_args!("nested deeper than {MAX_DEPTH}")));
        }
        self.depth = self.depth.saturating_add(1);
        Ok(())
    }

    /// The elements of a list of bytes.
    fn bytes_one_by_one(
        &mut self,
        mut take: impl FnMut(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let inside = Cursor::new(self.from.bytes().map_err(broken)?);
        let around = std::mem::replace(&mut self.from, inside);
        self.bare = true;
        while !self.from.is_empty() {
            take(self)?;
        }
        self.bare = false;
        self.from = around;
        Ok(())
    }
}

impl Reader<'_> {
    fn fitting_int(&mut self, kind: Kind) -> Result<i64, Error> {
        let value = if self.id == builtin::INT {
            self.from.int().map_err(broken)?
        } else {
            let value = self.from.uint().map_err(broken)?;
            i64::try_from(value).map_err(|_| out_of_range(value, kind))?
        };
        let fits = match kind {
            Kind::I8 => i8::try_from(value).is_ok(),
            Kind::I16 => i16::try_from(value).is_ok(),
            Kind::I32 => i32::try_from(value).is_ok(),
            _ => true,
        };
        if fits { Ok(value) } else { Err(out_of_range(value, kind)) }
    }
}

impl message::Reader for Reader<'_> {
    #[inline]
    fn one(
        &mut self,
        _: Kind,
        _: Form,
        take: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        take(self)
    }

    fn list(
        &mut self,
        _: Kind,
        _: Form,
        mut take: impl FnMut(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (element, length) = match self.shape() {
            Some(Shape::Slice { element }) => (*element, None),
            Some(Shape::Array { element, length }) => (*element, Some(*length)),
            _ if self.id == builtin::BYTES => return self.bytes_one_by_one(take),
            _ => return Err(unplanned()),
        };
        self.deeper()?;
        let count = self.from.count().map_err(broken)?;
        if length.is_some_and(|length| length != count as u64) {
            return Err(Error::body(CODEC, "an array of another length than its type"));
        }
        let pair = self.pair;
        for _ in 0..count {
            (self.id, self.pair) = (element, pair);
            take(self)?;
        }
        self.depth = self.depth.saturating_sub(1);
        Ok(())
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Error> {
        if self.budget.take(bytes) { Ok(()) } else { Err(Error::body(CODEC, Budget::EXCEEDED)) }
    }

    fn map(&mut self, _: (Kind, Kind), _: Form, entry: &mut impl Entry<Self>) -> Result<(), Error> {
        let Some(Shape::Map { key, element }) = self.shape() else { return Err(unplanned()) };
        self.deeper()?;
        let pair = self.pair;
        for _ in 0..self.from.count().map_err(broken)? {
            self.id = *key;
            entry.key(self)?;
            (self.id, self.pair) = (*element, pair);
            entry.value(self)?;
            entry.end();
        }
        self.depth = self.depth.saturating_sub(1);
        Ok(())
    }

    #[inline]
    fn bool(&mut self) -> Result<bool, Error> {
        self.from.bool().map_err(broken)
    }

    #[inline(always)]
    fn int(&mut self, kind: Kind, _: Form) -> Result<i64, Error> {
        match kind {
            // What most fields are is worth a line without a question.
            Kind::I64 if self.id == builtin::INT => self.from.int().map_err(broken),
            _ => self.fitting_int(kind),
        }
    }

    #[inline]
    fn uint(&mut self, kind: Kind, _: Form) -> Result<u64, Error> {
        if self.bare {
            return self.from.byte().map(u64::from).map_err(broken);
        }
        let value = if self.id == builtin::UINT {
            self.from.uint().map_err(broken)?
        } else {
            let value = self.from.int().map_err(broken)?;
            u64::try_from(value).map_err(|_| out_of_range(value, kind))?
        };
        let fits = match kind {
            Kind::U8 => u8::try_from(value).is_ok(),
            Kind::U16 => u16::try_from(value).is_ok(),
            Kind::U32 => u32::try_from(value).is_ok(),
            _ => true,
        };
        if fits { Ok(value) } else { Err(out_of_range(value, kind)) }
    }

    // As Go does it: the nearest float, but no number becomes infinite.
    #[allow(clippy::cast_possible_truncation)]
    fn f32(&mut self) -> Result<f32, Error> {
        let value = self.f64()?;
        let narrow = value as f32;
        if narrow.is_infinite() && value.is_finite() {
            return Err(out_of_range(value, Kind::F32));
        }
        Ok(narrow)
    }

    fn f64(&mut self) -> Result<f64, Error> {
        match self.id {
            builtin::FLOAT => self.from.float().map_err(broken),
            builtin::INT => self.from.int().map(|value| value as f64).map_err(broken),
            _ => self.from.uint().map(|value| value as f64).map_err(broken),
        }
    }

    #[inline]
    fn text(&mut self) -> Result<&str, Error> {
        std::str::from_utf8(self.from.bytes().map_err(broken)?)
            .map_err(|_| Error::body(CODEC, "text that is not UTF-8"))
    }

    #[inline]
    fn bytes(&mut self) -> Result<&[u8], Error> {
        self.from.bytes().map_err(broken)
    }

    fn message(&mut self, mut field: impl FnMut(u32, &mut Self) -> Result<bool, Error>) -> Result<(), Error> {
        let plan = self.plan;
        let all = plan.structs.get(self.pair).ok_or_else(unplanned)?;
        self.deeper()?;
        let mut at = 0_usize;
        loop {
            let delta = self.from.uint().map_err(broken)?;
            if delta == 0 {
                break;
            }
            at = usize::try_from(delta).ok().and_then(|delta| at.checked_add(delta)).unwrap_or(usize::MAX);
            let matched = all.get(at.saturating_sub(1));
            let matched =
                matched.ok_or_else(|| Error::body(CODEC, "a field that the struct does not have"))?;
            (self.id, self.pair) = (matched.id, matched.pair);
            if matched.number == 0 || !field(matched.number, self)? {
                wire::skip(&plan.types, matched.id, &mut self.from, self.depth).map_err(broken)?;
            }
        }
        self.depth = self.depth.saturating_sub(1);
        Ok(())
    }
}
