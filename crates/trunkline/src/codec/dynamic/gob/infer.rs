//! JSON to gob: an object is a struct, a whole number a signed integer, another a float, an array a slice.
//!
//! The elements of an array are of one type: numbers become floats where one of them is, objects have the fields of all
//! of them. What is `null` or an empty array says nothing of its type, and such a field is left out altogether.

use trunkline_wire::gob::{self as wire, Definition, Field, Shape, Types, builtin};

use super::super::tree::Tree;
use crate::codec::gob::{CODEC, broken};
use crate::codec::{Error, MAX_DEPTH};

/// Appends the value of the tree as a self-contained stream.
pub(in super::super) fn encode(tree: &Tree, out: &mut Vec<u8>) -> Result<(), Error> {
    // Null is the struct without fields: nothing to say.
    let guess = match guess(tree, 0)? {
        Guess::Nothing => Guess::Struct(Vec::new()),
        other => other,
    };
    let mut types = Types::new(wire::MAX_STREAM_TYPES);
    let id = define(&guess, &mut types)?;
    let root = types.closure(id, out).map_err(broken)?;
    let start = wire::begin(root, out);
    if !matches!(guess, Guess::Struct(_)) {
        out.push(0);
    }
    write(&guess, tree, out);
    wire::finish(start, out);
    Ok(())
}

/// What the type of a value may be.
#[derive(Debug, Clone, PartialEq)]
enum Guess<'a> {
    /// Of which nothing is known.
    Nothing,
    Bool,
    Int,
    Uint,
    Float,
    Text,
    List(Box<Guess<'a>>),
    Struct(Vec<(&'a str, Guess<'a>)>),
}

fn guess(tree: &Tree, depth: usize) -> Result<Guess<'_>, Error> {
    if depth > MAX_DEPTH {
        return Err(Error::body(CODEC, format_args!("nested deeper than {MAX_DEPTH}")));
    }
    let inside = depth.saturating_add(1);
    Ok(match tree {
        Tree::Null => Guess::Nothing,
        Tree::Bool(_) => Guess::Bool,
        Tree::Int(_) => Guess::Int,
        Tree::Uint(number) => {
            if i64::try_from(*number).is_ok() {
                Guess::Int
            } else {
                Guess::Uint
            }
        }
        Tree::F32(_) | Tree::F64(_) => Guess::Float,
        Tree::Text(_) | Tree::Bytes(_) => Guess::Text,
        Tree::List(items) => {
            let mut all = Guess::Nothing;
            for (index, item) in items.iter().enumerate() {
                let one = guess(item, inside).map_err(|e| e.at_index(index))?;
                all = both(all, one).map_err(|e| e.at_index(index))?;
            }
            Guess::List(Box::new(all))
        }
        Tree::Map(entries) => {
            let mut fields = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                let Tree::Text(name) = key else {
                    return Err(Error::body(CODEC, "a key that is not a text"));
                };
                let one = guess(value, inside).map_err(|e| e.in_field(name))?;
                add(&mut fields, name, one)?;
            }
            Guess::Struct(fields)
        }
    })
}

/// Adds a field, or what is known of one that is there.
fn add<'a>(fields: &mut Vec<(&'a str, Guess<'a>)>, name: &'a str, guess: Guess<'a>) -> Result<(), Error> {
    match fields.iter_mut().find(|(known, _)| *known == name) {
        Some((_, known)) => {
            let before = std::mem::replace(known, Guess::Nothing);
            *known = both(before, guess).map_err(|e| e.in_field(name))?;
        }
        None => fields.push((name, guess)),
    }
    Ok(())
}

/// The type that both values have.
fn both<'a>(one: Guess<'a>, other: Guess<'a>) -> Result<Guess<'a>, Error> {
    Ok(match (one, other) {
        (Guess::Nothing, known) | (known, Guess::Nothing) => known,
        (one, other) if one == other => one,
        // Of both signs, and too large for a signed one: no integer holds all of them.
        (Guess::Int, Guess::Uint) | (Guess::Uint, Guess::Int) => Guess::Float,
        (Guess::Int | Guess::Uint | Guess::Float, Guess::Float)
        | (Guess::Float, Guess::Int | Guess::Uint) => Guess::Float,
        (Guess::List(one), Guess::List(other)) => Guess::List(Box::new(both(*one, *other)?)),
        (Guess::Struct(mut one), Guess::Struct(other)) => {
            for (name, guess) in other {
                add(&mut one, name, guess)?;
            }
            Guess::Struct(one)
        }
        _ => return Err(Error::body(CODEC, "the elements of a list are of different types")),
    })
}

