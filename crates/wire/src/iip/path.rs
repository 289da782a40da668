//! Paths: to names and back, and what Trunkline peers put into their query.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE, URL_SAFE_NO_PAD};
use base64::{Engine, alphabet};

use super::frame::{check_length, check_path, without_query};
use super::{MORE, MOST_PATH, too_large, unsupported};
use crate::metadata::append_pair;
use crate::{CallFrame, InvalidMetadata, Limits, Metadata, Pairs, WireError};

/// The parameter that holds metadata: the rpcx form of the pairs in base64, URL-safe and without padding.
const PAIRS: &[u8] = b"__trunkline";

/// The parameter that says that the data stands for none.
const EMPTY: &[u8] = b"__trunkline_empty";

/// The parameter that holds HTTP headers, as an HTTP adapter of Go puts them there.
const HTTP: &[u8] = b"__http_hdr__";

/// What system paths begin with.
pub(crate) const SYSTEM: &[u8] = b"/sys/";

/// What follows the path of a frame whose data stands for none.
pub(crate) const EMPTY_QUERY: &[u8] = b"?__trunkline_empty";

/// Service and method of a path without its query. System paths have no service.
#[must_use]
pub fn names(path: &[u8]) -> (&[u8], &[u8]) {
    let two = || {
        if path.starts_with(SYSTEM) {
            return None;
        }
        let (service, method) = path.strip_prefix(b"/")?.split_at_checked(service_length(path)?)?;
        let method = method.strip_prefix(b"/")?;
        (!service.is_empty() && !method.is_empty() && !method.contains(&b'/')).then_some((service, method))
    };
    two().unwrap_or((&[], path))
}

fn service_length(path: &[u8]) -> Option<usize> {
    path.get(1..)?.iter().position(|byte| *byte == b'/')
}

/// The parameters of a URI's query, in order.
fn parameters(uri: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let query = uri.get(without_query(uri).len()..).and_then(|query| query.strip_prefix(b"?"));
    query.unwrap_or_default().split(|byte| *byte == b'&').filter(|part| !part.is_empty()).map(|part| {
        let mut both = part.splitn(2, |byte| *byte == b'=');
        (both.next().unwrap_or_default(), both.next().unwrap_or_default())
    })
}

/// The metadata that a Trunkline peer has put into the query of a URI ([`CallHead::uri`](crate::CallHead),
/// [`ReplyHead::uri`](crate::ReplyHead)); none where there is none. Where the parameter stands there twice the last
/// one counts.
///
/// # Errors
/// It is there, but broken or over its limits.
pub fn metadata(uri: &[u8], limits: &Limits) -> Result<Metadata, InvalidMetadata> {
    let Some((_, value)) = parameters(uri).filter(|(name, _)| *name == PAIRS).last() else {
        return Ok(Metadata::new());
    };
    let broken = InvalidMetadata { rule: "metadata in the query is no base64", offset: 0 };
    let bytes = URL_SAFE_NO_PAD.decode(value).map_err(|_| broken)?;
    Metadata::from_bytes(bytes.into(), limits)
}

/// The HTTP headers that an adapter has put into the query of a URI, their names in lower case. Where the parameter stands
/// there twice the last one counts: it is the adapter's, the other one was in the request. What cannot be read is none.
#[must_use]
pub fn headers(uri: &[u8]) -> Metadata {
    let value = parameters(uri).filter(|(name, _)| *name == HTTP).last().map(|(_, value)| value);
    let read = |value| {
        let text = URL_SAFE_PADDED_OR_NOT.decode(value).ok()?;
        serde_json::from_slice::<BTreeMap<String, Vec<String>>>(&text).ok()
    };
    let headers = value.and_then(read).unwrap_or_default();
    let all = headers.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
    all.fold(Metadata::builder(), |all, (name, value)| all.with(&name.to_ascii_lowercase(), value)).build()
}

/// Whether an HTTP adapter has put headers into the query of a URI: the request came over HTTP.
pub(super) fn has_headers(uri: &[u8]) -> bool {
    parameters(uri).any(|(name, _)| name == HTTP)
}

/// Adapters write padding; one that does not is read, too.
const URL_SAFE_PADDED_OR_NOT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The URI without the parameters that are the wire's own between Trunkline peers.
#[must_use]
pub fn bare(uri: &[u8]) -> Cow<'_, [u8]> {
    if !parameters(uri).any(|(name, _)| is_own(name)) {
        return Cow::Borrowed(uri);
    }
    let mut bare = without_query(uri).to_vec();
    let mut between = b'?';
    for (name, value) in parameters(uri).filter(|(name, _)| !is_own(name)) {
        bare.push(between);
        bare.extend_from_slice(name);
        if !value.is_empty() {
            bare.push(b'=');
            bare.extend_from_slice(value);
        }
        between = b'&';
    }
    Cow::Owned(bare)
}

