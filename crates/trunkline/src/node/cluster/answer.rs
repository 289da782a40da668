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

/// What the answers to the calls of one connection have in common, by the table of nodes of a moment.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) shared: Arc<Shared>,
    /// Our own connection to the caller's listen address, where it is in the table: answers go there.
    pub(super) own: Option<Arc<RemoteNode>>,
    /// The connection that it called on: answers go there otherwise.
    pub(super) back: Arc<Line>,
    pub(super) work: Arc<Work>,
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
        self.calls.load(Ordering::SeqCst)
    }

    /// Wakes the connection when a call has ended.
    pub(super) fn wait(&self, cx: &std::task::Context<'_>) {
        self.task.register(cx.waker());
        self.waits.store(true, Ordering::SeqCst);
    }
}

/// What is kept of a call to write its answer. For as long as it lives the call is being answered.
pub(crate) struct Answer {
    way: Arc<Way>,
    method: Arc<Known>,
    /// Who is answered, as the response says it.
    source: saber::Handle,
    destination: saber::Handle,
    session: u32,
}

impl Answer {
    pub(super) fn new(way: Arc<Way>, request: &saber::Request<'_>, method: Arc<Known>) -> Self {
        way.work.calls.fetch_add(1, Ordering::SeqCst);
        let (source, destination) = (request.destination, request.source);
        Self { way, method, source, destination, session: request.session }
    }

    /// The most bytes that the body of a reply may have.
    pub(crate) fn limit(&self) -> usize {
        self.way.shared.limits.body
    }

    /// Writes what came of the call.
    pub(crate) fn write(self, result: &Result<Reply>) {
        match result {
            Ok(Reply { body: Body::Full(body), .. }) => self.reply(body),
            Ok(_) => {
                let text = "the saber wire cannot carry a streamed reply";
                self.way.write(&self.head(), Err(&Status::new(Code::Unsupported, text)));
            }
            Err(status) => self.way.write(&self.head(), Err(status)),
        }
    }

    /// Writes a reply of this body.
    pub(crate) fn reply(self, body: &[u8]) {
        self.way.write(&self.head(), Ok(body));
    }

    fn head(&self) -> Response<'_> {
        Response {
            source: self.source,
            session: self.session,
            destination: self.destination,
            method: &self.method.method,
            failure: None,
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let work = &self.way.work;
        work.calls.fetch_sub(1, Ordering::SeqCst);
        // Looked at first: mostly nobody waits, and a swap costs more.
        if work.waits.load(Ordering::SeqCst) && work.waits.swap(false, Ordering::SeqCst) {
            work.task.wake();
        }
    }
}

impl Way {
    /// Writes an answer where it has to go: the body of a reply, or why there is none.
    pub(super) fn write(&self, head: &Response<'_>, said: Result<&[u8], &Status>) {
        let append = |state: &mut State| append(self.shared.limits.body, head, said, state);
        let taken = match &self.own {
            Some(remote) if remote.line.answer_at_once(append) => true,
            own => self.write_otherwise(own.as_deref(), append),
        };
        if !taken {
            self.shared.counts.answers_lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The caller's node is not connected to: by the connection of the call, where its program reads answers there, or by
    /// the next one of our own.
    #[cold]
    fn write_otherwise(&self, own: Option<&RemoteNode>, append: impl Fn(&mut State)) -> bool {
        let reads = self.back.lock().program == Program::Trunkline;
        match own {
            Some(_) if reads && self.back.answer(&append) => true,
            Some(remote) if remote.line.answer(&append) => true,
            Some(remote) if remote.dial_for_answer() => remote.line.answer(append),
            // The node cannot be reached where it should be, but it may read what comes back.
            _ => self.back.answer(append),
        }
    }
}

/// Appends the response frame. Every call gets one, whatever came of it.
fn append(limit: usize, head: &Response<'_>, said: Result<&[u8], &Status>, state: &mut State) {
    let out = &mut state.out;
    let unsaid;
    let failed = match said {
        Ok(body) if body.len() <= limit => {
            let written = saber::begin_response(head, out).and_then(|mark| {
                out.extend_from_slice(body);
                saber::finish(mark, limit, out)
            });
            let Err(error) = written else { return };
            unsaid = Status::new(Code::Internal, error.to_string());
            &unsaid
        }
        Ok(_) => {
            unsaid = reply_over_limit(limit);
            &unsaid
        }
        Err(status) => status,
    };
    if state.program == Program::Trunkline {
        saber::write_code(failed.wire_code(), out);
    }
    // The name of a method that came is never too long to go.
    let _ = saber::fail(head, failed.message(), out);
}
