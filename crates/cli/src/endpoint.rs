//! Where calls go: a channel of the library, or HTTP.

use std::time::Duration;

use tokio::time::Instant;
use trunkline::client::{Channel, Url, Wire};
use trunkline::{Call, Code, Reply, Result, Service, Status};

use crate::exit::Failure;
use crate::http::Http;
use crate::refuse;

/// How long a call has where nobody says.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest reply that is taken, in bytes: whoever asks for more has another tool.
pub(crate) const REPLY_LIMIT: usize = 256 << 20;

/// One peer that can be called. A clone is the same peer.
#[derive(Clone)]
pub(crate) enum Endpoint {
    Channel(Channel),
    Http(Http),
}

/// Reads a URL to call.
pub(crate) fn url(text: &str) -> Result<Url, Failure> {
    refuse::later_url(text)?;
    text.parse::<Url>().map_err(|error| Failure::usage(error.to_string()))
}

impl Endpoint {
    /// Connects; over HTTP that happens with the call.
    pub(crate) async fn connect(url: &Url, deadline: Instant) -> Result<Self> {
        if url.wire == Wire::Http {
            return Ok(Self::Http(Http::new(url.address.clone())));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let builder = Channel::builder(&url.to_string()).timeout(left).body_limit(REPLY_LIMIT);
        match tokio::time::timeout_at(deadline, builder.connect()).await {
            Ok(connected) => connected.map(Self::Channel),
            Err(_) => Err(Status::new(Code::DeadlineExceeded, "no connection in time").not_begun()),
        }
    }

    /// Lets what was written leave, and the connections end.
    pub(crate) async fn close(self, deadline: Instant) {
        drop(self);
        let metrics = tokio::runtime::Handle::current().metrics();
        // Each connection is a task, and ends when all that it has to send is sent.
        while metrics.num_alive_tasks() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Service for Endpoint {
    async fn call(&self, call: Call) -> Result<Reply> {
        match self {
            Self::Channel(channel) => channel.call(call).await,
            Self::Http(http) => http.call(call).await,
        }
    }
}
