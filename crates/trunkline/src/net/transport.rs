//! The one seam through which everything dials and listens: TCP, Unix sockets, and memory.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::socket::Socket;
use crate::Peer;

/// Where to listen or to dial: `HOST:PORT`, `tcp://HOST:PORT`, `unix://PATH` or `mem://NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A TCP address; the host may be a name.
    Tcp(String),
    /// A Unix socket.
    Unix(PathBuf),
    /// A listener in this process, by name: for tests on virtual time.
    Memory(String),
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text} is no address: {why}")]
pub struct InvalidAddress {
    text: String,
    why: &'static str,
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = |why| InvalidAddress { text: text.to_owned(), why };
        match text.split_once("://") {
            Some(("unix", "")) => Err(invalid("the path is missing (unix://PATH)")),
            Some(("unix", path)) => Ok(Self::Unix(path.into())),
            Some(("mem", "")) => Err(invalid("the name is missing (mem://NAME)")),
            Some(("mem", name)) => Ok(Self::Memory(name.to_owned())),
            Some(("tcp", rest)) => host_and_port(rest).map(Self::Tcp).map_err(invalid),
            Some(_) => Err(invalid("the scheme is not one of tcp, unix, mem")),
            None => host_and_port(text).map(Self::Tcp).map_err(invalid),
        }
    }
}

fn host_and_port(text: &str) -> Result<String, &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or("the port is missing (HOST:PORT)")?;
    if host.is_empty() || (host.contains(':') && !host.starts_with('[')) {
        return Err("the host is missing or an IPv6 address without brackets (HOST:PORT)");
    }
    port.parse::<u16>().map_err(|_| "the port is no number from 0 to 65535")?;
    Ok(text.to_owned())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Memory(name) => write!(f, "mem://{name}"),
        }
    }
}

/// What the driver runs on.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin {
    /// Whether it is known without reading that the peer has ended its side, or is gone.
    fn is_read_closed(&self) -> bool {
        false
    }
}

impl Io for Stream {
    fn is_read_closed(&self) -> bool {
        match self {
            Self::Socket(socket) => socket.is_read_closed(),
            Self::Memory(_) => false,
        }
    }
}

impl Io for DuplexStream {}

impl Io for TcpStream {}

/// A connection over any transport.
#[derive(Debug)]
pub(crate) enum Stream {
    Socket(Socket),
    Memory(DuplexStream),
}

/// A connection that no runtime watches: it can go to another thread's.
#[derive(Debug)]
pub(crate) enum Unwatched {
    Socket(OwnedFd),
    Memory(DuplexStream),
}

impl Unwatched {
    /// The connection, on the runtime of this moment.
    ///
    /// # Errors
    /// The runtime cannot watch it.
    pub(crate) fn into_stream(self) -> io::Result<Stream> {
        Ok(match self {
            Self::Socket(fd) => Stream::Socket(Socket::new(fd)?),
            Self::Memory(stream) => Stream::Memory(stream),
        })
    }
}

impl Stream {
    /// Takes it from its runtime.
    ///
    /// # Errors
    /// The runtime does not let it go.
    #[cfg(feature = "node")]
    pub(crate) fn unwatched(self) -> io::Result<Unwatched> {
        Ok(match self {
            Self::Socket(socket) => Unwatched::Socket(socket.into_fd()?),
            Self::Memory(stream) => Unwatched::Memory(stream),
        })
    }

    /// Dials.
    pub(crate) async fn dial(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address.as_str()).await?;
                tune(&stream);
                Unwatched::Socket(stream.into_std()?.into()).into_stream()
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await?;
                Unwatched::Socket(stream.into_std()?.into()).into_stream()
            }
            Address::Memory(name) => {
                let listener = memory_listeners()
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get(name)
                    .cloned()
                    .ok_or_else(|| refused(name))?;
                let (near, far) = tokio::io::duplex(MEMORY_PIPE);
                listener.send(far).await.map_err(|_| refused(name))?;
                Ok(Self::Memory(near))
            }
        }
    }
}

impl Stream {
    /// A second descriptor of the socket, to send to; none where it is in memory, or no descriptor is left.
    pub(crate) fn second_descriptor(&self) -> Option<OwnedFd> {
        match self {
            Self::Socket(socket) => socket.as_fd().try_clone_to_owned().ok(),
            Self::Memory(_) => None,
        }
    }

    /// Tells the kernel that acknowledgements may wait a moment for what carries them, or for the next one. It forgets
    /// that when nothing came for a while.
    #[cfg(feature = "node")]
    pub(crate) fn delay_acknowledgements(&self) {
        #[cfg(target_os = "linux")]
        if let Self::Socket(socket) = self {
            // Where it cannot, or the socket is none of TCP's, they go out at once.
            let _ = rustix::net::sockopt::set_tcp_quickack(socket, false);
        }
    }
}

