//! Serving: the builder, the listeners, the connections, the stop.
//!
//! # What a server says of itself on IIP
//! Every server answers IIP's system paths as the Go program does: `/sys/server_count`, `/sys/path_count` (data: the path),
//! `/sys/server_measure`, `/sys/path_measure` (data: the path), `/sys/statis` (data: `{"time_unit":"millisecond"}`) and
//! `/sys/connection_statis`. They are not listed by `Trunkline.Describe`.
//!
//! **Who may ask.** Where the server [asks for a token](ServerBuilder::token), it does so here, too, as for any call:
//! without it the call gets the token's failure. Where it does not, callers on loopback, on a Unix socket and in memory are
//! answered; to others there is no such path (code 102). A request that an HTTP adapter hands on finds no such path,
//! wherever the adapter runs and whatever token it brings. A proxy on the same machine that hands on IIP itself is on
//! loopback: behind one, ask for a token.
//!
//! **What differs from the Go program:**
//! - Counts (`server_count`, `path_count`, `connection_statis`) are of IIP alone, and exact. Measures are of the methods'
//!   calls on all wires, since a method is one thing here. Only their numbers of requests are exact: a call whose handler
//!   has to wait is timed from there on; of those that are answered at once one in 16 is timed, and stands for the others.
//! - Seconds are counted from the first IIP connection on. What was before is in the `all_` figures alone.
//! - The eight ranges are of milliseconds on all paths: up to 100, 200, 300, 500, 700, 1000, 1500, and more. There they are
//!   of microseconds on system paths, and an application may set its own.
//! - A path that stands for a method ([`ServerBuilder::path`]) shares the figures of that method, which `statis` lists under
//!   `/Service/Method`. Paths are listed in the order of the server's table; there the order is random.
//! - The averages of `all timecount` are of all calls. There they are the time of the last five minutes by the number of
//!   all calls.
//! - `WriteQueue` is 0: nothing is queued between a handler and the socket. `ReceiveQueue` is how many frames wait to be
//!   looked at.
//! - A connection whose thread is busy for more than a second is left out. Where all connections together are more than a
//!   reply may be long (`body_limit`), `connection_statis` fails.
//! - A frame that a Trunkline peer sends beside its calls counts for its channel 0.
//!
//! As there, `PacketReceived` and `BytesReceived` are filled for channels alone, and calls of names that the server does not
//! have, of `new_channel` and of `delete_channel` count for connections and channels alone.

mod accept;
mod begin;
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
#[cfg(feature = "node")]
pub(crate) mod saber;
pub(crate) mod serve;
mod stack;
mod streams;
pub(crate) mod sys;
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
    pub(crate) limits: Arc<Limits>,
    pub(crate) patience: Patience,
    pub(crate) drain: Arc<Drain>,
    /// One-way calls that may go on without their connection.
    pub(crate) outliving: Arc<Semaphore>,
    pub(crate) sys: Arc<sys::Sys>,
    #[cfg(feature = "http")]
    pub(crate) document: http::OpenApi,
    /// Answers all requests of HTTP, where it is there; no other wire is served then.
    #[cfg(feature = "gateway")]
    pub(crate) front: Option<Arc<dyn http::Front>>,
    /// Takes connections that speak saber.
    #[cfg(feature = "node")]
    pub(crate) saber: Option<Arc<dyn saber::Saber>>,
}

impl<S> Core<S> {
    pub(crate) fn new(router: Arc<Router>, stack: S, limits: Limits) -> Self {
        Self {
            router,
            stack,
            limits: Arc::new(limits),
            patience: Patience::USUAL,
            drain: Arc::default(),
            outliving: Arc::new(Semaphore::new(OUTLIVING)),
            sys: Arc::default(),
            #[cfg(feature = "http")]
            document: http::OpenApi::default(),
            #[cfg(feature = "gateway")]
            front: None,
            #[cfg(feature = "node")]
            saber: None,
        }
    }
}
