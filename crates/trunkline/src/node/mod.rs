//! Nodes of mailbox services: state that one logical thread at a time works on, reached by messages.
//!
//! A node has a name (its cluster's, in saber's words) and services, each with a name and a number. A service is a trait
//! with [`#[service(mailbox)]`](macro@crate::service), which makes a typed handle beside the server: `LobbyHandle`. Calls
//! and notifies within a node go by value, without a codec; those from and to other nodes go through one
//! ([`Cluster`]), and whoever holds a handle does not see which.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use trunkline::node::{Mailbox, Node, State};
//! use trunkline::{Message, Result};
//!
//! #[derive(Clone, Serialize, Deserialize, Message)]
//! struct Amount {
//!     cents: i64,
//! }
//!
//! #[trunkline::service(mailbox)]
//! trait Account {
//!     /// Adds to the balance, and gives it.
//!     async fn pay(&self, amount: Amount) -> Result<Amount>;
//! }
//!
//! struct Ledger(State<i64>);
//!
//! impl Account for Ledger {
//!     async fn pay(&self, amount: Amount) -> Result<Amount> {
//!         let cents = self.0.with(|balance| {
//!             *balance += amount.cents;
//!             *balance
//!         });
//!         Ok(Amount { cents })
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
//! let node = Node::builder("bank").start()?;
//! let account = node.serve(7, Mailbox::new(AccountServer::new(Ledger(State::new(0)))).serial())?;
//! account.notify().pay(Amount { cents: 500 }).await?; // nobody waits for an answer
//! let balance = account.pay(Amount { cents: -200 }).await?;
//! assert_eq!(balance.cents, 300);
//! node.stop().await;
//! # Ok(()) }
//! ```
//!
//! # What is promised
//!
//! - **Turns.** In a re-entrant service ([`Mode::Reentrant`], the usual one) no two handlers run at once; while one
//!   awaits, the next message is taken. In a serial one the next message waits until the handler has ended. In a parallel
//!   one each handler has a task of its own.
//! - **Order.** Messages that one sender puts in one after the other are begun in that order.
//! - **Answers.** Every call is answered exactly once, at the latest when its time is over (10 s unless said otherwise,
//!   and never later than the call that the calling handler works for). What comes later completes nothing, and is
//!   counted. Within a node a call that is dropped, or whose time is over, ends its handler at the handler's next `await`.
//! - **Bounds.** A mailbox has a bound (1024). A call that finds it full is refused; what becomes of a notify is said by
//!   [`Overflow`]. A service that has stopped, a full mailbox, an unknown method: each is a status of its own, said at once.
//! - **Panics.** A panic fails its own call. A supervised service ([`Mailbox::supervised`], [`Mailbox::with_snapshot`]) is
//!   then made anew, after a pause; its mailbox, handles and timers stay.
//! - **Cycles.** A call that would make a serial service wait for itself fails at once: `cycle: a/1 → b/2 → a/1`. The chain
//!   follows what a handler itself awaits, not the tasks that it spawns; those end by their deadline.
//! - **Stops.** A service that is told to stop handles what is in its mailbox, and then ends, within its grace. Commands
//!   (stop, restart, view) overtake messages, but for those (at most 32) that the service has taken already.
//! - **Timers.** A timer ([`Notifying::after`], [`every`](Notifying::every), [`times`](Notifying::times)) is a message, and
//!   none is early. Ticks that were missed are left out.

mod answer;
mod calling;
mod chain;
mod cluster;
mod core;
mod current;
mod deliver;
mod handle;
mod identity;
mod mailbox;
#[cfg(all(test, not(trunkline_loom)))]
mod model_tests;
pub(crate) mod queue;
mod registry;
#[cfg(all(test, not(trunkline_loom)))]
mod remote_tests;
mod runner;
mod settings;
mod state;
mod supervise;
mod timers;
mod view;
mod wheel;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use trunkline_wire::Serialization;

