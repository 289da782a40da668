//! What a refusal over HTTP leaves in the log: one line that names the peer, the rule and the place.

#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, reason = "helpers of tests may fail loudly")]

mod http_support;
#[path = "support/log.rs"]
mod log;

use std::net::SocketAddr;

use http_support::{Raw, post, start, until};
use log::Log;
use tokio::io::AsyncWriteExt;

/// The lines that name this peer.
fn lines_of(log: &Log, peer: SocketAddr) -> Vec<String> {
    let peer = format!("peer={peer} ");
    log.lines().into_iter().filter(|line| line.contains(&peer)).collect()
}

const UPGRADE: &str = "GET /_rpcx_ HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: IMlAD8RNU0bGdYHGX5M23A==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const GOOD: &str = "GET / HTTP/1.1\r\nAuthorization: Bearer good\r\n\r\n";

#[tokio::test]
async fn every_refusal_leaves_one_line_with_peer_rule_and_offset() {
    let log = Log::take_over();
    let server = start(|b| b.token("good").body_limit(1000)).await;
    let chunked = "POST /Echo/Echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let length = "POST /Echo/Echo HTTP/1.1\r\nContent-Length: 10\r\n\r\n";
    let (good, c) = (GOOD.len(), chunked.len());
    let line = |rule: &str, offset: usize| format!("rule=\"{rule}\" offset={offset}");
    let socket = |frame: &[u8]| [UPGRADE.as_bytes(), b"\x89\x80\0\0\0\0", frame].concat();
    let cases: Vec<(Vec<u8>, String)> = vec![
        (format!("{GOOD}GET / HTTP/1.1\r\nA: b\r\nX : y\r\n\r\n").into(),
            line("a blank stands before the colon of a header", good + 22)),
        (format!("{GOOD}{GOOD}GET / HTTP/1.1\nA: b\r\n").into(),
            line("a line of the head does not end with CR LF", 2 * good + 14)),
        (format!("{GOOD}GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n").into(),
            line("the Transfer-Encoding is not chunked", good + 16)),
        (format!("{chunked}1\r\nx\r\nz\r\n").into(), line("a chunk's size is not a number", c + 6)),
        (format!("{GOOD}CONNECT / x\n\n").into(),
            line("the request line is not METHOD TARGET VERSION", good)),
        (format!("{length}12345").into(),
            line("the request's body is broken off or badly chunked", length.len() + 5)),
        ("POST /Echo/Echo HTTP/1.1\r\nContent-Length: 99999\r\n\r\n".into(),
            line("the request's body is over the limit of 1000 bytes (setting body_limit, flag --body-limit)", 51)),
        (socket(b"\x82\x01x"), line("a client's frame is not masked", UPGRADE.len() + 8)),
        (socket(b"\xc2\x80\0\0\0\0"), line("a reserved bit is set", UPGRADE.len() + 8)),
        // The token is asked for three times; one line says so.
        (post("/Echo/Echo", "", "x").repeat(3).into(), "rule=\"invalid token\"".to_owned()),
        (post("/", "X-JSONRPC-2.0: true\r\n", r#"[{"jsonrpc":"2.0","method":"Echo.Echo","id":1},{"jsonrpc":"2.0","method":"Echo.Echo","id":2}]"#).into(),
            "rule=\"invalid token\"".to_owned()),
    ];
    for (bytes, said) in cases {
        let mut raw = Raw::open(&server.address).await;
        let peer = raw.stream.get_ref().local_addr().unwrap();
        raw.send(&bytes).await;
        raw.stream.shutdown().await.unwrap();
        raw.rest().await;
        until("a line in the log", || !lines_of(&log, peer).is_empty()).await;
        // What would be a second line is there before the answer to a later connection.
        let mut other = Raw::open(&server.address).await;
        other.send(GOOD).await;
        other.answer().await.unwrap();
        let lines = lines_of(&log, peer);
        assert_eq!(lines.len(), 1, "{}: {lines:?}", bytes.escape_ascii());
        let (expected, wire) = (
            lines[0].contains(&said),
            lines[0].contains("wire=\"http\"") || lines[0].contains("wire=\"websocket\""),
        );
        assert!(expected && wire && lines[0].contains("WARN"), "{}: {lines:?} {said}", bytes.escape_ascii());
    }
    // A reset within a body, and one between requests: that one is nobody's fault.
    let asks = "POST /Echo/Echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n";
    for (request, count) in [(asks, 1), (GOOD, 0)] {
        until("the connections end", || server.handle.report().connections == 0).await;
        let mut raw = Raw::open(&server.address).await;
        let peer = raw.stream.get_ref().local_addr().unwrap();
        raw.send(request).await;
        assert_eq!(raw.answer().await.unwrap().status, if count == 1 { 100 } else { 200 });
        let socket = raw.stream.into_inner();
        socket2::SockRef::from(&socket).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(socket);
        until("the connection ends", || server.handle.report().connections == 0).await;
        assert_eq!(lines_of(&log, peer).len(), count, "{:?}", lines_of(&log, peer));
    }
}
