//! Where the answer to a call goes, and the calls of a connection that are being answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::task::AtomicWaker;
use trunkline_wire::saber::{self, Response};

use super::Shared;
use super::known::Known;
use super::line::{Line, Program, State};
use super::remote::RemoteNode;
use crate::service::reply_over_limit;
use crate::{Body, Code, Reply, Result, Status};

/// The way of answers to one caller's node.
#[derive(Debug, Clone)]
pub(super) enum Route {
    /// Our own connection to its listen address: it is in the table.
    Own(Arc<RemoteNode>),
    /// The connection that it called on.
    Back,
}

/// How many calls of a connection are being answered.
#[derive(Debug, Default)]
pub(super) struct Work {
    calls: AtomicUsize,
    /// The connection waits for one of them to end.
    waits: AtomicBool,
    task: AtomicWaker,
}

impl Work {
    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::Acquire)
    }

    /// Wakes the connection when a call has ended.
    pub(super) fn wait(&self, cx: &std::task::Context<'_>) {
        self.task.register(cx.waker());
        self.waits.store(true, Ordering::SeqCst);
    }
}

/// One call that is being answered, for as long as this lives.
struct InWork {
    own: Arc<Work>,
    shared: Arc<Shared>,
}

impl InWork {
    fn new(own: &Arc<Work>, shared: &Arc<Shared>) -> Self {
        own.calls.fetch_add(1, Ordering::AcqRel);
        shared.in_work.fetch_add(1, Ordering::AcqRel);
        Self { own: Arc::clone(own), shared: Arc::clone(shared) }
    }
}

impl Drop for InWork {
    fn drop(&mut self) {
        self.shared.in_work.fetch_sub(1, Ordering::AcqRel);
        self.own.calls.fetch_sub(1, Ordering::SeqCst);
        if self.own.waits.swap(false, Ordering::SeqCst) {
            self.own.task.wake();
        }
    }
}

/// What is kept of a call to write its answer.
pub(super) struct Answer {
    pub(super) route: Route,
    pub(super) back: Arc<Line>,
    /// Who is answered, as the response says it.
    pub(super) source: saber::Handle,
    pub(super) session: u32,
    pub(super) destination: saber::Handle,
    pub(super) method: Arc<Known>,
    work: InWork,
}

impl Answer {
    pub(super) fn new(
        route: Route,
        back: &Arc<Line>,
        request: &saber::Request<'_>,
        method: Arc<Known>,
        work: &Arc<Work>,
        shared: &Arc<Shared>,
    ) -> Self {
        Self {
            route,
            back: Arc::clone(back),
            source: request.destination,
            session: request.session,
            destination: request.source,
            method,
            work: InWork::new(work, shared),
        }
    }

    /// Writes what came of the call.
    pub(super) fn write(self, result: &Result<Reply>) {
        let head = Response {
            source: self.source,
            session: self.session,
            destination: self.destination,
            method: &self.method.method,
            failure: None,
        };
        write(&self.work.shared, &self.route, &self.back, &head, result);
    }
}

/// Writes an answer where it has to go.
pub(super) fn write(
    shared: &Shared,
    route: &Route,
    back: &Line,
    head: &Response<'_>,
    result: &Result<Reply>,
) {
    let append = |state: &mut State| append(shared, head, result, state);
    let taken = match route {
        Route::Own(remote) if remote.line.answer(append) => true,
        Route::Own(remote) if remote.want_now() => remote.line.answer(append),
        // The node cannot be reached where it should be, but it may read what comes back.
        _ => back.answer(append),
    };
    if !taken {
        shared.counts.answers_lost.fetch_add(1, Ordering::Relaxed);
    }
}

/// Appends the response frame. Every call gets one, whatever came of it.
fn append(shared: &Shared, head: &Response<'_>, result: &Result<Reply>, state: &mut State) {
    let out = &mut state.out;
    let limit = shared.limits.body;
    let failed = match result {
        Ok(Reply { body: Body::Full(body), .. }) if body.len() <= limit => {
            let written = saber::begin_response(head, out).and_then(|mark| {
                out.extend_from_slice(body);
                saber::finish(mark, limit, out)
            });
            match written {
                Ok(()) => return,
                Err(error) => Status::new(Code::Internal, error.to_string()),
            }
        }
        Ok(Reply { body: Body::Full(_), .. }) => reply_over_limit(limit),
        Ok(_) => Status::new(Code::Unsupported, "the saber wire cannot carry a streamed reply"),
        Err(status) => status.clone(),
    };
    if state.program == Program::Trunkline {
        saber::write_code(failed.wire_code(), out);
    }
    // The name of a method that came is never too long to go.
    let _ = saber::fail(head, failed.message(), out);
}
