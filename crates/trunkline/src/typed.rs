//! Between bodies and Rust values: what the code that `#[service]` generates calls.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use trunkline_wire::Serialization;

use crate::codec::{self, Payload, Preferred};
use crate::message::Schema;
use crate::service::{Answer, ReplyBuf, Request};
use crate::{Body, Call, Code, Context, Metadata, Reply, Result, Status, Streaming};

/// A value with reply metadata. A method that returns `Result<Annotated<T>>` sends some;
/// `Outgoing::annotated` gives what came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotated<T> {
    /// The reply.
    pub value: T,
    /// What travels beside it.
    pub metadata: Metadata,
}

impl<T> Annotated<T> {
    /// A reply with metadata.
    pub fn new(value: T, metadata: Metadata) -> Self {
        Self { value, metadata }
    }
}

/// What an `async` method may give: a [`Payload`], a [`Streaming`] of them, or an [`Annotated`] one of those.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the reply of a service's method",
    note = "give a struct with #[derive(Message)], trunkline::Bytes, (), trunkline::Streaming of one of those, or \
            trunkline::Annotated"
)]
pub trait IntoReply {
    /// The reply in this serialisation.
    ///
    /// # Errors
    /// The serialisation cannot carry the value.
    fn into_reply(self, how: Serialization) -> Result<Reply, codec::Error>;
}

impl<T: Payload> IntoReply for T {
    fn into_reply(self, how: Serialization) -> Result<Reply, codec::Error> {
        self.into_bytes(how).map(Reply::new)
    }
}

impl<T: Payload + Send + 'static> IntoReply for Streaming<T> {
    fn into_reply(self, how: Serialization) -> Result<Reply, codec::Error> {
        Ok(Reply::new(self.into_frames(how)))
    }
}

impl<T: IntoReply> IntoReply for Annotated<T> {
    fn into_reply(self, how: Serialization) -> Result<Reply, codec::Error> {
        Ok(self.value.into_reply(how)?.with_metadata(self.metadata))
    }
}

/// What a client's method may take: a [`Payload`], or a [`Streaming`] of them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the argument of a service's method",
    note = "take a struct with #[derive(Message)], trunkline::Bytes, (), or trunkline::Streaming of one of those"
)]
pub trait Argument: Sized {
    /// Whether it is a stream.
    const STREAMS: bool;

    /// What a client sends it in, unless it is told otherwise.
    #[doc(hidden)]
    const DEFAULT: Preferred;

    /// The body in this serialisation.
    ///
    /// # Errors
    /// The serialisation cannot carry the value. Of a stream that is said by its item.
    fn into_body(self, how: Serialization) -> Result<Body, codec::Error>;
}

impl<T: Payload> Argument for T {
    const STREAMS: bool = false;
    const DEFAULT: Preferred = T::DEFAULT;

    fn into_body(self, how: Serialization) -> Result<Body, codec::Error> {
        self.into_bytes(how).map(Body::Full)
    }
}

impl<T: Payload + Send + 'static> Argument for Streaming<T> {
    const STREAMS: bool = true;
    const DEFAULT: Preferred = T::DEFAULT;

    fn into_body(self, how: Serialization) -> Result<Body, codec::Error> {
        Ok(Body::Stream(self.into_frames(how)))
    }
}

/// What a client's method may give: a [`Payload`], or a [`Streaming`] of them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the reply of a service's method",
    note = "give a struct with #[derive(Message)], trunkline::Bytes, (), or trunkline::Streaming of one of those"
)]
pub trait FromReply: Sized {
    /// Whether it is a stream: its body is handed over as it is, else when it is whole.
    const STREAMS: bool;

    /// What a client asks for it in, unless it is told otherwise.
    #[doc(hidden)]
    const DEFAULT: Preferred;

    /// The value in a body of this serialisation.
    ///
    /// # Errors
    /// The body is not such a value. Of a stream that is said by its item.
    fn from_body(how: Serialization, body: Body) -> Result<Self, codec::Error>;
}

