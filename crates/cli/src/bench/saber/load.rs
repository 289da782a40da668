//! The callers of a run, and the connections that their frames go over.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use trunkline::Limits;
use trunkline::wire::saber::{Decoder, Frame, Handle, Hello, Next, Request, Response, begin_request, finish};

use super::super::figures::{Fault, Figures};
use super::super::plan::Stop;
use super::super::thread::{BATCH, Times, nanos};
use super::{FIRST_CALLER, FIRST_SERVICE, NAME, Plan};
use crate::exit::Failure;

/// How often calls that take too long are looked for.
const TICK: Duration = Duration::from_millis(50);

/// The most latencies that are kept for saber's report; further calls are in the usual one alone.
const MOST_LATENCIES: usize = 20_000_000;

/// What a run has counted.
pub(super) struct Done {
    pub(super) figures: Figures,
    /// Each call's, in microseconds.
    pub(super) latencies: Vec<u32>,
    /// Bytes of the answers' bodies.
    pub(super) body_bytes: u64,
}

/// A service that calls: one call at a time.
struct Caller {
    handle: Handle,
    destination: Handle,
    /// The frame of its call up to the body, whose session is put in.
    body: usize,
    session: u32,
    begun: u64,
    /// Calls that it may still begin.
    left: u64,
    waits: bool,
}

pub(super) struct Load<'a> {
    plan: &'a Plan,
    times: Times,
    stream: TcpStream,
    listener: TcpListener,
    /// Connections of nodes that answer over their own; the first is the one that was dialled.
    decoders: Vec<Decoder>,
    accepted: Vec<TcpStream>,
    callers: Vec<Caller>,
    by_handle: HashMap<u64, usize>,
    bodies: Vec<Vec<u8>>,
    out: Vec<u8>,
    sent: usize,
    /// How many callers wait for an answer.
    waiting: usize,
    done: Done,
}

impl<'a> Load<'a> {
    pub(super) fn new(plan: &'a Plan, stream: TcpStream, listener: TcpListener, times: Times) -> Self {
        let left = match plan.stop {
            Stop::Calls(calls) => calls,
            Stop::After(_) => u64::MAX,
        };
        let mut bodies = plan.bodies.clone();
        let mut callers = Vec::new();
        for number in 0..plan.callers {
            let id = FIRST_CALLER.saturating_add(number);
            let called = plan.services.map_or(plan.id, |services| FIRST_SERVICE + id % services);
            if plan.bodies.is_empty() {
                let name = fastrand::u32(..);
                let gid = 10_100_000_u64 + u64::from(id);
                bodies.push(format!("{{\"Gid\":{gid},\"Name\":\"{name:08x}\"}}").into_bytes());
            }
            callers.push(Caller {
                handle: Handle::new(&plan.node, NAME, u64::from(id)),
                destination: Handle::new(&plan.target.cluster, &plan.service, u64::from(called)),
                body: usize::try_from(number).unwrap_or(0) % bodies.len().max(1),
                session: 0,
                begun: 0,
                left,
                waits: false,
            });
        }
        let by_handle = callers.iter().enumerate().map(|(index, caller)| (caller.handle.0, index)).collect();
        let mut out = Vec::new();
        Hello { asks: true, cluster: &plan.node }.encode(&mut out);
        let figures = Figures::new(times.begin, false);
        Self {
            plan,
            times,
            stream,
            listener,
            decoders: vec![Decoder::new(&Limits::default())],
            accepted: Vec::new(),
            callers,
            by_handle,
            bodies,
            out,
            sent: 0,
            waiting: 0,
            done: Done { figures, latencies: Vec::new(), body_bytes: 0 },
        }
    }

