//! What answers calls.

use std::future::Future;
use std::pin::Pin;

use trunkline_wire::{CallHead, Pairs, Serialization};

use crate::describe::ServiceInfo;
use crate::{Asked, Call, Code, MethodId, Peer, Reply, Result, Status};

/// Something that answers calls. Layers are services around services; a client is one too.
///
/// Static all the way down: a stack of layers compiles into one future. The one place where types are erased is
/// the router, which holds services of different kinds.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not answer calls",
    note = "a channel is passed by value: a clone is the same channel, as is one behind an Arc"
)]
pub trait Service: Send + Sync + 'static {
    /// Answers one call. The future is dropped when nobody wants the answer any more.
    fn call(&self, call: Call) -> impl Future<Output = Result<Reply>> + Send;

    /// Begins a call and asks it once: a server does so, since most calls are ready then. What is ready costs no future
    /// of the layers around it, and its reply's body goes to where it leaves from. What came of it is left in `asked`.
    ///
    /// A service that says nothing of it is called by [`Service::call`], and asked once. One that does has to end the call
    /// ([`Asked::end`]) or have it asked ([`Asked::ask`]): else its caller gets an empty reply.
    fn start<'a>(&'a self, asked: &mut Asked<'_, 'a>) {
        let call = asked.take_call();
        asked.ask(self.call(call));
    }

    /// Answers a call on the spot, from the borrowed body into the connection's write buffer, where the method
    /// is a plain `fn`. A service that cannot says [`Answer::Declined`] and is called by [`Service::call`].
    fn answer(&self, request: &Request<'_>, reply: &mut ReplyBuf<'_>) -> Answer {
        let _ = (request, reply);
        Answer::Declined
    }

    /// What a client sends messages in where neither the call nor the message's type says. A channel says what its
    /// wire carries best; a service around another one says what that one does.
    fn serialization(&self) -> Serialization {
        Serialization::MessagePack
    }
}

/// A service with a name and a description of its methods: what `#[service]` makes.
pub trait NamedService: Service {
    /// The name and the methods; a call's [`MethodId::index`] counts in their order.
    ///
    /// What wraps another service and hands its description on sets
    /// [`context`](crate::describe::MethodInfo::context) where it looks at the peer, the wire or the pusher of calls
    /// itself: methods that do not want them are not given them.
    fn describe(&self) -> ServiceInfo;
}

/// What came of the attempt to answer on the spot.
#[derive(Debug)]
pub enum Answer {
    /// The reply is in the buffer, or the call failed.
    Done(Result<()>),
    /// This has to be called by [`Service::call`]. Nothing was done.
    Declined,
}

/// A call that is looked at where it lies: in the connection's read buffer.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub(crate) method: MethodId,
    pub(crate) head: &'a CallHead<'a>,
    pub(crate) body: &'a [u8],
    pub(crate) peer: &'a Peer,
}

impl<'a> Request<'a> {
    /// The method's number in its server's table.
    #[must_use]
    pub fn method_id(&self) -> MethodId {
        self.method
    }

    /// The body, whole.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The caller's metadata.
    #[must_use]
    pub fn metadata(&self) -> Pairs<'a> {
        self.head.metadata
    }

    /// How the body is serialised; the reply has to be the same.
    #[must_use]
    pub fn serialization(&self) -> Serialization {
        self.head.serialization
    }

    /// Who calls.
    #[must_use]
    pub fn peer(&self) -> &'a Peer {
        self.peer
    }
}

/// Where a plain `fn` writes its reply: the end of the connection's write buffer, up to the body limit.
#[derive(Debug)]
pub struct ReplyBuf<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    limit: usize,
    over: bool,
}

impl<'a> ReplyBuf<'a> {
    /// Writes at the end of `out`, at most `limit` bytes.
    pub fn new(out: &'a mut Vec<u8>, limit: usize) -> Self {
        let start = out.len();
        Self { out, start, limit, over: false }
    }

