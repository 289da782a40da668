//! Calls that are sent by their callers: when they are, and that nothing else gets in between.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail loudly"
)]

use std::future::{Future, poll_fn};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::broadcast;
use tokio::time::Instant;
use trunkline_wire::rpcx::Rpcx;
use trunkline_wire::{Event, Limits, Next, Session};

use super::Channel;
use super::connection::ClientRole;
use super::link::Link;
use super::links::{Begun, Links, Usual};
use super::settings::{Settings, Strays};
use crate::net::driver::{Connection, Patience, Role, counts};
use crate::net::transport::{Stream, Unwatched};
use crate::server::RunningServer;
use crate::{Body, Call, Code, Result, Serialization, Server, Service};

/// How long anything may take that has to happen.
const LIMIT: Duration = Duration::from_secs(30);

#[trunkline::service]
trait Echo {
    async fn owned(&self, body: Bytes) -> Result<Bytes>;
    async fn never(&self, body: Bytes) -> Result<Bytes>;
}

struct Same;

impl Echo for Same {
    async fn owned(&self, body: Bytes) -> Result<Bytes> {
        Ok(body)
    }

    async fn never(&self, _: Bytes) -> Result<Bytes> {
        std::future::pending().await
    }
}

/// A server on a thread of its own, so that what this thread writes is the client's. It ends with the sender.
fn server() -> (String, tokio::sync::oneshot::Sender<()>) {
    let (ready, url) = std::sync::mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Server::builder().serve(EchoServer::new(Same)).listen("127.0.0.1:0");
            let running: RunningServer = server.start().await.unwrap();
            ready.send(running.url().to_owned()).unwrap();
            let _ = stopped.await;
        });
    });
    (url.recv().unwrap(), stop)
}

fn call(method: &'static str, body: impl Into<Bytes>) -> Call {
    Call::new("Echo", method, Serialization::Raw, body.into())
}

fn writes() -> u64 {
    counts::WRITES.get()
}

/// Calls until none is written by the connection's task any more: the first ones find that it has not slept yet, or has
/// the greeting to write.
async fn quiet(channel: &Channel) {
    let limit = Instant::now() + LIMIT;
    loop {
        assert!(Instant::now() < limit, "calls still go through the task");
        let before = writes();
        for n in 0..10u8 {
            let reply = channel.call(call("Owned", vec![n; 100])).await.unwrap();
            assert!(matches!(reply.into_body(), Body::Full(body) if *body == [n; 100]));
        }
        if writes() == before {
            return;
        }
    }
}

#[tokio::test]
async fn a_call_by_itself_is_sent_by_its_caller_and_calls_side_by_side_by_one_write() {
    let (url, _server) = server();
    let channel = Channel::connect(&url).await.unwrap();
    quiet(&channel).await;
    let before = writes();
    let (a, b, c) = tokio::join!(
        channel.call(call("Owned", "a")),
        channel.call(call("Owned", "b")),
        channel.call(call("Owned", "c")),
    );
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(writes() - before, 1, "the second and third go out together");
    // Nothing answers these: who makes one can make the next at once, and one write takes them all.
    let before = writes();
    channel.call(call("Owned", "before")).await.unwrap();
    for _ in 0..10 {
        channel.call(call("Owned", "one way").one_way()).await.unwrap();
    }
    channel.call(call("Owned", "after")).await.unwrap();
    assert!(writes() - before <= 2);
}

/// The task sleeps while its callers send: it still wakes when a call's time is over.
#[tokio::test]
async fn a_call_that_its_caller_has_sent_ends_in_time() {
    let (url, _server) = server();
    let usual = Duration::from_millis(300);
    let channel = Channel::builder(&url).timeout(usual).connect().await.unwrap();
    for wait in [Duration::ZERO, usual / 2, usual * 2] {
        quiet(&channel).await;
        // When these calls' time is over the task has looked at it, and would not again before the next heartbeat, in 5 s.
        tokio::time::sleep(wait).await;
        let begun = Instant::now();
        // The server is not told of the usual time, and says nothing.
        let status = channel.call(call("Never", "")).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(begun.elapsed() >= usual);
        assert!(begun.elapsed() < Duration::from_secs(4), "it waited for something else");
    }
}

