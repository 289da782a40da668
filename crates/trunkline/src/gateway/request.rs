//! What of a request goes on to its backend: the raw URI, with the headers in its query.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use percent_encoding::percent_decode_str;
use trunkline_wire::{Limits, iip};

/// The parameter that carries the headers.
const HEADERS: &str = "__http_hdr__";

/// What the parameters begin with that Trunkline peers use among themselves.
const OWN: &[u8] = b"__trunkline";

/// Room that the wire may need behind the query: how much time is left, and that a body is empty.
const ROOM: usize = 256;

/// Why a request does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadRequest {
    pub(super) http: StatusCode,
    pub(super) rule: &'static str,
}

fn bad(http: StatusCode, rule: &'static str) -> BadRequest {
    BadRequest { http, rule }
}

/// A request that may go on.
#[derive(Debug)]
pub(super) struct Forwarded {
    /// The host that it asks for, without the port, in lower case.
    pub(super) host: String,
    /// Path and query as they came, without what the wire itself puts into a query.
    pub(super) asked: String,
}

impl Forwarded {
    /// Looks at a request.
    ///
    /// # Errors
    /// Its path is none that a backend should see.
    pub(super) fn new(parts: &Parts) -> Result<Self, BadRequest> {
        let asked = parts.uri.path_and_query().map_or("/", |asked| asked.as_str());
        let path = asked.split('?').next().unwrap_or_default();
        if !path.starts_with('/') {
            return Err(bad(StatusCode::BAD_REQUEST, "the target has no path"));
        }
        if path.len() > iip::MOST_PATH || asked.len() > most_uri() {
            return Err(bad(StatusCode::URI_TOO_LONG, "the path, or its query, is too long"));
        }
        if percent_decode_str(path).any(|byte| byte.is_ascii_control()) {
            return Err(bad(StatusCode::BAD_REQUEST, "the path has a control character in it"));
        }
        if is_system(path) {
            return Err(bad(StatusCode::FORBIDDEN, "the paths of the system are not for callers over HTTP"));
        }
        Ok(Self { host: host(parts), asked: without_reserved(asked).into_owned() })
    }

    /// The path without its query.
    pub(super) fn path(&self) -> &str {
        self.asked.split('?').next().unwrap_or_default()
    }

    /// The path of the call: with the headers in its query.
    ///
    /// # Errors
    /// They do not fit there.
    pub(super) fn with_headers(&self, headers: &HeaderMap) -> Result<String, BadRequest> {
        let between = match self.asked.split_once('?') {
            None => "?",
            Some((_, "")) => "",
            Some(_) => "&",
        };
        let value = URL_SAFE.encode(serde_json::to_vec(&named(headers)).unwrap_or_default());
        let uri = format!("{}{between}{HEADERS}={value}", self.asked);
        if uri.len() > most_uri() {
            return Err(bad(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the headers are too long"));
        }
        Ok(uri)
    }
}

fn most_uri() -> usize {
    iip::most_uri(&Limits::default()).saturating_sub(ROOM)
}

/// The headers as Go's programs name them, each with its values in order; without what is said otherwise or only
/// between two neighbours.
fn named(headers: &HeaderMap) -> BTreeMap<String, Vec<Cow<'_, str>>> {
    let left_out = [header::HOST, header::TRANSFER_ENCODING, header::TRAILER];
    let mut all = BTreeMap::<_, Vec<_>>::new();
    for (name, value) in headers.iter().filter(|(name, _)| !left_out.contains(name)) {
        all.entry(canonical(name.as_str())).or_default().push(String::from_utf8_lossy(value.as_bytes()));
    }
    all
}

/// A name with its words begun by a capital letter.
fn canonical(name: &str) -> String {
    let mut begins = true;
    let word = |c: char| {
        let c = if begins { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
        begins = c == '-';
        c
    };
    name.chars().map(word).collect()
}

fn host(parts: &Parts) -> String {
    let header = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = parts.uri.authority().map(|authority| authority.as_str()).or(header).unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    };
    name.to_ascii_lowercase()
}

/// Whether a server could take a path for one of the system. Go's reads `//a/b` as the path `/b` of a host `a`, and
/// looks at the path decoded.
fn is_system(path: &str) -> bool {
    let behind_host = path.strip_prefix("//").map(|rest| rest.find('/').and_then(|at| rest.get(at..)));
    [Some(path), behind_host.flatten()].into_iter().flatten().any(|path| {
        let decoded: Vec<u8> = percent_decode_str(path).collect();
        decoded.starts_with(b"/sys/") || decoded == b"/sys"
    })
}

/// The target without the parameters that are the wire's own.
fn without_reserved(asked: &str) -> Cow<'_, str> {
    let Some((path, query)) = asked.split_once('?') else { return Cow::Borrowed(asked) };
    if !query.split('&').any(is_reserved) {
        return Cow::Borrowed(asked);
    }
    let rest: Vec<&str> = query.split('&').filter(|part| !is_reserved(part)).collect();
    Cow::Owned(if rest.is_empty() { path.to_owned() } else { format!("{path}?{}", rest.join("&")) })
}

