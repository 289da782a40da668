//! Calls that are made together over a channel: begun in one go, waited for by one future.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::Instant;
use trunkline_wire::Session;

use super::calls::{Ended, Outcome};
use super::dial::Shared;
use super::link::{Link, Room};
use crate::{Call, Code, Result, Status};

/// Calls on their way over a channel, each with its number.
pub(crate) struct Group<W: Session> {
    shared: Arc<Shared<W>>,
    /// How many calls there are in all.
    size: usize,
    /// Not begun yet.
    waiting: VecDeque<(usize, Call)>,
    parts: Vec<Part<W>>,
    /// Ended without having been begun.
    ended: VecDeque<(usize, Outcome)>,
    /// When a call ends that says nothing itself.
    deadline: Instant,
    /// Answers are wanted as they come.
    each: bool,
}

/// The calls of a group on one connection: all of them, mostly.
struct Part<W: Session> {
    link: Arc<Link<W>>,
    /// None when nobody need wait for it any more.
    group: Option<u32>,
    ids: Vec<u64>,
}

impl<W: Session> Drop for Part<W> {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            self.link.abandon_group(group, &self.ids);
        }
    }
}

/// What a group waits for before it can begin more calls.
enum Wait<W> {
    Connection,
    Room(Arc<Link<W>>),
    NextConnection,
}

impl<W: Session> Group<W> {
    pub(crate) fn new(
        shared: Arc<Shared<W>>,
        waiting: VecDeque<(usize, Call)>,
        deadline: Instant,
        each: bool,
    ) -> Self {
        let size = waiting.len();
        Self { shared, size, waiting, parts: Vec::new(), ended: VecDeque::new(), deadline, each }
    }

    /// Makes all calls and waits for all of them.
    pub(crate) async fn all(mut self) -> Vec<Option<Outcome>> {
        while let Some(wait) = self.begin() {
            let waited = wait_for(Arc::clone(&self.shared), wait, self.until()).await;
            self.waited(waited);
        }
        let mut outcomes: Vec<Option<Outcome>> = Vec::new();
        for part in &mut self.parts {
            let Some(group) = part.group else { continue };
            let ended = poll_fn(|cx| part.link.poll_all(group, cx)).await;
            part.group = None;
            if outcomes.is_empty() {
                outcomes = ended;
                continue;
            }
            for (number, outcome) in ended.into_iter().enumerate() {
                if let Some(outcome) = outcome {
                    put(&mut outcomes, number, outcome);
                }
            }
        }
        outcomes.resize_with(self.size, || None);
        for (number, outcome) in self.ended.drain(..) {
            put(&mut outcomes, number, outcome);
        }
        outcomes
    }

    /// The next call that has ended, in the order in which they end; none when all have.
    pub(crate) async fn next(&mut self) -> Option<(usize, Outcome)> {
        loop {
            let wait = self.begin();
            if let Some(ended) = self.ended.pop_front() {
                return Some(ended);
            }
            let Some(wait) = wait else {
                return poll_fn(|cx| self.poll_next(cx)).await;
            };
            let waits = wait_for(Arc::clone(&self.shared), wait, self.until());
            let waited = tokio::select! {
                biased;
                Some(ended) = poll_fn(|cx| self.poll_next(cx)) => return Some(ended),
                waited = waits => waited,
            };
            self.waited(waited);
        }
    }

    fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Option<(usize, Outcome)>> {
        let mut index = 0;
        while let Some(part) = self.parts.get_mut(index) {
            let polled = part.group.map_or(Poll::Ready(None), |group| part.link.poll_each(group, cx));
            match polled {
                Poll::Pending => index += 1,
                // All were given: what is dropped has no calls any more.
                Poll::Ready(None) => {
                    part.ids.clear();
                    drop(self.parts.swap_remove(index));
                }
                Poll::Ready(ended) => return Poll::Ready(ended),
            }
        }
        if self.parts.is_empty() { Poll::Ready(None) } else { Poll::Pending }
    }

    /// Begins what can be begun now; says what the rest waits for.
    fn begin(&mut self) -> Option<Wait<W>> {
        self.expire();
        if self.waiting.is_empty() {
            return None;
        }
        let Some(link) = self.shared.current() else { return Some(Wait::Connection) };
        if self.parts.last().is_none_or(|part| !Arc::ptr_eq(&part.link, &link)) {
            let ids = Vec::with_capacity(self.waiting.len());
            self.parts.push(Part { link: Arc::clone(&link), group: None, ids });
        }
        let part = self.parts.last_mut()?;
        let (size, each, ended) = (self.size, self.each, &mut self.ended);
        let places = || match each {
            true => Ended::Each(VecDeque::new()),
            false => Ended::All(std::iter::repeat_with(|| None).take(size).collect()),
        };
        let failed = |number, status| ended.push_back((number, Err(status)));
        let Part { group, ids, .. } = part;
        let room = link.begin_group(&mut self.waiting, self.deadline, group, places, ids, failed);
        match room {
            Room::Enough => None,
            Room::Elsewhere => Some(Wait::NextConnection),
            Room::Later => Some(Wait::Room(link)),
        }
    }

    /// Until when the calls that were not begun can wait, at most: the first of them ends then.
    fn until(&self) -> Instant {
        let ends = self.waiting.iter().map(|(_, call)| call.context.deadline.unwrap_or(self.deadline));
        ends.min().unwrap_or(self.deadline)
    }

    /// Ends calls whose time is over before they were begun.
    fn expire(&mut self) {
        let now = Instant::now();
        let late = |call: &Call| {
            self.deadline <= now || call.context.deadline.is_some_and(|deadline| deadline <= now)
        };
        if !self.waiting.iter().any(|(_, call)| late(call)) {
            return;
        }
        let (over, rest): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(_, call)| late(call));
        self.waiting = rest;
        let origin = self.shared.origin();
        let status = Status::new(Code::DeadlineExceeded, "context deadline exceeded").at(origin).not_begun();
        self.ended.extend(over.into_iter().map(|(number, _)| (number, Err(status.clone()))));
    }

    /// What came of waiting: nobody is there to call, or calls may go on or be over.
    fn waited(&mut self, waited: Result<()>) {
        if let Err(status) = waited {
            let failed = self.waiting.drain(..).map(|(number, _)| (number, Err(status.clone())));
            self.ended.extend(failed);
        }
    }
}

fn put(outcomes: &mut [Option<Outcome>], number: usize, outcome: Outcome) {
    if let Some(place) = outcomes.get_mut(number) {
        *place = Some(outcome);
    }
}

/// Waits, until then at most.
///
/// # Errors
/// The endpoint cannot be reached.
async fn wait_for<W: Session>(shared: Arc<Shared<W>>, wait: Wait<W>, until: Instant) -> Result<()> {
    match wait {
        Wait::Connection => {
            let ready = shared.ready(until).await;
            tokio::task::yield_now().await;
            // What waited till its own deadline is over by that; others may go on.
            return ready.or_else(|status| match status.code() {
                Code::DeadlineExceeded => Ok(()),
                _ => Err(status),
            });
        }
        Wait::Room(link) => drop(tokio::time::timeout_at(until, link.room()).await),
        Wait::NextConnection => tokio::task::yield_now().await,
    }
    Ok(())
}
