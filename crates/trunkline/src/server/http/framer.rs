//! Finds where requests begin and end in the bytes of a connection, and lets only checked ones pass.
//!
//! hyper reads what is let through and finds the same ends, since what could be read in two ways is refused here.
//! Bytes in, steps out: no I/O, no clock.

use base64::Engine;

use super::head::{self, Framing, Head, HeadScan, Refusal, bad};

/// The longest line that says a chunk's size, extensions included.
const CHUNK_LINE: usize = 256;
/// The most bytes of the head of a CONNECT, which is looked at again with each piece that comes.
const CONNECT_HEAD: usize = 4 << 10;
/// The most bytes of trailers.
const TRAILERS: usize = 8 << 10;

/// What is to be done with the bytes at hand.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// So many bytes may be read by hyper.
    Pass(usize),
    /// More bytes have to come first.
    NeedMore,
    /// From here on the connection is not HTTP any more: the length of the head, and what it asks for.
    Leave(usize, Handover),
}

/// What a head asks for that takes the connection away from HTTP.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Handover {
    /// `CONNECT` of this path.
    Connect(Vec<u8>),
    /// A WebSocket on `/_rpcx_`, with this key.
    WebSocket(Vec<u8>),
}

/// Where in a connection's stream of requests the next byte stands.
#[derive(Debug)]
pub(super) struct Framer {
    state: State,
    /// An empty line was passed over before the request line that comes.
    passed_empty_line: bool,
    /// How many heads were passed.
    heads: u64,
}

#[derive(Debug)]
enum State {
    Head(HeadScan),
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    /// So many bytes of trailers have come.
    Trailers(usize),
}

impl Default for Framer {
    fn default() -> Self {
        Self { state: State::Head(HeadScan::default()), passed_empty_line: false, heads: 0 }
    }
}

impl Framer {
    /// Whether the next byte is the first of a head or within one.
    pub(super) fn is_at_head(&self) -> bool {
        matches!(self.state, State::Head(_))
    }

    /// How many requests were begun to be passed.
    pub(super) fn heads(&self) -> u64 {
        self.heads
    }

    /// Looks at the bytes that have not been passed yet. After [`Step::NeedMore`] the same bytes come again with
    /// more behind them.
    ///
    /// # Errors
    /// The request is refused; nothing more is to be passed.
    pub(super) fn step(&mut self, input: &[u8]) -> Result<Step, Refusal> {
        if input.is_empty() {
            return Ok(Step::NeedMore);
        }
        match &mut self.state {
            State::Head(_) => self.head(input),
            State::Length(left) | State::ChunkData(left) => {
                let passed = u64::try_from(input.len()).unwrap_or(u64::MAX).min(*left);
                *left = left.saturating_sub(passed);
                if *left == 0 {
                    self.state = match self.state {
                        State::ChunkData(_) => State::ChunkEnd,
                        _ => State::Head(HeadScan::default()),
                    };
                }
                Ok(Step::Pass(usize::try_from(passed).unwrap_or(usize::MAX)))
            }
            State::ChunkSize => {
                let Some((line, length)) = line(input, CHUNK_LINE)? else { return Ok(Step::NeedMore) };
                self.state = match chunk_size(line)? {
                    0 => State::Trailers(0),
                    size => State::ChunkData(size),
                };
                Ok(Step::Pass(length))
            }
            State::ChunkEnd => {
                let Some((line, length)) = line(input, 0)? else { return Ok(Step::NeedMore) };
                debug_assert!(line.is_empty());
                self.state = State::ChunkSize;
                Ok(Step::Pass(length))
            }
            State::Trailers(before) => {
                let Some((line, length)) = line(input, TRAILERS.saturating_sub(*before))? else {
                    return Ok(Step::NeedMore);
                };
                if line.is_empty() {
                    self.state = State::Head(HeadScan::default());
                } else {
                    head::field(line)?;
                    *before = before.saturating_add(length);
                }
                Ok(Step::Pass(length))
            }
        }
    }

