//! Another node: one connection to its listen address, dialled again when it is lost, and the calls to it.
//!
//! A task of its own dials, one dial at a time and with decorrelated jitter, and no lock is held meanwhile: a node that
//! cannot be reached slows nobody. A call to it fails at once with the reason.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use trunkline_wire::saber::{self, Handle, Hint, Request, Response, cluster_hash};

use super::Shared;
use super::calls::Outcome;
use super::line::{Line, Phase, Program, State};
use super::role::Peer;
use crate::client::dial::{dial, next_wait};
use crate::net::Address;
use crate::net::buffers::share;
use crate::net::driver::{Connection, Patience};
use crate::node::Outbound;
use crate::{Body, Code, Origin, Reply, Result, Status};

/// The first wait after a failed dial: from this the next ones are drawn.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The longest wait between two dials.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// How soon after a dial a sign of life leads to the next one, and how soon a call that was refused does.
const SOONEST: Duration = Duration::from_millis(100);
const PATIENT: Duration = Duration::from_secs(1);

/// A connection that lasted this long was no short one: when it is lost, the next dial follows at once.
const SETTLED: Duration = Duration::from_secs(1);

const DIAL_TIMEOUT: Duration = Duration::from_secs(3);

/// Another node of the cluster.
#[derive(Debug)]
pub(super) struct RemoteNode {
    pub(super) name: Box<str>,
    pub(super) hash: u32,
    pub(super) address: Address,
    pub(super) line: Line,
    /// Told when it may be worth to dial now.
    wanted: Notify,
    /// A call may lead to a dial: the last one was some time ago.
    may_dial: AtomicBool,
    closed: CancellationToken,
}

/// A call is on its way under this session, or has to wait for room.
enum Begun {
    Yes(u32),
    Later,
}

impl RemoteNode {
    pub(super) fn new(name: &str, address: Address, calls: usize) -> Self {
        Self {
            name: name.into(),
            hash: cluster_hash(name),
            address,
            line: Line::new(Phase::Dialling, calls),
            wanted: Notify::new(),
            may_dial: AtomicBool::new(false),
            closed: CancellationToken::new(),
        }
    }

    pub(super) fn status(&self, code: Code, text: String) -> Status {
        self.at(Status::new(code, text))
    }

    /// Says that it failed here.
    pub(super) fn at(&self, status: Status) -> Status {
        status.at(Origin { address: self.address.to_string(), wire: saber::NAME, attempt: 1 })
    }

    fn down(&self, reason: &str) -> Status {
        self.status(Code::Unavailable, format!("the node {} cannot be reached: {reason}", self.name))
    }

    /// Makes a call. Whoever drops the future wants the answer no more.
    pub(super) async fn call(self: Arc<Self>, own: u32, outbound: Outbound) -> Outcome {
        let session = loop {
            match self.begin(own, &outbound)? {
                Begun::Yes(session) => break session,
                Begun::Later => self.line.room().await,
            }
        };
        Calling { remote: &self, session }.await
    }

    /// Sends a notify, or refuses it at once.
    pub(super) fn notify(&self, own: u32, outbound: &Outbound) -> Result<()> {
        let request = self.request(own, outbound);
        let body = self.body(outbound)?;
        let written = self.line.write(|state| {
            self.may_go(state)?;
            if state.is_full() {
                let text = format!("the node {} does not take what is written to it", self.name);
                return Err(self.status(Code::Limited, text).not_begun());
            }
            self.append(state, request, outbound, body)
        });
        written.inspect_err(|_| self.want())
    }

    fn begin(&self, own: u32, outbound: &Outbound) -> Result<Begun> {
        let request = self.request(own, outbound);
        let body = self.body(outbound)?;
        let begun = self.line.write(|state| {
            self.may_go(state)?;
            if state.is_full() {
                return Ok(Begun::Later);
            }
            let Some(session) = state.calls.insert(request.source, request.destination) else {
                let text = format!("too many calls to the node {} are in flight", self.name);
                return Err(self.status(Code::Limited, text).not_begun());
            };
            let appended = self.append(state, Request { session, ..request }, outbound, body);
            if appended.is_err() {
                state.calls.remove(session);
            }
            appended.map(|()| Begun::Yes(session))
        });
        if begun.as_ref().is_err_and(|status| status.code() == Code::Unavailable) {
            self.want();
        }
        begun
    }