    /// Makes calls until all are done.
    pub(super) async fn run(mut self) -> Result<Done, Failure> {
        let mut ticks = tokio::time::interval(TICK);
        for index in 0..self.callers.len() {
            self.begin(index, self.times.now());
        }
        let mut input = vec![0; BATCH];
        while self.waiting > 0 {
            if let Err(error) = self.write() {
                self.lost(&error.to_string());
                break;
            }
            let unsent = self.sent < self.out.len();
            let ready = tokio::select! {
                biased;
                ready = ready(&mut self.stream, &mut self.accepted, unsent, &mut input) => ready,
                accepted = self.listener.accept() => {
                    if let Ok((stream, _)) = accepted {
                        self.accepted.push(stream);
                        self.decoders.push(Decoder::new(&Limits::default()));
                    }
                    continue;
                }
                _ = ticks.tick() => {
                    self.expire();
                    continue;
                }
            };
            match ready {
                Ready::Writable => {}
                Ready::Read(index, Ok(n @ 1..)) => {
                    self.read(index, input.get(..n).unwrap_or_default()).await?;
                }
                Ready::Read(0, ended) => {
                    self.lost(
                        &ended.map_or_else(|error| error.to_string(), |_| "connection closed".to_owned()),
                    );
                    break;
                }
                Ready::Read(index, _) => {
                    self.accepted.remove(index - 1);
                    self.decoders.remove(index);
                }
            }
        }
        Ok(self.done)
    }

    /// Deals with what one connection has sent; the rest of a frame is read to its end.
    async fn read(&mut self, index: usize, input: &[u8]) -> Result<(), Failure> {
        self.done.figures.bytes_in += input.len() as u64;
        let mut at = self.frames(index, input)?;
        let mut rest = input.get(at..).unwrap_or_default().to_vec();
        while !rest.is_empty() && self.more(index, &mut rest).await {
            at = self.frames(index, &rest)?;
            rest.drain(..at);
        }
        Ok(())
    }

    /// Deals with whole frames; how long they are.
    fn frames(&mut self, index: usize, input: &[u8]) -> Result<usize, Failure> {
        let now = self.times.now();
        let mut at = 0;
        loop {
            let Some(decoder) = self.decoders.get_mut(index) else { return Ok(input.len()) };
            let address = &self.plan.target.address;
            let step = decoder.step(input.get(at..).unwrap_or_default());
            let step = step.map_err(|error| Failure::transport(format!("{address}: {error}")))?;
            at += step.consumed;
            match step.next {
                Next::Frame(Frame::Response(response, body)) => self.answered(&response, body.len(), now),
                Next::ResponseTooLarge(response, _) => self.answered(&response, 0, now),
                Next::Frame(Frame::Hello(hello))
                    if index == 0 && *hello.cluster != *self.plan.target.cluster =>
                {
                    let text =
                        format!("{address} is the node {}, not {}", hello.cluster, self.plan.target.cluster);
                    return Err(Failure::transport(text));
                }
                Next::NeedMore(_) => return Ok(at),
                _ => {}
            }
        }
    }

    /// Reads more of a begun frame; whether there was more.
    async fn more(&mut self, index: usize, rest: &mut Vec<u8>) -> bool {
        use tokio::io::AsyncReadExt as _;
        let stream = match index.checked_sub(1) {
            None => Some(&mut self.stream),
            Some(accepted) => self.accepted.get_mut(accepted),
        };
        let Some(stream) = stream else { return false };
        let before = rest.len();
        let read = stream.read_buf(rest).await;
        self.done.figures.bytes_in += (rest.len() - before) as u64;
        matches!(read, Ok(1..))
    }

    fn begin(&mut self, index: usize, now: u64) {
        let over = now >= self.times.end;
        let Some(caller) = self.callers.get_mut(index) else { return };
        if caller.left == 0 || over {
            return;
        }
        caller.left -= 1;
        caller.session = caller.session.checked_add(1).unwrap_or(1);
        caller.begun = now;
        caller.waits = true;
        self.waiting += 1;
        let request = Request {
            source: caller.handle,
            session: caller.session,
            destination: caller.destination,
            method: self.plan.method.as_bytes(),
        };
        let before = self.out.len();
        // The name's length was checked, and no body is over what a frame can say.
        if let Ok(mark) = begin_request(&request, &mut self.out) {
            self.out.extend_from_slice(self.bodies.get(caller.body).map(Vec::as_slice).unwrap_or_default());
            let _ = finish(mark, usize::MAX, &mut self.out);
        }
        self.done.figures.bytes_out += (self.out.len() - before) as u64;
        self.done.figures.started(now, now);
    }

