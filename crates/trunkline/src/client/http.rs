//! Calls over HTTP/1.1: `POST /Service/Method` with the body as JSON, or as it is. What plain HTTP cannot say, another
//! serialisation or that no answer is wanted, is said by rpcx's headers beside it.
//!
//! A connection serves one call at a time, and whoever makes the call polls it: there is no task behind it, and
//! a call that is dropped closes its connection, which is the one thing that tells an HTTP server that nobody
//! waits any more. A connection whose answer was read to the end is kept for the next call.

use std::future::poll_fn;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use trunkline_wire::{Limits, Serialization};

use super::dial::{ConnectionState, dial};
use super::http_connection::{Connection, Lost};
use super::http_streams::{self, Arriving};
use super::settings::Settings;
use crate::metadata::{AUTH, is_reserved};
use crate::net::http_body::OutBody;
use crate::net::{Address, pairs};
use crate::{Body, BodyStream, Call, Code, Metadata, Origin, Reply, Result, Status};

/// The wire's name in origins.
pub(super) const NAME: &str = "http";

/// How many connections are kept for the next calls; what is more is closed when its call has ended.
const IDLE: usize = 16;

/// How long a connection is kept. What lies in between may have forgotten an older one without a word.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// The longest text of an answer that is no failure of ours to be shown as its message, in bytes.
const SHOWN: usize = 256;

/// An endpoint that is called over HTTP.
pub(super) struct Http {
    address: Address,
    host: HeaderValue,
    limits: Arc<Limits>,
    calls: usize,
    places: Arc<Semaphore>,
    dial_timeout: Duration,
    state: watch::Sender<ConnectionState>,
    /// The connection that was used last is at the end, and is used first.
    idle: std::sync::Mutex<Vec<(Connection, Instant)>>,
    name: String,
}

/// A call as it is sent.
struct Wanted {
    head: Request<()>,
    body: WantedBody,
    idempotent: bool,
    /// The reply is taken as it arrives.
    streams: bool,
}

enum WantedBody {
    Full(Bytes),
    /// It is sent once, and then it is not here any more.
    Stream(Option<BodyStream>, Kept),
}

/// Why a streamed request was broken off.
type Kept = Arc<std::sync::Mutex<Option<Status>>>;

impl Wanted {
    /// The request; of a stream the first time only.
    fn request(&mut self) -> Option<Request<OutBody>> {
        let body = match &mut self.body {
            WantedBody::Full(bytes) => bytes.clone().into(),
            WantedBody::Stream(stream, kept) => {
                http_streams::request(stream.take()?, self.head.headers(), Arc::clone(kept))
            }
        };
        Some(self.head.clone().map(|()| body))
    }

    fn takes_stream(&self) -> bool {
        matches!(self.body, WantedBody::Stream(..))
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.state.send_replace(ConnectionState::Closed);
    }
}

impl Http {
    /// Dials nothing yet.
    ///
    /// # Errors
    /// The address is none that a `Host` header can name.
    pub(super) fn new(
        address: Address,
        settings: Settings,
        dial_timeout: Duration,
        state: watch::Sender<ConnectionState>,
    ) -> Result<Self> {
        let host = match &address {
            Address::Tcp(address) => HeaderValue::try_from(address.as_str()).map_err(|_| {
                Status::new(Code::InvalidInput, format!("{address} is no host for HTTP")).not_begun()
            })?,
            Address::Unix(_) | Address::Memory(_) => HeaderValue::from_static("localhost"),
        };
        Ok(Self {
            address,
            host,
            limits: settings.limits,
            calls: settings.calls,
            places: Arc::new(Semaphore::new(settings.calls.min(Semaphore::MAX_PERMITS))),
            dial_timeout,
            state,
            idle: std::sync::Mutex::default(),
            name: settings.address,
        })
    }

    fn status(&self, code: Code, text: impl Into<std::borrow::Cow<'static, str>>) -> Status {
        self.status_of(1, code, text)
    }

