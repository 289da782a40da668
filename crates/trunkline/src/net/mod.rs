//! Connections: the transports, the one driver, and what it stands on.

pub(crate) mod buffers;
pub(crate) mod compress;
pub(crate) mod driver;
pub(crate) mod pending;
mod push;
pub(crate) mod transport;

pub(crate) use push::PushQueue;
pub use push::{Push, Pusher};
pub use transport::{Address, InvalidAddress};
