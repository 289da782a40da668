//! A call of a mailbox service, and a notify: made by typed handles.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::answer::{Ticket, dropped};
use super::handle::{Elsewhere, Handle, Target};
use super::mailbox::{Envelope, Message, Shared};
use super::settings::Overflow;
use super::timers::{Action, Once, Repeat, Ticking, Timer};
use super::wheel::Key;
use super::{Inner, current};
use crate::service::BoxFuture;
use crate::typed::{Argument, FromReply};
use crate::{Body, Code, Reply, Result, Status};

/// How a message is made of an argument and the place for its answer.
pub(super) type Make<M, A, R> = fn(A, Option<Ticket<R>>) -> M;

/// A call that is about to be made. Nothing happens until it is awaited.
///
/// It ends with the service's answer, or with a status that says why there is none: at the latest when its time is over
/// (10 s unless the node or [`timeout`](Self::timeout) says otherwise, and never later than the call that the calling
/// handler works for). Dropping it stops its handler at the handler's next `await`, within a node.
///
/// # Errors
/// Besides the handler's own: [`Code::Limited`] the mailbox is full (not begun), [`Code::Unavailable`] the service has
/// stopped, [`Code::DeadlineExceeded`], [`Code::Internal`] the handler panicked, [`Code::Failed`] `cycle: a → b → a`.
#[must_use = "a call is made when it is awaited"]
pub struct Calling<'a, M, A, R> {
    target: &'a Handle<M>,
    method: &'static str,
    make: Make<M, A, R>,
    argument: Option<A>,
    timeout: Option<Duration>,
    state: State<R>,
}

enum State<R> {
    New,
    Local { answer: oneshot::Receiver<Result<R>>, wait: Wait },
    Remote { answer: BoxFuture<'static>, wait: Wait },
    Ended,
}

/// The deadline of a call that has been made.
struct Wait {
    deadline: Instant,
    timer: Option<Key>,
}

impl Wait {
    /// Whether the time is over; if not, the caller's task is woken then.
    fn poll(&mut self, node: &Inner, waker: &Waker) -> bool {
        match self.timer {
            // Whoever asks with a waker that does nothing asks again.
            None if waker.will_wake(Waker::noop()) => false,
            None => {
                self.timer = node.timers.insert(self.deadline, Action::Wake(waker.clone()));
                self.timer.is_none()
            }
            Some(_) if Instant::now() >= self.deadline => true,
            Some(key) => {
                node.timers.renew(key, waker);
                false
            }
        }
    }

    fn cancel(&mut self, node: &Inner) {
        if let Some(key) = self.timer.take() {
            node.timers.cancel(key);
        }
    }
}

impl<M, A, R> Unpin for Calling<'_, M, A, R> {}

impl<'a, M: Message, A, R> Calling<'a, M, A, R> {
    /// For generated code.
    #[doc(hidden)]
    pub fn new(target: &'a Handle<M>, method: &'static str, make: Make<M, A, R>, argument: A) -> Self {
        Self { target, method, make, argument: Some(argument), timeout: None, state: State::New }
    }

    /// The call may take this long from the moment that it is made.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = Some(time);
        self
    }

    fn deadline(&self) -> Instant {
        let now = Instant::now();
        let time = self.timeout.unwrap_or_else(|| self.target.call_timeout());
        let own = now.checked_add(time).unwrap_or_else(|| now + Duration::from_secs(100 * 365 * 86_400));
        current::deadline().map_or(own, |outer| outer.min(own))
    }

    fn begin_local(&mut self, shared: &Shared<M>, argument: A) -> Result<State<R>> {
        let chain = current::chain()?;
        if !chain.is_empty() {
            shared.check_cycle(&chain)?;
        }
        let deadline = self.deadline();
        let (sender, answer) = oneshot::channel();
        shared.push(Envelope::Message((self.make)(argument, Some(Ticket::new(sender, deadline, chain)))))?;
        Ok(State::Local { answer, wait: Wait { deadline, timer: None } })
    }
}

