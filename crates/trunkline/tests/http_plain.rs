//! HTTP as a user meets it: plain JSON, the page, statuses, deadlines, metadata, the end of connections.

#![cfg(feature = "http")]

mod http_support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use http_support::{PATIENCE, Raw, ask, post, start, until};
use serde_json::json;

#[tokio::test]
async fn a_plain_post_needs_no_header() {
    let server = start(|b| b).await;
    let answer = ask(&server.address, post("/Arith/Mul", "", r#"{"A":6,"B":7}"#)).await;
    assert_eq!((answer.status, answer.text()), (200, r#"{"C":42}"#));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-rpcx-meta"), None);
    // Names in other letters, escaped, with a query.
    let answer = ask(&server.address, post("/arith/m%55L?x=/y", "", r#"{"A":6,"B":7}"#)).await;
    assert_eq!((answer.status, answer.text()), (200, r#"{"C":42}"#));
    let answer = ask(&server.address, post("/Arith/Wire", "", "{}")).await;
    assert_eq!(answer.text(), "\"http\"");
}

#[tokio::test]
async fn any_body_goes_through_echo_as_it_is() {
    let server = start(|b| b).await;
    let mut raw = Raw::open(&server.address).await;
    for body in [&b""[..], b"\0\xff not JSON", &[b'x'; 200_000]] {
        for path in ["/Echo/Echo", "/Echo/Spawned"] {
            raw.send(format!(
                "POST {path} HTTP/1.1\r\nContent-Type: image/png\r\nContent-Length: {}\r\n\r\n",
                body.len()
            ))
            .await;
            raw.send(body).await;
            let answer = raw.answer().await.unwrap();
            assert_eq!(answer.status, 200);
            assert!(answer.body == body);
        }
    }
}

#[tokio::test]
async fn every_failure_has_its_status_and_its_message() {
    let server = start(|b| b.body_limit(1000)).await;
    let big = format!("\"{}\"", "x".repeat(1000));
    let mut cases = vec![
        (post("/Arith/Fail", "", "{}"), 500, "failed", "refused 10: größer"),
        (post("/Arith/Mul", "", r#"{"A":6}"#), 400, "invalid_input", "B is missing"),
        (post("/Nope/Mul", "", "{}"), 404, "not_found", "rpcx: can't find service Nope"),
        (post("/Arith/Nope", "", "{}"), 404, "not_found", "rpcx: can't find method Nope"),
        (post("/Arith", "", "{}"), 404, "not_found", "the path is not /Service/Method"),
        (post("/Arith/Mul/x", "", "{}"), 404, "not_found", "the path is not /Service/Method"),
        (post("/Arith/M%ff", "", "{}"), 404, "not_found", "the path is not /Service/Method"),
        (post("/Fault/Panic", "", "{}"), 500, "internal", "the service failed inside; see its log"),
        (
            post("/Echo/Echo", "", &big),
            413,
            "too_large",
            "the request's body is over the limit of 1000 bytes (setting body_limit, flag --body-limit)",
        ),
        (
            post("/Fault/Big", "", r#"{"Bytes":999}"#),
            413,
            "too_large",
            "the reply's body is over the limit of 1000 bytes (setting body_limit, flag --body-limit)",
        ),
        (
            post("/Slow/Sleep", "X-Timeout: 20ms\r\n", r#"{"Millis":60000}"#),
            504,
            "deadline_exceeded",
            "context deadline exceeded",
        ),
        (
            post("/Arith/Mul", "X-Timeout: soon\r\n", "{}"),
            400,
            "invalid_input",
            "X-Timeout is not a time like 200ms, 5s or 1m30s",
        ),
    ];
    let codes = [(3, 404), (4, 401), (5, 504), (6, 500), (7, 429), (9, 503), (10, 500), (11, 400), (12, 503)];
    let names = codes.map(|(code, _)| trunkline::Code::from_number(code).name());
    let texts = names.map(|name| format!("as {name}"));
    for (((code, status), name), text) in codes.iter().zip(names).zip(&texts) {
        cases.push((post("/Fault/Code", "", &format!(r#"{{"Code":{code}}}"#)), *status, name, text));
    }
    let mut raw = Raw::open(&server.address).await;
    for (request, status, code, message) in cases {
        raw.send(&request).await;
        let answer = raw.answer().await.unwrap();
        assert_eq!(answer.status, status, "{request}");
        assert_eq!(answer.json(), json!({"error": {"code": code, "message": message}}), "{request}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{request}");
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401);
    }
}

#[tokio::test]
async fn other_methods_are_405_and_unknown_paths_404() {
    let server = start(|b| b).await;
    for (method, path, status, allow) in [
        ("GET", "/Arith/Mul", 405, Some("POST")),
        ("PUT", "/Arith/Mul", 405, Some("POST")),
        ("DELETE", "/arith/mul", 405, Some("POST")),
        ("GET", "/Arith/Nope", 404, None),
        ("GET", "/favicon.ico", 404, None),
        ("POST", "/", 405, Some("GET, HEAD")),
        ("OPTIONS", "*", 404, None),
        ("GET", "/_rpcx_", 405, Some("CONNECT")),
        ("POST", "/_goRPC_", 405, Some("CONNECT")),
    ] {
        let answer = ask(&server.address, format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert_eq!((answer.status, answer.header("allow")), (status, allow), "{method} {path}");
        if path.starts_with("/_") {
            assert_eq!(answer.text(), "405 must CONNECT\n");
        }
    }
}

#[tokio::test]
async fn a_token_is_asked_for_everywhere() {
    let server = start(|b| b.token("good")).await;
    for (authorization, status) in [
        ("", 401),
        ("Authorization: Bearer bad\r\n", 401),
        ("Authorization: Basic good\r\n", 401),
        ("Authorization: bearergood\r\n", 401),
        ("Authorization: Bearer bad\r\nAuthorization: Bearer good\r\n", 401),
        ("Authorization: Bearer good\r\nAuthorization: Bearer bad\r\n", 401),
        ("Authorization: Bearer good\r\n", 200),
        ("Authorization: bearer good\r\n", 200),
        ("authorization: BEARER  good\r\n", 200),
    ] {
        let answer = ask(&server.address, post("/Arith/Mul", authorization, r#"{"A":6,"B":7}"#)).await;
        assert_eq!(answer.status, status, "{authorization}");
        let page = ask(&server.address, format!("GET / HTTP/1.1\r\n{authorization}\r\n")).await;
        assert_eq!(page.status, status, "{authorization}");
        if status == 401 {
            assert_eq!(
                answer.json(),
                json!({"error": {"code": "unauthenticated", "message": "invalid token"}})
            );
            assert!(!page.text().contains("Arith"));
        }
    }
    // I3, E16: the token does not come in by another way.
    for header in ["X-RPCX-Meta: __AUTH=good\r\n", "X-RPCX-Meta: %5F_AUTH=good\r\n", "__AUTH: good\r\n"] {
        let answer = ask(&server.address, post("/Arith/Mul", header, r#"{"A":6,"B":7}"#)).await;
        assert_eq!(answer.status, 401, "{header}");
    }
}

#[tokio::test]
async fn metadata_goes_both_ways() {
    let server = start(|b| b).await;
    let headers =
        "X-RPCX-Meta: k=v&m=%C3%B6&__ServerTimeout=1&__trunkline_cancel=1\r\nAuthorization: Bearer x\r\n";
    let answer = ask(&server.address, post("/Meta/Echo", headers, "{}")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-rpcx-meta"), Some("echo-__AUTH=Bearer+x&echo-k=v&echo-m=%C3%B6"));
    for pair in ["a=b%0d%0aX-Evil: 1", "a%0a=b", "a=b%00", "a=%zz"] {
        let answer =
            ask(&server.address, post("/Meta/Echo", &format!("X-RPCX-Meta: {pair}\r\n"), "{}")).await;
        assert_eq!(answer.status, 400, "{pair}");
    }
    assert_eq!(server.seen.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_page_lists_what_is_served() {
    let server = start(|b| b).await;
    let get = |accept: &str| format!("GET / HTTP/1.1\r\nHost: x\r\n{accept}\r\n");
    let text = ask(&server.address, get("Accept: */*\r\n")).await;
    assert_eq!((text.status, text.header("content-type")), (200, Some("text/plain; charset=utf-8")));
    assert!(text.text().contains("POST /Arith/Mul  What <it> does.\n"), "{}", text.text());
    let html = ask(&server.address, get("Accept: text/html,application/xml;q=0.9\r\n")).await;
    assert_eq!(html.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(html.text().contains("POST /Slow/Sleep</code><td>What &lt;it&gt; does."));
    let mut raw = Raw::open(&server.address).await;
    raw.send("HEAD / HTTP/1.0\r\n\r\n").await;
    let head = String::from_utf8(raw.rest().await).unwrap();
    assert!(head.starts_with("HTTP/1.0 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn connections_live_as_long_as_they_should() {
    let server = start(|b| b).await;
    let call = post("/Arith/Mul", "", r#"{"A":6,"B":7}"#);
    let chunked = "POST /Arith/Mul HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
                   6;x=y\r\n{\"A\":6\r\n7\r\n,\"B\":7}\r\n0\r\nX-T: 1\r\n\r\n";
    // Pipelined, one with chunks, one with an empty line too many behind it; at last one that closes.
    let mut raw = Raw::open(&server.address).await;
    raw.send(format!("{call}{chunked}{call}\r\n")).await;
    raw.send(post("/Arith/Mul", "Connection: close\r\n", r#"{"A":6,"B":7}"#)).await;
    for _ in 0..4 {
        assert_eq!(raw.answer().await.unwrap().text(), r#"{"C":42}"#);
    }
    assert!(raw.rest().await.is_empty());
    // HTTP/1.0 closes of itself.
    let mut raw = Raw::open(&server.address).await;
    raw.send(call.replace("HTTP/1.1", "HTTP/1.0")).await;
    assert_eq!(raw.answer().await.unwrap().text(), r#"{"C":42}"#);
    assert!(raw.rest().await.is_empty());
    // Who asks first is told to go on.
    let mut raw = Raw::open(&server.address).await;
    raw.send("POST /Arith/Mul HTTP/1.1\r\nContent-Length: 13\r\nExpect: 100-continue\r\n\r\n").await;
    assert_eq!(raw.answer().await.unwrap().status, 100);
    raw.send(r#"{"A":6,"B":7}"#).await;
    assert_eq!(raw.answer().await.unwrap().text(), r#"{"C":42}"#);
    // A streamed reply is sent whole.
    assert_eq!(ask(&server.address, post("/Fault/Stream", "", "")).await.text(), "[1,2]");
}

#[tokio::test]
async fn a_head_may_come_in_single_bytes() {
    let server = start(|b| b).await;
    let mut raw = Raw::open(&server.address).await;
    for byte in post("/Arith/Mul", "X-Timeout: 5s\r\n", r#"{"A":6,"B":7}"#).repeat(2).as_bytes() {
        raw.send([*byte]).await;
    }
    for _ in 0..2 {
        assert_eq!(raw.answer().await.unwrap().text(), r#"{"C":42}"#);
    }
}

#[tokio::test]
async fn the_body_limit_is_exact_and_a_rest_is_read_past() {
    let server = start(|b| b.body_limit(1000)).await;
    let mut raw = Raw::open(&server.address).await;
    let chunked = |length: usize| {
        let body = "x".repeat(length);
        format!(
            "POST /Echo/Echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
        )
    };
    for (length, status) in [(1000, 200), (1001, 413), (16_000, 413), (1000, 200)] {
        raw.send(post("/Echo/Echo", "", &"x".repeat(length))).await;
        assert_eq!(raw.answer().await.unwrap().status, status, "{length}");
        raw.send(chunked(length)).await;
        assert_eq!(raw.answer().await.unwrap().status, status, "{length}");
    }
    // Beyond 16 times the limit the connection is closed; what is announced need not even come.
    for request in [post("/Echo/Echo", "", &"x".repeat(16_001)), chunked(16_001)] {
        let mut raw = Raw::open(&server.address).await;
        raw.send(request).await;
        let answer = raw.answer().await.unwrap();
        assert_eq!((answer.status, answer.header("connection")), (413, Some("close")));
        assert!(raw.rest().await.is_empty());
    }
    let mut raw = Raw::open(&server.address).await;
    raw.send("POST /Echo/Echo HTTP/1.1\r\nContent-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n").await;
    assert_eq!(raw.answer().await.unwrap().status, 413);
}

#[tokio::test]
async fn a_caller_that_goes_away_ends_its_call() {
    let server = start(|b| b).await;
    let request = post("/Slow/Sleep", "", r#"{"Millis":600000}"#);
    let mut raw = Raw::open(&server.address).await;
    raw.send(&request).await;
    until("the handler runs", || server.seen.sleeping.load(Ordering::SeqCst) == 1).await;
    drop(raw);
    until("the handler is dropped", || server.seen.dropped.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn a_caller_may_end_its_side_and_wait_a_second() {
    use tokio::io::AsyncWriteExt;
    let server = start(|b| b).await;
    let mut raw = Raw::open(&server.address).await;
    raw.send(post("/Slow/Sleep", "", r#"{"Millis":50}"#)).await;
    raw.stream.shutdown().await.unwrap();
    assert_eq!(raw.answer().await.unwrap().text(), r#"{"Slept":50}"#);
    assert!(raw.rest().await.is_empty());
    let mut raw = Raw::open(&server.address).await;
    raw.send(post("/Slow/Sleep", "", r#"{"Millis":600000}"#)).await;
    raw.stream.shutdown().await.unwrap();
    assert!(raw.answer().await.is_none());
    until("the handler is dropped", || server.seen.dropped.load(Ordering::SeqCst) == 2).await;
}

#[tokio::test]
async fn a_stop_waits_for_the_last_answer_and_for_nothing_else() {
    let server = start(|b| b).await;
    let mut idle = Raw::open(&server.address).await;
    idle.send(post("/Arith/Mul", "", r#"{"A":6,"B":7}"#)).await;
    idle.answer().await.unwrap();
    let mut fresh = Raw::open(&server.address).await;
    fresh.send("POST /Ar").await;
    let mut busy = Raw::open(&server.address).await;
    busy.send(post("/Slow/Sleep", "", r#"{"Millis":100}"#)).await;
    until("the handler runs", || server.seen.sleeping.load(Ordering::SeqCst) == 1).await;
    server.handle.drain(Duration::from_secs(60));
    let answer = busy.answer().await.unwrap();
    assert_eq!((answer.text(), answer.header("connection")), (r#"{"Slept":100}"#, Some("close")));
    assert!(idle.rest().await.is_empty());
    tokio::time::timeout(PATIENCE, server.task).await.expect("the server ends").unwrap();
}

/// A request that had come when the stop began is answered, on fresh connections and on used ones.
#[tokio::test]
async fn a_stop_loses_no_request_that_has_come() {
    let server = start(|b| b).await;
    let call = post("/Arith/Mul", "", r#"{"A":6,"B":7}"#);
    let mut connections = Vec::new();
    for _ in 0..20 {
        let mut raw = Raw::open(&server.address).await;
        raw.send(&call).await;
        raw.answer().await.unwrap();
        connections.push(raw);
    }
    // Written to the kernel in full; the server's tasks have not run since.
    for raw in &connections {
        assert_eq!(raw.stream.get_ref().try_write(call.as_bytes()).unwrap(), call.len());
    }
    server.handle.drain(Duration::from_secs(60));
    for raw in &mut connections {
        assert_eq!(raw.answer().await.expect("an answer").text(), r#"{"C":42}"#);
        assert!(raw.rest().await.is_empty());
    }
    tokio::time::timeout(PATIENCE, server.task).await.expect("the server ends").unwrap();
}
