//! Calling: channels to one endpoint, and what the clients of services are made of.

mod batch;
mod caller;
pub(crate) mod calls;
#[cfg(test)]
mod calls_tests;
mod channel;
mod connection;
pub(crate) mod dial;
mod group;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "http")]
mod http_connection;
#[cfg(feature = "http")]
mod http_streams;
pub(crate) mod link;
mod outgoing;
mod url;

pub use batch::{Answers, Arriving, Batch, Ticket};
pub use channel::{Channel, ChannelBuilder, ChannelStats, Pushes};
pub use dial::ConnectionState;
pub use outgoing::Outgoing;
pub use url::{InvalidUrl, Url, Wire};
