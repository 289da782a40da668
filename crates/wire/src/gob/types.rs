//! The types that a stream has defined.

use std::collections::HashMap;

use super::builtin::{COMPLEX, FIRST_DEFINED, FIRST_LOCAL, INTERFACE};
use super::define::write_definition;
use super::message::Message;
use super::number::Cursor;
use super::{Error, MAX_DEFINITION, MAX_DEFINITIONS, MAX_STREAM_DEFINITIONS, MAX_STREAM_TYPES};

/// A type that a stream defines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// The name that the peer gave it; may be empty. Types are matched by their shape, not by their name.
    pub name: Box<str>,
    /// What values of it look like.
    pub shape: Shape,
}

/// What the values of a type look like. Other types are named by their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// So many elements.
    Array {
        /// The type of an element.
        element: i64,
        /// How many there are.
        length: u64,
    },
    /// Any number of elements.
    Slice {
        /// The type of an element.
        element: i64,
    },
    /// Fields, those that are zero left out.
    Struct(Box<[Field]>),
    /// Keys with values.
    Map {
        /// The type of a key.
        key: i64,
        /// The type of a value.
        element: i64,
    },
    /// Bytes of a form that the type itself defines (GobEncoder, BinaryMarshaler, TextMarshaler).
    Own(Own),
}

/// Which of Go's interfaces a type encodes itself by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Own {
    GobEncoder,
    BinaryMarshaler,
    TextMarshaler,
}

/// A field of a struct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name in Go.
    pub name: Box<str>,
    /// Its type.
    pub id: i64,
}

impl Shape {
    /// Hands every id in it to `each`.
    pub(crate) fn ids(&self, mut each: impl FnMut(i64)) {
        match self {
            Self::Array { element, .. } | Self::Slice { element } => each(*element),
            Self::Struct(fields) => fields.iter().for_each(|field| each(field.id)),
            Self::Map { key, element } => {
                each(*key);
                each(*element);
            }
            Self::Own(_) => {}
        }
    }
}

/// The types that a stream has defined, bounded in number and bytes.
#[derive(Debug, Clone)]
pub struct Types {
    /// Sorted by id.
    defined: Vec<(i64, Definition)>,
    /// The bytes of all definitions so far.
    bytes: usize,
    most: usize,
}