    fn head(&mut self, input: &[u8]) -> Result<Step, Refusal> {
        const CONNECT: &[u8] = b"CONNECT ";
        if input.starts_with(b"\r\n") && !self.passed_empty_line {
            // Some clients send one empty line too many after a body.
            self.passed_empty_line = true;
            return Ok(Step::Pass(2));
        }
        if input == b"\r" || CONNECT.starts_with(input) {
            return Ok(Step::NeedMore);
        }
        if input.starts_with(CONNECT) {
            return connect(input);
        }
        let State::Head(scan) = &mut self.state else { return Ok(Step::NeedMore) };
        let Some(length) = scan.find_end(input)? else { return Ok(Step::NeedMore) };
        let head = head::check(input.get(..length).unwrap_or_default())?;
        if let Some(key) = web_socket_key(&head) {
            return Ok(Step::Leave(length, Handover::WebSocket(key)));
        }
        self.passed_empty_line = false;
        self.heads = self.heads.saturating_add(1);
        self.state = match head.framing {
            Framing::Length(0) => State::Head(HeadScan::default()),
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
        };
        Ok(Step::Pass(length))
    }
}

/// Go's clients send the CONNECT with bare line feeds and no headers; others with carriage returns.
fn connect(input: &[u8]) -> Result<Step, Refusal> {
    let begun = input.get(..CONNECT_HEAD).unwrap_or(input);
    let ends = [&b"\n\n"[..], b"\n\r\n"].map(|end| {
        let at = begun.windows(end.len()).position(|bytes| bytes == end)?;
        Some(at.saturating_add(end.len()))
    });
    let Some(length) = ends.into_iter().flatten().min() else {
        return match input.len() {
            0..CONNECT_HEAD => Ok(Step::NeedMore),
            _ => Err(Refusal::new(431, "the head of a CONNECT is over 4 KiB").further(CONNECT_HEAD)),
        };
    };
    let head = input.get(..length).unwrap_or_default();
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    let mut parts = line.split(|byte| *byte == b' ');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(_), Some(path), Some(b"HTTP/1.0" | b"HTTP/1.1"), None) => {
            Ok(Step::Leave(length, Handover::Connect(path.to_vec())))
        }
        _ => Err(bad("the request line is not METHOD TARGET VERSION")),
    }
}

/// The key, where the head asks for a WebSocket on rpcx's path and does so by the rules. What asks otherwise is
/// answered as a usual request.
fn web_socket_key(head: &Head<'_>) -> Option<Vec<u8>> {
    let path = head.target.split(|byte| *byte == b'?').next()?;
    let asks = head.method == b"GET"
        && head.is_1_1
        && path == b"/_rpcx_"
        && head.framing == Framing::Length(0)
        && head.has_word("upgrade", "websocket")
        && head.has_word("connection", "upgrade")
        && head.header("sec-websocket-version") == Some(b"13");
    let key = head.header("sec-websocket-key").filter(|_| asks)?;
    let nonce = base64::engine::general_purpose::STANDARD.decode(key).ok()?;
    (nonce.len() == 16).then(|| key.to_vec())
}

/// A line of at most `limit` bytes without its CR LF, and its length with them.
fn line(input: &[u8], limit: usize) -> Result<Option<(&[u8], usize)>, Refusal> {
    let Some(feed) = input.iter().take(limit.saturating_add(2)).position(|byte| *byte == b'\n') else {
        return match input.len() > limit.saturating_add(1) {
            true => Err(bad("a line of the chunked body is too long")),
            false => Ok(None),
        };
    };
    let line = input.get(..feed).and_then(|line| line.strip_suffix(b"\r"));
    let line = line.filter(|line| !line.iter().any(|byte| head::is_control(*byte)));
    let line = line.ok_or(bad("a line of the chunked body does not end with CR LF"))?;
    Ok(Some((line, feed.saturating_add(1))))
}

