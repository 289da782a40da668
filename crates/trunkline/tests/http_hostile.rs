//! What must not get through the HTTP side: two readings of one request, injected headers, endless heads, garbage.

#![cfg(feature = "http")]

mod http_support;

use std::sync::atomic::Ordering;

use http_support::{Raw, ask, post, start};

/// A request that would be made if a server read the bytes before it wrongly.
const SMUGGLED: &str = "POST /Arith/Mul HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n{\"A\":6,\"B\":7}";

/// G6: Goer finds a length with an unanchored expression and knows no Transfer-Encoding.
///
/// Each of these is read in two ways by some pair of servers. All are refused and their connection closed; neither
/// they nor what is hidden behind them is called.
#[tokio::test]
async fn g6_smuggled_requests_are_refused() {
    let chunked = format!("0\r\n\r\n{SMUGGLED}");
    let mut cases: Vec<String> = Vec::new();
    // A length beside an encoding, in each order and spelling.
    for encoding in
        ["chunked", "Chunked", " chunked ", "\tchunked", "identity", "gzip", "xchunked", "chunked;q=1"]
    {
        cases.push(head(&format!("Content-Length: 5\r\nTransfer-Encoding:{encoding}\r\n")) + &chunked);
        cases.push(head(&format!("Transfer-Encoding:{encoding}\r\nContent-Length: 0\r\n")) + &chunked);
    }
    // An encoding that is not chunked and nothing but that.
    for encoding in [
        "identity",
        "gzip",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked,",
        ",chunked",
        "x",
        "",
        "\"chunked\"",
        "chunked;x=y",
        "chunked\r\nTransfer-Encoding: chunked",
        "chunked\r\nTransfer-Encoding: identity",
        "\r\n chunked",
        "\x0bchunked",
        "chunked\x0c",
        "chunked\0",
        "ch\u{fc}nked",
    ] {
        cases.push(head(&format!("Transfer-Encoding: {encoding}\r\n")) + &chunked);
    }
    // Lengths that are two, or none.
    for length in [
        "5\r\nContent-Length: 6",
        "0\r\nContent-Length: 62",
        "5, 6",
        "5,5",
        "+5",
        "-5",
        "5 6",
        "0x5",
        "5.0",
        "5a",
        "",
        " ",
        "1e1",
        "18446744073709551616",
        "99999999999999999999999",
        "5;",
        "\u{665}",
        "5\r\n ",
        "_5",
    ] {
        cases.push(head(&format!("Content-Length: {length}\r\n")) + SMUGGLED);
    }
    // Heads whose lines are two things at once.
    for line in [
        "X: y\r\n Content-Length: 5",
        "X: y\r\n\tTransfer-Encoding: chunked",
        "Content-Length : 5",
        "Transfer-Encoding : chunked",
        "Content-Length\t: 5",
        " Content-Length: 5",
        "Content-Length 5",
        ": 5",
        "X",
        "X\0: y",
        "X: y\0",
        "X: y\0Content-Length: 5",
        "X: y\x08",
        "X: y\x7f",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\n",
        "X\r: y",
        "Content\u{ad}-Length: 5",
        "Content_(Length): 5",
        "\"Content-Length\": 5",
        "Host: x\r\nHost: y",
    ] {
        cases.push(head(&format!("{line}\r\n")) + SMUGGLED);
    }
    // Request lines.
    for line in [
        "POST  /Echo/Echo HTTP/1.1",
        "POST /Echo/Echo  HTTP/1.1",
        "POST /Echo/Echo HTTP/1.1 ",
        "POST /Echo/Echo",
        "POST\t/Echo/Echo\tHTTP/1.1",
        "POST /Echo/ Echo HTTP/1.1",
        "POST /Echo/Echo HTTP/1.2",
        "POST /Echo/Echo HTTP/2.0",
        "POST /Echo/Echo HTTP/0.9",
        "POST /Echo/Echo http/1.1",
        "POST /Echo\x7f/Echo HTTP/1.1",
        "P(ST /Echo/Echo HTTP/1.1",
        "POST /Echo/Echo HTTP/1.1\rX: y",
        "POST /Echo/Echo HTTP/1.1\nX: y",
        "POST  HTTP/1.1",
        "PRI * HTTP/2.0",
    ] {
        cases.push(format!("{line}\r\nContent-Length: 0\r\n\r\n{SMUGGLED}"));
    }
    cases.push(format!("POST /Echo/Echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"));
    cases.push(format!("POST /Echo/Echo HTTP/1.1\n\n{SMUGGLED}"));
    cases.push(format!("GET / HTTP/1.1\r\nX: y\r\n\n{SMUGGLED}"));
    assert!(cases.len() >= 50, "{}", cases.len());

    let server = start(|b| b).await;
    for case in &cases {
        let mut raw = Raw::open(&server.address).await;
        raw.send(case).await;
        let answer = raw.answer().await.unwrap_or_else(|| panic!("no answer to {case:?}"));
        assert_eq!(answer.status, 400, "{case:?}");
        assert!(raw.rest().await.is_empty(), "{case:?}");
        assert_eq!(server.seen.calls.load(Ordering::SeqCst), 0, "{case:?}");
        // Behind a good request on the same connection it is the same.
        let mut raw = Raw::open(&server.address).await;
        raw.send(format!("GET / HTTP/1.1\r\n\r\n{case}")).await;
        assert_eq!(raw.answer().await.unwrap().status, 200);
        assert_eq!(raw.answer().await.unwrap().status, 400, "{case:?}");
        assert!(raw.rest().await.is_empty(), "{case:?}");
    }
    assert_eq!(server.seen.calls.load(Ordering::SeqCst), 0);
}

