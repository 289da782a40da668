//! Streams over HTTP: as lines and as events to any client, to our own client, and what becomes of them midway.

#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails so")]

mod http_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http_support::{PATIENCE, Raw, ask, post, until};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use trunkline::client::Channel;
use trunkline::server::RunningServer;
use trunkline::{Annotated, Bytes, Code, Message, Metadata, Result, Server, Status, Streaming};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Message)]
struct Number {
    n: i64,
}

fn number(n: i64) -> Number {
    Number { n }
}

#[trunkline::service]
trait Feed {
    async fn count(&self, to: Number) -> Result<Streaming<Number>>;
    /// Fails behind so many.
    async fn breaks(&self, at: Number) -> Result<Streaming<Number>>;
    async fn refuses(&self) -> Result<Streaming<Number>>;
    async fn double(&self, numbers: Streaming<Number>) -> Result<Streaming<Number>>;
    async fn sum(&self, numbers: Streaming<Number>) -> Result<Number>;
    async fn upper(&self, words: Streaming<String>) -> Result<Annotated<Streaming<String>>>;
    async fn length(&self, parts: Streaming<Bytes>) -> Result<Number>;
    /// One, and then nothing.
    async fn silent(&self) -> Result<Streaming<Number>>;
    async fn endless(&self) -> Result<Streaming<String>>;
    async fn whole(&self, n: Number) -> Result<Number>;
}

#[derive(Default)]
struct Seen {
    made: AtomicU64,
    summed: AtomicU64,
    ended: AtomicU64,
}

impl Seen {
    fn ended(&self) -> u64 {
        self.ended.load(Ordering::SeqCst)
    }
}

struct Ends(Arc<Seen>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

struct Feeder(Arc<Seen>);

impl Feed for Feeder {
    async fn count(&self, to: Number) -> Result<Streaming<Number>> {
        Ok(Streaming::iter((1..=to.n).map(number)))
    }

    async fn breaks(&self, at: Number) -> Result<Streaming<Number>> {
        Ok(Streaming::produce(|out| async move {
            for n in 1..=at.n {
                out.send(number(n)).await?;
            }
            Err(Status::new(Code::Limited, "midway: \"ü\""))
        }))
    }

    async fn refuses(&self) -> Result<Streaming<Number>> {
        Err(Status::new(Code::Limited, "not now"))
    }

    async fn double(&self, mut numbers: Streaming<Number>) -> Result<Streaming<Number>> {
        let ends = Ends(Arc::clone(&self.0));
        Ok(Streaming::produce(|out| async move {
            let _ends = ends;
            while let Some(next) = numbers.next().await {
                out.send(number(2 * next?.n)).await?;
            }
            Ok(())
        }))
    }

    async fn sum(&self, mut numbers: Streaming<Number>) -> Result<Number> {
        let _ends = Ends(Arc::clone(&self.0));
        let mut sum = 0;
        while let Some(next) = numbers.next().await {
            sum += next?.n;
            self.0.summed.fetch_add(1, Ordering::SeqCst);
        }
        Ok(number(sum))
    }

    async fn upper(&self, mut words: Streaming<String>) -> Result<Annotated<Streaming<String>>> {
        let stream = Streaming::produce(|out| async move {
            while let Some(word) = words.next().await {
                out.send(word?.to_uppercase()).await?;
            }
            Ok(())
        });
        Ok(Annotated::new(stream, Metadata::builder().with("kind", "loud").build()))
    }

    async fn length(&self, mut parts: Streaming<Bytes>) -> Result<Number> {
        let mut length = 0;
        while let Some(part) = parts.next().await {
            length += i64::try_from(part?.len()).unwrap();
        }
        Ok(number(length))
    }

    async fn silent(&self) -> Result<Streaming<Number>> {
        let ends = Ends(Arc::clone(&self.0));
        Ok(Streaming::produce(|out| async move {
            let _ends = ends;
            out.send(number(1)).await?;
            std::future::pending().await
        }))
    }

    async fn endless(&self) -> Result<Streaming<String>> {
        let (seen, ends) = (Arc::clone(&self.0), Ends(Arc::clone(&self.0)));
        Ok(Streaming::produce(|out| async move {
            let _ends = ends;
            loop {
                out.send("x".repeat(1024)).await?;
                seen.made.fetch_add(1024, Ordering::SeqCst);
            }
        }))
    }

    async fn whole(&self, n: Number) -> Result<Number> {
        Ok(n)
    }
}

async fn start() -> (RunningServer, String, Arc<Seen>) {
    let seen = Arc::<Seen>::default();
    let service = FeedServer::new(Feeder(Arc::clone(&seen)));
    let builder = Server::builder().serve(service).body_limit(100_000).listen("127.0.0.1:0");
    let server = builder.start().await.unwrap();
    let address = server.url().trim_start_matches("rpcx://").to_owned();
    (server, address, seen)
}

/// A server, and our client over HTTP.
async fn connect() -> (RunningServer, FeedClient, Arc<Seen>) {
    let (server, address, seen) = start().await;
    (server, FeedClient::connect(&format!("http://{address}")).await.unwrap(), seen)
}

/// The head of an answer with a chunked body.
async fn head(raw: &mut Raw) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let read = tokio::time::timeout(PATIENCE, raw.stream.read_line(&mut head)).await.unwrap();
        assert!(read.unwrap() > 0, "the end within the head: {head}");
    }
    head.to_ascii_lowercase()
}

