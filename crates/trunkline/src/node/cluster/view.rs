//! What a server says of its node: `TrunklineNode.View`, for `trunkline top`.
//!
//! It is not listed by `Trunkline.Describe`. Where the server asks for a token, whoever shows it is answered. Where it does
//! not, callers on loopback, on a Unix socket and in memory are; to others there is no such service, and so it is for
//! requests of HTTP, which a proxy on the same machine may hand on.

use serde::Serialize;
use trunkline_wire::Serialization;

use super::{Cluster, ClusterStats, RemoteState};
use crate::describe::{MethodInfo, ServiceInfo};
use crate::node::NodeView;
use crate::{Call, Code, Context, NamedService, Peer, Reply, Result, Service, Status};

/// A node and its place in the cluster at one moment.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ClusterView {
    /// The node and its services.
    #[serde(flatten)]
    pub node: NodeView,
    /// The other nodes, by name.
    pub remotes: Vec<RemoteState>,
    /// Figures since the start.
    pub cluster: ClusterStats,
}

impl Cluster {
    /// What the node does at this moment. See [`Node::view`](crate::node::Node::view).
    pub async fn view(&self) -> ClusterView {
        ClusterView { node: self.node().view().await, remotes: self.remotes(), cluster: self.stats() }
    }
}

/// Answers `TrunklineNode.View` by JSON.
#[derive(Debug)]
pub(super) struct ViewService {
    pub(super) cluster: Cluster,
    /// Every caller has shown a token before it comes here.
    pub(super) token: bool,
}

impl NamedService for ViewService {
    fn describe(&self) -> ServiceInfo {
        ServiceInfo { name: "TrunklineNode".into(), doc: "", methods: vec![MethodInfo::new("View")] }
    }
}

impl ViewService {
    fn lets_in(&self, context: &Context) -> bool {
        let near = match context.peer() {
            Peer::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Peer::Unix | Peer::Memory(_) => true,
            Peer::Local => false,
        };
        self.token || near && matches!(context.wire(), "rpcx" | "iip" | "saber")
    }
}

impl Service for ViewService {
    async fn call(&self, call: Call) -> Result<Reply> {
        if !self.lets_in(call.context()) {
            return Err(Status::new(Code::NotFound, "rpcx: can't find service TrunklineNode").not_begun());
        }
        if call.serialization() != Serialization::Json {
            return Err(Status::new(Code::Unsupported, "the view of a node is JSON").not_begun());
        }
        let view = serde_json::to_vec(&self.cluster.view().await);
        let view = view.map_err(|error| Status::new(Code::Internal, error.to_string()))?;
        Ok(Reply::new(view))
    }
}
