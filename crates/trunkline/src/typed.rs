//! Between bodies and Rust values: what the code that `#[service]` generates calls.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll, Waker};

use pin_project_lite::pin_project;
use trunkline_wire::Serialization;

use crate::asked::{self, Outcome};
use crate::codec::{self, Payload, Preferred};
use crate::message::Schema;
use crate::service::{Answer, ReplyBuf, Request, Service};
use crate::{Asked, Body, Call, Code, Context, Metadata, Reply, Result, Status, Streaming};

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

    /// Appends the reply's body to the buffer; or gives the reply, where it is more than a whole body.
    ///
    /// # Errors
    /// As for [`into_reply`](IntoReply::into_reply).
    fn write(self, how: Serialization, buffer: &mut ReplyBuf<'_>) -> Result<Option<Reply>, codec::Error>
    where
        Self: Sized,
    {
        let _ = buffer;
        self.into_reply(how).map(Some)
    }
}

impl<T: Payload> IntoReply for T {
    fn into_reply(self, how: Serialization) -> Result<Reply, codec::Error> {
        self.into_bytes(how).map(Reply::new)
    }

    #[inline]
    fn write(self, how: Serialization, buffer: &mut ReplyBuf<'_>) -> Result<Option<Reply>, codec::Error> {
        buffer.write_with(|out| self.encode(how, out)).map(|()| None)
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

/// The called method's index in its service's description, by its number or else by its name, exact or with ASCII
/// letters of another case; no method's where there is none of the name.
#[inline]
pub fn method(call: &Call, methods: &[&str]) -> usize {
    let number = call.method_id().map(crate::MethodId::index).filter(|index| *index < methods.len());
    match number {
        Some(number) => number,
        None => find(methods, call.method()).unwrap_or(usize::MAX),
    }
}

/// Whether the body still arrives, so that somebody has to wait for it ([`arrive`]).
#[inline]
pub fn is_arriving(call: &Call) -> bool {
    matches!(call.body, Body::Stream(_))
}

/// Waits for the whole body, then makes the call.
pub fn arrive<'a, S: Service>(service: &'a S, asked: &mut Asked<'_, 'a>) {
    let mut call = asked.take_call();
    asked.ask(async move {
        call.body = std::mem::take(&mut call.body).whole_by_own_limit().await?.into();
        asked::call(service, call).await
    });
}

/// Makes a call of a service that says how a call is begun.
pub fn call<S: Service>(service: &S, call: Call) -> impl Future<Output = Result<Reply>> + Send {
    asked::call(service, call)
}

/// The argument. The body is let go, so that a handler that waits does not keep it in memory. Where there is none the
/// call has failed.
#[inline(always)]
pub fn argument<A: Payload>(asked: &mut Asked<'_, '_>) -> Option<A> {
    let argument = match std::mem::take(&mut asked.call.body) {
        Body::Full(body) => A::decode_bytes(asked.call.serialization, body).map_err(Status::from),
        Body::Stream(_) => Err(not_whole()),
    };
    argument.map_err(|status| asked.end(Err(status))).ok()
}

/// The argument of a method that takes a stream: the items that arrive.
pub fn stream<T: Payload>(asked: &mut Asked<'_, '_>) -> Streaming<T> {
    Streaming::of(std::mem::take(&mut asked.call.body), asked.call.serialization)
}

/// The circumstances of the call, for a method that wants them.
pub fn take_context(asked: &mut Asked<'_, '_>) -> Context {
    asked.call.context.take()
}

pin_project! {
    /// The future of a method that gives a value, as one that gives a reply.
    struct Replying<F> {
        #[pin]
        method: F,
        how: Serialization,
    }
}

impl<F, R, E> Future for Replying<F>
where
    F: Future<Output = Result<R, E>>,
    R: IntoReply,
    E: Into<Status>,
{
    type Output = Result<Reply>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Result<Reply>> {
        let this = self.project();
        this.method.poll(cx).map(|result| into_reply(*this.how, result))
    }
}

/// Asks a method that gives a value once.
#[inline(always)]
pub fn ask<'a, R: IntoReply, E: Into<Status>>(
    asked: &mut Asked<'_, 'a>,
    method: impl Future<Output = Result<R, E>> + Send + 'a,
) {
    let how = asked.call.serialization;
    let mut replying = Box::pin(Replying { method, how });
    match replying.as_mut().project().method.poll(&mut TaskContext::from_waker(Waker::noop())) {
        Poll::Ready(result) => reply(asked, result),
        Poll::Pending => asked.outcome = Outcome::Waits(replying),
    }
}

