//! The path and the parameters of a call: of the URI that it came by, where it came by one.

use std::borrow::Cow;
use std::net::IpAddr;

use percent_encoding::percent_decode;

use crate::{Call, Peer};

pub use crate::metadata::URI;

/// The key of the metadata that says for which client a call is made: its address, or whatever tells clients apart.
pub const CLIENT: &str = "__client";

/// The call's path without a query: of its URI, else `/Service/Method`.
#[cfg(feature = "expressions")]
pub(super) fn path(call: &Call) -> Cow<'_, str> {
    match uri(call) {
        Some(uri) => Cow::Borrowed(uri.split_once('?').map_or(uri, |(path, _)| path)),
        None => Cow::Owned(format!("/{}/{}", call.service(), call.method())),
    }
}

/// The URI that a call came by, or that it is made of: a method without a service is a path, with its query.
fn uri(call: &Call) -> Option<&str> {
    let path = || Some(call.method()).filter(|_| call.service().is_empty());
    call.metadata().get(URI).or_else(path)
}

/// The parameters of the call's URI, in its order, decoded.
pub(super) fn parameters(call: &Call) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    let query = uri(call).and_then(|uri| uri.split_once('?')).map_or("", |(_, query)| query);
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    })
}

fn decoded(text: &str) -> Cow<'_, [u8]> {
    if text.contains('+') {
        Cow::Owned(percent_decode(text.replace('+', " ").as_bytes()).collect())
    } else {
        percent_decode(text.as_bytes()).into()
    }
}

/// For whom a call is made: what its metadata says, else the address that it came from.
pub(super) enum Client<'a> {
    Named(&'a [u8]),
    At(IpAddr),
}

pub(super) fn client(call: &Call) -> Option<Client<'_>> {
    if let Some(named) = call.metadata().pairs().get_bytes(CLIENT.as_bytes()) {
        return Some(Client::Named(named));
    }
    match call.context().peer() {
        Peer::Tcp(address) => Some(Client::At(address.ip())),
        _ => None,
    }
}