/// The next chunk; empty at the end, none where the connection ends before it.
async fn chunk(raw: &mut Raw) -> Option<String> {
    let read = async {
        let mut length = String::new();
        raw.stream.read_line(&mut length).await.ok().filter(|read| *read > 0)?;
        let mut chunk = vec![0; usize::from_str_radix(length.trim(), 16).unwrap() + 2];
        raw.stream.read_exact(&mut chunk).await.ok()?;
        Some(String::from_utf8(chunk).unwrap().trim_end_matches("\r\n").to_owned())
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap()
}

/// All of a chunked body; whether it came to its end.
async fn chunks(raw: &mut Raw) -> (String, bool) {
    let mut all = String::new();
    loop {
        match chunk(raw).await {
            Some(chunk) if chunk.is_empty() => return (all, true),
            Some(chunk) => all.push_str(&chunk),
            None => return (all, false),
        }
    }
}

#[tokio::test]
async fn a_result_is_lines_of_json_or_events() {
    let (_server, address, _) = start().await;
    let mut raw = Raw::open(&address).await;
    // The connection serves one request after the other, streamed or not.
    for _ in 0..3 {
        raw.send(post("/Feed/Count", "", r#"{"n":3}"#)).await;
        let answer = head(&mut raw).await;
        assert!(answer.starts_with("http/1.1 200 ok\r\n"), "{answer}");
        assert!(answer.contains("content-type: application/x-ndjson\r\n"), "{answer}");
        assert!(answer.contains("transfer-encoding: chunked\r\n"), "{answer}");
        let lines = "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n".to_owned();
        assert_eq!(chunks(&mut raw).await, (lines, true));

        let accept = "Accept: text/html, text/event-stream\r\n";
        raw.send(post("/Feed/Count", accept, r#"{"n":2}"#)).await;
        let answer = head(&mut raw).await;
        assert!(answer.contains("content-type: text/event-stream\r\n"), "{answer}");
        assert!(answer.contains("cache-control: no-store\r\n"), "{answer}");
        let events = "data: {\"n\":1}\n\ndata: {\"n\":2}\n\n".to_owned();
        assert_eq!(chunks(&mut raw).await, (events, true));

        // What is known to be empty has a length.
        raw.send(post("/Feed/Count", "", r#"{"n":0}"#)).await;
        let answer = raw.answer().await.unwrap();
        assert_eq!((answer.text(), answer.header("content-type")), ("", Some("application/x-ndjson")));

        raw.send(post("/Feed/Whole", "", r#"{"n":7}"#)).await;
        assert_eq!(raw.answer().await.unwrap().text(), r#"{"n":7}"#);
    }
}

#[tokio::test]
async fn a_failure_is_a_status_before_the_first_item_and_the_last_line_behind_it() {
    let (_server, address, _) = start().await;
    let mut raw = Raw::open(&address).await;
    for request in [post("/Feed/Refuses", "", ""), post("/Feed/Breaks", "", r#"{"n":0}"#)] {
        raw.send(request).await;
        let answer = raw.answer().await.unwrap();
        assert_eq!((answer.status, answer.json()["error"]["code"].clone()), (429, json!("limited")));
    }
    let error = r#"{"error":{"code":"limited","message":"midway: \"ü\""}}"#;
    raw.send(post("/Feed/Breaks", "", r#"{"n":1}"#)).await;
    head(&mut raw).await;
    assert_eq!(chunks(&mut raw).await, (format!("{{\"n\":1}}\n{error}\n"), true));
    raw.send(post("/Feed/Breaks", "Accept: text/event-stream\r\n", r#"{"n":1}"#)).await;
    head(&mut raw).await;
    let events = format!("data: {{\"n\":1}}\n\nevent: error\ndata: {error}\n\n");
    assert_eq!(chunks(&mut raw).await, (events, true));
    // A deadline that the caller gave is over midway.
    raw.send(post("/Feed/Silent", "X-Timeout: 50ms\r\n", "")).await;
    head(&mut raw).await;
    let (body, whole) = chunks(&mut raw).await;
    assert!(whole && body.starts_with("{\"n\":1}\n{\"error\":{\"code\":\"deadline_exceeded\""), "{body}");
    // Forms without streams say so, before the call is made.
    let rpcx = "X-RPCX-SerializeType: 1\r\nX-RPCX-ServiceMethod: Count\r\nX-RPCX-ServicePath: Feed\r\n";
    let answer = ask(&address, post("/", rpcx, r#"{"n":1}"#)).await;
    assert!(answer.header("x-rpcx-errormessage").unwrap().contains("streams its reply"), "{answer:?}");
    let call = r#"{"jsonrpc":"2.0","method":"Feed.Count","params":{"n":1},"id":1}"#;
    let answer = ask(&address, post("/", "X-JSONRPC-2.0: true\r\n", call)).await;
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("streams its reply"));
}

#[tokio::test]
async fn a_request_is_read_line_by_line() {
    let (_server, address, seen) = start().await;
    // Whole, without a line end at its end, with blank lines.
    let answer = ask(&address, post("/Feed/Sum", "", "{\"n\":1}\r\n\n {\"n\":2}\n{\"n\":3}")).await;
    assert_eq!((answer.status, answer.text()), (200, r#"{"n":6}"#));
    assert_eq!(ask(&address, post("/Feed/Sum", "", "")).await.text(), r#"{"n":0}"#);
    // Item for item, answered as they come.
    let mut raw = Raw::open(&address).await;
    raw.send("POST /Feed/Double HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    head(&mut raw).await;
    for n in 0..100 {
        let line = format!("{{\"n\":{n}}}\n");
        // A line may come in two chunks.
        let (one, two) = line.split_at(3);
        raw.send(format!("3\r\n{one}\r\n")).await;
        raw.send(format!("{:x}\r\n{two}\r\n", two.len())).await;
        assert_eq!(chunk(&mut raw).await.unwrap(), format!("{{\"n\":{}}}\n", 2 * n));
    }
    raw.send("0\r\n\r\n").await;
    assert_eq!(chunks(&mut raw).await, (String::new(), true));
    until("the handler is gone", || seen.ended() == 3).await;
    // And the connection goes on.
    raw.send(post("/Feed/Whole", "", r#"{"n":7}"#)).await;
    assert_eq!(raw.answer().await.unwrap().text(), r#"{"n":7}"#);
}

#[tokio::test]
async fn what_is_no_line_fails_the_call() {
    let (_server, address, _) = start().await;
    for (body, status, text) in [
        ("{\"n\":1}\n{\"n\":\"x\"}\n".to_owned(), 400, "field n"),
        ("{\"n\":1}\nnonsense\n{\"n\":1}\n".to_owned(), 400, "json"),
        (format!("{{\"n\":1}}\n{}\n", " 1".repeat(60_000)), 413, "a line of the request's body is over"),
        (" 1".repeat(60_000), 413, "a line of the request's body is over"),
    ] {
        let answer = ask(&address, post("/Feed/Sum", "", &body)).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(answer.text().contains(text), "{}", answer.text());
    }
    // Many lines may be more than one may be long.
    let answer = ask(&address, post("/Feed/Sum", "", &"{\"n\":1}\n".repeat(100_000))).await;
    assert_eq!(answer.text(), r#"{"n":100000}"#);
    let answer = ask(&address, post("/Feed/Sum", "Content-Encoding: gzip\r\n", "x")).await;
    assert_eq!(answer.status, 415);
    let answer = ask(&address, "GET /Feed/Sum HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(answer.status, 405);
}

/// A caller that is gone, within its own body or within the answer, ends the handler.
#[tokio::test]
async fn a_caller_that_goes_away_ends_the_handler() {
    let (_server, address, seen) = start().await;
    let mut raw = Raw::open(&address).await;
    raw.send(post("/Feed/Silent", "", "")).await;
    head(&mut raw).await;
    assert_eq!(chunk(&mut raw).await.unwrap(), "{\"n\":1}\n");
    drop(raw);
    until("the silent handler goes on", || seen.ended() == 1).await;

    let mut raw = Raw::open(&address).await;
    raw.send(post("/Feed/Endless", "", "")).await;
    head(&mut raw).await;
    drop(raw);
    until("the endless handler goes on", || seen.ended() == 2).await;

    let mut raw = Raw::open(&address).await;
    raw.send("POST /Feed/Sum HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{\"n\":1}\n\r\n")
        .await;
    until("the line does not come", || seen.summed.load(Ordering::SeqCst) == 1).await;
    drop(raw);
    until("the summing handler goes on", || seen.ended() == 3).await;
}

#[tokio::test]
async fn a_slow_reader_slows_nobody_else() {
    let (_server, address, seen) = start().await;
    let mut slow = Raw::open(&address).await;
    slow.send(post("/Feed/Endless", "", "")).await;
    // Mostly until nothing more fits into the sockets.
    let mut made = 0;
    let stalls = async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = seen.made.load(Ordering::SeqCst);
            if now == made && now > 0 {
                return;
            }
            made = now;
        }
    };
    tokio::time::timeout(PATIENCE, stalls).await.unwrap();
    let mut raw = Raw::open(&address).await;
    for _ in 0..10 {
        raw.send(post("/Feed/Count", "", r#"{"n":1000}"#)).await;
        head(&mut raw).await;
        let (body, whole) = chunks(&mut raw).await;
        assert!(whole && body.lines().count() == 1000);
    }
    let stands = seen.made.load(Ordering::SeqCst);
    // Without an end to its patience it would have made hundreds of MiB by now.
    assert!(stands < 64 << 20, "{stands} bytes were made, {made} before");
    // It goes on where it stood.
    let mut read = vec![0; usize::try_from(stands).unwrap() + (1 << 20)];
    tokio::time::timeout(PATIENCE, slow.stream.read_exact(&mut read)).await.unwrap().unwrap();
    assert!(seen.made.load(Ordering::SeqCst) > stands);
}

#[tokio::test]
async fn our_client_takes_and_gives_streams() {
    let (_server, client, _) = connect().await;
    for n in [0, 1, 3, 10_000] {
        let items = client.count(number(n)).await.unwrap().all(20_000).await.unwrap();
        assert!(items.into_iter().eq((1..=n).map(number)), "{n}");
        let sum = client.sum(Streaming::iter((1..=n).map(number))).await.unwrap();
        assert_eq!(sum.n, n * (n + 1) / 2);
    }
    let words = Streaming::iter(["one".to_owned(), "two".to_owned()]);
    let loud = client.upper(words).annotated().await.unwrap();
    assert_eq!(loud.metadata.get("kind"), Some("loud"));
    // Bytes and text have no borders over HTTP.
    assert_eq!(loud.value.all(2).await.unwrap().concat(), "ONETWO");
    let parts = (0..100).map(|_| Bytes::from(vec![0; 10_000]));
    assert_eq!(client.length(Streaming::iter(parts)).await.unwrap().n, 1_000_000);
    // Both ways at once, in turns.
    let (sender, numbers) = Streaming::channel(1);
    let mut doubled = client.double(numbers).await.unwrap();
    for n in 0..100 {
        sender.send(number(n)).await.unwrap();
        assert_eq!(doubled.next().await.unwrap().unwrap(), number(2 * n));
    }
    sender.finish();
    assert!(doubled.next().await.is_none());
    assert_eq!(client.whole(number(7)).await.unwrap(), number(7));
}

#[tokio::test]
async fn our_client_learns_of_every_end() {
    let (_server, client, seen) = connect().await;
    assert_eq!(client.refuses().await.unwrap_err().code(), Code::Limited);
    let mut stream = client.breaks(number(2)).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), number(1));
    assert_eq!(stream.next().await.unwrap().unwrap(), number(2));
    let status = stream.next().await.unwrap().unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Limited, "midway: \"ü\""));
    assert_eq!(status.origin().unwrap().wire, "http");
    // The caller's own stream fails.
    let summed = Arc::clone(&seen);
    let numbers = Streaming::produce(|out| async move {
        out.send(number(1)).await?;
        until("the item arrives", || summed.summed.load(Ordering::SeqCst) == 1).await;
        Err(Status::failed("the file is gone"))
    });
    assert_eq!(client.sum(numbers).await.unwrap_err().message(), "the file is gone");
    until("the summing handler goes on", || seen.ended() == 1).await;
    // Its deadline is over midway.
    let mut stream = client.silent().timeout(Duration::from_millis(200)).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), number(1));
    assert_eq!(stream.next().await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
    until("the handler goes on behind its deadline", || seen.ended() == 2).await;
    // The reader goes away.
    let mut stream = client.silent().await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), number(1));
    drop(stream);
    until("the handler goes on for nobody", || seen.ended() == 3).await;
}

/// What servers of other makes may answer where a stream is expected.
#[tokio::test]
async fn an_answer_that_is_cut_or_no_stream_is_told_from_a_whole_one() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n";
    let failure = r#"{"error":{"code":"limited","message":"m"}}"#;
    for (answer, items, code) in [
        (format!("{HEAD}Content-Length: 15\r\n\r\n{{\"n\":1}}\n{{\"n\":2}}"), 2, None),
        (format!("{HEAD}Content-Length: 90\r\n\r\n{{\"n\":1}}\n{{\"n\":2}}"), 1, Some(Code::Unavailable)),
        (
            format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n8\r\n{{\"n\":1}}\n\r\n"),
            1,
            Some(Code::Unavailable),
        ),
        // A failure is one where it is last only.
        (format!("{HEAD}Connection: close\r\n\r\n{{\"n\":1}}\n{failure}\n"), 1, Some(Code::Limited)),
        (format!("{HEAD}Connection: close\r\n\r\n{failure}\n{{\"n\":1}}\n"), 2, None),
        (format!("{HEAD}Connection: close\r\n\r\n{failure}\n{failure}\n"), 1, Some(Code::Limited)),
        (format!("{HEAD}Connection: close\r\n\r\nnonsense\n"), 0, Some(Code::InvalidInput)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"n\":1}".to_owned(), 1, None),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let sent = answer.clone();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(sent.as_bytes()).await.unwrap();
        });
        let client = FeedClient::connect(&url).await.unwrap();
        let mut stream = client.count(number(1)).await.unwrap();
        let mut got = 0;
        let end = loop {
            match tokio::time::timeout(PATIENCE, stream.next()).await.unwrap() {
                Some(Ok(_)) => got += 1,
                Some(Err(status)) => break Some(status.code()),
                None => break None,
            }
        };
        assert_eq!((got, end), (items, code), "{answer}");
        server.await.unwrap();
    }
}

/// The server says of its methods which of them stream, in every way in which it describes itself.
#[test]
fn what_streams_is_described() {
    use trunkline::NamedService;
    let info = FeedServer::new(Feeder(Arc::default())).describe();
    let document = trunkline::openapi::document([&info], false);
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    let post = |method: &str| document["paths"][format!("/Feed/{method}")]["post"].clone();
    let (double, upper, whole) = (post("Double"), post("Upper"), post("Whole"));
    let item = json!({ "schema": { "$ref": "#/components/schemas/Number" } });
    assert_eq!(double["requestBody"]["content"], json!({ "application/x-ndjson": item }));
    let both = json!({ "application/x-ndjson": item, "text/event-stream": item });
    assert_eq!(double["responses"]["200"]["content"], both);
    assert_eq!(
        (double["x-takes-stream"].clone(), double["x-gives-stream"].clone()),
        (json!(true), json!(true))
    );
    assert_eq!(upper["requestBody"]["content"], json!({ "application/octet-stream": {} }));
    assert_eq!(whole["requestBody"]["content"], json!({ "application/json": item }));
    assert!(whole.get("x-takes-stream").is_none() && post("Count").get("x-takes-stream").is_none());
    assert_ne!(post("Count")["x-fingerprint"], whole["x-fingerprint"]);

    let described = trunkline::reflect::Description::of([&info]);
    let method = described.method("Feed", "Sum").unwrap();
    assert!(method.takes_stream && !method.gives_stream);
}

/// rpcx has no streams: nothing is sent, and the status names the wire. HTTP streams JSON and bytes.
#[tokio::test]
async fn what_a_wire_cannot_stream_is_refused_before_it_is_sent() {
    let (server, address, seen) = start().await;
    for wire in ["rpcx", "easymicro"] {
        let client = FeedClient::connect(&format!("{wire}://{address}")).await.unwrap();
        let streamed = [
            client.count(number(1)).await.map(drop),
            client.sum(Streaming::iter([number(1)])).await.map(drop),
            client.silent().await.map(drop),
        ];
        for result in streamed {
            let status = result.unwrap_err();
            assert!(status.code() == Code::Unsupported && status.may_retry(), "{status}");
            assert!(status.message().contains("rpcx"), "{status}");
        }
    }
    let channel = Channel::connect(&format!("http://{address}")).await.unwrap();
    let client = FeedClient::new(channel);
    let status = client.count(number(1)).serialization(trunkline::Serialization::Protobuf).await.unwrap_err();
    assert!(status.code() == Code::Unsupported && status.message().contains("http"), "{status}");
    let status = client.sum(Streaming::iter([number(1)])).one_way().await.unwrap_err();
    assert_eq!(status.code(), Code::Unsupported);
    let calls: u64 = server.handle().counters().iter().map(|(_, _, counters)| counters.calls).sum();
    assert_eq!((calls, seen.ended()), (0, 0));
}
