//! HTTP/1.1 as the load tool drives it: requests of one head, answers in their order.

use std::collections::VecDeque;
use std::io::Write as _;

use http::StatusCode;
use serde::Deserialize;

use super::exchange::{Exchange, Heard, encoded, message};
use super::plan::Target;
use crate::endpoint::REPLY_LIMIT;

/// Headers of an answer, at most.
const MOST_HEADERS: usize = 100;
/// The head of an answer, at most, in bytes.
const LONGEST_HEAD: usize = 64 << 10;

/// The client's side of a connection.
pub(super) struct Http {
    /// The calls that wait, in the order of their requests.
    waiting: VecDeque<u64>,
    /// The peer closes the connection after this answer; and that was said.
    closing: bool,
    told: bool,
}

/// Where the body of an answer ends.
enum Length {
    /// After so many bytes.
    Known(usize),
    Chunked,
    /// With the connection.
    Open,
}

/// What the head of an answer says.
struct Head {
    status: u16,
    /// How many bytes it has.
    length: usize,
    body: Length,
    closing: bool,
    /// The header that tells a failed call of rpcx's form.
    rpcx_failure: bool,
}

impl Exchange for Http {
    fn new(_: &Target) -> Self {
        Self { waiting: VecDeque::new(), closing: false, told: false }
    }

    fn greet(&mut self, _: &mut Vec<u8>) {}

    fn call(&mut self, target: &Target, id: u64, body: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        out.extend_from_slice(&target.head);
        // Writing to memory cannot fail.
        let _ = write!(out, "content-length: {}\r\n\r\n", body.len());
        out.extend_from_slice(body);
        self.waiting.push_back(id);
        Ok(())
    }

    fn prepare(target: &Target, body: &[u8]) -> Result<Vec<u8>, String> {
        encoded::<Self>(target, body)
    }

    fn repeat(&mut self, _: &Target, id: u64, call: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        out.extend_from_slice(call);
        self.waiting.push_back(id);
        Ok(())
    }

    fn receive(&mut self, input: &[u8], _: &mut Vec<u8>) -> Result<(usize, Heard), String> {
        if self.closing {
            let told = std::mem::replace(&mut self.told, true);
            return Ok((input.len(), if told { Heard::NeedMore(0) } else { Heard::Draining }));
        }
        let Some(head) = head(input)? else { return Ok((0, Heard::NeedMore(0))) };
        if head.status < 200 {
            return Ok((head.length, Heard::Nothing));
        }
        let rest = input.get(head.length..).unwrap_or_default();
        let (length, body) = match head.body {
            Length::Known(length) => match rest.get(..length) {
                Some(body) => (length, body),
                None => return Ok((0, Heard::NeedMore(head.length + length))),
            },
            Length::Chunked => match chunks(rest)? {
                Some(length) => (length, rest.get(..length).unwrap_or_default()),
                None => return Ok((0, Heard::NeedMore(0))),
            },
            // Where it ends is not waited for: the connection serves no other call.
            Length::Open => (rest.len(), rest),
        };
        let Some(id) = self.waiting.pop_front() else { return Err("an answer to no request".to_owned()) };
        self.closing = head.closing;
        let good = (200..300).contains(&head.status) && !head.rpcx_failure;
        let heard = if good { Heard::Answer(id) } else { Heard::Failure(id, failure(&head, input, body)) };
        Ok((head.length + length, heard))
    }

    fn give_up(&mut self, _: u64, _: &mut Vec<u8>) -> bool {
        // The answer would come before all others.
        false
    }

    fn ping(&mut self, _: &mut Vec<u8>) {}
}

/// The body of a failed call.
#[derive(Deserialize)]
struct Failed {
    error: Said,
}

#[derive(Deserialize)]
struct Said {
    message: String,
}

/// What the service says of a call that failed: in rpcx's header, in the body, or by the status alone.
#[cold]
fn failure(head: &Head, input: &[u8], body: &[u8]) -> String {
    if head.rpcx_failure {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut answer = httparse::Response::new(&mut headers);
        // It was read before.
        let _ = answer.parse(input);
        let is = |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case("x-rpcx-errormessage");
        let value = answer.headers.iter().find(is).map(|header| header.value).unwrap_or_default();
        return message(String::from_utf8_lossy(value));
    }
    match serde_json::from_slice(body) {
        Ok(Failed { error }) => message(error.message.into()),
        Err(_) => match StatusCode::from_u16(head.status) {
            Ok(status) => format!("HTTP {status}"),
            Err(_) => format!("HTTP {}", head.status),
        },
    }
}

