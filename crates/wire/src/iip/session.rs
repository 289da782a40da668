//! The session: one of the two roles.

use std::sync::Arc;

use std::borrow::Cow;

use bytes::Bytes;

use super::client::Client;
use super::server::Server;
use super::{NAME, json, path, unsupported};
use crate::{
    CallFrame, CallHead, ChannelReport, InvalidMetadata, Limits, Mark, Metadata, MethodNumbers, Next,
    PushFrame, ReplyFrame, Report, Session, Step, Traffic, WireError,
};

/// The IIP session.
///
/// - At a server each channel is ordered: [`reply`](Session::reply) takes replies in any order, and one that is early
///   waits encoded until those before it are written. [`Limits::calls`] counts for each channel; what comes beyond it,
///   or for a body that is [held](Session::hold), is kept raw, up to 64 KiB a channel and 4 MiB a connection, and given
///   back by [`held`](Session::held). A channel also begins no further call while 1 MiB of early replies waits
///   on it, and an early reply that makes them more than [`Limits::held`] on the connection is refused.
/// - At a client each call takes the granted channel with the fewest in flight; calls that were made before channels
///   are granted wait in the session, 64 MiB of bodies at most. A one-way call is an ordinary one whose answer nobody
///   waits for. Where the server grants no channel, calls go on channel 0.
/// - An answer that comes although its call was given up, and the server was not told, is an empty reply with the id
///   [`u64::MAX`], which no call may have: so it completes nothing and can be counted.
/// - A call whose request has begun and is given up within its body: a Trunkline server is told; with others that
///   channel is used no more, so that nobody takes what was sent for the whole. After 64 of those the session says
///   [`Draining`](crate::Event::Draining), as if the server had.
/// - Between Trunkline peers a streamed body has a window: 64 KiB of frames, and what goes beyond them in one, are on
///   their way until its reader has taken some. So one that nobody reads stalls its channel alone. Others send as they
///   like, and stall the connection.
/// - There are no pushes, no compression, and bodies are JSON or bytes as they are.
#[derive(Debug)]
pub struct Iip(Side);

#[derive(Debug)]
enum Side {
    Server(Box<Server>),
    Client(Box<Client>),
}

impl Iip {
    /// Whether the peer has said that it is Trunkline too.
    #[must_use]
    pub fn peer_is_trunkline(&self) -> bool {
        match &self.0 {
            Side::Server(server) => server.trunkline,
            Side::Client(client) => client.trunkline,
        }
    }

    /// What went over the connection so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        match &self.0 {
            Side::Server(server) => server.traffic,
            Side::Client(client) => client.traffic,
        }
    }

    /// A server's channels in ascending order: id, how many frames wait to be looked at, what went over it so far.
    pub fn channels(&self) -> impl Iterator<Item = (u32, usize, Traffic)> {
        let server = match &self.0 {
            Side::Server(server) => Some(server),
            Side::Client(_) => None,
        };
        let channels = server.into_iter().flat_map(|server| server.table.iter());
        channels.map(|(id, channel)| (id, channel.kept(), channel.traffic))
    }

    fn server_side(&mut self, what: &'static str) -> Result<&mut Server, WireError> {
        match &mut self.0 {
            Side::Server(server) => Ok(server),
            Side::Client(_) => Err(unsupported(what)),
        }
    }
}

impl Session for Iip {
    const NAME: &'static str = NAME;
    const STREAMS: bool = true;
    const PUSHES: bool = false;
    const REPORTS: bool = true;

    fn server(limits: &(impl Into<Arc<Limits>> + Clone)) -> Self {
        Self(Side::Server(Box::new(Server::new(limits.clone().into()))))
    }

    fn client(limits: &(impl Into<Arc<Limits>> + Clone)) -> Self {
        Self(Side::Client(Box::new(Client::new(limits.clone().into()))))
    }

    fn greet(&mut self, out: &mut Vec<u8>) {
        if let Side::Client(client) = &mut self.0 {
            client.greet(out);
        }
    }