fn is_own(name: &[u8]) -> bool {
    name == PAIRS || name == EMPTY
}

/// Says in the query that the data stands for none.
pub(crate) fn mark_empty(uri: &mut Vec<u8>) {
    uri.push(if uri.contains(&b'?') { b'&' } else { b'?' });
    uri.extend_from_slice(EMPTY);
}

/// Whether the data of a frame with this URI stands for none.
pub(crate) fn is_empty(uri: &[u8]) -> bool {
    parameters(uri).any(|(name, _)| name == EMPTY)
}

/// The value of one parameter.
pub(crate) fn parameter<'a>(uri: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    parameters(uri).find_map(|(other, value)| (other == name).then_some(value))
}

/// Whether a byte has no business in a path: it ends it early, or shows as what it is not in a log.
pub(crate) fn is_control(byte: u8) -> bool {
    byte.is_ascii_control()
}

/// How much more of a body may be sent, where a notice says that: the channel, the number of the request on it as far as
/// 32 bits go, and the bytes.
pub(crate) fn more(uri: &[u8]) -> Option<(u32, u32, usize)> {
    let text = std::str::from_utf8(parameter(uri, MORE)?).ok()?;
    let mut parts = text.split('.');
    let more = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some(more)
}

/// The notice that says so.
pub(crate) fn say_more(channel: u32, number: u32, bytes: usize) -> String {
    format!("/sys/trunkline?more={channel}.{number}.{bytes}")
}

/// The query that carries these pairs between Trunkline peers, with its `?`; empty where there are none.
pub(crate) fn query_of(pairs: &[u8]) -> Vec<u8> {
    let mut query = Vec::new();
    if !pairs.is_empty() {
        append(&mut query, PAIRS, &URL_SAFE_NO_PAD.encode(pairs));
    }
    query
}

fn append(uri: &mut Vec<u8>, name: &[u8], value: &str) {
    uri.push(if uri.contains(&b'?') { b'&' } else { b'?' });
    uri.extend_from_slice(name);
    uri.push(b'=');
    uri.extend_from_slice(value.as_bytes());
}

/// The parts of a call's path, with the query that its method may have where it has no service.
///
/// # Errors
/// The names make no path that the server would read as the same names.
pub(crate) fn of_call<'a>(call: &CallFrame<'a>, limits: &Limits) -> Result<[&'a [u8]; 4], WireError> {
    let (service, method) = (call.service.as_bytes(), call.method.as_bytes());
    if service.iter().chain(method).any(|byte| is_control(*byte)) {
        return Err(unsupported("a name with a control character"));
    }
    if service.is_empty() {
        if !method.starts_with(b"/") {
            return Err(unsupported("a path that does not begin with a slash"));
        }
        if parameters(method).any(|(name, _)| is_own(name)) {
            return Err(unsupported("a query with a parameter that is the wire's own"));
        }
        check_path(method, limits)?;
        return Ok([&[], &[], &[], method]);
    }
    if method.is_empty() || service.iter().chain(method).any(|byte| matches!(byte, b'/' | b'?')) {
        return Err(unsupported("a name that makes no path of two segments"));
    }
    let length = service.len().saturating_add(method.len()).saturating_add(2);
    let most = limits.names.min(MOST_PATH);
    if length > most {
        return Err(too_large("path", length, most, "names"));
    }
    Ok([b"/", service, b"/", method])
}

