//! A client of any wire, made of what a channel is made of: for tests that look inside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail loudly"
)]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use trunkline_wire::{Limits, Session};

use crate::client::dial::{ConnectionState, Shared};
use crate::client::links::Links;
use crate::client::settings::{Settings, Strays};
use crate::net::transport::Address;
use crate::{Call, Reply, Result, Serialization, Service};

/// A client of one connection, made of what a channel is made of.
pub(crate) struct Client<W> {
    pub(crate) shared: Arc<Shared<W>>,
    _open: Arc<watch::Sender<bool>>,
}

impl<W> Clone for Client<W> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), _open: Arc::clone(&self._open) }
    }
}

impl<W: Session> Service for Client<W> {
    async fn call(&self, call: Call) -> Result<Reply> {
        self.call_as_usual(call).await
    }

    fn serialization(&self) -> Serialization {
        Serialization::Raw
    }
}

impl<W: Session> Client<W> {
    pub(crate) fn new(name: &str) -> Self {
        let settings = Settings {
            limits: Limits::default().into(),
            calls: 65_536,
            heartbeat: Duration::from_secs(5),
            lower_case: false,
            address: format!("mem://{name}"),
        };
        let shared = Arc::new(Shared::<W> {
            links: Arc::new(Links::new(settings)),
            current: std::sync::Mutex::default(),
            state: watch::channel(ConnectionState::Connecting).0,
            pushes: broadcast::channel(1).0,
            strays: Arc::<Strays>::default(),
            address: Address::Memory(name.to_owned()),
            connect: None,
            dial_timeout: Duration::from_secs(3),
        });
        let (open, closed) = watch::channel(false);
        tokio::spawn(Arc::clone(&shared).keep_connected(closed));
        Self { shared, _open: Arc::new(open) }
    }

    pub(crate) async fn call(&self, call: Call) -> Result<Reply> {
        self.shared.call(call, Duration::from_secs(600)).await
    }

    /// The same with the usual timeout of a channel.
    pub(crate) async fn call_as_usual(&self, call: Call) -> Result<Reply> {
        self.shared.call(call, Duration::from_secs(10)).await
    }

    pub(crate) fn strays(&self) -> u64 {
        self.shared.strays.replies.load(Ordering::Relaxed)
    }
}
