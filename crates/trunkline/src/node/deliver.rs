//! The seams of a node: how a call from elsewhere reaches a mailbox, and how one of ours reaches another node.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::answer::dropped;
use super::chain::Chain;
use super::identity::Identity;
use super::mailbox::BoxFutureRunning;
use super::view::ServiceView;
use crate::service::BoxFuture;
use crate::{Call, Name, Reply, Result, Status};

/// A mailbox whose messages are of a type that is not known here.
pub(crate) trait Deliver: Send + Sync {
    /// Whose mailbox it is.
    fn identity(&self) -> &Identity;

    /// The names of its methods, as calls carry them.
    fn methods(&self) -> &'static [&'static str];

    /// Puts a call into the mailbox. It never blocks: what cannot be put there is refused at once, and then the slot
    /// has been answered with the same status.
    fn deliver(&self, delivery: Delivery) -> Result<()>;

    /// The mailbox as what it is, for a typed handle.
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;

    /// Takes no more messages, handles those that are there, and stops; the receiver learns of the end.
    fn stop(&self) -> oneshot::Receiver<()>;

    /// Takes messages of the node's own services alone.
    fn leave(&self);

    /// Makes the service anew, when its handlers have ended.
    fn restart(&self) -> oneshot::Receiver<Result<()>>;

    /// Whether nothing waits in the mailbox and no handler runs.
    fn is_idle(&self) -> bool;

    /// Its figures.
    fn view(&self) -> ServiceView;

    /// What its handlers do; none where it has none.
    fn running(&self) -> Option<BoxFutureRunning>;
}

/// A call on its way into a mailbox. Its deadline, where it has one, is in its context.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) call: Call,
    /// The serial services that wait for it.
    pub(crate) chain: Chain,
    /// Where the answer goes; none for a notify.
    pub(crate) slot: Option<Slot>,
}

/// Takes the answer to one call, exactly once: a slot that is dropped answers that the service went away.
pub(crate) struct Slot(Option<Box<dyn FnOnce(Result<Reply>) + Send>>);

impl Slot {
    /// The function is called once, by whoever ends the call: on the service's thread, so it must be short and must
    /// not block.
    pub(crate) fn new(answer: impl FnOnce(Result<Reply>) + Send + 'static) -> Self {
        Self(Some(Box::new(answer)))
    }

    /// Ends the call.
    pub(crate) fn answer(mut self, result: Result<Reply>) {
        if let Some(answer) = self.0.take() {
            answer(result);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(answer) = self.0.take() {
            answer(Err(dropped()));
        }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

/// Which service of this node a frame is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Destination<'a> {
    Handle(u64),
    Named(&'a str, u32),
}

/// Where a call comes from: it says in which words an unknown method is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// This node: `call unknown func NAME`.
    Node,
    /// The cluster: `unknown rpc func NAME`.
    Cluster,
}

/// A call or notify of a service of this node to one of another.
#[derive(Debug)]
pub(crate) struct Outbound {
    /// The handle of the calling service; 0 where the caller is none.
    pub(crate) source: u64,
    /// The other node's cluster name.
    pub(crate) cluster: Name,
    pub(crate) service: Name,
    pub(crate) id: u32,
    /// Method, body, and for a call always a deadline.
    pub(crate) call: Call,
    /// The serial services that wait for it, the caller among them.
    pub(crate) chain: Chain,
}

/// The way to other nodes. A node without one says so to whoever calls there.
pub(crate) trait Remote: fmt::Debug + Send + Sync {
    /// Sends a notify. It does not block: what cannot go on its way is refused at once.
    fn notify(&self, outbound: Outbound) -> Result<()>;

    /// Makes a call; a refusal is a future that is ready. Whoever drops the future wants the answer no more. The
    /// deadline is kept by the one who awaits it.
    fn call(&self, outbound: Outbound) -> BoxFuture<'static>;
}

/// The failure of a call to another cluster where nothing leads there.
pub(crate) fn nowhere(cluster: &str) -> Status {
    let text = format!("no node {cluster} is known here");
    Status::new(crate::Code::Unavailable, text).not_begun()
}
