//! A server that runs by itself, in a task.

use std::time::Duration;

use tokio::task::JoinHandle;

use super::builder::ServerError;
use super::handle::ServerHandle;

/// A server that was started by [`ServerBuilder::start`](super::ServerBuilder::start). It goes on when this is
/// dropped, to the end of its runtime.
#[derive(Debug)]
pub struct RunningServer {
    pub(super) url: String,
    pub(super) addresses: Vec<String>,
    pub(super) handle: ServerHandle,
    pub(super) task: JoinHandle<Result<(), ServerError>>,
}

impl RunningServer {
    /// The URL at which a client reaches the first of its addresses: [`Server::url`](super::Server::url).
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens, with the ports that were picked.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// To stop the server from elsewhere, and to look at it.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Stops it: what has begun is answered, for at most `limit`; then what is left is cut off.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait).
    pub async fn stop(self, limit: Duration) -> Result<(), ServerError> {
        self.handle.drain(limit);
        self.wait().await
    }

    /// Waits until it has stopped.
    ///
    /// # Errors
    /// A worker thread could not be started.
    pub async fn wait(self) -> Result<(), ServerError> {
        match self.task.await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime has stopped, and the server with it.
                Err(_) => Ok(()),
            },
        }
    }
}
