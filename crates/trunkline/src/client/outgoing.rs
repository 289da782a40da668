//! A call that is about to be made: its settings, and the three ways to make it.

use std::future::{self, IntoFuture, Ready};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use futures_util::future::{Either, Map};
use futures_util::{FutureExt, TryFutureExt};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use trunkline_wire::Serialization;

#[cfg(feature = "netrpc")]
use super::Client;
use crate::call::Names;
use crate::codec::Preferred;
use crate::trace;
use crate::typed::{Annotated, Argument, FromReply};
use crate::{Body, Call, Code, Context, Metadata, Name, Reply, Result, Service, Status};

/// A call of a typed method that is about to be made. Nothing happens until it is awaited (or [`send`] is).
///
/// `S` is what it is made through, `A` its argument, `T` its reply. Generated clients make it:
///
/// ```
/// # use std::time::Duration;
/// # use trunkline::{Bytes, Result, Service, Serialization, client::Outgoing};
/// # async fn f(channel: &impl Service) -> Result<()> {
/// let call: Outgoing<'_, _, Bytes, Bytes> = Outgoing::new(channel, "Echo", "Echo", Bytes::from("hello"));
/// let reply = call.timeout(Duration::from_millis(200)).metadata_pair("tenant", "a").await?;
/// # drop(reply);
/// # Ok(()) }
/// ```
///
/// A deadline is kept by what the call goes through: a channel, or a
/// [`DeadlineLayer`](crate::layer::DeadlineLayer) around a service of the same process. A channel gives a call
/// that has none one of 10 s; where the reply is a stream, that is the time until it begins.
///
/// [`send`]: Outgoing::send
#[derive(Debug)]
#[must_use = "a call is made when it is awaited"]
pub struct Outgoing<'a, S, A, T> {
    service: &'a S,
    name: Name,
    method: Name,
    argument: A,
    /// None where it is for the service to say.
    serialization: Option<Serialization>,
    deadline: Option<Instant>,
    metadata: Metadata,
    /// What the call takes over from the one that it is part of.
    carried: Metadata,
    compress: bool,
    idempotent: bool,
    reply: PhantomData<fn() -> T>,
}

impl<'a, S, A: Argument, T: FromReply> Outgoing<'a, S, A, T> {
    /// A call of this method with this argument: in what the service asks for ([`Service::serialization`]; over
    /// HTTP that is JSON, on Go's net/rpc gob and nothing else, else MessagePack), or raw where the argument is [`Bytes`](crate::Bytes) or `String`, or
    /// in protobuf where it is a type of prost's.
    pub fn new(service: &'a S, name: impl Into<Name>, method: impl Into<Name>, argument: A) -> Self {
        Self {
            service,
            name: name.into(),
            method: method.into(),
            argument,
            serialization: Preferred::of_call(A::DEFAULT, T::DEFAULT),
            deadline: None,
            metadata: Metadata::new(),
            carried: Metadata::new(),
            compress: false,
            idempotent: false,
            reply: PhantomData,
        }
    }
}

impl<S, A, T> Outgoing<'_, S, A, T> {
    /// The call may take this long from now, whatever it waits for.
    pub fn timeout(self, time: Duration) -> Self {
        let now = Instant::now();
        // What is too far off to be said is as good as a century.
        let at = now.checked_add(time).unwrap_or_else(|| now + Duration::from_secs(100 * 365 * 86_400));
        self.deadline(at)
    }

    /// The call must have ended by then. Of several deadlines the soonest counts.
    pub fn deadline(mut self, at: Instant) -> Self {
        self.deadline = Some(self.deadline.map_or(at, |sooner| sooner.min(at)));
        self
    }

    /// The call is part of the work for another one: it ends at the latest when that one's time is over, and
    /// belongs to its trace. Of the other's metadata `traceparent` and `tracestate`, `ot-tracer-…` and `ot-baggage-…`
    /// go on, as far as they can be read; a key that is set by hand, before or after, wins. Of several such calls the
    /// last one's trace counts.
    pub fn within(mut self, context: &Context) -> Self {
        self.carried = trace::carried(context.metadata());
        match context.deadline() {
            Some(at) => self.deadline(at),
            None => self,
        }
    }

    /// Sends this metadata, instead of what was set before.
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// Sends this pair of metadata, too.
    pub fn metadata_pair(mut self, key: &str, value: &str) -> Self {
        self.metadata = Metadata::builder().with_all(self.metadata.pairs()).with(key, value).build();
        self
    }

    /// Serialises argument and reply this way.
    pub fn serialization(mut self, serialization: Serialization) -> Self {
        self.serialization = Some(serialization);
        self
    }

    /// Compresses the body on the way, where the wire can and it is worth it.
    pub fn compressed(mut self) -> Self {
        self.compress = true;
        self
    }

    /// Marks the call as one that may run twice without harm. Methods with `#[idempotent]` are so already.
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }
}

impl<'a, S, A, T> Outgoing<'a, S, A, T>
where
    S: Service,
    A: Argument + Send,
    T: FromReply,
{
    /// Makes the call; where the reply is a stream, until that begins. `.await` on the call itself is the same with one
    /// allocation more, for the future's name. The argument is serialised at once, not when the future is polled first; a
    /// channel or a client sends nothing before that.
    ///
    /// # Errors
    /// Whatever ended the call. A body that cannot be read is [`Code::InvalidInput`] with codec and field, a
    /// serialisation that cannot carry it [`Code::Unsupported`].
    pub fn send(self) -> impl Future<Output = Result<T>> + Send + use<'a, S, A, T> {
        self.sending(S::call).map_ok(|reply| reply.value)
    }

    /// Makes the call, for the reply with its metadata.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub fn annotated(self) -> impl Future<Output = Result<Annotated<T>>> + Send + use<'a, S, A, T> {
        self.sending(S::call)
    }

    /// Makes the call without waiting for an answer: it is done when the request is on its way.
    ///
    /// # Errors
    /// The request could not be sent. What becomes of it at the service is not told. A method that streams cannot be
    /// called so: [`Code::Unsupported`].
    pub async fn one_way(self) -> Result<()> {
        if A::STREAMS || T::STREAMS {
            let text = format!("{}.{} streams, so it cannot be called one-way", self.name, self.method);
            return Err(Status::new(Code::Unsupported, text).not_begun());
        }
        self.run(true).await.map(drop)
    }

    async fn run(self, one_way: bool) -> Result<Reply> {
        let service = self.service;
        service.call(self.into_call(one_way)?).await
    }
}

