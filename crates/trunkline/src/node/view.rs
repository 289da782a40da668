//! What a node says of itself: figures that cost nothing while nobody looks.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;

use super::core::Core;
use super::queue::QueueFigures;

/// A node at one moment.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Its services, by name and number.
    pub services: Vec<ServiceView>,
    /// Timers that are pending, the deadlines of calls that wait among them.
    pub timers: usize,
}

/// A mailbox service at one moment.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: u32,
    /// What frames name it by, in hexadecimal digits.
    pub handle: String,
    /// `reentrant`, `serial` or `parallel`.
    pub mode: &'static str,
    /// Messages that wait, and how many may.
    pub depth: usize,
    /// How many may wait.
    pub capacity: usize,
    /// Handlers that have begun and wait.
    pub running: u64,
    /// Those handlers, the longest first; at most 100. None where the service does not answer at once, since a handler
    /// keeps its thread.
    pub handlers: Option<Vec<HandlerView>>,
    /// Messages that were put in.
    pub sent: u64,
    /// Messages whose handler was begun.
    pub handled: u64,
    /// Calls and notifies that failed in their handler, panics among them.
    pub failed: u64,
    /// Handlers that panicked.
    pub panics: u64,
    /// How often the service was made anew.
    pub restarts: u64,
    /// Messages that were refused: the mailbox was full, or the service had stopped.
    pub refused: u64,
    /// Notifies that were dropped for newer ones.
    pub dropped: u64,
    /// Calls of it that were not answered in time.
    pub expired: u64,
    /// Answers that came when nobody waited any more, and calls that were not begun because of that.
    pub late: u64,
    /// Calls that were refused because it would have waited for itself.
    pub cycles: u64,
    /// Ticks of timers that were put off or left out: the mailbox was full, or the tick before still waited.
    pub held: u64,
    /// Time from being sent to being taken, in microseconds: of one message in 64.
    pub queue_mean_us: f64,
    /// The longest such time.
    pub queue_longest_us: f64,
    /// Time from the beginning to the end of a handler, in microseconds: of one in 64.
    pub handler_mean_us: f64,
    /// The longest such time.
    pub handler_longest_us: f64,
}

/// A handler that has begun and waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HandlerView {
    /// For how long it has run.
    pub running_ms: u64,
    /// The service that it waits for: `lobby/101`, or its handle where that is in another node. None where it waits for
    /// something else.
    pub waits_for: Option<String>,
    #[serde(skip)]
    pub(super) handle: u64,
}

/// What a service says of its handlers.
#[derive(Debug, Default)]
pub(crate) struct RunningView(pub(super) Vec<HandlerView>);

/// So many handlers of a service are shown.
const SHOWN: usize = 100;

/// So long a service has to say what it does.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);

impl ServiceView {
    pub(super) fn of(core: &Core, queue: &QueueFigures) -> Self {
        let figures = &core.figures;
        Self {
            name: core.identity.name().to_owned(),
            id: core.identity.id(),
            handle: format!("{:016x}", core.identity.handle()),
            mode: core.mode.name(),
            depth: queue.depth,
            capacity: core.capacity,
            running: figures.waiting.get(),
            handlers: Some(Vec::new()),
            sent: queue.sent,
            handled: figures.handled.get(),
            failed: figures.rare().failed.get(),
            panics: figures.rare().panics.get(),
            restarts: figures.rare().restarts.get(),
            refused: figures.rare().refused.get(),
            dropped: queue.dropped,
            expired: figures.rare().expired.get(),
            late: figures.rare().late.get(),
            cycles: figures.rare().cycles.get(),
            held: figures.rare().held.get(),
            queue_mean_us: mean(queue.waited, queue.timed),
            queue_longest_us: microseconds(queue.longest),
            handler_mean_us: mean(Duration::from_nanos(figures.nanoseconds.get()), figures.timed.get()),
            handler_longest_us: microseconds(Duration::from_nanos(figures.longest.get())),
        }
    }

    /// Adds what the service says of its handlers.
    pub(super) fn with_running(&mut self, running: Option<RunningView>, names: &HashMap<u64, String>) {
        self.handlers = running.map(|RunningView(mut handlers)| {
            handlers.sort_by_key(|handler| std::cmp::Reverse(handler.running_ms));
            handlers.truncate(SHOWN);
            for handler in &mut handlers {
                handler.waits_for = (handler.handle != 0).then(|| {
                    names.get(&handler.handle).cloned().unwrap_or_else(|| format!("{:016x}", handler.handle))
                });
            }
            handlers
        });
    }
}

fn mean(sum: Duration, number: u64) -> f64 {
    if number == 0 { 0.0 } else { microseconds(sum) / u32::try_from(number).map_or(f64::MAX, f64::from) }
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
