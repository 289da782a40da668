//! Broken frames by the thousand, sent to a live server over real sockets: each costs only its own connection.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail loudly"
)]

#[path = "support/log.rs"]
mod log;
mod support;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use log::Log;
use support::{Test, bytes, call, frame, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use trunkline::client::Channel;
use trunkline::wire::rpcx::Rpcx;
use trunkline::wire::{Limits, Next, Session};
use trunkline::{Server, Service};

/// Where the lengths stand in [`base`]: total, path, method, metadata, key, value, body.
const LENGTHS: [usize; 7] = [12, 16, 24, 32, 36, 41, 47];

/// A call of Test.Owned with one pair of metadata and a body of 3 bytes.
fn base(flags: u8) -> Vec<u8> {
    let mut bytes = frame(flags, 7, "Echo", b"");
    bytes.truncate(bytes.len() - 8);
    bytes.extend_from_slice(b"\0\0\0\x0b\0\0\0\x01k\0\0\0\x02vv\0\0\0\x03xyz");
    let total = u32::try_from(bytes.len() - 16).unwrap();
    bytes[12..16].copy_from_slice(&total.to_be_bytes());
    assert_eq!(bytes.len(), 54);
    bytes
}

/// What a frame is broken by, and its bytes.
fn cases() -> Vec<(String, Vec<u8>)> {
    let mut cases = Vec::new();
    let mut edges: Vec<u32> = (0..=9).collect();
    edges.extend([15, 16, 17, 53, 54, 127, 128, 255, 256, 4_095, 4_096, 4_097, 16_384, 16_385, 65_536]);
    edges.extend([4 << 20, (4 << 20) + 1, (64 << 20) + 1, (1 << 31) - 1, 1 << 31, u32::MAX - 3, u32::MAX]);
    for flags in [0x00, 0x20, 0x04, 0x40] {
        for at in LENGTHS {
            for &value in &edges {
                let mut bytes = base(flags);
                bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
                cases.push((format!("flags {flags:02x}, length {value} at {at}"), bytes));
            }
        }
        // Each byte cut off, and each byte twice.
        for at in 1..54 {
            cases.push((format!("flags {flags:02x}, cut at {at}"), base(flags)[..at].to_vec()));
            let mut bytes = base(flags);
            bytes.insert(at, bytes[at]);
            cases.push((format!("flags {flags:02x}, doubled at {at}"), bytes));
        }
    }
    // Every value of magic and flags; each bit of all else turned.
    for value in 0..=255 {
        for at in [0, 2] {
            let mut bytes = base(0);
            bytes[at] = value;
            cases.push((format!("{value:02x} at {at}"), bytes));
        }
    }
    for bit in 0..54 * 8 {
        let mut bytes = base(0);
        bytes[bit / 8] ^= 1 << (bit % 8);
        cases.push((format!("bit {bit}"), bytes));
    }
    fastrand::seed(5);
    for n in 0..200 {
        let mut bytes: Vec<u8> = (0..fastrand::usize(1..200)).map(|_| fastrand::u8(..)).collect();
        if n % 2 == 0 {
            bytes[0] = 8;
        }
        cases.push((format!("noise {n}"), bytes));
    }
    cases
}

/// What is to become of a connection whose caller sends this and ends its side.
#[derive(Debug, PartialEq)]
enum Expected {
    /// It is served, and ends in order.
    Served,
    /// It is closed, and the log says this.
    Closed(String),
}

/// What the session says. That it says the right thing is shown by the tests of the wire.
fn expected(bytes: &[u8]) -> Expected {
    let (mut session, mut out, mut at) = (Rpcx::server(&Limits::default()), Vec::new(), 0);
    loop {
        match session.receive(&bytes[at..], &mut out) {
            Err(error) => return Expected::Closed(error.to_string()),
            Ok(step) => {
                at += step.consumed;
                match step.next {
                    Next::NeedMore(_) if at == bytes.len() => return Expected::Served,
                    Next::NeedMore(_) => {
                        return Expected::Closed("the peer closed within a frame".to_owned());
                    }
                    _ => {}
                }
            }
        }
    }
}

/// The process's resident memory in KiB.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4
}

