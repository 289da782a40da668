//! One call of a client: an endpoint is chosen, and the next one where the call was surely not begun. What is tried
//! again, and when, is said in [`goes_on`] alone.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::balanced::{Inner, Snapshot};
use super::channel::Channel;
use super::node::Node;
use crate::balance::Verdict;
use crate::{Body, Call, Code, Origin, Reply, Result, Service, Status};

/// How many endpoints a failure names.
const NAMED: usize = 8;

/// How long a call waits for the connection of an endpoint that is not known to be there, at most half of its time, while
/// there are others that it has not been to.
const PATIENCE: Duration = Duration::from_secs(1);

/// One attempt of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Where it went.
    pub origin: Origin,
    /// Why it failed; none where it was answered.
    pub failure: Option<Status>,
}

/// Whether a call that ended so goes on to the next endpoint: it was surely not begun, and the reason is the
/// endpoint's and not the call's.
pub(super) fn goes_on(status: &Status) -> bool {
    status.may_retry() && matches!(status.code(), Code::Unavailable | Code::Draining | Code::Limited)
}

/// Whether a call that ended so speaks against its endpoint, where nobody else says it.
fn is_well(outcome: Result<&Reply, &Status>) -> bool {
    outcome.err().is_none_or(|status| {
        !matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Draining)
    })
}

/// Endpoints that a call has been to, with what came of it.
pub(super) type Tried = Vec<(Arc<Node>, Status)>;

fn was_tried(tried: &Tried, node: &Arc<Node>) -> bool {
    tried.iter().any(|(other, _)| Arc::ptr_eq(other, node))
}

/// A call that is in flight to an endpoint.
pub(super) struct Running {
    pub(super) node: Arc<Node>,
    /// It is the one that tries a paused endpoint again.
    probe: bool,
    /// When it began, where that is of interest.
    begun: Option<Instant>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.node.member.end();
        if self.probe {
            self.node.member.health.unclaim();
        }
    }
}

/// Who gets a call, and over which of its connections.
pub(super) struct Chosen {
    pub(super) running: Running,
    pub(super) channel: Channel,
}

/// A call's way so far.
pub(super) struct Course {
    /// When it began, where it may go on to another endpoint.
    pub(super) begun: Option<Instant>,
    pub(super) tried: Tried,
}

impl Inner {
    /// Makes a call, and tells of its attempts.
    pub(super) async fn call_traced(&self, call: Call, trail: &mut Vec<Attempt>) -> Result<Reply> {
        let course = self.course(&call, &self.snapshot.load())?;
        self.go_on(call, course, None, Some(trail)).await
    }

    /// How a call sets out.
    ///
    /// # Errors
    /// Its time is over.
    pub(super) fn course(&self, call: &Call, snapshot: &Snapshot) -> Result<Course> {
        let several = self.settings.failover && snapshot.nodes.len() > 1;
        let may_go_on = several && matches!(call.body, Body::Full(_));
        let (mut begun, tried) = (None, Tried::new());
        if may_go_on || call.context.deadline.is_some() {
            let now = Instant::now();
            if call.context.deadline.is_some_and(|deadline| deadline <= now) {
                // That says nothing about any endpoint.
                return Err(Status::new(Code::DeadlineExceeded, "context deadline exceeded").not_begun());
            }
            begun = may_go_on.then_some(now);
        }
        Ok(Course { begun, tried })
    }

    /// Until when a call may take, with all of its attempts.
    pub(super) fn limit(&self, call: &Call, course: &Course) -> Option<Instant> {
        call.context.deadline.or_else(|| course.begun.map(|begun| begun + self.settings.timeout))
    }

    /// Makes a call, by as many attempts as it takes.
    pub(super) async fn go_on(
        &self,
        mut call: Call,
        mut course: Course,
        mut first: Option<Chosen>,
        mut trail: Option<&mut Vec<Attempt>>,
    ) -> Result<Reply> {
        let may_go_on = course.begun.is_some();
        loop {
            let chosen = match first.take() {
                None => self.choose(&self.snapshot.load(), &call, &course.tried)?,
                first => first,
            };
            let Some(Chosen { mut running, channel }) = chosen else { return Err(self.nobody(course.tried)) };
            let kept = (may_go_on || self.settings.check.is_some()).then(|| call.copy());
            let limit = self.limit(&call, &course);
            let outcome = match limit {
                Some(limit) if may_go_on => {
                    self.attempt(call, limit, &running.node, &channel, &course.tried).await
                }
                _ => channel.call(call).await,
            };
            running.judge(self, kept.as_ref(), outcome.as_ref(), &channel);
            let before = course.tried.len();
            let outcome = outcome.map_err(|status| counted(status, before));
            if let Some(trail) = &mut trail {
                let failure = outcome.as_ref().err().cloned();
                let mut origin = channel.origin().clone();
                origin.attempt = origin.attempt.saturating_add(u32::try_from(before).unwrap_or(u32::MAX));
                trail.push(Attempt { origin, failure });
            }
            let status = match outcome {
                Err(status) if may_go_on && goes_on(&status) => status,
                outcome => return outcome,
            };
            match kept {
                Some(same) if limit.is_none_or(|limit| Instant::now() < limit) => call = same,
                _ => return Err(status),
            }
            course.tried.push((Arc::clone(&running.node), status));
        }
    }

