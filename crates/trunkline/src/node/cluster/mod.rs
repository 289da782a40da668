//! Nodes that call each other: saber's cluster, over the one connection driver.
//!
//! A [`Cluster`] gives a node its way to others and theirs to it. A [`Server`](crate::Server) that has it
//! ([`ServerBuilder::cluster`](crate::server::ServerBuilder::cluster)) hands it the connections that speak saber; to each
//! node of the [`ClusterTable`] it keeps one connection of its own.
//!
//! - A **call** goes over our own connection to the other node. Its answer comes over that node's own connection to us, or
//!   back over ours: both find the call by its session and both handles.
//! - An **answer** to a node of the table goes over our own connection to it, since a Go node reads nothing on connections
//!   that it dialled; to any other it goes back over the connection that brought the call.
//! - Every call that comes gets an answer. An unknown service, an unknown method, a body that does not fit or is too large,
//!   a panic and an answer that is too large are failures with a text.
//! - A node that cannot be reached: a call fails at once with the reason; its connection is dialled again with growing
//!   pauses, and as soon as there is a sign of life from it.
//! - Services of the server that have no mailbox are called as `Name/1`.
//! - Between Trunkline nodes a call carries how long its caller waits and which serial services wait for it, so that a
//!   cycle fails at once.
//!
//! What a frame says of its sender is not proven: a node has to be kept where only its cluster reaches it. A connection
//! speaks for one node from its first frame to its end, an answer completes only the call that it names whole, and a
//! server that asks for a token refuses calls of mailbox services, since the wire carries none.
//!
//! Sources: the behaviour of the Go module `github.com/xingshuo/saber` (`pkg/sidecar.go`, `pkg/cluster_proxy.go`) as it was
//! read and recorded; the wire itself is [`trunkline_wire::saber`].

mod answer;
mod caller;
mod calls;
mod known;
mod line;
mod one_way;
mod remote;
mod role;
mod serve;
mod service;
mod table;
#[cfg(test)]
mod tests;
mod view;

use std::future::ready;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::runtime::Handle as Runtime;
use tokio::task::JoinSet;
use tokio::time::Instant;
use trunkline_wire::Limits;
use trunkline_wire::saber::cluster_hash;

pub(super) use answer::Answer;
pub use service::RemoteService;
pub use table::ClusterTable;
pub use view::ClusterView;

use self::answer::Work;
use self::line::Phase;
use self::remote::RemoteNode;
use self::table::Remotes;
use super::{Node, Outbound, Remote};
use crate::Result;
use crate::service::BoxFuture;

/// How many calls to one node may be in flight; one more fails.
const CALLS: usize = 65_536;

/// A node's place among others. A clone is the same. It lasts until it is [stopped](Self::stop), or to the end of the
/// runtime that it was started on; its connections and those that are handed to it live on that runtime.
#[derive(Debug, Clone)]
pub struct Cluster(Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    node: Node,
    limits: Limits,
    runtime: Runtime,
    remotes: ArcSwap<Remotes>,
    /// Counts tables: what was looked up in another one is looked up again.
    version: AtomicU64,
    /// What every connection that was accepted is answering; those that are gone as well, until there are many.
    works: Mutex<Vec<Weak<Work>>>,
    counts: Counts,
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    stray_answers: AtomicU64,
    answers_lost: AtomicU64,
    passed_over: AtomicU64,
}

/// Figures of a cluster's node since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct ClusterStats {
    /// Answers that came when nobody waited for them: late, doubled, made up, or from somebody else. They completed nothing.
    pub stray_answers: u64,
    /// Answers that could not leave: the caller's node could not be reached, or did not take them.
    pub answers_lost: u64,
    /// Frames that were passed over: of unknown types, too short, or where none is expected.
    pub passed_over: u64,
    /// Calls from other nodes that are being answered now.
    pub in_work: usize,
}

/// How another node stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RemoteState {
    /// Its name.
    pub name: String,
    /// Where it listens, by the table.
    pub address: String,
    /// Whether our connection to it is there.
    pub connected: bool,
    /// Why not, once a dial has failed or a connection was lost.
    pub reason: Option<String>,
    /// Calls to it that wait for their answers.
    pub calls: usize,
}

impl Cluster {
    /// Gives a node its way to the others of the table, and begins to dial them. It belongs to a Tokio runtime.
    ///
    /// # Errors
    /// [`Code::InvalidInput`](crate::Code::InvalidInput): a name or an address cannot be one, two names have the same hash,
    /// or the table is of a node of another name.
    pub fn start(node: &Node, table: &ClusterTable) -> Result<Self> {
        Self::start_with(node, table, Limits::default())
    }

    /// As [`start`](Self::start), with other limits: of bodies ([`Limits::body`]), and of calls of one connection that are
    /// being answered ([`Limits::calls`]).
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn start_with(node: &Node, table: &ClusterTable, limits: Limits) -> Result<Self> {
        let shared = Arc::new(Shared {
            node: node.clone(),
            limits,
            runtime: Runtime::current(),
            remotes: ArcSwap::default(),
            version: AtomicU64::new(0),
            works: Mutex::default(),
            counts: Counts::default(),
            tasks: Mutex::default(),
        });
        let cluster = Self(shared);
        cluster.reload(table)?;
        node.attach(Arc::clone(&cluster.0) as Arc<dyn Remote>);
        Ok(cluster)
    }

