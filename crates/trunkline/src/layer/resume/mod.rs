//! Streams that go on over the next connection when theirs is lost: the server's part, as a layer.

mod flow;
mod table;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::flow::Owner;
use self::table::Table;
use super::Layer;
use crate::asked;
use crate::metadata::{STREAM, STREAM_WINDOW};
use crate::service::{Answer, ReplyBuf, Request};
use crate::{Asked, Body, BodyStream, Call, Code, Metadata, Reply, Result, Serialization, Service, Status};

/// What a caller says under [`STREAM`] that wants a stream which can go on.
pub(crate) const NEW: &str = "new";

/// The paths of the calls that the layer answers itself. Their body is [`Control`] in JSON.
///
/// The reply is the stream from behind [`Control::after`], after a frame of its own ([`Resumed`]).
pub(crate) const RESUME: &str = "/trunkline/stream/resume";
/// All frames up to [`Control::after`] have come.
pub(crate) const ACK: &str = "/trunkline/stream/ack";
/// Nobody reads the stream any more.
pub(crate) const END: &str = "/trunkline/stream/end";

/// Which stream a call is about, and which of its frames was the last that came: they are counted from 1.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Control {
    pub(crate) stream: String,
    pub(crate) after: u64,
}

/// The first frame of a stream that goes on, which is not counted: it answers although its maker has nothing to say yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resumed {
    /// The number of the frame that comes next.
    pub(crate) next: u64,
}

/// The longest body of a call of the layer's own: far more than a name of a stream is long.
const MOST_CONTROL: usize = 4 << 10;

/// Lets streamed replies outlive their connection: a caller that has lost it goes on with the same stream over the next
/// one, without a frame lost or doubled. `client::Resuming` is such a caller.
///
/// ```
/// use trunkline::client::{Channel, Resuming};
/// use trunkline::layer::Resume;
/// use trunkline::{Result, Server, Streaming};
///
/// #[trunkline::service]
/// trait Clock {
///     async fn strikes(&self, hour: String) -> Result<Streaming<String>>;
/// }
///
/// struct Wall;
///
/// impl Clock for Wall {
///     async fn strikes(&self, hour: String) -> Result<Streaming<String>> {
///         Ok(Streaming::iter([hour, "bong".into(), "bong".into()]))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let builder = Server::builder().serve(ClockServer::new(Wall)).layer(Resume::new());
/// let server = builder.listen("127.0.0.1:0").start().await?;
/// let url = server.url().replace("rpcx://", "iip://");
/// let clock = ClockClient::new(Resuming::new(Channel::connect(&url).await?));
/// assert_eq!(clock.strikes("two".into()).await?.all(10).await?, ["two", "bong", "bong"]);
/// # Ok(()) }
/// ```
///
/// # What is kept
/// A caller asks for it by the metadata `__trunkline_stream: new`; the reply's metadata has the stream's name under the
/// same key, of 128 bits that cannot be guessed and the method. Its frames stay here until the caller has acknowledged
/// them, up to a number of [bytes](Resume::buffer): over it whatever makes the stream is not asked for more. When the
/// reply is dropped before its end was acknowledged (the connection is lost, or the caller has cancelled the call),
/// the stream is parked for a [time](Resume::grace), together with what makes it, which is not asked meanwhile. A stream
/// that has ended is kept as long, until its caller has said that it knows.
///
/// The deadline of the call covers the stream across all its connections.
///
/// # Who may go on with it
/// Whoever knows the name and has the same token (`__AUTH`) as the call that began it. To everybody else the stream is not
/// there: [`Code::NotFound`], marked as not begun. A stream that is read still is taken over: its old connection may be lost
/// without the server's knowing, and the reply on it ends with [`Code::Cancelled`].
///
/// A server that stops keeps nothing more for streams that run: they go on to their end, as far as it waits for them, and
/// cannot be taken up again.
///
/// The caller's further calls are ordinary calls of the paths `/trunkline/stream/resume`, `…/ack` and `…/end`, with the
/// metadata of the first one. They pass the server's policies, and layers that are added after this one; those that are
/// added before it see the first call alone.
///
/// # On which wires
/// On those that carry streams between Trunkline peers: IIP. Over HTTP, and for callers that do not ask, streams are as
/// they are without the layer. Where the request is a stream as well, that is cut with its connection, so that what
/// depends on it fails.
#[derive(Debug, Clone)]
pub struct Resume(Settings);

#[derive(Debug, Clone)]
struct Settings {
    buffer: usize,
    grace: Duration,
    parked: usize,
    streams: usize,
}

impl Default for Resume {
    fn default() -> Self {
        Self::new()
    }
}

impl Resume {
    /// With the usual settings.
    #[must_use]
    pub fn new() -> Self {
        Self(Settings { buffer: 256 << 10, grace: Duration::from_secs(30), parked: 1024, streams: 4096 })
    }

