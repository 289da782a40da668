//! Everything that serde can say, in gob: [`Gob`].

use std::any::TypeId;
use std::rc::Rc;

use serde::de::{self, DeserializeOwned, SeqAccess, Visitor};
use serde::ser::SerializeTupleStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use trunkline_wire::gob::{self as wire, Cursor, Shape, Types};

use super::super::lenient::{self, Track};
use super::super::{Error, Payload, json, msgpack, not_built};
use super::{CODEC, broken, cache, end, go_field, open};
use crate::Serialization;
use crate::message::Schema;

mod read;
mod trace;
mod write;

/// The name by which [`Complex`] tells itself.
const COMPLEX: &str = "$trunkline::Complex";

/// A value of any type that serde knows, as the body of a call or a reply: a bare number, lists of lists, arrays,
/// complex numbers. It travels in gob, JSON and MessagePack.
///
/// ```
/// use trunkline::Serialization;
/// use trunkline::codec::Payload;
/// use trunkline::codec::gob::Gob;
///
/// // As the reply of Go's `func (t *Arith) Mul(args *Args, reply *int) error`.
/// let mut body = Vec::new();
/// Gob(200_i64).encode(Serialization::Gob, &mut body)?;
/// assert_eq!(body, [5, 4, 0, 0xfe, 1, 0x90]);
/// assert_eq!(Gob::<i64>::decode(Serialization::Gob, &body)?.0, 200);
///
/// // What does not fit is refused.
/// let error = Gob::<u8>::decode(Serialization::Gob, &[5, 4, 0, 0xfe, 2, 0x58]).unwrap_err();
/// assert_eq!(error.to_string(), "gob: invalid value: integer `300`, expected u8");
/// # Ok::<(), trunkline::codec::Error>(())
/// ```
///
/// - Structs are matched by the names of their fields, with a capital letter in front, as all that Go sends have. A field
///   that the body lacks is zero.
/// - `Vec<u8>` and what serde calls bytes are Go's `[]byte`; `[u8; 4]` is an array of numbers, as it is in Go.
/// - `Option` is Go's pointer: sent as what it holds, left out where there is nothing. So it can be a field, but not
///   an element of a list.
/// - A tuple whose members are of one type is an array; `char` is a whole number, Go's `rune`.
/// - Enums, 128-bit integers and tuples of several types are refused: gob has nothing like them.
///
/// The type has to be told before there is a value, since an empty list says nothing of its elements: it is found out
/// once a thread, by reading a `T` in which everything is zero. A type that takes no such value cannot be sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gob<T>(pub T);

/// A complex number, Go's `complex128`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Complex {
    /// The real part.
    pub re: f64,
    /// The imaginary part.
    pub im: f64,
}

/// How values of one type look in gob.
pub(super) struct Layout {
    definitions: Vec<u8>,
    types: Types,
    root: i64,
}

impl<T: Serialize + DeserializeOwned + 'static> Payload for Gob<T> {
    fn encode(&self, how: Serialization, out: &mut Vec<u8>) -> Result<(), Error> {
        let start = out.len();
        let done = match how {
            Serialization::Gob => encode(&self.0, out),
            Serialization::Json => {
                serde_json::to_writer(&mut *out, &self.0).map_err(|e| Error::encode("json", e))
            }
            Serialization::MessagePack => msgpack::encode_any(&self.0, out),
            other => Err(not_here::<T>(other)),
        };
        if done.is_err() {
            out.truncate(start);
        }
        done
    }

    fn decode(how: Serialization, body: &[u8]) -> Result<Self, Error> {
        match how {
            Serialization::Gob => decode(body).map(Gob),
            Serialization::Json => {
                let mut from = serde_json::Deserializer::from_slice(body);
                let track = Track::new(body, true);
                let value = lenient::read(&mut from, &track)
                    .map_err(|e| track.locate(Error::body("json", json::text(&e))))?;
                from.end().map_err(|e| Error::body("json", json::text(&e)))?;
                Ok(Self(value))
            }
            Serialization::MessagePack => msgpack::decode_any(body).map(Gob),
            other => Err(not_here::<T>(other)),
        }
    }

    fn schema() -> Schema {
        Schema::opaque(std::any::type_name::<T>())
    }
}

