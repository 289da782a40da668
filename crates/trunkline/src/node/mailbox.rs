//! A service's mailbox, as those who send see it.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::core::Core;
use super::deliver::{Deliver, Delivery, Parcel};
use super::handle::Handle;
use super::queue::{Entry, Gate, Queue, Refused};
use super::settings::Overflow;
use super::view::{RunningView, ServiceView};
use super::{Identity, current};
use crate::{NamedService, Result, Status};

/// The messages of a service: a variant for each method. `#[service(mailbox)]` makes it.
pub trait Message: Send + 'static {
    /// Whether nobody waits for an answer.
    fn is_notify(&self) -> bool;
}

/// A service that works on messages: what `#[service(mailbox)]` makes of `LobbyServer`. It answers calls through the
/// codec, too ([`Service`](crate::Service)).
pub trait MailboxService: NamedService {
    /// Its messages.
    type Message: Message;
    /// What its methods are called by.
    type Handle: TypedHandle<Message = Self::Message>;

    /// Its methods, as calls from elsewhere name them.
    const METHODS: &'static [&'static str];

    /// Works on one message. Its answer, where somebody waits for it, is given by the time that the future ends or is
    /// dropped.
    fn handle(&self, message: Self::Message) -> impl Future<Output = ()> + Send;
}

/// A handle with the methods of its service: `LobbyHandle`.
pub trait TypedHandle: From<Handle<Self::Message>> {
    /// The service's messages.
    type Message: Message;
    /// The service's name, unless it was started with another one.
    const NAME: &'static str;
}

/// What stands in a mailbox.
pub(super) enum Envelope<M> {
    /// By value.
    Message(M),
    /// Through the codec.
    Raw(Parcel),
    /// A timer that repeats: the message is made when it is its turn.
    Tick(Arc<dyn Tick<M>>),
}

/// A timer whose tick waits in a mailbox.
pub(super) trait Tick<M>: Send + Sync {
    /// The message of the tick; from here on the next one may be put in.
    fn message(&self) -> M;
    /// Whether no tick of it waits; from here on one does.
    fn claim(&self) -> bool;
    /// Its tick was not put in, or was dropped.
    fn free(&self);
}

impl<M: Message> Entry for Envelope<M> {
    fn may_drop(&self) -> bool {
        match self {
            Self::Message(message) => message.is_notify(),
            Self::Raw(parcel) => parcel.is_notify(),
            Self::Tick(_) => true,
        }
    }
}

/// What overtakes messages.
#[derive(Debug)]
pub(super) enum Command {
    /// Stop: the gate is shut already; what waits is handled until the grace is over.
    Stop(Vec<oneshot::Sender<()>>),
    /// Make the service anew.
    Restart(oneshot::Sender<Result<()>>),
    /// Say what runs.
    View(oneshot::Sender<RunningView>),
}

/// A mailbox: its service's task and all handles share it.
pub(super) struct Shared<M> {
    pub(super) queue: Queue<Envelope<M>, Command>,
    pub(super) core: Arc<Core>,
    pub(super) overflow: Overflow,
    methods: &'static [&'static str],
}

impl<M: Message> Shared<M> {
    pub(super) fn new(core: Core, overflow: Overflow, methods: &'static [&'static str]) -> Self {
        Self { queue: Queue::new(core.capacity), core: Arc::new(core), overflow, methods }
    }

    /// Puts a message in, or says at once why not. What it evicts is dropped here, outside the lock.
    #[inline]
    pub(super) fn push(&self, envelope: Envelope<M>) -> Result<()> {
        let evict = self.overflow == Overflow::DropOldest && envelope.may_drop();
        match self.queue.push(envelope, evict, current::is_inside) {
            Ok(evicted) => {
                drop_evicted(evicted);
                Ok(())
            }
            Err(refused) => Err(self.refusal(refused).1),
        }
    }

    /// The status of a refusal, and what was refused.
    #[cold]
    pub(super) fn refusal(&self, refused: Refused<Envelope<M>>) -> (Envelope<M>, Status) {
        match refused {
            Refused::Full(envelope) => (envelope, self.core.full()),
            Refused::Shut(envelope) => (envelope, self.core.stopped()),
        }
    }

    /// Fails where a call would make this service wait for itself.
    pub(super) fn check_cycle(&self, chain: &super::Chain) -> Result<()> {
        if self.core.is_serial() && chain.has(self.core.identity.handle()) {
            self.core.figures.rare().cycles.add();
            return Err(chain.cycle(self.core.identity.handle(), &self.core.node.name));
        }
        Ok(())
    }
}

impl<M: Message> Deliver for Shared<M> {
    fn identity(&self) -> &Identity {
        &self.core.identity
    }

    fn methods(&self) -> &'static [&'static str] {
        self.methods
    }

    fn deliver(&self, delivery: Delivery) -> Result<()> {
        if let Err(status) = self.check_cycle(&delivery.chain) {
            return Err(delivery.refuse(status));
        }
        let envelope = Envelope::Raw(Parcel::new(delivery));
        let evict = self.overflow == Overflow::DropOldest && envelope.may_drop();
        match self.queue.push(envelope, evict, current::is_inside) {
            Ok(evicted) => {
                drop_evicted(evicted);
                Ok(())
            }
            Err(refused) => Err(match self.refusal(refused) {
                (Envelope::Raw(parcel), status) => match parcel.open() {
                    Some(delivery) => delivery.refuse(status),
                    None => status,
                },
                (_, status) => status,
            }),
        }
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync> {
        self
    }

    fn stop(&self) -> oneshot::Receiver<()> {
        let (sender, stopped) = oneshot::channel();
        self.queue.narrow(Gate::Shut);
        self.queue.command(Command::Stop(vec![sender]));
        stopped
    }

    fn leave(&self) {
        self.queue.narrow(Gate::Inside);
    }

    fn restart(&self) -> oneshot::Receiver<Result<()>> {
        let (sender, done) = oneshot::channel();
        self.queue.command(Command::Restart(sender));
        done
    }

    fn is_idle(&self) -> bool {
        self.queue.figures().depth == 0 && self.core.figures.waiting.get() == 0
    }

    fn view(&self) -> ServiceView {
        ServiceView::of(&self.core, &self.queue.figures())
    }

    fn running(&self) -> Option<BoxFutureRunning> {
        if self.core.figures.waiting.get() == 0 {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        self.queue.command(Command::View(sender));
        Some(Box::pin(async move { receiver.await.unwrap_or_default() }))
    }
}

/// What was dropped to make room; the queue has counted it.
fn drop_evicted<M>(evicted: Option<Envelope<M>>) {
    if let Some(Envelope::Tick(tick)) = evicted {
        tick.free();
    }
}

/// What a service says of its handlers, some time.
pub(crate) type BoxFutureRunning = std::pin::Pin<Box<dyn Future<Output = RunningView> + Send>>;
