//! A node with a service that does what its callers say, and an end of a connection that speaks bytes.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use trunkline_wire::Limits;
use trunkline_wire::saber::{
    Decoder, Frame, Handle, Hello, Next, Request, Response, begin_request, begin_response, finish,
};

use crate::net::Address;
use crate::net::transport::{Listener, Stream};
use crate::node::{Chain, Cluster, ClusterTable, Deliver, Delivery, Identity, Node, RemoteService};
use crate::server::RunningServer;
use crate::{Body, Bytes, Call, Code, Reply, Result, Serialization, Server, Service, Status};

/// `puppet/1`: a mailbox without a queue.
pub(super) struct Puppet {
    identity: Identity,
    node: Node,
    cluster: std::sync::OnceLock<Cluster>,
}

impl Deliver for Puppet {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn methods(&self) -> &'static [&'static str] {
        &["Echo", "Fail", "Big", "Left", "Chain", "Wait", "Ask", "Drop"]
    }

    fn deliver(&self, delivery: Delivery) -> Result<()> {
        let (node, cluster) = (self.node.clone(), self.cluster.get().cloned());
        let handle = self.identity.handle();
        tokio::spawn(async move {
            let Delivery { call, chain, slot } = delivery;
            let method = call.method().to_owned();
            let left = call.context.time_left();
            let Body::Full(body) = call.body else { panic!() };
            let text = std::str::from_utf8(&body).unwrap().to_owned();
            let result: Result<Bytes> = match &*method {
                "Echo" => Ok(body),
                "Fail" => Err(Status::failed(text)),
                "Big" => Ok(vec![b'1'; text.parse().unwrap()].into()),
                "Left" => Ok(format!("{}", left.map_or(0, |left| left.as_millis())).into()),
                "Chain" => {
                    Ok(serde_json::to_vec(&chain.names().iter().map(|n| n.to_string()).collect::<Vec<_>>())
                        .unwrap()
                        .into())
                }
                "Wait" => {
                    tokio::time::sleep(Duration::from_millis(text.parse().unwrap())).await;
                    Ok(body)
                }
                // As a serial service: it waits for the `Chain` of the service of the same name of that node.
                "Ask" => {
                    let name = format!("{}/puppet/1", node.name());
                    let chain: Chain = chain.with(handle, name.into()).unwrap();
                    let outbound = crate::node::Outbound {
                        source: handle,
                        cluster: text.into(),
                        service: "puppet".into(),
                        id: 1,
                        call: call_of("Chain", "1"),
                        chain,
                    };
                    let cluster = cluster.unwrap();
                    let answered = crate::node::Remote::call(&*cluster.0, outbound).await;
                    match answered {
                        Ok(reply) => reply.into_body().whole(1 << 20).await,
                        Err(status) => Err(status),
                    }
                }
                _ => return, // The slot is dropped.
            };
            if let Some(slot) = slot {
                slot.answer(result.map(Reply::new));
            }
        });
        Ok(())
    }
}

pub(super) fn call_of(method: &str, body: &str) -> Call {
    Call::new("puppet", method.to_owned(), Serialization::Json, body.to_owned())
}

/// A node with its server.
pub(super) struct Member {
    pub(super) cluster: Cluster,
    pub(super) server: RunningServer,
}

impl Member {
    /// The node `name` listens on `mem://{scope}-{name}`, and knows the others there.
    pub(super) async fn start(scope: &str, name: &str, others: &[&str]) -> Self {
        Self::start_with(scope, name, others, Limits::default()).await
    }

    pub(super) async fn start_with(scope: &str, name: &str, others: &[&str], limits: Limits) -> Self {
        let node = Node::builder(name).start().unwrap();
        let identity = Identity::new(name, "puppet".into(), 1).unwrap();
        let puppet = Arc::new(Puppet { identity, node: node.clone(), cluster: Default::default() });
        node.0.services.add(Arc::clone(&puppet) as Arc<dyn Deliver>).unwrap();
        let cluster = Cluster::start_with(&node, &table(scope, name, others), limits).unwrap();
        puppet.cluster.set(cluster.clone()).unwrap();
        let server = Server::builder().with_describe().cluster(&cluster).listen(address(scope, name));
        Self { cluster, server: server.start().await.unwrap() }
    }

    pub(super) fn puppet(&self, node: &str) -> RemoteService {
        self.cluster.service(node, "puppet", 1)
    }

