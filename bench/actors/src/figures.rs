//! What timers cost, and what an idle service takes.

use std::time::{Duration, Instant};

use trunkline::node::{Node, State};
use trunkline::{Message, Result};

use crate::worked;

/// When a message was to come, in nanoseconds from the start.
#[derive(Clone, Copy, serde::Serialize, serde::Deserialize, Message)]
pub struct Due {
    pub at: u64,
}

/// What timers tell.
#[trunkline::service(mailbox)]
pub trait Clock {
    /// A timer's time has come.
    async fn ring(&self, due: Due) -> Result<()>;
}

struct Watch {
    start: Instant,
    /// How many came, how many of them early, the latest.
    seen: State<(u64, u64, Duration)>,
}

impl Clock for Watch {
    async fn ring(&self, due: Due) -> Result<()> {
        let (now, due) = (self.start.elapsed(), Duration::from_nanos(due.at));
        self.seen.with(|(count, early, latest)| {
            *count += 1;
            *early += u64::from(now < due);
            *latest = (*latest).max(now.saturating_sub(due));
        });
        Ok(())
    }
}

struct Idle;

impl Clock for Idle {
    async fn ring(&self, _: Due) -> Result<()> {
        Ok(())
    }
}

pub fn run(services: u64, timers: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        pending(timers).await;
        idle(services).await;
        punctual(timers).await;
    });
}

async fn idle(services: u64) {
    let node = Node::builder("bench").start().unwrap();
    let before = resident();
    let mut handles = Vec::with_capacity(services as usize);
    for id in 0..services {
        handles.push(node.serve(id as u32, ClockServer::new(Idle)).unwrap());
    }
    // Each has had something to do.
    for handle in &handles {
        handle.ring(Due { at: 0 }).await.unwrap();
    }
    let took = resident() - before;
    println!("{services} idle services: {} bytes each", took / services as usize);
    let begun = Instant::now();
    node.stop().await;
    println!("stopped in {:?}", begun.elapsed());
}

fn watch(node: &Node) -> (ClockHandle, std::sync::Arc<Watch>) {
    let watch =
        std::sync::Arc::new(Watch { start: Instant::now(), seen: State::new((0, 0, Duration::ZERO)) });
    let mailbox = trunkline::node::Mailbox::new(ClockServer::new(std::sync::Arc::clone(&watch)));
    (node.serve(1, mailbox.capacity(1_000_000)).unwrap(), watch)
}

async fn pending(timers: u64) {
    let node = Node::builder("bench").start().unwrap();
    let (clock, _) = watch(&node);
    let before = resident();
    let mut set = Vec::with_capacity(timers as usize);
    let begun = worked();
    for number in 0..timers {
        // From a minute to two hours, in no order.
        let time = Duration::from_millis(60_000 + number.wrapping_mul(2_654_435_761) % 7_200_000);
        set.push(clock.notify().ring(Due { at: 0 }).after(time).unwrap());
    }
    let inserting = (worked() - begun).as_nanos() as u64 / timers;
    let took = (resident() - before).saturating_sub(set.len() * size_of::<trunkline::node::Timer>());
    let begun = worked();
    let cancelled = set.iter().filter(|timer| timer.cancel()).count();
    let cancelling = (worked() - begun).as_nanos() as u64 / timers;
    assert_eq!(cancelled as u64, timers);
    println!(
        "{timers} timers: {} bytes each, set in {inserting} ns, cancelled in {cancelling} ns",
        took / timers as usize
    );
    node.stop().await;
}

async fn punctual(timers: u64) {
    let node = Node::builder("bench").start().unwrap();
    let (clock, watch) = watch(&node);
    for number in 0..timers {
        // Two seconds on, over ten seconds.
        let time = Duration::from_micros(2_000_000 + number.wrapping_mul(2_654_435_761) % 10_000_000);
        let at = (watch.start.elapsed() + time).as_nanos() as u64;
        clock.notify().ring(Due { at }).after(time).unwrap();
    }
    while watch.seen.with(|(count, ..)| *count) < timers {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (_, early, latest) = watch.seen.with(|seen| *seen);
    println!("{timers} timers within 10 s: {early} early, the latest by {latest:?}");
    node.stop().await;
}

/// Resident memory of the process, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}