#[cold]
fn not_here<T>(how: Serialization) -> Error {
    match how {
        Serialization::Other(_) => not_built(how),
        _ => Error::unsupported(
            "",
            format_args!("{} travels as gob, json or msgpack only", std::any::type_name::<T>()),
        ),
    }
}

fn layout<T: DeserializeOwned + 'static>() -> Result<Rc<Layout>, Error> {
    cache::any_layout(TypeId::of::<T>(), || {
        let (types, root) = trace::types_of::<T>()?;
        let mut definitions = Vec::new();
        let root = types.closure(root, &mut definitions).map_err(broken)?;
        let types = Types::of(&definitions).map_err(broken)?;
        Ok(Layout { definitions, types, root })
    })
}

fn encode<T: Serialize + DeserializeOwned + 'static>(value: &T, out: &mut Vec<u8>) -> Result<(), Error> {
    let layout = layout::<T>()?;
    out.extend_from_slice(&layout.definitions);
    let start = wire::begin(layout.root, out);
    if !is_struct(&layout.types, layout.root) {
        out.push(0);
    }
    write::write(&layout.types, layout.root, value, out)?;
    wire::finish(start, out);
    Ok(())
}

fn decode<T: DeserializeOwned + 'static>(body: &[u8]) -> Result<T, Error> {
    let cache::Planned { how: types, id, value } =
        cache::any_types(TypeId::of::<T>(), body, |definitions, root| {
            let types = Types::of(definitions).map_err(broken)?;
            // What cannot be told can be read all the same.
            if let Ok(ours) = layout::<T>() {
                check(&ours, &types, root)?;
            }
            Ok(types)
        })?;
    let mut from = Cursor::new(value);
    if !is_struct(&types, id) {
        open(&mut from)?;
    }
    let track = Track::new(body, false);
    let read = lenient::read(read::De::new(&types, id, &mut from), &track);
    let value = read.map_err(|failed| track.locate(failed.0))?;
    end(&from)?;
    Ok(value)
}

fn is_struct(types: &Types, id: i64) -> bool {
    types.get(id).is_some_and(|found| matches!(found.shape, Shape::Struct(_)))
}

/// A struct of which no field is known is refused, as in Go.
fn check(ours: &Layout, types: &Types, id: i64) -> Result<(), Error> {
    let Some((name, Shape::Struct(our))) = ours.types.get(ours.root).map(|found| (&found.name, &found.shape))
    else {
        return Ok(());
    };
    let Some(Shape::Struct(theirs)) = types.get(id).map(|found| &found.shape) else {
        let text = format_args!("type mismatch in decoder: want struct type {name}; got non-struct");
        return Err(Error::body(CODEC, text));
    };
    let matched = theirs.iter().any(|field| our.iter().any(|known| *known.name == *go_field(&field.name)));
    if matched || our.is_empty() || theirs.is_empty() {
        return Ok(());
    }
    Err(Error::body(CODEC, format_args!("type mismatch: no fields matched compiling decoder for {name}")))
}

/// An error on the way through serde.
#[derive(Debug)]
struct Failed(Error);

impl Failed {
    #[cold]
    fn new(what: impl std::fmt::Display) -> Self {
        Self(Error::body(CODEC, what))
    }
}

impl From<wire::Error> for Failed {
    #[cold]
    fn from(error: wire::Error) -> Self {
        Self(broken(error))
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Failed {}

impl serde::ser::Error for Failed {
    #[cold]
    fn custom<T: std::fmt::Display>(what: T) -> Self {
        Self(Error::encode(CODEC, what))
    }
}

impl de::Error for Failed {
    #[cold]
    fn custom<T: std::fmt::Display>(what: T) -> Self {
        Self::new(what)
    }
}

impl Serialize for Complex {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut parts = to.serialize_tuple_struct(COMPLEX, 2)?;
        parts.serialize_field(&self.re)?;
        parts.serialize_field(&self.im)?;
        parts.end()
    }
}

impl<'de> Deserialize<'de> for Complex {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Parts;

        impl<'de> Visitor<'de> for Parts {
            type Value = Complex;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a complex number")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Complex, A::Error> {
                let mut part = |index| {
                    from.next_element()?.ok_or_else(|| de::Error::invalid_length(index, &"two parts"))
                };
                Ok(Complex { re: part(0)?, im: part(1)? })
            }
        }

        from.deserialize_tuple_struct(COMPLEX, 2, Parts)
    }
}
