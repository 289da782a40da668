//! A connection's socket, TCP or Unix. It never waits: epoll says when it is ready.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SendFlags, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType};
use trunkline::Address;

pub(super) struct Stream(OwnedFd);

/// Where an address may be dialled, in turn.
///
/// # Errors
/// The kind of the failure.
pub(super) async fn resolve(address: &Address) -> Result<Vec<SocketAddrAny>, String> {
    let resolved = match address {
        Address::Tcp(address) => {
            let found = tokio::net::lookup_host(address.as_str()).await;
            found.map(|found| found.map(SocketAddrAny::from).collect())
        }
        Address::Unix(path) => {
            SocketAddrUnix::new(path).map(|address| vec![address.into()]).map_err(io::Error::from)
        }
        _ => Err(io::ErrorKind::Unsupported.into()),
    };
    resolved.map_err(|error| kind(&error))
}

impl Stream {
    /// Begins to dial. What comes of it [`dialled`](Self::dialled) says once the socket is writable.
    pub(super) fn dial(address: &SocketAddrAny) -> io::Result<Self> {
        let family = address.address_family();
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
        if family != AddressFamily::UNIX {
            net::sockopt::set_tcp_nodelay(&socket, true)?;
        }
        match net::connect(&socket, address) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(Self(socket)),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the dial has succeeded.
    pub(super) fn dialled(&self) -> io::Result<()> {
        Ok(net::sockopt::socket_error(&self.0)??)
    }

    /// Reads once: how many bytes, 0 at the end; `None` where nothing is there.
    #[inline]
    pub(super) fn read(&self, into: &mut [u8]) -> io::Result<Option<usize>> {
        match rustix::io::read(&self.0, into) {
            Ok(length) => Ok(Some(length)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes once: how many bytes there was room for.
    #[inline]
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match net::send(&self.0, bytes, SendFlags::NOSIGNAL) {
            Ok(length) => Ok(length),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}

impl From<OwnedFd> for Stream {
    fn from(socket: OwnedFd) -> Self {
        Self(socket)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A short stable name for what went wrong.
pub(super) fn kind(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset => "connection reset",
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted | io::ErrorKind::UnexpectedEof => {
            "connection closed"
        }
        io::ErrorKind::TimedOut => "connect timeout",
        io::ErrorKind::NotFound => "no such socket",
        io::ErrorKind::PermissionDenied => "permission denied",
        io::ErrorKind::HostUnreachable => "host unreachable",
        io::ErrorKind::NetworkUnreachable => "network unreachable",
        _ => return error.to_string(),
    }
    .to_owned()
}
