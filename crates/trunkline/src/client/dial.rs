//! Keeping a channel connected: one dial at a time, eagerly again when a connection is lost.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;
use trunkline_wire::Session;

use super::connection::ClientRole;
use super::link::{Link, Settings, Strays};
use crate::net::Address;
use crate::net::driver::{Close, Connection, Patience};
use crate::net::transport::Stream;
use crate::random;

/// How a channel stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// Dialling for the first time, or again after a connection was lost. Calls wait.
    Connecting,
    /// Calls are made.
    Connected,
    /// The last dial failed, and the next one waits a while. Calls fail at once.
    Failed {
        /// Why the dial failed.
        error: String,
    },
    /// The channel is no longer used.
    Closed,
}

/// What a channel and the task that keeps it connected share.
pub(crate) struct Shared<W> {
    pub(crate) current: Mutex<Option<Arc<Link<W>>>>,
    pub(crate) state: watch::Sender<ConnectionState>,
    pub(crate) pushes: broadcast::Sender<crate::Push>,
    pub(crate) strays: Arc<Strays>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) address: Address,
    pub(crate) dial_timeout: Duration,
}

/// The first wait after a failed dial, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LAST_WAIT: Duration = Duration::from_secs(30);

/// From this the wait after a short connection to a server that answered is drawn: three times as much at most.
const SHORT_WAIT: Duration = Duration::from_millis(150);

/// A connection that lasted this long was no short one: when it is lost, the next dial follows at once.
const SETTLED: Duration = Duration::from_secs(1);

impl<W: Session> Shared<W> {
    /// The connection that calls go to now.
    pub(crate) fn current(&self) -> Option<Arc<Link<W>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_current(&self, link: Option<Arc<Link<W>>>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = link;
    }

    /// Keeps the channel connected until `closed` is told.
    pub(crate) async fn keep_connected(self: Arc<Self>, mut closed: watch::Receiver<bool>) {
        // Every choice has an order, so that a seed repeats a run.
        tokio::select! {
            biased;
            () = Arc::clone(&self).dial_for_ever() => {}
            _ = closed.wait_for(|closed| *closed) => {}
        }
        if let Some(link) = self.current() {
            link.close();
        }
        self.set_current(None);
        self.state.send_replace(ConnectionState::Closed);
    }

    async fn dial_for_ever(self: Arc<Self>) {
        let mut wait = FIRST_WAIT;
        // The connection before was short: one of a row is dialled again at once.
        let mut short = false;
        loop {
            self.state.send_replace(ConnectionState::Connecting);
            match self.dial().await {
                Ok(stream) => {
                    let begun = Instant::now();
                    let heard = self.use_connection(stream).await;
                    if begun.elapsed() >= SETTLED || heard && !short {
                        (wait, short) = (FIRST_WAIT, begun.elapsed() < SETTLED);
                        continue;
                    }
                    if heard {
                        // The server is there: calls wait for the next connection, which comes soon.
                        wait = wait.min(SHORT_WAIT);
                    } else {
                        // No better than a server that does not accept.
                        let error = "the server closed the connection without a word".to_owned();
                        self.state.send_replace(ConnectionState::Failed { error });
                    }
                }
                Err(error) => {
                    self.state.send_replace(ConnectionState::Failed { error: error.to_string() });
                }
            }
            wait = next_wait(wait);
            tokio::time::sleep(wait).await;
        }
    }

    async fn dial(&self) -> std::io::Result<Stream> {
        match tokio::time::timeout(self.dial_timeout, Stream::dial(&self.address)).await {
            Ok(dialled) => dialled,
            Err(_) => {
                let text = format!("no connection within {} ms", self.dial_timeout.as_millis());
                Err(std::io::Error::new(std::io::ErrorKind::TimedOut, text))
            }
        }
    }

    /// Runs a connection until it is lost or its server announces that it will stop; then it goes on to its end
    /// beside the next one.
    /// Whether the server has said anything is told.
    async fn use_connection(&self, stream: Stream) -> bool {
        let settings = Arc::clone(&self.settings);
        let link = Arc::new(Link::<W>::new(settings, self.pushes.clone(), Arc::clone(&self.strays)));
        let role = ClientRole::new(Arc::clone(&link));
        let connection = Connection::new(stream, role, &Patience::USUAL, Bytes::new());
        let mut run = tokio::spawn(run(connection, Arc::clone(&link)));
        self.set_current(Some(Arc::clone(&link)));
        self.state.send_replace(ConnectionState::Connected);
        tokio::select! {
            biased;
            _ = &mut run => {}
            () = link.draining.notified() => {}
        }
        self.set_current(None);
        self.state.send_replace(ConnectionState::Connecting);
        link.was_heard()
    }
}

fn run<W: Session>(
    mut connection: Connection<Stream, ClientRole<W>>,
    link: Arc<Link<W>>,
) -> impl Future<Output = ()> + Send {
    async move {
        // Where the runtime stops, or the task is dropped otherwise, callers learn it, too.
        let mut end = FailAll { link: &link, close: Close::Done };
        end.close = connection.run().await;
    }
}

struct FailAll<'a, W: Session> {
    link: &'a Link<W>,
    close: Close,
}

impl<W: Session> Drop for FailAll<'_, W> {
    fn drop(&mut self) {
        self.link.fail_all(&self.close);
    }
}

/// Decorrelated jitter: from the first wait to three times the last one.
fn next_wait(last: Duration) -> Duration {
    let most = last.saturating_mul(3).min(LAST_WAIT);
    FIRST_WAIT + most.saturating_sub(FIRST_WAIT).mul_f64(random::fraction())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_between_the_first_and_the_last() {
        random::seed(7);
        let mut wait = FIRST_WAIT;
        let mut longest = Duration::ZERO;
        for _ in 0..10_000 {
            wait = next_wait(wait);
            assert!((FIRST_WAIT..=LAST_WAIT).contains(&wait));
            longest = longest.max(wait);
        }
        assert!(longest > Duration::from_secs(20));
    }
}