pub use answer::Ticket;
#[doc(hidden)]
pub use answer::{Answering, answer, answering, context};
pub use calling::{Calling, Notifying};
pub(crate) use chain::Chain;
pub use cluster::{Cluster, ClusterStats, ClusterTable, ClusterView, RemoteService, RemoteState};
pub(crate) use deliver::{Deliver, Delivery, Destination, From, Outbound, Remote, Slot};
pub use handle::Handle;
pub use identity::{Identity, METHOD_LIMIT, handle_of};
pub use mailbox::{MailboxService, Message, TypedHandle};
pub use settings::{IntoMailbox, Mailbox, Mode, Overflow, Restarts};
pub use state::State;
pub use timers::Timer;
pub use view::{HandlerView, NodeView, ServiceView};

use crate::{Call, Code, Name, Result, Status};
use handle::{Elsewhere, Target};
use mailbox::Shared;

/// A node: services with mailboxes under one name. A clone is the same node.
///
/// It lives until [`stop`](Self::stop), whether or not anybody holds it.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    call_timeout: Duration,
    grace: Duration,
    services: registry::Registry,
    timers: timers::Timers,
    remote: OnceLock<Arc<dyn Remote>>,
    stopping: AtomicBool,
    ended: CancellationToken,
}

#[cfg(test)]
impl Inner {
    /// A node that does nothing by itself.
    fn without_tasks(name: &str) -> Arc<Self> {
        Arc::new(Node::builder(name).inner())
    }
}

impl Node {
    /// A node of this name, without services yet.
    pub fn builder(name: &str) -> NodeBuilder {
        NodeBuilder {
            name: name.into(),
            call_timeout: Duration::from_secs(10),
            grace: Duration::from_secs(10),
            tick: Duration::from_millis(10),
            services: Vec::new(),
        }
    }

    /// The node whose handler runs: for a handler that starts services, or looks for them.
    #[must_use]
    pub fn current() -> Option<Self> {
        current::with(|service| service.map(|service| Self(Arc::clone(&service.node))))
    }