impl<M: Message, A: Argument, R: FromReply> Calling<'_, M, A, R> {
    fn begin(&mut self) -> Result<State<R>> {
        let Some(argument) = self.argument.take() else { return Ok(State::Ended) };
        match &self.target.0 {
            Target::Local(shared) => self.begin_local(shared, argument),
            Target::Remote(elsewhere) => {
                let chain = current::chain()?;
                let deadline = self.deadline();
                let body = argument.into_body(elsewhere.serialization);
                let body = body.map_err(|error| elsewhere.unsaid(self.method, &error))?;
                let mut outbound = elsewhere.outbound(self.method, body, chain);
                outbound.call.context.deadline = Some(deadline);
                let answer = elsewhere.remote()?.call(outbound);
                Ok(State::Remote { answer, wait: Wait { deadline, timer: None } })
            }
        }
    }

    fn read(&self, elsewhere: &Elsewhere, reply: Reply) -> Result<R> {
        let value = match reply.into_body() {
            body @ Body::Full(_) => R::from_body(elsewhere.serialization, body),
            Body::Stream(_) => Err(crate::codec::Error::body("", "the body is a stream")),
        };
        value.map_err(|error| {
            let status = Status::from(error);
            let text = format!("the reply of {}.{}: {}", elsewhere.name(), self.method, status.message());
            Status::new(status.code(), text)
        })
    }

    fn poll_made(&mut self, cx: &mut Context<'_>) -> Poll<Result<R>> {
        match (&mut self.state, &self.target.0) {
            (State::Local { answer, wait }, Target::Local(shared)) => {
                if let Poll::Ready(answer) = Pin::new(answer).poll(cx) {
                    return Poll::Ready(answer.unwrap_or_else(|_| Err(dropped())));
                }
                if wait.poll(&shared.core.node, cx.waker()) {
                    return Poll::Ready(Err(shared.core.expired()));
                }
                current::waits_for(shared.core.identity.handle());
                Poll::Pending
            }
            (State::Remote { answer, wait }, Target::Remote(elsewhere)) => {
                if let Poll::Ready(reply) = answer.as_mut().poll(cx) {
                    let elsewhere = Arc::clone(elsewhere);
                    return Poll::Ready(reply.and_then(|reply| self.read(&elsewhere, reply)));
                }
                if wait.poll(&elsewhere.node, cx.waker()) {
                    let text = format!("{} did not answer in time", elsewhere.name());
                    return Poll::Ready(Err(Status::new(Code::DeadlineExceeded, text)));
                }
                current::waits_for(super::handle_of(&elsewhere.cluster, &elsewhere.service, elsewhere.id));
                Poll::Pending
            }
            _ => Poll::Pending,
        }
    }
}

impl<M, A, R> Calling<'_, M, A, R> {
    fn end(&mut self) {
        let node = match &self.target.0 {
            Target::Local(shared) => &shared.core.node,
            Target::Remote(elsewhere) => &elsewhere.node,
        };
        if let State::Local { wait, .. } | State::Remote { wait, .. } = &mut self.state {
            wait.cancel(node);
        }
        self.state = State::Ended;
    }
}

impl<M: Message, A: Argument, R: FromReply> Future for Calling<'_, M, A, R> {
    type Output = Result<R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<R>> {
        let this = &mut *self;
        if let State::New = this.state {
            match this.begin() {
                Ok(state) => this.state = state,
                Err(status) => {
                    this.state = State::Ended;
                    return Poll::Ready(Err(status));
                }
            }
        }
        let polled = this.poll_made(cx);
        if polled.is_ready() {
            this.end();
        }
        polled
    }
}

impl<M, A, R> Drop for Calling<'_, M, A, R> {
    fn drop(&mut self) {
        self.end();
    }
}

/// A notify that is about to be sent: a message whose answer nobody waits for. Nothing happens until it is awaited, or
/// sent by [`now`](Self::now), or set as a timer.
///
/// Awaited, it waits for room in the mailbox where the service says so ([`Overflow::Wait`]), and is ready at once
/// otherwise. Messages that one sender puts in one after the other arrive in that order.
///
/// # Errors
/// [`Code::Limited`] the mailbox is full, [`Code::Unavailable`] the service has stopped. What becomes of it in its
/// handler is not told.
#[must_use = "a notify is sent when it is awaited, or by `now`"]
pub struct Notifying<'a, M, A, R> {
    target: &'a Handle<M>,
    method: &'static str,
    make: Make<M, A, R>,
    argument: Option<A>,
    envelope: Option<Envelope<M>>,
    /// What it waits for room under; 0 where it does not.
    number: u64,
    answer: PhantomData<fn() -> R>,
}

impl<M, A, R> Drop for Notifying<'_, M, A, R> {
    fn drop(&mut self) {
        if self.number != 0
            && self.envelope.is_some()
            && let Target::Local(shared) = &self.target.0
        {
            shared.queue.leave(self.number);
        }
    }
}

impl<M, A, R> Unpin for Notifying<'_, M, A, R> {}

impl<'a, M: Message, A: Argument, R> Notifying<'a, M, A, R> {
    /// For generated code.
    #[doc(hidden)]
    pub fn new(target: &'a Handle<M>, method: &'static str, make: Make<M, A, R>, argument: A) -> Self {
        Self {
            target,
            method,
            make,
            argument: Some(argument),
            envelope: None,
            number: 0,
            answer: PhantomData,
        }
    }