/// The reply to a method that gives a value.
#[inline(always)]
pub fn reply<R: IntoReply, E: Into<Status>>(asked: &mut Asked<'_, '_>, result: Result<R, E>) {
    let how = asked.call.serialization;
    let (value, buffer) = match (result, &mut asked.buffer) {
        (Ok(value), Some(buffer)) => (value, buffer),
        (result, _) => return asked.end(into_reply(how, result)),
    };
    asked.outcome = match value.write(how, buffer) {
        Ok(None) => written(buffer),
        Ok(Some(reply)) => Outcome::Ended(Ok(reply)),
        Err(error) => Outcome::Ended(Err(unsaid(error))),
    };
}

/// The reply is in the buffer, as far as the buffer takes it.
#[inline(always)]
fn written<'a>(buffer: &ReplyBuf<'_>) -> Outcome<'a> {
    match buffer.limit_check() {
        Ok(()) => Outcome::Written,
        Err(status) => Outcome::Ended(Err(status)),
    }
}

fn into_reply<R: IntoReply, E: Into<Status>>(how: Serialization, result: Result<R, E>) -> Result<Reply> {
    let value = result.map_err(Into::into)?;
    value.into_reply(how).map_err(unsaid)
}

/// The reply to a method that reads the body where it lies and writes its reply itself.
pub fn borrow<E: Into<Status>>(
    asked: &mut Asked<'_, '_>,
    method: impl FnOnce(&[u8], &mut ReplyBuf<'_>) -> Result<(), E>,
) {
    let Body::Full(body) = &asked.call.body else { return asked.end(Err(not_whole())) };
    asked.outcome = match &mut asked.buffer {
        Some(buffer) => match method(body, buffer) {
            Ok(()) => written(buffer),
            Err(error) => Outcome::Ended(Err(error.into())),
        },
        None => {
            let mut out = Vec::new();
            // The server holds the reply against its own limit when it writes it.
            let result = method(body, &mut ReplyBuf::new(&mut out, usize::MAX));
            Outcome::Ended(result.map(|()| Reply::new(out)).map_err(Into::into))
        }
    };
}

/// Generated code that forgot to wait for the body.
#[cold]
fn not_whole() -> Status {
    Status::new(Code::Internal, "the body has not arrived")
}

/// There is no such method. The text is the one that clients of rpcx know.
#[cold]
pub fn unknown(asked: &mut Asked<'_, '_>) {
    let text = format!("rpcx: can't find method {}", asked.call.method());
    asked.end(Err(Status::new(Code::NotFound, text).not_begun()));
}

/// A reply that cannot be said in the call's serialisation: nothing that the caller wrote is wrong.
#[cold]
fn unsaid(error: codec::Error) -> Status {
    let kind = error.is_unsupported() || error.is_too_large();
    let status = Status::from(error);
    if kind { status } else { Status::new(Code::Internal, status.message().to_owned()) }
}

/// The index of the method of this name, exact or with ASCII letters of another case.
pub(crate) fn find(methods: &[&str], name: &str) -> Option<usize> {
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
        let route = router.find_route(b"Quick", method.as_bytes()).unwrap();
        let head = CallHead {
            id: 1,
            service: b"Quick",
            method: method.as_bytes(),
            again: false,
            metadata: Pairs::default(),
            serialization,
            compression: Compression::None,
            one_way: false,
            note: 0,
            repeats: &[],
            uri: &[],
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
