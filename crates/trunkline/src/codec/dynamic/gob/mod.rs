//! JSON to gob and back, without a schema: the type is worked out from the text, and the text from the type.

mod infer;
mod text;

pub(super) use infer::encode;
pub(super) use text::decode;

/// By a schema: the types are those of the message, so that a Go service takes them.
pub(super) mod typed {
    use super::super::tree::Tree;
    use super::super::typed;
    use crate::codec::{Error, gob};
    use crate::message::Schema;

    pub(in super::super) fn encode(schema: &Schema, tree: &Tree, out: &mut Vec<u8>) -> Result<(), Error> {
        gob::write_by(schema, out, |to| typed::write(schema, tree, to))
    }

    pub(in super::super) fn decode(schema: &Schema, body: &[u8]) -> Result<String, Error> {
        let mut message = typed::Message::new(schema);
        gob::read_by(schema, body, |number, from| message.read(number, from))?;
        message.into_tree().to_json()
    }
}