    /// Its name: the cluster's, in saber's words.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Starts a service under this number, and gives its handle.
    ///
    /// # Errors
    /// [`Code::InvalidInput`]: there is a service of this name and number already, or one whose name has the same hash;
    /// the name cannot be one; or a method's name has more than [`METHOD_LIMIT`] bytes. [`Code::Unavailable`]: the node
    /// stops.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn serve<S: IntoMailbox>(
        &self,
        id: u32,
        service: S,
    ) -> Result<<S::Service as MailboxService>::Handle> {
        let mailbox = service.into_mailbox();
        if self.0.stopping.load(Ordering::Acquire) {
            return Err(self.stops());
        }
        for method in S::Service::METHODS {
            identity::check_method(method)?;
        }
        let name = mailbox.name.clone();
        let name = name.unwrap_or_else(|| Name::from_static(<S::Service as MailboxService>::Handle::NAME));
        let identity = Identity::new(&self.0.name, name, id)?;
        let core = core::Core::new(identity, Arc::clone(&self.0), mailbox.mode, mailbox.capacity);
        let shared = Arc::new(Shared::new(core, mailbox.overflow, S::Service::METHODS));
        self.0.services.add(Arc::clone(&shared) as Arc<dyn Deliver>)?;
        let life = supervise::Life::new(mailbox);
        tokio::spawn(supervise::live(life, Arc::clone(&shared)));
        Ok(Handle(Target::Local(shared)).into())
    }

    /// The service of this number, where the node has it.
    #[must_use]
    pub fn find<H: TypedHandle>(&self, id: u32) -> Option<H>
    where
        H::Message: Message,
    {
        self.find_named(H::NAME, id)
    }

    /// The service of this name and number, where the node has it and its messages are those of the handle.
    #[must_use]
    pub fn find_named<H: TypedHandle>(&self, name: &str, id: u32) -> Option<H> {
        self.0.services.find(Destination::Named(name, id)).and_then(typed)
    }

    /// All services of the handle's name, by their numbers.
    #[must_use]
    pub fn all<H: TypedHandle>(&self) -> Vec<H> {
        self.0.services.named(H::NAME).into_iter().filter_map(typed).collect()
    }

    /// Sends something to all services of a name, and counts who took it:
    /// `node.broadcast(|lobby: &LobbyHandle| lobby.notify().close().now())`.
    pub fn broadcast<H: TypedHandle>(&self, send: impl Fn(&H) -> Result<()>) -> Broadcast {
        let mut result = Broadcast::default();
        for handle in self.all::<H>() {
            match send(&handle) {
                Ok(()) => result.sent += 1,
                Err(_) => result.refused += 1,
            }
        }
        result
    }

    /// The service of this number in the node of that name, which may be this one. Nothing is sent to find it: whether
    /// it is there is told by the first call.
    #[must_use]
    pub fn at<H: TypedHandle>(&self, cluster: &str, id: u32) -> H {
        if *cluster == *self.0.name
            && let Some(here) = self.find(id)
        {
            return here;
        }
        let elsewhere = Elsewhere {
            node: Arc::clone(&self.0),
            cluster: cluster.into(),
            service: Name::from_static(H::NAME),
            id,
            serialization: Serialization::Json,
        };
        Handle(Target::Remote(Arc::new(elsewhere))).into()
    }

    /// What the node does at this moment. Services are asked for what their handlers wait for; one that does not say so
    /// within 100 ms is shown without.
    pub async fn view(&self) -> NodeView {
        let all = self.0.services.all();
        let names: HashMap<_, _> =
            all.iter().map(|service| service.identity()).map(|own| (own.handle(), own.to_string())).collect();
        let until = Instant::now() + view::PATIENCE;
        let asked: Vec<_> = all.iter().map(|service| (service.view(), service.running())).collect();
        let mut services = Vec::with_capacity(asked.len());
        for (mut view, running) in asked {
            if let Some(running) = running {
                view.with_running(tokio::time::timeout_at(until, running).await.ok(), &names);
            }
            services.push(view);
        }
        NodeView { name: self.0.name.to_string(), services, timers: self.0.timers.len() }
    }

    /// Stops the node: calls from elsewhere are refused; what its services still send each other is handled; then each
    /// service stops. Whatever takes longer than the node's grace, and then the service's, is answered with
    /// [`Code::Unavailable`].
    pub async fn stop(&self) {
        self.0.stopping.store(true, Ordering::Release);
        let all = self.0.services.all();
        all.iter().for_each(|service| service.leave());
        let until = Instant::now() + self.0.grace;
        let mut quiet = None;
        while Instant::now() < until {
            let sent: u64 = all.iter().map(|service| service.view().sent).sum();
            let idle = all.iter().all(|service| service.is_idle());
            // A message may have gone from one that was looked at late to one that was looked at early.
            if idle && quiet == Some(sent) {
                break;
            }
            quiet = idle.then_some(sent);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let ends: Vec<_> = self.0.services.all().iter().map(|service| service.stop()).collect();
        for end in ends {
            drop(end.await);
        }
        self.0.ended.cancel();
    }

    fn stops(&self) -> Status {
        Status::new(Code::Draining, format!("the node {} stops", self.0.name)).not_begun()
    }
}

/// What crossed to the services of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Broadcast {
    /// How many took it.
    pub sent: usize,
    /// How many did not.
    pub refused: usize,
}

fn typed<H: TypedHandle>(service: Arc<dyn Deliver>) -> Option<H> {
    let shared = service.as_any().downcast::<Shared<H::Message>>().ok()?;
    Some(Handle(Target::Local(shared)).into())
}

/// For the cluster.
impl Node {
    /// The way to other nodes; it is set once.
    pub(crate) fn attach(&self, remote: Arc<dyn Remote>) {
        if self.0.remote.set(remote).is_err() {
            tracing::warn!(node = %self.0.name, "the node has a way to other nodes already");
        }
    }

    /// Whether calls from elsewhere are let in: not any more where the node stops.
    pub(crate) fn admits(&self) -> Result<()> {
        if self.0.stopping.load(Ordering::Acquire) && !current::is_inside() {
            return Err(self.stops());
        }
        Ok(())
    }

    /// Gives a call from elsewhere to its service. It never blocks. Whatever becomes of the call, its slot is answered
    /// exactly once: at once where it is refused, and then the same status is returned, too.
    ///
    /// # Errors
    /// [`Code::NotFound`] for an unknown service or method, [`Code::Limited`] for a full mailbox,
    /// [`Code::Unavailable`] for a service that has stopped, [`Code::Failed`] for a cycle, [`Code::Draining`] where the
    /// node stops.
    pub(crate) fn deliver(&self, to: Destination<'_>, from: From, mut delivery: Delivery) -> Result<()> {
        let found = self.admits().and_then(|()| {
            let service = self.0.services.find(to).ok_or_else(|| registry::unknown(to))?;
            let name = delivery.call.method();
            let method = service.method(name).ok_or_else(|| unknown_method(name, from))?;
            Ok((service, method))
        });
        match found {
            Ok((service, method)) => {
                delivery.call.method = Some(method);
                service.deliver(delivery)
            }
            Err(status) => Err(delivery.refuse(status)),
        }
    }
}