    fn may_go(&self, state: &State) -> Result<()> {
        match &state.phase {
            Phase::Dialling | Phase::Up => Ok(()),
            Phase::Down(reason) => Err(self.down(reason).not_begun()),
            Phase::Stopping => {
                Err(self.status(Code::Draining, format!("the node {} stops", self.name)).not_begun())
            }
            Phase::Closing => Err(self.gone().not_begun()),
        }
    }

    fn request<'a>(&self, own: u32, outbound: &'a Outbound) -> Request<'a> {
        let source = match outbound.source {
            0 => Handle::of_hash(own, "trunkline", 0),
            source => Handle(source),
        };
        let destination = Handle::of_hash(self.hash, &outbound.service, u64::from(outbound.id));
        Request { source, session: 0, destination, method: outbound.call.method().as_bytes() }
    }

    fn body<'a>(&self, outbound: &'a Outbound) -> Result<&'a Bytes> {
        match &outbound.call.body {
            Body::Full(body) => Ok(body),
            Body::Stream(_) => {
                let text = "the saber wire cannot carry streams".to_owned();
                Err(self.status(Code::Unsupported, text).not_begun())
            }
        }
    }

    fn append(
        &self,
        state: &mut State,
        request: Request<'_>,
        outbound: &Outbound,
        body: &Bytes,
    ) -> Result<()> {
        let start = state.out.len();
        let deadline = outbound.call.context.deadline.filter(|_| request.session != 0);
        if state.program != Program::Other && (deadline.is_some() || !outbound.chain.is_empty()) {
            let left = deadline.map(|deadline| {
                let left = deadline.saturating_duration_since(Instant::now()).as_millis();
                u32::try_from(left.max(1)).unwrap_or(u32::MAX)
            });
            let names = outbound.chain.names();
            Hint::write(left, names.iter().map(|name| &**name), &mut state.out);
        }
        let out = &mut state.out;
        let written = saber::begin_request(&request, out).and_then(|mark| {
            out.extend_from_slice(body);
            saber::finish(mark, u32::MAX as usize - 4096, out)
        });
        written.map_err(|error| {
            out.truncate(start);
            self.status(Code::Unsupported, error.to_string()).not_begun()
        })
    }

    /// What a response says of its call.
    pub(super) fn outcome(
        &self,
        response: &Response<'_>,
        code: Option<u16>,
        body: Result<&&[u8], usize>,
        limit: usize,
        batch: &Bytes,
    ) -> Outcome {
        if let Some((_, text)) = response.failure {
            let text = String::from_utf8_lossy(text).into_owned();
            return Err(match code {
                Some(code) => self.at(Status::from_wire(code, text)),
                None => self.status(code_of(&text), text),
            });
        }
        match body {
            Ok(body) => Ok(Reply::new(share(batch, body))),
            Err(got) => {
                let text = format!(
                    "the reply's body of {got} bytes is over the limit of {limit} bytes (setting body_limit)"
                );
                Err(self.status(Code::TooLarge, text))
            }
        }
    }

    /// Somebody calls it although it is down: it is dialled now, if the last dial was some time ago.
    fn want(&self) {
        if self.may_dial.load(Ordering::Relaxed) {
            self.wanted.notify_one();
        }
    }

    /// There is a sign of life from the node: where it is not connected, it is dialled as soon as may be.
    pub(super) fn is_alive(&self) {
        self.wanted.notify_one();
    }

    /// As [`is_alive`](Self::is_alive), by somebody who has an answer that waits for the dial. Whether it may.
    pub(super) fn dial_for_answer(&self) -> bool {
        let state = &mut *self.line.lock();
        if matches!(state.phase, Phase::Down(_)) {
            state.phase = Phase::Dialling;
            self.wanted.notify_one();
        }
        state.is_open()
    }

    fn gone(&self) -> Status {
        self.status(Code::Unavailable, format!("the node {} was taken out of the table", self.name))
    }

    /// No more calls to the node; what was written still goes out, then the connection ends.
    pub(super) fn close(&self) {
        self.line.close(|| Err(self.gone()));
        self.closed.cancel();
    }

    /// Keeps the node connected until it is closed.
    pub(super) async fn keep_connected(self: Arc<Self>, shared: Weak<Shared>) {
        let mut wait = FIRST_WAIT;
        while !self.closed.is_cancelled() {
            self.may_dial.store(false, Ordering::Relaxed);
            let begun = Instant::now();
            let dialled = tokio::select! {
                biased;
                () = self.closed.cancelled() => return,
                dialled = dial(&self.address, DIAL_TIMEOUT) => dialled,
            };
            let reason = match dialled {
                Ok(stream) => {
                    let Some(shared) = shared.upgrade() else { return };
                    let connected = Instant::now();
                    let reason = self.use_connection(stream, &shared).await;
                    if connected.elapsed() >= SETTLED && !self.closed.is_cancelled() {
                        wait = FIRST_WAIT;
                        self.lost(&shared, Phase::Dialling, &reason, false);
                        continue;
                    }
                    self.lost(&shared, Phase::Down(reason.as_str().into()), &reason, false);
                    reason
                }
                Err(error) => {
                    let reason = error.to_string();
                    let Some(shared) = shared.upgrade() else { return };
                    self.lost(&shared, Phase::Down(reason.as_str().into()), &reason, true);
                    reason
                }
            };
            tracing::debug!(node = %self.name, address = %self.address, %reason, "not connected");
            wait = next_wait(wait).min(LAST_WAIT);
            self.pause(begun, wait).await;
        }
    }

    /// Waits for the next dial; less where the node shows that it is there, or somebody wants it.
    async fn pause(&self, begun: Instant, wait: Duration) {
        let all = Instant::now() + wait;
        let next = async {
            tokio::time::sleep_until(all.min(begun + SOONEST)).await;
            let wanted = async {
                tokio::time::sleep_until(begun + PATIENT).await;
                self.may_dial.store(true, Ordering::Relaxed);
                std::future::pending::<()>().await;
            };
            tokio::select! {
                biased;
                () = self.wanted.notified() => {}
                () = tokio::time::sleep_until(all) => {}
                () = wanted => {}
            }
        };
        tokio::select! {
            biased;
            () = self.closed.cancelled() => {}
            () = next => {}
        }
    }

    /// Runs a connection to its end; why it ended.
    async fn use_connection(
        self: &Arc<Self>,
        stream: crate::net::transport::Stream,
        shared: &Arc<Shared>,
    ) -> String {
        let role = Peer::<false>::dialled(Arc::clone(shared), Arc::clone(self));
        {
            let mut state = self.line.lock();
            if state.phase != Phase::Closing {
                state.phase = Phase::Up;
            }
        }
        // Where the task is dropped, callers learn it, too.
        let lost = Lost { remote: self, shared };
        let close = Connection::new(stream, role, &Patience::USUAL, Bytes::new()).run().await;
        std::mem::forget(lost);
        format!("the connection was lost: {close}")
    }

    fn lost(&self, shared: &Shared, phase: Phase, reason: &str, not_begun: bool) {
        let status = self.down(reason);
        let status = if not_begun { status.not_begun() } else { status };
        let answers = self.line.lose(phase, || Err(status.clone()));
        shared.counts.answers_lost.fetch_add(answers, Ordering::Relaxed);
    }
}

struct Lost<'a> {
    remote: &'a RemoteNode,
    shared: &'a Shared,
}

impl Drop for Lost<'_> {
    fn drop(&mut self) {
        let reason = "the program stops";
        self.remote.lost(self.shared, Phase::Down(reason.into()), reason, false);
    }
}

/// The kind of a failure that a Go node tells by its text alone.
fn code_of(text: &str) -> Code {
    if text.starts_with("unknown rpc func ") { Code::NotFound } else { Code::of_go_text(text.as_bytes()) }
}

/// A call that is on its way.
struct Calling<'a> {
    remote: &'a RemoteNode,
    session: u32,
}

impl Future for Calling<'_> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let ended = self.remote.line.lock().calls.poll(self.session, cx);
        ended.map(|outcome| {
            let twice = || Err(Status::new(Code::Internal, "the call was asked for twice"));
            outcome.unwrap_or_else(twice)
        })
    }
}

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        self.remote.line.lock().calls.remove(self.session);
    }
}