    fn answered(&mut self, response: &Response<'_>, body: usize, now: u64) {
        let found = self.by_handle.get(&response.destination.0).copied();
        let caller = found.and_then(|index| Some((index, self.callers.get_mut(index)?)));
        let waits = |caller: &Caller| {
            caller.waits && caller.session == response.session && caller.destination == response.source
        };
        let Some((index, caller)) = caller.filter(|(_, caller)| waits(caller)) else {
            self.done.figures.strays += 1;
            return;
        };
        let begun = caller.begun;
        caller.waits = false;
        self.waiting -= 1;
        self.done.body_bytes += body as u64;
        match response.failure {
            None => self.done.figures.answered(begun, now),
            Some((_, text)) => {
                let text = String::from_utf8_lossy(text);
                self.done.figures.failed_call(begun, now, Fault::Service, &text);
            }
        }
        self.took(begun, now);
        self.begin(index, now);
    }

    fn took(&mut self, begun: u64, now: u64) {
        if begun >= self.times.begin && self.done.latencies.len() < MOST_LATENCIES {
            let micros = now.saturating_sub(begun) / 1000;
            self.done.latencies.push(u32::try_from(micros).unwrap_or(u32::MAX));
        }
    }

    /// Calls that take too long have failed; their callers go on.
    fn expire(&mut self) {
        let now = self.times.now();
        let timeout = nanos(self.plan.timeout);
        for index in 0..self.callers.len() {
            let Some(caller) = self.callers.get_mut(index) else { return };
            if caller.waits && now.saturating_sub(caller.begun) >= timeout {
                let begun = caller.begun;
                caller.waits = false;
                self.waiting -= 1;
                self.done.figures.failed_call(begun, now, Fault::Timeout, "timeout");
                self.took(begun, now);
                self.begin(index, now);
            }
        }
    }

    /// The connection is gone, and all that was on it.
    fn lost(&mut self, why: &str) {
        let now = self.times.now();
        for caller in self.callers.iter_mut().filter(|caller| caller.waits) {
            caller.waits = false;
            self.done.figures.failed_call(caller.begun, now, Fault::Transport, why);
        }
        self.waiting = 0;
    }

    /// Writes what the socket takes.
    fn write(&mut self) -> io::Result<()> {
        while let Some(rest) = self.out.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.try_write(rest) {
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }
}

/// What a connection is ready for.
enum Ready {
    /// Something was read, from the connection of this number.
    Read(usize, io::Result<usize>),
    /// The one that calls go over takes more.
    Writable,
}

/// Reads from whichever connection has something.
async fn ready(stream: &mut TcpStream, accepted: &mut [TcpStream], unsent: bool, input: &mut [u8]) -> Ready {
    std::future::poll_fn(|cx| {
        // The connections that only answer come first.
        let others = accepted.iter_mut().enumerate().map(|(index, stream)| (index + 1, stream));
        for (index, stream) in others.chain(std::iter::once((0, &mut *stream))) {
            let mut buffer = ReadBuf::new(input);
            if let Poll::Ready(read) = Pin::new(stream).poll_read(cx, &mut buffer) {
                let n = buffer.filled().len();
                return Poll::Ready(Ready::Read(index, read.map(|()| n)));
            }
        }
        match unsent && stream.poll_write_ready(cx).is_ready() {
            true => Poll::Ready(Ready::Writable),
            false => Poll::Pending,
        }
    })
    .await
}
