//! JSON as Go's encoding/json has it: `null` reads as empty, names match without case where none does exactly.

use serde_json::error::Category;

use super::Error;
use super::lenient::{self, Track};
use crate::message::Message;

const CODEC: &str = "json";

pub(crate) fn encode<M: Message>(message: &M, out: &mut Vec<u8>) -> Result<(), Error> {
    if M::UNIT {
        out.extend_from_slice(b"{}");
        return Ok(());
    }
    serde_json::to_writer(out, message).map_err(|e| Error::encode(CODEC, e))
}

pub(crate) fn decode<M: Message>(body: &[u8]) -> Result<M, Error> {
    let mut from = serde_json::Deserializer::from_slice(body);
    let track = Track::new(body, true);
    let message = lenient::read(&mut from, &track).map_err(|e| track.locate(Error::body(CODEC, text(&e))))?;
    from.end().map_err(|e| Error::body(CODEC, text(&e)))?;
    Ok(message)
}

/// The reason, with line and column only where the path of a field does not say the place.
pub(crate) fn text(error: &serde_json::Error) -> String {
    let mut text = error.to_string();
    if error.classify() == Category::Data {
        let place = format!(" at line {} column {}", error.line(), error.column());
        if text.ends_with(&place) {
            text.truncate(text.len().saturating_sub(place.len()));
        }
    }
    text
}
