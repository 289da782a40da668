//! The scheduler as a model: whatever comes in whatever order, one handler runs at a time, each call is answered exactly
//! once, and nothing that was woken is forgotten.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "tests say so by panicking"
)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::*;
use crate::Message as Fields;

#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize, Fields)]
struct Job {
    number: u64,
    /// How often its handler waits.
    waits: u32,
    panics: bool,
}

#[crate::service(mailbox)]
trait Shop {
    async fn work(&self, job: Job) -> Result<Job>;
}

#[derive(Default)]
struct Seen {
    /// Handlers between two awaits: never two.
    running: AtomicU32,
    /// Handlers begun and not ended: one in a serial service.
    open: AtomicU32,
    most_open: AtomicU32,
    broken: AtomicU32,
    begun: Mutex<Vec<u64>>,
    ended: AtomicU64,
}

struct Bench {
    seen: Arc<Seen>,
    gate: Arc<Semaphore>,
}

struct Open(Arc<Seen>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

impl Bench {
    /// A piece of work: whoever finds somebody else at it has been let in wrongly.
    fn step(&self) {
        if self.seen.running.fetch_add(1, Ordering::SeqCst) != 0 {
            self.seen.broken.fetch_add(1, Ordering::SeqCst);
        }
        std::hint::black_box((0..50).sum::<u64>());
        self.seen.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shop for Bench {
    async fn work(&self, job: Job) -> Result<Job> {
        self.seen.begun.lock().unwrap().push(job.number);
        let open = self.seen.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.seen.most_open.fetch_max(open, Ordering::SeqCst);
        let _open = Open(Arc::clone(&self.seen));
        for _ in 0..job.waits {
            self.step();
            self.gate.acquire().await.unwrap().forget();
        }
        self.step();
        assert!(!job.panics, "as the model says");
        Ok(job)
    }
}

#[derive(Debug, Clone)]
enum Event {
    Call {
        waits: u32,
        panics: bool,
    },
    Notify {
        waits: u32,
    },
    /// A call through the codec.
    Raw {
        waits: u32,
    },
    /// The caller of an earlier call gives up.
    Drop(usize),
    /// Handlers that wait may go on.
    Open(usize),
    /// Other tasks run.
    Yield,
    /// Time passes.
    Sleep(u64),
    View,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => (0..4u32, proptest::bool::weighted(0.1)).prop_map(|(waits, panics)| Event::Call { waits, panics }),
        2 => (0..3u32).prop_map(|waits| Event::Notify { waits }),
        1 => (0..3u32).prop_map(|waits| Event::Raw { waits }),
        1 => (0..20usize).prop_map(Event::Drop),
        3 => (1..6usize).prop_map(Event::Open),
        3 => Just(Event::Yield),
        1 => (1..2000u64).prop_map(Event::Sleep),
        1 => Just(Event::View),
    ]
}

type Calls = HashMap<u64, JoinHandle<Result<Job>>>;

async fn run(events: Vec<Event>, mode: Mode, in_flight: usize, capacity: usize) {
    let node = Node::builder("model").start().unwrap();
    let (seen, gate) = (Arc::<Seen>::default(), Arc::new(Semaphore::new(0)));
    let bench = Bench { seen: Arc::clone(&seen), gate: Arc::clone(&gate) };
    let mailbox = Mailbox::new(ShopServer::new(bench)).mode(mode).in_flight(in_flight).capacity(capacity);
    let shop = node.serve(1, mailbox).unwrap();
    let (mut calls, mut notified) = (Calls::new(), Vec::new());
    for (number, event) in (0..).zip(events) {
        let job = |waits, panics| Job { number, waits, panics };
        match event {
            Event::Call { waits, panics } => {
                let (shop, job) = (shop.clone(), job(waits, panics));
                calls.insert(number, tokio::spawn(async move { shop.work(job).await }));
            }
            Event::Notify { waits } => {
                if shop.notify().work(job(waits, false)).now().is_ok() {
                    notified.push(number);
                }
            }
            Event::Raw { waits } => {
                let (node, body) = (node.clone(), serde_json::to_vec(&job(waits, false)).unwrap());
                calls.insert(
                    number,
                    tokio::spawn(async move {
                        let call = Call::new("Shop", "Work", Serialization::Json, body);
                        let reply = node.call("Shop", 1, call).await?.into_body().whole(1000).await?;
                        Ok(serde_json::from_slice(&reply).unwrap())
                    }),
                );
            }
            Event::Drop(place) => {
                let number = calls.keys().copied().min().map(|first| first + place as u64);
                number.and_then(|number| calls.remove(&number)).inspect(JoinHandle::abort);
            }
            Event::Open(permits) => gate.add_permits(permits),
            Event::Yield => tokio::task::yield_now().await,
            Event::Sleep(time) => tokio::time::sleep(Duration::from_millis(time)).await,
            Event::View => {
                let view = node.view().await;
                assert!(view.services[0].depth <= capacity);
            }
        }
    }
    gate.add_permits(100_000);
    for (number, call) in calls {
        // Each ends, by its deadline at the latest.
        match tokio::time::timeout(Duration::from_secs(60), call).await.expect("a call hangs").unwrap() {
            Ok(job) => assert_eq!(job.number, number, "a stranger's answer"),
            Err(status) => assert!(
                matches!(status.code(), Code::Internal | Code::DeadlineExceeded | Code::Limited),
                "{status}"
            ),
        }
    }
    shop.mailbox().stop().await.unwrap();
    let begun = seen.begun.lock().unwrap().clone();
    let mut once = begun.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), begun.len(), "a message was handled twice");
    assert!(notified.iter().all(|number| once.binary_search(number).is_ok()), "a notify was lost");
    assert_eq!(seen.ended.load(Ordering::SeqCst), begun.len() as u64, "a handler never ended");
    assert_eq!(seen.broken.load(Ordering::SeqCst), 0, "two handlers ran at once");
    let most = if mode == Mode::Serial { 1 } else { in_flight };
    assert!(seen.most_open.load(Ordering::SeqCst) as usize <= most);
    node.stop().await;
    assert_eq!(node.0.timers.len(), 0, "a deadline was left behind");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn one_handler_one_answer_no_lost_wake_up(
        events in proptest::collection::vec(event(), 1..120),
        serial in any::<bool>(),
        in_flight in 1..8usize,
        capacity in 1..40usize,
    ) {
        let mode = if serial { Mode::Serial } else { Mode::Reentrant };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(events, mode, in_flight, capacity));
    }
}

/// The same on threads, where senders, the service and its timers truly run at once.
#[test]
fn one_handler_at_a_time_on_many_threads() {
    for mode in [Mode::Serial, Mode::Reentrant] {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
        let call = |number: u64| Event::Call {
            waits: u32::from(number.is_multiple_of(3)),
            panics: number.is_multiple_of(50),
        };
        let events = (0..3000).map(|number| match number % 7 {
            0 => Event::Open(4),
            1 => Event::Notify { waits: 0 },
            2 if number % 3 == 0 => Event::Drop(3),
            _ => call(number),
        });
        runtime.block_on(run(events.collect(), mode, 64, 100_000));
    }
}
