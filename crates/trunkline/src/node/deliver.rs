//! The seams of a node: how a call from elsewhere reaches a mailbox, and how one of ours reaches another node.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::answer::dropped;
use super::chain::Chain;
use super::cluster::Answer;
use super::identity::Identity;
use super::mailbox::BoxFutureRunning;
use super::view::ServiceView;
use crate::service::BoxFuture;
use crate::{Call, MethodId, Name, Reply, Result, Status};

/// A mailbox whose messages are of a type that is not known here.
pub(crate) trait Deliver: Send + Sync {
    /// Whose mailbox it is.
    fn identity(&self) -> &Identity;

    /// The names of its methods.
    fn methods(&self) -> &'static [&'static str];

    /// The method that a call names, exactly or with ASCII letters of another case.
    fn method(&self, name: &str) -> Option<MethodId> {
        let index = crate::typed::find(self.methods(), name).and_then(|index| u16::try_from(index).ok())?;
        Some(MethodId { service: 0, method: index, flat: index.into() })
    }

    /// Puts a call, whose method is [known](Self::method), into the mailbox. It never blocks: what cannot be put there is
    /// refused at once, and then the slot has been answered with the same status.
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

impl Delivery {
    /// Answers that it is refused; the status is given back.
    #[cold]
    pub(crate) fn refuse(self, status: Status) -> Status {
        if let Some(slot) = self.slot {
            slot.answer(Err(status.clone()));
        }
        status
    }
}

/// How many empty parcels a thread keeps: those of the calls that one read brings.
const PARCELS: usize = 128;

thread_local! {
    static EMPTY: RefCell<Vec<Parcel>> = const { RefCell::new(Vec::new()) };
}

/// A call as it stands in a mailbox: small, whatever it carries. Its memory is used again. The allocator has only a few of
/// one size at hand, and beyond them to take and to free one costs as much as to read a short frame and find its method.
#[derive(Debug)]
pub(crate) struct Parcel(Box<Option<Delivery>>);

impl Parcel {
    pub(crate) fn new(delivery: Delivery) -> Self {
        let Some(mut empty) = EMPTY.with_borrow_mut(Vec::pop) else { return Self(Box::new(Some(delivery))) };
        *empty.0 = Some(delivery);
        empty
    }

    /// Whether nobody waits for an answer.
    pub(crate) fn is_notify(&self) -> bool {
        self.0.as_ref().as_ref().is_none_or(|delivery| delivery.slot.is_none())
    }

    /// The call; it is there.
    pub(crate) fn open(mut self) -> Option<Delivery> {
        let delivery = self.0.take();
        EMPTY.with_borrow_mut(|empty| {
            if empty.len() < PARCELS {
                empty.push(self);
            }
        });
        delivery
    }
}

/// Takes the answer to one call, exactly once: a slot that is dropped answers that the service went away. It is filled by
/// whoever ends the call, on the service's thread.
pub(crate) struct Slot(Option<To>);

enum To {
    /// Somebody in this process waits.
    Here(oneshot::Sender<Result<Reply>>),
    /// It leaves by a connection.
    Cluster(Answer),
}

impl Slot {
    /// The answer to a call of another node.
    pub(crate) fn cluster(answer: Answer) -> Self {
        Self(Some(To::Cluster(answer)))
    }

    /// The answer to a call of this process.
    pub(crate) fn here(sender: oneshot::Sender<Result<Reply>>) -> Self {
        Self(Some(To::Here(sender)))
    }

    /// The most bytes that the body of a reply may have.
    pub(crate) fn limit(&self) -> usize {
        match &self.0 {
            Some(To::Cluster(answer)) => answer.limit(),
            _ => usize::MAX,
        }
    }

    /// Ends the call.
    pub(crate) fn answer(mut self, result: Result<Reply>) {
        self.fill(result);
    }

    /// Ends the call by a reply of this body, which is within the limit.
    pub(crate) fn reply(mut self, body: &[u8]) {
        match self.0.take() {
            // Who waits may be gone.
            Some(To::Here(sender)) => drop(sender.send(Ok(Reply::new(Bytes::copy_from_slice(body))))),
            Some(To::Cluster(answer)) => answer.reply(body),
            None => {}
        }
    }

    fn fill(&mut self, result: Result<Reply>) {
        match self.0.take() {
            Some(To::Here(sender)) => drop(sender.send(result)),
            Some(To::Cluster(answer)) => answer.write(&result),
            None => {}
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.0.is_some() {
            self.fill(Err(dropped()));
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
