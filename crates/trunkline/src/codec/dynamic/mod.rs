//! Bodies without their Rust types: JSON text to any codec and back, for the command line and the gateway.
//!
//! JSON and MessagePack name their fields, so they need nothing else. Protobuf and Thrift send numbers: for them
//! the [`Schema`] is needed, as `Trunkline.Describe` gives it. gob names its fields and says their types.

use trunkline_wire::Serialization;

use super::{Error, msgpack};
use crate::message::Schema;

#[cfg(feature = "netrpc")]
mod gob;
mod tree;
#[cfg(any(feature = "protobuf", feature = "thrift", feature = "netrpc"))]
mod typed;

use tree::Tree;

/// Appends the body that the JSON text says. JSON goes out as it is written; in MessagePack whole numbers are
/// integers in the shortest form, and maps keep their order. With a schema, fields of bytes are base64 in the
/// text and bytes in the body. In gob without a schema an object is a struct, a whole number a signed integer,
/// another a float, an array a slice; `null` and empty arrays are left out.
///
/// ```
/// use trunkline::codec::dynamic;
/// use trunkline::wire::Serialization;
///
/// let mut body = Vec::new();
/// dynamic::encode(Serialization::MessagePack, r#"{"B":10,"A":20}"#, None, &mut body)?;
/// assert_eq!(body, b"\x82\xa1B\x0a\xa1A\x14");
/// assert_eq!(dynamic::decode(Serialization::MessagePack, &body, None)?, r#"{"B":10,"A":20}"#);
/// # Ok::<(), trunkline::codec::Error>(())
/// ```
///
/// # Errors
/// [`Error::is_body`] where the text is not JSON or does not fit the schema; [`Error::is_unsupported`] for an
/// unknown serialisation, and for protobuf and Thrift where there is no schema with fields. On an error `out` is
/// as it was.
pub fn encode(
    how: Serialization,
    json: &str,
    schema: Option<&Schema>,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let start = out.len();
    let done = encode_any(how, json, schema, out);
    if done.is_err() {
        out.truncate(start);
    }
    done
}

fn encode_any(
    how: Serialization,
    json: &str,
    schema: Option<&Schema>,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    match how {
        Serialization::Raw => out.extend_from_slice(json.as_bytes()),
        Serialization::Json => {
            Tree::from_json(json.as_bytes())?;
            out.extend_from_slice(json.trim().as_bytes());
        }
        Serialization::MessagePack => {
            let mut tree = Tree::from_json(json.as_bytes())?;
            if let Some(schema) = schema {
                tree.fit(schema)?;
            }
            msgpack::encode_any(&tree, out)?;
        }
        #[cfg(feature = "protobuf")]
        Serialization::Protobuf => {
            let (schema, tree) = (needed(how, schema)?, Tree::from_json(json.as_bytes())?);
            super::protobuf::write(out, |to| typed::write(schema, &tree, to))?;
        }
        #[cfg(feature = "thrift")]
        Serialization::Thrift => {
            let (schema, tree) = (needed(how, schema)?, Tree::from_json(json.as_bytes())?);
            super::thrift::write(out, |to| typed::write(schema, &tree, to))?;
        }
        #[cfg(feature = "netrpc")]
        Serialization::Gob => {
            let tree = Tree::from_json(json.as_bytes())?;
            match schema.filter(|schema| schema.message().is_some()) {
                Some(schema) => gob::typed::encode(schema, &tree, out)?,
                None => gob::encode(&tree, out)?,
            }
        }
        other => return Err(super::not_built(other)),
    }
    Ok(())
}

/// The body as JSON text on one line. Bytes come out as base64, keys of maps as text, times of MessagePack by
/// RFC 3339. With a schema every field is there, zeros included, in the order of the schema. gob without a schema
/// comes out as Go's encoding/json would write it: every field that the sender's type has, and `null` for slices, maps,
/// pointers and structs that were left out.
///
/// # Errors
/// [`Error::is_body`] where the bytes are not such a body (raw ones: not UTF-8, which come out as they are);
/// [`Error::is_unsupported`] as for [`encode`].
#[cfg_attr(not(any(feature = "protobuf", feature = "thrift", feature = "netrpc")), allow(unused_variables))]
pub fn decode(how: Serialization, body: &[u8], schema: Option<&Schema>) -> Result<String, Error> {
    match how {
        Serialization::Raw => {
            std::str::from_utf8(body).map(str::to_owned).map_err(|_| Error::body("raw", "not text"))
        }
        Serialization::Json => {
            Tree::from_json(body)?;
            let text = std::str::from_utf8(body).map_err(|_| Error::body("json", "not UTF-8"))?;
            Ok(text.trim().to_owned())
        }
        Serialization::MessagePack => msgpack::decode_any::<Tree>(body)?.to_json(),
        #[cfg(feature = "protobuf")]
        Serialization::Protobuf => {
            let mut message = typed::Message::new(needed(how, schema)?);
            super::protobuf::read(body, |number, from| message.read(number, from))?;
            message.into_tree().to_json()
        }
        #[cfg(feature = "thrift")]
        Serialization::Thrift => {
            let mut message = typed::Message::new(needed(how, schema)?);
            super::thrift::read(body, |number, from| message.read(number, from))?;
            message.into_tree().to_json()
        }
        #[cfg(feature = "netrpc")]
        Serialization::Gob => match schema.filter(|schema| schema.message().is_some()) {
            Some(schema) => gob::typed::decode(schema, body),
            None => gob::decode(body),
        },
        other => Err(super::not_built(other)),
    }
}

/// The schema, where it has fields.
#[cfg(any(feature = "protobuf", feature = "thrift"))]
fn needed(how: Serialization, schema: Option<&Schema>) -> Result<&Schema, Error> {
    let codec = if how == Serialization::Thrift { "thrift" } else { "protobuf" };
    schema.filter(|schema| schema.message().is_some()).ok_or_else(|| {
        Error::unsupported(
            codec,
            "it sends the numbers of fields and not their names, so JSON cannot be turned into it without the \
             schema of the message; use --codec json or msgpack, or a peer that describes itself",
        )
    })
}
