//! A server and a client that speak the ordered wire in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use trunkline_wire::{Limits, Serialization};

use super::session::Ordered;
use crate::describe::{MethodInfo, ServiceInfo};
use crate::layer::{DeadlineLayer, Layer};
use crate::net::tests_support::Client;
use crate::net::transport::{Address, Listener};
use crate::server::drain::Drain;
use crate::server::serve::serve_wire;
use crate::server::{Core, Router};
use crate::{Body, BodyStream, Call, Code, NamedService, Reply, Result, Service, Status};

/// What the service can do; see [`Probe::call`].
pub(crate) const METHODS: [&str; 8] = ["echo", "late", "fail", "upper", "count", "breaks", "endless", "sum"];

/// Counters of one server.
#[derive(Default)]
pub(crate) struct Counters {
    running: AtomicU64,
    most: AtomicU64,
    /// Bytes of the `endless` stream that were made.
    pub(crate) made: AtomicU64,
    /// Request bodies that came to their end, and those that were cut.
    pub(crate) whole: AtomicU64,
    pub(crate) cut: AtomicU64,
    /// Handlers that were dropped before their end.
    pub(crate) dropped: AtomicU64,
}

impl Counters {
    pub(crate) fn most(&self) -> u64 {
        self.most.load(Ordering::SeqCst)
    }

    pub(crate) fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::SeqCst)
    }
}

struct Running(Arc<Counters>, bool);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
        if !self.1 {
            self.0.dropped.fetch_add(1, Ordering::SeqCst);
        }
    }
}

struct Probe(Arc<Counters>);

impl NamedService for Probe {
    fn describe(&self) -> ServiceInfo {
        let methods = METHODS.iter().map(|name| MethodInfo::new(name));
        ServiceInfo { name: "Ordered".into(), doc: "", methods: methods.collect() }
    }
}

impl Service for Probe {
    async fn call(&self, call: Call) -> Result<Reply> {
        let now = self.0.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most.fetch_max(now, Ordering::SeqCst);
        let mut running = Running(Arc::clone(&self.0), false);
        let method = METHODS[call.method_id().unwrap().index()];
        let reply = run(method, call.into_parts().1, &self.0).await;
        running.1 = true;
        reply
    }
}

async fn run(method: &str, body: Body, counters: &Arc<Counters>) -> Result<Reply> {
    let text = |body: Body| match body {
        Body::Full(bytes) => Ok(bytes),
        Body::Stream(_) => Err(Status::failed("a stream")),
    };
    match method {
        "echo" => body.whole(64 << 20).await.map(Reply::new),
        // `MILLIS ANYTHING`: the same, later.
        "late" => {
            let body = text(body)?;
            let millis = std::str::from_utf8(&body).unwrap().split(' ').next().unwrap().parse().unwrap();
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Ok(Reply::new(body))
        }
        "fail" => Err(Status::failed(String::from_utf8(text(body)?.to_vec()).unwrap())),
        // Each frame of the request in capitals, as it arrives.
        "upper" => {
            let Body::Stream(mut body) = body else { return Err(Status::failed("no stream")) };
            let (mut sender, stream) = BodyStream::channel();
            let counters = Arc::clone(counters);
            tokio::spawn(async move {
                while let Some(frame) = body.next().await {
                    match frame {
                        Ok(frame) => {
                            if sender.send(frame.to_ascii_uppercase()).await.is_err() {
                                return;
                            }
                        }
                        Err(status) => {
                            counters.cut.fetch_add(1, Ordering::SeqCst);
                            return sender.fail(status);
                        }
                    }
                }
                counters.whole.fetch_add(1, Ordering::SeqCst);
                sender.finish();
            });
            Ok(Reply::new(stream))
        }
        // `N`: the numbers from 1 to N, a frame each. `breaks`: the same, and then it fails.
        "count" | "breaks" => {
            let n: u64 = std::str::from_utf8(&text(body)?).unwrap().parse().unwrap();
            let breaks = method == "breaks";
            let (mut sender, stream) = BodyStream::channel();
            tokio::spawn(async move {
                for n in 1..=n {
                    if sender.send(n.to_string()).await.is_err() {
                        return;
                    }
                }
                let status = Status::failed("midway").with_details_bytes(Some("its value".into()));
                if breaks { sender.fail(status) } else { sender.finish() }
            });
            Ok(Reply::new(stream))
        }
        // Frames of 1 KiB without an end.
        "endless" => {
            let (mut sender, stream) = BodyStream::channel();
            let counters = Arc::clone(counters);
            tokio::spawn(async move {
                while sender.send(vec![b'x'; 1024]).await.is_ok() {
                    counters.made.fetch_add(1024, Ordering::SeqCst);
                }
                counters.dropped.fetch_add(1, Ordering::SeqCst);
            });
            Ok(Reply::new(stream))
        }
        // How many bytes the request has; read by the handler itself.
        "sum" => {
            let Body::Stream(mut body) = body else { return Err(Status::failed("no stream")) };
            let mut sum = 0;
            while let Some(frame) = body.next().await {
                match frame {
                    Ok(frame) => sum += frame.len(),
                    Err(status) => {
                        counters.cut.fetch_add(1, Ordering::SeqCst);
                        return Err(status);
                    }
                }
            }
            counters.whole.fetch_add(1, Ordering::SeqCst);
            Ok(Reply::new(sum.to_string()))
        }
        other => Err(Status::new(Code::NotFound, other.to_owned())),
    }
}

