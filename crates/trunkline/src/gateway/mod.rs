//! HTTP in front of services on the IIP wire, as the HTTP adapter of Go's IIP has it.
//!
//! Each request goes to the backend that [`Routes`] say: the raw URI is the call's path, the headers travel in its query
//! (`__http_hdr__`), and the body is the data. What the backend answers is the body of a 200, an error object of IIP
//! included. Where no route fits the answer is 501, where the call fails 500.
//!
//! What Go's adapter hands on to its backends' harm is refused here, at the cost of that request alone:
//!
//! | what | answer |
//! | --- | --- |
//! | a path of the system (`/sys/…`), however it is written | 403 |
//! | a path with a control character, percent-encoded | 400 |
//! | a path of more than 2,048 bytes without its query, or too long with it | 414 |
//! | headers that do not fit the query (with it 34 KiB in base64) | 431 |
//!
//! `__http_hdr__` and `__trunkline…` in the query of a request are left out: the backend sees the headers that came.

mod request;
mod routes;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use tokio::time::Instant;
use trunkline_wire::{Limits, Serialization};

pub use routes::{InvalidRoute, Routes};

use crate::client::Client;
use crate::net::http_body::{OutBody, error_body};
use crate::server::http::{Front, FrontRequest};
use crate::server::{RunningServer, Server, ServerBuilder, ServerError};
use crate::{Call, Code, Result, Service, Status};
use request::{BadRequest, Forwarded};

/// How long a backend may take where nobody says.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The most data of one frame of the wire.
const MOST_BODY: usize = 16 << 20;

/// A server of HTTP in front of backends on the IIP wire. Its connections have the same checks, limits and times as
/// those of a [`Server`]; nothing but HTTP is spoken on them.
///
/// ```
/// use trunkline::client::Client;
/// use trunkline::gateway::{IipGateway, Routes};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let _server = trunkline::Server::builder().listen("mem://gateway-doc").start().await?;
/// let backend = Client::builder("mem://gateway-doc?wire=iip").connect().await?;
/// let routes = Routes::new();
/// routes.push("example.org", "/arith/.*", backend)?;
/// let gateway = IipGateway::new(routes.clone()).listen("127.0.0.1:0").start().await?;
/// assert!(gateway.url().starts_with("http://127.0.0.1:"));
/// // Routes come and go while it runs.
/// assert!(routes.remove("example.org", "/arith/.*"));
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "a gateway does nothing until it is started"]
pub struct IipGateway {
    routes: Routes,
    timeout: Duration,
    body_limit: usize,
    server: ServerBuilder,
}

impl IipGateway {
    /// A gateway with these routes, which may change while it runs.
    pub fn new(routes: Routes) -> Self {
        let body_limit = Limits::default().body;
        Self { routes, timeout: TIMEOUT, body_limit, server: Server::builder() }
    }

    /// Listens on this address, too, as [`ServerBuilder::listen`] does.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.server = self.server.listen(address);
        self
    }

    /// How long a backend may take for a request. Default 10 s.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = time;
        self
    }

    /// The largest body of a request in bytes, at most 16 MiB; over it the answer is 413. Default 4 MiB. Of an answer's
    /// body a channel's own limit says how large it may be.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes.min(MOST_BODY);
        self
    }

    /// The most connections; over it none is accepted until one ends. Default 65,536.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.server = self.server.max_connections(connections);
        self
    }

    /// The most connections of one address other than loopback; one more is closed. Default 4,096.
    pub fn max_connections_per_address(mut self, connections: usize) -> Self {
        self.server = self.server.max_connections_per_address(connections);
        self
    }

    /// Serves on so many threads of its own; 0, the default, on the runtime that starts it.
    pub fn threads(mut self, threads: usize) -> Self {
        self.server = self.server.threads(threads);
        self
    }

    /// Listens, and serves in a task of the runtime.
    ///
    /// # Errors
    /// An address is taken or cannot be read, or there is none.
    pub async fn start(self) -> Result<RunningServer, ServerError> {
        let front = Adapter { routes: self.routes, timeout: self.timeout };
        self.server.body_limit(self.body_limit).front(Arc::new(front)).start().await
    }
}

/// What makes calls of requests.
struct Adapter {
    routes: Routes,
    timeout: Duration,
}

impl fmt::Debug for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adapter").field("routes", &self.routes).finish_non_exhaustive()
    }
}

impl Front for Adapter {
    fn answer(&self, request: FrontRequest) -> Pin<Box<dyn Future<Output = Response<OutBody>> + Send + '_>> {
        Box::pin(self.forward(request))
    }
}

impl Adapter {
    async fn forward(&self, request: FrontRequest) -> Response<OutBody> {
        let FrontRequest { parts, body, connection } = request;
        let forwarded = match Forwarded::new(&parts) {
            Ok(forwarded) => forwarded,
            Err(bad) => return refused(bad),
        };
        let Some(backend) = self.routes.find(&forwarded.host, &forwarded.asked) else {
            return answer(StatusCode::NOT_IMPLEMENTED, Bytes::new());
        };
        let uri = match forwarded.with_headers(&parts.headers) {
            Ok(uri) => uri,
            Err(bad) => return refused(bad),
        };
        let body = if body.is_empty() { Bytes::from_static(b"{}") } else { body };
        let deadline = Instant::now() + self.timeout;
        let mut call = Call::new("", uri, Serialization::Json, body).with_deadline(deadline);
        // Whoever picks by the caller's address sees that of the request.
        call.context.connection = Some(connection);
        match reply(&backend, call).await {
            Ok(body) => answer(StatusCode::OK, body),
            Err(status) => match said(&status) {
                Some(object) => answer(StatusCode::OK, object),
                None => {
                    let (host, path) = (&forwarded.host, forwarded.path());
                    tracing::warn!(host, path, error = %status, "a backend failed");
                    answer(StatusCode::INTERNAL_SERVER_ERROR, Bytes::new())
                }
            },
        }
    }
}

async fn reply(backend: &Client, call: Call) -> Result<Bytes> {
    let deadline = call.context().deadline();
    let body = backend.call(call).await?.into_body().whole(MOST_BODY);
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, body)
            .await
            .unwrap_or_else(|_| Err(Status::new(Code::DeadlineExceeded, "context deadline exceeded"))),
        None => body.await,
    }
}

/// The error object that the backend has answered with, where it has.
fn said(status: &Status) -> Option<Bytes> {
    let on_iip = status.origin().is_some_and(|origin| origin.wire == "iip");
    status.details_bytes().filter(|_| on_iip).cloned()
}

fn answer(status: StatusCode, body: Bytes) -> Response<OutBody> {
    const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
    const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
    let content_type = if std::str::from_utf8(&body).is_ok() { TEXT } else { BYTES };
    let some = !body.is_empty();
    let mut answer = Response::new(OutBody::from(body));
    *answer.status_mut() = status;
    if some {
        answer.headers_mut().insert(header::CONTENT_TYPE, content_type);
        // No browser is to take a backend's data for a page.
        answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    answer
}

fn refused(bad: BadRequest) -> Response<OutBody> {
    let code = match bad.http {
        StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN => Code::InvalidInput,
        _ => Code::TooLarge,
    };
    let mut answer = Response::new(OutBody::from(Bytes::from(error_body(code, bad.rule))));
    *answer.status_mut() = bad.http;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
