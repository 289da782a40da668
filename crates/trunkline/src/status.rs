//! What a failed call says: what failed, where, and whether it may be tried again.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec;

/// The result of a call.
pub type Result<T, E = Status> = std::result::Result<T, E>;

/// The kinds of failure. The numbers travel between Trunkline peers and do not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u16)]
pub enum Code {
    /// The service ran and says no: an error of its own.
    Failed = 1,
    /// The request could not be understood: a body that does not fit, a bad header.
    InvalidInput = 2,
    /// No such service or method.
    NotFound = 3,
    /// The caller's token is missing or wrong.
    Unauthenticated = 4,
    /// The time that the caller gave is over.
    DeadlineExceeded = 5,
    /// The caller does not want the answer any more.
    Cancelled = 6,
    /// A limit of calls is reached.
    Limited = 7,
    /// A body is over the limit.
    TooLarge = 8,
    /// The peer could not be reached, or went away.
    Unavailable = 9,
    /// The service broke: a panic, a bug.
    Internal = 10,
    /// This wire, codec or peer cannot do what was asked.
    Unsupported = 11,
    /// The server is about to stop and takes no new calls.
    Draining = 12,
}

impl Code {
    /// The code of a number that a peer sent; a number from the future reads as [`Code::Failed`].
    #[must_use]
    pub fn from_number(number: u16) -> Self {
        match number {
            2 => Self::InvalidInput,
            3 => Self::NotFound,
            4 => Self::Unauthenticated,
            5 => Self::DeadlineExceeded,
            6 => Self::Cancelled,
            7 => Self::Limited,
            8 => Self::TooLarge,
            9 => Self::Unavailable,
            10 => Self::Internal,
            11 => Self::Unsupported,
            12 => Self::Draining,
            _ => Self::Failed,
        }
    }

    /// The code of such a word as [`name`](Code::name) gives; `None` where nobody here knows it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        (1..=12).map(Self::from_number).find(|code| code.name() == name)
    }

    /// The kind of a failure that a Go peer tells by its text alone.
    pub(crate) fn of_go_text(text: &[u8]) -> Self {
        const TEXTS: [(&[u8], Code); 9] = [
            (b"rpcx: can't find", Code::NotFound),
            (b"rpc: can't find", Code::NotFound),
            (b"rpc: service/method request ill-formed", Code::NotFound),
            (b"gob: ", Code::InvalidInput),
            (b"easymicro: can't find", Code::NotFound),
            (b"can not find codec", Code::Unsupported),
            (b"context deadline exceeded", Code::DeadlineExceeded),
            (b"[service internal error]", Code::Internal),
            (b"invalid token", Code::Unauthenticated),
        ];
        TEXTS.iter().find(|(start, _)| text.starts_with(start)).map_or(Self::Failed, |(_, code)| *code)
    }

    /// The number that travels.
    #[must_use]
    #[expect(clippy::as_conversions, reason = "the enum is repr(u16)")]
    pub fn number(self) -> u16 {
        self as u16
    }

    /// The code in words, as in JSON: `deadline_exceeded`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::InvalidInput => "invalid_input",
            Self::NotFound => "not_found",
            Self::Unauthenticated => "unauthenticated",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Cancelled => "cancelled",
            Self::Limited => "limited",
            Self::TooLarge => "too_large",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
            Self::Unsupported => "unsupported",
            Self::Draining => "draining",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a call failed, as seen by the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The endpoint that was called.
    pub address: String,
    /// The wire that was spoken.
    pub wire: &'static str,
    /// Which attempt it was, from 1.
    pub attempt: u32,
}

/// Why a call failed. It is as large as a pointer.
///
/// [`message`](Status::message) is exactly the service's text, on every wire. [`Display`](fmt::Display) adds the
/// code and, where it is known, the origin.
#[derive(Clone, PartialEq, Eq)]
pub struct Status(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    code: Code,
    message: Cow<'static, str>,
    details: Option<Bytes>,
    origin: Option<Origin>,
    not_begun: bool,
    ends_connection: bool,
    connection_lost: bool,
}

/// The bit of a travelling code that says that the call was surely not begun.
const NOT_BEGUN: u16 = 0x100;

