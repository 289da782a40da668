//! Leaving HTTP: CONNECT and WebSocket as Go's clients ask for them.

#![cfg(feature = "http")]

mod http_support;

use http_support::{PATIENCE, Raw, ask, post, start};
use tokio::io::AsyncReadExt;

/// A call of Arith.Mul and its answer, recorded from Go (golden cases `connect` and `websocket` of rpcx).
const CALL: &[u8] = b"\x08\x00\x00\x10\0\0\0\0\0\0\0\0\0\0\0'\0\0\0\x05Arith\0\0\0\x03Mul\0\0\0\0\0\0\0\x0f{\"A\":10,\"B\":20}";
const REPLY: &[u8] =
    b"\x08\x00\x80\x10\0\0\0\0\0\0\0\0\0\0\0!\0\0\0\x05Arith\0\0\0\x03Mul\0\0\0\0\0\0\0\t{\"C\":200}";
/// A WebSocket as Go's client asks for it, and the call as it sent it: a masked text message.
const UPGRADE: &str = "GET /_rpcx_ HTTP/1.1\r\nHost: 127.0.0.1:42275\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: IMlAD8RNU0bGdYHGX5M23A==\r\nOrigin: http://127.0.0.1:42275\r\nSec-WebSocket-Version: 13\r\n\r\n";
const MESSAGE: &[u8] = b"\x81\xb7=\x91\x11\x025\x91\x11\x12=\x91\x11\x02=\x91\x11\x02=\x91\x11%=\x91\x11\x07|\xe3xvU\x91\x11\x02>\xdcdn=\x91\x11\x02=\x91\x11\rF\xb3P \x07\xa0!.\x1f\xd338\x0f\xa1l";
const CLOSE: &[u8] = b"\x88\x82\xca\xd3\x1eM\xc9;";

async fn expect(raw: &mut Raw, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    let read = tokio::time::timeout(PATIENCE, raw.stream.read_exact(&mut got)).await;
    assert!(matches!(read, Ok(Ok(_))), "{read:?}");
    assert_eq!(got.escape_ascii().to_string(), bytes.escape_ascii().to_string());
}

#[tokio::test]
async fn a_connect_is_answered_to_the_byte_and_goes_on_as_rpcx() {
    let server = start(|b| b).await;
    for (path, answer) in [
        ("/_rpcx_", "HTTP/1.0 200 Connected to rpcx\n\n"),
        ("/_goRPC_", "HTTP/1.0 200 Connected to Go RPC\n\n"),
    ] {
        for head in [
            format!("CONNECT {path} HTTP/1.0\n\n"),
            format!("CONNECT {path} HTTP/1.0\r\n\r\n"),
            format!("CONNECT {path} HTTP/1.1\r\nHost: x\r\n\r\n"),
        ] {
            // The call waits for the answer, or comes in one piece with the CONNECT, or in single bytes.
            let mut raw = Raw::open(&server.address).await;
            raw.send(&head).await;
            expect(&mut raw, answer.as_bytes()).await;
            raw.send(CALL).await;
            expect(&mut raw, REPLY).await;
            raw.send(CALL).await;
            expect(&mut raw, REPLY).await;
            let mut raw = Raw::open(&server.address).await;
            raw.send([head.as_bytes(), CALL, CALL].concat()).await;
            expect(&mut raw, &[answer.as_bytes(), REPLY, REPLY].concat()).await;
            let mut raw = Raw::open(&server.address).await;
            for byte in [head.as_bytes(), CALL].concat() {
                raw.send([byte]).await;
            }
            expect(&mut raw, &[answer.as_bytes(), REPLY].concat()).await;
        }
    }
}