type Narrow = Connection<'static, Stream, ClientRole<Rpcx>>;

/// A connection over a socket that takes little at once.
fn narrow(heartbeat: Duration) -> (Arc<Links<Rpcx>>, Arc<Link<Rpcx>>, Narrow, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    socket2::SockRef::from(&near).set_send_buffer_size(4096).unwrap();
    near.set_nonblocking(true).unwrap();
    let settings = Settings {
        limits: Limits::default().into(),
        calls: 100,
        heartbeat,
        lower_case: false,
        address: "narrow".to_owned(),
    };
    let links = Arc::new(Links::new(settings));
    let second = near.try_clone().unwrap().into();
    let pushes = broadcast::channel(1).0;
    let link = Arc::new(Link::new(Some(second), Arc::clone(&links), pushes, Arc::<Strays>::default()));
    let socket = Unwatched::Socket(near.into()).into_stream().unwrap();
    let connection =
        Connection::new(socket, ClientRole::new(Arc::clone(&link)), &Patience::USUAL, Bytes::new());
    (links, link, connection, far)
}

/// What the other end of a connection has received.
struct Far {
    stream: UnixStream,
    session: Rpcx,
    input: Vec<u8>,
    calls: Vec<(u64, Vec<u8>)>,
    pings: usize,
}

impl Far {
    /// Reads what is there, at most once, and answers heartbeats.
    fn read(&mut self) {
        let mut piece = [0; 10_000];
        let n = match self.stream.read(&mut piece) {
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{error}"),
        };
        self.input.extend_from_slice(&piece[..n]);
        let mut out = Vec::new();
        loop {
            let step = self.session.receive(&self.input, &mut out).unwrap();
            let (consumed, mut more) = (step.consumed, true);
            match step.next {
                Next::Event(Event::Call { head, body, .. }) => {
                    self.calls.push((head.id, body.as_slice().to_vec()));
                    let id = head.id;
                    self.session.forget(id, &mut Vec::new());
                }
                Next::Event(_) | Next::Again => {}
                Next::NeedMore(_) | Next::Blocked => more = false,
            }
            self.input.drain(..consumed);
            if !more {
                break;
            }
        }
        if !out.is_empty() {
            self.pings += 1;
            self.stream.write_all(&out).unwrap();
        }
    }
}

/// What the socket does not take of a call goes out before all else, heartbeats and other calls.
#[tokio::test(start_paused = true)]
async fn nothing_gets_into_a_call_that_was_sent_in_part() {
    const ROUNDS: u8 = 100;
    let (links, link, mut connection, stream) = narrow(Duration::from_secs(5));
    stream.set_nonblocking(true).unwrap();
    let session = Rpcx::server(&Limits::default());
    let mut far = Far { stream, session, input: Vec::new(), calls: Vec::new(), pings: 0 };
    let mut cut = 0;
    for round in 0..ROUNDS {
        let limit = std::time::Instant::now() + LIMIT;
        let body = Bytes::from(vec![round; 60_000]);
        let begin = || {
            let begun = links.begin(&mut call("Owned", body.clone()), Usual::After(LIMIT), Waker::noop());
            let Begun::Yes(at) = begun.unwrap() else { panic!("no place") };
            at
        };
        // What it has to write for the calls before, and then nothing.
        poll_once(&mut connection).await;
        poll_once(&mut connection).await;
        let first = begin();
        cut += u32::from(link.lock().outlet.cut);
        let second = begin();
        // A heartbeat is due.
        tokio::time::advance(Duration::from_secs(6)).await;
        while far.calls.len() < 2 {
            assert!(std::time::Instant::now() < limit, "the calls do not come");
            poll_once(&mut connection).await;
            far.read();
            tokio::task::yield_now().await;
        }
        for (at, (id, got)) in [first, second].into_iter().zip(far.calls.drain(..)) {
            assert!(id == at.id && got == body, "another call, or another body");
            links.abandon(at);
        }
    }
    assert!(cut > u32::from(ROUNDS) / 2, "only {cut} calls were sent in part");
    assert!(far.pings > usize::from(ROUNDS) / 2, "only {} heartbeats came", far.pings);
}

