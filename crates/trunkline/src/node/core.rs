//! What all of a mailbox service shares but its queue: who it is, where it lives, what is counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::Inner;
use super::identity::Identity;
use super::settings::Mode;
use crate::{Code, Status};

/// See the module.
pub(crate) struct Core {
    pub(crate) identity: Identity,
    pub(crate) node: Arc<Inner>,
    pub(crate) mode: Mode,
    pub(crate) capacity: usize,
    pub(crate) figures: Figures,
    /// `CLUSTER/SERVICE/ID`, made when it is first needed.
    full_name: OnceLock<Arc<str>>,
}

/// What is counted of a service, besides its queue.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// These are written by the service's task alone.
    pub(crate) handled: Count,
    pub(crate) waiting: Count,
    pub(crate) timed: Count,
    pub(crate) nanoseconds: Count,
    pub(crate) longest: Count,
    rare: OnceLock<Box<Rare>>,
}

/// What most services never count, by anybody.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    pub(crate) failed: Count,
    pub(crate) panics: Count,
    pub(crate) restarts: Count,
    pub(crate) late: Count,
    pub(crate) refused: Count,
    pub(crate) expired: Count,
    pub(crate) cycles: Count,
    pub(crate) held: Count,
}

/// A counter.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// One more, from any thread.
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets it; for those that one task alone writes.
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// One more, where one task alone writes.
    pub(crate) fn bump(&self) {
        self.set(self.get().wrapping_add(1));
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Figures {
    /// What is counted seldom.
    pub(crate) fn rare(&self) -> &Rare {
        self.rare.get_or_init(Box::default)
    }

    /// A handler that was timed has ended.
    pub(crate) fn took(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.timed.bump();
        self.nanoseconds.set(self.nanoseconds.get().saturating_add(nanoseconds));
        self.longest.set(self.longest.get().max(nanoseconds));
    }
}

impl Core {
    pub(crate) fn new(identity: Identity, node: Arc<Inner>, mode: Mode, capacity: usize) -> Self {
        Self { identity, node, mode, capacity, figures: Figures::default(), full_name: OnceLock::new() }
    }

    /// Whether its handlers run one after the other, without re-entry.
    pub(crate) fn is_serial(&self) -> bool {
        self.mode == Mode::Serial
    }

    /// `CLUSTER/SERVICE/ID`.
    pub(crate) fn full_name(&self) -> Arc<str> {
        let name = self.full_name.get_or_init(|| format!("{}/{}", self.node.name, self.identity).into());
        Arc::clone(name)
    }

    /// The mailbox has no room.
    #[cold]
    pub(crate) fn full(&self) -> Status {
        self.figures.rare().refused.add();
        let text = format!(
            "the mailbox of {} is full ({} messages; setting capacity)",
            self.identity, self.capacity
        );
        Status::new(Code::Limited, text).not_begun()
    }

    /// The service has been told to stop, or has stopped.
    #[cold]
    pub(crate) fn stopped(&self) -> Status {
        self.figures.rare().refused.add();
        Status::new(Code::Unavailable, format!("{} has stopped", self.identity)).not_begun()
    }

    /// The time of a call is over.
    #[cold]
    pub(crate) fn expired(&self) -> Status {
        self.figures.rare().expired.add();
        Status::new(Code::DeadlineExceeded, format!("{} did not answer in time", self.identity))
    }
}
