//! The bodies of requests: how they may be coded, what type comes back, and what becomes of those that do not come.

#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, reason = "helpers of tests may fail loudly")]

mod http_support;

use std::time::Duration;

use http_support::{Answer, PATIENCE, Raw, ask, post, start};
use serde_json::json;
#[cfg(feature = "gzip")]
use trunkline::codec::gzip;

const ARGS: &[u8] = br#"{"A":6,"B":7}"#;
const LIMIT: &str =
    "the request's body is over the limit of 1000 bytes (setting body_limit, flag --body-limit)";

#[cfg(feature = "gzip")]
fn gzipped(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    gzip::compress(body, &mut out).unwrap();
    out
}

fn with(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

const RPCX: &str = "X-RPCX-SerializeType: 1\r\nX-RPCX-ServiceMethod: Mul\r\nX-RPCX-ServicePath: Arith\r\n";
const EASYMICRO: &str = "Easymicro-MessageID: 1\r\nEasymicro-SerializeType: 1\r\n";
const JSON_RPC: &str = "X-JSONRPC-2.0: true\r\n";

#[cfg(feature = "gzip")]
#[tokio::test]
async fn a_gzipped_body_is_inflated_in_every_form() {
    let server = start(|b| b.body_limit(1000)).await;
    let call = br#"{"jsonrpc":"2.0","method":"Arith.Mul","params":{"A":6,"B":7},"id":1}"#;
    let mut raw = Raw::open(&server.address).await;
    for coding in
        ["gzip", "GZIP", "x-gzip", "identity, gzip", " gzip ,", "identity\r\nContent-Encoding: gzip"]
    {
        for (form, body) in [("", ARGS), (RPCX, ARGS), (EASYMICRO, ARGS), (JSON_RPC, &call[..])] {
            let headers = format!("{form}Content-Encoding: {coding}\r\n");
            raw.send(with("/Arith/Mul", &headers, &gzipped(body))).await;
            let answer = raw.answer().await.unwrap();
            assert_eq!(answer.status, 200, "{coding} {form}");
            assert!(answer.text().contains(r#"{"C":42}"#), "{coding} {form}: {}", answer.text());
        }
    }
    for coding in ["identity", "", "Identity,identity"] {
        raw.send(with("/Arith/Mul", &format!("Content-Encoding: {coding}\r\n"), ARGS)).await;
        assert_eq!(raw.answer().await.unwrap().text(), r#"{"C":42}"#, "{coding}");
    }
}

/// The limit counts what comes out, to the byte; a bomb costs no more than it.
#[cfg(feature = "gzip")]
#[tokio::test]
async fn what_a_gzipped_body_becomes_is_limited() {
    let server = start(|b| b.body_limit(1000)).await;
    let mut raw = Raw::open(&server.address).await;
    for (length, status) in [(1000, 200), (1001, 413), (900_000, 413)] {
        raw.send(with("/Echo/Echo", "Content-Encoding: gzip\r\n", &gzipped(&vec![b'x'; length]))).await;
        let answer = raw.answer().await.unwrap();
        assert_eq!(answer.status, status, "{length}");
        if status == 413 {
            assert_eq!(answer.json(), json!({"error": {"code": "too_large", "message": LIMIT}}));
        }
    }
    let mut broken = gzipped(ARGS);
    broken.truncate(20);
    for body in [&broken[..], ARGS] {
        raw.send(with("/Echo/Echo", "Content-Encoding: gzip\r\n", body)).await;
        let answer = raw.answer().await.unwrap();
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains("the request's body cannot be inflated: gzip"), "{}", answer.text());
    }
}

#[tokio::test]
async fn another_coding_is_415_and_says_what_is_understood() {
    let server = start(|b| b).await;
    let text = |name: &str| {
        let known = if cfg!(feature = "gzip") { "gzip, identity" } else { "identity" };
        format!("the Content-Encoding {name} is not accepted; one of these is: {known}")
    };
    let mut raw = Raw::open(&server.address).await;
    for (coding, name) in [
        ("br", "br"),
        ("deflate", "deflate"),
        ("gzip, gzip", "gzip, gzip"),
        ("zstd\r\nContent-Encoding: br", "zstd, br"),
    ] {
        let coded = format!("Content-Encoding: {coding}\r\n");
        raw.send(with("/Arith/Mul", &coded, ARGS)).await;
        let answer = raw.answer().await.unwrap();
        assert_eq!(answer.status, 415, "{coding}");
        assert_eq!(answer.json(), json!({"error": {"code": "unsupported", "message": text(name)}}));
        assert!(answer.header("accept-encoding").unwrap().contains("identity"));
        for (form, header) in [(RPCX, "x-rpcx-errormessage"), (EASYMICRO, "easymicro-errormessage")] {
            raw.send(with("/Arith/Mul", &format!("{form}{coded}"), ARGS)).await;
            let answer = raw.answer().await.unwrap();
            assert_eq!((answer.status, answer.header(header)), (415, Some(text(name).as_str())), "{form}");
        }
        raw.send(with("/", &format!("{JSON_RPC}{coded}"), ARGS)).await;
        let answer = raw.answer().await.unwrap();
        assert_eq!((answer.status, &answer.json()["error"]["message"]), (200, &json!(text(name))));
    }
}

/// A method of bodies of any kind: what comes back as it went is what it was.
#[tokio::test]
async fn a_body_that_goes_through_keeps_its_type() {
    let server = start(|b| b).await;
    for path in ["/Echo/Echo", "/Echo/Spawned", "/echo/echo"] {
        for (given, back) in [
            ("image/png", "image/png"),
            ("application/octet-stream", "application/octet-stream"),
            ("text/plain; charset=\"utf-8\"", "text/plain; charset=\"utf-8\""),
            ("application/json", "application/json"),
        ] {
            let answer =
                ask(&server.address, with(path, &format!("Content-Type: {given}\r\n"), b"\0\xff")).await;
            assert_eq!((answer.status, answer.header("content-type")), (200, Some(back)), "{path}");
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
            assert_eq!(answer.body, b"\0\xff");
        }
        let answer = ask(&server.address, with(path, "", b"{}")).await;
        assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
    }
    // What is answered by another body is JSON, whatever was sent.
    let answer = ask(&server.address, with("/Arith/Mul", "Content-Type: text/html\r\n", ARGS)).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let answer = ask(&server.address, with("/Arith/Fail", "Content-Type: text/html\r\n", b"{}")).await;
    assert_eq!((answer.status, answer.header("content-type")), (500, Some("application/json")));
}

/// Who asks before sending is told at once, and only once.
#[tokio::test]
async fn who_asks_first_hears_no_before_the_body() {
    let server = start(|b| b.body_limit(1000)).await;
    let asking = |length: usize, more: &str| {
        format!("POST /Echo/Echo HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: {length}\r\n{more}\r\n")
    };
    let mut raw = Raw::open(&server.address).await;
    raw.send(asking(1000, "")).await;
    assert_eq!(raw.answer().await.unwrap().status, 100);
    raw.send("x".repeat(1000)).await;
    assert_eq!(raw.answer().await.unwrap().body.len(), 1000);
    for (length, more, status) in [(1001, "", 413), (1 << 40, "", 413), (10, "Content-Encoding: br\r\n", 415)]
    {
        let mut raw = Raw::open(&server.address).await;
        raw.send(asking(length, more)).await;
        let answer = raw.answer().await.unwrap();
        assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "{length}");
        assert!(raw.rest().await.is_empty());
    }
    // With chunks nothing says so before they come.
    let mut raw = Raw::open(&server.address).await;
    raw.send("POST /Echo/Echo HTTP/1.1\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    assert_eq!(raw.answer().await.unwrap().status, 100);
    raw.send(format!("7d0\r\n{}\r\n0\r\n\r\n", "x".repeat(2000))).await;
    assert_eq!(raw.answer().await.unwrap().status, 413);
}

/// Clients of JSON-RPC read the error object, not the status.
#[tokio::test]
async fn a_large_body_is_an_error_object_in_json_rpc() {
    let server = start(|b| b.body_limit(1000)).await;
    let error =
        json!({"jsonrpc": "2.0", "error": {"code": -32600, "message": LIMIT, "data": null}, "id": null});
    let check = |answer: Answer| {
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
        assert_eq!(answer.json(), error);
    };
    let mut raw = Raw::open(&server.address).await;
    raw.send(with("/", JSON_RPC, &[b' '; 1001])).await;
    check(raw.answer().await.unwrap());
    let good = r#"{"jsonrpc":"2.0","method":"Echo.Echo","params":[1],"id":1}"#;
    raw.send(post("/", JSON_RPC, good)).await;
    assert_eq!(raw.answer().await.unwrap().json()["result"], json!([1]));
    let mut raw = Raw::open(&server.address).await;
    raw.send(with("/", JSON_RPC, &[b' '; 16_001])).await;
    check(raw.answer().await.unwrap());
    assert!(raw.rest().await.is_empty());
}

/// A body of which a part has come has a second to come whole when the server stops.
#[tokio::test]
async fn a_stop_does_not_wait_for_a_body_that_does_not_come() {
    let server = start(|b| b).await;
    let head = "POST /Echo/Echo HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345";
    let mut stalled = Raw::open(&server.address).await;
    stalled.send(head).await;
    let mut chunked = Raw::open(&server.address).await;
    chunked.send("POST /Echo/Echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123").await;
    let mut late = Raw::open(&server.address).await;
    late.send(head).await;
    // All three are being served: a call behind them has been answered.
    ask(&server.address, post("/Echo/Echo", "", "x")).await;
    let begun = tokio::time::Instant::now();
    server.handle.drain(Duration::from_secs(60));
    late.send("67890").await;
    assert_eq!(late.answer().await.unwrap().text(), "1234567890");
    for raw in [&mut stalled, &mut chunked] {
        let answer = raw.answer().await.unwrap();
        assert_eq!((answer.status, answer.header("connection")), (503, Some("close")));
        let text = "the server stops, and the request's body was not whole a second later";
        assert_eq!(answer.json(), json!({"error": {"code": "draining", "message": text}}));
    }
    drop((stalled, chunked, late));
    tokio::time::timeout(PATIENCE, server.task).await.expect("the server ends").unwrap();
    // The times of bodies are 10 s.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}
