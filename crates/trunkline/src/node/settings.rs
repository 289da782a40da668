//! How a mailbox service is to be run.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::MailboxService;
use crate::Name;

/// Which of a service's handlers run at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Mode {
    /// One at a time; while one awaits, the next message is taken. So state may have changed when an await is over.
    #[default]
    Reentrant,
    /// One after the other: the next message is taken when the handler has ended. A handler that would wait for itself,
    /// through whatever services, fails with the chain of them (`cycle: a → b → a`).
    Serial,
    /// Each in a task of its own, on all threads of the runtime.
    Parallel,
}

impl Mode {
    /// The mode in a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Reentrant => "reentrant",
            Self::Serial => "serial",
            Self::Parallel => "parallel",
        }
    }
}

/// What becomes of a notify that finds the mailbox full. A call is refused in any case: [`Code::Limited`], not begun.
///
/// [`Code::Limited`]: crate::Code::Limited
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// It is refused with [`Code::Limited`](crate::Code::Limited).
    #[default]
    Refuse,
    /// The oldest notify that waits is dropped for it, and counted. Where only calls wait it is refused.
    DropOldest,
    /// Its sender waits for room. Where the sender cannot wait ([`Notifying::now`](super::Notifying::now), timers), it
    /// is refused.
    Wait,
}

/// How often, and with which pauses, a service is made anew. The pause grows with each restart that soon follows the
/// last one, by chance between the half and the whole of it; a service that has run for ten times the longest pause
/// begins anew with the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restarts {
    /// The pause before the first restart.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// After so many restarts that closely follow each other the service stops.
    pub most: u32,
}

impl Default for Restarts {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), longest: Duration::from_secs(10), most: 10 }
    }
}

/// Makes a service anew out of the one before.
pub(super) type Remake<S> = Box<dyn Fn(&S) -> S + Send + Sync>;

/// A service and how it is run: what [`Node::serve`](super::Node::serve) takes. A server alone is one with the usual
/// settings.
#[must_use = "it runs when a node serves it"]
pub struct Mailbox<S> {
    pub(super) service: S,
    pub(super) remake: Option<Remake<S>>,
    pub(super) name: Option<Name>,
    pub(super) mode: Mode,
    pub(super) capacity: usize,
    pub(super) overflow: Overflow,
    pub(super) in_flight: usize,
    pub(super) restarts: Restarts,
    pub(super) grace: Duration,
}

impl<S: MailboxService> Mailbox<S> {
    /// This service. A panic fails the call that it happened in, and the service goes on with the state as it is.
    pub fn new(service: S) -> Self {
        Self {
            service,
            remake: None,
            name: None,
            mode: Mode::default(),
            capacity: 1024,
            overflow: Overflow::default(),
            in_flight: 1024,
            restarts: Restarts::default(),
            grace: Duration::from_secs(10),
        }
    }

    /// A supervised service: after a panic, which fails its own call alone, what still runs ends, and then the service
    /// is made anew. Its mailbox stays, and so do its handles and timers.
    pub fn supervised(make: impl Fn() -> S + Send + Sync + 'static) -> Self {
        let first = make();
        Self { remake: Some(Box::new(move |_| make())), ..Self::new(first) }
    }

    /// A supervised service whose state survives: `snapshot` looks at the old one, `make` gets what it gave, and
    /// nothing at first. A snapshot that panics gives nothing;
    /// [`State::intact`](super::State::intact) gives nothing of a state that a panic has left half changed.
    pub fn with_snapshot<P>(
        make: impl Fn(Option<P>) -> S + Send + Sync + 'static,
        snapshot: impl Fn(&S) -> Option<P> + Send + Sync + 'static,
    ) -> Self {
        let first = make(None);
        let remake = move |old: &S| {
            let state = catch_unwind(AssertUnwindSafe(|| snapshot(old))).unwrap_or(None);
            make(state)
        };
        Self { remake: Some(Box::new(remake)), ..Self::new(first) }
    }

    /// Another name than that of the trait.
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Which handlers run at a time; [`Mode::Reentrant`] unless said otherwise.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// One handler after the other: [`Mode::Serial`].
    pub fn serial(self) -> Self {
        self.mode(Mode::Serial)
    }

    /// Handlers on all threads: [`Mode::Parallel`].
    pub fn parallel(self) -> Self {
        self.mode(Mode::Parallel)
    }

    /// How many messages may wait; 1024 unless said otherwise, at least 1.
    pub fn capacity(mut self, messages: usize) -> Self {
        self.capacity = messages.max(1);
        self
    }

    /// What becomes of a notify that finds the mailbox full; it is refused unless said otherwise.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// How many handlers may have begun and not ended; 1024 unless said otherwise. Further messages wait in the
    /// mailbox.
    pub fn in_flight(mut self, handlers: usize) -> Self {
        self.in_flight = handlers.max(1);
        self
    }

    /// How a supervised service is made anew.
    pub fn restarts(mut self, restarts: Restarts) -> Self {
        self.restarts = restarts;
        self
    }

    /// How long a stop, or a restart, waits for handlers that have begun and, a stop, for messages that wait; 10 s
    /// unless said otherwise. What is left then is answered with [`Code::Unavailable`](crate::Code::Unavailable).
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }
}

impl<S> fmt::Debug for Mailbox<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("mode", &self.mode)
            .field("capacity", &self.capacity)
            .field("overflow", &self.overflow)
            .field("supervised", &self.remake.is_some())
            .finish_non_exhaustive()
    }
}

/// What [`Node::serve`](super::Node::serve) takes: a server that `#[service(mailbox)]` made, or one with settings.
pub trait IntoMailbox {
    /// The server.
    type Service: MailboxService;

    /// The server with its settings.
    fn into_mailbox(self) -> Mailbox<Self::Service>;
}

impl<S: MailboxService> IntoMailbox for S {
    type Service = S;

    fn into_mailbox(self) -> Mailbox<S> {
        Mailbox::new(self)
    }
}

impl<S: MailboxService> IntoMailbox for Mailbox<S> {
    type Service = S;

    fn into_mailbox(self) -> Self {
        self
    }
}
