//! What connections cost that come and go, and what many idle ones cost the others: the rate at which they are accepted,
//! memory after many of them, and the latency beside them. Each test prints its figure.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail loudly"
)]

mod support;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};
use support::child::{Serving, call_rpcx, serve_if_child};

/// The server process of the tests below; by itself it does nothing.
#[test]
fn child_server() {
    serve_if_child();
}

/// One test at a time: each measures something that the others would disturb.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many cycles end in the orderly way: one in so many. The others are cut off, which leaves no port waiting.
const ORDERLY: usize = 16;

/// Connects, calls once and closes.
fn cycle(server: SocketAddr, number: usize) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    if number.is_multiple_of(ORDERLY) {
        // The port of a connection that ended properly waits for a minute: one address would run out of them.
        let host = u8::try_from(2 + number / ORDERLY % 200).unwrap();
        socket.bind(&SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, host), 0).into()).unwrap();
    }
    socket.connect(&server.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    call_rpcx(&mut stream, if number.is_multiple_of(2) { "Echo" } else { "Owned" });
    if !number.is_multiple_of(ORDERLY) {
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// Makes the cycles from `from` to `to`, two at a time.
fn cycles(server: &Serving, from: usize, to: usize) {
    let address = server.address.parse().unwrap();
    let next = AtomicUsize::new(from);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= to {
                        return;
                    }
                    cycle(address, number);
                }
            });
        }
    });
    // So that the last ones are gone there, too: what comes next is accepted after them.
    call_rpcx(&mut server.connect(), "Owned");
}

/// The resident memory after all cycles is that after a tenth of them, but for so many bytes.
fn memory_is_flat_over(count: usize) {
    const SLACK: u64 = 4 << 20;
    let _alone = alone();
    let server = Serving::start();
    cycles(&server, 0, count / 10);
    let early = server.resident();
    let (begun, processor) = (Instant::now(), server.processor());
    cycles(&server, count / 10, count);
    let (took, used) = (begun.elapsed(), server.processor() - processor);
    let late = server.resident();
    let measured = u32::try_from(count - count / 10).unwrap();
    println!(
        "{count} connections, one call each: {} KiB resident after a tenth, {} KiB at the end; \
         {:.0} connections a second, {:.1} us of the server's processor each",
        early >> 10,
        late >> 10,
        f64::from(measured) / took.as_secs_f64(),
        used.as_secs_f64() * 1e6 / f64::from(measured),
    );
    assert!(late <= early + SLACK, "{early} bytes resident have become {late}");
}

#[test]
fn five_thousand_connections_that_come_and_go_leave_no_memory_behind() {
    memory_is_flat_over(5_000);
}

#[test]
#[ignore = "takes minutes (cargo test --release -- --ignored)"]
fn a_million_connections_that_come_and_go_leave_no_memory_behind() {
    memory_is_flat_over(1_000_000);
}

/// The most processor time that the server may need to accept a connection and notice its end, in release.
const MOST_A_CONNECTION: Duration = Duration::from_micros(60);

/// Connections without a call: what a listener can take on one thread.
#[test]
#[ignore = "a figure for release (cargo test --release -- --ignored)"]
fn connections_are_accepted_fast() {
    const ROUNDS: u32 = 60;
    // As many at once as every backlog holds.
    const AT_ONCE: u32 = 100;
    let _alone = alone();
    let server = Serving::start();
    let round = || {
        let streams: Vec<TcpStream> = (0..AT_ONCE).map(|_| server.connect()).collect();
        // Answered after all were accepted, since they are accepted in their order.
        call_rpcx(&mut server.connect(), "Owned");
        for stream in streams {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
    };
    (0..ROUNDS / 10).for_each(|_| round());
    let (begun, processor) = (Instant::now(), server.processor());
    (0..ROUNDS).for_each(|_| round());
    let connections = ROUNDS * (AT_ONCE + 1);
    let (took, used) = (begun.elapsed(), server.processor() - processor);
    let each = used / connections;
    println!(
        "{:.0} connections a second accepted beside the client, {each:?} of one thread each: at most {:.0} a second",
        f64::from(connections) / took.as_secs_f64(),
        1.0 / each.as_secs_f64(),
    );
    assert!(each <= MOST_A_CONNECTION, "{each:?} of the processor for a connection");
}

/// How long one call takes.
fn probe(stream: &mut TcpStream) -> Duration {
    let begun = Instant::now();
    call_rpcx(stream, "Owned");
    begun.elapsed()
}

/// The 99th percentile of at least a hundred samples.
fn p99(samples: &mut [Duration]) -> Duration {
    samples.sort_unstable();
    samples[samples.len() * 99 / 100 - 1]
}

#[test]
#[ignore = "opens 10,000 connections and takes a minute (cargo test --release -- --ignored)"]
fn beside_ten_thousand_idle_connections_the_p99_of_a_probe_is_at_most_double() {
    const ROUNDS: usize = 25;
    const PROBES: usize = 200;
    let _alone = alone();
    let (empty, full) = (Serving::start(), Serving::start());
    let idle: Vec<TcpStream> = (0..10_000)
        .map(|_| {
            let mut stream = full.connect();
            call_rpcx(&mut stream, "Owned");
            stream
        })
        .collect();
    let (mut to_empty, mut to_full) = (empty.connect(), full.connect());
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        let begun = Instant::now();
        // A hundred a second to each, one right after the other in turn: what disturbs the machine disturbs both.
        for number in 0..u32::try_from(PROBES).unwrap() {
            std::thread::sleep(
                (begun + number * Duration::from_millis(10)).saturating_duration_since(Instant::now()),
            );
            if number.is_multiple_of(2) {
                alone.push(probe(&mut to_empty));
                beside.push(probe(&mut to_full));
            } else {
                beside.push(probe(&mut to_full));
                alone.push(probe(&mut to_empty));
            }
        }
        let (alone, beside) = (p99(&mut alone), p99(&mut beside));
        println!("p99 {alone:?} on an empty server, {beside:?} beside {} idle connections", idle.len());
        rounds.push(beside.as_secs_f64() / alone.as_secs_f64());
    }
    rounds.sort_by(f64::total_cmp);
    let ratio = rounds[ROUNDS / 2];
    println!("median of the ratios: {ratio:.2}");
    assert!(ratio <= 2.0, "{ratio} times the p99 of an empty server");
}