fn chunk_size(line: &[u8]) -> Result<u64, Refusal> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let hex = (1..=16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let text = if hex { std::str::from_utf8(digits).ok() } else { None };
    text.and_then(|text| u64::from_str_radix(text, 16).ok()).ok_or(bad("a chunk's size is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that is passed of a stream that comes in pieces, and how it ends.
    fn run(stream: &[u8], piece: usize) -> (Vec<u8>, Result<Step, u16>) {
        let mut framer = Framer::default();
        let mut passed = Vec::new();
        let (mut from, mut to) = (0, 0);
        loop {
            match framer.step(&stream[from..to]) {
                Ok(Step::Pass(length)) => {
                    passed.extend_from_slice(&stream[from..from + length]);
                    from += length;
                }
                Ok(Step::NeedMore) if to < stream.len() => to = (to + piece).min(stream.len()),
                Ok(step) => return (passed, Ok(step)),
                Err(refusal) => return (passed, Err(refusal.status)),
            }
        }
    }

    #[test]
    fn whole_requests_pass_at_every_segmentation() {
        let stream = b"POST /A/B HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc\
            \r\nPOST /A/B HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
            3;a=b\r\nabc\r\n0A\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\nGET / HTTP/1.0\r\n\r\n";
        for piece in 1..stream.len() {
            let (passed, end) = run(stream, piece);
            assert_eq!(end, Ok(Step::NeedMore), "{piece}");
            assert_eq!(passed.as_slice(), stream, "{piece}");
        }
    }

    #[test]
    fn nothing_of_a_refused_request_passes() {
        let first = "GET / HTTP/1.1\r\n\r\n";
        for second in [
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET / HTTP/1.1\n\n",
            "GET / HTTP/1.1\r\nA\0: b\r\n\r\n",
            "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        ] {
            let (passed, end) = run(format!("{first}{second}").as_bytes(), 7);
            assert_eq!(end, Err(400), "{second:?}");
            assert!(passed.starts_with(first.as_bytes()) && passed.len() <= first.len() + 2, "{second:?}");
        }
    }

    #[test]
    fn chunks_have_one_meaning() {
        let head = "POST /A/B HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        for body in [
            "g\r\n",
            "\r\n",
            "-1\r\n",
            "0x3\r\nabc\r\n",
            "3\nabc\r\n",
            "3\r\nabcd\r\n",
            "3\r\nabc\n",
            " 3\r\n",
            "00000000000000003\r\n",
            "3 \r\n",
            "3;\0\r\n",
            "0\r\nX : y\r\n\r\n",
            "0\r\n y\r\n\r\n",
            "3\rabc",
        ] {
            let (_, end) = run(format!("{head}{body}{}", "z".repeat(300)).as_bytes(), 1000);
            assert_eq!(end, Err(400), "{body:?}");
        }
    }

    #[test]
    fn a_connect_leaves_with_the_bytes_behind_it() {
        for (head, path) in [
            ("CONNECT /_goRPC_ HTTP/1.0\n\n", "/_goRPC_"),
            ("CONNECT /_rpcx_ HTTP/1.0\r\nHost: x\r\n\r\n", "/_rpcx_"),
        ] {
            for piece in [1, 5, 1000] {
                let (passed, end) = run(format!("{head}\x08rest").as_bytes(), piece);
                assert_eq!(end, Ok(Step::Leave(head.len(), Handover::Connect(path.into()))));
                assert!(passed.is_empty());
            }
        }
        assert_eq!(run(b"CONNECT / HTTP/1.0 x\n\n", 3).1, Err(400));
    }

    #[test]
    fn a_web_socket_leaves_only_by_the_rules() {
        let ask = |key: &str, version: &str, path: &str| {
            format!(
                "GET {path} HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: {version}\r\n\r\n"
            )
        };
        let key = "IMlAD8RNU0bGdYHGX5M23A==";
        let good = ask(key, "13", "/_rpcx_");
        assert_eq!(run(good.as_bytes(), 9).1, Ok(Step::Leave(good.len(), Handover::WebSocket(key.into()))));
        for other in [ask("x", "13", "/_rpcx_"), ask(key, "8", "/_rpcx_"), ask(key, "13", "/other")] {
            assert_eq!(run(other.as_bytes(), 9), (other.clone().into_bytes(), Ok(Step::NeedMore)));
        }
    }

    proptest::proptest! {
        /// Whatever comes, in whatever pieces: the same passes, and it ends in the same way.
        #[test]
        fn pieces_make_no_difference(parts in proptest::collection::vec(part(), 0..12), piece in 1usize..40) {
            let stream = parts.concat();
            let whole = run(&stream, usize::MAX >> 1);
            proptest::prop_assert_eq!(run(&stream, piece), whole);
        }
    }

    /// What requests are made of, and garbage.
    fn part() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
        use proptest::prelude::*;
        const KNOWN: &[&str] = &[
            "POST /A/B HTTP/1.1\r\n",
            "GET / HTTP/1.0\r\n",
            "Content-Length: 3\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Host: x\r\n",
            "\r\n",
            "\r",
            "\n",
            "3\r\nabc\r\n",
            "0\r\n",
            "abc",
            "A: b\r\n",
            " fold\r\n",
            "CONNECT /_rpcx_ HTTP/1.0\n\n",
            "POST /A/B HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
            "POST /A/B HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        ];
        prop_oneof![
            6 => proptest::sample::select(KNOWN).prop_map(|text| text.as_bytes().to_vec()),
            1 => proptest::collection::vec(any::<u8>(), 0..20),
        ]
    }
}