impl<T: Payload> FromReply for T {
    const STREAMS: bool = false;
    const DEFAULT: Preferred = T::DEFAULT;

    fn from_body(how: Serialization, body: Body) -> Result<Self, codec::Error> {
        match body {
            Body::Full(body) => T::decode_bytes(how, body),
            Body::Stream(_) => Err(codec::Error::body("", "the body is a stream")),
        }
    }
}

impl<T: Payload> FromReply for Streaming<T> {
    const STREAMS: bool = true;
    const DEFAULT: Preferred = T::DEFAULT;

    fn from_body(how: Serialization, body: Body) -> Result<Self, codec::Error> {
        Ok(Self::of(body, how))
    }
}

/// A call that has reached its service, for generated code.
#[derive(Debug)]
pub struct Incoming {
    /// The index of the method in the service's description; no method's where there is none of the name.
    pub method: usize,
    /// The circumstances.
    pub context: Context,
    serialization: Serialization,
    body: Body,
}

impl Incoming {
    /// Finds the method by its number or else by its name, exact or with ASCII letters of another case.
    pub fn new(call: Call, methods: &[&str]) -> Self {
        let number = call.method_id().map(crate::MethodId::index).filter(|index| *index < methods.len());
        let method = number.or_else(|| find(methods, call.method())).unwrap_or(usize::MAX);
        let serialization = call.serialization();
        let (context, body) = call.into_parts();
        Self { method, context, serialization, body }
    }

    /// Whether the body still arrives, so that [`receive`](Incoming::receive) has to wait for it.
    pub fn is_arriving(&self) -> bool {
        matches!(self.body, Body::Stream(_)) && self.method != usize::MAX
    }

    /// Waits for the whole body.
    pub async fn receive(&mut self) -> Result<()> {
        self.body = std::mem::take(&mut self.body).whole_by_own_limit().await?.into();
        Ok(())
    }

    /// The argument. The body is let go, so that a handler that waits does not keep it in memory.
    pub fn argument<A: Payload>(&mut self) -> Result<A> {
        match std::mem::take(&mut self.body) {
            Body::Full(body) => Ok(A::decode_bytes(self.serialization, body)?),
            Body::Stream(_) => Err(not_whole()),
        }
    }

    /// The argument of a method that takes a stream: the items that arrive.
    pub fn stream<T: Payload>(&mut self) -> Streaming<T> {
        Streaming::of(std::mem::take(&mut self.body), self.serialization)
    }

    /// The reply to a method that gives a value.
    pub fn reply<R: IntoReply, E: Into<Status>>(&self, result: Result<R, E>) -> Result<Reply> {
        let value = result.map_err(Into::into)?;
        value.into_reply(self.serialization).map_err(unsaid)
    }

