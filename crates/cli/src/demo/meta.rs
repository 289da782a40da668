//! `Meta`: the caller's metadata back, as metadata of the reply.

use trunkline::{Annotated, Context, Metadata, Result, metadata, service};

/// Looks at metadata.
#[service]
pub(crate) trait Meta {
    /// The request's metadata as the reply's, without the keys that the wires use themselves.
    async fn echo(&self, context: &Context) -> Result<Annotated<()>>;
}

/// Gives back metadata.
pub(crate) struct Mirror;

impl Meta for Mirror {
    async fn echo(&self, context: &Context) -> Result<Annotated<()>> {
        let mut back = Metadata::builder();
        for (key, value) in context.metadata().iter() {
            if !metadata::is_reserved(key) {
                back = back.with_bytes(key, value);
            }
        }
        Ok(Annotated::new((), back.build()))
    }
}
