//! Slow peers, on paused time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};

use crate::describe::{MethodInfo, ServiceInfo};
use crate::net::transport::{Address, Stream};
use crate::{Call, NamedService, Reply, Result, Server, Service};

/// Waits for as many seconds as its body says, and gives as many MiB.
struct Slow;

impl NamedService for Slow {
    fn describe(&self) -> ServiceInfo {
        let methods = vec![MethodInfo::new("Sleep"), MethodInfo::new("Give")];
        ServiceInfo { name: "Slow".into(), doc: "", methods }
    }
}

impl Service for Slow {
    async fn call(&self, call: Call) -> Result<Reply> {
        let gives = call.method() == "Give";
        let body = call.into_parts().1.whole(1 << 20).await?;
        let number: usize = String::from_utf8_lossy(&body).trim().parse().unwrap();
        if gives {
            return Ok(Reply::new(vec![b'x'; number << 20]));
        }
        sleep(Duration::from_secs(number.try_into().unwrap())).await;
        Ok(Reply::new(body))
    }
}

/// Starts a server in memory and dials it.
async fn dial(name: &str) -> Stream {
    let server = Server::builder().serve(Slow).listen(format!("mem://{name}")).bind().await.unwrap();
    tokio::spawn(server.run());
    Stream::dial(&Address::Memory(name.into())).await.unwrap()
}

async fn end(stream: &mut Stream) -> String {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    String::from_utf8(rest).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_is_closed_10_s_after_its_first_byte() {
    let mut stream = dial("gateway-slow-head").await;
    // Before the first byte there is no limit.
    sleep(Duration::from_secs(3600)).await;
    let begun = Instant::now();
    for byte in "GET /".bytes() {
        stream.write_all(&[byte]).await.unwrap();
        sleep(Duration::from_secs(2)).await;
    }
    let answer = end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(10) && took < Duration::from_secs(13), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_kept_and_its_next_head_has_10_s() {
    let mut stream = dial("gateway-idle").await;
    for _ in 0..3 {
        stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        sleep(Duration::from_secs(9)).await;
        stream.write_all(b"\r\n").await.unwrap();
        let mut answer = vec![0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 200");
        while !answer.ends_with(b"deadline.\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        sleep(Duration::from_secs(3600)).await;
    }
    let begun = Instant::now();
    stream.write_all(b"GET / HTTP/1.1\r\nA").await.unwrap();
    let answer = end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(begun.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_slow_connect_is_closed_too() {
    let mut stream = dial("gateway-slow-connect").await;
    stream.write_all(b"CONNECT /_rpcx_ HTTP/1.0\n").await.unwrap();
    assert!(end(&mut stream).await.starts_with("HTTP/1.1 408 "));
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_is_408_and_a_steady_one_is_not() {
    let mut stream = dial("gateway-slow-body").await;
    let head = "POST /Slow/Sleep HTTP/1.1\r\nContent-Length: 60000\r\n\r\n";
    // 2 KiB a second go on for as long as they like.
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..30 {
        sleep(Duration::from_secs(1)).await;
        stream.write_all(&[b' '; 1999]).await.unwrap();
    }
    stream.write_all(&[b'0'; 30]).await.unwrap();
    let mut answer = vec![0; 15];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 200 OK");
    // A byte a second does not.
    let mut stream = dial("gateway-slower-body").await;
    stream.write_all(head.as_bytes()).await.unwrap();
    let begun = Instant::now();
    for _ in 0..9 {
        sleep(Duration::from_secs(1)).await;
        stream.write_all(b" ").await.unwrap();
    }
    let answer = end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("Connection: close"), "{answer}");
    assert!(answer.ends_with(r#""message":"the request's body comes too slowly"}}"#), "{answer}");
    assert!((10..12).contains(&begun.elapsed().as_secs()));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_let_go_after_10_s() {
    let mut stream = dial("gateway-slow-reader").await;
    stream.write_all(b"POST /Slow/Give HTTP/1.1\r\nContent-Length: 1\r\n\r\n4").await.unwrap();
    sleep(Duration::from_secs(12)).await;
    let got = end(&mut stream).await;
    assert!(got.starts_with("HTTP/1.1 200 OK\r\n") && got.len() < 1 << 20, "{}", got.len());
    // One that reads a little every few seconds gets all of it.
    let mut stream = dial("gateway-steady-reader").await;
    let request = b"POST /Slow/Give HTTP/1.1\r\nContent-Length: 1\r\nConnection: close\r\n\r\n4";
    stream.write_all(request).await.unwrap();
    let mut got = 0;
    let mut part = vec![0; 100 << 10];
    loop {
        sleep(Duration::from_secs(5)).await;
        match stream.read(&mut part).await.unwrap() {
            0 => break,
            length => got += length,
        }
    }
    assert!(got > 4 << 20);
}

/// A few bytes now and then are no reading: 10 KiB in 10 s are, as on the other wires.
#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_a_little_now_and_then_is_let_go_too() {
    let mut stream = dial("gateway-trickle").await;
    stream.write_all(b"POST /Slow/Give HTTP/1.1\r\nContent-Length: 1\r\n\r\n4").await.unwrap();
    let mut part = vec![0; 1 << 10];
    for _ in 0..10 {
        sleep(Duration::from_secs(3)).await;
        stream.read_exact(&mut part).await.unwrap();
    }
    let got = end(&mut stream).await;
    assert!(got.len() < 1 << 20, "{}", got.len());
}

/// What is logged, of a body that stalls.
#[tokio::test(start_paused = true)]
async fn a_stalled_body_leaves_one_line() {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    // All tasks of this test run on its thread.
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut stream = dial("gateway-stalled-body").await;
    stream.write_all(b"POST /Slow/Sleep HTTP/1.1\r\nContent-Length: 9\r\n\r\n1").await.unwrap();
    assert!(end(&mut stream).await.starts_with("HTTP/1.1 408 "));
    sleep(Duration::from_secs(5)).await;
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| line.contains("wire=\"http\"")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(lines[0].contains("WARN") && lines[0].contains("peer="), "{text}");
    assert!(lines[0].contains("rule=\"the request's body comes too slowly\" offset=49"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_long_call_goes_on_while_its_caller_waits() {
    let mut stream = dial("gateway-long-call").await;
    // The beginning of the next request is read ahead; its time runs, but the call is answered first.
    let request = b"POST /Slow/Sleep HTTP/1.1\r\nContent-Length: 3\r\n\r\n600POST /Sl";
    stream.write_all(request).await.unwrap();
    let answers = end(&mut stream).await;
    assert!(answers.starts_with("HTTP/1.1 200 OK\r\n"), "{answers}");
    assert!(answers.contains("\r\n\r\n600HTTP/1.1 408 Request Timeout\r\n"), "{answers}");
}
