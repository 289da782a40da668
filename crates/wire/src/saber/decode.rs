//! Reads frames without a copy; every length is checked before anybody waits for what it announces.

use super::own::Own;
use super::{
    FIXED, Frame, Handle, LONGEST_OWN, METHOD, NAME, OWN, REQUEST, RESPONSE, Request, Response, malformed,
};
use crate::{Limits, Reader, WireError};

/// What one look at the input brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step<'a> {
    /// How many bytes of the input are dealt with; they must not be shown again.
    pub consumed: usize,
    /// What they are.
    pub next: Next<'a>,
}

/// What the input begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next<'a> {
    /// A whole frame.
    Frame(Frame<'a>),
    /// A request whose body has so many bytes, over the limit; it is read past. It wants an answer all the same.
    RequestTooLarge(Request<'a>, usize),
    /// A response whose body has so many bytes, over the limit; it is read past.
    ResponseTooLarge(Response<'a>, usize),
    /// A frame of a type that nobody here knows, or one that is too short for its head. A Go node does as much.
    PassedOver,
    /// More of a frame that is read past.
    Skipped,
    /// The input ends within a frame: look again when there is more. The number is how many bytes the frame, or as much
    /// of it as is needed, has from the start of the unconsumed input; 0 where that is not known.
    NeedMore(usize),
}

/// Reads the frames of one connection.
#[derive(Debug)]
pub struct Decoder {
    body: usize,
    skip_most: usize,
    /// How many bytes of a frame are still to be read past.
    skip: usize,
}

impl Decoder {
    /// Bodies have at most [`Limits::body`] bytes; up to [`Limits::skip`] is read past.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self { body: limits.body, skip_most: limits.skip().saturating_add(limits.names), skip: 0 }
    }

    /// Looks at what the input begins with.
    ///
    /// # Errors
    /// The connection must be closed: the name of a method is over 64 bytes, or a frame is larger than what is read past.
    pub fn step<'a>(&mut self, input: &'a [u8]) -> Result<Step<'a>, WireError> {
        if self.skip > 0 {
            let consumed = self.skip.min(input.len());
            self.skip = self.skip.saturating_sub(consumed);
            let next = if consumed == 0 { Next::NeedMore(0) } else { Next::Skipped };
            return Ok(Step { consumed, next });
        }
        let Some((length, rest)) = input.split_first_chunk::<4>() else {
            return Ok(Step { consumed: 0, next: Next::NeedMore(0) });
        };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > self.skip_most {
            let [got, limit] = [length, self.skip_most].map(|bytes| u64::try_from(bytes).unwrap_or(u64::MAX));
            return Err(WireError::TooLarge { wire: NAME, what: "frame", got, limit, setting: "body_limit" });
        }
        let whole = length.saturating_add(4);
        match rest.get(..length) {
            Some(frame) => {
                let next = self.whole(frame)?;
                Ok(Step { consumed: whole, next })
            }
            None if whole <= self.body => Ok(Step { consumed: 0, next: Next::NeedMore(whole) }),
            None => self.large(rest, length),
        }
    }

    /// A frame that is there, from behind its length.
    #[inline]
    fn whole<'a>(&self, frame: &'a [u8]) -> Result<Next<'a>, WireError> {
        let (head, body) = match read(frame, frame.len())? {
            Head::Own(Own::Hello(hello)) => return Ok(Next::Frame(Frame::Hello(hello))),
            Head::Own(Own::Hint(hint)) => return Ok(Next::Frame(Frame::Hint(hint))),
            Head::Own(Own::Code(code)) => return Ok(Next::Frame(Frame::Code(code))),
            Head::Own(Own::Stop) => return Ok(Next::Frame(Frame::Stop)),
            Head::Unknown | Head::Incomplete => return Ok(Next::PassedOver),
            Head::Known(head, at) => (head, frame.get(at..).unwrap_or_default()),
        };
        Ok(self.judge(head, body.len()).unwrap_or(match head {
            Known::Request(request) => Next::Frame(Frame::Request(request, body)),
            Known::Response(response) => Next::Frame(Frame::Response(response, body)),
        }))
    }

    /// What a head whose body has this length is, where it is over the limit.
    fn judge<'a>(&self, head: Known<'a>, body: usize) -> Option<Next<'a>> {
        (body > self.body).then_some(match head {
            Known::Request(request) => Next::RequestTooLarge(request, body),
            Known::Response(response) => Next::ResponseTooLarge(response, body),
        })
    }

    /// A frame that is not there whole and may be too large: where it is, nobody waits for it.
    #[cold]
    fn large<'a>(&mut self, rest: &'a [u8], length: usize) -> Result<Step<'a>, WireError> {
        let whole = length.saturating_add(4);
        let need = |bytes| Ok(Step { consumed: 0, next: Next::NeedMore(bytes) });
        let (next, at) = match read(rest, length)? {
            Head::Known(head, at) => match self.judge(head, length.saturating_sub(at)) {
                Some(next) => (next, at),
                None => return need(whole),
            },
            Head::Unknown => (Next::PassedOver, 1),
            Head::Own(_) => return need(whole),
            Head::Incomplete => return need(whole.min(LONGEST_OWN)),
        };
        self.skip = length.saturating_sub(at);
        Ok(Step { consumed: at.saturating_add(4), next })
    }
}

#[derive(Debug, Clone, Copy)]
enum Known<'a> {
    Request(Request<'a>),
    Response(Response<'a>),
}

/// What stands before the body, and where that begins.
enum Head<'a> {
    Known(Known<'a>, usize),
    Own(Own<'a>),
    Unknown,
    /// The bytes end within the head.
    Incomplete,
}

/// Reads the head that the bytes behind a length begin with.
#[inline]
fn read(bytes: &[u8], length: usize) -> Result<Head<'_>, WireError> {
    let mut reader = Reader::new(bytes);
    match reader.u8() {
        Some(kind @ (REQUEST | RESPONSE)) => {
            let known = known(kind, &mut reader)?;
            Ok(known.map_or(Head::Incomplete, |known| Head::Known(known, reader.offset())))
        }
        Some(OWN) if length > LONGEST_OWN => Ok(Head::Unknown),
        Some(OWN) => Ok(Own::decode(reader.rest()).map_or(Head::Incomplete, Head::Own)),
        Some(_) => Ok(Head::Unknown),
        None => Ok(Head::Incomplete),
    }
}

#[inline]
fn known<'a>(kind: u8, reader: &mut Reader<'a>) -> Result<Option<Known<'a>>, WireError> {
    let Some((source, session, destination, length)) = fixed(reader) else { return Ok(None) };
    if length > METHOD {
        return Err(malformed("the method's name is over 64 bytes", FIXED));
    }
    Ok(named(kind, source, session, destination, length, reader))
}

fn fixed(reader: &mut Reader<'_>) -> Option<(Handle, u32, Handle, usize)> {
    let (source, session, destination) = (reader.u64()?, reader.u32()?, reader.u64()?);
    Some((Handle(source), session, Handle(destination), usize::from(reader.u8()?)))
}

fn named<'a>(
    kind: u8,
    source: Handle,
    session: u32,
    destination: Handle,
    length: usize,
    reader: &mut Reader<'a>,
) -> Option<Known<'a>> {
    let method = reader.bytes(length)?;
    if kind == REQUEST {
        return Some(Known::Request(Request { source, session, destination, method }));
    }
    let failure = match reader.u32()? {
        0 => None,
        code => {
            let length = usize::from(reader.u8()?);
            Some((code, reader.bytes(length)?))
        }
    };
    Some(Known::Response(Response { source, session, destination, method, failure }))
}
