//! Many calls at once: encoded in one go, one future, one wake.

use std::collections::VecDeque;
use std::marker::PhantomData;
#[cfg(feature = "http")]
use std::sync::Arc;

#[cfg(feature = "http")]
use tokio::task::JoinSet;
use tokio::time::Instant;
#[cfg(feature = "netrpc")]
use trunkline_wire::netrpc;
use trunkline_wire::{Serialization, iip, rpcx};

use super::channel::{Channel, Kind};
use super::group::Group;
#[cfg(feature = "http")]
use super::http::Http;
use super::outgoing::Outgoing;
use crate::codec::Payload;
use crate::{Call, Code, Reply, Result, Service, Status};

/// Calls that are made together; begun by [`Channel::batch`].
///
/// All of them are encoded in one go and written together, and one future waits for their answers, woken once: where a
/// program has many calls to make, that takes a fraction of the time of a future for each. The calls run side by side
/// at the server and end in any order. Each has its own deadline, limits and failure, exactly as if it were made
/// alone; dropping the batch ends those that have not ended. Over HTTP, which has one call for a connection, up to 16
/// run at a time.
///
/// ```
/// # use trunkline::{Bytes, Result, Server, service};
/// # use trunkline::client::Channel;
/// #[service]
/// trait Shout {
///     async fn loud(&self, word: String) -> Result<String>;
/// }
/// # struct Voice;
/// # impl Shout for Voice {
/// #     async fn loud(&self, word: String) -> Result<String> { Ok(word.to_uppercase()) }
/// # }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = Server::builder().serve(ShoutServer::new(Voice)).listen("mem://batch").start().await?;
/// let channel = Channel::connect(server.url()).await?;
/// let shout = ShoutClient::new(channel.clone());
///
/// let mut batch = channel.batch();
/// let first = batch.add(shout.loud("one".into()))?;
/// let second = batch.add(shout.loud("two".into()))?;
/// let mut answers = batch.send().await;
/// assert_eq!(answers.take(second).await?, "TWO");
/// assert_eq!(answers.take(first).await?, "ONE");
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "a batch is made when it is sent"]
pub struct Batch {
    channel: Channel,
    /// Each with its number.
    calls: VecDeque<(usize, Call)>,
}

/// Where the answer of a typed call of a batch will be.
#[derive(Debug)]
pub struct Ticket<T> {
    number: usize,
    serialization: Serialization,
    reply: PhantomData<fn() -> T>,
}

impl Batch {
    pub(super) fn new(channel: Channel) -> Self {
        Self { channel, calls: VecDeque::new() }
    }

    /// Makes room for so many more calls, where it is known how many there will be.
    pub fn reserve(&mut self, calls: usize) {
        self.calls.reserve(calls);
    }

    /// Adds a call; its number, which its answer has, too.
    #[inline]
    pub fn push(&mut self, mut call: Call) -> usize {
        self.channel.complete(&mut call);
        let number = self.calls.len();
        self.calls.push_back((number, call));
        number
    }

    /// Adds a typed call, as a generated client makes it. It is made over this batch's channel.
    ///
    /// # Errors
    /// The serialisation cannot carry the argument; nothing was added.
    pub fn add<S: Service, A: Payload, T: Payload>(
        &mut self,
        call: Outgoing<'_, S, A, T>,
    ) -> Result<Ticket<T>> {
        let call = call.into_call(false)?;
        let serialization = call.serialization();
        Ok(Ticket { number: self.push(call), serialization, reply: PhantomData })
    }

    /// How many calls there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Makes the calls and waits until the last one has ended.
    pub async fn send(self) -> Answers {
        let deadline = Instant::now() + self.channel.timeout();
        Answers(match self.channel.kind() {
            Kind::Rpcx(shared) => Group::new(shared.clone(), self.calls, deadline, false).all().await,
            Kind::Iip(shared) => Group::new(shared.clone(), self.calls, deadline, false).all().await,
            #[cfg(feature = "netrpc")]
            Kind::Netrpc(shared) => Group::new(shared.clone(), self.calls, deadline, false).all().await,
            #[cfg(feature = "http")]
            Kind::Http(_) => {
                let mut replies: Vec<Option<Result<Reply>>> = Vec::new();
                replies.resize_with(self.calls.len(), || None);
                let mut arriving = self.stream();
                while let Some((number, reply)) = arriving.next().await {
                    if let Some(place) = replies.get_mut(number) {
                        *place = Some(reply);
                    }
                }
                replies
            }
        })
    }

