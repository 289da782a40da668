//! ractor's actors. Their mailboxes have no bound.

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::sync::oneshot;

use crate::{Begun, Plan, on_one_thread};

enum Counted {
    Sender(ActorRef<Burst>),
    Count(u64),
    Next(u64, RpcReplyPort<u64>),
}

struct Counter;

struct Counting {
    count: u64,
    plan: Plan,
    done: Option<oneshot::Sender<()>>,
    sender: Option<ActorRef<Burst>>,
}

impl Actor for Counter {
    type Msg = Counted;
    type State = Counting;
    type Arguments = (Plan, oneshot::Sender<()>);

    async fn pre_start(
        &self,
        _: ActorRef<Counted>,
        (plan, done): Self::Arguments,
    ) -> Result<Counting, ActorProcessingErr> {
        Ok(Counting { count: 0, plan, done: Some(done), sender: None })
    }

    async fn handle(
        &self,
        _: ActorRef<Counted>,
        message: Counted,
        state: &mut Counting,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Counted::Sender(sender) => state.sender = Some(sender),
            Counted::Next(number, port) => port.send(number + 1)?,
            Counted::Count(number) => {
                state.count += number;
                if state.count.is_multiple_of(state.plan.burst) {
                    if state.count >= state.plan.messages {
                        state.done.take().map(|done| done.send(()));
                    } else {
                        state.sender.as_ref().unwrap().cast(Burst)?;
                    }
                }
            }
        }
        Ok(())
    }
}

struct Burst;

struct Sender;

impl Actor for Sender {
    type Msg = Burst;
    type State = (ActorRef<Counted>, u64);
    type Arguments = (ActorRef<Counted>, u64);

    async fn pre_start(
        &self,
        _: ActorRef<Burst>,
        state: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(state)
    }

    async fn handle(
        &self,
        _: ActorRef<Burst>,
        _: Burst,
        (counter, burst): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        for _ in 0..*burst {
            counter.cast(Counted::Count(1))?;
        }
        Ok(())
    }
}

pub fn notify(plan: Plan) -> Duration {
    on_one_thread(async move {
        let (done, ended) = oneshot::channel();
        let (counter, _) = Actor::spawn(None, Counter, (plan, done)).await.unwrap();
        let (sender, _) = Actor::spawn(None, Sender, (counter.clone(), plan.burst)).await.unwrap();
        counter.cast(Counted::Sender(sender.clone())).unwrap();
        let begun = Begun::now();
        sender.cast(Burst).unwrap();
        ended.await.unwrap();
        begun
    })
}

pub fn calls(calls: u64, timeout: bool) -> Duration {
    on_one_thread(async move {
        let (done, _ended) = oneshot::channel();
        let (counter, _) = Actor::spawn(None, Counter, (Plan { messages: 0, burst: 1 }, done)).await.unwrap();
        let time = timeout.then_some(Duration::from_secs(10));
        let begun = Begun::now();
        let mut number = 0;
        for _ in 0..calls {
            number = counter.call(|port| Counted::Next(number, port), time).await.unwrap().unwrap();
        }
        assert_eq!(number, calls);
        begun
    })
}