    /// Appends bytes. What goes over the limit is not kept, and the call fails.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        if bytes.len() > self.limit.saturating_sub(self.len()) {
            self.over = true;
        } else {
            self.out.extend_from_slice(bytes);
        }
    }

    /// Lets an encoder append to the buffer itself; over the limit its work is thrown away and the call fails.
    ///
    /// # Errors
    /// What the encoder says.
    pub fn write_with<E>(&mut self, encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        encode(self.out)?;
        if self.len() > self.limit {
            self.over = true;
            self.clear();
        }
        Ok(())
    }

    /// How many bytes the reply has so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len().saturating_sub(self.start)
    }

    /// Whether the reply has no bytes so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Throws away what was written.
    pub fn clear(&mut self) {
        self.out.truncate(self.start);
    }

    #[inline]
    pub(crate) fn limit_check(&self) -> Result<()> {
        if self.over { Err(reply_over_limit(self.limit)) } else { Ok(()) }
    }
}

/// The failure of a reply whose body is over the limit.
pub(crate) fn reply_over_limit(limit: usize) -> Status {
    let text = format!(
        "the reply's body is over the limit of {limit} bytes (setting body_limit, flag --body-limit)"
    );
    Status::new(Code::TooLarge, text)
}

/// A future that answers a call, with its type erased.
pub type BoxFuture<'a> = Pin<Box<dyn Future<Output = Result<Reply>> + Send + 'a>>;

/// A [`Service`] with its type erased, for the router and for users who must hold different ones.
pub trait DynService: Send + Sync + 'static {
    /// As [`Service::call`].
    fn call_boxed(&self, call: Call) -> BoxFuture<'_>;
    /// As [`Service::start`].
    fn start_dyn<'a>(&'a self, asked: &mut Asked<'_, 'a>);
    /// As [`Service::answer`].
    fn answer_dyn(&self, request: &Request<'_>, reply: &mut ReplyBuf<'_>) -> Answer;
    /// As [`Service::serialization`].
    fn serialization_dyn(&self) -> Serialization;
}

impl<S: Service> DynService for S {
    fn call_boxed(&self, call: Call) -> BoxFuture<'_> {
        Box::pin(self.call(call))
    }

    fn start_dyn<'a>(&'a self, asked: &mut Asked<'_, 'a>) {
        self.start(asked);
    }

    fn answer_dyn(&self, request: &Request<'_>, reply: &mut ReplyBuf<'_>) -> Answer {
        self.answer(request, reply)
    }

    fn serialization_dyn(&self) -> Serialization {
        self.serialization()
    }
}

impl Service for Box<dyn DynService> {
    fn call(&self, call: Call) -> impl Future<Output = Result<Reply>> + Send {
        (**self).call_boxed(call)
    }

    fn start<'a>(&'a self, asked: &mut Asked<'_, 'a>) {
        (**self).start_dyn(asked);
    }

    fn answer(&self, request: &Request<'_>, reply: &mut ReplyBuf<'_>) -> Answer {
        (**self).answer_dyn(request, reply)
    }

    fn serialization(&self) -> Serialization {
        (**self).serialization_dyn()
    }
}

impl<S: Service> Service for std::sync::Arc<S> {
    fn call(&self, call: Call) -> impl Future<Output = Result<Reply>> + Send {
        (**self).call(call)
    }

    #[inline]
    fn start<'a>(&'a self, asked: &mut Asked<'_, 'a>) {
        (**self).start(asked);
    }

    fn answer(&self, request: &Request<'_>, reply: &mut ReplyBuf<'_>) -> Answer {
        (**self).answer(request, reply)
    }

    fn serialization(&self) -> Serialization {
        (**self).serialization()
    }
}

/// A service made of an async function.
///
/// ```
/// use trunkline::{Call, Reply, service_fn};
/// let echo = service_fn(|call: Call| async move { Ok(Reply::new(call.into_parts().1)) });
/// # let _ = echo;
/// ```
pub fn service_fn<F, R>(function: F) -> ServiceFn<F>
where
    F: Fn(Call) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Reply>> + Send + 'static,
{
    ServiceFn(function)
}

/// What [`service_fn`] makes.
#[derive(Debug, Clone)]
pub struct ServiceFn<F>(F);

impl<F, R> Service for ServiceFn<F>
where
    F: Fn(Call) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Reply>> + Send + 'static,
{
    fn call(&self, call: Call) -> impl Future<Output = Result<Reply>> + Send {
        (self.0)(call)
    }
}
