//! What timers cost, and what an idle service takes.

use std::future::Future;
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
    seen: State<Seen>,
}

/// The timers that came.
#[derive(Default)]
struct Seen {
    count: u64,
    early: u64,
    /// How many came so many milliseconds late, counted up to the next one.
    late: std::collections::BTreeMap<u128, u64>,
}

impl Seen {
    /// So many milliseconds late were all but this share.
    fn late(&self, but: f64) -> u128 {
        let mut left = (self.count as f64 * (1.0 - but)).ceil() as u64;
        for (late, count) in &self.late {
            left = left.saturating_sub(*count);
            if left == 0 {
                return *late;
            }
        }
        0
    }
}

impl Clock for Watch {
    async fn ring(&self, due: Due) -> Result<()> {
        let (now, due) = (self.start.elapsed(), Duration::from_nanos(due.at));
        self.seen.with(|seen| {
            seen.count += 1;
            seen.early += u64::from(now < due);
            *seen.late.entry(now.saturating_sub(due).as_micros().div_ceil(1000)).or_default() += 1;
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

fn on_one_thread(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
}

pub fn timers(timers: u64) {
    on_one_thread(async {
        pending(timers).await;
        punctual(timers).await;
    });
}

pub fn idle(services: u64) {
    on_one_thread(idle_services(services));
}

async fn idle_services(services: u64) {
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
    drop(handles);
    let took = resident() - before;
    println!("{services} idle services: {} bytes each", took / services as usize);
    let begun = Instant::now();
    node.stop().await;
    println!("stopped in {:?}", begun.elapsed());
}

fn watch(node: &Node) -> (ClockHandle, std::sync::Arc<Watch>) {
    let watch = std::sync::Arc::new(Watch { start: Instant::now(), seen: State::default() });
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
    while watch.seen.with(|seen| seen.count) < timers {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    watch.seen.with(|seen| {
        let late = [0.01, 0.001, 0.0].map(|but| seen.late(but));
        println!(
            "{timers} timers within 10 s: {} early; late by at most, in ms: 99 % {}, 99.9 % {}, all {}",
            seen.early, late[0], late[1], late[2]
        );
    });
    node.stop().await;
}

/// Resident memory of the process, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}
