//! MessagePack as Go writes and reads it: structs are maps from names, nil reads as empty, every width of
//! integer reads into every integer type that holds the value.

use std::io::ErrorKind;

use rmp_serde::decode::Error as ReadError;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::lenient::{self, Track};
use super::{Error, MAX_DEPTH};
use crate::message::Message;

const CODEC: &str = "msgpack";

pub(crate) fn encode<M: Message>(message: &M, out: &mut Vec<u8>) -> Result<(), Error> {
    if M::UNIT {
        out.push(0x80);
        return Ok(());
    }
    encode_any(message, out)
}

/// Writes what is not a message.
pub(crate) fn encode_any<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), Error> {
    let mut to = rmp_serde::Serializer::new(out).with_struct_map();
    value.serialize(&mut to).map_err(|e| Error::encode(CODEC, e))
}

pub(crate) fn decode<M: Message>(body: &[u8]) -> Result<M, Error> {
    let mut from = reader(body);
    let track = Track::new(body, false);
    let message = lenient::read(&mut from, &track).map_err(|e| track.locate(Error::body(CODEC, text(&e))))?;
    end(&mut from)?;
    Ok(message)
}

/// Reads what is not a message, as it is.
pub(crate) fn decode_any<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    let mut from = reader(body);
    let value = T::deserialize(&mut from).map_err(|e| Error::body(CODEC, text(&e)))?;
    end(&mut from)?;
    Ok(value)
}

type Reader<'a> = rmp_serde::Deserializer<rmp_serde::decode::ReadRefReader<'a, [u8]>>;

fn reader(body: &[u8]) -> Reader<'_> {
    let mut from = rmp_serde::Deserializer::from_read_ref(body);
    // It counts down and refuses at nought.
    from.set_max_depth(MAX_DEPTH + 1);
    from
}

/// What follows the value is an error, as in the other codecs. The reader does not say how much it has left;
/// it says so when it is asked for one more value.
fn end(from: &mut Reader<'_>) -> Result<(), Error> {
    match IgnoredAny::deserialize(from) {
        Err(ReadError::InvalidMarkerRead(e)) if e.kind() == ErrorKind::UnexpectedEof => Ok(()),
        _ => Err(Error::body(CODEC, "more bytes follow the message")),
    }
}

/// The reason without the library's own names for the end of the input.
fn text(error: &ReadError) -> String {
    match error {
        ReadError::InvalidMarkerRead(e) | ReadError::InvalidDataRead(e)
            if e.kind() == ErrorKind::UnexpectedEof =>
        {
            "the body ends too early".to_owned()
        }
        ReadError::DepthLimitExceeded => format!("nested deeper than {MAX_DEPTH}"),
        ReadError::Uncategorized(text) | ReadError::Syntax(text) => text.clone(),
        other => other.to_string(),
    }
}
