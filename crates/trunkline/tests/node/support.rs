//! The service that the tests talk to, and ways to wait for an event.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use trunkline::node::{Node, State};
use trunkline::{Message, Result, Status};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Message)]
pub struct Number {
    pub value: u64,
}

impl PartialEq<u64> for Number {
    fn eq(&self, other: &u64) -> bool {
        self.value == *other
    }
}

pub fn n(value: u64) -> Number {
    Number { value }
}

#[derive(Debug, Clone, Serialize, Deserialize, Message)]
pub struct Path {
    pub ids: Vec<u32>,
}

pub fn path(ids: &[u32]) -> Path {
    Path { ids: ids.to_vec() }
}

/// A service of which all can be asked for.
#[trunkline::service(mailbox, name = "desk")]
pub trait Desk {
    /// The number, once more.
    async fn echo(&self, number: Number) -> Result<Number>;
    /// Adds to the sum, and gives it.
    fn add(&self, number: Number) -> Result<Number>;
    /// The sum.
    async fn sum(&self) -> Result<Number>;
    /// Waits for a permit of the gate, then gives the number.
    async fn wait(&self, number: Number) -> Result<Number>;
    /// Panics.
    async fn panic(&self) -> Result<()>;
    /// Fails.
    async fn fail(&self) -> Result<()>;
    /// Calls the desk of that number, by the numbers that follow it, and gives how many desks there were.
    async fn relay(&self, path: Path) -> Result<Number>;
    /// Half changes the state, and panics.
    async fn tear(&self) -> Result<()>;
}

/// What a test holds of a desk.
#[derive(Default)]
pub struct Probe {
    pub gate: Semaphore0,
    pub running: AtomicU32,
    pub most: AtomicU32,
    pub begun: AtomicU32,
    pub dropped: AtomicU32,
    pub order: std::sync::Mutex<Vec<u64>>,
}

/// A gate that is shut at first.
pub struct Semaphore0(pub Semaphore);

impl Default for Semaphore0 {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl Probe {
    pub fn open(&self, permits: usize) {
        self.gate.0.add_permits(permits);
    }

    pub fn begun(&self) -> u32 {
        self.begun.load(Ordering::SeqCst)
    }

    pub fn order(&self) -> Vec<u64> {
        self.order.lock().unwrap().clone()
    }

    fn enter(self: &Arc<Self>) -> Inside {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        Inside(Arc::clone(self), false)
    }
}

struct Inside(Arc<Probe>, bool);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
        if !self.1 {
            self.0.dropped.fetch_add(1, Ordering::SeqCst);
        }
    }
}

pub struct Office {
    pub probe: Arc<Probe>,
    pub sum: State<u64>,
}

impl Office {
    pub fn new(probe: &Arc<Probe>) -> Self {
        Self { probe: Arc::clone(probe), sum: State::new(0) }
    }
}

impl Desk for Office {
    async fn echo(&self, number: Number) -> Result<Number> {
        Ok(number)
    }

    fn add(&self, number: Number) -> Result<Number> {
        self.probe.order.lock().unwrap().push(number.value);
        Ok(n(self.sum.with(|sum| {
            *sum += number.value;
            *sum
        })))
    }

    async fn sum(&self) -> Result<Number> {
        Ok(n(self.sum.with(|sum| *sum)))
    }

    async fn wait(&self, number: Number) -> Result<Number> {
        let mut inside = self.probe.enter();
        let permit = self.probe.gate.0.acquire().await.map_err(|_| Status::failed("the gate is gone"))?;
        permit.forget();
        inside.1 = true;
        Ok(number)
    }

    async fn panic(&self) -> Result<()> {
        panic!("secret")
    }

    async fn fail(&self) -> Result<()> {
        Err(Status::failed("no"))
    }

    async fn relay(&self, path: Path) -> Result<Number> {
        let Some((next, rest)) = path.ids.split_first() else { return Ok(n(0)) };
        let node = Node::current().ok_or_else(|| Status::failed("no node"))?;
        let desk = node.find::<DeskHandle>(*next).ok_or_else(|| Status::failed("no desk"))?;
        Ok(n(desk.relay(self::path(rest)).await?.value + 1))
    }

    async fn tear(&self) -> Result<()> {
        self.sum.with(|sum| {
            *sum += 1_000_000;
            panic!("in the middle")
        })
    }
}

/// Waits until something is so.
pub async fn until(what: impl Fn() -> bool) {
    for _ in 0..20_000 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it never was so");
}
