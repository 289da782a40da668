//! Known defects of the Go programs, each with the input that shows it there, by its id. Those of the decoder and
//! of HTTP stand with the tests of those.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail loudly"
)]

mod support;

use std::time::Duration;

use support::{Test, bytes, call, frame, serve, serve_in_memory};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use trunkline::client::{Channel, ConnectionState};
use trunkline::{Code, Server, Service};

async fn connect(name: &str) -> Channel {
    Channel::connect(&format!("mem://{name}?wire=rpcx")).await.unwrap()
}

/// Sends bytes over a connection of their own, and reads to its end.
async fn exchange(address: &str, sent: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(sent).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    all
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

/// E5: easymicro's server answers no failure.
#[tokio::test]
async fn e5_every_failure_is_answered_under_both_keys() {
    let (_, address) = serve(Server::builder().serve(Test::default()).listen("127.0.0.1:0")).await;
    for (method, text) in
        [("Nope", "rpcx: can't find method Nope"), ("Fail", "body"), ("Panic", "failed inside")]
    {
        let answer = exchange(&address, &frame(0, 1, method, b"body")).await;
        assert!(contains(&answer, "__rpcx_error__") && contains(&answer, "easymicro_error__"), "{method}");
        assert!(contains(&answer, text), "{method}");
    }
}

/// E7, E8: calls of a lost connection wait for ever, and after six failed dials every caller of the client does.
#[tokio::test(start_paused = true)]
async fn e8_calls_of_a_lost_connection_end_at_once_and_e7_the_channel_comes_back() {
    let handle = serve_in_memory("defects-e8").await;
    let channel = connect("defects-e8").await;
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { channel.call(call("Sleep", "9000")).await })
        })
        .collect();
    while handle.report().calls < 100 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let begun = Instant::now();
    handle.drain(Duration::ZERO);
    for call in waiting {
        assert_eq!(call.await.unwrap().unwrap_err().code(), Code::Unavailable);
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    tokio::time::sleep(Duration::from_secs(120)).await;
    serve_in_memory("defects-e8").await;
    let mut state = channel.state();
    state.wait_for(|state| *state == ConnectionState::Connected).await.unwrap();
    assert_eq!(bytes(channel.call(call("Echo", "x")).await.unwrap()), "x");
}

/// E9: one heartbeat that is not answered in time ends easymicro's client for good.
#[tokio::test]
async fn e9_a_silent_server_is_given_up_and_dialled_again() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let channel = Channel::builder(&format!("rpcx://{address}"))
        .heartbeat(Duration::from_millis(200))
        .connect()
        .await
        .unwrap();
    let (silent_stream, _) = silent.accept().await.unwrap();
    let status = channel.call(call("Echo", "x")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    drop((silent, silent_stream));
    let server = Server::builder().serve(Test::default()).listen(address).bind().await.unwrap();
    tokio::spawn(server.run());
    let mut state = channel.state();
    let connected = state.wait_for(|state| *state == ConnectionState::Connected);
    tokio::time::timeout(Duration::from_secs(40), connected).await.unwrap().unwrap();
    assert_eq!(bytes(channel.call(call("Echo", "x")).await.unwrap()), "x");
}

/// E12: without a server easymicro's client gives an empty reply and no error.
#[tokio::test(start_paused = true)]
async fn e12_nobody_there_is_a_failure() {
    let channel = Channel::builder("mem://defects-e12?wire=rpcx").lazy().unwrap();
    let status = channel.call(call("Echo", "x")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.may_retry());
}

/// E15: a stop throws away what is in flight.
#[tokio::test(start_paused = true)]
async fn e15_a_stop_answers_what_is_in_flight() {
    let handle = serve_in_memory("defects-e15").await;
    let channel = connect("defects-e15").await;
    let slow = tokio::spawn(async move { channel.call(call("Sleep", "5000")).await });
    while handle.report().calls == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    handle.drain(Duration::from_secs(30));
    assert_eq!(bytes(slow.await.unwrap().unwrap()), "5000");
}

/// E18: a task for each request, as many as a caller likes.
#[tokio::test(start_paused = true)]
async fn e18_calls_in_flight_are_bounded() {
    let builder =
        Server::builder().serve(Test::default()).calls_per_connection(8).listen("mem://defects-e18");
    let (handle, _) = serve(builder).await;
    let channel = connect("defects-e18").await;
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { channel.call(call("Sleep", "10")).await.map(bytes) })
        })
        .collect();
    for call in calls {
        assert!(handle.report().calls <= 8);
        assert_eq!(call.await.unwrap().unwrap(), "10");
    }
}

