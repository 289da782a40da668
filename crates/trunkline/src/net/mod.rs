//! Connections: the transports, the one driver, and what it stands on.

pub(crate) mod buffers;
pub(crate) mod compress;
pub(crate) mod driver;
#[cfg(test)]
mod fault_tests;
#[cfg(feature = "http")]
pub(crate) mod http_body;
pub(crate) mod inflows;
#[cfg(test)]
mod ordered_tests;
#[cfg(feature = "http")]
pub(crate) mod pairs;
pub(crate) mod pending;
mod socket;
#[cfg(test)]
pub(crate) mod tests_support;
mod timer;
pub(crate) mod transport;

pub use transport::{Address, InvalidAddress};
