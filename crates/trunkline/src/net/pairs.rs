//! Metadata as HTTP carries it: one header of URL-encoded pairs, both ways, and the names of a path.

use http::{HeaderMap, HeaderName, header};
use trunkline_wire::{Limits, Pairs};

use crate::metadata::{AUTH, TRACEPARENT, TRACESTATE, is_reserved};
use crate::{Code, Metadata, Result, Status};

/// The header of the metadata.
pub(crate) const META: HeaderName = HeaderName::from_static("x-rpcx-meta");

/// The metadata of a request: the pairs in the header `name`, the token from `Authorization`, and the trace from
/// `traceparent` and `tracestate`. Reserved keys are left out of the pairs: only the gateway itself sets them. A trace
/// in the pairs gives way to one in headers of its own, which whatever stands between writes anew.
///
/// # Errors
/// The header cannot be decoded, a key or a value has a line end or NUL in it, or there is more than the limits
/// allow.
pub(crate) fn read(headers: &HeaderMap, name: &HeaderName, limits: &Limits) -> Result<Metadata> {
    let invalid = |why: &str| Status::new(Code::InvalidInput, format!("{name}: {why}")).not_begun();
    let mut builder = Metadata::builder();
    let mut seen: Vec<Vec<u8>> = Vec::new();
    for (key, value) in [(TRACEPARENT, one(headers, TRACEPARENT)), (TRACESTATE, list(headers, TRACESTATE))] {
        if !value.is_empty() {
            builder = builder.with_bytes(key.as_bytes(), &value);
            seen.push(key.as_bytes().to_vec());
        }
    }
    let text = headers.get(name).map(|value| value.as_bytes()).unwrap_or_default();
    for pair in text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        if seen.len() >= limits.metadata_pairs {
            return Err(invalid("there are more pairs than the limit allows"));
        }
        let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (key, value) = pair.split_at(equals);
        let decode = |text| decode(text, true).ok_or_else(|| invalid("a pair is not URL-encoded"));
        let (key, value) = (decode(key)?, decode(value.get(1..).unwrap_or_default())?);
        if key.iter().chain(&value).any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return Err(invalid("a key or a value has a line end or NUL in it"));
        }
        // Of several values the first counts, as at the Go servers.
        if !is_reserved(&key) && !seen.contains(&key) {
            builder = builder.with_bytes(&key, &value);
        }
        seen.push(key);
    }
    let token = one(headers, header::AUTHORIZATION.as_str());
    if !token.is_empty() {
        builder = builder.with_bytes(AUTH.as_bytes(), &token);
    }
    let metadata = builder.build();
    match Pairs::parse(metadata.pairs().as_bytes(), limits) {
        Ok(_) => Ok(metadata),
        Err(error) => Err(invalid(error.rule)),
    }
}

/// The value of a header that may come once; of several nobody can say which is meant.
fn one(headers: &HeaderMap, name: &str) -> Vec<u8> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.as_bytes().to_vec(),
        _ => Vec::new(),
    }
}

/// The value of a header that is a list, which may come in parts.
fn list(headers: &HeaderMap, name: &str) -> Vec<u8> {
    let values: Vec<&[u8]> = headers.get_all(name).iter().map(|value| value.as_bytes()).collect();
    values.join(&b","[..])
}

/// Metadata as a header's value: pairs in the order of their keys.
pub(crate) fn write(metadata: &Metadata) -> String {
    let mut pairs: Vec<_> = metadata.iter().collect();
    pairs.sort();
    let mut text = String::new();
    for (key, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        encode(key, true, &mut text);
        text.push('=');
        encode(value, true, &mut text);
    }
    text
}

/// Encodes what is no letter, digit or one of `-_.~` as `%41`, in a query the blank as `+`.
pub(crate) fn encode(bytes: &[u8], query: bool, text: &mut String) {
    for &byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                text.push(char::from(byte));
            }
            b' ' if query => text.push('+'),
            _ => {
                text.push('%');
                for digit in [byte >> 4, byte & 15] {
                    let digit = char::from_digit(u32::from(digit), 16).unwrap_or('0');
                    text.push(digit.to_ascii_uppercase());
                }
            }
        }
    }
}

/// Decodes `%41`, and in a query `+`; `None` where an escape is cut or no number.
pub(crate) fn decode(text: &[u8], query: bool) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(*rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            b'+' if query => b' ',
            other => other,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8]) -> Result<Metadata> {
        let mut headers = HeaderMap::new();
        headers.insert(META, http::HeaderValue::from_bytes(text).unwrap());
        read(&headers, &META, &Limits::default())
    }

    #[test]
    fn pairs_go_both_ways_as_go_writes_them() {
        let metadata = parse(b"m=%C3%B6&k=v+w&&e=&k=second&n").unwrap();
        let pairs: Vec<_> = metadata.iter().collect();
        let expected: [(&[u8], &[u8]); 4] =
            [(b"m", "ö".as_bytes()), (b"k", b"v w"), (b"e", b""), (b"n", b"")];
        assert_eq!(pairs, expected);
        assert_eq!(write(&metadata), "e=&k=v+w&m=%C3%B6&n=");
        assert_eq!(write(&Metadata::builder().with("a&b", "c=d\n").build()), "a%26b=c%3Dd%0A");
    }

    /// E16: easymicro takes every key, also those that its server trusts.
    #[test]
    fn e16_reserved_keys_are_left_out() {
        let metadata =
            parse(b"__AUTH=admin&__ServerTimeout=1&__trunkline_code=1&__rpcx_error__=x&a=b").unwrap();
        assert_eq!(metadata.iter().count(), 1);
        assert_eq!(metadata.get("a"), Some("b"));
    }

    #[test]
    fn the_headers_of_a_trace_become_metadata() {
        let read = |lines: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, value.parse().unwrap());
            }
            super::read(&headers, &META, &Limits::default()).map(|metadata| write(&metadata))
        };
        let all =
            [("tracestate", "a=1"), ("traceparent", "00-x"), ("tracestate", "b=2"), ("x-rpcx-meta", "k=v")];
        assert_eq!(read(&all).unwrap(), "k=v&traceparent=00-x&tracestate=a%3D1%2Cb%3D2");
        let both = [("x-rpcx-meta", "traceparent=01-y&tracestate=c"), ("traceparent", "00-x")];
        assert_eq!(read(&both).unwrap(), "traceparent=00-x&tracestate=c");
        assert_eq!(read(&both[..1]).unwrap(), "traceparent=01-y&tracestate=c");
        // Two are none.
        assert_eq!(read(&[("traceparent", "00-x"), ("traceparent", "00-y")]).unwrap(), "");
        let long = "x".repeat(17 << 10);
        assert_eq!(read(&[("tracestate", &long)]).unwrap_err().code(), Code::InvalidInput);
    }

    #[test]
    fn line_ends_and_broken_escapes_are_refused() {
        for text in [&b"a=b%0d%0aX: y"[..], b"a%0A=b", b"a=%00", b"%0d=", b"a=%4", b"a=%", b"a=%zz", b"a=%+1"]
        {
            assert_eq!(parse(text).unwrap_err().code(), Code::InvalidInput, "{text:?}");
        }
        let many = (0..129).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join("&");
        assert!(parse(many.as_bytes()).is_err());
        assert!(parse(format!("a={}", "b".repeat(17 << 10)).as_bytes()).is_err());
    }
}
