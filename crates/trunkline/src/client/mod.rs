//! Calling: channels to one endpoint, and what the clients of services are made of.

mod calls;
mod channel;
mod connection;
mod dial;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "http")]
mod http_connection;
mod outgoing;
mod url;

pub use channel::{Channel, ChannelBuilder, ChannelStats, Pushes};
pub use dial::ConnectionState;
pub use outgoing::Outgoing;
pub use url::{InvalidUrl, Url, Wire};
