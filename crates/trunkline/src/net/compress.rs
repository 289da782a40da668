//! Which bodies leave compressed.

use crate::codec::gzip::{WORTH_COMPRESSING, compress};

/// The compressed body, where the peer wants it so and it is worth it.
pub(crate) fn worth_it(body: &[u8]) -> Option<Vec<u8>> {
    if body.len() <= WORTH_COMPRESSING {
        return None;
    }
    let mut compressed = Vec::new();
    compress(body, &mut compressed).ok()?;
    Some(compressed)
}
