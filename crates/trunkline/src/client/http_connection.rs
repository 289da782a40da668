//! One HTTP connection: hyper's client on our own transport, polled by whoever has a call on it.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::rt::ReadBufCursor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::http_body::OutBody;
use crate::net::transport::Stream;

/// The largest head of an answer in bytes. Metadata within its limit fits, encoded.
const HEAD: usize = 64 << 10;

/// The most bytes that are read at once.
const READ: usize = 16 << 10;

/// A connection that waits for a request, or is in the middle of one.
pub(super) struct Connection {
    sender: http1::SendRequest<OutBody>,
    /// hyper's half of it; `None` once it has ended.
    rest: Option<Pin<Box<Rest>>>,
    count: Arc<Count>,
}

type Rest = http1::Connection<Io, OutBody>;

/// How many bytes went each way.
#[derive(Default)]
struct Count {
    read: AtomicU64,
    written: AtomicU64,
}

/// Why there is no answer.
pub(super) struct Lost {
    /// No byte of the request was written.
    pub(super) unsent: bool,
    /// No byte of an answer was read.
    pub(super) unanswered: bool,
    /// The answer is over a limit; this text says which.
    pub(super) over: Option<String>,
    pub(super) why: String,
}

impl Connection {
    pub(super) async fn new(stream: Stream) -> io::Result<Self> {
        let count = Arc::<Count>::default();
        let io = Io { stream, count: Arc::clone(&count) };
        let mut builder = http1::Builder::new();
        builder.title_case_headers(true).max_buf_size(4 * HEAD).max_header_size(HEAD);
        let (sender, rest) = builder.handshake(io).await.map_err(io::Error::other)?;
        Ok(Self { sender, rest: Some(Box::pin(rest)), count })
    }

    /// Polls the connection until `future` is ready.
    async fn drive<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        std::future::poll_fn(|cx| {
            self.poll_rest(cx);
            future.as_mut().poll(cx)
        })
        .await
    }

    pub(super) fn poll_rest(&mut self, cx: &mut Context<'_>) {
        if let Some(rest) = &mut self.rest
            && rest.as_mut().poll(cx).is_ready()
        {
            // Whoever waits for an answer is told by its end.
            self.rest = None;
        }
    }

    /// Whether it can serve a call: it is open, and nothing of the last one is left on it.
    pub(super) async fn is_ready(&mut self) -> bool {
        std::future::poll_fn(|cx| Poll::Ready(self.look(cx))).await
    }

    /// As [`is_ready`](Connection::is_ready), within a poll.
    pub(super) fn look(&mut self, cx: &mut Context<'_>) -> bool {
        self.poll_rest(cx);
        self.rest.is_some() && matches!(self.sender.poll_ready(cx), Poll::Ready(Ok(())))
    }

    /// Sends a request and reads the head of the answer.
    pub(super) async fn send(&mut self, request: Request<OutBody>) -> Result<Response<Incoming>, Lost> {
        let (read, written) =
            (self.count.read.load(Ordering::Relaxed), self.count.written.load(Ordering::Relaxed));
        let sent = self.sender.try_send_request(request);
        self.drive(sent).await.map_err(|error| Lost {
            unsent: error.message().is_some() || self.count.written.load(Ordering::Relaxed) == written,
            unanswered: self.count.read.load(Ordering::Relaxed) == read,
            over: error
                .error()
                .is_parse_too_large()
                .then(|| format!("the head of the answer is over the limit of {HEAD} bytes or 100 headers")),
            why: text(error.error()),
        })
    }

    /// Reads the body of an answer, which may have `limit` bytes.
    pub(super) async fn read(&mut self, mut body: Incoming, limit: usize) -> Result<Bytes, Lost> {
        let lost = |over, why| Lost { unsent: false, unanswered: false, over, why };
        let over = || {
            let text = format!(
                "the reply's body is over the limit of {limit} bytes (setting body_limit, flag --body-limit)"
            );
            lost(Some(text), String::new())
        };
        let announced = body.size_hint().lower();
        if announced > u64::try_from(limit).unwrap_or(u64::MAX) {
            return Err(over());
        }
        let mut whole = BytesMut::new();
        while let Some(frame) = self.drive(body.frame()).await {
            let frame = frame.map_err(|error| lost(None, text(&error)))?;
            let Ok(part) = frame.into_data() else { continue };
            if part.len() > limit.saturating_sub(whole.len()) {
                return Err(over());
            }
            if whole.is_empty() && u64::try_from(part.len()) == Ok(announced) {
                return Ok(part);
            }
            whole.extend_from_slice(&part);
        }
        Ok(whole.freeze())
    }
}

/// An error with what is behind it, which hyper keeps to itself.
pub(super) fn text(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// The transport, for hyper.
struct Io {
    stream: Stream,
    count: Arc<Count>,
}

fn add(counter: &AtomicU64, bytes: usize) {
    counter.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
}

impl hyper::rt::Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut space = [const { MaybeUninit::uninit() }; READ];
        let room = buf.remaining().min(READ);
        let Some(space) = space.get_mut(..room) else { return Poll::Ready(Ok(())) };
        let mut read = ReadBuf::uninit(space);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
        add(&self.count.read, read.filled().len());
        buf.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        add(&self.count.written, written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    fn post() -> Request<OutBody> {
        let body = Bytes::from_static(b"body").into();
        Request::post("/A/B").header("host", "x").body(body).unwrap()
    }

    async fn exchange(connection: &mut Connection) -> Result<u16, Lost> {
        let (head, body) = connection.send(post()).await?.into_parts();
        connection.read(body, 10).await?;
        Ok(head.status.as_u16())
    }

    async fn pair() -> (Connection, DuplexStream) {
        let (near, far) = tokio::io::duplex(1 << 10);
        (Connection::new(Stream::Memory(near)).await.unwrap(), far)
    }

    #[tokio::test]
    async fn what_was_not_sent_is_told_from_what_was() {
        let (mut connection, far) = pair().await;
        drop(far);
        let lost = exchange(&mut connection).await.err().unwrap();
        assert!(lost.unsent && lost.unanswered, "{}", lost.why);
        assert!(!connection.is_ready().await);

        let (mut connection, mut far) = pair().await;
        let (lost, ()) = tokio::join!(exchange(&mut connection), async {
            far.read_u8().await.unwrap();
            drop(far);
        });
        let lost = lost.err().unwrap();
        assert!(!lost.unsent && lost.unanswered, "{}", lost.why);

        let (mut connection, mut far) = pair().await;
        let (lost, ()) = tokio::join!(exchange(&mut connection), async {
            far.read_u8().await.unwrap();
            far.write_all(b"HTTP").await.unwrap();
            drop(far);
        });
        let lost = lost.err().unwrap();
        assert!(!lost.unsent && !lost.unanswered, "{}", lost.why);
    }

    #[tokio::test]
    async fn a_connection_with_something_left_on_it_is_not_ready() {
        for (answer, ready) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 408 Late\r\n", false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false),
        ] {
            let (mut connection, mut far) = pair().await;
            assert!(connection.is_ready().await);
            let (answered, ()) = tokio::join!(exchange(&mut connection), async {
                let mut head = [0; 64];
                let _ = far.read(&mut head).await.unwrap();
                far.write_all(answer.as_bytes()).await.unwrap();
            });
            assert_eq!(answered.map_err(|lost| lost.why).unwrap(), 200);
            assert_eq!(connection.is_ready().await, ready, "{answer}");
        }
    }
}