    /// How many bytes of a stream wait for their acknowledgement before its maker has to; each frame counts 64 bytes more
    /// than it has. One frame of any size always fits, so that a stream holds so much and one frame. Default 256 KiB.
    #[must_use]
    pub fn buffer(mut self, bytes: usize) -> Self {
        self.0.buffer = bytes.max(1);
        self
    }

    /// How long a stream is kept that nobody reads; at most a day. Default 30 s.
    #[must_use]
    pub fn grace(mut self, time: Duration) -> Self {
        self.0.grace = time.min(Duration::from_secs(86_400));
        self
    }

    /// The most streams that are kept although nobody reads them; for one more the one that has waited longest is dropped.
    /// Default 1,024.
    #[must_use]
    pub fn parked(mut self, streams: usize) -> Self {
        self.0.parked = streams;
        self
    }

    /// The most streams that can go on, those that are parked among them; one more is an ordinary stream. Default 4,096.
    #[must_use]
    pub fn streams(mut self, streams: usize) -> Self {
        self.0.streams = streams;
        self
    }
}

impl<S: Service> Layer<S> for Resume {
    type Service = Resumable<S>;

    fn layer(self, inner: S) -> Resumable<S> {
        Resumable { inner, table: Arc::new(Table::new(self.0)) }
    }
}

/// See [`Resume`]. A clone keeps the same streams.
#[derive(Debug, Clone)]
pub struct Resumable<S> {
    inner: S,
    table: Arc<Table>,
}

impl<S: Service> Resumable<S> {
    /// Makes a call whose reply may become a stream that can go on.
    async fn begin(&self, call: Call) -> Result<Reply> {
        let (owner, context) = (Owner::of(&call), call.context.clone());
        let reply = asked::call(&self.inner, call).await?;
        let Reply { body: Body::Stream(stream), metadata } = reply else { return Ok(reply) };
        let metadata = metadata.into_inner();
        let (stream, name) = self.table.begin(stream, owner, &context);
        let Some(name) = name else { return Ok(Reply::new(stream).with_metadata(metadata)) };
        let window = self.table.settings().buffer.to_string();
        let pairs = Metadata::builder().with_all(metadata.pairs());
        let metadata = pairs.with(STREAM, &name).with(STREAM_WINDOW, &window).build();
        Ok(Reply::new(stream).with_metadata(metadata))
    }

    /// Answers a call of the layer's own.
    fn control(&self, call: &Call) -> Result<Reply> {
        let Body::Full(body) = &call.body else { return Err(unreadable()) };
        if body.len() > MOST_CONTROL {
            return Err(unreadable());
        }
        let Control { stream, after } = serde_json::from_slice(body).map_err(|_| unreadable())?;
        let token = flow::token(call);
        match call.method() {
            RESUME => {
                let (stream, deadline) = self.table.resume(&stream, call, after)?;
                let stream = BodyStream::pulled(stream);
                Ok(Reply::new(match deadline {
                    Some(deadline) => stream.until(deadline),
                    None => stream,
                }))
            }
            ACK => self.table.acknowledge(&stream, token, after).map(|()| done()),
            _ => self.table.end(&stream, token).map(|()| done()),
        }
    }
}

#[cold]
fn unreadable() -> Status {
    let text = "a call about a stream has the body {\"stream\":…,\"after\":…}";
    Status::new(Code::InvalidInput, text).not_begun()
}

fn done() -> Reply {
    Reply::new("{}")
}

/// Whether the call is one of the layer's own.
fn is_control(call: &Call) -> bool {
    call.service().is_empty() && matches!(call.method(), RESUME | ACK | END)
}

/// Whether a reply to the call, if it is a stream, is to be one that can go on.
fn asks(call: &Call) -> bool {
    call.metadata().get(STREAM) == Some(NEW)
        && !call.one_way
        && !matches!(call.body, Body::Stream(_))
        && call.context.connection.as_ref().is_none_or(|connection| connection.can_resume)
}

impl<S: Service> Service for Resumable<S> {
    fn call(&self, call: Call) -> impl Future<Output = Result<Reply>> + Send {
        asked::call(self, call)
    }

    #[inline]
    fn start<'a>(&'a self, asked: &mut Asked<'_, 'a>) {
        if asked.call.method.is_none() && is_control(&asked.call) {
            let result = self.control(&asked.call);
            return asked.end(result);
        }
        if asked.call.metadata().is_empty() || !asks(&asked.call) {
            return self.inner.start(asked);
        }
        let call = asked.take_call();
        asked.ask(self.begin(call));
    }

    fn answer(&self, request: &Request<'_>, reply: &mut ReplyBuf<'_>) -> Answer {
        // A plain `fn` gives no stream.
        self.inner.answer(request, reply)
    }

    fn serialization(&self) -> Serialization {
        self.inner.serialization()
    }
}

#[cfg(test)]
mod tests;