/// Sends one case behind a good call, and ends its side. The port that it came from, and whether the good call was
/// answered and the connection ended by itself.
async fn send(address: &str, case: &[u8]) -> (SocketAddr, bool) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let from = stream.local_addr().unwrap();
    let good = frame(0, 1, "Echo", b"good");
    stream.write_all(&good).await.unwrap();
    let mut answer = vec![0; good.len()];
    stream.read_exact(&mut answer).await.unwrap();
    // The server may close before it has read all.
    let _ = stream.write_all(case).await;
    let _ = stream.shutdown().await;
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
    (from, answer.ends_with(b"good") && ended.is_ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d6d_each_broken_frame_costs_only_its_own_connection() {
    let log = Log::take_over();
    let (handle, address) = serve(Server::builder().serve(Test::default()).listen("127.0.0.1:0")).await;

    let end = Arc::new(AtomicBool::new(false));
    let good = {
        let channel = Channel::connect(&format!("rpcx://{address}")).await.unwrap();
        let end = Arc::clone(&end);
        tokio::spawn(async move {
            let number = AtomicU64::new(0);
            while !end.load(Ordering::Relaxed) {
                let n = number.fetch_add(1, Ordering::Relaxed).to_string();
                let reply =
                    tokio::time::timeout(Duration::from_secs(2), channel.call(call("Owned", n.clone())));
                assert_eq!(bytes(reply.await.unwrap().unwrap()), n);
            }
            number.into_inner()
        })
    };

    let cases = Arc::new(cases());
    let mut after_first = 0;
    let mut ports = HashMap::new();
    for round in 0..2 {
        ports.clear();
        log.clear();
        let mut sending = JoinSet::new();
        for worker in 0..16 {
            let (cases, address) = (Arc::clone(&cases), address.clone());
            sending.spawn(async move {
                let mut sent = Vec::new();
                for index in (worker..cases.len()).step_by(16) {
                    let (from, fine) = send(&address, &cases[index].1).await;
                    assert!(fine, "{}: not answered, or not closed", cases[index].0);
                    sent.push((from, index));
                }
                sent
            });
        }
        while let Some(sent) = sending.join_next().await {
            ports.extend(sent.unwrap());
        }
        if round == 0 {
            after_first = resident();
        }
    }
    let grown = resident().saturating_sub(after_first);
    end.store(true, Ordering::Relaxed);
    let calls = good.await.unwrap();
    assert_eq!(ports.len(), cases.len(), "a port was used twice");

    let mut closed = 0;
    let lines = log.lines();
    for (from, index) in &ports {
        let (name, bytes) = &cases[*index];
        let peer = format!("peer={from} ");
        let of_it: Vec<_> = lines.iter().filter(|line| line.contains(&peer)).collect();
        match expected(bytes) {
            Expected::Served => assert!(of_it.is_empty(), "{name}: {of_it:?}"),
            Expected::Closed(reason) => {
                closed += 1;
                assert_eq!(of_it.len(), 1, "{name}: {of_it:?}");
                assert!(
                    of_it[0].contains(&reason) && of_it[0].contains("rpcx"),
                    "{name}: {reason}: {of_it:?}"
                );
                assert!(
                    ["offset", "limit", "within a frame"].iter().any(|word| of_it[0].contains(word)),
                    "{name}: {of_it:?}"
                );
            }
        }
    }
    println!("{} cases, {closed} closed, {calls} good calls beside them, {grown} KiB grown", cases.len());
    assert!(closed >= 500 && calls > 500, "{closed} closed, {calls} good");
    assert!(grown < 4 << 10, "{grown} KiB more after the second round");
    assert!(handle.report().connections <= 1);
}
