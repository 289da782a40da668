//! `trunkline bench saber://`: who calls whom, how often, and where the answers come.

#![allow(clippy::unwrap_used, clippy::panic, reason = "it is a test that ends there")]

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use support::run;
use trunkline::wire::Limits;
use trunkline::wire::saber::{self, Decoder, Frame, Handle, Next, Request, Response};

/// How often each caller has called which service.
type Seen = Arc<Mutex<BTreeMap<(Handle, Handle), u32>>>;

/// A node that answers every request: over the connection that it came by, or over one of its own.
fn node(answer_to: Option<String>) -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("saber://{}/other", listener.local_addr().unwrap());
    let seen = Seen::default();
    let all = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let to = answer_to.as_ref().map(|address| TcpStream::connect(address).unwrap());
            serve(stream, to, &all);
        }
    });
    (url, seen)
}

fn serve(mut stream: TcpStream, to: Option<TcpStream>, seen: &Seen) {
    let mut to = to.unwrap_or_else(|| stream.try_clone().unwrap());
    let (mut decoder, mut input, mut chunk) = (Decoder::new(&Limits::default()), Vec::new(), [0; 4096]);
    loop {
        let mut out = Vec::new();
        let mut used = 0;
        loop {
            let step = decoder.step(input.get(used..).unwrap()).unwrap();
            used += step.consumed;
            match step.next {
                Next::Frame(Frame::Request(request, body)) => answer(&request, body, seen, &mut out),
                // As a Go node does.
                Next::Frame(Frame::Hello(_)) => {}
                Next::NeedMore(_) => break,
                other => panic!("{other:?}"),
            }
        }
        input.drain(..used);
        if to.write_all(&out).is_err() {
            return;
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(length) => input.extend_from_slice(chunk.get(..length).unwrap()),
        }
    }
}

fn answer(request: &Request<'_>, body: &[u8], seen: &Seen, out: &mut Vec<u8>) {
    *seen.lock().unwrap().entry((request.source, request.destination)).or_default() += 1;
    let Request { source, session, destination, method } = *request;
    let response = Response { source: destination, session, destination: source, method, failure: None };
    if method == b"Fail" {
        return saber::fail(&response, "not today", out).unwrap();
    }
    assert!(serde_json::from_slice::<Value>(body).unwrap()["Gid"].is_u64());
    let mark = saber::begin_response(&response, out).unwrap();
    out.extend_from_slice(br#"{"Status":200}"#);
    saber::finish(mark, 1000, out).unwrap();
}

/// What eight callers with five calls each are to be seen as, of a node of this name.
fn wanted(node: &str) -> BTreeMap<(Handle, Handle), u32> {
    let pair = |caller: u64| {
        let called = Handle::new("other", "lobby", 101 + caller % 4);
        ((Handle::new(node, "trunkline_bench", caller), called), 5)
    };
    (2..10).map(pair).collect()
}

#[test]
fn each_caller_makes_its_calls_and_the_reports_count_them() {
    let (url, seen) = node(None);
    let done = run(&["bench", &url, "lobby.ReqLogin", "-c", "8", "-n", "5", "--services", "4"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(*seen.lock().unwrap(), wanted("trunkline_bench"));
    assert!(done.stdout.contains("1 connection × 8 in flight"), "{done:?}");
    let row = done.stdout.lines().find(|line| line.contains("0:40")).unwrap();
    let cells: Vec<_> = row.split('│').map(str::trim).collect();
    assert!(matches!(&*cells, [_, "8", "40", "0", .., "560B", _, "0:40"]), "{row}");
    let rows = done.stdout.lines().filter(|line| line.ends_with('%') && line.contains("ms │")).count();
    assert_eq!(rows, 11, "{done:?}");
    assert!(done.stdout.lines().any(|line| line.trim_start().starts_with("99% in")), "{done:?}");
}

#[test]
fn answers_are_taken_over_a_connection_of_the_node_too() {
    // A loopback address that nobody else listens on, so that its port is free.
    let [.., high, low] = std::process::id().to_be_bytes();
    let listen = format!("127.77.{high}.{}:8907", low.max(1));
    let (url, seen) = node(Some(listen.clone()));
    let flags = ["--services", "4", "--node", "known", "--listen", &listen, "--json"];
    let done = run(&[&["bench", &url, "lobby.ReqLogin", "-c", "8", "-n", "5"][..], &flags].concat());
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(*seen.lock().unwrap(), wanted("known"));
    let value: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((&value["n"], &value["ok"]), (&Value::from(40), &Value::from(40)), "{done:?}");
}

#[test]
fn failures_are_told_by_their_text_and_their_code() {
    let (url, _) = node(None);
    let done = run(&["bench", &url, "lobby/7.Fail", "-c", "2", "-n", "3"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stdout.contains("6  not today") && done.stdout.contains("10001:6"), "{done:?}");
}

#[test]
fn a_node_of_another_name_is_one_line() {
    let demo = support::Demo::start();
    for time in [["-z", "10s"], ["-n", "1000"]] {
        let url = format!("saber://{}/wrong", demo.address);
        let done = run(&[&["bench", &url, "lobby.ReqLogin", "-c", "8"], &time[..]].concat());
        assert_eq!((done.code, done.stderr.lines().count()), (3, 1), "{done:?}");
        assert!(done.stderr.contains("the node is trunkline, not wrong"), "{done:?}");
    }
}

#[test]
fn what_the_wire_cannot_do_is_one_line() {
    for args in [
        &["saber://127.0.0.1:1", "lobby.ReqLogin", "-p", "2"][..],
        &["saber://127.0.0.1:1", "lobby.ReqLogin", "--codec", "protobuf"],
        &["saber://127.0.0.1:1", "lobby.ReqLogin", "-H", "a:b"],
        &["saber://127.0.0.1:1", "lobby/1.ReqLogin", "--services", "4"],
        &["saber://127.0.0.1:1", "lobby/x.ReqLogin"],
        &["saber://127.0.0.1", "lobby.ReqLogin"],
        &["rpcx://127.0.0.1:1", "Arith.Mul", "--services", "4"],
        &["rpcx://127.0.0.1:1", "Arith.Mul", "--node", "a"],
    ] {
        let done = run(&[&["bench"], args].concat());
        assert_eq!((done.code, done.stderr.lines().count()), (2, 1), "{args:?}: {done:?}");
    }
}
