//! volo-thrift: multiplexed connections, framed TTHeader. The body travels as volo's raw bytes, without a Thrift
//! struct around it, so that no code has to be generated: a little less work than a user's service has.

use std::net::SocketAddr;

use bench_harness::{Error, Peer};
use bytes::Bytes;
use tokio::net::TcpListener;
use volo::client::MkClient;
use volo::net::incoming::DefaultIncoming;
use volo::service::{BoxCloneService, Service};
use volo_thrift::client::ClientBuilder;
use volo_thrift::context::{ClientContext, ServerContext};
use volo_thrift::server::Server;
use volo_thrift::{Client, ClientError, ServerError};

/// The service.
struct Echo;

impl Service<ServerContext, Bytes> for Echo {
    type Response = Bytes;
    type Error = ServerError;

    async fn call(&self, _: &mut ServerContext, body: Bytes) -> Result<Bytes, ServerError> {
        Ok(body)
    }
}

type EchoClient = Client<BoxCloneService<ClientContext, Bytes, Option<Bytes>, ClientError>>;

/// Makes the client of what volo's builder has built.
struct Plain;

impl MkClient<EchoClient> for Plain {
    type Target = EchoClient;

    fn mk_client(&self, client: EchoClient) -> EchoClient {
        client
    }
}

struct Volo;

impl Peer for Volo {
    type Client = EchoClient;

    async fn serve(listener: TcpListener) -> Result<(), Error> {
        Server::new(Echo).multiplex(true).run(DefaultIncoming::from(listener)).await
    }

    async fn connect(to: SocketAddr) -> Result<EchoClient, Error> {
        Ok(ClientBuilder::new("echo", Plain).address(to).multiplex(true).build())
    }

    async fn echo(client: &mut EchoClient, body: Bytes) -> Result<usize, Error> {
        let mut context = client.make_cx("echo", false);
        let reply = client.call(&mut context, body).await?;
        // As generated clients do, so that the next call finds it.
        volo_thrift::context::CLIENT_CONTEXT_CACHE.with(|cache| cache.borrow_mut().push(context));
        Ok(reply.ok_or("no reply")?.len())
    }
}

fn main() -> std::process::ExitCode {
    bench_harness::main::<Volo>()
}
