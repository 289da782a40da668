//! A connection on which bytes come and nothing goes back: its acknowledgements are let wait for one another.
//!
//! A node answers over a connection of its own, so nothing that leaves could carry the acknowledgement of what came. The
//! kernel then sends one by itself as soon as the bytes are read, and a segment for each read was about a sixth of the
//! processor time of a call. Where it may wait, one goes out for every second segment, as TCP has it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::transport::{Io, Stream};

/// After so many reads without a write the kernel is told once more. It goes back to answering at once by itself whenever
/// nothing came for a while, and a peer that waits for acknowledgements (Nagle) is held up once in so many reads at most.
const TOLD: u32 = 256;

/// See the module.
pub(super) struct OneWay {
    stream: Stream,
    /// Since the last write, or since the kernel was told.
    reads: u32,
}

impl OneWay {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, reads: 0 }
    }
}

impl Io for OneWay {
    fn is_read_closed(&self) -> bool {
        self.stream.is_read_closed()
    }
}

impl AsyncRead for OneWay {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = ready!(Pin::new(&mut this.stream).poll_read(cx, buf));
        this.reads += 1;
        if this.reads >= TOLD {
            this.reads = 0;
            this.stream.delay_acknowledgements();
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for OneWay {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.reads = 0;
        Pin::new(&mut this.stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::net::transport::Unwatched;

    /// Whether the kernel acknowledges at once.
    #[cfg(target_os = "linux")]
    fn at_once(connection: &OneWay) -> bool {
        let Stream::Socket(socket) = &connection.stream else { panic!("it is TCP") };
        rustix::net::sockopt::tcp_quickack(socket).unwrap()
    }

    async fn pair() -> (TcpStream, OneWay) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        let far = Unwatched::Socket(far.into_std().unwrap().into()).into_stream().unwrap();
        (near, OneWay::new(far))
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn acknowledgements_wait_where_nothing_goes_back() {
        let (mut near, mut far) = pair().await;
        // The kernel forgets it when the test has to wait for its turn; then it is told again.
        for _ in 0..100 * TOLD {
            near.write_all(b"a").await.unwrap();
            far.read_u8().await.unwrap();
            if !at_once(&far) {
                return;
            }
        }
        panic!("the kernel was not told, or did not listen");
    }

    /// What is answered where it came is left to the kernel.
    #[tokio::test]
    async fn a_connection_that_is_written_to_is_left_alone() {
        let (mut near, mut far) = pair().await;
        for _ in 0..TOLD * 2 {
            near.write_all(b"a").await.unwrap();
            far.read_u8().await.unwrap();
            far.write_all(b"b").await.unwrap();
            near.read_u8().await.unwrap();
            assert!(far.reads < 2);
        }
    }
}
