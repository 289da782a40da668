//! Every interleaving of the threads that share a pending set, a push queue, a table of calls, a drain counter, a mailbox.
//!
//! `RUSTFLAGS="--cfg trunkline_loom" cargo test -p trunkline --no-default-features --features node --lib loom_
//! --target-dir target/loom`. A wake-up that is lost shows as a deadlock.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail loudly"
)]

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use loom::future::block_on;
use loom::sync::Mutex;
use loom::thread;
use tokio::time::Instant;
use trunkline_wire::Serialization;

use crate::client::calls::{Calls, Outcome};
use crate::net::pending::Pending;
use crate::push::{Push, PushQueue};
use crate::server::drain::Drain;
use crate::{Code, Metadata, Reply, Status};

/// Threads switch against their will so often at most: enough for every bug that was ever found so.
fn model(test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(test);
}

/// A future that another thread completes.
#[derive(Default)]
struct Event(Mutex<(bool, Option<Waker>)>);

impl Event {
    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap();
        if state.0 {
            return Poll::Ready(());
        }
        state.1 = Some(cx.waker().clone());
        Poll::Pending
    }

    fn set(&self) {
        let mut state = self.0.lock().unwrap();
        state.0 = true;
        let waker = state.1.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Two calls, each completed by a thread of its own; the second takes the slot of one that is cancelled.
#[test]
fn loom_pending_loses_no_wake_up() {
    model(|| {
        let events = [Arc::new(Event::default()), Arc::new(Event::default())];
        let threads = events.clone().map(|event| thread::spawn(move || event.set()));
        let mut pending = Pending::<usize, Arc<Event>>::default();
        pending.insert(9, Arc::new(Event::default()));
        pending.insert(0, Arc::clone(&events[0]));
        let mut done = Vec::new();
        while done.len() < 2 {
            let (key, ()) =
                block_on(std::future::poll_fn(|cx| pending.poll_next(cx, |event, cx| event.poll(cx))));
            done.push(key);
            if done.len() == 1 {
                assert_eq!(pending.remove(|key| *key == 9), Some(9));
                pending.insert(1, Arc::clone(&events[1]));
            }
        }
        assert_eq!(done, [0, 1]);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

fn push(n: u8) -> Push {
    Push {
        service: "".into(),
        method: "".into(),
        metadata: Metadata::new(),
        serialization: Serialization::Raw,
        body: Bytes::from(vec![n]),
    }
}

async fn send(queue: &PushQueue, n: u8) -> crate::Result<()> {
    let mut push = Some(push(n));
    std::future::poll_fn(|cx| queue.poll_send(cx, &mut push)).await
}

/// The queue has room for one push here: senders wait for room, the connection waits for pushes.
#[test]
fn loom_pushes_all_arrive_in_order() {
    model(|| {
        let queue = Arc::new(PushQueue::open());
        let sender = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                block_on(async {
                    send(&queue, 1).await.unwrap();
                    send(&queue, 2).await.unwrap();
                });
            })
        };
        let mut got = Vec::new();
        while got.len() < 2 {
            // As the connection does before a reply, and when it has nothing else to do.
            let next = queue.try_next();
            let next = next.unwrap_or_else(|| block_on(std::future::poll_fn(|cx| queue.poll_next(cx))));
            got.push(next.body[0]);
        }
        assert_eq!(got, [1, 2]);
        assert!(queue.try_next().is_none());
        sender.join().unwrap();
    });
}

/// A connection that ends tells those who wait for room.
#[test]
fn loom_a_push_ends_with_its_connection() {
    model(|| {
        let queue = Arc::new(PushQueue::open());
        let sender = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || block_on(async { (send(&queue, 1).await, send(&queue, 2).await) }))
        };
        queue.close();
        let (_, second) = sender.join().unwrap();
        assert_eq!(second.unwrap_err().code(), Code::Unavailable);
        assert!(queue.try_next().is_none());
    });
}

fn reply() -> Outcome {
    Ok(Reply::default())
}

fn lost() -> Outcome {
    Err(Status::new(Code::Unavailable, "lost"))
}

/// A call is answered, times out, and loses its connection at once: it ends once, and its caller learns it.
#[test]
fn loom_a_call_ends_once() {
    model(|| {
        let calls = Arc::new(Mutex::new(Calls::new(4)));
        let now = Instant::now();
        let id = calls.lock().unwrap().insert(Waker::noop().clone(), now).unwrap();
        let answers = {
            let calls = Arc::clone(&calls);
            thread::spawn(move || {
                let ended = calls.lock().unwrap().end(id, reply());
                let first = ended.is_some();
                ended.flatten().into_iter().for_each(Waker::wake);
                u32::from(first)
            })
        };
        let expires = {
            let calls = Arc::clone(&calls);
            thread::spawn(move || {
                let mut ended = Vec::new();
                let mut count = 0;
                let mut table = calls.lock().unwrap();
                table.expire(now + Duration::from_secs(1), lost, |_, waker| {
                    count += 1;
                    ended.extend(waker);
                });
                table.end_all(lost, |waker| {
                    count += 1;
                    ended.extend(waker);
                });
                drop(table);
                ended.into_iter().for_each(Waker::wake);
                count
            })
        };
        let outcome = block_on(std::future::poll_fn(|cx| calls.lock().unwrap().poll(id, cx)));
        assert!(outcome.is_some());
        assert_eq!(answers.join().unwrap() + expires.join().unwrap(), 1);
        let mut calls = calls.lock().unwrap();
        assert_eq!(calls.len(), 0);
        assert!(calls.end(id, reply()).is_none());
    });
}