/// R2: compressed replies share a buffer that is in use already.
#[cfg(feature = "gzip")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r2_compressed_replies_side_by_side_are_whole() {
    let (_, address) = serve(Server::builder().serve(Test::default()).listen("127.0.0.1:0")).await;
    let channel = Channel::connect(&format!("rpcx://{address}")).await.unwrap();
    let calls: Vec<_> = (0..64u8)
        .map(|n| {
            let channel = channel.clone();
            tokio::spawn(async move {
                for round in 0..20 {
                    let body = vec![n; 2_000 + usize::from(n) * 100 + round];
                    let reply = channel.call(call("Owned", body.clone()).compressed()).await.unwrap();
                    assert_eq!(bytes(reply), body);
                }
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
}

/// R4: a request counts as in flight only when its task runs, and a stop in between loses it.
#[tokio::test]
async fn r4_a_request_that_has_arrived_is_answered_by_a_server_that_stops() {
    for _ in 0..20 {
        let (handle, address) = serve(Server::builder().serve(Test::default()).listen("127.0.0.1:0")).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let first = frame(0, 1, "Owned", b"first");
        stream.write_all(&first).await.unwrap();
        let mut answer = vec![0; first.len()];
        stream.read_exact(&mut answer).await.unwrap();
        stream.write_all(&frame(0, 2, "Sleep", b"20")).await.unwrap();
        handle.drain(Duration::from_secs(10));
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert!(rest.ends_with(b"20"), "{rest:?}");
    }
}

/// G5: nine bytes that are no request kill the server.
#[cfg(feature = "http")]
#[tokio::test]
async fn g5_what_is_no_request_is_refused_and_nothing_more() {
    let (_, address) = serve(Server::builder().serve(Test::default()).listen("127.0.0.1:0")).await;
    for request in ["GET /\r\n\r\n", "GET / HTTP/1.1\r\nfoo\r\n\r\n", "XXXX\r\n\r\n"] {
        let answer = exchange(&address, request.as_bytes()).await;
        assert!(answer.starts_with(b"HTTP/1.1 400"), "{request:?}: {}", answer.escape_ascii());
        assert!(exchange(&address, &frame(0, 1, "Echo", b"alive")).await.ends_with(b"alive"));
    }
}

/// G14: who ends his side is sent a text that belongs to no protocol.
#[tokio::test]
async fn g14_who_ends_its_side_gets_its_answer_and_no_other_byte() {
    let (_, address) = serve(Server::builder().serve(Test::default()).listen("127.0.0.1:0")).await;
    let request = frame(0, 1, "Echo", b"body");
    let answer = exchange(&address, &request).await;
    assert_eq!(answer.len(), request.len());
    assert!(answer.ends_with(b"body"));
    assert!(exchange(&address, b"").await.is_empty());
}

/// G4: bytes that are of no protocol are taken for the beginning of something, and kept without an end.
#[cfg(feature = "http")]
#[tokio::test]
async fn g4_endless_bytes_of_no_protocol_end_their_connection() {
    let (_, address) = serve(Server::builder().serve(Test::default()).listen("127.0.0.1:0")).await;
    for (first, next) in [(&b"XXXX\r"[..], b'x'), (b"XXXX ", b'x'), (&[0; 4], 0), (&[8, 0, 0, 0], 0xff)] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(first).await.unwrap();
        let more = vec![next; 64 << 10];
        let mut sent = 0;
        // What fails it is that nobody reads any more: the rest is not taken.
        while stream.write_all(&more).await.is_ok() {
            sent += more.len();
            assert!(sent < 64 << 20, "{first:?}: {sent} bytes were taken");
        }
        assert!(exchange(&address, &frame(0, 1, "Echo", b"alive")).await.ends_with(b"alive"));
    }
}

/// G7: what one request says is seen by another one, and the body `null` kills the server.
#[cfg(feature = "http")]
#[tokio::test]
async fn g7_requests_share_no_state() {
    let (_, address) = serve(Server::builder().serve(Test::default()).listen("127.0.0.1:0")).await;
    let head = |body: &str| {
        let length = body.len();
        format!("POST /Test/Echo HTTP/1.1\r\nHost: x\r\nReferer: %zz\r\nContent-Length: {length}\r\n\r\n")
    };
    let mut halves = Vec::new();
    for body in ["the first one", "the other one"] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(format!("{}{}", head(body), &body[..9]).as_bytes()).await.unwrap();
        halves.push((stream, body));
    }
    assert!(exchange(&address, format!("{}null", head("null")).as_bytes()).await.ends_with(b"\r\n\r\nnull"));
    for (mut stream, body) in halves {
        stream.write_all(&body.as_bytes()[9..]).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with(&format!("\r\n\r\n{body}")), "{answer}");
    }
}

/// G12: what a full socket did not take is never sent, and who does not read holds up all others.
#[tokio::test]
async fn g12_a_reader_that_pauses_gets_every_byte_and_nobody_waits_for_it() {
    const BODY: usize = 256 << 10;
    let (_, address) = serve(Server::builder().serve(Test::default()).listen("127.0.0.1:0")).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let (mut read, mut write) = socket.connect(address.parse().unwrap()).await.unwrap().into_split();
    let pump = tokio::spawn(async move {
        for seq in 0..64_u8 {
            write.write_all(&frame(0, seq.into(), "Echo", &vec![seq; BODY])).await.unwrap();
        }
        write
    });
    // More than all buffers between the two hold: the server is stuck in the middle of an answer.
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(exchange(&address, &frame(0, 1, "Echo", b"others")).await.ends_with(b"others"));
    }
    assert!(!pump.is_finished());
    for seq in 0..64_u8 {
        let expected = frame(0x80, seq.into(), "Echo", &vec![seq; BODY]);
        let mut answer = vec![0; expected.len()];
        read.read_exact(&mut answer).await.unwrap();
        assert!(answer == expected, "answer {seq}");
    }
    pump.await.unwrap();
}
