//! Any order of replies, deadlines, givings-up and losses, against a model: every call ends exactly once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail loudly"
)]

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::calls::{Calls, Ended, Outcome};
use crate::{Body, Code, Reply, Status};

const LIMIT: usize = 5;

#[derive(Debug, Clone)]
enum Act {
    /// With so many milliseconds.
    Insert(u64),
    /// A reply to the call that was begun as the n-th: in time, late, or doubled.
    Reply(usize),
    /// A reply to nobody.
    Strange(u64),
    /// The caller looks.
    Poll(usize),
    /// The caller gives up.
    Remove(usize),
    Pass(u64),
    Lost,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (1u64..100).prop_map(Act::Insert),
        4 => (0usize..40).prop_map(Act::Reply),
        1 => any::<u64>().prop_map(Act::Strange),
        3 => (0usize..40).prop_map(Act::Poll),
        1 => (0usize..40).prop_map(Act::Remove),
        2 => (1u64..50).prop_map(Act::Pass),
        1 => Just(Act::Lost),
    ]
}

#[derive(Default)]
struct Woken(AtomicU64);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// What the model knows of a call.
#[derive(Debug, Clone, PartialEq)]
enum Is {
    Waiting(Instant),
    Replied,
    Late,
    Lost,
    /// The caller has it, or has gone.
    Over,
}

struct Model {
    calls: Calls,
    ids: Vec<u64>,
    is: HashMap<u64, Is>,
    woken: HashMap<u64, Arc<Woken>>,
    now: Instant,
}

fn reply(id: u64) -> Outcome {
    Ok(Reply::new(id.to_be_bytes().to_vec()))
}

impl Model {
    fn new() -> Self {
        Self {
            calls: Calls::new(LIMIT),
            ids: Vec::new(),
            is: HashMap::new(),
            woken: HashMap::new(),
            now: Instant::now(),
        }
    }

    fn held(&self) -> usize {
        self.is.values().filter(|is| **is != Is::Over).count()
    }

    /// A call ended: whoever waits is woken, once.
    fn ended(&mut self, id: u64, waker: Option<Waker>) {
        waker.expect("whoever waits is woken").wake();
        assert_eq!(self.woken[&id].0.load(Ordering::SeqCst), 1);
    }

    fn act(&mut self, act: &Act) {
        let nth = |n: usize| self.ids.get(n).copied();
        match *act {
            Act::Insert(time) => {
                let deadline = self.now + Duration::from_millis(time);
                let woken = Arc::<Woken>::default();
                let inserted = self.calls.insert(Arc::clone(&woken).into(), deadline);
                assert_eq!(inserted.is_some(), self.held() < LIMIT, "{LIMIT} calls, and not one more");
                let Some(id) = inserted else { return };
                assert!(self.is.insert(id, Is::Waiting(deadline)).is_none(), "an id comes back");
                self.ids.push(id);
                self.woken.insert(id, woken);
            }
            Act::Reply(n) => {
                let Some(id) = nth(n) else { return };
                let waits = matches!(self.is[&id], Is::Waiting(_));
                let ended = self.calls.end(id, reply(id));
                assert_eq!(ended.is_some(), waits, "only who waits is answered");
                if let Some(waker) = ended {
                    self.is.insert(id, Is::Replied);
                    self.ended(id, waker);
                }
            }
            Act::Strange(id) => {
                if !self.is.contains_key(&id) {
                    assert!(self.calls.end(id, reply(id)).is_none() && !self.calls.waits(id));
                    assert!(self.calls.remove(id).is_none());
                }
            }
            Act::Poll(n) => {
                let Some(id) = nth(n) else { return };
                self.poll(id);
            }
            Act::Remove(n) => {
                let Some(id) = nth(n) else { return };
                let outcome = self.calls.remove(id);
                let had = matches!(self.is[&id], Is::Replied | Is::Late | Is::Lost);
                assert_eq!(outcome.is_some(), had);
                self.is.insert(id, Is::Over);
            }
            Act::Pass(time) => self.pass(Duration::from_millis(time)),
            Act::Lost => {
                let mut wakers = 0;
                let lost = || Err(Status::new(Code::Unavailable, "lost"));
                self.calls.end_all(lost, |waker| {
                    wakers += u64::from(waker.is_some());
                    waker.into_iter().for_each(Waker::wake);
                });
                let mut expected = 0;
                for is in self.is.values_mut() {
                    if matches!(is, Is::Waiting(_)) {
                        *is = Is::Lost;
                        expected += 1;
                    }
                }
                assert_eq!(wakers, expected);
            }
        }
        assert_eq!(self.calls.len(), self.held());
    }