/// A caller that gives up while the answer comes: the slot is free, and the next call in it has its own answer.
#[test]
fn loom_a_call_that_is_dropped_leaves_nothing() {
    model(|| {
        let calls = Arc::new(Mutex::new(Calls::new(1)));
        let now = Instant::now();
        let id = calls.lock().unwrap().insert(Waker::noop().clone(), now).unwrap();
        let answers = {
            let calls = Arc::clone(&calls);
            thread::spawn(move || {
                let waker = calls.lock().unwrap().end(id, reply());
                waker.flatten().into_iter().for_each(Waker::wake);
            })
        };
        drop(calls.lock().unwrap().remove(id));
        let next = calls.lock().unwrap().insert(Waker::noop().clone(), now).unwrap();
        assert_ne!(id, next);
        answers.join().unwrap();
        let mut calls = calls.lock().unwrap();
        assert!(calls.waits(next));
        assert!(calls.end(next, reply()).is_some());
    });
}

/// Connections come and go while the server is told to stop: each learns it, and the end is seen.
#[test]
fn loom_a_drain_is_learnt_and_ends() {
    model(|| {
        let drain = Arc::<Drain>::default();
        let mut early = drain.watch();
        let connection = thread::spawn(move || block_on(early.begun()));
        let stops = {
            let drain = Arc::clone(&drain);
            thread::spawn(move || {
                drain.begin();
                block_on(std::future::poll_fn(|cx| drain.poll_idle(cx)));
                assert_eq!(drain.connections(), 0);
            })
        };
        connection.join().unwrap();
        stops.join().unwrap();
        let mut late = drain.watch();
        block_on(late.begun());
    });
}

/// Mailboxes: `--features node`.
#[cfg(feature = "node")]
mod mailbox {
    use std::collections::VecDeque;

    use super::*;
    use crate::node::queue::{Entry, Gate, Next, Queue, Refused};

    struct Letter(u8);

    impl Entry for Letter {
        fn may_drop(&self) -> bool {
            true
        }
    }

    type Letters = Queue<Letter, &'static str>;

    /// What a service's task does until it is to stop: all letters, in the order in which they are begun, and commands.
    fn serve(queue: &Letters) -> (Vec<u8>, Vec<&'static str>) {
        let (mut got, mut commands) = (Vec::new(), Vec::new());
        let mut batch = VecDeque::new();
        block_on(std::future::poll_fn(|cx| {
            loop {
                while let Some(Letter(letter)) = batch.pop_front() {
                    queue.begun(batch.len());
                    got.push(letter);
                }
                match queue.next(&mut batch, true, true, cx.waker()) {
                    Next::Command(command) => commands.push(command),
                    Next::Message(Letter(letter)) => got.push(letter),
                    Next::Batch => {}
                    Next::Asleep => return Poll::Pending,
                    Next::Drained => return Poll::Ready(()),
                }
            }
        }));
        (got, commands)
    }

    /// Two senders, a command and the stop: nothing is lost, each sender's letters are in order, the service wakes.
    #[test]
    fn loom_a_mailbox_loses_no_message() {
        model(|| {
            let queue = Arc::new(Letters::new(8));
            let other = {
                let queue = Arc::clone(&queue);
                thread::spawn(move || {
                    queue.push(Letter(1), false, || false).map_err(drop).unwrap();
                    queue.push(Letter(2), false, || false).map_err(drop).unwrap();
                    queue.command("look");
                    queue.narrow(Gate::Shut);
                    assert!(matches!(queue.push(Letter(3), false, || true), Err(Refused::Shut(Letter(3)))));
                })
            };
            let (got, commands) = serve(&queue);
            assert_eq!((got, commands), (vec![1, 2], vec!["look"]));
            other.join().unwrap();
        });
    }

    /// A sender waits for room in a mailbox for one.
    #[test]
    fn loom_a_mailbox_tells_of_room() {
        model(|| {
            let queue = Arc::new(Letters::new(1));
            let sender = {
                let queue = Arc::clone(&queue);
                thread::spawn(move || {
                    for letter in [1, 2] {
                        let (mut message, mut number) = (Some(Letter(letter)), 0);
                        block_on(std::future::poll_fn(|cx| {
                            queue.poll_push(&mut message, &mut number, || false, cx)
                        }))
                        .map_err(drop)
                        .unwrap();
                    }
                    queue.narrow(Gate::Shut);
                })
            };
            assert_eq!(serve(&queue).0, [1, 2]);
            sender.join().unwrap();
        });
    }

    /// A sender that waits for room learns that the service is gone.
    #[test]
    fn loom_a_mailbox_that_closes_tells_who_waits() {
        model(|| {
            let queue = Arc::new(Letters::new(1));
            let sender = {
                let queue = Arc::clone(&queue);
                thread::spawn(move || {
                    let mut sent = 0_usize;
                    for letter in [1, 2] {
                        let (mut message, mut number) = (Some(Letter(letter)), 0);
                        let pushed = block_on(std::future::poll_fn(|cx| {
                            queue.poll_push(&mut message, &mut number, || false, cx)
                        }));
                        sent += usize::from(pushed.is_ok());
                    }
                    sent
                })
            };
            let (left, _) = queue.close();
            let sent = sender.join().unwrap();
            assert!(left.len() <= 1 && sent == left.len());
            queue.command("too late");
            assert!(queue.close().1.is_none());
        });
    }
}