/// A server in a task; it ends when this is dropped.
pub(crate) struct Serving {
    pub(crate) counters: Arc<Counters>,
    drain: Arc<Drain>,
    tasks: JoinSet<()>,
}

impl std::ops::Deref for Serving {
    type Target = Counters;

    fn deref(&self) -> &Counters {
        &self.counters
    }
}

impl Serving {
    /// The stop begins.
    pub(crate) fn stop(&self) {
        self.drain.begin();
    }

    /// The server and all of its connections are gone at once.
    pub(crate) async fn kill(mut self) -> Arc<Counters> {
        self.tasks.shutdown().await;
        self.counters
    }
}

pub(crate) async fn serve(name: &str) -> (Serving, String) {
    serve_with(name, |_| {}).await
}

pub(crate) async fn serve_with(name: &str, change: impl FnOnce(&mut Limits)) -> (Serving, String) {
    let counters = Arc::<Counters>::default();
    serve_service(name, Probe(Arc::clone(&counters)), counters, change).await
}

/// Serves another service under the name that the wire has for all.
pub(crate) async fn serve_service(
    name: &str,
    service: impl NamedService,
    counters: Arc<Counters>,
    change: impl FnOnce(&mut Limits),
) -> (Serving, String) {
    let mut router = Router::default();
    router.add_described(service.describe().named("Ordered"), Box::new(service)).unwrap();
    let router = Arc::new(router);
    let mut limits = Limits::default();
    change(&mut limits);
    let stack = DeadlineLayer::default().layer(Arc::clone(&router));
    let core = Arc::new(Core::new(router, stack, limits));
    let drain = Arc::clone(&core.drain);
    let mut listener = Listener::bind(&Address::Memory(name.to_owned())).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, peer)) = listener.accept().await {
            connections.spawn(serve_wire::<Ordered, _>(Arc::clone(&core), stream, peer, Bytes::new()));
        }
    });
    (Serving { counters, drain, tasks }, name.to_owned())
}

pub(crate) fn client(name: &str) -> Client<Ordered> {
    Client::new(name)
}

pub(crate) fn call(method: &'static str, body: impl Into<Body>) -> Call {
    Call::new("Ordered", method, Serialization::Raw, body)
}

/// A whole reply.
pub(crate) fn full(reply: Reply) -> Bytes {
    match reply.into_body() {
        Body::Full(bytes) => bytes,
        Body::Stream(_) => panic!("a stream"),
    }
}

/// A streamed reply.
pub(crate) fn stream(reply: Reply) -> BodyStream {
    match reply.into_body() {
        Body::Stream(stream) => stream,
        Body::Full(bytes) => panic!("a whole body of {} bytes", bytes.len()),
    }
}