/// Small messages leave at once, and a peer that is gone without a word is noticed within 30 s.
pub(crate) fn tune(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    // A socket that cannot be tuned works all the same.
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&keepalive);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(Duration::from_secs(20)));
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Memory(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Memory(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_flush(cx),
            Self::Memory(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Memory(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// How many bytes an in-memory connection holds each way.
const MEMORY_PIPE: usize = 256 << 10;

/// How many in-memory connections wait to be accepted; the next dial waits.
const MEMORY_BACKLOG: usize = 128;

type MemoryListeners = Mutex<HashMap<String, mpsc::Sender<DuplexStream>>>;

fn memory_listeners() -> &'static MemoryListeners {
    static LISTENERS: std::sync::LazyLock<MemoryListeners> = std::sync::LazyLock::new(Mutex::default);
    &LISTENERS
}

fn refused(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, format!("nobody listens on mem://{name}"))
}

/// Accepts connections over any transport.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
    Memory(String, mpsc::Receiver<DuplexStream>),
}

impl Listener {
    /// Listens; port 0 picks one. The socket file of a Unix address is replaced where nobody listens on it.
    pub(crate) async fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => bind_tcp(address).await.map(Self::Tcp),
            Address::Unix(path) => {
                // Only a socket: a file of another kind is not ours to remove.
                let socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
                if socket && UnixStream::connect(path).await.is_err() {
                    std::fs::remove_file(path)?;
                }
                Ok(Self::Unix(UnixListener::bind(path)?, path.clone()))
            }
            Address::Memory(name) => {
                let (sender, receiver) = mpsc::channel(MEMORY_BACKLOG);
                let mut listeners = memory_listeners().lock().unwrap_or_else(PoisonError::into_inner);
                if listeners.get(name).is_some_and(|old| !old.is_closed()) {
                    return Err(io::Error::new(io::ErrorKind::AddrInUse, "the name is taken"));
                }
                listeners.insert(name.clone(), sender);
                Ok(Self::Memory(name.clone(), receiver))
            }
        }
    }

    /// Where it really listens.
    pub(crate) fn local_address(&self) -> io::Result<Address> {
        Ok(match self {
            Self::Tcp(listener) => Address::Tcp(listener.local_addr()?.to_string()),
            Self::Unix(_, path) => Address::Unix(path.clone()),
            Self::Memory(name, _) => Address::Memory(name.clone()),
        })
    }

    /// The next connection, on the runtime of this moment.
    #[cfg(test)]
    pub(crate) async fn accept(&mut self) -> io::Result<(Stream, Peer)> {
        let (stream, peer) = self.accept_unwatched().await?;
        Ok((stream.into_stream()?, peer))
    }

    /// The next connection.
    pub(crate) async fn accept_unwatched(&mut self) -> io::Result<(Unwatched, Peer)> {
        static MEMORY_PEERS: AtomicU64 = AtomicU64::new(1);
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                tune(&stream);
                Ok((Unwatched::Socket(stream.into_std()?.into()), Peer::Tcp(address)))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Unwatched::Socket(stream.into_std()?.into()), Peer::Unix))
            }
            Self::Memory(name, receiver) => match receiver.recv().await {
                Some(stream) => {
                    let number = MEMORY_PEERS.fetch_add(1, Ordering::Relaxed);
                    Ok((Unwatched::Memory(stream), Peer::Memory(number)))
                }
                None => Err(refused(name)),
            },
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        match self {
            Self::Tcp(_) => {}
            Self::Unix(_, path) => {
                let _ = std::fs::remove_file(path);
            }
            Self::Memory(name, receiver) => {
                receiver.close();
                let mut listeners = memory_listeners().lock().unwrap_or_else(PoisonError::into_inner);
                if listeners.get(name).is_some_and(mpsc::Sender::is_closed) {
                    listeners.remove(name);
                }
            }
        }
    }
}

async fn bind_tcp(address: &str) -> io::Result<TcpListener> {
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address");
    for address in tokio::net::lookup_host(address).await? {
        match bind_one(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket =
        if address.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        assert_eq!("127.0.0.1:80".parse(), Ok(Address::Tcp("127.0.0.1:80".into())));
        assert_eq!("tcp://[::1]:80".parse(), Ok(Address::Tcp("[::1]:80".into())));
        assert_eq!("unix:///run/a".parse(), Ok(Address::Unix("/run/a".into())));
        assert_eq!("mem://a".parse(), Ok(Address::Memory("a".into())));
        for bad in ["", "a", ":80", "::1:80", "a:b", "a:65536", "unix://", "mem://", "udp://a:1"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_name_in_memory_is_free_again_when_its_listener_is_gone() {
        let address = Address::Memory("transport-name".into());
        let listener = Listener::bind(&address).await.unwrap();
        assert!(Listener::bind(&address).await.is_err());
        drop(listener);
        assert!(Stream::dial(&address).await.is_err());
        assert!(Listener::bind(&address).await.is_ok());
    }
}
