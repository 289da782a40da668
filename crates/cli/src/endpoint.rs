//! Where calls go: a channel of the library.

use std::time::Duration;

use tokio::time::Instant;
use trunkline::client::{Channel, Url};
use trunkline::{Code, Result, Status};

use crate::exit::Failure;
use crate::refuse;

/// How long a call has where nobody says.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest reply that is taken, in bytes: whoever asks for more has another tool.
pub(crate) const REPLY_LIMIT: usize = 256 << 20;

/// Reads a URL to call.
pub(crate) fn url(text: &str) -> Result<Url, Failure> {
    refuse::later_url(text)?;
    text.parse::<Url>().map_err(|error| Failure::usage(error.to_string()))
}

/// Connects.
pub(crate) async fn connect(url: &Url, deadline: Instant) -> Result<Channel> {
    let left = deadline.saturating_duration_since(Instant::now());
    let builder = Channel::builder(&url.to_string()).timeout(left).body_limit(REPLY_LIMIT);
    match tokio::time::timeout_at(deadline, builder.connect()).await {
        Ok(connected) => connected,
        Err(_) => Err(Status::new(Code::DeadlineExceeded, "no connection in time").not_begun()),
    }
}

/// Lets what was written leave, and the connections end.
pub(crate) async fn close(channel: Channel, deadline: Instant) {
    drop(channel);
    let metrics = tokio::runtime::Handle::current().metrics();
    // Each connection is a task, and ends when all that it has to send is sent.
    while metrics.num_alive_tasks() > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