#[tokio::test]
async fn a_connect_elsewhere_is_404_and_other_bytes_behind_it_close() {
    let server = start(|b| b).await;
    let answer = ask(&server.address, "CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!((answer.status, answer.text()), (404, "404 page not found\n"));
    for bytes in ["GET / HTTP/1.1\r\n\r\n", "CONNECT /_rpcx_ HTTP/1.0\n\n", "\u{1}"] {
        let mut raw = Raw::open(&server.address).await;
        raw.send(format!("CONNECT /_rpcx_ HTTP/1.0\n\n{bytes}")).await;
        assert_eq!(raw.rest().await, b"HTTP/1.0 200 Connected to rpcx\n\n", "{bytes:?}");
    }
    let mut raw = Raw::open(&server.address).await;
    raw.send("CONNECT /_rpcx_ HTTP/1.0 x\n\n").await;
    assert_eq!(raw.answer().await.unwrap().status, 400);
}

#[tokio::test]
async fn a_connect_may_follow_requests() {
    let server = start(|b| b).await;
    let mut raw = Raw::open(&server.address).await;
    raw.send(post("/Arith/Mul", "", r#"{"A":6,"B":7}"#)).await;
    raw.send([b"CONNECT /_rpcx_ HTTP/1.0\n\n", CALL].concat()).await;
    assert_eq!(raw.answer().await.unwrap().text(), r#"{"C":42}"#);
    expect(&mut raw, &[b"HTTP/1.0 200 Connected to rpcx\n\n", REPLY].concat()).await;
}

#[tokio::test]
async fn a_web_socket_is_answered_as_by_go() {
    let server = start(|b| b).await;
    let accept = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Accept: Kzz1SBmJ+NBB9O/EB+uvd7fADlM=\r\n\r\n";
    let reply = [b"\x82\x31", REPLY].concat();
    let mut raw = Raw::open(&server.address).await;
    raw.send(UPGRADE).await;
    expect(&mut raw, accept.as_bytes()).await;
    for _ in 0..3 {
        raw.send(MESSAGE).await;
        expect(&mut raw, &reply).await;
    }
    // A ping (masked with zeros) is answered between the messages.
    raw.send(b"\x89\x82\0\0\0\0hi").await;
    expect(&mut raw, b"\x8a\x02hi").await;
    raw.send(CLOSE).await;
    assert_eq!(raw.rest().await, b"\x88\x02\x03\xe8");
    // All at once: each answer is a message of its own.
    let mut raw = Raw::open(&server.address).await;
    raw.send([UPGRADE.as_bytes(), MESSAGE, MESSAGE, CLOSE].concat()).await;
    let rest = raw.rest().await;
    let expected = [accept.as_bytes(), &reply, &reply, b"\x88\x02\x03\xe8"].concat();
    assert_eq!(rest.escape_ascii().to_string(), expected.escape_ascii().to_string());
    // In single bytes.
    let mut raw = Raw::open(&server.address).await;
    for byte in [UPGRADE.as_bytes(), MESSAGE].concat() {
        raw.send([byte]).await;
    }
    expect(&mut raw, &[accept.as_bytes(), &reply].concat()).await;
}

#[tokio::test]
async fn a_broken_rule_of_web_socket_closes_with_its_code() {
    let server = start(|b| b).await;
    for frame in [&b"\x82\x01x"[..], b"\xc2\x80\0\0\0\0", b"\x80\x80\0\0\0\0", b"\x89\xfe\0\x7e\0\0\0\0"] {
        let mut raw = Raw::open(&server.address).await;
        raw.send(UPGRADE).await;
        assert_eq!(raw.answer().await.unwrap().status, 101);
        raw.send(frame).await;
        assert_eq!(raw.rest().await, b"\x88\x02\x03\xea", "{}", frame.escape_ascii());
    }
}

#[tokio::test]
async fn what_is_no_web_socket_is_told_so() {
    let server = start(|b| b).await;
    for (from, to) in
        [("Version: 13", "Version: 8"), ("==\r\n", "\r\n"), ("IMlAD8RNU0bGdYHGX5M23A==", "AAAA")]
    {
        let answer = ask(&server.address, UPGRADE.replace(from, to)).await;
        assert_eq!((answer.status, answer.header("sec-websocket-version")), (400, Some("13")), "{to}");
    }
    let answer = ask(&server.address, UPGRADE.replace("/_rpcx_", "/Arith/Mul")).await;
    assert_eq!(answer.status, 405);
}

#[tokio::test]
async fn a_token_is_asked_for_behind_the_handshakes() {
    let server = start(|b| b.token("good")).await;
    let mut raw = Raw::open(&server.address).await;
    raw.send([b"CONNECT /_rpcx_ HTTP/1.0\n\n", CALL].concat()).await;
    let rest = raw.rest().await;
    let text = rest.escape_ascii().to_string();
    assert!(text.contains("invalid token") && !text.contains("200}"), "{text}");
}