/// The head of the answer that the input begins with; nothing where it is not all there.
fn head(input: &[u8]) -> Result<Option<Head>, String> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let parsed = answer.parse(input).map_err(|error| format!("no HTTP answer: {error}"))?;
    let httparse::Status::Complete(length) = parsed else {
        return if input.len() > LONGEST_HEAD { Err("the head is too long".to_owned()) } else { Ok(None) };
    };
    let status = answer.code.unwrap_or_default();
    let empty = status == 204 || status == 304;
    let mut head = Head {
        status,
        length,
        body: if empty { Length::Known(0) } else { Length::Open },
        closing: answer.version == Some(0),
        rpcx_failure: false,
    };
    for header in answer.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            let text = std::str::from_utf8(header.value).unwrap_or_default();
            let length = text.trim().parse().ok().filter(|length| *length <= REPLY_LIMIT);
            let length = length.ok_or("the answer's length is unreadable or over the limit")?;
            if !empty && !matches!(head.body, Length::Chunked) {
                head.body = Length::Known(length);
            }
        } else if is("transfer-encoding") && !empty {
            head.body = Length::Chunked;
        } else if is("connection") {
            head.closing = !header.value.eq_ignore_ascii_case(b"keep-alive")
                && (head.closing || header.value.eq_ignore_ascii_case(b"close"));
        } else if is("x-rpcx-messagestatustype") {
            head.rpcx_failure = header.value.eq_ignore_ascii_case(b"Error");
        }
    }
    head.closing |= matches!(head.body, Length::Open);
    Ok(Some(head))
}

/// How long a chunked body is with all that is around its chunks; nothing where it is not all there.
fn chunks(bytes: &[u8]) -> Result<Option<usize>, String> {
    let mut at: usize = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let parsed = httparse::parse_chunk_size(rest).map_err(|_| "a chunk without a length".to_owned())?;
        let httparse::Status::Complete((used, length)) = parsed else { return Ok(None) };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        at = at.saturating_add(used).saturating_add(length);
        if at > REPLY_LIMIT {
            return Err("the answer is over the limit".to_owned());
        }
        if length == 0 {
            return trailer(bytes, at);
        }
        match bytes.get(at..at.saturating_add(2)) {
            None => return Ok(None),
            Some(b"\r\n") => at = at.saturating_add(2),
            Some(_) => return Err("a chunk without its end".to_owned()),
        }
    }
}

/// The lines after the last chunk, to an empty one.
fn trailer(bytes: &[u8], mut at: usize) -> Result<Option<usize>, String> {
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else {
            return if rest.len() > LONGEST_HEAD {
                Err("the trailer is too long".to_owned())
            } else {
                Ok(None)
            };
        };
        at = at.saturating_add(end).saturating_add(2);
        if end == 0 {
            return Ok(Some(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(waiting: &[u64]) -> Http {
        Http { waiting: waiting.iter().copied().collect(), closing: false, told: false }
    }

    fn answer(text: &str) -> (usize, Heard) {
        http(&[7]).receive(text.as_bytes(), &mut Vec::new()).unwrap()
    }

    #[test]
    fn answers_end_where_they_say() {
        for whole in [
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\n{}\r\na\r\n0123456789\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n.\r\n0\r\na: b\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
        ] {
            let both = whole.repeat(2);
            assert_eq!(answer(&both), (whole.len(), Heard::Answer(7)));
            for cut in 0..whole.len() {
                assert!(matches!(answer(&whole[..cut]), (0, Heard::NeedMore(_))), "{cut} {whole}");
            }
        }
        assert_eq!(answer("HTTP/1.1 100 Continue\r\n\r\n").1, Heard::Nothing);
    }

    #[test]
    fn failures_have_the_services_message() {
        let failed = |text: &str| match answer(text).1 {
            Heard::Failure(_, message) => message,
            other => panic!("{other:?}"),
        };
        let body = r#"{"error":{"code":"failed","message":"divide by zero"}}"#;
        let text = format!("HTTP/1.1 500 X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        assert_eq!(failed(&text), "divide by zero");
        assert_eq!(failed("HTTP/1.1 502 X\r\ncontent-length: 0\r\n\r\n"), "HTTP 502 Bad Gateway");
        let text = "HTTP/1.1 200 OK\r\nX-RPCX-MessageStatusType: Error\r\nX-RPCX-ErrorMessage: no\r\n\
                    content-length: 0\r\n\r\n";
        assert_eq!(failed(text), "no");
    }

    #[test]
    fn connections_end_where_they_say() {
        let open = "HTTP/1.1 200 OK\r\n\r\nsome";
        let close = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nConnection: close\r\n\r\n";
        let old = "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n";
        for text in [open, close, old] {
            let mut http = http(&[1, 2]);
            let (used, heard) = http.receive(text.as_bytes(), &mut Vec::new()).unwrap();
            assert_eq!((used, heard), (text.len(), Heard::Answer(1)));
            assert_eq!(http.receive(b"", &mut Vec::new()), Ok((0, Heard::Draining)));
            assert_eq!(http.receive(b"x", &mut Vec::new()), Ok((1, Heard::NeedMore(0))));
        }
        let mut kept = http(&[1]);
        let text = b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n";
        kept.receive(text, &mut Vec::new()).unwrap();
        assert_eq!(kept.receive(b"", &mut Vec::new()), Ok((0, Heard::NeedMore(0))));
    }

    #[test]
    fn what_breaks_the_rules_ends_the_connection() {
        let long = format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(LONGEST_HEAD));
        for (waiting, text) in [
            (&[1][..], "SSH-2.0-x\r\n"),
            (&[1], "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"),
            (&[1], "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n"),
            (&[1], "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n"),
            (&[1], "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc"),
            (&[1], "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffff\r\n"),
            (&[], "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
            (&[1], &long),
        ] {
            assert!(http(waiting).receive(text.as_bytes(), &mut Vec::new()).is_err(), "{text}");
        }
    }
}
