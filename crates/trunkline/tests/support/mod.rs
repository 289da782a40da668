//! A service of hand-written bytes, for tests that look at calls and not at codecs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail loudly"
)]
#![allow(dead_code, reason = "each test program uses its part")]

pub(crate) mod child;
pub(crate) mod iip;
pub(crate) mod proxy;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use trunkline::describe::{MethodInfo, ServiceInfo};
use trunkline::{
    Answer, Body, Bytes, Call, Code, Metadata, NamedService, Push, Reply, ReplyBuf, Request, Result,
    Serialization, Server, Service, Status,
};

/// `Test.Echo` (in place), `Owned`, `Sleep` (milliseconds as text), `Fail`, `Panic`, `Push` (count as text),
/// `Meta`, `Heavy` (in a task of its own).
#[derive(Default)]
pub(crate) struct Test {
    pub(crate) running: Arc<AtomicU64>,
    pub(crate) cancelled: Arc<AtomicU64>,
}

const METHODS: [&str; 8] = ["Echo", "Owned", "Sleep", "Fail", "Panic", "Push", "Meta", "Heavy"];

impl NamedService for Test {
    fn describe(&self) -> ServiceInfo {
        let methods = METHODS.iter().map(|name| {
            let mut info = MethodInfo::new(name);
            info.in_place = *name == "Echo";
            info.spawned = *name == "Heavy";
            info
        });
        ServiceInfo { name: "Test".into(), doc: "", methods: methods.collect() }
    }
}

struct Running {
    running: Arc<AtomicU64>,
    cancelled: Arc<AtomicU64>,
    done: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
        if !self.done {
            self.cancelled.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Service for Test {
    async fn call(&self, call: Call) -> Result<Reply> {
        let method = METHODS[call.method_id().unwrap().index()];
        let (context, body) = call.into_parts();
        let Body::Full(body) = body else { return Err(Status::failed("a stream")) };
        match method {
            "Echo" | "Owned" => Ok(Reply::new(body)),
            "Sleep" | "Heavy" => {
                self.running.fetch_add(1, Ordering::SeqCst);
                let mut running = Running {
                    running: Arc::clone(&self.running),
                    cancelled: Arc::clone(&self.cancelled),
                    done: false,
                };
                let millis = std::str::from_utf8(&body).unwrap().parse().unwrap();
                tokio::time::sleep(Duration::from_millis(millis)).await;
                running.done = true;
                Ok(Reply::new(body))
            }
            "Fail" => Err(Status::failed(String::from_utf8_lossy(&body).into_owned())),
            "Panic" => panic!("a secret"),
            "Push" => {
                let count: u32 = std::str::from_utf8(&body).unwrap().parse().unwrap();
                let pusher = context.pusher().unwrap();
                for n in 1..=count {
                    let push = Push {
                        service: "Test".into(),
                        method: "Tick".into(),
                        metadata: Metadata::new(),
                        serialization: Serialization::Json,
                        body: Bytes::from(n.to_string()),
                    };
                    pusher.push(push).await?;
                }
                Ok(Reply::new("done"))
            }
            "Meta" => Ok(Reply::new("").with_metadata(context.metadata().clone())),
            _ => Err(Status::new(Code::NotFound, "no such method")),
        }
    }

    fn answer(&self, request: &Request<'_>, reply: &mut ReplyBuf<'_>) -> Answer {
        if request.method_id().index() != 0 {
            return Answer::Declined;
        }
        reply.extend_from_slice(request.body());
        Answer::Done(Ok(()))
    }
}

/// A call of a method of [`Test`].
pub(crate) fn call(method: &str, body: impl Into<Body>) -> Call {
    Call::new("Test", method, Serialization::Raw, body)
}

/// The body of a reply, as bytes.
pub(crate) fn bytes(reply: Reply) -> Bytes {
    match reply.into_body() {
        Body::Full(bytes) => bytes,
        Body::Stream(_) => panic!("a stream"),
    }
}

/// Serves [`Test`] in memory under a name, in a task.
pub(crate) async fn serve_in_memory(name: &str) -> trunkline::server::ServerHandle {
    serve(Server::builder().serve(Test::default()).listen(format!("mem://{name}"))).await.0
}

/// Serves in a task; the first address comes back.
pub(crate) async fn serve<L>(
    builder: trunkline::server::ServerBuilder<L>,
) -> (trunkline::server::ServerHandle, String)
where
    L: trunkline::layer::Layer<Arc<trunkline::server::Router>> + 'static,
{
    let server = builder.bind().await.unwrap();
    let handle = server.handle();
    let address = server.addresses().remove(0);
    tokio::spawn(server.run());
    (handle, address)
}

/// The bytes of an rpcx frame for a method of [`Test`].
pub(crate) fn frame(flags: u8, seq: u64, method: &str, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![8, 0, flags, 0];
    frame.extend_from_slice(&seq.to_be_bytes());
    let parts = [b"Test", method.as_bytes(), b"", body];
    let total: usize = parts.iter().map(|part| part.len() + 4).sum();
    frame.extend_from_slice(&u32::try_from(total).unwrap().to_be_bytes());
    for part in parts {
        frame.extend_from_slice(&u32::try_from(part.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(part);
    }
    frame
}
