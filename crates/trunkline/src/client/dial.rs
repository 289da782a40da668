//! Keeping a channel connected: one dial at a time, eagerly again when a connection is lost.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;
use trunkline_wire::Session;

use super::connection::ClientRole;
use super::handshake::leave_http;
use super::link::Link;
use super::links::Links;
use super::settings::Strays;
use crate::net::Address;
use crate::net::driver::{Close, Connection, Patience};
use crate::net::transport::Stream;
use crate::random;

/// How a channel stands. Over HTTP it dials when a call needs a connection, so that the state is how the last
/// dial went, and a call does not wait for it: `Connecting` before the first one, then `Connected` or `Failed`.
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
    pub(crate) links: Arc<Links<W>>,
    /// The connection that new calls go to.
    pub(crate) current: Mutex<Option<Arc<Link<W>>>>,
    pub(crate) state: watch::Sender<ConnectionState>,
    pub(crate) pushes: broadcast::Sender<crate::Push>,
    pub(crate) strays: Arc<Strays>,
    pub(crate) address: Address,
    /// The path of the `CONNECT` that comes before the wire.
    pub(crate) connect: Option<&'static str>,
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
                Ok((stream, first)) => {
                    let begun = Instant::now();
                    let heard = self.use_connection(stream, first).await;
                    if begun.elapsed() >= SETTLED || heard.is_ok() && !short {
                        (wait, short) = (FIRST_WAIT, begun.elapsed() < SETTLED);
                        continue;
                    }
                    match heard {
                        // The server is there: calls wait for the next connection, which comes soon.
                        Ok(()) => wait = wait.min(SHORT_WAIT),
                        // No better than a server that does not accept.
                        Err(error) => {
                            self.state.send_replace(ConnectionState::Failed { error });
                        }
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

    /// Dials, and leaves HTTP where the wire is behind a `CONNECT`.
    async fn dial(&self) -> std::io::Result<(Stream, Bytes)> {
        let Some(path) = self.connect else {
            return dial(&self.address, self.dial_timeout).await.map(|stream| (stream, Bytes::new()));
        };
        in_time(self.dial_timeout, async {
            let mut stream = Stream::dial(&self.address).await?;
            let first = leave_http(&mut stream, path).await?;
            Ok((stream, first))
        })
        .await
    }

    /// Runs a connection until it is lost or its server announces that it will stop; then it goes on to its end
    /// beside the next one.
    ///
    /// # Errors
    /// The server has not said anything: why the connection ended.
    async fn use_connection(&self, stream: Stream, first: Bytes) -> Result<(), String> {
        let (links, strays) = (Arc::clone(&self.links), Arc::clone(&self.strays));
        let link = Arc::new(Link::new(stream.second_descriptor(), links, self.pushes.clone(), strays));
        let role = ClientRole::new(Arc::clone(&link));
        let connection = Connection::new(stream, role, &Patience::USUAL, first);
        let mut run = tokio::spawn(run(connection, Arc::clone(&link)));
        self.strays.connections.fetch_add(1, Ordering::Relaxed);
        self.set_current(Some(Arc::clone(&link)));
        self.state.send_replace(ConnectionState::Connected);
        let ended = tokio::select! {
            biased;
            ended = &mut run => ended.ok(),
            // Something was heard.
            () = link.draining.notified() => None,
        };
        self.set_current(None);
        self.state.send_replace(ConnectionState::Connecting);
        if link.was_heard() { Ok(()) } else { Err(ended.unwrap_or_default()) }
    }
}

/// Dials once, for at most this long.
pub(crate) async fn dial(address: &Address, time: Duration) -> std::io::Result<Stream> {
    in_time(time, Stream::dial(address)).await
}

async fn in_time<T>(time: Duration, work: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    match tokio::time::timeout(time, work).await {
        Ok(done) => done,
        Err(_) => {
            let text = format!("no connection within {} ms", time.as_millis());
            Err(std::io::Error::new(std::io::ErrorKind::TimedOut, text))
        }
    }
}

/// Runs a connection to its end; why it ended.
async fn run<W: Session>(
    mut connection: Connection<'static, Stream, ClientRole<W>>,
    link: Arc<Link<W>>,
) -> String {
    // Where the runtime stops, or the task is dropped otherwise, callers learn it, too.
    let mut end = FailAll { link: &link, close: Close::Done };
    end.close = connection.run().await;
    match &end.close {
        Close::Done => "the server closed the connection without a word".to_owned(),
        close => format!("the connection was lost: {close}"),
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
pub(crate) fn next_wait(last: Duration) -> Duration {
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