    fn status_of(&self, attempt: u32, code: Code, text: impl Into<std::borrow::Cow<'static, str>>) -> Status {
        Status::new(code, text).at(self.origin(attempt))
    }

    pub(super) fn origin(&self, attempt: u32) -> Origin {
        Origin { address: self.name.clone(), wire: NAME, attempt }
    }

    /// Dials once and keeps the connection for the first call.
    ///
    /// # Errors
    /// Nobody answers: [`Code::Unavailable`].
    pub(super) async fn connect(&self) -> Result<()> {
        let connection = self.dial(1).await?;
        self.keep(connection).await;
        Ok(())
    }

    /// Makes a call, within `timeout` where it has no deadline of its own.
    pub(super) async fn call(self: &Arc<Self>, call: Call, timeout: Duration) -> Result<Reply> {
        let (now, announced, one_way) = (Instant::now(), call.context.deadline, call.one_way);
        let deadline = announced.unwrap_or_else(|| now + timeout);
        if deadline <= now {
            return Err(self.over_time().not_begun());
        }
        let wanted = self.request(call, announced)?;
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let text = format!("{} calls are in flight to the endpoint, the channel's limit", self.calls);
            return Err(self.status(Code::Limited, text).not_begun());
        };
        let connection = tokio::time::timeout_at(deadline, self.connection(&wanted)).await;
        let connection = connection.map_err(|_| self.over_time().not_begun())??;
        if !one_way {
            let exchange = tokio::time::timeout_at(deadline, self.exchange(connection, wanted, Some(place)));
            return exchange.await.unwrap_or_else(|_| Err(self.over_time()));
        }
        // HTTP answers every request. Nobody waits for this answer but the connection, which can be used again
        // behind it; the place in the table and the deadline bound what is left running.
        let http = Arc::clone(self);
        tokio::spawn(async move {
            let _ = tokio::time::timeout_at(deadline, http.exchange(connection, wanted, None)).await;
            drop(place);
        });
        Ok(Reply::default())
    }

    fn over_time(&self) -> Status {
        self.status(Code::DeadlineExceeded, "context deadline exceeded")
    }

    /// A connection that was kept, or a new one. Whether it was kept is told.
    async fn connection(&self, wanted: &Wanted) -> Result<(Connection, bool)> {
        // What cannot be sent twice is not sent on a connection that may have ended without a word.
        while !wanted.takes_stream() {
            let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some((mut connection, since)) = kept else { break };
            if since.elapsed() < IDLE_TIME && connection.is_ready().await {
                return Ok((connection, true));
            }
        }
        Ok((self.dial(1).await?, false))
    }

    async fn dial(&self, attempt: u32) -> Result<Connection> {
        let dialled = match dial(&self.address, self.dial_timeout).await {
            Ok(stream) => Connection::new(stream).await,
            Err(error) => Err(error),
        };
        match dialled {
            Ok(connection) => {
                self.set_state(ConnectionState::Connected);
                Ok(connection)
            }
            Err(error) => {
                let error = error.to_string();
                self.set_state(ConnectionState::Failed { error: error.clone() });
                Err(self.status_of(attempt, Code::Unavailable, error).not_begun())
            }
        }
    }

    fn set_state(&self, state: ConnectionState) {
        self.state.send_if_modified(|old| {
            let changed = *old != state;
            *old = state;
            changed
        });
    }

    /// Keeps a connection for the next call, where it can serve one.
    async fn keep(&self, connection: Connection) {
        let mut connection = Some(connection);
        poll_fn(|cx| {
            self.keep_now(connection.take(), cx);
            Poll::Ready(())
        })
        .await;
    }

    /// As [`keep`](Http::keep), within a poll.
    pub(super) fn keep_now(&self, connection: Option<Connection>, cx: &mut Context<'_>) {
        let Some(mut connection) = connection else { return };
        if connection.look(cx) {
            let now = Instant::now();
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(|(_, since)| now.duration_since(*since) < IDLE_TIME);
            if idle.len() < IDLE {
                idle.push((connection, now));
            }
        }
    }

    /// Sends the request and reads the answer. Where the server had closed a connection that was kept, once more
    /// on a new one: if nothing was sent, or the call may run twice and no byte of an answer had come.
    async fn exchange(
        self: &Arc<Self>,
        (mut connection, kept): (Connection, bool),
        mut wanted: Wanted,
        mut place: Option<OwnedSemaphorePermit>,
    ) -> Result<Reply> {
        let mut attempt = 1;
        loop {
            let again = kept && attempt == 1;
            let Some(request) = wanted.request() else {
                return Err(self.status_of(attempt, Code::Internal, "a stream is sent once"));
            };
            let answer = match connection.send(request).await {
                Ok(answer) if wanted.streams && http_streams::form(&answer).is_some() => {
                    return self.streamed(connection, answer, &wanted, place.take());
                }
                Ok(answer) => {
                    let (head, body) = answer.into_parts();
                    connection.read(body, self.limits.body).await.map(|body| (head, body))
                }
                Err(lost) => Err(lost),
            };
            let lost = match answer {
                Ok((head, body)) => {
                    // First, so that a reply is never seen before its connection is free again.
                    self.keep(connection).await;
                    return self.reply(head.status, &head.headers, body, attempt);
                }
                Err(lost) => lost,
            };
            drop(connection);
            if let WantedBody::Stream(_, kept) = &wanted.body
                && let Some(status) = kept.lock().unwrap_or_else(PoisonError::into_inner).take()
            {
                return Err(status.at(self.origin(attempt)));
            }
            if !(again && (lost.unsent || lost.unanswered && wanted.idempotent)) {
                return Err(self.lost(lost, attempt));
            }
            attempt += 1;
            connection = self.dial(attempt).await?;
        }
    }

    /// The reply of a stream that has begun.
    fn streamed(
        self: &Arc<Self>,
        connection: Connection,
        answer: Response<Incoming>,
        wanted: &Wanted,
        place: Option<OwnedSemaphorePermit>,
    ) -> Result<Reply> {
        let metadata = self.metadata(answer.headers(), 1)?;
        let arriving = Arriving::new(connection, answer, Arc::clone(self), self.limits.body, place);
        let stream = BodyStream::pulled(arriving);
        // A request that is still being sent goes on although nobody reads its reply yet.
        let stream = if wanted.takes_stream() { stream.detached() } else { stream };
        Ok(Reply::new(stream).with_metadata(metadata))
    }

    fn lost(&self, lost: Lost, attempt: u32) -> Status {
        let status = match lost.over {
            Some(over) => return self.status_of(attempt, Code::TooLarge, over),
            None => {
                let text = format!("the connection was lost: {}", lost.why);
                self.status_of(attempt, Code::Unavailable, text)
            }
        };
        if lost.unsent { status.not_begun() } else { status }
    }

    /// The call as a request.
    ///
    /// # Errors
    /// HTTP cannot carry it. Nothing was begun.
    fn request(&self, call: Call, deadline: Option<Instant>) -> Result<Wanted> {
        let refused = |code, text: String| self.status(code, text).not_begun();
        let content_type = match call.serialization {
            Serialization::Json => "application/json",
            _ => "application/octet-stream",
        };
        if call.service().is_empty() || call.method().is_empty() {
            return Err(refused(Code::InvalidInput, "the service or the method has no name".into()));
        }
        let mut path = String::new();
        for name in [call.service(), call.method()] {
            path.push('/');
            pairs::encode(name.as_bytes(), false, &mut path);
        }
        let idempotent = call.idempotent;
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, self.host.clone());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if call.one_way || !matches!(call.serialization, Serialization::Json | Serialization::Raw) {
            write_rpcx(&call, &mut headers).map_err(|(code, error)| refused(code, error))?;
        }
        write_metadata(call.metadata(), &mut headers).map_err(|error| refused(Code::InvalidInput, error))?;
        if let Some(deadline) = deadline {
            let left = deadline.saturating_duration_since(Instant::now()).as_millis().max(1);
            let value = HeaderValue::try_from(format!("{left}ms"));
            headers.extend(value.ok().map(|value| (HeaderName::from_static("x-timeout"), value)));
        }
        let streams = call.streams;
        if (streams || matches!(call.body, Body::Stream(_)))
            && !matches!(call.serialization, Serialization::Json | Serialization::Raw)
        {
            let text = format!("the http wire streams JSON and bytes, not {:?}", call.serialization);
            return Err(refused(Code::Unsupported, text));
        }
        let body = match call.body {
            Body::Full(body) => WantedBody::Full(body),
            Body::Stream(_) if call.one_way => {
                let text = "a streamed call waits for its answer on the http wire";
                return Err(refused(Code::Unsupported, text.into()));
            }
            Body::Stream(stream) => {
                let raw = stream.is_raw() || call.serialization == Serialization::Raw;
                headers.insert(header::CONTENT_TYPE, http_streams::content_type(raw));
                WantedBody::Stream(Some(stream), Kept::default())
            }
        };
        let mut head = Request::post(path)
            .body(())
            .map_err(|error| refused(Code::InvalidInput, format!("no path can name the method: {error}")))?;
        *head.headers_mut() = headers;
        Ok(Wanted { head, body, idempotent, streams })
    }

    fn reply(&self, status: StatusCode, headers: &HeaderMap, body: Bytes, attempt: u32) -> Result<Reply> {
        if headers.get(&STATUS_TYPE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"Error")) {
            let message = headers.get(&ERROR_MESSAGE).map(HeaderValue::as_bytes).unwrap_or_default();
            let code = match code_of(status) {
                // A request that it does not understand is answered with 200, a call that failed with 500.
                Code::Unsupported => Code::InvalidInput,
                Code::Failed => Code::of_go_text(message),
                other => other,
            };
            return Err(self.status_of(attempt, code, String::from_utf8_lossy(message).into_owned()));
        }
        if !status.is_success() {
            let (code, text) = failure(status, &body);
            return Err(self.status_of(attempt, code, text));
        }
        Ok(Reply::new(body).with_metadata(self.metadata(headers, attempt)?))
    }

    fn metadata(&self, headers: &HeaderMap, attempt: u32) -> Result<Metadata> {
        pairs::read(headers, &pairs::META, &self.limits).map_err(|error| {
            let text = format!("the metadata of the reply: {}", error.message());
            self.status_of(attempt, Code::Internal, text)
        })
    }
}

