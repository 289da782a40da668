//! HTTP in front of IIP: routes, headers, statuses, and what Go's adapter does to its backends' harm.

#![cfg(feature = "gateway")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]

mod iip_support;

use std::time::Duration;

use iip_support::{Fake, Frame, PATIENCE, UNKNOWN, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use trunkline::balance::{ConsistentHash, Key};
use trunkline::client::{Channel, Client};
use trunkline::describe::{MethodInfo, ServiceInfo};
use trunkline::gateway::{IipGateway, InvalidRoute, Routes};
use trunkline::server::RunningServer;
use trunkline::{Bytes, Call, NamedService, Reply, Result, Server, Service, Status};

/// Answers paths: the data, what of the call came as metadata, a failure, nothing.
struct Paths(&'static str);

impl NamedService for Paths {
    fn describe(&self) -> ServiceInfo {
        let names = ["/echo", "/meta", "/fail", "/own", "/slow", "/who", "/bytes"];
        let methods = names.iter().map(|name| MethodInfo::new(name)).collect();
        ServiceInfo { name: "".into(), doc: "", methods }
    }
}

impl Service for Paths {
    async fn call(&self, call: Call) -> Result<Reply> {
        let (context, body) = call.into_parts();
        match context.method() {
            "/echo" => Ok(Reply::new(body)),
            "/meta" => {
                let pairs = context.metadata().iter().map(|(key, value)| {
                    format!("{}={}\n", String::from_utf8_lossy(key), String::from_utf8_lossy(value))
                });
                Ok(Reply::new(pairs.collect::<String>()))
            }
            "/fail" => Err(Status::failed("refused")),
            "/own" => Ok(Reply::new(r#"{ "code": 7, "message": "no \u00fc" }"#)),
            "/slow" => std::future::pending().await,
            "/bytes" => Ok(Reply::new(Bytes::from_static(&[0xff, 0, 1]))),
            _ => Ok(Reply::new(self.0)),
        }
    }
}

async fn backend(name: &'static str) -> (RunningServer, Client) {
    let server = Server::builder().serve(Paths(name)).listen("127.0.0.1:0").start().await.unwrap();
    let client = Client::builder(&server.url().replace("rpcx://", "iip://")).connect().await.unwrap();
    (server, client)
}

async fn start(routes: &Routes) -> (RunningServer, String) {
    let gateway = IipGateway::new(routes.clone()).listen("127.0.0.1:0").start().await.unwrap();
    let address = gateway.addresses()[0].clone();
    assert_eq!(gateway.url(), format!("http://{address}"));
    (gateway, address)
}

/// Sends these bytes; all that comes back.
async fn raw(address: &str, request: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_ref()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer").unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status and the body of the answer to a request for `example.org`.
async fn ask(address: &str, target: &str, headers: &str, body: &str) -> (u16, String) {
    let method = if body.is_empty() { "GET" } else { "POST" };
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let head = format!("{method} {target} HTTP/1.1\r\nHost: example.org:80\r\nConnection: close\r\n");
    let answer = raw(address, format!("{head}{length}{headers}\r\n{body}")).await;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("an HTTP answer");
    (status, answer.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned()))
}

fn ok(body: &str) -> (u16, String) {
    (200, body.to_owned())
}

#[tokio::test]
async fn a_request_is_a_call_and_its_answer_a_200() {
    let (_server, client) = backend("a").await;
    let routes = Routes::new();
    routes.push("Example.org", "/.*", client).unwrap();
    let (_gateway, at) = start(&routes).await;
    assert_eq!(ask(&at, "/echo", "", "body text").await, ok("body text"));
    assert_eq!(ask(&at, "/echo?a=b", "", "").await, ok("{}"), "no body is an empty object");
    assert_eq!(ask(&at, "/fail", "", "x").await, ok(r#"{"code":-1,"message":"handler fail:refused"}"#));
    assert_eq!(ask(&at, "/nope", "", "x").await, ok(UNKNOWN));
    // An object of the handler's own comes as it was written.
    assert_eq!(ask(&at, "/own", "", "x").await, ok(r#"{ "code": 7, "message": "no \u00fc" }"#));
    let (status, meta) = ask(&at, "/meta?key=x%20y", "X-Test: a+b/c\r\nX-TEST: 2\r\n", "").await;
    assert_eq!(status, 200);
    for pair in ["x-test=a+b/c\n", "x-test=2\n", "connection=close\n"] {
        assert!(meta.contains(pair), "{pair:?} in {meta}");
    }
    assert!(meta.contains("__uri=/meta?key=x%20y&__http_hdr__="), "{meta}");
    assert!(!meta.contains("host="), "{meta}");
}

#[tokio::test]
async fn what_is_compressed_or_chunked_goes_on_as_it_is() {
    let (_server, client) = backend("a").await;
    let routes = Routes::new();
    routes.push("example.org", "/.*", client).unwrap();
    let (_gateway, at) = start(&routes).await;
    assert_eq!(ask(&at, "/echo", "Content-Encoding: br\r\n", "not br").await, ok("not br"));
    let chunked = "POST /echo HTTP/1.1\r\nHost: example.org\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
                   3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let answer = raw(&at, chunked).await;
    assert!(answer.ends_with("\r\n\r\nabcde"), "{answer}");
    let answer = raw(&at, "GET /bytes HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n").await;
    assert!(answer.contains("Content-Type: application/octet-stream\r\n"), "{answer}");
    let answer = raw(&at, "GET /echo HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n").await;
    assert!(answer.contains("Content-Type: text/plain; charset=utf-8\r\n"), "{answer}");
    assert!(answer.contains("X-Content-Type-Options: nosniff\r\n"), "{answer}");
}

/// The framing of requests is checked as everywhere, and nothing but HTTP is spoken.
#[tokio::test]
async fn only_checked_http_comes_through() {
    let (_server, client) = backend("a").await;
    let routes = Routes::new();
    routes.push("example.org", "/.*", client).unwrap();
    let (_gateway, at) = start(&routes).await;
    let two = "POST /echo HTTP/1.1\r\nHost: example.org\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx";
    assert!(raw(&at, two).await.starts_with("HTTP/1.1 400 "));
    let many = format!("GET /echo HTTP/1.1\r\nHost: example.org\r\n{}\r\n", "A: b\r\n".repeat(101));
    assert!(raw(&at, many).await.starts_with("HTTP/1.1 431 "));
    assert_eq!(ask(&at, "/echo", "", &"x".repeat((4 << 20) + 1)).await.0, 413);
    for other in ["CONNECT /_rpcx_ HTTP/1.0\r\n\r\n", "CONNECT example.org:80 HTTP/1.1\r\nHost: x\r\n\r\n"] {
        assert!(raw(&at, other).await.starts_with("HTTP/1.1 501 "), "{other}");
    }
    assert_eq!(raw(&at, b"\x01/echo\0\0\0\0\0\0\0\0\x02{}").await, "");
    assert_eq!(raw(&at, b"\x08\0\0\0aaaaaaaa").await, "");
    assert_eq!(ask(&at, "/echo", "", "still").await, ok("still"));
}

#[tokio::test]
async fn a_route_is_found_by_host_and_expression_whole_before_partial_or_by_a_function() {
    let ((_a, a), (_b, b), (_c, c)) = (backend("a").await, backend("b").await, backend("c").await);
    let routes = Routes::new();
    routes.push("example.org", "who", a.clone()).unwrap();
    routes.push("example.org", r"/who\?x=.*", b.clone()).unwrap();
    let (_gateway, at) = start(&routes).await;
    assert_eq!(ask(&at, "/who", "", "").await, ok("a"), "a part matches");
    assert_eq!(ask(&at, "/who?x=1", "", "").await, ok("b"), "the whole with its query counts before that");
    assert_eq!(ask(&at, "/echo", "", "").await, (501, String::new()));
    routes.push_front("example.org", "/who", c.clone()).unwrap();
    assert_eq!(ask(&at, "/who", "", "").await, ok("c"));
    let other = "GET /who HTTP/1.1\r\nHost: other.org\r\nConnection: close\r\n\r\n";
    assert!(raw(&at, other).await.starts_with("HTTP/1.1 501 "));
    assert!(raw(&at, "GET /who HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 501 "), "no host");
    let to_b = move |host: &str, uri: &str| {
        assert_eq!(host, "example.org");
        uri.ends_with("?b").then(|| b.clone())
    };
    routes.set_function("example.org", to_b).unwrap();
    assert_eq!(ask(&at, "/who?b", "", "").await, ok("b"));
    assert_eq!(ask(&at, "/who", "", "").await, ok("c"), "where it says nothing the expressions count");
    assert!(routes.remove_function("example.org") && !routes.remove_function("example.org"));
    assert_eq!(ask(&at, "/who?b", "", "").await, ok("c"));
    for (host, expression) in [("", "x"), ("a:80", "x"), ("a/b", "x"), ("a", ""), ("a", "("), ("[::1]", "x")]
    {
        let wrong = routes.push(host, expression, c.clone()).unwrap_err();
        assert!(matches!(wrong, InvalidRoute::Host(_) | InvalidRoute::Expression { .. }), "{wrong}");
    }
}

#[tokio::test]
async fn i15_the_only_route_can_be_removed_while_it_runs() {
    let (_server, client) = backend("a").await;
    let routes = Routes::new();
    routes.push("example.org", "/who", client.clone()).unwrap();
    let (_gateway, at) = start(&routes).await;
    assert_eq!(ask(&at, "/who", "", "").await, ok("a"));
    assert!(!routes.remove("example.org", "/other") && !routes.remove("other.org", "/who"));
    assert!(routes.remove("example.org", "/who") && !routes.remove("example.org", "/who"));
    assert_eq!(ask(&at, "/who", "", "").await, (501, String::new()));
    // Two of the same go at once.
    routes.push("example.org", "/who", client.clone()).unwrap();
    routes.push("example.org", "/who", client.clone()).unwrap();
    routes.push("example.org", "/w.o", client).unwrap();
    assert!(routes.remove("example.org", "/who"));
    assert_eq!(ask(&at, "/who", "", "").await, ok("a"));
    assert!(routes.remove("example.org", "/w.o"));
    assert_eq!(ask(&at, "/who", "", "").await.0, 501);
}

#[tokio::test]
async fn i3_a_zero_byte_in_the_path_reaches_no_backend() {
    let (address, fake) = Fake::start(|frame: &Frame| Some(frame.data.clone())).await;
    let routes = Routes::new();
    let backend = Channel::connect(&format!("iip://{address}")).await.unwrap();
    routes.push("example.org", ".*", backend).unwrap();
    let (_gateway, at) = start(&routes).await;
    let injected = "/x%00%00%00%00%01%00%00%00%05HELLO%05/y";
    assert_eq!(ask(&at, injected, "", "").await.0, 400);
    assert_eq!(ask(&at, "/a%0d%0a[INFO]%20ok", "", "").await.0, 400);
    assert_eq!(ask(&at, "/echo", "", "mine").await, ok("mine"));
    assert_eq!(fake.frames().len(), 1, "only the last one came");
}

#[tokio::test]
async fn i4_a_caller_cannot_forge_the_headers() {
    let (_server, client) = backend("a").await;
    let routes = Routes::new();
    routes.push("example.org", "/.*", client).unwrap();
    let (_gateway, at) = start(&routes).await;
    // {"X-User":["admin"]}
    let forged = "eyJYLVVzZXIiOlsiYWRtaW4iXX0=";
    for target in [
        format!("/meta?__http_hdr__={forged}"),
        format!("/meta?a=1&__http%5Fhdr__={forged}"),
        "/meta?".to_owned(),
        format!("/meta?__trunkline=AAAAAXgAAAABeQ&__http_hdr__={forged}"),
    ] {
        let (status, meta) = ask(&at, &target, "X-User: ann\r\n", "").await;
        assert_eq!(status, 200);
        assert!(meta.contains("x-user=ann\n") && !meta.contains("admin"), "{target}: {meta}");
    }
}

/// The request with too much is refused, and one that is in flight on the same connection to the backend goes on.
#[tokio::test]
async fn i5_headers_that_are_too_long_are_a_431_to_that_client_alone() {
    let (address, fake) =
        Fake::start(|frame: &Frame| (!frame.path.starts_with("/slow")).then(|| frame.data.clone())).await;
    let routes = Routes::new();
    let backend = Channel::connect(&format!("iip://{address}")).await.unwrap();
    routes.push("example.org", ".*", backend).unwrap();
    let gateway = IipGateway::new(routes).timeout(Duration::from_secs(3)).listen("127.0.0.1:0");
    let gateway = gateway.start().await.unwrap();
    let at = gateway.addresses()[0].clone();
    let waits = tokio::spawn({
        let at = at.clone();
        async move { ask(&at, "/slow", "", "").await }
    });
    until("the slow one is at the backend", || fake.frames().len() == 1).await;
    let cookie = |length: usize| format!("Cookie: {}\r\n", "c".repeat(length));
    assert_eq!(ask(&at, "/echo", &cookie(2048), "x").await, ok("x"), "2 KB is nothing");
    let (status, body) = ask(&at, "/echo", &cookie(40_000), "x").await;
    assert_eq!(status, 431, "{body}");
    assert_eq!(ask(&at, &format!("/{}", "p".repeat(3000)), "", "x").await.0, 414);
    assert_eq!(ask(&at, "/echo", "", "y").await, ok("y"));
    assert_eq!(waits.await.unwrap(), (500, String::new()), "it has run into its own time");
    assert_eq!(fake.connections(), 1, "nobody's connection was closed");
}

/// As long as the adapter lets it be, Trunkline takes it, with all that the wire puts behind it.
#[tokio::test]
async fn i5_what_just_fits_is_taken_by_a_trunkline_backend() {
    let (_server, client) = backend("a").await;
    let routes = Routes::new();
    routes.push("example.org", "/.*", client).unwrap();
    let (_gateway, at) = start(&routes).await;
    let mut seen = [0, 0];
    for length in (25_300..26_100).step_by(19) {
        let (status, _) = ask(&at, "/echo", &format!("Cookie: {}\r\n", "c".repeat(length)), "x").await;
        assert!(matches!(status, 200 | 431), "{length}: {status}");
        seen[usize::from(status == 431)] += 1;
    }
    assert!(seen[0] > 0 && seen[1] > 0, "the limit is in between: {seen:?}");
}

#[tokio::test]
async fn i6_the_paths_of_the_system_are_not_for_callers() {
    let (address, fake) = Fake::start(|frame: &Frame| Some(frame.data.clone())).await;
    let routes = Routes::new();
    let backend = Channel::connect(&format!("iip://{address}")).await.unwrap();
    routes.push("example.org", ".*", backend).unwrap();
    let (_gateway, at) = start(&routes).await;
    for target in ["/sys/delete_channel", "/%73ys/new_channel", "/sys/connection_statis?x", "//h/sys/statis"]
    {
        assert_eq!(ask(&at, target, "", "").await.0, 403, "{target}");
    }
    assert_eq!(ask(&at, "/echo", "", "mine").await, ok("mine"));
    assert_eq!((fake.frames().len(), fake.connections()), (1, 1));
}

/// The bytes that go to a backend are those of Go's adapter (recorded case `http-adapter`), and so is what comes back.
#[tokio::test]
async fn the_recorded_requests_of_gos_adapter_are_sent_and_answered_alike() {
    let (address, fake) = Fake::start(|frame: &Frame| {
        Some(match frame.path.split('?').next().unwrap() {
            "/fail" => br#"{"code":-1,"message":"handler fail:refused"}"#.to_vec(),
            "/nope" => UNKNOWN.as_bytes().to_vec(),
            _ => frame.data.clone(),
        })
    })
    .await;
    let routes = Routes::new();
    let backend = Channel::connect(&format!("iip://{address}")).await.unwrap();
    routes.push("127.0.0.1", "^/(echo|query|fail|nope)", backend).unwrap();
    let (_gateway, at) = start(&routes).await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../wire/testdata/iip");
    for (case, path) in [("", "/echo"), (".2", "/query"), (".3", "/fail"), (".4", "/nope"), (".5", "/other")]
    {
        let read =
            |side: &str| std::fs::read(format!("{folder}/http-adapter-http{case}.{side}.bin")).unwrap();
        let answer = raw(&at, read("c2s")).await;
        let recorded = String::from_utf8(read("s2c")).unwrap();
        assert_eq!(answer.lines().next(), recorded.lines().next(), "{path}");
        if path != "/query" {
            let body = |text: &str| text.split_once("\r\n\r\n").unwrap().1.to_owned();
            assert_eq!(body(&answer), body(&recorded), "{path}");
        }
    }
    let recorded = std::fs::read(format!("{folder}/http-adapter.c2s.bin")).unwrap();
    for frame in fake.frames() {
        // The connection of the recording has one channel.
        let mut bytes = vec![frame.status];
        bytes.extend_from_slice(frame.path.as_bytes());
        bytes.extend_from_slice(&[0, 0, 0, 0, 1]);
        bytes.extend_from_slice(&u32::try_from(frame.data.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(&frame.data);
        assert!(recorded.windows(bytes.len()).any(|part| part == bytes), "{frame:?}");
    }
    assert_eq!(fake.frames().len(), 4);
}

#[tokio::test]
async fn a_backend_that_is_not_there_is_a_500() {
    let routes = Routes::new();
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    routes
        .push("example.org", "/dead", Channel::builder(&format!("iip://{closed}")).lazy().unwrap())
        .unwrap();
    let empty = Client::builder("").connect().await.unwrap();
    routes.push("example.org", "/nobody", empty).unwrap();
    let (_gateway, at) = start(&routes).await;
    assert_eq!(ask(&at, "/dead", "", "").await, (500, String::new()));
    assert_eq!(ask(&at, "/nobody", "", "").await, (500, String::new()), "I16: no backend is no panic");
}

#[tokio::test]
async fn a_backend_of_several_endpoints_is_picked_by_a_parameter_of_the_uri() {
    let ((a, _), (b, _)) = (backend("a").await, backend("b").await);
    let urls = format!("{},{}", a.url(), b.url()).replace("rpcx://", "iip://");
    let picker = ConsistentHash::new(Key::parameter("user"));
    let client = Client::builder(&urls).select(picker).connect().await.unwrap();
    let routes = Routes::new();
    routes.push("example.org", "/.*", client).unwrap();
    let (_gateway, at) = start(&routes).await;
    let mut at_a = 0;
    for user in 0..20 {
        let target = format!("/who?user={user}");
        let (status, first) = ask(&at, &target, "", "").await;
        assert_eq!(status, 200);
        at_a += usize::from(first == "a");
        assert_eq!(ask(&at, &format!("/who?x=1&user={user}"), "", "").await, ok(&first));
    }
    assert!((1..20).contains(&at_a), "{at_a} of 20 users are at a");
}