/// Whether any reader would find one of the wire's parameters in this part of a query: some take a semicolon for a
/// border, too.
fn is_reserved(part: &str) -> bool {
    part.split(';').any(|pair| {
        let name = pair.split('=').next().unwrap_or_default().replace('+', " ");
        let name: Vec<u8> = percent_decode_str(&name).collect();
        // A second question mark is a part of the name to some, and none to others.
        let name = name.trim_ascii().strip_prefix(b"?").unwrap_or(name.trim_ascii());
        name == HEADERS.as_bytes() || name.starts_with(OWN)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn forwarded(target: &str) -> Result<Forwarded, u16> {
        let request = Request::get(target).header("Host", "Example.org:80").body(()).unwrap();
        Forwarded::new(&request.into_parts().0).map_err(|bad| bad.http.as_u16())
    }

    #[test]
    fn i3_control_characters_in_a_path_are_refused_however_they_are_written() {
        for target in
            ["/x%00%00%00%00%01%00%00%00%05HELLO%05/y", "/a%0a", "/a%0D%0Ab", "/%7f", "/a%1b[2J", "/%00"]
        {
            assert_eq!(forwarded(target).unwrap_err(), 400, "{target}");
        }
        // In a query they are data, and stay encoded; so does a percent sign that stands for itself.
        for target in ["/x?a=%00%0a", "/x%2500", "/x%2", "/%zz"] {
            assert_eq!(forwarded(target).unwrap().asked, target);
        }
    }

    #[test]
    fn i4_headers_cannot_be_forged_in_the_query() {
        for (target, left) in [
            ("/p?__http_hdr__=eyJhIjpbIjEiXX0=", "/p"),
            ("/p?a=1&__http_hdr__=x&b=2", "/p?a=1&b=2"),
            ("/p?__http%5fhdr__=x&b", "/p?b"),
            ("/p?%5F%5Fhttp_hdr%5f%5F=x", "/p"),
            ("/p?a;__http_hdr__=x", "/p"),
            ("/p??__http_hdr__=x", "/p"),
            ("/p?__http_hdr__", "/p"),
            ("/p?__trunkline=x&__trunkline_empty&c", "/p?c"),
            ("/p?__%74runkline=x", "/p"),
            ("/p?x__http_hdr__=1", "/p?x__http_hdr__=1"),
            ("/p?a=__http_hdr__=1", "/p?a=__http_hdr__=1"),
            ("/p?", "/p?"),
            ("/p?&&a", "/p?&&a"),
        ] {
            assert_eq!(forwarded(target).unwrap().asked, left, "{target}");
        }
    }

    #[test]
    fn i4_a_bare_question_mark_does_not_hide_the_headers() {
        let mut headers = HeaderMap::new();
        headers.insert("x-test", "1".parse().unwrap());
        for target in ["/p", "/p?", "/p?a", "/p?a=b&", "/p?__http_hdr__=x"] {
            let uri = forwarded(target).unwrap().with_headers(&headers).unwrap();
            let read = iip::headers(uri.as_bytes());
            assert_eq!(read.get("x-test"), Some("1"), "{target}: {uri}");
            assert_eq!(uri.matches(HEADERS).count(), 1, "{uri}");
        }
    }

    #[test]
    fn i5_what_does_not_fit_is_refused_by_its_own_status() {
        let mut headers = HeaderMap::new();
        headers.insert("cookie", "c".repeat(2048).parse().unwrap());
        assert!(forwarded("/p").unwrap().with_headers(&headers).is_ok(), "a usual cookie is no trouble");
        headers.insert("cookie", "c".repeat(30_000).parse().unwrap());
        let refused = forwarded("/p").unwrap().with_headers(&headers).unwrap_err();
        assert_eq!(refused.http.as_u16(), 431);
        assert_eq!(forwarded(&format!("/{}", "p".repeat(2047))).unwrap().asked.len(), 2048);
        assert_eq!(forwarded(&format!("/{}", "p".repeat(2048))).unwrap_err(), 414);
        assert_eq!(forwarded(&format!("/p?{}", "q".repeat(40_000))).unwrap_err(), 414);
    }

    #[test]
    fn i6_paths_of_the_system_are_refused_however_they_are_written() {
        for target in [
            "/sys/delete_channel",
            "/sys/new_channel?a",
            "/%73ys/statis",
            "/sys%2Fstatis",
            "//host/sys/new_channel",
            "//a:b@c/%73ys/new_channel",
            "/sys/",
            "/sys",
            "/sys/trunkline?cancel=1.1",
        ] {
            assert_eq!(forwarded(target).unwrap_err(), 403, "{target}");
        }
        for target in ["/system/x", "/a/sys/b", "/sysx", "/a?b=/sys/c", "//sys/a"] {
            assert!(forwarded(target).is_ok(), "{target}");
        }
    }

    #[test]
    fn hosts_have_no_port() {
        let host = |target: &str, header: &str| {
            let request = Request::get(target).header("Host", header).body(()).unwrap();
            Forwarded::new(&request.into_parts().0).unwrap().host
        };
        assert_eq!(host("/", "Example.org:80"), "example.org");
        assert_eq!(host("/", "127.0.0.1"), "127.0.0.1");
        assert_eq!(host("/", "[::1]:80"), "::1");
        assert_eq!(host("http://other.org:1/x", "example.org"), "other.org");
    }

    /// The recorded case `http-adapter` of Go's adapter: the same bytes but for what its client leaves out here.
    #[test]
    fn the_path_is_that_of_gos_adapter() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "127.0.0.1:38325"),
            ("user-agent", "Go-http-client/1.1"),
            ("connection", "close"),
            ("x-test", "a+b/c"),
            ("accept-encoding", "gzip"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let uri = forwarded("/query?key=x%20y").unwrap().with_headers(&headers).unwrap();
        let expected = "/query?key=x%20y&__http_hdr__=eyJBY2NlcHQtRW5jb2RpbmciOlsiZ3ppcCJdLCJDb25uZWN0aW9uIjpb\
                        ImNsb3NlIl0sIlVzZXItQWdlbnQiOlsiR28taHR0cC1jbGllbnQvMS4xIl0sIlgtVGVzdCI6WyJhK2IvYyJdfQ==";
        assert_eq!(uri, expected);
    }
}
