//! Another peer, as it is called: its connections, and what it is known to offer.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Settings;
use super::consumer::{ConsumerClient, Params, names, not_found};
use crate::client::Client;
use crate::message::Blob;
use crate::{Code, Result, Status};

/// The scheme that endpoints have where none is said.
const SCHEME: &str = "netrpc://";

/// The most calls in flight on a connection to another peer: zrpc's callers begin a hundred thousand at once.
const IN_FLIGHT: usize = 1 << 20;

pub(super) struct Remote {
    client: Client,
    consumer: ConsumerClient<Client>,
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
        let client = builder.lazy()?;
        let consumer = ConsumerClient::new(client.clone());
        Ok(Self { client, consumer, index: ArcSwapOption::empty(), asking: Mutex::default() })
    }

    pub(super) async fn call(&self, function: &str, argument: Bytes, deadline: Instant) -> Result<Bytes> {
        if function.is_empty() || !self.index(deadline).await?.has(function) {
            return Err(not_found());
        }
        let params = Params { fun_name: function.to_owned(), data: Blob::from(argument) };
        self.consumer.deal(params).deadline(deadline).await
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
        let index = self.index.load_full()?;
        (index.connections == self.client.connections_made()).then_some(index)
    }
}
