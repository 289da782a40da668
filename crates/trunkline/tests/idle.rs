//! What a connection costs that made calls and then does nothing: at most 2 KiB in the server, over HTTP 3 KiB.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail loudly"
)]

mod support;

#[cfg(feature = "http")]
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use support::child::{Serving, serve_if_child};

/// The server process of the tests below; by itself it does nothing.
#[test]
fn child_server() {
    serve_if_child();
}

/// One call of each kind.
fn call_rpcx(stream: &mut TcpStream) {
    for method in ["Echo", "Owned"] {
        support::child::call_rpcx(stream, method);
    }
}

/// The same over HTTP.
#[cfg(feature = "http")]
fn call_http(stream: &mut TcpStream) {
    for method in ["Echo", "Owned"] {
        let body = "x".repeat(581);
        let head = format!("POST /Test/{method} HTTP/1.1\r\nHost: x\r\nContent-Length: 581\r\n\r\n");
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut reply = Vec::new();
        while !reply.ends_with(body.as_bytes()) {
            let mut part = [0; 1024];
            let length = stream.read(&mut part).unwrap();
            assert!(length > 0, "the connection was closed");
            reply.extend_from_slice(&part[..length]);
        }
        assert!(reply.starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
}

/// The same over IIP, on a channel of its own.
fn call_iip(stream: &mut TcpStream) {
    let frame = |path: &str, channel: u32, data: &str| {
        let mut frame = [b"\x01", path.as_bytes(), b"\0"].concat();
        frame.extend_from_slice(&channel.to_be_bytes());
        frame.extend_from_slice(&u32::try_from(data.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(data.as_bytes());
        frame
    };
    let body = "x".repeat(581);
    let asked = [("/sys/new_channel", 0, "{}"), ("/Test/Echo", 1, &body), ("/Test/Owned", 1, &body)];
    for (path, channel, data) in asked {
        stream.write_all(&frame(path, channel, data)).unwrap();
        let end = if channel == 0 { b"}" } else { body.as_bytes() };
        let mut reply = Vec::new();
        while !reply.ends_with(end) {
            let mut part = [0; 1024];
            let length = stream.read(&mut part).unwrap();
            assert!(length > 0, "the connection was closed");
            reply.extend_from_slice(&part[..length]);
        }
        assert!(reply.starts_with(format!("\x05{path}\0").as_bytes()));
    }
}

/// Bytes of resident memory for each of so many connections that were called on.
fn bytes_per_connection(count: usize, call: impl Fn(&mut TcpStream)) -> u64 {
    let server = Serving::start();
    let opened = || {
        let mut stream = server.connect();
        call(&mut stream);
        stream
    };
    // What the process needs once, whoever connects: a hundred connections come and stay.
    let mut streams: Vec<_> = (0..100).map(|_| opened()).collect();
    std::thread::sleep(Duration::from_millis(200));
    let before = server.resident();
    streams.extend((0..count).map(|_| opened()));
    std::thread::sleep(Duration::from_millis(200));
    let after = server.resident();
    // They are all still served.
    streams.iter_mut().step_by(97).for_each(call);
    (after - before) / count as u64
}

#[test]
fn a_thousand_idle_connections_take_at_most_2_kib_each() {
    let bytes = bytes_per_connection(1_000, call_rpcx);
    println!("{bytes} bytes for each of 1,000 idle connections");
    assert!(bytes <= 2 << 10, "{bytes} bytes each");
}

#[cfg(feature = "http")]
#[test]
fn two_thousand_idle_http_connections_take_at_most_3_kib_each() {
    let bytes = bytes_per_connection(2_000, call_http);
    println!("{bytes} bytes for each of 2,000 idle HTTP connections");
    assert!(bytes <= 3 << 10, "{bytes} bytes each");
}

#[test]
fn two_thousand_idle_iip_connections_take_at_most_5_kib_each() {
    let bytes = bytes_per_connection(2_000, call_iip);
    println!("{bytes} bytes for each of 2,000 idle IIP connections");
    assert!(bytes <= 5 << 10, "{bytes} bytes each");
}

#[test]
#[ignore = "opens 10,000 connections (cargo test -- --ignored)"]
fn ten_thousand_idle_connections_take_at_most_2_kib_each() {
    let bytes = bytes_per_connection(10_000, call_rpcx);
    println!("{bytes} bytes for each of 10,000 idle connections");
    assert!(bytes <= 2 << 10, "{bytes} bytes each");
}