    /// Makes a call that may go on elsewhere.
    async fn attempt(
        &self,
        call: Call,
        limit: Instant,
        node: &Arc<Node>,
        channel: &Channel,
        tried: &Tried,
    ) -> Result<Reply> {
        if !node.is_proven() && channel.dials_ahead() && self.has_others(node, tried) {
            let now = Instant::now();
            let patience = PATIENCE.min(limit.saturating_duration_since(now) / 2);
            if let Err(status) = channel.ready(now + patience).await {
                if status.code() != Code::DeadlineExceeded {
                    return Err(status);
                }
                let text = format!("no connection within {} ms", patience.as_millis());
                return Err(Status::new(Code::Unavailable, text).at(channel.origin().clone()).not_begun());
            }
        }
        if call.context.deadline.is_some() || tried.is_empty() {
            return channel.call(call).await;
        }
        // The default time is for all attempts together.
        timeout_at(limit, channel.call(call)).await.unwrap_or_else(|_| {
            let status = Status::new(Code::DeadlineExceeded, "context deadline exceeded");
            Err(status.at(channel.origin().clone()))
        })
    }

    /// Whether another endpoint could take the call.
    #[cold]
    fn has_others(&self, node: &Arc<Node>, tried: &Tried) -> bool {
        let snapshot = self.snapshot.load();
        let open = snapshot.members.open().iter().filter_map(|place| snapshot.nodes.get(*place));
        open.into_iter().any(|other| !Arc::ptr_eq(other, node) && !was_tried(tried, other))
    }

    /// Who gets the call; none where nobody is left.
    ///
    /// # Errors
    /// The picker cannot say it.
    #[inline]
    pub(super) fn choose(&self, snapshot: &Snapshot, call: &Call, tried: &Tried) -> Result<Option<Chosen>> {
        if !tried.is_empty() || !snapshot.paused.is_empty() {
            let running = self.choose_among(snapshot, call, tried)?;
            return running.map(Chosen::of).transpose();
        }
        if snapshot.nodes.is_empty() {
            return Ok(None);
        }
        let place = self.settings.picker.pick(&snapshot.members, call)?;
        match snapshot.nodes.get(place) {
            Some(node) => Chosen::of(self.running(node, false)).map(Some),
            None => Err(no_such(place, snapshot.nodes.len())),
        }
    }

    /// The same where some are paused or were tried.
    #[cold]
    fn choose_among(&self, snapshot: &Snapshot, call: &Call, tried: &Tried) -> Result<Option<Running>> {
        let (picker, pause) = (&self.settings.picker, self.settings.pause);
        let at = self.at(Instant::now());
        let members = &snapshot.members;
        let is_free = |place: usize| snapshot.nodes.get(place).is_some_and(|node| !was_tried(tried, node));
        let is_open = |place: usize| is_free(place) && members.open().binary_search(&place).is_ok();
        let none_open = !members.open().iter().any(|place| is_free(*place));
        let is_ready = |place: &usize| {
            let node = snapshot.nodes.get(*place).filter(|_| is_free(*place));
            node.is_some_and(|node| node.is_ready(at, pause, none_open))
        };
        let ready: Vec<usize> = snapshot.paused.iter().copied().filter(is_ready).collect();
        let claim = |place: usize| {
            let node = snapshot.nodes.get(place).filter(|_| ready.contains(&place))?;
            node.member.health.claim(at).then(|| self.running(node, true))
        };
        if (none_open || !picker.follows_call())
            && let Some(probe) = ready.iter().find_map(|place| claim(*place))
        {
            return Ok(Some(probe));
        }
        if none_open {
            return Ok(None);
        }
        // Another look at the endpoints is made only where it differs.
        let place = if picker.follows_call() && !ready.is_empty() {
            picker.pick(&members.with_open(|place| is_open(place) || ready.contains(&place)), call)?
        } else if tried.is_empty() {
            picker.pick(members, call)?
        } else {
            picker.pick(&members.with_open(is_open), call)?
        };
        if place >= snapshot.nodes.len() {
            return Err(no_such(place, snapshot.nodes.len()));
        }
        if let Some(probe) = claim(place) {
            return Ok(Some(probe));
        }
        if is_open(place) {
            return Ok(snapshot.nodes.get(place).map(|node| self.running(node, false)));
        }
        // Where the call belongs nobody takes it now.
        let next = members.with_open(is_open).turn(crate::random::number());
        Ok(snapshot.nodes.get(next).map(|node| self.running(node, false)))
    }

    fn running(&self, node: &Arc<Node>, probe: bool) -> Running {
        node.member.begin();
        let begun = self.settings.picker.wants_latency().then(Instant::now);
        Running { node: Arc::clone(node), probe, begun }
    }

