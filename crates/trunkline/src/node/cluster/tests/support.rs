//! A node with a service that does what its callers say, and an end of a connection that speaks bytes.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use trunkline_wire::Limits;
use trunkline_wire::saber::{
    Decoder, Frame, Handle, Hello, Next, Request, Response, begin_request, begin_response, finish,
};

use crate::net::Address;
use crate::net::transport::{Listener, Stream};
use crate::node::{Cluster, ClusterTable, Mailbox, Node, RemoteService};
use crate::server::RunningServer;
use crate::{Bytes, Call, Code, Context, Result, Serialization, Server, Service, Status};

/// Does what its callers say. Number 1 is re-entrant, number 2 serial.
#[trunkline::service(mailbox)]
pub(super) trait Puppet {
    async fn echo(&self, body: Bytes) -> Result<Bytes>;
    async fn fail(&self, text: Bytes) -> Result<Bytes>;
    async fn big(&self, length: Bytes) -> Result<Bytes>;
    async fn left(&self, context: &Context, any: Bytes) -> Result<Bytes>;
    async fn chain(&self, any: Bytes) -> Result<Bytes>;
    async fn wait(&self, millis: Bytes) -> Result<Bytes>;
    async fn ask(&self, path: Bytes) -> Result<Bytes>;
    async fn panic(&self, any: Bytes) -> Result<Bytes>;
    async fn nothing(&self) -> Result<()>;
}

struct Strings(Arc<OnceLock<Cluster>>);

fn read(body: &Bytes) -> &str {
    std::str::from_utf8(body).unwrap()
}

impl Puppet for Strings {
    async fn echo(&self, body: Bytes) -> Result<Bytes> {
        Ok(body)
    }

    async fn fail(&self, text: Bytes) -> Result<Bytes> {
        Err(Status::failed(read(&text).to_owned()))
    }

    async fn big(&self, length: Bytes) -> Result<Bytes> {
        Ok(vec![b'1'; read(&length).parse().unwrap()].into())
    }

    async fn left(&self, context: &Context, _: Bytes) -> Result<Bytes> {
        let left = context.time_left().map_or(0, |left| left.as_millis());
        Ok(left.to_string().into())
    }

    async fn chain(&self, _: Bytes) -> Result<Bytes> {
        let names: Vec<_> = crate::node::current::chain()?.names().iter().map(ToString::to_string).collect();
        Ok(names.join(" ").into())
    }

    async fn wait(&self, millis: Bytes) -> Result<Bytes> {
        tokio::time::sleep(Duration::from_millis(read(&millis).parse().unwrap())).await;
        Ok(millis)
    }

    /// `NODE/ID NODE/ID …`: asks each in turn to ask the next; the last one says who waits.
    async fn ask(&self, path: Bytes) -> Result<Bytes> {
        let text = read(&path);
        let (next, rest) = text.split_once(' ').unwrap_or((text, ""));
        let (node, id) = next.split_once('/').unwrap();
        let service = self.0.get().unwrap().service(node, "Puppet", id.parse().unwrap());
        let method = if rest.is_empty() { "Chain" } else { "Ask" };
        service.call(call_of(method, rest)).await?.into_body().whole(1 << 20).await
    }

    async fn panic(&self, _: Bytes) -> Result<Bytes> {
        panic!("as it was told")
    }

    async fn nothing(&self) -> Result<()> {
        Ok(())
    }
}

pub(super) fn call_of(method: &str, body: &str) -> Call {
    Call::new("Puppet", method.to_owned(), Serialization::Json, body.to_owned())
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
        let own = Arc::<OnceLock<Cluster>>::default();
        node.serve(1, PuppetServer::new(Strings(Arc::clone(&own)))).unwrap();
        node.serve(2, Mailbox::new(PuppetServer::new(Strings(Arc::clone(&own)))).serial()).unwrap();
        let cluster = Cluster::start_with(&node, &table(scope, name, others), limits).unwrap();
        own.set(cluster.clone()).unwrap();
        let server = Server::builder().with_describe().cluster(&cluster).listen(address(scope, name));
        Self { cluster, server: server.start().await.unwrap() }
    }

    /// Starts one more puppet.
    pub(super) fn serve(&self, id: u32) -> PuppetHandle {
        self.cluster.node().serve(id, PuppetServer::new(Strings(Arc::default()))).unwrap()
    }

    pub(super) fn puppet(&self, node: &str) -> RemoteService {
        self.cluster.service(node, "Puppet", 1)
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
    Stop,
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
                Next::Frame(Frame::Stop) => Some(Seen::Stop),
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