    fn poll(&mut self, id: u64) {
        let waker = Waker::from(Arc::clone(&self.woken[&id]));
        let polled = self.calls.poll(id, &mut Context::from_waker(&waker));
        match (self.is[&id].clone(), polled) {
            (Is::Waiting(_), Poll::Pending) => return,
            (Is::Replied, Poll::Ready(Some(Ok(reply)))) => {
                let Body::Full(body) = reply.into_body() else { panic!("a stream") };
                assert_eq!(*body, id.to_be_bytes(), "somebody else's reply");
            }
            (Is::Late, Poll::Ready(Some(Err(status)))) => assert_eq!(status.message(), "late"),
            (Is::Lost, Poll::Ready(Some(Err(status)))) => assert_eq!(status.message(), "lost"),
            (Is::Over, Poll::Ready(None)) => {}
            (is, polled) => panic!("{is:?}: {polled:?}"),
        }
        self.is.insert(id, Is::Over);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        let mut ended = Vec::new();
        self.calls.expire(
            self.now,
            || Err(Status::new(Code::DeadlineExceeded, "late")),
            |id, waker| ended.push((id, waker)),
        );
        let now = self.now;
        for (id, waker) in ended {
            assert!(matches!(self.is[&id], Is::Waiting(deadline) if deadline <= now), "too early");
            self.is.insert(id, Is::Late);
            self.ended(id, waker);
        }
        let next = self.is.values().filter_map(|is| match is {
            Is::Waiting(deadline) => Some(*deadline),
            _ => None,
        });
        let next = next.min();
        assert!(next.is_none_or(|next| next > now), "a deadline was passed over");
        // The task sleeps until then: it must not be later than the earliest one.
        assert!(next.is_none_or(|next| self.calls.next_deadline().is_some_and(|at| at <= next)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_call_ends_exactly_once(acts in prop::collection::vec(act(), 1..120)) {
        let mut model = Model::new();
        for act in &acts {
            model.act(act);
        }
        // In the end all are over time, and every caller learns how its call ended, once.
        model.pass(Duration::from_secs(1));
        for id in model.ids.clone() {
            prop_assert!(!matches!(model.is[&id], Is::Waiting(_)));
            model.poll(id);
            model.poll(id);
        }
        prop_assert_eq!(model.calls.len(), 0);
    }
}

fn status() -> Outcome {
    Err(Status::new(Code::Unavailable, "lost"))
}

fn bytes(outcome: &Outcome) -> Option<u64> {
    match outcome.as_ref().ok().map(|reply| &reply.body) {
        Some(Body::Full(body)) => body.first_chunk().map(|id| u64::from_be_bytes(*id)),
        _ => None,
    }
}

/// The answers of a group come to the places of its calls, whatever their order, and its one waker is woken with the last.
#[test]
fn a_group_is_given_when_its_last_call_has_ended() {
    let mut calls = Calls::new(LIMIT);
    let far = Instant::now() + Duration::from_secs(60);
    let group = calls.group(Ended::All(vec![None, None, None])).unwrap();
    let ids = [0, 1, 2].map(|number| calls.insert_in(group, number, far).unwrap());
    let woken = Arc::<Woken>::default();
    let waker = Arc::clone(&woken).into();
    let cx = Context::from_waker(&waker);
    assert!(calls.poll_all(group, &cx).is_pending());
    assert!(calls.end(ids[2], reply(ids[2])).unwrap().is_none(), "two are left");
    assert_eq!(calls.len(), 2, "its slot is free");
    assert!(calls.end(ids[2], reply(9)).is_none(), "once");
    calls.remove(ids[1]);
    calls.end(ids[0], reply(ids[0])).unwrap().expect("that was the last").wake();
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    let Poll::Ready(ended) = calls.poll_all(group, &cx) else { panic!("all have ended") };
    let ended: Vec<_> = ended.iter().map(|ended| ended.as_ref().and_then(bytes)).collect();
    assert_eq!(ended, [Some(ids[0]), None, Some(ids[2])]);
    assert!(calls.is_empty());
}

/// Where each answer is wanted as it comes, the waker is woken for the first one that was not asked for.
#[test]
fn a_group_is_given_as_its_calls_end() {
    let mut calls = Calls::new(LIMIT);
    let now = Instant::now();
    let group = calls.group(Ended::Each(VecDeque::new())).unwrap();
    let ids = [7, 8].map(|number| calls.insert_in(group, number, now).unwrap());
    let cx = Context::from_waker(Waker::noop());
    assert!(calls.poll_each(group, &cx).is_pending());
    assert!(calls.end(ids[1], reply(ids[1])).unwrap().is_some());
    let mut over = Vec::new();
    calls.expire(now, status, |id, waker| over.push((id, waker.is_some())));
    assert_eq!(over, [(ids[0], false)], "it was woken and has not looked");
    for (number, id) in [(8, Some(ids[1])), (7, None)] {
        let Poll::Ready(Some((ended, outcome))) = calls.poll_each(group, &cx) else { panic!("it has ended") };
        assert_eq!((ended, bytes(&outcome)), (number, id));
    }
    assert!(matches!(calls.poll_each(group, &cx), Poll::Ready(None)));
    drop(calls.remove_group(group));
    assert!(calls.is_empty());
}