/// Polls a connection that is not to end.
async fn poll_once(connection: &mut Narrow) {
    let polled = poll_fn(|cx| Poll::Ready(std::pin::pin!(connection.run()).poll(cx)));
    if let Poll::Ready(close) = polled.await {
        panic!("the connection has ended: {close}");
    }
}

/// What the session says while it reads does not get into a call that a caller on another thread has just sent in part.
#[tokio::test]
async fn nothing_that_is_said_while_reading_gets_into_a_call_that_was_sent_in_part() {
    let (_links, link, connection, _far) = narrow(Duration::from_secs(5));
    drop(connection);
    let mut role = ClientRole::new(Arc::clone(&link));
    // A heartbeat of the server's, which is answered.
    let mut beat = Vec::new();
    assert!(Rpcx::client(&Limits::default()).ping(&mut beat));
    let mut out = Vec::new();
    poll_fn(|cx| {
        // The greeting, and then nothing.
        for _ in 0..2 {
            out.clear();
            assert!(role.advance(cx, &mut out).is_ok());
        }
        assert!(out.is_empty());
        let body = vec![b'x'; 60_000];
        let begun = link.links.begin(&mut call("Owned", body), Usual::After(LIMIT), Waker::noop());
        assert!(matches!(begun, Ok(Begun::Yes(_))));
        let rest = {
            let state = link.lock();
            assert!(state.outlet.cut);
            state.out.clone()
        };
        assert!(role.receive(&beat.clone().into(), 0, cx, &mut out).is_ok());
        assert!(
            out.len() > rest.len() && out.starts_with(&rest),
            "the answer is before the rest of the call"
        );
        Poll::Ready(())
    })
    .await;
}

/// Who waits for room is told when the task takes what is there, though a call that was sent in part is at its front.
#[tokio::test]
async fn a_caller_that_waits_for_room_behind_a_call_that_was_sent_in_part_goes_on() {
    let (links, link, mut connection, _far) = narrow(Duration::from_secs(5));
    poll_once(&mut connection).await;
    poll_once(&mut connection).await;
    let begin =
        || links.begin(&mut call("Owned", vec![b'x'; 60_000]), Usual::After(LIMIT), Waker::noop()).unwrap();
    assert!(matches!(begin(), Begun::Yes(_)));
    assert!(link.lock().outlet.cut);
    while !matches!(begin(), Begun::Later) {}
    let mut room = std::pin::pin!(link.room());
    assert!(poll_fn(|cx| Poll::Ready(room.as_mut().poll(cx).is_pending())).await);
    poll_once(&mut connection).await;
    tokio::time::timeout(LIMIT, room).await.unwrap();
}

/// Callers have a descriptor of the socket: it must not keep a connection open that has ended.
#[tokio::test]
async fn the_socket_is_closed_though_an_outcome_was_not_asked_for() {
    let (links, link, mut connection, mut far) = narrow(Duration::from_secs(5));
    let mut call = call("Owned", "hello");
    let usual = Usual::After(LIMIT);
    let begun = links.begin(&mut call, usual, Waker::noop()).unwrap();
    assert!(matches!(begun, Begun::Yes(_)));
    far.write_all(b"this is no frame of any wire that a client would speak").unwrap();
    let close = connection.run().await;
    link.fail_all(&close);
    drop((connection, link));
    let mut rest = Vec::new();
    far.set_read_timeout(Some(LIMIT)).unwrap();
    // What was written, then the end.
    far.read_to_end(&mut rest).unwrap();
}
