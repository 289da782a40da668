//! Where calls go: a channel of the library, or a client of several.

use std::time::Duration;

use tokio::time::Instant;
use trunkline::balance::{self, Endpoint};
use trunkline::client::{Channel, Client, Url, Wire};
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

/// One endpoint, or several.
pub(crate) enum Target {
    One(Url),
    Several { endpoints: Vec<Endpoint>, easymicro: bool, gob: bool, text: String },
}

/// What calls are made through; the channel, where it is one.
pub(crate) type Connected = (Client, Option<Channel>);

/// Reads where to call: one URL, or several endpoints with commas and weights.
pub(crate) fn target(text: &str) -> Result<Target, Failure> {
    if !text.contains([',', '#']) {
        return url(text).map(Target::One);
    }
    let endpoints = Endpoint::list(text).map_err(|error| Failure::usage(error.to_string()))?;
    let mut wires = Vec::new();
    for endpoint in &endpoints {
        wires.push(url(endpoint.url())?.wire);
    }
    let (easymicro, gob) = (wires.contains(&Wire::Easymicro), wires.contains(&Wire::Netrpc));
    if gob && wires.iter().any(|wire| *wire != Wire::Netrpc) {
        let text = "net/rpc has a serialisation of its own: its endpoints cannot be mixed with others";
        return Err(Failure::usage(text));
    }
    Ok(Target::Several { endpoints, easymicro, gob, text: text.to_owned() })
}

impl Target {
    /// What is called, for people.
    pub(crate) fn address(&self) -> String {
        match self {
            Self::One(url) => url.address.to_string(),
            Self::Several { text, .. } => text.clone(),
        }
    }

    /// The URL or the list.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::One(url) => url.to_string(),
            Self::Several { text, .. } => text.clone(),
        }
    }

    /// Whether an easymicro server is among those that may be called.
    pub(crate) fn is_easymicro(&self) -> bool {
        match self {
            Self::One(url) => url.wire == Wire::Easymicro,
            Self::Several { easymicro, .. } => *easymicro,
        }
    }

    /// Whether bodies go as gob.
    pub(crate) fn is_gob(&self) -> bool {
        match self {
            Self::One(url) => url.wire == Wire::Netrpc,
            Self::Several { gob, .. } => *gob,
        }
    }

    /// Connects; of several, those that calls go to are dialled by them.
    pub(crate) async fn connect(&self, select: Option<&str>, deadline: Instant) -> Result<Connected> {
        let endpoints = match self {
            Self::One(url) => {
                let channel = connect(url, deadline).await?;
                return Ok((channel.clone().into(), Some(channel)));
            }
            Self::Several { endpoints, .. } => endpoints,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let begun = Client::builder("").channels(|channel| channel.timeout(left).body_limit(REPLY_LIMIT));
        let builder = endpoints.iter().cloned().fold(begun, |all, endpoint| all.endpoint(endpoint));
        let client = match select.and_then(balance::by_name) {
            Some(picker) => builder.select(picker).lazy()?,
            None => builder.lazy()?,
        };
        Ok((client, None))
    }
}

/// Lets what was written leave, and the connections end.
pub(crate) async fn close<C>(connected: C, deadline: Instant) {
    drop(connected);
    let metrics = tokio::runtime::Handle::current().metrics();
    // Each connection is a task, and ends when all that it has to send is sent.
    while metrics.num_alive_tasks() > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