impl Types {
    /// No types yet, and room for so many.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { defined: Vec::new(), bytes: 0, most }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.defined.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.defined.is_empty()
    }

    /// The types that a row of definitions defines.
    ///
    /// # Errors
    /// Where one of them is broken or no definition, or there are more than one value may need.
    pub fn of(definitions: &[u8]) -> Result<Self, Error> {
        let mut types = Self::new(MAX_STREAM_TYPES);
        let mut rest = definitions;
        while let Some(message) = Message::first(rest, rest.len())? {
            types.define(&message)?;
            rest = rest.get(message.length()..).unwrap_or_default();
        }
        if rest.is_empty() { Ok(types) } else { Err(Error::Malformed("the definitions end too early")) }
    }

    /// Puts a type of one's own behind the others, and gives its id: 65 and up.
    ///
    /// # Errors
    /// Where there is no room for it.
    pub fn push(&mut self, definition: Definition) -> Result<i64, Error> {
        if self.defined.len() >= self.most {
            return Err(Error::too_large("types", self.defined.len().saturating_add(1), self.most));
        }
        let last = self.defined.last().map_or(FIRST_DEFINED, |(id, _)| *id);
        let id = last.saturating_add(1);
        self.defined.push((id, definition));
        Ok(id)
    }

    /// Puts another definition in the place of one that [`push`](Self::push) put there, for types that refer to
    /// themselves.
    pub fn replace(&mut self, id: i64, definition: Definition) {
        if let Ok(place) = self.defined.binary_search_by_key(&id, |(id, _)| *id)
            && let Some(entry) = self.defined.get_mut(place)
        {
            entry.1 = definition;
        }
    }

    /// The type of this id, where the stream has defined it.
    #[inline]
    #[must_use]
    pub fn get(&self, id: i64) -> Option<&Definition> {
        // Ids mostly follow each other.
        let first = self.defined.first().map_or(0, |(first, _)| *first);
        let place = usize::try_from(id.wrapping_sub(first)).unwrap_or(usize::MAX);
        match self.defined.get(place) {
            Some((found, definition)) if *found == id => Some(definition),
            _ => self.find(id),
        }
    }

    fn find(&self, id: i64) -> Option<&Definition> {
        let place = self.defined.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.defined.get(place).map(|(_, definition)| definition)
    }

    /// Takes the definition that a message holds.
    ///
    /// # Errors
    /// Where it is none or is broken, the id was defined before, or there are too many. The table is as it was.
    pub fn define(&mut self, message: &Message<'_>) -> Result<(), Error> {
        let bytes = message.rest();
        if bytes.len() > MAX_DEFINITION {
            return Err(Error::too_large("a type definition in bytes", bytes.len(), MAX_DEFINITION));
        }
        let total = self.bytes.saturating_add(bytes.len());
        if total > MAX_DEFINITIONS {
            return Err(Error::too_large("type definitions in bytes", total, MAX_DEFINITIONS));
        }
        if self.defined.len() >= self.most {
            return Err(Error::too_large("types", self.defined.len().saturating_add(1), self.most));
        }
        let id = message.id().checked_neg().filter(|id| (FIRST_DEFINED..=i32::MAX.into()).contains(id));
        let id = id.ok_or(Error::Malformed("a definition of an id that is none"))?;
        let Err(place) = self.defined.binary_search_by_key(&id, |(id, _)| *id) else {
            return Err(Error::Duplicate(id));
        };
        let definition = read_definition(bytes)?;
        self.bytes = total;
        self.defined.insert(place, (id, definition));
        Ok(())
    }

    /// Appends the definitions that values of this type need, in the form in which they stand in a self-contained
    /// stream: the type itself first, then the others in the order in which they are met, numbered from 65. Equal
    /// types have equal bytes, whatever ids they came with. A built-in type needs none.
    ///
    /// What it gives is the id in that form.
    ///
    /// # Errors
    /// Where a type was not defined, or there are too many for one value. `out` is as it was.
    pub fn closure(&self, id: i64, out: &mut Vec<u8>) -> Result<i64, Error> {
        if is_builtin(id) {
            return Ok(id);
        }
        let start = out.len();
        let written = self.write_closure(id, out);
        if written.is_err() {
            out.truncate(start);
        }
        written.map(|()| FIRST_LOCAL)
    }

    fn write_closure(&self, root: i64, out: &mut Vec<u8>) -> Result<(), Error> {
        let start = out.len();
        let mut locals: HashMap<i64, i64> = HashMap::from([(root, FIRST_LOCAL)]);
        let mut order = vec![root];
        let mut next = 0_usize;
        while let Some(id) = order.get(next).copied() {
            let definition = self.get(id).ok_or(Error::UnknownType(id))?;
            let mut unknown = None;
            definition.shape.ids(|id| {
                if is_builtin(id) || locals.contains_key(&id) {
                    return;
                }
                if id < FIRST_DEFINED {
                    unknown = Some(id);
                }
                let local = i64::try_from(order.len()).unwrap_or(i64::MAX);
                locals.insert(id, FIRST_LOCAL.saturating_add(local));
                order.push(id);
            });
            if let Some(id) = unknown {
                return Err(Error::UnknownType(id));
            }
            if order.len() > MAX_STREAM_TYPES {
                return Err(Error::too_large("types of one value", order.len(), MAX_STREAM_TYPES));
            }
            let local = |id: i64| locals.get(&id).copied().unwrap_or(id);
            write_definition(local(id), definition, local, out);
            let bytes = out.len().saturating_sub(start);
            if bytes > MAX_STREAM_DEFINITIONS {
                return Err(Error::too_large("definitions of one value", bytes, MAX_STREAM_DEFINITIONS));
            }
            next = next.saturating_add(1);
        }
        Ok(())
    }

    /// Every id with its definition, the smallest first.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &Definition)> {
        self.defined.iter().map(|(id, definition)| (*id, definition))
    }
}

/// Whether every stream knows the type.
pub(crate) fn is_builtin(id: i64) -> bool {
    (1..=COMPLEX).contains(&id) || id == INTERFACE
}

