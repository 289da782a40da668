//! One end of a connection between nodes, on the one driver: requests go to mailboxes, answers find their calls.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use trunkline_wire::Serialization;
use trunkline_wire::saber::{Decoder, Frame, Handle, Hello, Hint, Next, Request, Response, cluster_hash};

use super::Shared;
use super::answer::{self, Answer, Route, Work};
use super::known::KnownMethods;
use super::line::{Line, Phase, Program};
use super::remote::RemoteNode;
use crate::context::{ConnectionInfo, Context, MaybeMetadata};
use crate::net::buffers::share;
use crate::net::driver::{Close, Received, Role};
use crate::node::{Chain, Delivery, Destination, From as Origin, Slot};
use crate::server::drain::DrainWatch;
use crate::server::saber::Plain;
use crate::{Body, Call, Code, Reply, Result, Status};

/// What an accepted connection has beside what both ends have.
struct Caller {
    shared: Arc<Shared>,
    plain: Arc<dyn Plain>,
    info: Arc<ConnectionInfo>,
    /// What is written back on it.
    line: Arc<Line>,
    /// The server's stop. From this moment on the connection ends with its last call.
    drain: DrainWatch,
    draining: Option<Instant>,
    half_closed: bool,
}

/// How long a connection without calls stays when the server stops: long enough for what has arrived already.
const DRAIN: Duration = Duration::from_millis(5);

/// One end of a connection: the one that was dialled, or (`ANSWERS`) the one that was accepted.
pub(super) struct Peer<const ANSWERS: bool> {
    shared: Arc<Shared>,
    decoder: Decoder,
    /// The node at the other end, where it was dialled.
    remote: Option<Arc<RemoteNode>>,
    caller: Option<Box<Caller>>,
    /// Whose frames come on it: a connection speaks for one node.
    bound: Option<u32>,
    /// Where answers go, and which table said so.
    route: Option<(u64, Route)>,
    known: KnownMethods,
    /// What the next request has no room for.
    left: Option<u32>,
    chain: Chain,
    /// What kind of failure the next response is.
    code: Option<u16>,
    work: Arc<Work>,
    /// Callers whose calls have ended in this round.
    wakers: Vec<Waker>,
    /// Several were woken: they are let run before the task writes again.
    yields: bool,
    /// Our hello is still to be written.
    greets: bool,
    ends: bool,
}

impl Peer<false> {
    pub(super) fn dialled(shared: Arc<Shared>, remote: Arc<RemoteNode>) -> Self {
        let bound = Some(remote.hash);
        Self { remote: Some(remote), bound, greets: true, ..Self::new(shared) }
    }
}

impl Peer<true> {
    pub(super) fn accepted(
        shared: Arc<Shared>,
        info: Arc<ConnectionInfo>,
        plain: Arc<dyn Plain>,
        drain: DrainWatch,
    ) -> Self {
        let caller = Caller {
            shared: Arc::clone(&shared),
            plain,
            info,
            line: Arc::new(Line::new(Phase::Up, 0)),
            drain,
            draining: None,
            half_closed: false,
        };
        Self { caller: Some(Box::new(caller)), ..Self::new(shared) }
    }
}

impl<const ANSWERS: bool> Peer<ANSWERS> {
    fn new(shared: Arc<Shared>) -> Self {
        let decoder = Decoder::new(&shared.limits);
        Self {
            shared,
            decoder,
            remote: None,
            caller: None,
            bound: None,
            route: None,
            known: KnownMethods::default(),
            left: None,
            chain: Chain::default(),
            code: None,
            work: Arc::default(),
            wakers: Vec::new(),
            yields: false,
            greets: false,
            ends: false,
        }
    }

    /// What is written to this connection.
    fn line(&self) -> Option<&Line> {
        match (&self.remote, &self.caller) {
            (Some(remote), _) => Some(&remote.line),
            (_, Some(caller)) => Some(&caller.line),
            _ => None,
        }
    }