    /// Makes the calls, for their answers in the order in which they come.
    pub fn stream(self) -> Arriving {
        let deadline = Instant::now() + self.channel.timeout();
        let from = match self.channel.kind() {
            Kind::Rpcx(shared) => From::Rpcx(Group::new(shared.clone(), self.calls, deadline, true)),
            Kind::Iip(shared) => From::Iip(Group::new(shared.clone(), self.calls, deadline, true)),
            #[cfg(feature = "netrpc")]
            Kind::Netrpc(shared) => From::Netrpc(Group::new(shared.clone(), self.calls, deadline, true)),
            #[cfg(feature = "http")]
            Kind::Http(http) => {
                From::Http { http: Arc::clone(http), waiting: self.calls, running: JoinSet::new() }
            }
        };
        Arriving { channel: self.channel, from }
    }
}

/// The answers of a batch, in the order of its calls.
#[derive(Debug)]
pub struct Answers(Vec<Option<Result<Reply>>>);

impl Answers {
    /// The answer to a typed call.
    ///
    /// # Errors
    /// Why the call failed; or its reply cannot be read ([`Code::InvalidInput`]).
    pub async fn take<T: Payload>(&mut self, ticket: Ticket<T>) -> Result<T> {
        let reply = self.0.get_mut(ticket.number).and_then(Option::take).ok_or_else(taken)??;
        Ok(T::decode_bytes(ticket.serialization, reply.into_body().whole_by_own_limit().await?)?)
    }

    /// All answers that were not taken, each at the place of its call.
    #[must_use]
    pub fn into_vec(self) -> Vec<Result<Reply>> {
        self.0.into_iter().map(|reply| reply.unwrap_or_else(|| Err(taken()))).collect()
    }
}

fn taken() -> Status {
    Status::new(Code::Internal, "there is no answer: it was taken before, or is another batch's")
}

/// The answers of a batch as they come; begun by [`Batch::stream`]. Dropping it ends the calls that have not ended.
#[must_use = "calls are begun when the first answer is asked for"]
pub struct Arriving {
    channel: Channel,
    from: From,
}

enum From {
    Rpcx(Group<rpcx::Rpcx>),
    Iip(Group<iip::Iip>),
    #[cfg(feature = "netrpc")]
    Netrpc(Group<netrpc::NetRpc>),
    #[cfg(feature = "http")]
    Http {
        http: Arc<Http>,
        waiting: VecDeque<(usize, Call)>,
        running: JoinSet<(usize, Result<Reply>)>,
    },
}

impl std::fmt::Debug for Arriving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arriving").field("channel", &self.channel).finish_non_exhaustive()
    }
}

/// How many calls of a batch run at a time where each needs a connection of its own.
#[cfg(feature = "http")]
const CONNECTIONS: usize = 16;

impl Arriving {
    /// The next answer with the number of its call; `None` when all have been given.
    pub async fn next(&mut self) -> Option<(usize, Result<Reply>)> {
        match &mut self.from {
            From::Rpcx(group) => group.next().await,
            From::Iip(group) => group.next().await,
            #[cfg(feature = "netrpc")]
            From::Netrpc(group) => group.next().await,
            #[cfg(feature = "http")]
            From::Http { http, waiting, running } => {
                while running.len() < CONNECTIONS
                    && let Some((number, call)) = waiting.pop_front()
                {
                    let (http, timeout) = (Arc::clone(http), self.channel.timeout());
                    running.spawn(async move { (number, http.call(call, timeout).await) });
                }
                // A task that panicked has no answer; the batch goes on.
                loop {
                    if let Ok(ended) = running.join_next().await? {
                        return Some(ended);
                    }
                }
            }
        }
    }
}
