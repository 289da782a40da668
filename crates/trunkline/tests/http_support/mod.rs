//! What the tests over HTTP share: a server with a few services, and a client that writes raw bytes.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use trunkline::describe::{MethodInfo, ServiceInfo};
use trunkline::server::{ServerBuilder, ServerHandle};
use trunkline::{
    Body, BodyStream, Call, Code, Metadata, NamedService, Reply, Result, Server, Service, Status,
};

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What the services have done.
#[derive(Debug, Default)]
pub struct Seen {
    pub calls: AtomicU64,
    pub sleeping: AtomicU64,
    pub dropped: AtomicU64,
}

/// One of the sample services, by hand.
pub struct Sample {
    name: &'static str,
    methods: &'static [&'static str],
    seen: Arc<Seen>,
}

impl NamedService for Sample {
    fn describe(&self) -> ServiceInfo {
        let mut methods: Vec<_> = self.methods.iter().map(|name| MethodInfo::new(name)).collect();
        for method in &mut methods {
            method.doc = "What <it> does.";
            method.spawned = method.name == "Spawned";
        }
        ServiceInfo { name: self.name.into(), doc: "", methods }
    }
}

impl Service for Sample {
    async fn call(&self, call: Call) -> Result<Reply> {
        self.seen.calls.fetch_add(1, Ordering::SeqCst);
        let method = format!("{}.{}", call.service(), call.method());
        let (metadata, wire) = (call.metadata().clone(), call.context().wire());
        let trace = call.context().trace().map(|trace| trace.to_string());
        let (_, body) = call.into_parts();
        let body = body.whole(usize::MAX).await?;
        let number = |name: &str| -> Result<i64> {
            let value: Value = serde_json::from_slice(&body)
                .map_err(|error| Status::new(Code::InvalidInput, format!("json: {error}")))?;
            value[name].as_i64().ok_or_else(|| Status::new(Code::InvalidInput, format!("{name} is missing")))
        };
        let reply = |value: Value| Ok(Reply::new(value.to_string()));
        match method.as_str() {
            "Arith.Mul" => reply(json!({ "C": number("A")? * number("B")? })),
            "Arith.Fail" => Err(Status::failed("refused 10: größer")),
            "Arith.Evil" => Err(Status::failed("no\r\nX-Evil: yes\r\n\r\n<b>\"\0")),
            "Arith.Wire" => reply(json!(wire)),
            "Echo.Echo" => Ok(Reply::new(body)),
            "Echo.Spawned" => Ok(Reply::new(body)),
            "Meta.Echo" => {
                let pairs = metadata.iter().map(|(key, value)| {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    (format!("echo-{}", text(key)), text(value))
                });
                Ok(Reply::new("{}").with_metadata(pairs.collect::<Metadata>()))
            }
            "Meta.Trace" => reply(json!([trace, metadata.get("tracestate")])),
            "Fault.Panic" => panic!("secret of the process"),
            "Fault.Big" => {
                Ok(Reply::new(format!("\"{}\"", "x".repeat(usize::try_from(number("Bytes")?).unwrap()))))
            }
            "Fault.Stream" => {
                let (mut sender, stream) = BodyStream::channel();
                tokio::spawn(async move {
                    for part in ["[1", ",2", "]"] {
                        sender.send(part).await.unwrap();
                    }
                    sender.finish();
                });
                Ok(Reply::new(Body::from(stream)))
            }
            "Fault.Code" => {
                let code = Code::from_number(u16::try_from(number("Code")?).unwrap());
                Err(Status::new(code, format!("as {code}")))
            }
            "Slow.Sleep" => {
                struct Sleeping(Arc<Seen>);
                impl Drop for Sleeping {
                    fn drop(&mut self) {
                        self.0.dropped.fetch_add(1, Ordering::SeqCst);
                    }
                }
                self.seen.sleeping.fetch_add(1, Ordering::SeqCst);
                let _sleeping = Sleeping(Arc::clone(&self.seen));
                tokio::time::sleep(Duration::from_millis(u64::try_from(number("Millis")?).unwrap())).await;
                reply(json!({ "Slept": number("Millis")? }))
            }
            _ => Err(Status::new(Code::Internal, "not here")),
        }
    }
}

/// A running server and what it has seen.
pub struct Running {
    pub address: String,
    pub handle: ServerHandle,
    pub seen: Arc<Seen>,
    pub task: tokio::task::JoinHandle<()>,
}

/// Starts a server with the sample services.
pub async fn start(with: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Running {
    let seen = Arc::new(Seen::default());
    let mut builder = with(Server::builder()).listen("127.0.0.1:0");
    let services: [(&'static str, &'static [&'static str]); 5] = [
        ("Arith", &["Mul", "Fail", "Evil", "Wire"]),
        ("Echo", &["Echo", "Spawned"]),
        ("Meta", &["Echo", "Trace"]),
        ("Fault", &["Panic", "Big", "Stream", "Code"]),
        ("Slow", &["Sleep"]),
    ];
    for (name, methods) in services {
        builder = builder.serve(Sample { name, methods, seen: Arc::clone(&seen) });
    }
    let server = builder.bind().await.unwrap();
    let (address, handle) = (server.addresses()[0].clone(), server.handle());
    let task = tokio::spawn(async move { server.run().await.unwrap() });
    Running { address, handle, seen, task }
}

/// An answer as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }
}

/// A connection that writes raw bytes.
pub struct Raw {
    pub stream: BufReader<TcpStream>,
}

impl Raw {
    pub async fn open(address: &str) -> Self {
        Self { stream: BufReader::new(TcpStream::connect(address).await.unwrap()) }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads one answer; `None` where the connection ends before it.
    pub async fn answer(&mut self) -> Option<Answer> {
        tokio::time::timeout(PATIENCE, self.read_answer()).await.expect("an answer in time")
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).await.ok()?;
        let line = line.strip_suffix(b"\r\n")?;
        Some(String::from_utf8(line.to_vec()).unwrap())
    }

    async fn read_answer(&mut self) -> Option<Answer> {
        let status_line = self.line().await?;
        let status: u16 = status_line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap();
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let mut answer = Answer { status, headers, body: Vec::new() };
        if status != 101 && status != 100 {
            let length: usize = answer.header("content-length").unwrap().parse().unwrap();
            answer.body = vec![0; length];
            self.stream.read_exact(&mut answer.body).await.ok()?;
        }
        Some(answer)
    }

    /// Waits for the end of the connection; what came before it. A reset is an end, too.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let read = self.stream.read_to_end(&mut rest);
        let _ = tokio::time::timeout(PATIENCE, read).await.expect("an end in time");
        rest
    }
}

/// One request on a connection of its own.
pub async fn ask(address: &str, request: impl AsRef<[u8]>) -> Answer {
    let mut raw = Raw::open(address).await;
    raw.send(request).await;
    raw.answer().await.expect("an answer")
}

/// A POST with headers (each with its line end) and a body.
pub fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
}

/// Polls until a condition holds.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}"));
}
