//! What the head of a request may look like, checked on its raw bytes before anything interprets it.
//!
//! Whoever reads a request differently from a proxy before it can be made to see requests that nobody checked.
//! So everything that two readers may take differently is refused here, and what is left has one meaning.

/// The most bytes of a head.
pub(super) const MAX_HEAD: usize = 64 << 10;
/// The most header lines of a head.
pub(super) const MAX_HEADERS: usize = 100;

/// Why a request is refused and its connection closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The HTTP status that says so.
    pub(super) status: u16,
    /// The rule that was broken.
    pub(super) rule: &'static str,
    /// Where: in bytes from the beginning of what was looked at; once the gate has it, of the connection.
    pub(super) at: u64,
}

impl Refusal {
    /// A refusal of what is looked at, from its first byte on.
    pub(super) fn new(status: u16, rule: &'static str) -> Self {
        Self { status, rule, at: 0 }
    }

    /// The same, so many bytes further on.
    pub(super) fn further(self, bytes: usize) -> Self {
        Self { at: self.at.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX)), ..self }
    }
}

/// Refused as malformed.
pub(super) fn bad(rule: &'static str) -> Refusal {
    Refusal::new(400, rule)
}

/// How the end of a request's body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// By chunks.
    Chunked,
}

/// A head whose form has been checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) method: &'a [u8],
    pub(super) target: &'a [u8],
    /// HTTP/1.1, else HTTP/1.0.
    pub(super) is_1_1: bool,
    pub(super) framing: Framing,
    lines: &'a [u8],
}

impl<'a> Head<'a> {
    /// The value of the first header of this name, without the blanks around it.
    pub(super) fn header(&self, name: &str) -> Option<&'a [u8]> {
        fields(self.lines)
            .flatten()
            .find_map(|(n, value)| n.eq_ignore_ascii_case(name.as_bytes()).then_some(value))
    }

    /// Whether a header that is a list has this word in it.
    pub(super) fn has_word(&self, name: &str, word: &str) -> bool {
        fields(self.lines)
            .flatten()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
            .flat_map(|(_, value)| value.split(|byte| *byte == b','))
            .any(|item| item.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    }
}

/// Looks for the end of a head in bytes that come bit by bit, each of which is looked at once.
#[derive(Debug, Default)]
pub(super) struct HeadScan {
    seen: usize,
    line: usize,
    lines: usize,
}

impl HeadScan {
    /// The length of the head, once it is whole. `input` begins with the head and only grows between calls.
    ///
    /// # Errors
    /// A byte or a line end that no head may have, or a head over the limits.
    pub(super) fn find_end(&mut self, input: &[u8]) -> Result<Option<usize>, Refusal> {
        let mut last = self.seen.checked_sub(1).and_then(|index| input.get(index)).copied().unwrap_or(b'\n');
        for (index, &byte) in input.iter().enumerate().skip(self.seen) {
            if (last == b'\r') != (byte == b'\n') {
                return Err(bad("a line of the head does not end with CR LF").further(index));
            }
            if index >= MAX_HEAD {
                return Err(self.too_large().further(index));
            }
            if byte == b'\n' {
                if index == self.line.saturating_add(1) {
                    return Ok(Some(index.saturating_add(1)));
                }
                self.lines = self.lines.saturating_add(1);
                // The request line is one of them.
                if self.lines > MAX_HEADERS.saturating_add(1) {
                    return Err(Refusal::new(431, "the head has more than 100 headers").further(self.line));
                }
                self.line = index.saturating_add(1);
            } else if byte != b'\r' && is_control(byte) {
                return Err(bad("the head has a control character in it").further(index));
            }
            last = byte;
        }
        self.seen = input.len();
        Ok(None)
    }

    fn too_large(&self) -> Refusal {
        match self.lines {
            0 => Refusal::new(414, "the request line is over 64 KiB"),
            _ => Refusal::new(431, "the head is over 64 KiB"),
        }
    }
}

/// Reads a whole head, with the empty line at its end.
///
/// # Errors
/// What readers may take differently: see the module's documentation.
pub(super) fn check(head: &[u8]) -> Result<Head<'_>, Refusal> {
    let (request_line, lines) = split_line(head).ok_or(bad("the head has no request line"))?;
    let (method, target, is_1_1) = request_line_parts(request_line)?;
    let mut length = None;
    let mut chunked = false;
    let mut has_host = false;
    let mut at = request_line.len().saturating_add(2);
    let mut rest = lines;
    while let Some((line, behind)) = split_line(rest).filter(|(line, _)| !line.is_empty()) {
        let refuse = |rule| bad(rule).further(at);
        let (name, value) = field(line).map_err(|refusal| refusal.further(at))?;
        if name.eq_ignore_ascii_case(b"content-length") {
            let this = content_length(value).ok_or(refuse("the Content-Length is not a number"))?;
            if length.is_some_and(|other| other != this) {
                return Err(refuse("there are two different Content-Lengths"));
            }
            length = Some(this);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(refuse("the Transfer-Encoding is not chunked"));
            }
            chunked = true;
        } else if name.eq_ignore_ascii_case(b"host") {
            if has_host {
                return Err(refuse("there are two Host headers"));
            }
            has_host = true;
        }
        at = at.saturating_add(line.len()).saturating_add(2);
        rest = behind;
    }
    let framing = match (length, chunked) {
        (Some(_), true) => return Err(bad("a Content-Length stands beside a Transfer-Encoding")),
        (None, true) if !is_1_1 => return Err(bad("HTTP/1.0 has no Transfer-Encoding")),
        (None, true) => Framing::Chunked,
        (length, false) => Framing::Length(length.unwrap_or(0)),
    };
    Ok(Head { method, target, is_1_1, framing, lines })
}

