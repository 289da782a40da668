//! What a request costs, in figures without noise: allocations, reads, writes and wake-ups, each with a bound.
//!
//! 10 connections with 100 calls in flight each, 581 bytes, an `async` handler with owned bytes, all default
//! layers. A change that makes the path longer fails here; `cargo xtask counters` does the same for instructions.

use std::io::{Read, Write};
use std::sync::Arc;

use allocation_counter::measure;
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use trunkline_wire::rpcx::Rpcx;
use trunkline_wire::{CallFrame, Compression, Limits, Pairs, Serialization, Session};

use super::serve::serve_wire;
use crate::client::Channel;
use crate::net::driver::counts;
use crate::{Body, Call, Peer, ReplyBuf, Result, Server, Service};

const CONNECTIONS: usize = 10;
const IN_FLIGHT: usize = 100;
const ROUNDS: usize = 50;
const BODY: [u8; 581] = [b'x'; 581];

#[trunkline::service]
trait Echo {
    fn echo(&self, body: &[u8], reply: &mut ReplyBuf<'_>) -> Result<()>;
    async fn owned(&self, body: Bytes) -> Result<Bytes>;
}

struct Same;

impl Echo for Same {
    fn echo(&self, body: &[u8], reply: &mut ReplyBuf<'_>) -> Result<()> {
        reply.extend_from_slice(body);
        Ok(())
    }

    async fn owned(&self, body: Bytes) -> Result<Bytes> {
        Ok(body)
    }
}

/// What so many requests cost this thread: allocations, reads, writes, and wake-ups, which are how often the runtime
/// had nothing to do and waited in `epoll_wait`.
fn costs(requests: usize, runtime: &Runtime, work: impl FnOnce()) -> [f64; 4] {
    let counts = || [counts::READS.get(), counts::WRITES.get(), runtime.metrics().worker_park_count(0)];
    let before = counts();
    let allocations = measure(work).count_total;
    let after = counts();
    let requests = f64::from(u32::try_from(requests).unwrap());
    [allocations, after[0] - before[0], after[1] - before[1], after[2] - before[2]]
        .map(|count| f64::from(u32::try_from(count).unwrap()) / requests)
}

/// One batch of calls as bytes, and how many bytes answer it.
fn batch(method: &str) -> (Vec<u8>, usize) {
    let mut session = Rpcx::client(&Limits::default());
    let mut out = Vec::new();
    for id in 0..IN_FLIGHT {
        let frame = CallFrame {
            id: u64::try_from(id).unwrap(),
            service: "Echo",
            method,
            metadata: Pairs::empty(),
            extra: &[],
            serialization: Serialization::Raw,
            compression: Compression::None,
            one_way: false,
            body: &BODY,
            end: true,
        };
        session.call(&frame, &mut out).unwrap();
    }
    let answer = out.len();
    (out, answer)
}

/// What so many requests to a method cost the server, as in [`costs`], each for one request.
fn server_costs(method: &str) -> [f64; 4] {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = Server::builder().serve(EchoServer::new(Same)).listen("mem://counters");
    let core = runtime.block_on(server.bind()).unwrap().core;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        streams.push(std::net::TcpStream::connect(address).unwrap());
        let (stream, peer) = runtime.block_on(listener.accept()).unwrap();
        runtime.spawn(serve_wire::<Rpcx, _>(Arc::clone(&core), stream, Peer::Tcp(peer), Bytes::new()));
    }
    let (batch, answer) = batch(method);
    // Every batch lies ready before the server looks, so that the counts are the same in every run.
    let mut round = || {
        for stream in &mut streams {
            stream.write_all(&batch).unwrap();
        }
        let (done, answered) = tokio::sync::oneshot::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut buffer = vec![0; answer];
                for stream in &mut streams {
                    stream.read_exact(&mut buffer).unwrap();
                    assert_eq!(buffer[2] & 0x83, 0x80, "a response without an error");
                }
                done.send(()).unwrap();
            });
            costs(CONNECTIONS * IN_FLIGHT, &runtime, || runtime.block_on(answered).unwrap())
        })
    };
    for _ in 0..5 {
        round();
    }
    let mut sum = [0.0; 4];
    for _ in 0..ROUNDS {
        let costs = round();
        for (sum, cost) in sum.iter_mut().zip(costs) {
            *sum += cost / f64::from(u32::try_from(ROUNDS).unwrap());
        }
    }
    sum
}

