//! A socket that asks the system for input only.
//!
//! Tokio's own streams ask for input and for room to write at once. With edge-triggered events that wakes a server for
//! nothing: bytes that come while those before them are being read make an event, and when it is fetched there is
//! nothing to read any more, but there is room to write, as nearly always. Under Go clients, which write each call for
//! itself, one in nine events was such a one. Here room is asked for only after a write that found none.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use rustix::net::{SendFlags, Shutdown, send, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::unix::pipe;

/// After so many writes that found room nobody waits for it any more.
const CALM: u8 = 64;

/// A connected stream socket, TCP or Unix.
#[derive(Debug)]
pub(crate) struct Socket {
    /// Tokio's type for descriptors that are only read. It reads by `read`, which is right for a socket, too.
    input: pipe::Receiver,
    /// Boxed: an idle connection has to be small.
    room: Option<Box<Room>>,
}

/// A second descriptor of the socket, as one of Tokio's own streams: it waits for room to write.
#[derive(Debug)]
struct Room {
    stream: TcpStream,
    /// How many writes have found room since one did not.
    calm: u8,
}

impl Socket {
    /// A socket that does not block, on the runtime of this moment.
    ///
    /// # Errors
    /// The runtime cannot watch it.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { input: pipe::Receiver::from_owned_fd_unchecked(fd)?, room: None })
    }

    /// Takes it from its runtime.
    ///
    /// # Errors
    /// The runtime does not let it go.
    #[cfg(feature = "node")]
    pub(crate) fn into_fd(self) -> io::Result<OwnedFd> {
        self.input.into_nonblocking_fd()
    }

    /// Whether it is known without reading that the peer has ended its side, or is gone.
    pub(crate) fn is_read_closed(&self) -> bool {
        let ready = pin!(self.input.ready(Interest::READABLE));
        match ready.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(ready)) => ready.is_read_closed(),
            _ => false,
        }
    }

    fn poll_write_with_room(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let room = match &mut self.room {
            Some(room) => room,
            none => {
                // A Unix socket is written to in the same way.
                let stream = std::net::TcpStream::from(self.input.as_fd().try_clone_to_owned()?);
                none.insert(Box::new(Room { stream: TcpStream::from_std(stream)?, calm: 0 }))
            }
        };
        room.calm = 0;
        Pin::new(&mut room.stream).poll_write(cx, bytes)
    }

    fn found_room(&mut self) {
        if let Some(room) = &mut self.room {
            room.calm += 1;
            if room.calm >= CALM {
                self.room = None;
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.input.as_fd()
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().input).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            match send(&this.input, bytes, SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    this.found_room();
                    return Poll::Ready(Ok(sent));
                }
                Err(rustix::io::Errno::AGAIN) => return this.poll_write_with_room(cx, bytes),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(shutdown(&self.input, Shutdown::Write).map_err(io::Error::from))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn pair() -> (Socket, Socket) {
        let (near, far) = UnixStream::pair().unwrap();
        let socket = |stream: UnixStream| {
            stream.set_nonblocking(true).unwrap();
            Socket::new(stream.into()).unwrap()
        };
        (socket(near), socket(far))
    }

    #[tokio::test]
    async fn a_writer_waits_for_its_reader_and_goes_on() {
        let (mut near, mut far) = pair();
        let sent: Vec<u8> = (0..4_000_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let all = sent.clone();
        let writer = tokio::spawn(async move {
            near.write_all(&all).await.unwrap();
            near
        });
        let mut got = Vec::new();
        while got.len() < sent.len() {
            let mut piece = vec![0; 100_000];
            let n = far.read(&mut piece).await.unwrap();
            assert!(n > 0);
            got.extend_from_slice(&piece[..n]);
            tokio::task::yield_now().await;
        }
        assert!(got == sent);
        let mut near = writer.await.unwrap();
        assert!(near.room.is_some());
        // Where nothing has to wait, nothing is held for it.
        for _ in 0..CALM {
            near.write_all(b"x").await.unwrap();
            far.read_u8().await.unwrap();
        }
        assert!(near.room.is_none());
    }

    #[tokio::test]
    async fn an_end_is_seen_without_reading_and_a_peer_that_is_gone_takes_nothing() {
        let (mut near, mut far) = pair();
        assert!(!near.is_read_closed());
        far.write_all(b"the rest").await.unwrap();
        far.shutdown().await.unwrap();
        let closed = async {
            while !near.is_read_closed() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), closed).await.unwrap();
        let mut rest = String::new();
        near.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "the rest");
        // Our own side is still open.
        near.write_all(b"answer").await.unwrap();
        assert_eq!(far.read_u8().await.unwrap(), b'a');
        drop(far);
        assert_eq!(near.write_all(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