impl Guess<'_> {
    /// Whether a field of it can be defined; else it has nothing that has to be sent.
    fn is_known(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::List(inner) => inner.is_known(),
            _ => true,
        }
    }
}

fn define(guess: &Guess<'_>, types: &mut Types) -> Result<i64, Error> {
    let shape = match guess {
        Guess::Bool => return Ok(builtin::BOOL),
        // A list of which nothing is known is empty, or of nulls.
        Guess::Nothing | Guess::Int => return Ok(builtin::INT),
        Guess::Uint => return Ok(builtin::UINT),
        Guess::Float => return Ok(builtin::FLOAT),
        Guess::Text => return Ok(builtin::STRING),
        Guess::List(inner) => Shape::Slice { element: define(inner, types)? },
        Guess::Struct(fields) => {
            let mut all = Vec::with_capacity(fields.len());
            for (name, guess) in fields.iter().filter(|(_, guess)| guess.is_known()) {
                all.push(Field { name: (*name).into(), id: define(guess, types)? });
            }
            Shape::Struct(all.into())
        }
    };
    if let Some((id, _)) = types.iter().find(|(_, known)| known.shape == shape) {
        return Ok(id);
    }
    types.push(Definition { name: "".into(), shape }).map_err(broken)
}

/// Writes a value of this type, without the zero of one that is no struct.
fn write(guess: &Guess<'_>, tree: &Tree, out: &mut Vec<u8>) {
    match guess {
        Guess::Nothing => wire::put_int(0, out),
        Guess::Bool => out.push(u8::from(*tree == Tree::Bool(true))),
        Guess::Int => match tree {
            Tree::Int(number) => wire::put_int(*number, out),
            Tree::Uint(number) => wire::put_int(i64::try_from(*number).unwrap_or(i64::MAX), out),
            _ => wire::put_int(0, out),
        },
        Guess::Uint => match tree {
            Tree::Uint(number) => wire::put_uint(*number, out),
            _ => wire::put_uint(0, out),
        },
        Guess::Float => wire::put_float(float(tree), out),
        Guess::Text => wire::put_bytes(if let Tree::Text(text) = tree { text.as_bytes() } else { b"" }, out),
        Guess::List(inner) => {
            let items = if let Tree::List(items) = tree { &items[..] } else { &[] };
            wire::put_uint(items.len() as u64, out);
            for item in items {
                write(inner, item, out);
            }
        }
        Guess::Struct(fields) => {
            let entries = if let Tree::Map(entries) = tree { &entries[..] } else { &[] };
            let mut since = 0_u64;
            for (name, guess) in fields.iter().filter(|(_, guess)| guess.is_known()) {
                since = since.saturating_add(1);
                let value =
                    entries.iter().rev().find(|(key, _)| matches!(key, Tree::Text(key) if key == name));
                let Some((_, value)) = value.filter(|(_, value)| !is_zero(value)) else { continue };
                wire::put_uint(since, out);
                since = 0;
                write(guess, value, out);
            }
            out.push(0);
        }
    }
}

/// Whether a field of this value is left out.
fn is_zero(value: &Tree) -> bool {
    match value {
        Tree::Null | Tree::Bool(false) | Tree::Int(0) | Tree::Uint(0) => true,
        Tree::F64(number) => number.to_bits() == 0,
        Tree::Text(text) => text.is_empty(),
        Tree::List(items) => items.is_empty(),
        _ => false,
    }
}

fn float(value: &Tree) -> f64 {
    match value {
        Tree::F64(number) => *number,
        Tree::F32(number) => (*number).into(),
        Tree::Int(number) => *number as f64,
        Tree::Uint(number) => *number as f64,
        _ => 0.0,
    }
}