fn head(headers: &str) -> String {
    format!("POST /Echo/Echo HTTP/1.1\r\nHost: x\r\n{headers}\r\n")
}

/// Bodies whose chunks could be read in two ways: the call is not made, the connection ends.
#[tokio::test]
async fn g6_badly_chunked_bodies_are_refused() {
    let server = start(|b| b).await;
    for body in [
        "g\r\n",
        "0x5\r\nhello\r\n",
        "5 \r\nhello\r\n",
        " 5\r\nhello\r\n",
        "+5\r\nhello\r\n",
        "-5\r\nhello\r\n",
        "5\nhello\r\n",
        "5\r\nhello\n",
        "5\r\nhelloX\r\n",
        "5\r\nhell\r\n",
        "\r\n",
        ";x\r\n",
        "5;a\nb\r\nhello\r\n",
        "5;\0\r\nhello\r\n",
        "11111111111111111\r\nhello",
        "5\r\nhello\r\n0\r\nX : y\r\n\r\n",
        "0\r\n X: y\r\n\r\n",
        "0\r\nX: \0\r\n\r\n",
        "0\r\nno colon\r\n\r\n",
        "5\rhello\r\n",
    ] {
        let mut raw = Raw::open(&server.address).await;
        let padding = "z".repeat(300);
        raw.send(head("Transfer-Encoding: chunked\r\n") + body + SMUGGLED + &padding).await;
        let answer = raw.answer().await.unwrap_or_else(|| panic!("no answer to {body:?}"));
        assert_eq!(answer.status, 400, "{body:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{body:?}");
        assert!(raw.rest().await.is_empty(), "{body:?}");
    }
    assert_eq!(server.seen.calls.load(Ordering::SeqCst), 0);
}

