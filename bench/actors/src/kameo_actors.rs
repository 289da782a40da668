//! kameo's actors, with the mailbox that it makes unless told otherwise.

use std::time::Duration;

use kameo::Actor;
use kameo::actor::{ActorRef, Spawn};
use kameo::message::{Context, Message};
use tokio::sync::oneshot;

use crate::{Begun, Plan, on_one_thread};

#[derive(Actor)]
struct Counter {
    count: u64,
    plan: Plan,
    done: Option<oneshot::Sender<()>>,
    sender: Option<ActorRef<Sender>>,
}

struct Use(ActorRef<Sender>);
struct Count(u64);
struct Next(u64);
struct Burst;

impl Message<Use> for Counter {
    type Reply = ();

    async fn handle(&mut self, Use(sender): Use, _: &mut Context<Self, ()>) {
        self.sender = Some(sender);
    }
}

impl Message<Count> for Counter {
    type Reply = ();

    async fn handle(&mut self, Count(number): Count, _: &mut Context<Self, ()>) {
        self.count += number;
        if self.count.is_multiple_of(self.plan.burst) {
            if self.count >= self.plan.messages {
                self.done.take().map(|done| done.send(()));
            } else {
                self.sender.as_ref().unwrap().tell(Burst).await.unwrap();
            }
        }
    }
}

impl Message<Next> for Counter {
    type Reply = u64;

    async fn handle(&mut self, Next(number): Next, _: &mut Context<Self, u64>) -> u64 {
        number + 1
    }
}

#[derive(Actor)]
struct Sender {
    counter: ActorRef<Counter>,
    burst: u64,
}

impl Message<Burst> for Sender {
    type Reply = ();

    async fn handle(&mut self, _: Burst, _: &mut Context<Self, ()>) {
        for _ in 0..self.burst {
            self.counter.tell(Count(1)).await.unwrap();
        }
    }
}

fn counter(plan: Plan) -> (ActorRef<Counter>, oneshot::Receiver<()>) {
    let (done, ended) = oneshot::channel();
    (Counter::spawn(Counter { count: 0, plan, done: Some(done), sender: None }), ended)
}

pub fn notify(plan: Plan) -> Duration {
    on_one_thread(async move {
        let (counter, ended) = counter(plan);
        let sender = Sender::spawn(Sender { counter: counter.clone(), burst: plan.burst });
        counter.tell(Use(sender.clone())).await.unwrap();
        let begun = Begun::now();
        sender.tell(Burst).await.unwrap();
        ended.await.unwrap();
        begun
    })
}

pub fn calls(calls: u64, timeout: bool) -> Duration {
    on_one_thread(async move {
        let (counter, _ended) = counter(Plan { messages: 0, burst: 1 });
        let begun = Begun::now();
        let mut number = 0;
        for _ in 0..calls {
            let ask = counter.ask(Next(number));
            number = match timeout {
                true => ask.reply_timeout(Duration::from_secs(10)).await.unwrap(),
                false => ask.await.unwrap(),
            };
        }
        assert_eq!(number, calls);
        begun
    })
}