    /// Takes another table. Nodes that are not in it any more, or at another address, are disconnected, and calls to them
    /// end at once; new ones are dialled; the others stay as they are.
    ///
    /// # Errors
    /// As for [`start`](Self::start); then nothing has changed.
    pub fn reload(&self, table: &ClusterTable) -> Result<()> {
        let shared = &self.0;
        if table.name() != shared.node_name() {
            let text =
                format!("the table is of the node {}, and this is {}", table.name(), shared.node_name());
            return Err(crate::Status::new(crate::Code::InvalidInput, text));
        }
        // One at a time.
        let mut tasks = shared.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let before = shared.remotes.load_full();
        let after = Arc::new(Remotes::of(table, &before, CALLS)?);
        shared.remotes.store(Arc::clone(&after));
        shared.version.fetch_add(1, Ordering::AcqRel);
        before.without(&after).for_each(|gone| gone.close());
        while tasks.try_join_next().is_some() {}
        for new in after.without(&before) {
            let keep = Arc::clone(new).keep_connected(Arc::downgrade(shared));
            tasks.spawn_on(keep, &shared.runtime);
        }
        Ok(())
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.0.node
    }

    /// A service of any node of the table, or of this one, to be called by the names of its methods.
    #[must_use]
    pub fn service(&self, cluster: &str, service: &str, id: u32) -> RemoteService {
        RemoteService::new(Arc::clone(&self.0), cluster, service, id)
    }

    /// Figures since the start.
    #[must_use]
    pub fn stats(&self) -> ClusterStats {
        let counts = &self.0.counts;
        ClusterStats {
            stray_answers: counts.stray_answers.load(Ordering::Relaxed),
            answers_lost: counts.answers_lost.load(Ordering::Relaxed),
            passed_over: counts.passed_over.load(Ordering::Relaxed),
            in_work: self.0.in_work(),
        }
    }

    /// How the other nodes stand, by name.
    #[must_use]
    pub fn remotes(&self) -> Vec<RemoteState> {
        let state = |remote: &Arc<RemoteNode>| {
            let state = remote.line.lock();
            RemoteState {
                name: remote.name.to_string(),
                address: remote.address.to_string(),
                connected: state.is_connected(),
                reason: match &state.phase {
                    Phase::Down(reason) => Some(reason.to_string()),
                    Phase::Stopping => Some("it stops".to_owned()),
                    _ => None,
                },
                calls: state.calls.len(),
            }
        };
        self.0.remotes.load().all().map(state).collect()
    }

    /// Waits until the node of this name is connected, for at most `limit`; whether it is.
    pub async fn connected(&self, name: &str, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        loop {
            let remotes = self.0.remotes.load_full();
            match remotes.by_name(name).map(|remote| remote.line.lock().phase == Phase::Up) {
                Some(true) => return true,
                Some(false) if Instant::now() < until => tokio::time::sleep(Duration::from_millis(5)).await,
                _ => return false,
            }
        }
    }

    /// Ends the connections to other nodes: waits until what came is answered, for at most `limit`, lets the answers leave,
    /// and closes. A server that serves the node does so when it has stopped.
    pub async fn stop(&self, limit: Duration) {
        let until = Instant::now() + limit;
        while self.0.in_work() > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let mut tasks = {
            let mut tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            let before = self.0.remotes.swap(Arc::default());
            self.0.version.fetch_add(1, Ordering::AcqRel);
            before.all().for_each(|remote| remote.close());
            std::mem::take(&mut *tasks)
        };
        let ended = async { while tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout_at(until, ended).await;
    }
}

impl Shared {
    pub(super) fn node_name(&self) -> &str {
        self.node.name()
    }

    /// The count of the calls of one more connection.
    fn new_work(&self) -> Arc<Work> {
        let work = Arc::<Work>::default();
        let mut works = self.works.lock().unwrap_or_else(PoisonError::into_inner);
        if works.len() == works.capacity() {
            works.retain(|work| work.strong_count() > 0);
        }
        works.push(Arc::downgrade(&work));
        work
    }

    /// How many calls came and are being answered.
    fn in_work(&self) -> usize {
        let works = self.works.lock().unwrap_or_else(PoisonError::into_inner);
        works.iter().filter_map(Weak::upgrade).map(|work| work.calls()).sum()
    }

    /// The hash of the node's own name.
    fn hash(&self) -> u32 {
        cluster_hash(self.node.name())
    }

    fn by_hash(&self, hash: u32) -> Option<Arc<RemoteNode>> {
        self.remotes.load().by_hash(hash).cloned()
    }

    /// Whether somebody else than the node of this name has its hash.
    fn collides(&self, hash: u32, name: &str) -> bool {
        let other = self.by_hash(hash).is_some_and(|remote| *remote.name != *name);
        other || self.hash() == hash && self.node_name() != name
    }

    fn remote(&self, cluster: &str) -> Result<Arc<RemoteNode>> {
        self.remotes.load().by_name(cluster).cloned().ok_or_else(|| super::deliver::nowhere(cluster))
    }
}

impl Remote for Shared {
    fn notify(&self, outbound: Outbound) -> Result<()> {
        self.remote(&outbound.cluster)?.notify(self.hash(), &outbound)
    }

    fn call(&self, outbound: Outbound) -> BoxFuture<'static> {
        match self.remote(&outbound.cluster) {
            Ok(remote) => Box::pin(remote.call(self.hash(), outbound)),
            Err(status) => Box::pin(ready(Err(status))),
        }
    }
}
