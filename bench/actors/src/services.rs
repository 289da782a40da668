//! Trunkline's mailbox services.

use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use trunkline::node::{Node, State};
use trunkline::{Message, Result, Status};

use crate::{Begun, Plan, on_one_thread};

/// A number.
#[derive(Clone, Copy, Serialize, Deserialize, Message)]
pub struct Number {
    pub value: u64,
}

/// Counts.
#[trunkline::service(mailbox)]
pub trait Counter {
    /// Counts; the last of a burst asks for the next.
    async fn count(&self, number: Number) -> Result<()>;
    /// The number and one.
    async fn next(&self, number: Number) -> Result<Number>;
}

/// Sends.
#[trunkline::service(mailbox)]
pub trait Sender {
    /// Sends a burst.
    async fn burst(&self) -> Result<()>;
}

struct Counting {
    count: State<u64>,
    plan: Plan,
    done: Mutex<Option<oneshot::Sender<()>>>,
}

impl Counter for Counting {
    async fn count(&self, number: Number) -> Result<()> {
        let count = self.count.with(|count| {
            *count += number.value;
            *count
        });
        if count.is_multiple_of(self.plan.burst) {
            if count >= self.plan.messages {
                self.done.lock().unwrap().take().map(|done| done.send(()));
                return Ok(());
            }
            SENDER.with_borrow(|sender| sender.as_ref().unwrap().notify().burst().now())?;
        }
        Ok(())
    }

    async fn next(&self, number: Number) -> Result<Number> {
        Ok(Number { value: number.value + 1 })
    }
}

struct Sending(CounterHandle, u64);

impl Sender for Sending {
    async fn burst(&self) -> Result<()> {
        for _ in 0..self.1 {
            self.0.notify().count(Number { value: 1 }).await?;
        }
        Ok::<_, Status>(())
    }
}

thread_local! {
    static SENDER: std::cell::RefCell<Option<SenderHandle>> = const { std::cell::RefCell::new(None) };
}

fn counting(plan: Plan) -> (Counting, oneshot::Receiver<()>) {
    let (done, ended) = oneshot::channel();
    (Counting { count: State::new(0), plan, done: Mutex::new(Some(done)) }, ended)
}

pub fn notify(plan: Plan) -> Duration {
    on_one_thread(async move {
        let node = Node::builder("bench").start().unwrap();
        let (counting, ended) = counting(plan);
        let counter = node.serve(1, CounterServer::new(counting)).unwrap();
        let sender = node.serve(1, SenderServer::new(Sending(counter, plan.burst))).unwrap();
        SENDER.set(Some(sender.clone()));
        let begun = Begun::now();
        sender.notify().burst().await.unwrap();
        ended.await.unwrap();
        begun
    })
}

pub fn calls(calls: u64, _: bool) -> Duration {
    on_one_thread(async move {
        let node = Node::builder("bench").start().unwrap();
        let (counting, _ended) = counting(Plan { messages: 0, burst: 1 });
        let counter = node.serve(1, CounterServer::new(counting)).unwrap();
        let begun = Begun::now();
        let mut number = Number { value: 0 };
        for _ in 0..calls {
            number = counter.next(number).await.unwrap();
        }
        assert_eq!(number.value, calls);
        begun
    })
}
