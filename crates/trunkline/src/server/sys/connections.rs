//! The live connections whose sessions count what goes over them, and how they are asked for it.
//!
//! A connection keeps its figures to itself and is asked for them: its task is woken and answers at its next poll. So
//! counting shares nothing between threads, and an idle connection costs nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use slab::Slab;
use tokio::sync::oneshot;
use tokio::time::Instant;
use trunkline_wire::{Report, Session, Traffic};

use crate::Peer;

/// So many connections are asked at a time, which bounds how much of their answers is held.
const AT_A_TIME: usize = 64;

/// How long all connections together may take. One whose thread is busy for longer is left out.
const PATIENCE: Duration = Duration::from_secs(1);

/// Locks without regard to a panic elsewhere: all that is locked here are counts.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is shared with one connection.
#[derive(Debug)]
struct Entry {
    peer: Peer,
    waker: AtomicWaker,
    asked: AtomicBool,
    question: Mutex<Option<Question>>,
}

/// What a connection is asked: always to hand over what it counted by method, and here for more.
#[derive(Debug)]
struct Question {
    /// Whether its channels are asked for, too.
    report: bool,
    answer: oneshot::Sender<Report>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Connections {
    entries: Mutex<Slab<Arc<Entry>>>,
    /// What was sent by method, as far as it was handed over, by the methods' numbers.
    sent: Mutex<Vec<Traffic>>,
    /// One asks at a time.
    asking: tokio::sync::Mutex<()>,
}

/// A connection's place among them.
#[derive(Debug)]
pub(super) struct Place {
    key: usize,
    entry: Arc<Entry>,
}

impl Connections {
    pub(super) fn join(&self, peer: Peer) -> Place {
        let (waker, asked, question) = (AtomicWaker::new(), AtomicBool::new(false), Mutex::new(None));
        let entry = Arc::new(Entry { peer, waker, asked, question });
        Place { key: lock(&self.entries).insert(Arc::clone(&entry)), entry }
    }

    /// Answers what the connection was asked. Called at each poll of its task, whose waker this is.
    #[inline]
    pub(super) fn answer<W: Session>(&self, place: &Place, session: &mut W, waker: &Waker) {
        // In this order: who asks between the two wakes the task.
        place.entry.waker.register(waker);
        if place.entry.asked.load(Ordering::Acquire) {
            self.answer_now(place, session);
        }
    }

    #[cold]
    fn answer_now<W: Session>(&self, place: &Place, session: &mut W) {
        place.entry.asked.store(false, Ordering::Release);
        self.hand_over(session);
        if let Some(question) = lock(&place.entry.question).take() {
            let report = if question.report { session.report() } else { Report::default() };
            // Whoever asked may be gone.
            drop(question.answer.send(report));
        }
    }

    /// Takes over what the connection counted by method.
    fn hand_over<W: Session>(&self, session: &mut W) {
        let handed = session.take_sent();
        let mut sent = lock(&self.sent);
        for (number, traffic) in handed {
            // Numbers are those of the server's own table of methods.
            let Ok(index) = usize::try_from(number) else { continue };
            if index >= sent.len() {
                sent.resize_with(index.saturating_add(1), Traffic::default);
            }
            if let Some(all) = sent.get_mut(index) {
                all.add(&traffic);
            }
        }
    }

    /// The connection has ended.
    pub(super) fn leave<W: Session>(&self, place: &Place, session: &mut W) {
        self.hand_over(session);
        lock(&self.entries).try_remove(place.key);
        // Whoever waits for it learns that nothing comes.
        drop(lock(&place.entry.question).take());
    }

    /// What was sent so far, by the methods' numbers.
    pub(super) async fn sent(&self) -> Vec<Traffic> {
        self.ask(false, |_, _| true).await;
        lock(&self.sent).clone()
    }

    /// Asks every connection, and tells what each says of itself; no more of them once `tell` says no.
    pub(super) async fn ask(&self, report: bool, mut tell: impl FnMut(&Peer, Report) -> bool) {
        let _asking = self.asking.lock().await;
        let until = Instant::now() + PATIENCE;
        let mut next = 0;
        loop {
            let questions = self.ask_some(&mut next, report);
            if questions.is_empty() {
                return;
            }
            for (entry, answer) in questions {
                if let Ok(Ok(report)) = tokio::time::timeout_at(until, answer).await
                    && !tell(&entry.peer, report)
                {
                    return;
                }
            }
        }
    }

    /// Asks some of the connections from `next` on.
    fn ask_some(&self, next: &mut usize, report: bool) -> Vec<(Arc<Entry>, oneshot::Receiver<Report>)> {
        let entries = lock(&self.entries);
        let from = *next;
        let some = entries.iter().skip_while(|(key, _)| *key < from).take(AT_A_TIME);
        let mut questions = Vec::new();
        for (key, entry) in some {
            let (answer, receiver) = oneshot::channel();
            // Within the lock of the entries: whoever leaves after this finds the question.
            *lock(&entry.question) = Some(Question { report, answer });
            entry.asked.store(true, Ordering::Release);
            entry.waker.wake();
            questions.push((Arc::clone(entry), receiver));
            *next = key.saturating_add(1);
        }
        questions
    }
}
