//! Values: passing over one of any type, and the fields of a struct by name.

use super::builtin::{BOOL, BYTES, COMPLEX, FLOAT, INT, INTERFACE, STRING, UINT};
use super::message::Message;
use super::number::Cursor;
use super::types::{Field, Shape, Types};
use super::{Error, MAX_DEPTH};

/// Passes over one value of the type. `depth` is how many values are around it.
///
/// # Errors
/// Where there is no such value, it is nested deeper than [`MAX_DEPTH`], or the type was not defined.
pub fn skip(types: &Types, id: i64, from: &mut Cursor<'_>, depth: usize) -> Result<(), Error> {
    match id {
        BOOL | INT | UINT | FLOAT => return from.uint().map(drop),
        BYTES | STRING => return from.bytes().map(drop),
        COMPLEX => return from.uint().and_then(|_| from.uint()).map(drop),
        INTERFACE => return skip_interface(from),
        _ => {}
    }
    let definition = types.get(id).ok_or(Error::UnknownType(id))?;
    if depth >= MAX_DEPTH {
        return Err(Error::Malformed("a value nested deeper than 64"));
    }
    let inside = depth.saturating_add(1);
    match &definition.shape {
        Shape::Struct(fields) => {
            let mut fields = Fields::new(fields);
            while let Some(field) = fields.next(from)? {
                skip(types, field.id, from, inside)?;
            }
        }
        Shape::Slice { element } => {
            for _ in 0..from.count()? {
                skip(types, *element, from, inside)?;
            }
        }
        Shape::Array { element, length } => {
            let count = from.count()?;
            if u64::try_from(count) != Ok(*length) {
                return Err(Error::Malformed("an array of another length than its type"));
            }
            for _ in 0..count {
                skip(types, *element, from, inside)?;
            }
        }
        Shape::Map { key, element } => {
            for _ in 0..from.count()? {
                skip(types, *key, from, inside)?;
                skip(types, *element, from, inside)?;
            }
        }
        Shape::Own(_) => {
            from.bytes()?;
        }
    }
    Ok(())
}

/// What is behind an interface: a name, the id of a type, and bytes of a length. No name is nil.
fn skip_interface(from: &mut Cursor<'_>) -> Result<(), Error> {
    if from.bytes()?.is_empty() {
        return Ok(());
    }
    if from.int()? < 0 {
        return Err(Error::Unsupported("a type that is defined within a value of an interface"));
    }
    from.bytes().map(drop)
}

/// The fields of a struct's value, as they come.
#[derive(Debug)]
pub struct Fields<'t> {
    all: &'t [Field],
    /// The index of the last field, plus one.
    at: usize,
}

impl<'t> Fields<'t> {
    /// Before the first field.
    #[must_use]
    pub fn new(all: &'t [Field]) -> Self {
        Self { all, at: 0 }
    }

    /// The next field that is there, whose value follows; `None` at the end.
    ///
    /// # Errors
    /// Where the struct has no such field.
    #[inline]
    pub fn next(&mut self, from: &mut Cursor<'_>) -> Result<Option<&'t Field>, Error> {
        let delta = from.uint()?;
        if delta == 0 {
            return Ok(None);
        }
        let at = usize::try_from(delta).ok().and_then(|delta| self.at.checked_add(delta));
        let index = at.and_then(|at| at.checked_sub(1));
        let field = index.and_then(|index| self.all.get(index));
        let field = field.ok_or(Error::Malformed("a field that the struct does not have"))?;
        self.at = at.unwrap_or(usize::MAX);
        Ok(Some(field))
    }

    /// The index of the field that [`next`](Self::next) gave last.
    #[must_use]
    pub fn index(&self) -> usize {
        self.at.saturating_sub(1)
    }
}

/// Reads a message whose value is a struct: `field` gets the name and the type of each field that is there, and either
/// reads its value and says `true`, or says `false`, and then it is passed over. A field that is zero does not come.
///
/// # Errors
/// Where it is no struct, or broken; and what `field` says.
pub fn record<'a>(
    types: &Types,
    message: &Message<'a>,
    mut field: impl FnMut(&str, i64, &mut Cursor<'a>) -> Result<bool, Error>,
) -> Result<(), Error> {
    let definition = types.get(message.id()).ok_or(Error::UnknownType(message.id()))?;
    let Shape::Struct(all) = &definition.shape else {
        return Err(Error::Malformed("a struct was expected"));
    };
    let mut from = Cursor::new(message.rest());
    let mut fields = Fields::new(all);
    while let Some(next) = fields.next(&mut from)? {
        if !field(&next.name, next.id, &mut from)? {
            skip(types, next.id, &mut from, 1)?;
        }
    }
    if from.is_empty() { Ok(()) } else { Err(Error::Malformed("bytes behind a value")) }
}
