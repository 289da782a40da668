//! tarpc: bincode with the body as bytes, nodelay, 8,192 calls in flight, a task a request.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bench_harness::{Error, Peer};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_bytes::ByteBuf;
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::{client, context, serde_transport, server};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

#[tarpc::service]
trait Echo {
    async fn echo(body: ByteBuf) -> ByteBuf;
}

#[derive(Clone)]
struct Server;

impl Echo for Server {
    async fn echo(self, _: context::Context, body: ByteBuf) -> ByteBuf {
        body
    }
}

fn framed(stream: TcpStream) -> Result<Framed<TcpStream, LengthDelimitedCodec>, Error> {
    stream.set_nodelay(true)?;
    Ok(Framed::new(stream, LengthDelimitedCodec::new()))
}

struct Tarpc;

impl Peer for Tarpc {
    type Client = EchoClient;

    async fn serve(listener: TcpListener) -> Result<(), Error> {
        loop {
            let transport = serde_transport::new(framed(listener.accept().await?.0)?, Bincode::default());
            let config = server::Config { pending_response_buffer: 4096 };
            let calls = BaseChannel::new(config, transport).execute(Server.serve());
            tokio::spawn(calls.for_each(|call| async {
                tokio::spawn(call);
            }));
        }
    }

    async fn connect(to: SocketAddr) -> Result<EchoClient, Error> {
        let transport = serde_transport::new(framed(TcpStream::connect(to).await?)?, Bincode::default());
        let mut config = client::Config::default();
        config.max_in_flight_requests = 8192;
        config.pending_request_buffer = 4096;
        Ok(EchoClient::new(config, transport).spawn())
    }

    async fn echo(client: &mut EchoClient, body: Bytes) -> Result<usize, Error> {
        let mut context = context::current();
        context.deadline = Instant::now() + Duration::from_secs(30);
        Ok(client.echo(context, ByteBuf::from(body.to_vec())).await?.len())
    }
}

fn main() -> std::process::ExitCode {
    bench_harness::main::<Tarpc>()
}
