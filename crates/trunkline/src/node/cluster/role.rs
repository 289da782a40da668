//! One end of a connection between nodes, on the one driver: requests go to mailboxes, answers find their calls.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use trunkline_wire::Serialization;
use trunkline_wire::saber::{
    Decoder, Frame, Handle, Hello, Hint, Next, Request, Response, cluster_hash, write_stop,
};

use super::Shared;
use super::answer::{Answer, Way, Work};
use super::caller::{Caller, DRAIN, TOLD};
use super::known::{KnownMethods, Place};
use super::line::{Line, Phase, Program};
use super::remote::RemoteNode;
use crate::context::{ConnectionInfo, Context, MaybeMetadata};
use crate::net::buffers::share;
use crate::net::driver::{Close, Received, Role};
use crate::node::{Chain, Delivery, Slot};
use crate::server::drain::DrainWatch;
use crate::server::saber::Plain;
use crate::{Body, Call, Code, Result, Status};

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
    way: Option<(u64, Arc<Way>)>,
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
        let work = shared.new_work();
        Self { caller: Some(Box::new(caller)), work, ..Self::new(shared) }
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
            way: None,
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
            Next::Frame(Frame::Stop) => self.on_stop(),
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
            remote.is_alive();
        }
        let stops = self.caller.as_mut().is_some_and(|caller| caller.gives_time());
        if let (true, Some(line)) = (hello.asks, self.line()) {
            let own = Hello { asks: false, cluster: self.shared.node_name() };
            line.write(|state| {
                state.program = Program::Trunkline;
                own.encode(&mut state.out);
                if stops {
                    // It came while the node was stopping already.
                    write_stop(&mut state.out);
                }
            });
        }
        Ok(())
    }

    /// The node that we have dialled stops; or a caller has heard that we do.
    #[cold]
    fn on_stop(&mut self) {
        if let Some(remote) = &self.remote {
            remote.line.no_more_calls();
        }
        if let Some(until) = self.caller.as_mut().and_then(|caller| caller.draining.as_mut()) {
            *until = Instant::now().min(*until);
        }
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
            let outcome = || remote.outcome(response, code, body, shared.limits.body, batch);
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
        let (left, chain) = (self.left.take(), std::mem::take(&mut self.chain));
        let deadline = left.and_then(|left| Instant::now().checked_add(Duration::from_millis(left.into())));
        if let Err(status) = self.begin(request, body, batch, deadline, chain)
            && request.session != 0
            && let Some(way) = self.way()
        {
            way.write(&response_to(request), Err(&status));
        }
    }

    /// Gives a call to its service, which answers it; or fails.
    fn begin(
        &mut self,
        request: &Request<'_>,
        body: Result<&&[u8], usize>,
        batch: &Bytes,
        deadline: Option<Instant>,
        chain: Chain,
    ) -> Result<()> {
        let way = self.way();
        let (Some(caller), Some(way)) = (&self.caller, way) else {
            // Nobody calls on a connection that we have dialled.
            self.shared.counts.passed_over.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        };
        if caller.draining.is_some_and(|at| at <= Instant::now()) {
            return Err(Status::new(Code::Draining, "the node stops").not_begun());
        }
        self.shared.node.admits()?;
        let body = match body {
            Ok(body) => share(batch, body),
            Err(got) => return Err(too_large("request", got, self.shared.limits.body)),
        };
        let known = self.known.find(&self.shared, &*caller.plain, request)?;
        let answer = (request.session != 0).then(|| Answer::new(way, request, Arc::clone(known)));
        let method = match &known.place {
            Place::Mailbox(_, method) => Some(*method),
            Place::Plain => None,
        };
        let call = Call {
            method,
            serialization: Serialization::Json,
            one_way: request.session == 0,
            idempotent: false,
            compress: false,
            streams: false,
            body: Body::Full(body),
            context: Context {
                deadline,
                metadata: MaybeMetadata::default(),
                connection: Some(Arc::clone(&caller.info)),
                names: known.names.clone(),
            },
        };
        match &known.place {
            Place::Plain => call_plain(caller, call, answer),
            // Where it is refused its slot has been answered.
            Place::Mailbox(service, _) => {
                let _ = service.deliver(Delivery { call, chain, slot: answer.map(Slot::cluster) });
            }
        }
        Ok(())
    }

    /// Where answers to this connection's node go by the table of now. Nowhere, where it was dialled.
    fn way(&mut self) -> Option<Arc<Way>> {
        let version = self.shared.version.load(Ordering::Acquire);
        if let Some((of, way)) = &self.way
            && *of == version
        {
            return Some(Arc::clone(way));
        }
        let caller = self.caller.as_ref()?;
        let way = Arc::new(Way {
            shared: Arc::clone(&self.shared),
            own: self.bound.and_then(|hash| self.shared.by_hash(hash)),
            back: Arc::clone(&caller.line),
            work: Arc::clone(&self.work),
        });
        self.way = Some((version, Arc::clone(&way)));
        Some(way)
    }

    /// Whether no more is to be read before a call has ended.
    fn must_wait(&self, cx: &TaskContext<'_>) -> bool {
        let is_full = || self.work.calls() >= self.shared.limits.calls;
        is_full() && {
            self.work.wait(cx);
            is_full()
        }
    }

    /// Whether no more is to be read before answers were taken.
    fn must_hold(&self, cx: &TaskContext<'_>) -> bool {
        let Some(caller) = &self.caller else { return false };
        let own = self.way.as_ref().and_then(|(_, way)| way.own.as_ref());
        own.map_or(&*caller.line, |remote| &remote.line).poll_answers(cx).is_pending()
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

/// A service of the server's answers in a task of its own: the answer may go elsewhere than this connection.
fn call_plain(caller: &Caller, call: Call, answer: Option<Answer>) {
    let answered = caller.plain.call(call);
    tokio::spawn(async move {
        let result = answered.await;
        if let Some(answer) = answer {
            answer.write(&result);
        }
    });
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

impl<const ANSWERS: bool> Role for Peer<ANSWERS> {
    fn advance(&mut self, cx: &mut TaskContext<'_>, out: &mut Vec<u8>) -> Result<(), Close> {
        if std::mem::take(&mut self.greets) {
            Hello { asks: true, cluster: self.shared.node_name() }.encode(out);
        }
        if let Some(caller) = &mut self.caller
            && caller.draining.is_none()
            && caller.drain.poll_begun(cx).is_ready()
        {
            let tells = caller.line.lock().program == Program::Trunkline;
            if tells {
                write_stop(out);
            }
            caller.draining = Some(Instant::now() + if tells { TOLD } else { DRAIN });
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
        // Once a batch: what it can add to the answers before the services have run is little.
        if self.must_hold(cx) {
            return Ok(Received::Blocked(at));
        }
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
        if self.is_ending() {
            self.work.wait(cx);
        }
        received
    }

    fn peer_ended(&mut self) -> bool {
        let Some(caller) = &mut self.caller else { return false };
        caller.half_closed = true;
        // Whoever is answered elsewhere may go.
        self.way.as_ref().is_none_or(|(_, way)| way.own.is_none()) && self.work.calls() > 0
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