impl Status {
    /// A failure of a kind, with its text.
    #[must_use]
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            code,
            message: message.into(),
            details: None,
            origin: None,
            not_begun: false,
            ends_connection: false,
            connection_lost: false,
        }))
    }

    /// The service's own failure.
    #[must_use]
    pub fn failed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Failed, message)
    }

    /// The service's own error value: its `Display` is the message, and a Trunkline caller gets the value back
    /// with [`details`](Status::details). It travels as JSON beside the text, whatever codec the call uses.
    #[must_use]
    pub fn from_error<E: fmt::Display + Serialize>(error: &E) -> Self {
        Self::failed(error.to_string()).with_details(error)
    }

    /// Adds an error value for [`details`](Status::details). A value that cannot be written as JSON is left out.
    #[must_use]
    pub fn with_details<E: Serialize>(mut self, error: &E) -> Self {
        self.0.details = serde_json::to_vec(error).ok().map(Bytes::from);
        self
    }

    /// The service's error value, where there is one and it is of this type.
    #[must_use]
    pub fn details<E: DeserializeOwned>(&self) -> Option<E> {
        self.0.details.as_deref().and_then(|bytes| serde_json::from_slice(bytes).ok())
    }

    /// What travels between Trunkline peers: the code's number and, in the bit above, that the call was not begun.
    pub(crate) fn wire_code(&self) -> u16 {
        self.0.code.number() | if self.0.not_begun { NOT_BEGUN } else { 0 }
    }

    /// The same status as a peer's [`wire_code`](Status::wire_code) has it.
    pub(crate) fn from_wire(code: u16, message: String) -> Self {
        let status = Self::new(Code::from_number(code & !NOT_BEGUN), message);
        if code & NOT_BEGUN == 0 { status } else { status.not_begun() }
    }

    pub(crate) fn details_bytes(&self) -> Option<&Bytes> {
        self.0.details.as_ref()
    }

    pub(crate) fn with_details_bytes(mut self, details: Option<Bytes>) -> Self {
        self.0.details = details;
        self
    }

    /// The kind of failure.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The text, exactly as the service gave it.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Where it failed; known at the caller only.
    #[must_use]
    pub fn origin(&self) -> Option<&Origin> {
        self.0.origin.as_ref()
    }

    /// Says where it failed.
    #[must_use]
    pub fn at(mut self, origin: Origin) -> Self {
        self.0.origin = Some(origin);
        self
    }

    /// Marks the call as surely not begun: nothing of it reached a service.
    #[must_use]
    pub fn not_begun(mut self) -> Self {
        self.0.not_begun = true;
        self
    }

    /// Whether the call was surely not begun, so that even a call which must not run twice may be tried again.
    #[must_use]
    pub fn may_retry(&self) -> bool {
        self.0.not_begun
    }

    /// Marks that the connection is closed after this answer, as rpcx does where it refuses a token.
    #[must_use]
    pub(crate) fn ending_connection(mut self) -> Self {
        self.0.ends_connection = true;
        self
    }

    pub(crate) fn ends_connection(&self) -> bool {
        self.0.ends_connection
    }

    /// Marks that our own connection to the peer was lost: the peer itself has said nothing. It does not travel, so a
    /// peer that tells of a connection that it has lost is not taken for one that is lost.
    #[must_use]
    pub(crate) fn connection_lost(mut self) -> Self {
        self.0.connection_lost = true;
        self
    }

    pub(crate) fn is_connection_lost(&self) -> bool {
        self.0.connection_lost
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status")
            .field("code", &self.0.code)
            .field("message", &self.0.message)
            .field("origin", &self.0.origin)
            .field("may_retry", &self.0.not_begun)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.message)?;
        if let Some(origin) = &self.0.origin {
            write!(f, " (from {} over {}, attempt {})", origin.address, origin.wire, origin.attempt)?;
        }
        Ok(())
    }
}

impl std::error::Error for Status {}

impl From<codec::Error> for Status {
    fn from(error: codec::Error) -> Self {
        let code = if error.is_unsupported() {
            Code::Unsupported
        } else if error.is_too_large() {
            Code::TooLarge
        } else {
            Code::InvalidInput
        };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    enum MathError {
        DivideByZero,
        Overflow { bits: u8 },
    }

    impl fmt::Display for MathError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("no")
        }
    }

    #[test]
    fn an_error_value_round_trips() {
        let status = Status::from_error(&MathError::Overflow { bits: 64 });
        assert_eq!(status.details(), Some(MathError::Overflow { bits: 64 }));
        assert_eq!(status.details::<String>(), None);
        assert_eq!(status.message(), "no");
        assert_ne!(status.details(), Some(MathError::DivideByZero));
    }

    #[test]
    fn codes_keep_their_numbers() {
        for number in 1..=12 {
            assert_eq!(Code::from_number(number).number(), number);
            assert_eq!(Code::from_name(Code::from_number(number).name()), Some(Code::from_number(number)));
        }
        assert_eq!(Code::from_number(999), Code::Failed);
        assert_eq!(Code::from_name("nothing"), None);
    }

    #[test]
    fn a_status_is_as_large_as_a_pointer() {
        assert_eq!(size_of::<Result<(), Status>>(), size_of::<usize>());
    }
}
