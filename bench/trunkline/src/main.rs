//! Trunkline without HTTP: the default layers, handlers that own their bytes, a task for each call in flight or a batch
//! for each connection. A client with `--in-memory` calls a server in its own process, without a socket: what is left is
//! what the two ends cost without the kernel. With `--balanced` it calls `/echo` over IIP through a client of several
//! endpoints, which keeps two connections to the one that there is; with `--netrpc` it calls over net/rpc. With `--zrpc`
//! both ends are named peers, as zrpc's brokers are.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bench_harness::{Error, Peer};
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use trunkline::client::{Channel, Client};
use trunkline::peer::{Functions, NamedPeer};
use trunkline::server::RunningServer;
use trunkline::{Body, Call, Name, ReplyBuf, Serialization, Server, Service, service};

/// The same bytes back: borrowed, and through a handler that owns them.
#[service]
trait Echo {
    fn echo(&self, body: &[u8], reply: &mut ReplyBuf<'_>) -> trunkline::Result<()>;
    async fn owned(&self, body: Bytes) -> trunkline::Result<Bytes>;
}

struct Mirror;

impl Echo for Mirror {
    fn echo(&self, body: &[u8], reply: &mut ReplyBuf<'_>) -> trunkline::Result<()> {
        reply.extend_from_slice(body);
        Ok(())
    }

    async fn owned(&self, body: Bytes) -> trunkline::Result<Bytes> {
        Ok(body)
    }
}

struct Trunkline;

/// To one endpoint over rpcx or net/rpc, or to several over IIP.
#[derive(Clone)]
enum Calls {
    One(Channel),
    NetRpc(EchoClient<Channel>),
    Balanced(Client),
}

fn asked_for(flag: &str) -> bool {
    std::env::args().any(|argument| argument == flag)
}

impl Peer for Trunkline {
    type Client = Calls;

    async fn serve(listener: TcpListener) -> Result<(), Error> {
        Ok(Server::builder().serve(EchoServer::new(Mirror)).listen_on(listener).run().await?)
    }

    async fn connect(to: SocketAddr) -> Result<Calls, Error> {
        static SERVER: OnceCell<RunningServer> = OnceCell::const_new();
        if asked_for("--balanced") {
            let client = Client::builder(&format!("iip://{to}")).connections(2);
            return Ok(Calls::Balanced(client.channels(|channel| channel.iip_channels(1)).connect().await?));
        }
        if asked_for("--in-memory") {
            let begun = || Server::builder().serve(EchoServer::new(Mirror)).listen("mem://null").start();
            return Ok(Calls::One(Channel::connect(SERVER.get_or_try_init(begun).await?.url()).await?));
        }
        if asked_for("--netrpc") {
            return Ok(Calls::NetRpc(EchoClient::new(Channel::connect(&format!("netrpc://{to}")).await?)));
        }
        Ok(Calls::One(Channel::connect(&format!("rpcx://{to}")).await?))
    }

    async fn echo(client: &mut Calls, body: Bytes) -> Result<usize, Error> {
        let reply = match client {
            Calls::One(channel) => channel.call(call(body)).await?,
            Calls::NetRpc(client) => return Ok(client.owned(body).await?.len()),
            Calls::Balanced(client) => {
                client.call(Call::new("", Name::from_static("/echo"), Serialization::Raw, body)).await?
            }
        };
        match reply.into_body() {
            Body::Full(body) => Ok(body.len()),
            Body::Stream(_) => Err("a streamed reply".into()),
        }
    }

    async fn batch(client: &mut Calls, body: Bytes, calls: usize) -> Result<usize, Error> {
        let Calls::One(channel) = client else { return Err("batches go to one endpoint".into()) };
        let mut batch = channel.batch();
        batch.reserve(calls);
        for _ in 0..calls {
            batch.push(call(body.clone()));
        }
        let mut size = 0;
        for reply in batch.send().await.into_vec() {
            if let Body::Full(body) = reply?.into_body() {
                size += body.len();
            }
        }
        Ok(size)
    }
}

fn call(body: Bytes) -> Call {
    Call::new(Name::from_static("Echo"), Name::from_static("Owned"), Serialization::Raw, body)
}

/// Named peers: one that offers a function, and one that calls it.
struct Named;

impl Peer for Named {
    type Client = Arc<NamedPeer>;

    async fn serve(listener: TcpListener) -> Result<(), Error> {
        let functions = Functions::new().function("echo", |body| async { Ok(body) }).into_service();
        Ok(Server::builder().serve(functions).listen_on(listener).run().await?)
    }

    async fn connect(to: SocketAddr) -> Result<Arc<NamedPeer>, Error> {
        let peer = NamedPeer::builder("client").listen("127.0.0.1:0").peer("hello", &to.to_string());
        Ok(Arc::new(peer.timeout(Duration::from_secs(60)).start().await?))
    }

    async fn echo(client: &mut Arc<NamedPeer>, body: Bytes) -> Result<usize, Error> {
        Ok(client.call("hello", "echo", body).await?.len())
    }
}

fn main() -> std::process::ExitCode {
    if asked_for("--zrpc") { bench_harness::main::<Named>() } else { bench_harness::main::<Trunkline>() }
}
