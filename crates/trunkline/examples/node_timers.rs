//! Timers of a mailbox service: once, three times, for ever until cancelled; each is a message.
//! Run it: `cargo run --features node --example node_timers`

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use trunkline::node::Node;
use trunkline::{Message, Result};

#[derive(Clone, Serialize, Deserialize, Message)]
struct Reminder {
    text: String,
}

#[trunkline::service(mailbox)]
trait Clock {
    async fn ring(&self, reminder: Reminder) -> Result<()>;
}

struct Kitchen(mpsc::UnboundedSender<String>);

impl Clock for Kitchen {
    async fn ring(&self, reminder: Reminder) -> Result<()> {
        println!("{}", reminder.text);
        // The example ends when all have rung.
        drop(self.0.send(reminder.text));
        Ok(())
    }
}

fn reminder(text: &str) -> Reminder {
    Reminder { text: text.into() }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let (sender, mut rung) = mpsc::unbounded_channel();
    let node = Node::builder("kitchen").start()?;
    let clock = node.serve(1, ClockServer::new(Kitchen(sender)))?;

    // With no time at all it goes through the mailbox at once, once.
    clock.notify().ring(reminder("now")).every(Duration::ZERO)?;
    let eggs = clock.notify().ring(reminder("the eggs")).after(Duration::from_millis(60))?;
    clock.notify().ring(reminder("stir")).times(3, Duration::from_millis(20))?;
    let tea = clock.notify().ring(reminder("tea")).every(Duration::from_millis(30))?;
    let never = clock.notify().ring(reminder("never")).after(Duration::from_secs(3600))?;
    println!("taken back: {}", never.cancel());

    let mut counts = std::collections::BTreeMap::<String, u32>::new();
    while counts.get("tea").is_none_or(|tea| *tea < 4) {
        let Some(text) = rung.recv().await else { break };
        *counts.entry(text).or_default() += 1;
    }
    println!("no more tea: {}, the eggs are done: {}", tea.cancel(), !eggs.cancel());
    println!("rung: {counts:?}");
    println!("pending: {}", node.view().await.timers);
    node.stop().await;
    Ok(())
}