/// The names of rpcx's headers.
const STATUS_TYPE: HeaderName = HeaderName::from_static("x-rpcx-messagestatustype");
const ERROR_MESSAGE: HeaderName = HeaderName::from_static("x-rpcx-errormessage");

/// What is called, and how, in rpcx's headers.
fn write_rpcx(call: &Call, headers: &mut HeaderMap) -> Result<(), (Code, String)> {
    let name = |name: &str| {
        let value = HeaderValue::from_bytes(name.as_bytes());
        value.map_err(|_| (Code::InvalidInput, format!("the name {name:?} does not fit a header")))
    };
    let number = match call.serialization {
        Serialization::Raw => 0,
        Serialization::Json => 1,
        Serialization::Protobuf => 2,
        Serialization::MessagePack => 3,
        Serialization::Thrift => 4,
        Serialization::Other(number) => number,
        other => return Err((Code::Unsupported, format!("{other:?} is no serialisation of http"))),
    };
    headers.insert("x-rpcx-servicepath", name(call.service())?);
    headers.insert("x-rpcx-servicemethod", name(call.method())?);
    headers.insert("x-rpcx-serializetype", HeaderValue::from(u16::from(number)));
    headers.insert("x-rpcx-messageid", HeaderValue::from(1));
    if call.one_way {
        headers.insert("x-rpcx-oneway", HeaderValue::from_static("true"));
    }
    Ok(())
}

