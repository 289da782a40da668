//! What an idle mailbox service takes.
#![cfg(feature = "node")]
#![allow(clippy::unwrap_used, reason = "a test says so by panicking")]

use trunkline::node::{Node, State};
use trunkline::{Message, Result};

#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize, Message)]
struct Number {
    value: u64,
}

#[trunkline::service(mailbox)]
trait Sum {
    async fn add(&self, number: Number) -> Result<Number>;
}

struct Adding(State<u64>);

impl Sum for Adding {
    async fn add(&self, number: Number) -> Result<Number> {
        tokio::task::yield_now().await;
        Ok(Number { value: self.0.with(|sum| std::mem::replace(sum, number.value)) })
    }
}

/// Services that have each answered a call and have nothing to do.
#[test]
fn an_idle_service_takes_less_than_a_kibibyte() {
    const SERVICES: u32 = 2000;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut node = None;
    let taken = allocation_counter::measure(|| {
        runtime.block_on(async {
            let own = Node::builder("idle").start().unwrap();
            for id in 0..SERVICES {
                let sum = own.serve(id, SumServer::new(Adding(State::new(0)))).unwrap();
                sum.add(Number { value: 1 }).await.unwrap();
                sum.notify().add(Number { value: 1 }).await.unwrap();
            }
            for sum in own.all::<SumHandle>() {
                assert_eq!(sum.add(Number { value: 2 }).await.unwrap().value, 1);
            }
            node = Some(own);
        });
    });
    let each = taken.bytes_current / i64::from(SERVICES);
    println!("{each} bytes each");
    assert!(each <= 1024, "{each}");
    runtime.block_on(node.unwrap().stop());
}
