//! Calling: channels to one endpoint, clients of several, and what the clients of services are made of.

mod balanced;
mod batch;
mod caller;
pub(crate) mod calls;
#[cfg(test)]
mod calls_tests;
mod channel;
mod connection;
pub(crate) mod dial;
mod failover;
mod group;
mod handshake;
mod heartbeat;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "http")]
mod http_connection;
#[cfg(feature = "http")]
mod http_streams;
mod in_place;
pub(crate) mod link;
pub(crate) mod links;
mod node;
mod outgoing;
mod outlet;
#[cfg(test)]
mod outlet_tests;
mod pushes;
mod resuming;
pub(crate) mod settings;
#[cfg(all(test, feature = "netrpc"))]
mod sizes_tests;
mod url;

pub use balanced::{Client, ClientBuilder, EndpointState};
pub use batch::{Answers, Arriving, Batch, Ticket};
pub use channel::{Channel, ChannelBuilder, ChannelStats};
pub use dial::ConnectionState;
pub use failover::Attempt;
pub use outgoing::Outgoing;
pub use pushes::Pushes;
pub use resuming::Resuming;
pub use url::{InvalidUrl, Url, Wire};