impl<'a, S: Service, A: Argument, T: FromReply> Outgoing<'a, S, A, T> {
    /// The call as it is made by `call`, and then its reply.
    #[inline(always)]
    fn sending<F>(self, call: impl FnOnce(&'a S, Call) -> F) -> Made<F, T>
    where
        F: Future<Output = Result<Reply>>,
    {
        let (service, serialization, deadline) = (self.service, self.settled(), self.deadline);
        match self.into_call(false) {
            Ok(made) => {
                let names = made.context.names.clone();
                let reading = Reading { names, serialization, deadline, reply: PhantomData };
                let step = Step::Calling { calling: call(service, made) };
                Either::Left(Sending { step, reading })
            }
            Err(status) => Either::Right(future::ready(status).map(Err as fn(_) -> _)),
        }
    }

    /// What argument and reply are serialised in.
    fn settled(&self) -> Serialization {
        match self.service.serialization() {
            // A wire that says so carries nothing else.
            Serialization::Gob => Serialization::Gob,
            usual => self.serialization.unwrap_or(usual),
        }
    }

    /// The call as it is made.
    pub(super) fn into_call(self, one_way: bool) -> Result<Call> {
        let serialization = self.settled();
        let body = self.argument.into_body(serialization).map_err(|error| {
            let code = if error.is_unsupported() { Code::Unsupported } else { Code::InvalidInput };
            let text = format!("the argument of {}.{}: {error}", self.name, self.method);
            Status::new(code, text)
        })?;
        let mut call = Call::new(self.name, self.method, serialization, body);
        call.context.deadline = self.deadline;
        if !(self.metadata.is_empty() && self.carried.is_empty()) {
            call = call.with_metadata(trace::merged(self.metadata, self.carried));
        }
        call.compress = self.compress;
        call.idempotent = self.idempotent;
        call.one_way = one_way;
        call.streams = T::STREAMS;
        Ok(call)
    }
}

#[cfg(feature = "netrpc")]
impl<A: Argument, T: FromReply> Outgoing<'_, Client, A, T> {
    /// [`send`](Outgoing::send) by a future that has the client for itself.
    #[inline(always)]
    pub(crate) fn send_owned(self) -> impl Future<Output = Result<T>> + Send + use<A, T> {
        self.sending(Client::call_owned).map_ok(|reply| reply.value)
    }
}

/// A call that was made, or why it cannot be.
type Made<F, T> = Either<Sending<F, T>, Map<Ready<Status>, fn(Status) -> Result<Annotated<T>>>>;

pin_project! {
    /// A call and then its reply. It is written out by hand: the future of an `async fn` has a place for each thing that
    /// is handed on in it, and a call would stand there several times.
    #[must_use = "a call is made when it is polled"]
    struct Sending<F, T> {
        #[pin]
        step: Step<F>,
        reading: Reading<T>,
    }
}

pin_project! {
    #[project = StepProjection]
    enum Step<F> {
        Calling { #[pin] calling: F },
        // The reply comes in frames and is wanted whole.
        Arriving { whole: Pin<Box<dyn Future<Output = Result<(Body, Metadata)>> + Send>> },
    }
}

/// What a reply is read by.
struct Reading<T> {
    names: Names,
    serialization: Serialization,
    /// Until when a stream may take.
    deadline: Option<Instant>,
    reply: PhantomData<fn() -> T>,
}

impl<F: Future<Output = Result<Reply>>, T: FromReply> Future for Sending<F, T> {
    type Output = Result<Annotated<T>>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let (body, metadata) = loop {
            let calling = match this.step.as_mut().project() {
                StepProjection::Calling { calling } => calling,
                StepProjection::Arriving { whole } => break ready!(whole.as_mut().poll(cx))?,
            };
            match ready!(calling.poll(cx))?.into_parts() {
                (body @ Body::Stream(_), metadata) if !T::STREAMS => {
                    let whole = body.whole_by_own_limit();
                    let whole = Box::pin(async move { Ok((Body::Full(whole.await?), metadata)) });
                    this.step.set(Step::Arriving { whole });
                }
                parts => break parts,
            }
        };
        Poll::Ready(this.reading.read(body, metadata))
    }
}

impl<T: FromReply> Reading<T> {
    fn read(&self, body: Body, metadata: Metadata) -> Result<Annotated<T>> {
        let body = match (body, self.deadline) {
            (Body::Stream(stream), Some(deadline)) => Body::Stream(stream.until(deadline)),
            (body, _) => body,
        };
        match T::from_body(self.serialization, body) {
            Ok(value) => Ok(Annotated { value, metadata }),
            Err(error) => {
                let status = Status::from(error);
                let text = format!("the reply of {:?}: {}", self.names, status.message());
                Err(Status::new(status.code(), text))
            }
        }
    }
}

impl<'a, S, A, T> IntoFuture for Outgoing<'a, S, A, T>
where
    S: Service,
    A: Argument + Send + 'a,
    T: FromReply + 'a,
{
    type Output = Result<T>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}
