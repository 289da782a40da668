//! Another peer, as it is called: its connections, and what it is known to offer.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use futures_util::future::Either;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Settings;
use super::consumer::{ConsumerClient, Params, names, not_found};
use crate::client::Client;
use crate::message::Blob;
use crate::{Code, Result, Serialization, Service, Status};

/// The scheme that endpoints have where none is said.
const SCHEME: &str = "netrpc://";

/// The most calls in flight on a connection to another peer: zrpc's callers begin a hundred thousand at once.
const IN_FLIGHT: usize = 1 << 20;

pub(super) struct Remote {
    client: Client,
    consumer: ConsumerClient<Client>,
    /// The client's own time for a call is the peer's: no call has to say it.
    times: bool,
    index: ArcSwapOption<Index>,
    /// Held while the index is asked for, so that it is asked once.
    asking: Mutex<()>,
}

/// What a peer offers.
struct Index {
    /// Sorted.
    names: Vec<String>,
    /// How many connections had been made when it was asked for: after another one it may have changed.
    connections: u64,
}

impl Index {
    fn has(&self, name: &str) -> bool {
        self.names.binary_search_by(|known| known.as_str().cmp(name)).is_ok()
    }
}

impl Remote {
    /// Nobody is dialled yet.
    ///
    /// # Errors
    /// The endpoints cannot be read.
    pub(super) fn new(endpoints: &str, settings: &Settings) -> Result<Self> {
        let urls =
            if endpoints.contains("://") { endpoints.to_owned() } else { format!("{SCHEME}{endpoints}") };
        let timeout = settings.timeout;
        let mut builder = Client::builder(&urls)
            .connections(settings.connections)
            .channels(move |channel| channel.timeout(timeout).max_in_flight(IN_FLIGHT));
        if let Some(adjust) = &settings.client {
            builder = adjust(builder);
        }
        let same = builder.usual_timeout() == timeout;
        let client = builder.lazy()?;
        // On other wires the service is told of a call's deadline, where it says one itself.
        let times = same && client.serialization() == Serialization::Gob;
        let consumer = ConsumerClient::new(client.clone());
        Ok(Self { client, consumer, times, index: ArcSwapOption::empty(), asking: Mutex::default() })
    }

    /// Makes a call within `timeout`. Where the function is known to be there, that is the call itself; where it has to
    /// be asked for before, memory is taken for it.
    #[inline]
    pub(super) fn call<'a>(
        self: &Arc<Self>,
        function: &'a str,
        argument: Bytes,
        timeout: Duration,
    ) -> impl Future<Output = Result<Bytes>> + Send + use<'a> {
        if !function.is_empty()
            && let Some(index) = &*self.index.load()
            && self.is_new(index)
            && index.has(function)
        {
            let deadline = (!self.times).then(|| Instant::now() + timeout);
            return Either::Left(self.deal(function, argument, deadline));
        }
        let remote = Arc::clone(self);
        Either::Right(Box::pin(async move {
            let deadline = Instant::now() + timeout;
            if function.is_empty() || !remote.index(deadline).await?.has(function) {
                return Err(not_found());
            }
            remote.deal(function, argument, Some(deadline)).await
        }))
    }

    #[inline]
    fn deal(
        &self,
        function: &str,
        argument: Bytes,
        deadline: Option<Instant>,
    ) -> impl Future<Output = Result<Bytes>> + Send + use<> {
        let params = Params { fun_name: function.to_owned(), data: Blob::from(argument) };
        let call = self.consumer.deal(params);
        match deadline {
            Some(deadline) => call.deadline(deadline),
            None => call,
        }
        .send_owned()
    }

    pub(super) async fn functions(&self, deadline: Instant) -> Result<Vec<String>> {
        Ok(self.index(deadline).await?.names.clone())
    }

    /// What the peer offers, asked for anew where a connection was made since.
    async fn index(&self, deadline: Instant) -> Result<Arc<Index>> {
        if let Some(index) = self.known() {
            return Ok(index);
        }
        let late = |_| Status::new(Code::DeadlineExceeded, "context deadline exceeded").not_begun();
        let _asking = tokio::time::timeout_at(deadline, self.asking.lock()).await.map_err(late)?;
        if let Some(index) = self.known() {
            return Ok(index);
        }
        // Before the call: where that makes a connection itself, it is asked once more.
        let connections = self.client.connections_made();
        let body = self.consumer.get_index(Params::default()).deadline(deadline).await?;
        let index = Arc::new(Index { names: names(&body)?, connections });
        self.index.store(Some(Arc::clone(&index)));
        Ok(index)
    }

    fn known(&self) -> Option<Arc<Index>> {
        self.index.load_full().filter(|index| self.is_new(index))
    }

    /// Whether no connection was made since it was asked for.
    fn is_new(&self, index: &Index) -> bool {
        index.connections == self.client.connections_made()
    }
}