    #[inline]
    fn receive<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> Result<Step<'a>, WireError> {
        if input.is_empty() {
            return Ok(Step { consumed: 0, next: Next::NeedMore(0) });
        }
        match &mut self.0 {
            Side::Server(server) => server.receive(input, out),
            Side::Client(client) => client.receive(input, out),
        }
    }

    fn call(&mut self, frame: &CallFrame<'_>, out: &mut Vec<u8>) -> Result<(), WireError> {
        match &mut self.0 {
            Side::Client(client) => client.call(frame, out),
            Side::Server(_) => Err(unsupported("a server does not make calls")),
        }
    }

    fn reply(
        &mut self,
        to: &CallHead<'_>,
        frame: &ReplyFrame<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        self.server_side("a client does not answer calls")?.reply(to, frame, out)
    }

    #[inline]
    fn begin(&mut self, to: &CallHead<'_>, out: &mut Vec<u8>) -> Option<Mark> {
        self.server_side("a client does not answer calls").ok()?.begin(to, out)
    }

    #[inline]
    fn finish(&mut self, mark: Mark, out: &mut Vec<u8>) {
        if let Side::Server(server) = &mut self.0 {
            server.finish(mark, out);
        }
    }

    fn data(&mut self, id: u64, body: &[u8], end: bool, out: &mut Vec<u8>) -> Result<(), WireError> {
        match &mut self.0 {
            Side::Server(server) => server.data(id, body, end, out),
            Side::Client(client) => client.data(id, body, end, out),
        }
    }

    fn push(&mut self, _: &PushFrame<'_>, _: &mut Vec<u8>) -> Result<(), WireError> {
        Err(unsupported("a server only answers"))
    }

    fn may_write(&self, id: u64) -> bool {
        match &self.0 {
            Side::Server(server) => server.may_write(id),
            Side::Client(client) => client.may_write(id),
        }
    }

    fn forget(&mut self, id: u64, out: &mut Vec<u8>) {
        match &mut self.0 {
            Side::Server(server) => server.forget(id, out),
            Side::Client(client) => {
                client.cancel(id, out);
            }
        }
    }

    fn cancel(&mut self, id: u64, out: &mut Vec<u8>) -> bool {
        match &mut self.0 {
            Side::Server(_) => false,
            Side::Client(client) => client.cancel(id, out),
        }
    }

    fn ping(&mut self, out: &mut Vec<u8>) -> bool {
        match &mut self.0 {
            Side::Client(client) => client.hello(out),
            // A Trunkline client hears that somebody is there, and does not answer.
            Side::Server(server) => {
                server.tell(b"/sys/trunkline?here", out);
                false
            }
        }
    }

    fn drain(&mut self, out: &mut Vec<u8>) -> bool {
        match &mut self.0 {
            Side::Server(server) => server.tell(b"/sys/trunkline?drain", out),
            Side::Client(_) => false,
        }
    }

    fn held(&mut self) -> Option<Bytes> {
        match &mut self.0 {
            Side::Server(server) => server.table.held(&server.limits),
            Side::Client(_) => None,
        }
    }

    /// Nobody but a Trunkline peer is believed: what stands in front of it may hand on what anybody wrote.
    fn metadata_of(&self, uri: &[u8], limits: &Limits) -> Result<Metadata, InvalidMetadata> {
        if self.peer_is_trunkline() { path::metadata(uri, limits) } else { Ok(Metadata::new()) }
    }

    fn text(message: &[u8]) -> Cow<'_, str> {
        json::unescaped(message)
    }

    fn hold(&mut self, id: u64) -> bool {
        match &mut self.0 {
            Side::Server(server) => {
                server.table.hold(id, true);
                true
            }
            Side::Client(client) => client.hold(id, true, None),
        }
    }

    fn release(&mut self, id: u64, out: &mut Vec<u8>) {
        match &mut self.0 {
            Side::Server(server) => server.table.hold(id, false),
            Side::Client(client) => {
                client.hold(id, false, Some(out));
            }
        }
    }

    fn count_methods(&mut self, numbers: MethodNumbers) {
        if let Side::Server(server) = &mut self.0 {
            server.methods.count(numbers);
        }
    }

    fn take_sent(&mut self) -> Vec<(u32, Traffic)> {
        match &mut self.0 {
            Side::Server(server) => server.methods.take(),
            Side::Client(_) => Vec::new(),
        }
    }

    fn report(&self) -> Report {
        let Side::Server(server) = &self.0 else { return Report::default() };
        let channels: Vec<_> = server
            .table
            .iter()
            .map(|(id, channel)| ChannelReport {
                id,
                waiting: channel.kept(),
                unanswered: super::wide(channel.unanswered()),
                traffic: channel.traffic,
            })
            .collect();
        let unanswered = channels.iter().map(|channel| channel.unanswered).sum();
        Report { total: server.traffic, unanswered, channels }
    }

    fn in_flight(&self) -> usize {
        match &self.0 {
            Side::Server(server) => server.table.in_flight,
            Side::Client(_) => 0,
        }
    }
}
