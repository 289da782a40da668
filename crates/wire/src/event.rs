//! The neutral vocabulary that all wires emit.

use bytes::Bytes;

use crate::{Metadata, Pairs, Scratch};

/// How a body is serialised. The numbers are those of the rpcx wire; other wires use the one they have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Serialization {
    /// Bytes as they are.
    #[default]
    Raw,
    /// JSON as Go's encoding/json has it.
    Json,
    /// Protocol buffers.
    Protobuf,
    /// MessagePack, structs as maps from names.
    MessagePack,
    /// Thrift's binary protocol, the bare struct.
    Thrift,
    /// A self-contained stream of Go's gob.
    Gob,
    /// A number that nobody here knows; a call with it is answered with an error.
    Other(u8),
}

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip (RFC 1952).
    Gzip,
}

/// The head of one call, borrowed from the bytes that brought it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallHead<'a> {
    /// Ties the reply to the call: unique among the calls in flight as far as the peer keeps the rules.
    pub id: u64,
    /// The service's name as the caller wrote it; not yet known to be UTF-8.
    pub service: &'a [u8],
    /// The method's name as the caller wrote it; not yet known to be UTF-8.
    pub method: &'a [u8],
    /// Both names are those of the [`Event::Call`] before it on this connection: nobody need look them up again.
    pub again: bool,
    /// The caller's metadata.
    pub metadata: Pairs<'a>,
    /// How the body is serialised; the reply uses the same.
    pub serialization: Serialization,
    /// How the body is compressed.
    pub compression: Compression,
    /// The caller wants no answer.
    pub one_way: bool,
    /// What the session must see again to write the reply; nobody else looks at it.
    pub note: u64,
    /// The bytes that the reply begins with, too, on a wire where it does: they need not be put together again. May
    /// be empty; nobody but the session looks at it.
    pub repeats: &'a [u8],
    /// The path as the caller wrote it, with its query, on a wire where a call has one; else empty.
    pub uri: &'a [u8],
}

/// The head of one reply, borrowed from the bytes that brought it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyHead<'a> {
    /// The call that it answers.
    pub id: u64,
    /// Why the call failed, if it did.
    pub failure: Option<Failure<'a>>,
    /// The service's metadata; what the wire itself put there (error texts) is left in.
    pub metadata: Pairs<'a>,
    /// How the body is serialised.
    pub serialization: Serialization,
    /// How the body is compressed.
    pub compression: Compression,
    /// The path as the service wrote it, with its query, on a wire where a reply has one; else empty.
    pub uri: &'a [u8],
}

/// Why a call failed, as the wire says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure<'a> {
    /// The text: exactly as the service gave it, or still with the wire's escapes where the wire has some.
    /// [`Session::text`](crate::Session::text) takes them out.
    pub message: &'a [u8],
    /// The status code, where the peer said it.
    pub code: Option<u16>,
    /// The service's own error value in the serialisation of the call, where the peer sent one.
    pub details: Option<&'a [u8]>,
}

impl<'a> Failure<'a> {
    /// A failure that has a text and nothing else.
    #[must_use]
    pub fn text(message: &'a [u8]) -> Self {
        Self { message, code: None, details: None }
    }
}

/// The head of a message that a server sends of its own accord.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushHead<'a> {
    /// The service path; may be empty.
    pub service: &'a [u8],
    /// The method; may be empty.
    pub method: &'a [u8],
    /// Its metadata.
    pub metadata: Pairs<'a>,
    /// How the body is serialised.
    pub serialization: Serialization,
    /// How the body is compressed.
    pub compression: Compression,
}

/// Bytes of a body: a part of the input, or (where the wire had to assemble them) memory of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload<'a> {
    /// A part of the input that was given to [`Session::receive`](crate::Session::receive).
    Input(&'a [u8]),
    /// Bytes that the session assembled or had kept.
    Owned(Bytes),
    /// The same, for as long as the event is looked at.
    Scratch(Scratch),
}

impl Payload<'_> {
    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Input(bytes) => bytes,
            Self::Owned(bytes) => bytes,
            Self::Scratch(bytes) => bytes,
        }
    }
}

/// What the peer did, as far as the framework must know. Heartbeats and the like are answered by the session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A call begins (server). Where `end` is false its body goes on in [`Event::Data`].
    Call {
        /// Who is called, and how.
        head: CallHead<'a>,
        /// The body, or its first frame.
        body: Payload<'a>,
        /// The body is whole.
        end: bool,
    },
    /// A call was understood but must not be made; the session has kept what it needs for
    /// [`Session::reply`](crate::Session::reply), which the driver calls with the reason (server).
    Refused {
        /// Who was called, and how.
        head: CallHead<'a>,
        /// Why not.
        reason: Refusal,
    },
    /// A reply begins (client). Where `end` is false its body goes on in [`Event::Data`].
    Reply {
        /// Which call it answers, and how it went.
        head: ReplyHead<'a>,
        /// The body, or its first frame.
        body: Payload<'a>,
        /// The body is whole.
        end: bool,
    },
    /// A reply was understood, but its body is over [`Limits::body`](crate::Limits::body); the body is read past
    /// (client).
    ReplyTooLarge {
        /// The call that it answers.
        id: u64,
        /// The body's length in bytes, as announced; what it is at the least, where the head is not whole yet.
        got: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// One more frame of a body that began before.
    Data {
        /// The call that it belongs to.
        id: u64,
        /// The frame.
        body: Payload<'a>,
        /// The body is whole now.
        end: bool,
    },
    /// The caller does not want the answer any more (server).
    Cancel {
        /// The call that ends.
        id: u64,
    },
    /// The server sent something of its own accord (client).
    Push {
        /// What it is about.
        head: PushHead<'a>,
        /// The body.
        body: Payload<'a>,
    },
    /// The server sent something of its own accord, but its body is over [`Limits::body`](crate::Limits::body);
    /// the body is read past (client).
    PushTooLarge {
        /// The body's length in bytes, as announced.
        got: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The peer answered a heartbeat.
    Pong,
    /// The peer will stop: calls in flight are answered, new ones go elsewhere.
    Draining,
    /// The peer closed the connection in the wire's own way.
    Closed,
}

/// Why a call that was understood is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Its body is over [`Limits::body`](crate::Limits::body); the rest of it is read past.
    BodyTooLarge {
        /// The body's length in bytes, as announced.
        got: u64,
        /// The limit in bytes.
        limit: u64,
    },
}

impl<'a> CallHead<'a> {
    /// Whether the URI has more than the path, which the reply repeats: a query.
    #[inline]
    #[must_use]
    pub fn has_query(&self) -> bool {
        self.uri.len() > self.repeats.len()
    }

    /// The same head without its metadata: what is kept to write the reply.
    #[must_use]
    pub fn without_metadata(self) -> Self {
        Self { metadata: Pairs::empty(), ..self }
    }
}

impl ReplyHead<'_> {
    /// The metadata as a value of its own.
    #[must_use]
    pub fn metadata_owned(&self) -> Metadata {
        self.metadata.to_owned()
    }
}