    /// Sends it now, or fails now, where there is no room.
    ///
    /// # Errors
    /// As when it is awaited.
    #[inline]
    pub fn now(mut self) -> Result<()> {
        let Some(argument) = self.argument.take() else { return Ok(()) };
        match &self.target.0 {
            Target::Local(shared) => shared.push(Envelope::Message((self.make)(argument, None))),
            Target::Remote(elsewhere) => self.send(elsewhere, argument),
        }
    }

    fn send(&self, elsewhere: &Elsewhere, argument: A) -> Result<()> {
        let body = argument.into_body(elsewhere.serialization);
        let body = body.map_err(|error| elsewhere.unsaid(self.method, &error))?;
        let mut outbound = elsewhere.outbound(self.method, body, super::Chain::default());
        outbound.call.one_way = true;
        elsewhere.remote()?.notify(outbound)
    }

    /// Sends it when this time is over; at once, through the mailbox, where it is none. Where the mailbox is full then,
    /// it is sent as soon as there is room.
    ///
    /// # Errors
    /// [`Code::Unsupported`]: the service is in another node. [`Code::Limited`]: four milliards of timers are pending.
    pub fn after(mut self, time: Duration) -> Result<Timer>
    where
        A: Send + 'static,
        R: 'static,
    {
        let shared = Arc::clone(self.local()?);
        let Some(argument) = self.argument.take() else {
            return Err(Status::new(Code::Internal, "sent already"));
        };
        let node = Arc::clone(&shared.core.node);
        if time.is_zero() {
            shared.push(Envelope::Message((self.make)(argument, None)))?;
            return Ok(Timer { key: None, node });
        }
        set(node, time, Action::Fire(Box::new(Once { shared, make: self.make, argument })))
    }

    /// Sends it whenever this time is over, for ever: first when it is over once. With no time at all it is sent once,
    /// at once, as saber has it. A tick that comes while the last one still waits in the mailbox is left out, and so are
    /// those that were missed while the process stood still.
    ///
    /// # Errors
    /// As for [`after`](Self::after).
    pub fn every(self, time: Duration) -> Result<Timer>
    where
        A: Clone + Send + 'static,
        R: 'static,
    {
        self.times(0, time)
    }

    /// As [`every`](Self::every), but so many times; 0 is for ever.
    ///
    /// # Errors
    /// As for [`after`](Self::after).
    pub fn times(mut self, times: u32, time: Duration) -> Result<Timer>
    where
        A: Clone + Send + 'static,
        R: 'static,
    {
        if time.is_zero() || times == 1 {
            return self.after(time);
        }
        let shared = Arc::clone(self.local()?);
        let Some(argument) = self.argument.take() else {
            return Err(Status::new(Code::Internal, "sent already"));
        };
        let node = Arc::clone(&shared.core.node);
        let ticking =
            Ticking { make: self.make, argument: Mutex::new(argument), waits: AtomicBool::new(false) };
        let every = node.timers.ticks(time);
        let repeat = Repeat { shared, ticking: Arc::new(ticking), every, left: times };
        set(node, time, Action::Fire(Box::new(repeat)))
    }

    fn local(&self) -> Result<&'a Arc<Shared<M>>> {
        match &self.target.0 {
            Target::Local(shared) => Ok(shared),
            Target::Remote(elsewhere) => {
                let text = format!("a timer is of its own node, and {} is in another", elsewhere.name());
                Err(Status::new(Code::Unsupported, text).not_begun())
            }
        }
    }
}

fn set(node: Arc<Inner>, time: Duration, action: Action) -> Result<Timer> {
    let now = Instant::now();
    let at = now.checked_add(time).unwrap_or_else(|| now + Duration::from_secs(100 * 365 * 86_400));
    match node.timers.insert(at, action) {
        key @ Some(_) => Ok(Timer { key, node }),
        None => Err(Status::new(Code::Limited, "no more timers can be pending").not_begun()),
    }
}

impl<M: Message, A: Argument, R> Future for Notifying<'_, M, A, R> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        let shared = match &this.target.0 {
            Target::Local(shared) => shared,
            Target::Remote(elsewhere) => {
                let Some(argument) = this.argument.take() else { return Poll::Ready(Ok(())) };
                return Poll::Ready(this.send(elsewhere, argument));
            }
        };
        if let Some(argument) = this.argument.take() {
            let envelope = Envelope::Message((this.make)(argument, None));
            if shared.overflow != Overflow::Wait {
                return Poll::Ready(shared.push(envelope));
            }
            this.envelope = Some(envelope);
        }
        let pushed = shared.queue.poll_push(&mut this.envelope, &mut this.number, current::is_inside, cx);
        if pushed.is_pending() {
            current::waits_for(shared.core.identity.handle());
        }
        pushed.map_err(|refused| shared.refusal(refused).1)
    }
}