/// The caller's metadata as headers. Reserved keys are left out: the token has a header of its own.
fn write_metadata(metadata: &Metadata, headers: &mut HeaderMap) -> Result<(), String> {
    let unfit = |what: &str| format!("the {what} does not fit a header");
    if let Some(token) = metadata.pairs().get_bytes(AUTH.as_bytes()) {
        let bare = token.strip_prefix(b"Bearer ").unwrap_or(token);
        let value = [b"Bearer ", bare].concat();
        let mut value = HeaderValue::from_bytes(&value).map_err(|_| unfit("token"))?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    let own = metadata.iter().filter(|(key, _)| !is_reserved(key));
    let own = own.fold(Metadata::builder(), |own, (key, value)| own.with_bytes(key, value)).build();
    if !own.is_empty() {
        let value = HeaderValue::try_from(pairs::write(&own)).map_err(|_| unfit("metadata"))?;
        headers.insert(pairs::META, value);
    }
    Ok(())
}

/// The body of a failure.
#[derive(Deserialize)]
struct Failure {
    error: Error,
}

#[derive(Deserialize)]
struct Error {
    #[serde(default)]
    code: Option<String>,
    message: String,
}

/// The code and the text of an answer that is no reply: what its body says, else what its status says.
fn failure(status: StatusCode, body: &[u8]) -> (Code, String) {
    if let Ok(Failure { error }) = serde_json::from_slice(body) {
        let code = error.code.and_then(|code| Code::from_name(&code));
        return (code.unwrap_or_else(|| code_of(status)), error.message);
    }
    let mut text = format!("HTTP {status}");
    let shown = std::str::from_utf8(body).map(str::trim).unwrap_or_default();
    if !shown.is_empty() && shown.len() <= SHOWN && !shown.contains(char::is_control) {
        text = format!("{text}: {shown}");
    }
    (code_of(status), text)
}

/// The code of a status.
fn code_of(status: StatusCode) -> Code {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Code::Unauthenticated,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => Code::DeadlineExceeded,
        StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge,
        StatusCode::TOO_MANY_REQUESTS => Code::Limited,
        StatusCode::SERVICE_UNAVAILABLE => Code::Draining,
        StatusCode::BAD_GATEWAY => Code::Unavailable,
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::Unsupported,
        other if other.is_client_error() => Code::InvalidInput,
        other if other.is_server_error() => Code::Failed,
        // A redirect, or an answer to another protocol: this peer cannot do what was asked.
        _ => Code::Unsupported,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::transport::{Listener, Stream};

    /// The server closes a connection that was kept in the moment between the look at it and the request.
    #[tokio::test]
    async fn a_call_of_which_nothing_was_sent_is_made_on_a_new_connection() {
        let address = Address::Memory("http-unsent".into());
        let mut listener = Listener::bind(&address).await.unwrap();
        tokio::spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let (mut stream, _) = listener.accept().await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap(), b'P');
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx").await.unwrap();
        });
        let settings = Settings {
            limits: Limits::default().into(),
            calls: 1,
            heartbeat: Duration::ZERO,
            lower_case: false,
            address: address.to_string(),
        };
        let (state, _) = watch::channel(ConnectionState::Connecting);
        let http = Http::new(address, settings, Duration::from_secs(1), state).unwrap();
        let gone = || async {
            let (near, _) = tokio::io::duplex(1 << 10);
            Connection::new(Stream::Memory(near)).await.unwrap()
        };
        let http = Arc::new(http);
        let wanted = || http.request(Call::new("A", "B", Serialization::Json, "{}"), None).unwrap();
        let status = http.exchange((gone().await, false), wanted(), None).await.unwrap_err();
        assert_eq!((status.code(), status.may_retry()), (Code::Unavailable, true), "{status}");
        let reply = http.exchange((gone().await, true), wanted(), None).await.unwrap();
        assert_eq!(reply.into_body().whole(1).await.unwrap(), "x");
    }
}