/// The fields of a struct whose layout is known beforehand: `field` reads the one of this index.
fn fields<'a>(
    from: &mut Cursor<'a>,
    mut field: impl FnMut(u64, &mut Cursor<'a>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut next = 0_u64;
    loop {
        let delta = from.uint()?;
        if delta == 0 {
            return Ok(());
        }
        next = next.checked_add(delta).ok_or(UNKNOWN_PART)?;
        field(next.saturating_sub(1), from)?;
    }
}

const UNKNOWN_PART: Error = Error::Malformed("a type definition with a part that is not known");

fn read_definition(bytes: &[u8]) -> Result<Definition, Error> {
    let mut from = Cursor::new(bytes);
    let mut name = "";
    let mut found = None;
    fields(&mut from, |part, from| {
        if found.is_some() {
            return Err(Error::Malformed("a type definition of two kinds"));
        }
        found = Some(match part {
            0 => read_array(from, &mut name)?,
            1 => read_slice(from, &mut name)?,
            2 => read_struct(from, &mut name)?,
            3 => read_map(from, &mut name)?,
            4..=6 => {
                common_only(from, &mut name)?;
                Shape::Own(match part {
                    4 => Own::GobEncoder,
                    5 => Own::BinaryMarshaler,
                    _ => Own::TextMarshaler,
                })
            }
            _ => return Err(UNKNOWN_PART),
        });
        Ok(())
    })?;
    let shape = found.ok_or(Error::Malformed("a type definition of no kind"))?;
    if !from.is_empty() {
        return Err(Error::Malformed("bytes behind a type definition"));
    }
    Ok(Definition { name: name.into(), shape })
}

/// The part that all have: a name and the id, which the message has said before.
fn common<'a>(from: &mut Cursor<'a>, name: &mut &'a str) -> Result<(), Error> {
    fields(from, |part, from| match part {
        0 => from.text().map(|text| *name = text),
        1 => from.int().map(drop),
        _ => Err(UNKNOWN_PART),
    })
}

fn common_only<'a>(from: &mut Cursor<'a>, name: &mut &'a str) -> Result<(), Error> {
    fields(from, |part, from| match part {
        0 => common(from, name),
        _ => Err(UNKNOWN_PART),
    })
}

fn read_array<'a>(from: &mut Cursor<'a>, name: &mut &'a str) -> Result<Shape, Error> {
    let (mut element, mut length) = (0, 0);
    fields(from, |part, from| {
        match part {
            0 => common(from, name)?,
            1 => element = from.int()?,
            2 => length = from.int()?,
            _ => return Err(UNKNOWN_PART),
        }
        Ok(())
    })?;
    let length = u64::try_from(length).map_err(|_| Error::Malformed("an array of a negative length"))?;
    Ok(Shape::Array { element, length })
}

fn read_slice<'a>(from: &mut Cursor<'a>, name: &mut &'a str) -> Result<Shape, Error> {
    let mut element = 0;
    fields(from, |part, from| {
        match part {
            0 => common(from, name)?,
            1 => element = from.int()?,
            _ => return Err(UNKNOWN_PART),
        }
        Ok(())
    })?;
    Ok(Shape::Slice { element })
}

fn read_map<'a>(from: &mut Cursor<'a>, name: &mut &'a str) -> Result<Shape, Error> {
    let (mut key, mut element) = (0, 0);
    fields(from, |part, from| {
        match part {
            0 => common(from, name)?,
            1 => key = from.int()?,
            2 => element = from.int()?,
            _ => return Err(UNKNOWN_PART),
        }
        Ok(())
    })?;
    Ok(Shape::Map { key, element })
}

fn read_struct<'a>(from: &mut Cursor<'a>, name: &mut &'a str) -> Result<Shape, Error> {
    let mut all = Vec::new();
    fields(from, |part, from| {
        match part {
            0 => common(from, name)?,
            1 => {
                // No room is taken beforehand: the count is what the peer says.
                for _ in 0..from.count()? {
                    all.push(read_field(from)?);
                }
            }
            _ => return Err(UNKNOWN_PART),
        }
        Ok(())
    })?;
    Ok(Shape::Struct(all.into()))
}

fn read_field(from: &mut Cursor<'_>) -> Result<Field, Error> {
    let (mut name, mut id) = ("", 0);
    fields(from, |part, from| {
        match part {
            0 => name = from.text()?,
            1 => id = from.int()?,
            _ => return Err(UNKNOWN_PART),
        }
        Ok(())
    })?;
    Ok(Field { name: name.into(), id })
}