/// What is no length or encoding is none, however much it looks like one.
#[tokio::test]
async fn g6_headers_that_only_look_like_framing_are_not() {
    let server = start(|b| b).await;
    for header in
        ["X-Content-Length: 5", "Content-Length2: 5", "X: Transfer-Encoding: chunked", "TE: chunked"]
    {
        let mut raw = Raw::open(&server.address).await;
        raw.send(head(&format!("{header}\r\n")) + SMUGGLED).await;
        assert_eq!(raw.answer().await.unwrap().body, b"", "{header}");
        assert_eq!(raw.answer().await.unwrap().text(), r#"{"C":42}"#, "{header}");
    }
}

#[tokio::test]
async fn heads_have_limits_that_are_exact() {
    let server = start(|b| b).await;
    let many = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(count));
    let long = |length: usize| {
        let fixed = "GET / HTTP/1.1\r\nA: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "b".repeat(length - fixed))
    };
    let target = |length: usize| format!("GET /{} HTTP/1.1\r\n\r\n", "b".repeat(length));
    for (request, status) in [
        (many(100), 200),
        (many(101), 431),
        (many(100_000), 431),
        (long(64 << 10), 200),
        (long((64 << 10) + 1), 431),
        (long(10 << 20), 431),
        (target(60_000), 404),
        (target(70_000), 414),
        ("A".repeat(10 << 20), 414),
        (format!("CONNECT /{} HTTP/1.0\n\n", "b".repeat(5000)), 431),
    ] {
        let mut raw = Raw::open(&server.address).await;
        let length = request.len();
        // The server stops reading before the largest of them are sent whole.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut raw.stream, request.as_bytes()).await;
        match raw.answer().await {
            Some(answer) => assert_eq!(answer.status, status, "{length}"),
            None => assert!(length > 1 << 20, "no answer to {length} bytes"),
        }
        if status != 200 && status != 404 {
            assert!(raw.rest().await.is_empty(), "{length}");
        }
    }
    assert_eq!(ask(&server.address, post("/Arith/Mul", "", r#"{"A":6,"B":7}"#)).await.status, 200);
}

/// 600 broken requests, made of good ones by changing or cutting bytes: each costs its own connection at most.
#[tokio::test]
async fn garbage_costs_only_its_own_connection() {
    let server = start(|b| b).await;
    let mut good = Raw::open(&server.address).await;
    let call = post("/Arith/Mul", "X-RPCX-Meta: a=b\r\n", r#"{"A":6,"B":7}"#);
    let templates = [
        call.clone(),
        head("Transfer-Encoding: chunked\r\n") + "5\r\nhello\r\n0\r\n\r\n",
        "CONNECT /_rpcx_ HTTP/1.0\n\n\x08".to_owned(),
        "GET /_rpcx_ HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: IMlAD8RNU0bGdYHGX5M23A==\r\nSec-WebSocket-Version: 13\r\n\r\n\u{1}\u{2}\u{3}"
            .to_owned(),
        post("/", "X-JSONRPC-2.0: true\r\n", r#"[{"jsonrpc":"2.0","method":"Echo.Echo","id":1}]"#),
        post(
            "/",
            "X-RPCX-SerializeType: 1\r\nX-RPCX-ServiceMethod: Mul\r\nX-RPCX-ServicePath: Arith\r\n",
            "{}",
        ),
    ];
    // The changes are drawn from a fixed seed, so that a failure can be repeated.
    let mut random = fastrand::Rng::with_seed(3);
    for number in 0..600usize {
        let mut bytes = templates[number % templates.len()].clone().into_bytes();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(1..bytes.len());
            match random.u8(0..4) {
                0 => bytes[at] = random.u8(..),
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, *b"\r\n\0 :%\xff9".get(random.usize(0..8)).unwrap()),
                _ => bytes.truncate(at.max(2)),
            }
        }
        let mut raw = Raw::open(&server.address).await;
        let _ = tokio::io::AsyncWriteExt::write_all(&mut raw.stream, &bytes).await;
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut raw.stream).await;
        let _ = raw.rest().await;
        good.send(&call).await;
        assert_eq!(good.answer().await.unwrap().text(), r#"{"C":42}"#, "{number}: {}", bytes.escape_ascii());
    }
}

/// What a caller puts into metadata stays there: no header of the answer, no pair of another key comes out of it.
#[tokio::test]
async fn i3_metadata_cannot_inject_anything() {
    let server = start(|b| b).await;
    for form in [
        "X-RPCX-Meta: ",
        "X-RPCX-SerializeType: 1\r\nX-RPCX-ServiceMethod: Echo\r\nX-RPCX-ServicePath: Meta\r\nX-RPCX-Meta: ",
        "Easymicro-MessageID: 1\r\nEasymicro-SerializeType: 1\r\nEasymicro-Meta: ",
    ] {
        for pair in [
            "a=b%0d%0aX-Evil: 1",
            "a=b%0aX-Evil: 1",
            "a=b%0dX",
            "a%0d%0aX-Evil: 1=b",
            "a=%00",
            "%00=b",
            "a=b&c=d%0D%0A%0D%0AHTTP/1.1 200 OK",
        ] {
            let answer = ask(&server.address, post("/Meta/Echo", &format!("{form}{pair}\r\n"), "{}")).await;
            let is_rpcx = form.starts_with("X-RPCX-S");
            assert_eq!(answer.status, if is_rpcx { 200 } else { 400 }, "{form}{pair}");
            if is_rpcx {
                assert_eq!(answer.header("x-rpcx-messagestatustype"), Some("Error"));
            }
            assert_eq!(answer.header("x-evil"), None);
        }
        assert_eq!(server.seen.calls.load(Ordering::SeqCst), 0);
    }
    let odd = "X-RPCX-Meta: a%26b%3D=c%26d%3De%2B\r\n";
    let answer = ask(&server.address, post("/Meta/Echo", odd, "{}")).await;
    assert_eq!(answer.header("x-rpcx-meta"), Some("echo-a%26b%3D=c%26d%3De%2B"));
}

/// What comes behind a request that closes is not looked at any more: nothing follows its answer.
#[tokio::test]
async fn nothing_is_answered_behind_the_last_answer() {
    let server = start(|b| b).await;
    for behind in ["X: y\n\n", "CONNECT /_rpcx_ HTTP/1.0\n\n", SMUGGLED] {
        let mut raw = Raw::open(&server.address).await;
        raw.send(format!("GET / HTTP/1.1\r\nConnection: close\r\n\r\n{behind}")).await;
        assert_eq!(raw.answer().await.unwrap().status, 200);
        assert!(raw.rest().await.is_empty(), "{behind:?}");
    }
    assert_eq!(server.seen.calls.load(Ordering::SeqCst), 0);
}
