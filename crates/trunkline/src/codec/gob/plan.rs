//! How the fields of a peer's type meet those of a message: worked out once, checked before a value is read.

use std::collections::HashMap;

use trunkline_wire::gob::{Own, Shape, Types, builtin};

use super::{CODEC, Error, broken, is_field};
use crate::message::{Kind, Schema, Type};

/// Most fields that a plan may go through. A peer's types and ours could be paired in many ways.
const MOST_FIELDS: usize = 16 << 10;

/// How values of a peer's type are read into a message.
pub(super) struct Plan {
    pub(super) types: Types,
    /// A peer's struct with a message of ours; the first is the whole value.
    pub(super) structs: Vec<Box<[Match]>>,
    /// What it takes, about, in bytes.
    pub(super) size: usize,
}

/// What becomes of a field of the peer's struct.
#[derive(Clone, Copy)]
pub(super) struct Match {
    /// The number of our field; 0 where there is none.
    pub(super) number: u32,
    /// Its type at the peer.
    pub(super) id: i64,
    /// The index of the pair that a message in it is read by.
    pub(super) pair: usize,
}

impl Plan {
    pub(super) fn of(schema: &Schema, definitions: &[u8], root: i64) -> Result<Self, Error> {
        let types = Types::of(definitions).map_err(broken)?;
        let ours = schema.messages().first().map_or("", |message| &message.name);
        let Some(Shape::Struct(theirs)) = types.get(root).map(|found| &found.shape) else {
            return Err(Error::body(
                CODEC,
                format_args!("type mismatch in decoder: want struct type {ours}; got non-struct"),
            ));
        };
        let has_fields = schema.messages().first().is_some_and(|message| !message.fields.is_empty());
        let expected = has_fields && !theirs.is_empty();
        let mut making = Making { schema, types: &types, pairs: HashMap::new(), wanted: Vec::new() };
        making.pair(root, 0);
        let mut structs: Vec<Box<[Match]>> = Vec::new();
        let mut fields = 0_usize;
        while let Some((id, message)) = making.wanted.get(structs.len()).copied() {
            let matches = making.matches(id, message)?;
            fields = fields.saturating_add(matches.len());
            if fields > MOST_FIELDS {
                return Err(Error::body(CODEC, "a type of too many fields"));
            }
            structs.push(matches);
        }
        if expected && structs.first().is_some_and(|all| all.iter().all(|one| one.number == 0)) {
            return Err(Error::body(
                CODEC,
                format_args!("type mismatch: no fields matched compiling decoder for {ours}"),
            ));
        }
        let size =
            definitions.len().saturating_mul(8).saturating_add(fields.saturating_mul(size_of::<Match>()));
        Ok(Self { types, structs, size })
    }
}

struct Making<'a> {
    schema: &'a Schema,
    types: &'a Types,
    pairs: HashMap<(i64, usize), usize>,
    wanted: Vec<(i64, usize)>,
}

impl Making<'_> {
    fn pair(&mut self, id: i64, message: usize) -> usize {
        let next = self.wanted.len();
        let place = *self.pairs.entry((id, message)).or_insert(next);
        if place == next {
            self.wanted.push((id, message));
        }
        place
    }

    fn matches(&mut self, id: i64, message: usize) -> Result<Box<[Match]>, Error> {
        let types = self.types;
        let Some(definition) = types.get(id) else { return Ok([].into()) };
        let Shape::Struct(theirs) = &definition.shape else { return Ok([].into()) };
        let ours = self.schema.messages().get(message).map_or(&[][..], |message| &message.fields);
        let mut matches = Vec::with_capacity(theirs.len());
        for field in theirs {
            let Some(found) = ours.iter().find(|our| is_field(&our.name, &field.name)) else {
                matches.push(Match { number: 0, id: field.id, pair: 0 });
                continue;
            };
            let pair = self.fit(&found.ty, field.id, 0).ok_or_else(|| {
                let got = name_of(types, field.id);
                let (of, name) = (&definition.name, &field.name);
                Error::body(CODEC, format_args!("wrong type ({got}) for received field {of}.{name}"))
            })?;
            matches.push(Match { number: found.number, id: field.id, pair });
        }
        Ok(matches.into())
    }

    /// Whether the peer's type can be read into ours, and the pair of the messages in them.
    fn fit(&mut self, ty: &Type, id: i64, depth: usize) -> Option<usize> {
        let shape = self.types.get(id).map(|found| &found.shape);
        let deeper = depth.saturating_add(1);
        match (ty, shape) {
            (Type::Scalar(kind, _), None) => fits_scalar(*kind, id).then_some(0),
            (Type::Optional(inner), _) if depth < 4 => self.fit(inner, id, deeper),
            (Type::Message(index), Some(Shape::Struct(_))) => Some(self.pair(id, *index)),
            (Type::List(inner), None) => {
                (id == builtin::BYTES && matches!(**inner, Type::Scalar(Kind::U8, _))).then_some(0)
            }
            (Type::List(inner), Some(Shape::Slice { element } | Shape::Array { element, .. })) => {
                self.fit(inner, *element, deeper)
            }
            (Type::Map(key, value), Some(Shape::Map { key: their_key, element })) => {
                self.fit(key, *their_key, deeper)?;
                self.fit(value, *element, deeper)
            }
            _ => None,
        }
    }
}

/// Whether values of the built-in type may be read as this kind: a number as any other that can hold it.
fn fits_scalar(kind: Kind, id: i64) -> bool {
    match kind {
        Kind::Bool => id == builtin::BOOL,
        Kind::F32 | Kind::F64 => [builtin::FLOAT, builtin::INT, builtin::UINT].contains(&id),
        Kind::Text => id == builtin::STRING,
        Kind::Blob => id == builtin::BYTES || id == builtin::STRING,
        Kind::Message => false,
        _ => id == builtin::INT || id == builtin::UINT,
    }
}

/// A type as Go calls it, for errors.
pub(in super::super) fn name_of(types: &Types, id: i64) -> String {
    let builtin = match id {
        builtin::BOOL => "bool",
        builtin::INT => "int",
        builtin::UINT => "uint",
        builtin::FLOAT => "float",
        builtin::BYTES => "bytes",
        builtin::STRING => "string",
        builtin::COMPLEX => "complex",
        builtin::INTERFACE => "interface",
        _ => "",
    };
    if !builtin.is_empty() {
        return builtin.to_owned();
    }
    match types.get(id) {
        Some(found) => {
            let kind = match found.shape {
                Shape::Array { .. } => "array",
                Shape::Slice { .. } => "slice",
                Shape::Struct(_) => "struct",
                Shape::Map { .. } => "map",
                Shape::Own(Own::GobEncoder) => "GobEncoder",
                Shape::Own(Own::BinaryMarshaler) => "BinaryMarshaler",
                Shape::Own(Own::TextMarshaler) => "TextMarshaler",
            };
            if found.name.is_empty() { kind.to_owned() } else { format!("{kind} {}", found.name) }
        }
        None => format!("unknown type id {id}"),
    }
}
