//! Nodes of mailbox services: state that one logical thread at a time works on, reached by messages.
//!
//! A node has a name (its cluster's, in saber's words) and services, each with a name and a number. Calls and notifies
//! within a node go by value; those from and to other nodes go through a codec.
#![expect(dead_code, reason = "the mailboxes and the cluster, which use it, are being built")]

mod chain;
mod deliver;
mod identity;
mod registry;

use std::fmt;
use std::sync::{Arc, OnceLock};

pub(crate) use chain::Chain;
pub(crate) use deliver::{Deliver, Delivery, Destination, From, Outbound, Remote, Slot};
pub use identity::{Identity, METHOD_LIMIT, handle_of};

use crate::{Call, Code, Result, Status};

/// A node: services with mailboxes under one name. A clone is the same node.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    services: registry::Registry,
    remote: OnceLock<Arc<dyn Remote>>,
}

impl Node {
    /// A node of this name, without services yet.
    pub fn builder(name: &str) -> NodeBuilder {
        NodeBuilder { name: name.into() }
    }

    /// Its name: the cluster's, in saber's words.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The way to other nodes; it is set once.
    pub(crate) fn attach(&self, remote: Arc<dyn Remote>) {
        if self.0.remote.set(remote).is_err() {
            tracing::warn!(node = %self.0.name, "the node has a way to other nodes already");
        }
    }

    /// The way to other nodes, where there is one.
    pub(crate) fn remote(&self) -> Option<&Arc<dyn Remote>> {
        self.0.remote.get()
    }

    /// Gives a call from elsewhere to its service. It never blocks. Whatever becomes of the call, its slot is answered
    /// exactly once: at once where it is refused, and then the same status is returned, too.
    ///
    /// # Errors
    /// [`Code::NotFound`] for an unknown service or method, [`Code::Limited`] for a full mailbox,
    /// [`Code::Unavailable`] for a service that has stopped, [`Code::Failed`] for a cycle.
    pub(crate) fn deliver(&self, to: Destination<'_>, from: From, delivery: Delivery) -> Result<()> {
        let refuse = |delivery: Delivery, status: Status| {
            if let Some(slot) = delivery.slot {
                slot.answer(Err(status.clone()));
            }
            Err(status)
        };
        let Some(service) = self.0.services.find(to) else {
            return refuse(delivery, registry::unknown(to));
        };
        let method = delivery.call.method();
        if !service.methods().iter().any(|known| known.eq_ignore_ascii_case(method)) {
            let status = unknown_method(method, from);
            return refuse(delivery, status);
        }
        service.deliver(delivery)
    }

    /// As [`deliver`](Self::deliver), for a call whose answer somebody awaits.
    pub(crate) async fn call(
        &self,
        to: Destination<'_>,
        from: From,
        call: Call,
        chain: Chain,
    ) -> Result<crate::Reply> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let slot = Slot::new(move |result| drop(sender.send(result)));
        self.deliver(to, from, Delivery { call, chain, slot: Some(slot) })?;
        receiver.await.unwrap_or_else(|_| Err(dropped()))
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("name", &self.0.name).finish_non_exhaustive()
    }
}

/// Makes a [`Node`].
#[derive(Debug)]
#[must_use = "a node begins with `start`"]
pub struct NodeBuilder {
    name: Arc<str>,
}

impl NodeBuilder {
    /// Starts the node.
    ///
    /// # Errors
    /// [`Code::InvalidInput`]: the node's name cannot be one, or two services have the same handle.
    pub fn start(self) -> Result<Node> {
        identity::check_name("a node's name", &self.name)?;
        Ok(Node(Arc::new(Inner {
            name: self.name,
            services: registry::Registry::default(),
            remote: OnceLock::new(),
        })))
    }
}

fn unknown_method(name: &str, from: From) -> Status {
    let text = match from {
        From::Node => format!("call unknown func {name}"),
        From::Cluster => format!("unknown rpc func {name}"),
    };
    Status::new(Code::NotFound, text).not_begun()
}

/// The failure of a call whose service went away with it.
pub(crate) fn dropped() -> Status {
    Status::new(Code::Unavailable, "the service stopped before it answered")
}
