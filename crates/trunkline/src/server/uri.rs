//! What the URI of a call says beside its names, on a wire where calls have one: metadata of its handler.

use std::borrow::Cow;

use trunkline_wire::{Limits, Metadata, iip};

use crate::metadata::{self, AUTH, URI};

/// The metadata of a call with this URI: `own` is what a Trunkline peer has said, HTTP headers are what an adapter has put
/// there, and [`URI`] is what the caller wrote.
pub(super) fn metadata_of(uri: &[u8], own: &Metadata, limits: &Limits) -> Metadata {
    let mut all = Metadata::builder().with_all(own.pairs());
    for (name, value) in iip::headers(uri).pairs() {
        match name {
            // Our own client says it so before it knows whom it talks to.
            b"authorization" | b"__auth" => all = all.with_bytes(AUTH.as_bytes(), value),
            name if metadata::is_reserved(name) => {}
            name => all = all.with_bytes(name, value),
        }
    }
    let bare = iip::bare(uri);
    let all = if bare.contains(&b'?') { all.with(URI, &text(&bare)) } else { all };
    let all = all.build();
    // A path is shorter than metadata may be, so only many headers are too much.
    if all.iter().count() > limits.metadata_pairs { own.clone() } else { all }
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
