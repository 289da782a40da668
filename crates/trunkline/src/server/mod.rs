//! Serving: the builder, the listeners, the connections, the stop.

mod accept;
mod builder;
pub(crate) mod connection;
#[cfg(test)]
mod counters_tests;
pub(crate) mod drain;
mod handle;
#[cfg(feature = "http")]
pub(crate) mod http;
pub(crate) mod router;
mod running;
pub(crate) mod serve;
mod stack;
mod streams;
pub(crate) mod uri;
mod work;

use std::sync::Arc;

pub use builder::{Server, ServerBuilder, ServerError};
pub use handle::{DrainReport, ServerHandle};
pub use router::{DuplicateService, Router};
pub use running::RunningServer;
#[cfg(feature = "http")]
pub(crate) use serve::serve_wire;
use tokio::sync::Semaphore;
use trunkline_wire::Limits;
use work::OUTLIVING;

use crate::net::driver::Patience;
use drain::Drain;

/// What all connections of a server share. `S` is the whole stack of layers with the router at its bottom.
pub(crate) struct Core<S> {
    pub(crate) router: Arc<Router>,
    pub(crate) stack: S,
    pub(crate) limits: Limits,
    pub(crate) patience: Patience,
    pub(crate) drain: Arc<Drain>,
    /// One-way calls that may go on without their connection.
    pub(crate) outliving: Arc<Semaphore>,
    #[cfg(feature = "http")]
    pub(crate) document: http::OpenApi,
    /// Answers all requests of HTTP, where it is there; no other wire is served then.
    #[cfg(feature = "gateway")]
    pub(crate) front: Option<Arc<dyn http::Front>>,
}

impl<S> Core<S> {
    pub(crate) fn new(router: Arc<Router>, stack: S, limits: Limits) -> Self {
        Self {
            router,
            stack,
            limits,
            patience: Patience::USUAL,
            drain: Arc::default(),
            outliving: Arc::new(Semaphore::new(OUTLIVING)),
            #[cfg(feature = "http")]
            document: http::OpenApi::default(),
            #[cfg(feature = "gateway")]
            front: None,
        }
    }
}
