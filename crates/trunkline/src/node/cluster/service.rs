//! A service of any node, called by the names of its methods.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use trunkline_wire::Serialization;

use super::Shared;
use crate::node::{Chain, Delivery, Destination, From, Outbound, Remote, current, handle_of};
use crate::{Call, Code, Name, Reply, Result, Service, Status};

/// How long a call may take that does not say it itself.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A mailbox service of a node of the table, or of one's own, as an ordinary [`Service`]: a call's method is called, its
/// service name is not looked at. Begun by [`Cluster::service`](super::Cluster::service).
#[derive(Debug, Clone)]
pub struct RemoteService {
    shared: Arc<Shared>,
    cluster: Name,
    service: Name,
    id: u32,
    source: u64,
}

impl RemoteService {
    pub(super) fn new(shared: Arc<Shared>, cluster: &str, service: &str, id: u32) -> Self {
        Self { shared, cluster: cluster.into(), service: service.into(), id, source: 0 }
    }

    /// The same, called in the name of a service of this node. The default is a caller that is no service.
    #[must_use]
    pub fn as_caller(mut self, service: &str, id: u32) -> Self {
        self.source = handle_of(self.shared.node_name(), service, id);
        self
    }

    fn outbound(&self, call: Call, chain: Chain) -> Outbound {
        let caller = || current::with(|service| service.map_or(0, |service| service.identity.handle()));
        Outbound {
            source: if self.source == 0 { caller() } else { self.source },
            cluster: self.cluster.clone(),
            service: self.service.clone(),
            id: self.id,
            call,
            chain,
        }
    }
}

impl Service for RemoteService {
    /// A call has 10 s where it does not say it itself.
    async fn call(&self, mut call: Call) -> Result<Reply> {
        let one_way = call.one_way;
        let node = &self.shared.node;
        let here = *self.cluster == *node.name();
        if one_way && here {
            let to = Destination::Named(&self.service, self.id);
            let delivery = Delivery { call, chain: Chain::default(), slot: None };
            return node.deliver(to, From::Node, delivery).map(|()| Reply::default());
        }
        if one_way {
            return self.shared.notify(self.outbound(call, Chain::default())).map(|()| Reply::default());
        }
        if here {
            return node.call(&self.service, self.id, call).await;
        }
        let usual = Instant::now() + TIMEOUT;
        let deadline = call.context.deadline.unwrap_or(usual);
        let deadline = current::deadline().map_or(deadline, |outer| outer.min(deadline));
        call.context.deadline = Some(deadline);
        let answered = Remote::call(&*self.shared, self.outbound(call, current::chain()?));
        tokio::time::timeout_at(deadline, answered).await.unwrap_or_else(|_| late())
    }

    fn serialization(&self) -> Serialization {
        Serialization::Json
    }
}

fn late() -> Result<Reply> {
    Err(Status::new(Code::DeadlineExceeded, "context deadline exceeded"))
}