    pub(super) async fn connected(&self, name: &str) {
        assert!(self.cluster.connected(name, Duration::from_secs(60)).await);
    }

    pub(super) async fn stop(self) {
        self.server.stop(Duration::from_secs(5)).await.unwrap();
    }
}

pub(super) fn address(scope: &str, name: &str) -> String {
    format!("mem://{scope}-{name}")
}

pub(super) fn table(scope: &str, name: &str, others: &[&str]) -> ClusterTable {
    let table = ClusterTable::new(name);
    others.iter().fold(table, |table, other| table.remote(other, &address(scope, other)))
}

/// Calls, and gives the text of the answer or the failure.
pub(super) async fn ask(service: &RemoteService, method: &str, body: &str) -> Result<String, (Code, String)> {
    match service.call(call_of(method, body)).await {
        Ok(reply) => {
            let body = reply.into_body().whole(64 << 20).await.unwrap();
            Ok(String::from_utf8(body.to_vec()).unwrap())
        }
        Err(status) => Err((status.code(), status.message().to_owned())),
    }
}

/// What came in a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    Request { source: Handle, session: u32, destination: Handle, method: String, body: String },
    Response { source: Handle, session: u32, destination: Handle, failure: Option<String>, body: String },
    Hello(bool, String),
    Hint,
    Code,
}

/// One end of a connection, by bytes.
pub(super) struct Raw {
    pub(super) stream: Stream,
    decoder: Decoder,
    read: Vec<u8>,
}

impl Raw {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, decoder: Decoder::new(&Limits::default()), read: vec![] }
    }

    pub(super) async fn dial(address: &str) -> Self {
        Self::new(Stream::dial(&address.parse::<Address>().unwrap()).await.unwrap())
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next frame; none at the end of the connection.
    pub(super) async fn next(&mut self) -> Option<Seen> {
        loop {
            let step = self.decoder.step(&self.read).unwrap();
            let seen = match step.next {
                Next::Frame(Frame::Request(head, body)) => Some(Seen::Request {
                    source: head.source,
                    session: head.session,
                    destination: head.destination,
                    method: text(head.method),
                    body: text(body),
                }),
                Next::Frame(Frame::Response(head, body)) => Some(Seen::Response {
                    source: head.source,
                    session: head.session,
                    destination: head.destination,
                    failure: head.failure.map(|(_, failure)| text(failure)),
                    body: text(body),
                }),
                Next::Frame(Frame::Hello(hello)) => Some(Seen::Hello(hello.asks, hello.cluster.to_owned())),
                Next::Frame(Frame::Hint(_)) => Some(Seen::Hint),
                Next::Frame(Frame::Code(_)) => Some(Seen::Code),
                Next::NeedMore(_) => {
                    let mut buffer = [0; 4096];
                    match self.stream.read(&mut buffer).await {
                        Ok(0) | Err(_) => return None,
                        Ok(n) => self.read.extend_from_slice(&buffer[..n]),
                    }
                    continue;
                }
                other => panic!("{other:?}"),
            };
            self.read.drain(..step.consumed);
            if seen.is_some() {
                return seen;
            }
        }
    }

    /// The next frame that is no hint.
    pub(super) async fn next_call(&mut self) -> Option<Seen> {
        loop {
            match self.next().await {
                Some(Seen::Hint) => {}
                other => return other,
            }
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A listener that answers by hand.
pub(super) async fn listen(address: &str) -> Listener {
    Listener::bind(&address.parse::<Address>().unwrap()).await.unwrap()
}

pub(super) fn request(from: Handle, session: u32, to: Handle, method: &str, body: &str) -> Vec<u8> {
    let mut out = vec![];
    let head = Request { source: from, session, destination: to, method: method.as_bytes() };
    let mark = begin_request(&head, &mut out).unwrap();
    out.extend_from_slice(body.as_bytes());
    finish(mark, usize::MAX, &mut out).unwrap();
    out
}

pub(super) fn response(from: Handle, session: u32, to: Handle, body: &str) -> Vec<u8> {
    let mut out = vec![];
    let head = Response { source: from, session, destination: to, method: b"Echo", failure: None };
    let mark = begin_response(&head, &mut out).unwrap();
    out.extend_from_slice(body.as_bytes());
    finish(mark, usize::MAX, &mut out).unwrap();
    out
}

pub(super) fn hello(name: &str) -> Vec<u8> {
    let mut out = vec![];
    Hello { asks: true, cluster: name }.encode(&mut out);
    out
}