impl Node {
    /// Calls a method of one of this node's services by its name, through the codec.
    ///
    /// # Errors
    /// [`Code::NotFound`] for an unknown service or method (`call unknown func NAME`), and whatever a call through a
    /// handle fails with.
    pub async fn call(&self, name: &str, id: u32, call: Call) -> Result<crate::Reply> {
        let chain = current::chain()?;
        let mut call = call;
        let time = Instant::now() + self.0.call_timeout;
        let deadline = call.context.deadline.unwrap_or(time);
        call.context.deadline = Some(current::deadline().map_or(deadline, |outer| outer.min(deadline)));
        self.call_to(Destination::Named(name, id), From::Node, call, chain).await
    }

    /// As [`deliver`](Self::deliver), for a call whose answer somebody awaits. Its deadline is kept by the service.
    pub(crate) async fn call_to(
        &self,
        to: Destination<'_>,
        from: From,
        call: Call,
        chain: Chain,
    ) -> Result<crate::Reply> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.deliver(to, from, Delivery { call, chain, slot: Some(Slot::here(sender)) })?;
        receiver.await.unwrap_or_else(|_| Err(answer::dropped()))
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("name", &self.0.name).finish_non_exhaustive()
    }
}

type Begin = Box<dyn FnOnce(&Node) -> Result<()> + Send>;

/// Makes a [`Node`].
#[must_use = "a node begins with `start`"]
pub struct NodeBuilder {
    name: Arc<str>,
    call_timeout: Duration,
    grace: Duration,
    tick: Duration,
    services: Vec<Begin>,
}

impl NodeBuilder {
    /// Starts this service with the node, under this number. See [`Node::serve`].
    pub fn serve<S>(mut self, id: u32, service: S) -> Self
    where
        S: IntoMailbox + Send + 'static,
    {
        self.services.push(Box::new(move |node| node.serve(id, service).map(drop)));
        self
    }

    /// The time of a call that says nothing else; 10 s.
    pub fn call_timeout(mut self, time: Duration) -> Self {
        self.call_timeout = time;
        self
    }

    /// How long a stop waits for what the services still send each other; 10 s.
    pub fn grace(mut self, time: Duration) -> Self {
        self.grace = time;
        self
    }

    /// How finely time is told by timers and timeouts: none is early, and each may be late by this; 10 ms, at least 1.
    pub fn tick(mut self, tick: Duration) -> Self {
        self.tick = tick;
        self
    }

    fn inner(self) -> Inner {
        Inner {
            name: self.name,
            call_timeout: self.call_timeout,
            grace: self.grace,
            services: registry::Registry::default(),
            timers: timers::Timers::new(self.tick),
            remote: OnceLock::new(),
            stopping: AtomicBool::new(false),
            ended: CancellationToken::new(),
        }
    }

    /// Starts the node and its services.
    ///
    /// # Errors
    /// [`Code::InvalidInput`]: the node's name cannot be one, or a service cannot be served (see [`Node::serve`]); then
    /// the services that were started before are stopped.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn start(mut self) -> Result<Node> {
        identity::check_name("a node's name", &self.name)?;
        let services = std::mem::take(&mut self.services);
        let node = Node(Arc::new(self.inner()));
        tokio::spawn(timers::drive(Arc::clone(&node.0)));
        for begin in services {
            if let Err(status) = begin(&node) {
                let failed = node.clone();
                tokio::spawn(async move { failed.stop().await });
                return Err(status);
            }
        }
        Ok(node)
    }
}

impl fmt::Debug for NodeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The service has no such method.
pub(crate) fn unknown_method(name: &str, from: From) -> Status {
    let text = match from {
        From::Node => format!("call unknown func {name}"),
        From::Cluster => format!("unknown rpc func {name}"),
    };
    Status::new(Code::NotFound, text).not_begun()
}