    /// The failure where no endpoint is left: each with its reason.
    #[cold]
    pub(super) fn nobody(&self, mut tried: Tried) -> Status {
        let snapshot = self.snapshot.load();
        if tried.len() == 1 && snapshot.nodes.len() <= 1 {
            return tried.remove(0).1;
        }
        if tried.is_empty() && snapshot.nodes.is_empty() {
            return Status::new(Code::Unavailable, "the client has no endpoints").not_begun();
        }
        let mut reasons: Vec<String> = Vec::new();
        for node in snapshot.nodes.iter().take(NAMED) {
            let failed = tried.iter().find(|(other, _)| Arc::ptr_eq(other, node));
            let reason = match (failed, node.member.health.reason()) {
                (Some((_, status)), _) => status.message().to_owned(),
                (None, Some(reason)) => format!("paused ({reason})"),
                (None, None) => "just back".to_owned(),
            };
            reasons.push(format!("{}: {reason}", node.member.endpoint().alias()));
        }
        let more = snapshot.nodes.len().saturating_sub(NAMED);
        if more > 0 {
            reasons.push(format!("and {more} more"));
        }
        let text = format!("no endpoint can be called: {}", reasons.join("; "));
        let last = tried.pop().map(|(_, status)| status);
        let code = last.as_ref().map_or(Code::Unavailable, Status::code);
        let status = Status::new(code, text).not_begun();
        match last.as_ref().and_then(Status::origin) {
            Some(origin) => status.at(origin.clone()),
            None => status,
        }
    }

    /// Waits until one endpoint is connected to; those that cannot be are paused.
    ///
    /// # Errors
    /// None can be.
    pub(super) async fn reach(&self, dial_timeout: Duration) -> Result<()> {
        let nodes = self.snapshot.load().nodes.clone();
        let mut tried = Tried::new();
        for node in nodes {
            let limit = Instant::now() + dial_timeout + Duration::from_secs(1);
            let channel = node.channel()?;
            let Err(status) = channel.ready(limit).await else { return Ok(()) };
            let verdict = Verdict {
                at: self.at(Instant::now()),
                probe: false,
                unreachable: true,
                reason: status.message().to_owned(),
            };
            if node.member.health.bad(verdict, self.settings.failures, self.settings.pause) {
                node.forget();
                self.refresh();
            }
            let status = counted(status, tried.len());
            tried.push((node, status));
        }
        Err(self.nobody(tried))
    }
}

/// A failure of attempt number `before` + 1.
fn counted(status: Status, before: usize) -> Status {
    let Some(origin) = status.origin().filter(|_| before > 0) else { return status };
    let attempt = origin.attempt.saturating_add(u32::try_from(before).unwrap_or(u32::MAX));
    let origin = Origin { attempt, ..origin.clone() };
    status.at(origin)
}

fn no_such(place: usize, endpoints: usize) -> Status {
    let text = format!("the picker chose endpoint {place} of {endpoints}");
    Status::new(Code::Internal, text).not_begun()
}

impl Chosen {
    /// # Errors
    /// No channel can be made, whoever is at the address.
    #[inline]
    fn of(running: Running) -> Result<Self> {
        let channel = running.node.channel()?;
        Ok(Self { running, channel })
    }
}

impl Running {
    /// What the call's end says about its endpoint.
    pub(super) fn judge(
        &mut self,
        inner: &Inner,
        call: Option<&Call>,
        outcome: Result<&Reply, &Status>,
        channel: &Channel,
    ) {
        let (member, settings) = (&self.node.member, &inner.settings);
        let unreachable = outcome.err().is_some_and(|status| {
            status.code() == Code::Unavailable && status.may_retry() && Node::is_lost(channel)
        });
        let well = !unreachable
            && match (&settings.check, call) {
                (Some(check), Some(call)) => check(call, outcome),
                _ => is_well(outcome),
            };
        // What was not begun took no time of the endpoint's.
        let begun = self.begun.filter(|_| !outcome.is_err_and(Status::may_retry));
        if let Some(begun) = begun {
            let now = Instant::now();
            let took = now.saturating_duration_since(begun);
            match (well, self.probe) {
                // What it took before the pause is of no interest any more.
                (true, true) => member.latency.restart(took, now),
                (true, false) => member.latency.sample(took, now),
                (false, _) => member.latency.penalise(took, now),
            }
        }
        self.node.prove(well);
        let probe = std::mem::take(&mut self.probe);
        if well {
            if member.health.good() {
                inner.refresh();
            }
            return;
        }
        let at = inner.at(Instant::now());
        let reason = match outcome {
            Err(status) => status.message().to_owned(),
            Ok(_) => "the health check says so".to_owned(),
        };
        let paused =
            member.health.bad(Verdict { at, probe, unreachable, reason }, settings.failures, settings.pause);
        if unreachable && (paused || probe) {
            self.node.forget();
        }
        if paused {
            inner.refresh();
        }
    }
}