    /// The reply to a method that reads the body where it lies and writes its reply itself.
    pub fn borrow<E: Into<Status>>(
        &self,
        method: impl FnOnce(&[u8], &mut ReplyBuf<'_>) -> Result<(), E>,
    ) -> Result<Reply> {
        let mut out = Vec::new();
        // The server holds the reply against its own limit when it writes it.
        let mut reply = ReplyBuf::new(&mut out, usize::MAX);
        let Body::Full(body) = &self.body else { return Err(not_whole()) };
        method(body, &mut reply).map_err(Into::into)?;
        Ok(Reply::new(out))
    }

    /// The failure of a call to a method that is not there.
    pub fn unknown(&self) -> Status {
        unknown(self.context.method())
    }
}

/// Generated code that forgot to wait for the body.
#[cold]
fn not_whole() -> Status {
    Status::new(Code::Internal, "the body has not arrived")
}

/// The text is the one that clients of rpcx know.
#[cold]
fn unknown(method: &str) -> Status {
    Status::new(Code::NotFound, format!("rpcx: can't find method {method}")).not_begun()
}

/// A reply that cannot be said in the call's serialisation: nothing that the caller wrote is wrong.
#[cold]
fn unsaid(error: codec::Error) -> Status {
    let kind = error.is_unsupported() || error.is_too_large();
    let status = Status::from(error);
    if kind { status } else { Status::new(Code::Internal, status.message().to_owned()) }
}

fn find(methods: &[&str], name: &str) -> Option<usize> {
    let exact = methods.iter().position(|method| *method == name);
    exact.or_else(|| methods.iter().position(|method| method.eq_ignore_ascii_case(name)))
}

/// Answers in place: decoded from the connection's read buffer, encoded into its write buffer.
pub fn answer<A: Payload, R: Payload, E: Into<Status>>(
    request: &Request<'_>,
    reply: &mut ReplyBuf<'_>,
    method: impl FnOnce(A) -> Result<R, E>,
) -> Answer {
    let how = request.serialization();
    let run = || {
        let argument = A::decode(how, request.body())?;
        let value = method(argument).map_err(Into::into)?;
        reply.write_with(|out| value.encode(how, out)).map_err(unsaid)
    };
    Answer::Done(run())
}

/// Answers in place: the method does all of it.
pub fn answer_borrowed<E: Into<Status>>(
    request: &Request<'_>,
    reply: &mut ReplyBuf<'_>,
    method: impl FnOnce(&[u8], &mut ReplyBuf<'_>) -> Result<(), E>,
) -> Answer {
    Answer::Done(method(request.body(), reply).map_err(Into::into))
}

/// The schema of a payload for a description; none where any body will do.
pub fn schema<P: Payload>() -> Option<Schema> {
    Some(P::schema()).filter(|schema| !schema.is_raw())
}

/// Counts the calls of one method of a mock; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Calls(Arc<AtomicUsize>);

impl Calls {
    /// One more.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// How a mock's method that gives `R` fails where it has no closure. An error type that can be made of a
/// [`Status`] gets one; any other cannot say it, so the test that forgot the closure panics with the same text.
///
/// Method resolution chooses: on a `&Missing` it finds [`MissingStatus`] first, and [`MissingPanic`], which needs
/// one more reference, where the first does not hold.
#[derive(Debug)]
pub struct Missing<R>(PhantomData<fn() -> R>);

impl<R> Missing<R> {
    /// For this result.
    #[expect(clippy::new_without_default, reason = "only generated code makes it")]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

/// See [`Missing`].
pub trait MissingStatus<R> {
    /// The failure.
    fn fail(&self, text: &'static str) -> R;
}

impl<R, E: From<Status>> MissingStatus<Result<R, E>> for Missing<Result<R, E>> {
    fn fail(&self, text: &'static str) -> Result<R, E> {
        Err(Status::new(Code::Unsupported, text).into())
    }
}

/// See [`Missing`].
pub trait MissingPanic<R> {
    /// The failure.
    fn fail(&self, text: &'static str) -> R;
}

impl<R> MissingPanic<R> for &Missing<R> {
    #[expect(clippy::panic, reason = "it is a test that lacks a closure")]
    fn fail(&self, text: &'static str) -> R {
        panic!("{text}")
    }
}

#[cfg(test)]
mod tests {
    use trunkline_wire::{CallHead, Compression, Pairs};

    use super::*;
    use crate::server::Router;
    use crate::{NamedService, Peer, Service};

    #[derive(Debug, serde::Serialize, serde::Deserialize, crate::Message)]
    struct Number {
        value: i64,
    }

    #[crate::service]
    trait Quick {
        async fn slow(&self, number: Number) -> Result<Number>;
        fn double(&self, number: Number) -> Result<Number>;
        fn echo(&self, body: &[u8], reply: &mut ReplyBuf<'_>) -> Result<()>;
        fn ping(&self) -> Result<()>;
    }

    struct Machine;

    impl Quick for Machine {
        async fn slow(&self, number: Number) -> Result<Number> {
            Ok(number)
        }

        fn double(&self, number: Number) -> Result<Number> {
            let value = number.value.checked_mul(2).ok_or_else(|| Status::failed("too large"))?;
            Ok(Number { value })
        }

        fn echo(&self, body: &[u8], reply: &mut ReplyBuf<'_>) -> Result<()> {
            reply.extend_from_slice(body);
            Ok(())
        }

        fn ping(&self) -> Result<()> {
            Ok(())
        }
    }

    /// The method's answer in place, behind bytes that were in the buffer before; none where it declines.
    fn in_place(method: &str, serialization: Serialization, body: &[u8]) -> Option<Result<Vec<u8>>> {
        let mut router = Router::default();
        router.add(QuickServer::new(Machine)).unwrap();
        let (route, _) = router.find(b"Quick", method.as_bytes()).unwrap();
        let head = CallHead {
            id: 1,
            service: b"Quick",
            method: method.as_bytes(),
            metadata: Pairs::default(),
            serialization,
            compression: Compression::None,
            one_way: false,
            note: 0,
            repeats: &[],
        };
        let request = Request { method: route.id, head: &head, body, peer: &Peer::Local };
        let mut out = b"before".to_vec();
        let answer = router.answer(&request, &mut ReplyBuf::new(&mut out, 100));
        assert_eq!(route.in_place, matches!(answer, Answer::Done(_)), "the description says what is so");
        assert!(out.starts_with(b"before"));
        match answer {
            Answer::Done(result) => Some(result.map(|()| out.split_off(6))),
            Answer::Declined => None,
        }
    }

    fn code(result: Option<Result<Vec<u8>>>) -> (Code, String) {
        let status = result.unwrap().unwrap_err();
        (status.code(), status.message().to_owned())
    }

    #[test]
    fn plain_methods_are_answered_in_place() {
        let json = Serialization::Json;
        assert_eq!(in_place("Double", json, br#"{"value":21}"#).unwrap().unwrap(), br#"{"value":42}"#);
        assert_eq!(in_place("double", json, br#"{"value":-1}"#).unwrap().unwrap(), br#"{"value":-2}"#);
        assert_eq!(in_place("Echo", Serialization::Raw, b"as it is").unwrap().unwrap(), b"as it is");
        assert_eq!(in_place("Ping", json, b"").unwrap().unwrap(), b"{}");
        assert!(in_place("Slow", json, br#"{"value":1}"#).is_none());
    }

    #[test]
    fn what_is_wrong_in_place_is_said() {
        let json = Serialization::Json;
        let failed = (Code::Failed, "too large".to_owned());
        assert_eq!(code(in_place("Double", json, br#"{"value":9223372036854775807}"#)), failed);
        let (kind, text) = code(in_place("Double", json, br#"{"value":"x"}"#));
        assert_eq!(kind, Code::InvalidInput);
        assert!(text.starts_with("json: field value: "), "{text}");
        assert_eq!(code(in_place("Double", Serialization::Raw, b"1")).0, Code::Unsupported);
        let (kind, text) = code(in_place("Double", Serialization::Other(9), b"1"));
        assert_eq!((kind, text.as_str()), (Code::Unsupported, "can not find codec for 9"));
    }

    #[test]
    fn a_reply_over_the_limit_is_thrown_away() {
        let mut out = Vec::new();
        let mut reply = ReplyBuf::new(&mut out, 100);
        Machine.echo(&[7; 101], &mut reply).unwrap();
        assert!(reply.is_empty() && reply.limit_check().is_err());
    }

    #[test]
    fn a_service_is_described_without_being_called() {
        let info = QuickServer::new(Machine).describe();
        let names: Vec<_> = info.methods.iter().map(|method| (method.name, method.in_place)).collect();
        assert_eq!(names, [("Slow", false), ("Double", true), ("Echo", true), ("Ping", true)]);
    }
}
