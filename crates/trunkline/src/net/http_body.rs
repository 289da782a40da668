//! Bodies of HTTP: whole, or a stream as lines of JSON, as server-sent events or as plain bytes.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, Sleep};

use crate::body::Frames;
use crate::{BodyStream, Code, Result, Status};

/// Lines of JSON, one an item.
pub(crate) const LINES: &str = "application/x-ndjson";
/// Server-sent events, one an item.
pub(crate) const EVENTS: &str = "text/event-stream";
/// Bytes as they are, without borders between items.
pub(crate) const BYTES: &str = "application/octet-stream";

/// As many bytes of small items are put into one chunk, where they are there at once.
const CHUNK: usize = 16 << 10;

/// How the items of a stream stand in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Lines,
    Events,
    Bytes,
}

impl Form {
    /// The value of `Content-Type`.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Lines => LINES,
            Self::Events => EVENTS,
            Self::Bytes => BYTES,
        }
    }
}

/// Whether a header of media types names this one.
pub(crate) fn names(headers: &HeaderMap, name: header::HeaderName, media_type: &str) -> bool {
    let lines = headers.get_all(name);
    let types = lines.iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let mut bare = types.map(|text| text.split(|byte| *byte == b';').next().unwrap_or_default());
    bare.any(|text| text.trim_ascii().eq_ignore_ascii_case(media_type.as_bytes()))
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Failed<T> {
    error: Failure<T>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Failure<T> {
    code: T,
    message: T,
}

/// The body of every failure: `{"error":{"code":…,"message":…}}`.
pub(crate) fn error_body(code: Code, message: &str) -> Vec<u8> {
    serde_json::to_vec(&Failed { error: Failure { code: code.name(), message } }).unwrap_or_default()
}

/// The failure that a line says, if it says one and nothing else.
fn failure_in(line: &[u8]) -> Option<Status> {
    let Failed { error } = serde_json::from_slice::<Failed<String>>(line).ok()?;
    Some(Status::new(Code::from_name(&error.code)?, error.message))
}

/// A body on its way out.
pub(crate) enum OutBody {
    /// `None` once it is written.
    Full(Option<Bytes>),
    Stream(Box<OutStream>),
}

impl From<Bytes> for OutBody {
    fn from(bytes: Bytes) -> Self {
        Self::Full(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

/// What becomes of a failure midway.
pub(crate) enum OnFailure {
    /// It is said in the body, as far as the form can.
    Say,
    /// The body is broken off, and the failure is here.
    Keep(Arc<Mutex<Option<Status>>>),
}

/// A stream as a body.
pub(crate) struct OutStream {
    stream: BodyStream,
    form: Form,
    /// The largest item in bytes, and the failure of a larger one.
    limit: (usize, fn(usize) -> Status),
    on_failure: OnFailure,
    /// Came before the body was one.
    first: Option<Bytes>,
    ended: bool,
    /// It ended by a failure that is not said in it.
    broken: bool,
    /// Lives as long as the body.
    _kept: Box<dyn Send>,
}

impl OutStream {
    /// The items of `stream`, each of at most as many bytes as `limit` says; `kept` is dropped with it.
    pub(crate) fn new(
        stream: BodyStream,
        form: Form,
        limit: (usize, fn(usize) -> Status),
        on_failure: OnFailure,
        kept: impl Send + 'static,
    ) -> Self {
        Self {
            stream,
            form,
            limit,
            on_failure,
            first: None,
            ended: false,
            broken: false,
            _kept: Box::new(kept),
        }
    }

    /// Looks for the first item without waiting for it.
    ///
    /// # Errors
    /// The stream has failed before it began.
    pub(crate) fn look(&mut self, cx: &mut Context<'_>) -> Result<()> {
        match self.stream.poll_next(cx) {
            Poll::Ready(Some(Err(status))) => return Err(status),
            Poll::Ready(Some(Ok(frame))) => self.first = Some(frame),
            Poll::Ready(None) => self.ended = true,
            Poll::Pending => {}
        }
        Ok(())
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if std::mem::take(&mut self.broken) {
            return Poll::Ready(Some(Err(Broken)));
        }
        let mut out = Vec::new();
        while !self.ended && out.len() < CHUNK {
            let next = match self.first.take() {
                Some(first) => Some(Ok(first)),
                None => match self.stream.poll_next(cx) {
                    Poll::Ready(next) => next,
                    Poll::Pending if out.is_empty() => return Poll::Pending,
                    Poll::Pending => break,
                },
            };
            let (limit, over) = self.limit;
            let written = match next {
                None => {
                    self.ended = true;
                    Ok(())
                }
                Some(Err(status)) => Err(status),
                Some(Ok(frame)) if frame.len() > limit => Err(over(limit)),
                Some(Ok(frame)) if self.form == Form::Bytes => return Poll::Ready(Some(Ok(frame))),
                Some(Ok(frame)) => self.write(&frame, &mut out),
            };
            if let Err(status) = written {
                self.ended = true;
                // Nobody is to work for it any more.
                self.stream = ended();
                self.broken = !self.fail(status, &mut out);
            }
        }
        if out.is_empty() && std::mem::take(&mut self.broken) {
            return Poll::Ready(Some(Err(Broken)));
        }
        if out.is_empty() { Poll::Ready(None) } else { Poll::Ready(Some(Ok(out.into()))) }
    }

    fn write(&self, frame: &[u8], out: &mut Vec<u8>) -> Result<()> {
        match self.form {
            // Line ends stand between the tokens of JSON only, where a blank is as good.
            Form::Lines => {
                out.extend(frame.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
                out.push(b'\n');
            }
            Form::Events => {
                let Ok(text) = std::str::from_utf8(frame) else {
                    let text = "an item is no text, and cannot be an event";
                    return Err(Status::new(Code::Unsupported, text));
                };
                write_event(text, out);
            }
            Form::Bytes => out.extend_from_slice(frame),
        }
        Ok(())
    }

    /// Says the failure in the body, or keeps it. Whether it is said.
    fn fail(&mut self, status: Status, out: &mut Vec<u8>) -> bool {
        let error = error_body(status.code(), status.message());
        match (&self.on_failure, self.form) {
            (OnFailure::Say, Form::Lines) => {
                out.extend_from_slice(&error);
                out.push(b'\n');
                true
            }
            (OnFailure::Say, Form::Events) => {
                out.extend_from_slice(b"event: error\n");
                write_event(&String::from_utf8_lossy(&error), out);
                true
            }
            (OnFailure::Say, Form::Bytes) => false,
            (OnFailure::Keep(place), _) => {
                *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
                false
            }
        }
    }
}

/// A text as the data of an event: a field for each line of it.
fn write_event(text: &str, out: &mut Vec<u8>) {
    for line in text.split('\n') {
        for line in line.strip_suffix('\r').unwrap_or(line).split('\r') {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(line.as_bytes());
            out.push(b'\n');
        }
    }
    out.push(b'\n');
}

/// A stream without items.
fn ended() -> BodyStream {
    let (sender, stream) = BodyStream::channel();
    sender.finish();
    stream
}

/// The body ends before its end.
#[derive(Debug)]
pub(crate) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the stream failed midway")
    }
}

impl std::error::Error for Broken {}

impl From<Infallible> for Broken {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl Body for OutBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(stream) => stream.poll_out(cx).map(|next| next.map(|out| out.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_none(),
            Self::Stream(stream) => stream.ended && !stream.broken && stream.first.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// The items of a body that arrives.
pub(crate) struct InStream {
    /// `None` when all of it has come.
    body: Option<Incoming>,
    lines: Lines,
    /// The items are lines; else they are the bytes as they come.
    split: bool,
    /// How long the next part of a line that has begun may take.
    patience: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
    over: fn(usize) -> Status,
    broken: Box<dyn Fn(&hyper::Error) -> Status + Send>,
    /// The last line may say how the stream has failed.
    may_fail: bool,
    /// A line that may be that, and the line that came behind it.
    held: Option<(Bytes, Status)>,
    next: Option<Bytes>,
}

impl InStream {
    /// Items of at most `limit` bytes; a longer one ends the stream as `over` says, a body that breaks off as
    /// `broken` does.
    pub(crate) fn new(
        body: Incoming,
        form: Form,
        limit: usize,
        over: fn(usize) -> Status,
        broken: impl Fn(&hyper::Error) -> Status + Send + 'static,
    ) -> Self {
        Self {
            body: Some(body),
            lines: Lines { buffer: BytesMut::new(), scanned: 0, limit: limit.max(1) },
            split: form == Form::Lines,
            patience: None,
            timer: None,
            over,
            broken: Box::new(broken),
            may_fail: false,
            held: None,
            next: None,
        }
    }

    /// The next part of a line that has begun may take so long.
    pub(crate) fn with_patience(self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self }
    }

    /// The last line may be the failure that the stream ended with.
    pub(crate) fn with_failure(self) -> Self {
        Self { may_fail: true, ..self }
    }

    fn poll_line(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            let line = match (self.split, &self.body) {
                (false, _) => Ok(self.lines.part()),
                (true, Some(_)) => self.lines.next(),
                // A last line may have no end.
                (true, None) => self.lines.next().and_then(|line| match line {
                    None => self.lines.rest(),
                    line => Ok(line),
                }),
            };
            match line {
                Ok(Some(line)) => {
                    self.timer = None;
                    return Poll::Ready(Some(Ok(line)));
                }
                Ok(None) => {}
                Err(TooLong) => return Poll::Ready(Some(Err((self.over)(self.lines.limit)))),
            }
            let Some(body) = &mut self.body else {
                return Poll::Ready(None);
            };
            let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
                ready!(self.poll_slow(cx));
                let text = "the request's body comes too slowly";
                return Poll::Ready(Some(Err(Status::new(Code::DeadlineExceeded, text))));
            };
            match frame {
                Some(Ok(frame)) => {
                    self.timer = None;
                    if let Ok(data) = frame.into_data() {
                        self.lines.add(data);
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err((self.broken)(&error)))),
                None => self.body = None,
            }
        }
    }

    /// Ready when a line that has begun does not go on.
    fn poll_slow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(patience) = self.patience.filter(|_| !self.lines.buffer.is_empty()) else {
            return Poll::Pending;
        };
        let due = || Box::pin(tokio::time::sleep_until(Instant::now() + patience));
        self.timer.get_or_insert_with(due).as_mut().poll(cx)
    }
}

impl Frames for InStream {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            if let Some(next) = self.next.take() {
                // It may be a failure in its turn, but no more than one is looked at twice.
                match failure_in(&next).filter(|_| self.may_fail) {
                    Some(status) => self.held = Some((next, status)),
                    None => return Poll::Ready(Some(Ok(next))),
                }
            }
            let line = ready!(self.poll_line(cx));
            match (self.held.take(), line) {
                // Another line follows, so it was an item.
                (Some((held, _)), Some(Ok(line))) => {
                    self.next = Some(line);
                    return Poll::Ready(Some(Ok(held)));
                }
                (Some((_, status)), _) => return Poll::Ready(Some(Err(status))),
                (None, Some(Ok(line))) if self.may_fail => self.next = Some(line),
                (None, line) => return Poll::Ready(line),
            }
        }
    }
}

/// Bytes that become lines.
struct Lines {
    buffer: BytesMut,
    /// As many of them have no line end.
    scanned: usize,
    limit: usize,
}

struct TooLong;

impl Lines {
    fn add(&mut self, data: Bytes) {
        if self.buffer.is_empty() {
            // Mostly it can be taken as it is.
            self.buffer = BytesMut::from(data);
        } else {
            self.buffer.extend_from_slice(&data);
        }
    }

    /// The next line that is whole and not blank.
    fn next(&mut self) -> Result<Option<Bytes>, TooLong> {
        loop {
            let new = self.buffer.get(self.scanned..).unwrap_or_default();
            let Some(at) = new.iter().position(|byte| *byte == b'\n') else {
                self.scanned = self.buffer.len();
                return if self.scanned > self.limit.saturating_add(1) { Err(TooLong) } else { Ok(None) };
            };
            let line = self.buffer.split_to(self.scanned.saturating_add(at).saturating_add(1));
            self.scanned = 0;
            if let Some(line) = self.checked(&line.freeze())? {
                return Ok(Some(line));
            }
        }
    }

    /// The line without what is blank around it, if that leaves something. The limit counts blanks, but no line end.
    fn checked(&self, line: &Bytes) -> Result<Option<Bytes>, TooLong> {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.len() > self.limit {
            return Err(TooLong);
        }
        let kept = text.trim_ascii();
        Ok((!kept.is_empty()).then(|| line.slice_ref(kept)))
    }

    /// What is there, as it is.
    fn part(&mut self) -> Option<Bytes> {
        let length = self.buffer.len().min(self.limit);
        (length > 0).then(|| self.buffer.split_to(length).freeze())
    }

    /// The last line, where it has no end.
    fn rest(&mut self) -> Result<Option<Bytes>, TooLong> {
        self.scanned = 0;
        let line = self.buffer.split().freeze();
        self.checked(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All lines of pieces of a text, and whether one was too long.
    fn lines(text: &[u8], piece: usize, limit: usize) -> (Vec<Bytes>, bool) {
        let mut lines = Lines { buffer: BytesMut::new(), scanned: 0, limit };
        let mut all = Vec::new();
        for piece in text.chunks(piece) {
            lines.add(Bytes::copy_from_slice(piece));
            loop {
                match lines.next() {
                    Ok(Some(line)) => all.push(line),
                    Ok(None) => break,
                    Err(TooLong) => return (all, true),
                }
            }
        }
        match lines.rest() {
            Ok(rest) => all.extend(rest),
            Err(TooLong) => return (all, true),
        }
        (all, false)
    }

    #[test]
    fn lines_are_the_same_in_pieces_of_any_size() {
        let text = b"{\"a\":1}\n\r\n  {\"b\":2} \r\n\n[3]\n4";
        for piece in 1..=text.len() {
            let (all, over) = lines(text, piece, 10);
            assert_eq!(all, [&b"{\"a\":1}"[..], b"{\"b\":2}", b"[3]", b"4"], "{piece}");
            assert!(!over);
            assert!(lines(text, piece, 9).1, "{piece}");
            assert!(!lines(b"12345\r\n12345", piece, 5).1 && lines(b"12345\n123456", piece, 5).1, "{piece}");
        }
        assert!(lines(&[b'x'; 100], 1, 50).1);
    }

    #[test]
    fn an_event_has_a_field_for_each_line() {
        let mut out = Vec::new();
        write_event("a\nb\r\nc\rd", &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "data: a\ndata: b\ndata: c\ndata: d\n\n");
    }

    #[test]
    fn a_failure_is_told_from_an_item() {
        let status = failure_in(&error_body(Code::Limited, "a \"b\"")).unwrap();
        assert_eq!((status.code(), status.message()), (Code::Limited, "a \"b\""));
        for item in [
            r#"{"error":{"code":"nope","message":""}}"#,
            r#"{"error":{"code":"failed","message":"","more":1}}"#,
            r#"{"error":{"code":"failed","message":""},"more":1}"#,
            r#"{"error":"failed"}"#,
            "1",
        ] {
            assert!(failure_in(item.as_bytes()).is_none(), "{item}");
        }
    }

    #[test]
    fn media_types_are_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, "text/html, Text/Event-Stream;q=0.9".parse().unwrap());
        assert!(names(&headers, header::ACCEPT, EVENTS));
        assert!(!names(&headers, header::ACCEPT, LINES));
    }
}