/// Adds metadata to the path of a call, in the way that the server understands.
///
/// # Errors
/// It is over its limits, or a query has headers already.
pub(crate) fn add_metadata(
    uri: &mut Vec<u8>,
    metadata: Pairs<'_>,
    extra: &[(String, String)],
    trunkline: bool,
    limits: &Limits,
) -> Result<(), WireError> {
    if trunkline {
        let mut pairs = Vec::new();
        extra.iter().for_each(|(key, value)| append_pair(&mut pairs, key.as_bytes(), value.as_bytes()));
        pairs.extend_from_slice(metadata.as_bytes());
        if Pairs::parse(&pairs, limits).is_err() {
            return Err(too_large("metadata", pairs.len(), limits.metadata, "metadata"));
        }
        if !pairs.is_empty() {
            append(uri, PAIRS, &URL_SAFE_NO_PAD.encode(&pairs));
        }
        // What is too long for the server would end the connection for all; the mark of an empty body may follow.
        return check_length(uri.len().saturating_add(EMPTY_QUERY.len()), limits);
    }
    // The time that is left and the like mean nothing to others, and what Trunkline peers say among themselves is not for
    // them.
    let mut said = metadata.iter().filter(|(key, _)| !key.starts_with(PAIRS)).peekable();
    if said.peek().is_none() {
        return Ok(());
    }
    if parameter(uri, HTTP).is_some() {
        return Err(unsupported("metadata beside a query that has headers"));
    }
    let mut headers = BTreeMap::<_, Vec<_>>::new();
    for (key, value) in said {
        headers.entry(String::from_utf8_lossy(key)).or_default().push(String::from_utf8_lossy(value));
    }
    let text = serde_json::to_vec(&headers).unwrap_or_default();
    append(uri, HTTP, &URL_SAFE.encode(text));
    check_path(uri, limits).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_segments_are_names_and_all_else_is_a_path() {
        let two: [(&str, (&str, &str)); 11] = [
            ("/sys/server_count", ("", "/sys/server_count")),
            ("/Arith/Mul", ("Arith", "Mul")),
            ("/echo", ("", "/echo")),
            ("/a/b/c", ("", "/a/b/c")),
            ("//b", ("", "//b")),
            ("/a/", ("", "/a/")),
            ("/a//b", ("", "/a//b")),
            ("/", ("", "/")),
            ("a/b", ("", "a/b")),
            ("/a%2fb", ("", "/a%2fb")),
            ("/a%00/b", ("a%00", "b")),
        ];
        for (path, (service, method)) in two {
            assert_eq!(names(path.as_bytes()), (service.as_bytes(), method.as_bytes()), "{path}");
        }
    }

    #[test]
    fn metadata_travels_in_the_query_and_leaves_no_trace() {
        let limits = Limits::default();
        let pairs = Metadata::builder().with("tenant", "größer").with_bytes(b"\0", b"\xff").build();
        for path in ["/echo", "/echo?a=b", "/echo?a=b&&c"] {
            let mut uri = path.as_bytes().to_vec();
            let extra = [("k".to_owned(), "v".to_owned())];
            add_metadata(&mut uri, pairs.pairs(), &extra, true, &limits).unwrap();
            let read = metadata(&uri, &limits).unwrap();
            assert_eq!(read, Metadata::builder().with("k", "v").with_all(pairs.pairs()).build());
            assert_eq!(bare(&uri), path.replace("&&", "&").as_bytes());
        }
        assert_eq!(metadata(b"/echo?__trunkline=%", &limits).unwrap_err().offset, 0);
        assert!(metadata(b"/echo?x", &limits).unwrap().is_empty());
    }

    /// The form of the HTTP adapter: URL-safe, padded, not percent-escaped.
    #[test]
    fn others_get_metadata_as_http_headers() {
        let limits = Limits::default();
        let pairs: Metadata = [("X-Test", "a+b/c"), ("X-Test", "2")].into_iter().collect();
        let mut uri = b"/query?key=x".to_vec();
        let extra = [("time".to_owned(), "1".to_owned())];
        add_metadata(&mut uri, pairs.pairs(), &extra, false, &limits).unwrap();
        let value = uri.strip_prefix(b"/query?key=x&__http_hdr__=").unwrap();
        assert_eq!(URL_SAFE.decode(value).unwrap(), br#"{"X-Test":["a+b/c","2"]}"#);
        let read: Metadata = [("x-test", "a+b/c"), ("x-test", "2")].into_iter().collect();
        assert_eq!(headers(&uri), read);
        assert_eq!(
            headers(b"/query?__http_hdr__=eyJhIjpbIjEiXX0="),
            headers(b"/query?__http_hdr__=eyJhIjpbIjEiXX0")
        );
        assert!(headers(b"/query?__http_hdr__=%").is_empty() && headers(b"/query").is_empty());
        assert!(add_metadata(&mut uri, pairs.pairs(), &[], false, &limits).is_err());
        let own: Metadata = [("__trunkline_stream", "new")].into_iter().collect();
        for ours in [Pairs::empty(), own.pairs()] {
            let mut plain = b"/query".to_vec();
            add_metadata(&mut plain, ours, &extra, false, &limits).unwrap();
            assert_eq!(plain, b"/query");
        }
    }
}
