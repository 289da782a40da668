//! What the URI of a call says beside its names, on a wire where calls have one: metadata of its handler.

use std::borrow::Cow;

use percent_encoding::percent_decode;
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

/// The path of a URI as Go's server looks it up: with its percent-escapes decoded. `None` where it has none, and for a
/// path of the system, which nobody has a reason to write so.
pub(super) fn decoded_path(uri: &[u8]) -> Option<Vec<u8>> {
    let path = uri.split(|byte| *byte == b'?').next().filter(|path| path.contains(&b'%'))?;
    let decoded: Vec<u8> = percent_decode(path).collect();
    (!decoded.starts_with(b"/sys/")).then_some(decoded)
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_with_escapes_is_decoded_and_none_of_the_system_comes_out() {
        for (uri, path) in [
            ("/%65cho", Some("/echo")),
            ("/a%2Fb?c=%20", Some("/a/b")),
            ("/a%20%FC", Some("/a \u{fffd}")),
            ("/echo", None),
            ("/echo?a=%20", None),
            ("", None),
            ("/%73ys/statis", None),
            ("/sys%2Fnew_channel", None),
        ] {
            let decoded = decoded_path(uri.as_bytes());
            assert_eq!(decoded.map(|path| text(&path).into_owned()).as_deref(), path, "{uri}");
        }
    }
}