fn request_line_parts(line: &[u8]) -> Result<(&[u8], &[u8], bool), Refusal> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(bad("the request line is not METHOD TARGET VERSION"));
    };
    let is_1_1 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ => return Err(bad("the version is not HTTP/1.0 or HTTP/1.1")),
    };
    if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) || target.is_empty() {
        return Err(bad("the request line is not METHOD TARGET VERSION"));
    }
    if target.iter().any(|byte| byte.is_ascii_control()) {
        return Err(bad("the target has a control character in it"));
    }
    Ok((method, target, is_1_1))
}

/// The header lines up to the empty one.
fn fields(mut lines: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8]), Refusal>> {
    std::iter::from_fn(move || {
        let (line, rest) = split_line(lines)?;
        lines = rest;
        (!line.is_empty()).then(|| field(line))
    })
}

/// Reads one header line.
///
/// # Errors
/// It is folded, has a blank before its colon, a name that is none, or a control character.
pub(super) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    if line.first().is_some_and(|byte| is_blank(*byte)) {
        return Err(bad("a header is folded"));
    }
    let colon = line.iter().position(|byte| *byte == b':').ok_or(bad("a header has no colon"))?;
    let (name, value) = line.split_at(colon);
    if name.last().is_some_and(|byte| is_blank(*byte)) {
        return Err(bad("a blank stands before the colon of a header"));
    }
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
        return Err(bad("a header's name has a character that no name has"));
    }
    let value = value.get(1..).unwrap_or_default();
    if value.iter().any(|byte| is_control(*byte)) {
        return Err(bad("a header has a control character in it"));
    }
    Ok((name, value.trim_ascii()))
}

/// A line without its CR LF, and what follows.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    Some((bytes.get(..end)?, bytes.get(end.saturating_add(2)..)?))
}

fn content_length(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = if digits { std::str::from_utf8(value).ok() } else { None };
    text?.parse().ok()
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// What may not stand in a header's value.
pub(super) fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &str) -> Result<Framing, u16> {
        let mut scan = HeadScan::default();
        let end = scan.find_end(head.as_bytes()).map_err(|refusal| refusal.status)?;
        assert_eq!(end, Some(head.len()), "{head:?}");
        check(head.as_bytes()).map(|head| head.framing).map_err(|refusal| refusal.status)
    }

    #[test]
    fn framing_is_told_in_one_way() {
        let post = |headers: &str| read(&format!("POST /a/b HTTP/1.1\r\nHost: x\r\n{headers}\r\n"));
        assert_eq!(post(""), Ok(Framing::Length(0)));
        assert_eq!(post("Content-Length: 5\r\n"), Ok(Framing::Length(5)));
        assert_eq!(post("Content-Length: 5\r\ncontent-length:5\r\n"), Ok(Framing::Length(5)));
        assert_eq!(post("Transfer-Encoding: Chunked\r\n"), Ok(Framing::Chunked));
        assert_eq!(post("X-Content-Length: 5\r\n"), Ok(Framing::Length(0)));
        assert_eq!(post("Content-Length: 18446744073709551615\r\n"), Ok(Framing::Length(u64::MAX)));
        assert_eq!(post("Content-Length: 18446744073709551616\r\n"), Err(400));
    }

    #[test]
    fn a_head_may_come_byte_by_byte() {
        let head = b"GET / HTTP/1.1\r\nA: b\r\n\r\nrest";
        let mut scan = HeadScan::default();
        for length in 0..head.len() - 5 {
            assert_eq!(scan.find_end(&head[..length]), Ok(None));
        }
        assert_eq!(scan.find_end(head), Ok(Some(head.len() - 4)));
    }

    #[test]
    fn limits_are_exact() {
        let headers = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count));
        assert_eq!(read(&headers(MAX_HEADERS)), Ok(Framing::Length(0)));
        assert_eq!(read(&headers(MAX_HEADERS + 1)), Err(431));
        let long = |length: usize| {
            let fixed = "GET / HTTP/1.1\r\na: \r\n\r\n".len();
            format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(length - fixed))
        };
        assert_eq!(read(&long(MAX_HEAD)), Ok(Framing::Length(0)));
        assert_eq!(read(&long(MAX_HEAD + 1)), Err(431));
        assert_eq!(read(&"A".repeat(MAX_HEAD + 1)), Err(414));
    }

    #[test]
    fn a_refusal_says_where() {
        let at = |head: &str| {
            let found = HeadScan::default().find_end(head.as_bytes());
            found.map(drop).and_then(|()| check(head.as_bytes()).map(drop)).unwrap_err().at
        };
        assert_eq!(at("GET / HTTP/3\r\n\r\n"), 0);
        assert_eq!(at("GET / HTTP/1.1\r\nA: b\r\nX\0: y\r\n\r\n"), 23);
        assert_eq!(at("GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n"), 20);
        assert_eq!(at("GET / HTTP/1.1\r\nA: b\r\nHost : c\r\n\r\n"), 22);
        assert_eq!(at("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"), 35);
    }

    #[test]
    fn lists_of_words_are_searched() {
        let head = b"GET /_rpcx_ HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade:  WebSocket \r\n\r\n";
        let head = check(head).unwrap();
        assert!(head.has_word("connection", "upgrade") && head.has_word("upgrade", "websocket"));
        assert!(!head.has_word("connection", "close"));
        assert_eq!(head.header("UPGRADE"), Some(&b"WebSocket"[..]));
        assert!(head.is_1_1);
    }
}