#[test]
fn an_owned_request_costs_the_server_one_allocation() {
    let [allocations, reads, writes, wakes] = server_costs("Owned");
    println!(
        "Echo.Owned: {allocations:.4} allocations, {reads:.4} reads, {writes:.4} writes, {wakes:.4} wake-ups a request"
    );
    assert!(allocations <= 1.05, "{allocations} allocations a request");
    assert!(reads <= 0.012, "{reads} reads a request");
    assert!(writes <= 0.012, "{writes} writes a request");
    assert!(wakes <= 0.004, "{wakes} wake-ups a request");
}

#[test]
fn a_borrowed_request_costs_the_server_no_allocation() {
    let [allocations, reads, writes, wakes] = server_costs("Echo");
    println!(
        "Echo.Echo: {allocations:.4} allocations, {reads:.4} reads, {writes:.4} writes, {wakes:.4} wake-ups a request"
    );
    assert!(allocations <= 0.05, "{allocations} allocations a request");
    assert!(reads <= 0.012, "{reads} reads a request");
    assert!(writes <= 0.012, "{writes} writes a request");
    assert!(wakes <= 0.004, "{wakes} wake-ups a request");
}

/// A task for each call in flight; the server runs on a thread of its own.
#[test]
fn a_call_costs_the_client_next_to_nothing() {
    let server = Server::builder().serve(EchoServer::new(Same)).threads(1).listen("127.0.0.1:0");
    let serving = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = serving.block_on(server.bind()).unwrap();
    let address = server.addresses().remove(0);
    serving.spawn(server.run());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let channels: Vec<Channel> = (0..CONNECTIONS)
        .map(|_| runtime.block_on(Channel::connect(&format!("rpcx://{address}"))).unwrap())
        .collect();
    let body = Bytes::from_static(&BODY);
    let (start, _) = tokio::sync::broadcast::channel::<usize>(4);
    let (ended, mut ends) = tokio::sync::mpsc::channel(CONNECTIONS * IN_FLIGHT);
    for channel in &channels {
        for _ in 0..IN_FLIGHT {
            let (channel, body, mut started, ended) =
                (channel.clone(), body.clone(), start.subscribe(), ended.clone());
            runtime.spawn(async move {
                while let Ok(calls) = started.recv().await {
                    for _ in 0..calls {
                        let call = Call::new(
                            crate::Name::from_static("Echo"),
                            crate::Name::from_static("Owned"),
                            Serialization::Raw,
                            body.clone(),
                        );
                        let reply = channel.call(call).await.unwrap().into_body();
                        assert!(matches!(reply, Body::Full(reply) if reply.len() == BODY.len()));
                    }
                    ended.send(()).await.unwrap();
                }
            });
        }
    }
    let mut rounds = |number: usize| {
        costs(number * CONNECTIONS * IN_FLIGHT, &runtime, || {
            start.send(number).unwrap();
            runtime.block_on(async {
                for _ in 0..CONNECTIONS * IN_FLIGHT {
                    ends.recv().await.unwrap();
                }
            });
        })
    };
    rounds(5);
    let [allocations, reads, writes, wakes] = rounds(ROUNDS);
    println!(
        "client: {allocations:.4} allocations, {reads:.4} reads, {writes:.4} writes, {wakes:.4} wake-ups a call"
    );
    assert!(allocations <= 0.05, "{allocations} allocations a call");
    assert!(writes <= 0.05, "{writes} writes a call");
    assert!(wakes <= 0.02, "{wakes} wake-ups a call");
}