    fn on_frame(&mut self, next: &Next<'_>, batch: &Bytes) -> Result<(), Close> {
        match next {
            Next::Frame(Frame::Request(request, body)) => {
                self.bind(request.source)?;
                self.on_request(request, Ok(body), batch);
            }
            Next::RequestTooLarge(request, got) => {
                self.bind(request.source)?;
                self.on_request(request, Err(*got), batch);
            }
            Next::Frame(Frame::Response(response, body)) => {
                self.bind(response.source)?;
                self.on_response(response, Ok(body), batch);
            }
            Next::ResponseTooLarge(response, got) => {
                self.bind(response.source)?;
                self.on_response(response, Err(*got), batch);
            }
            Next::Frame(Frame::Hello(hello)) => self.on_hello(hello)?,
            Next::Frame(Frame::Hint(hint)) => self.on_hint(hint),
            Next::Frame(Frame::Code(code)) => self.code = Some(*code),
            Next::PassedOver => {
                self.shared.counts.passed_over.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        Ok(())
    }

    /// A connection speaks for the node that it spoke for first.
    fn bind(&mut self, source: Handle) -> Result<(), Close> {
        let hash = source.cluster();
        match self.bound {
            Some(bound) if bound == hash => Ok(()),
            None => {
                self.bound = Some(hash);
                Ok(())
            }
            Some(_) => Err(Close::Refused("a frame of another node than those before it")),
        }
    }

    fn on_hello(&mut self, hello: &Hello<'_>) -> Result<(), Close> {
        let said = cluster_hash(hello.cluster);
        if let Some(remote) = &self.remote {
            if *remote.name != *hello.cluster {
                tracing::warn!(address = %remote.address, is = hello.cluster, not = %remote.name, "another node");
                return Err(Close::Refused("there is a node of another name"));
            }
            remote.line.lock().program = Program::Trunkline;
            return Ok(());
        }
        if self.shared.collides(said, hello.cluster) {
            tracing::warn!(node = hello.cluster, "closed: its name has the hash of another node's");
            return Err(Close::Refused("the name of the node has the hash of another one's"));
        }
        self.bound.get_or_insert(said);
        if let Some(remote) = self.shared.by_hash(said) {
            // It is there: the next dial need not wait.
            remote.want();
        }
        if let (true, Some(line)) = (hello.asks, self.line()) {
            let own = Hello { asks: false, cluster: self.shared.node_name() };
            line.write(|state| {
                state.program = Program::Trunkline;
                own.encode(&mut state.out);
            });
        }
        Ok(())
    }

    #[cold]
    fn on_hint(&mut self, hint: &Hint<'_>) {
        self.left = hint.left;
        // A chain that cannot be read says nothing.
        self.chain = Chain::from_names(hint.chain.iter()).unwrap_or_default();
    }

    fn on_response(&mut self, response: &Response<'_>, body: Result<&&[u8], usize>, batch: &Bytes) {
        let (shared, code) = (&self.shared, self.code.take());
        let found = match &self.remote {
            // What comes here is bound to be its own.
            Some(remote) => Some(Arc::clone(remote)),
            None => shared.by_hash(response.source.cluster()),
        };
        let ended = found.and_then(|remote| {
            let outcome = || outcome(&remote, response, code, body, shared.limits.body, batch);
            let mut state = remote.line.lock();
            if state.program == Program::Unknown {
                state.program = Program::Other;
            }
            state.calls.end(response.session, response.source, response.destination, outcome)
        });
        match ended {
            Some(waker) => self.wakers.extend(waker),
            None => {
                shared.counts.stray_answers.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn on_request(&mut self, request: &Request<'_>, body: Result<&&[u8], usize>, batch: &Bytes) {
        let route = self.route();
        let (left, chain) = (self.left.take(), std::mem::take(&mut self.chain));
        let Some(caller) = &self.caller else {
            // Nobody calls on a connection that we have dialled.
            self.shared.counts.passed_over.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let (info, back) = (Arc::clone(&caller.info), Arc::clone(&caller.line));
        let stops = caller.draining.is_some_and(|at| at <= Instant::now());
        let refuse = |shared: &Shared, status: Status| {
            if request.session != 0 {
                let head = response_to(request);
                answer::write(shared, &route, &back, &head, &Err(status));
            }
        };
        if stops {
            return refuse(&self.shared, Status::new(Code::Draining, "the node stops").not_begun());
        }
        let body = match body {
            Ok(body) => share(batch, body),
            Err(got) => return refuse(&self.shared, too_large("request", got, self.shared.limits.body)),
        };
        let known = match self.known.find(&self.shared, &*caller.plain, request) {
            Ok(known) => known,
            Err(status) => return refuse(&self.shared, status),
        };
        let deadline = left.and_then(|left| Instant::now().checked_add(Duration::from_millis(left.into())));
        let call = Call {
            method: None,
            serialization: Serialization::Json,
            one_way: request.session == 0,
            idempotent: false,
            compress: false,
            streams: false,
            body: Body::Full(body),
            context: Context {
                deadline,
                metadata: MaybeMetadata::default(),
                connection: Some(info),
                names: known.names.clone(),
            },
        };
        let plain = known.is_plain;
        let answer = (request.session != 0)
            .then(|| Answer::new(route.clone(), &back, request, known, &self.work, &self.shared));
        if plain {
            return self.call_plain(call, answer);
        }
        let slot = answer.map(|answer| Slot::new(move |result| answer.write(&result)));
        let to = Destination::Handle(request.destination.0);
        // Where it is refused its slot has been answered.
        let _ = self.shared.node.deliver(to, Origin::Cluster, Delivery { call, chain, slot });
    }

    /// A service of the server's answers in a task of its own: the answer may go elsewhere than this connection.
    fn call_plain(&self, call: Call, answer: Option<Answer>) {
        let Some(caller) = &self.caller else { return };
        let answered = caller.plain.call(call);
        tokio::spawn(async move {
            let result = answered.await;
            if let Some(answer) = answer {
                answer.write(&result);
            }
        });
    }

    /// Where answers to this connection's node go by the table of now.
    fn route(&mut self) -> Route {
        let version = self.shared.version.load(Ordering::Acquire);
        if let Some((of, route)) = &self.route
            && *of == version
        {
            return route.clone();
        }
        let remote = self.bound.and_then(|hash| self.shared.by_hash(hash));
        let route = remote.map_or(Route::Back, Route::Own);
        self.route = Some((version, route.clone()));
        route
    }

    /// Whether no more is to be read before a call has ended, or answers were taken.
    fn must_wait(&mut self, cx: &TaskContext<'_>) -> bool {
        let Some(caller) = &self.caller else { return false };
        if self.work.calls() >= self.shared.limits.calls {
            self.work.wait(cx);
            if self.work.calls() >= self.shared.limits.calls {
                return true;
            }
        }
        let line = match &self.route {
            Some((_, Route::Own(remote))) => &remote.line,
            _ => &*caller.line,
        };
        line.poll_answers(cx).is_pending()
    }

    fn wake(&mut self) {
        self.yields |= self.wakers.len() > 1;
        self.wakers.drain(..).for_each(Waker::wake);
    }

    /// Whether the connection ends with its last call.
    fn is_ending(&self) -> bool {
        self.ends
            || self.caller.as_ref().is_some_and(|caller| {
                caller.half_closed || caller.draining.is_some_and(|at| at <= Instant::now())
            })
    }
}

fn response_to<'a>(request: &Request<'a>) -> Response<'a> {
    Response {
        source: request.destination,
        session: request.session,
        destination: request.source,
        method: request.method,
        failure: None,
    }
}

fn too_large(what: &str, got: usize, limit: usize) -> Status {
    let text = format!(
        "the {what}'s body of {got} bytes is over the limit of {limit} bytes (setting body_limit, flag --body-limit)"
    );
    Status::new(Code::TooLarge, text).not_begun()
}

/// The kind of a failure that a Go node tells by its text alone.
fn code_of(text: &str) -> Code {
    if text.starts_with("unknown rpc func ") { Code::NotFound } else { Code::of_go_text(text.as_bytes()) }
}

/// What a response says of its call.
fn outcome(
    remote: &RemoteNode,
    response: &Response<'_>,
    code: Option<u16>,
    body: Result<&&[u8], usize>,
    limit: usize,
    batch: &Bytes,
) -> Result<Reply> {
    if let Some((_, text)) = response.failure {
        let text = String::from_utf8_lossy(text).into_owned();
        return Err(match code {
            Some(code) => remote.at(Status::from_wire(code, text)),
            None => remote.status(code_of(&text), text),
        });
    }
    match body {
        Ok(body) => Ok(Reply::new(share(batch, body))),
        Err(got) => {
            let text = format!(
                "the reply's body of {got} bytes is over the limit of {limit} bytes (setting body_limit)"
            );
            Err(remote.status(Code::TooLarge, text))
        }
    }
}

impl<const ANSWERS: bool> Role for Peer<ANSWERS> {
    fn advance(&mut self, cx: &mut TaskContext<'_>, out: &mut Vec<u8>) -> Result<(), Close> {
        if std::mem::take(&mut self.greets) {
            Hello { asks: true, cluster: self.shared.node_name() }.encode(out);
        }
        if let Some(caller) = &mut self.caller
            && caller.draining.is_none()
            && caller.drain.poll_begun(cx).is_ready()
        {
            caller.draining = Some(Instant::now() + DRAIN);
        }
        let again = std::mem::take(&mut self.yields);
        self.ends |= self.line().is_some_and(|line| line.take(out, again, cx));
        if again {
            cx.waker().wake_by_ref();
        }
        if self.is_ending() {
            self.work.wait(cx);
        }
        Ok(())
    }

    fn advance_unsent(&mut self, cx: &mut TaskContext<'_>) -> bool {
        if let Some(line) = self.line() {
            line.watch(cx);
        }
        // Answers are read although the peer takes nothing: it may wait for just that.
        true
    }

    fn receive(
        &mut self,
        batch: &Bytes,
        start: usize,
        cx: &mut TaskContext<'_>,
        _: &mut Vec<u8>,
    ) -> Result<Received, Close> {
        let mut at = start;
        let received = loop {
            if self.must_wait(cx) {
                break Ok(Received::Blocked(at));
            }
            let step = match self.decoder.step(batch.get(at..).unwrap_or_default()) {
                Ok(step) => step,
                Err(error) => break Err(error.into()),
            };
            at = at.saturating_add(step.consumed);
            if let Next::NeedMore(frame) = step.next {
                break Ok(Received::Upto(at, frame));
            }
            if let Err(close) = self.on_frame(&step.next, batch) {
                break Err(close);
            }
        };
        self.wake();
        received
    }

    fn peer_ended(&mut self) -> bool {
        let Some(caller) = &mut self.caller else { return false };
        caller.half_closed = true;
        // Whoever is answered elsewhere may go.
        !matches!(self.route, Some((_, Route::Own(_)))) && self.work.calls() > 0
    }

    fn is_done(&self) -> bool {
        let written = || self.line().is_none_or(|line| line.lock().out.is_empty());
        self.is_ending() && self.work.calls() == 0 && written()
    }

    fn wake_at(&self, unsent: bool) -> Option<Instant> {
        let draining = self.caller.as_ref().and_then(|caller| caller.draining);
        draining.filter(|at| !unsent && Instant::now() < *at)
    }

    fn leaves(&self) -> bool {
        self.ends || self.caller.as_ref().is_some_and(|caller| caller.draining.is_some())
    }

    const ANSWERS: bool = ANSWERS;
}

impl Drop for Caller {
    /// Answers that have nowhere to go any more are counted; a node's own line is taken care of by its task.
    fn drop(&mut self) {
        let reason = Phase::Down("the connection is gone".into());
        let lost = self.line.lose(reason, || Err(Status::new(Code::Unavailable, "gone")));
        self.shared.counts.answers_lost.fetch_add(lost, Ordering::Relaxed);
    }
}
