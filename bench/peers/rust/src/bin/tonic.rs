//! tonic: gRPC with the body as a protobuf `bytes` field (google.protobuf.BytesValue), tuned: nodelay, 4,096 streams,
//! windows of 2 MiB a stream and 32 MiB a connection, a buffer of 4,096 calls. What tonic's code generator would
//! write stands here by hand, so that no protoc is needed; there is no router above it.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bench_harness::{Error, Peer};
use bytes::Bytes;
use http::uri::PathAndQuery;
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;

const PATH: &str = "/bench.Echo/Echo";
const STREAM: u32 = 2 << 20;
const CONNECTION: u32 = 32 << 20;

#[derive(Clone, PartialEq, prost::Message)]
struct BytesValue {
    #[prost(bytes = "bytes", tag = "1")]
    value: Bytes,
}

/// The method.
#[derive(Clone)]
struct Echo;

impl Service<Request<BytesValue>> for Echo {
    type Response = Response<BytesValue>;
    type Error = Status;
    type Future = std::future::Ready<Result<Response<BytesValue>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<BytesValue>) -> Self::Future {
        std::future::ready(Ok(Response::new(request.into_inner())))
    }
}

/// The service with its one method.
#[derive(Clone)]
struct EchoServer;

impl Service<http::Request<Body>> for EchoServer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            if request.uri().path() != PATH {
                return Ok(Status::unimplemented("only Echo").into_http());
            }
            Ok(tonic::server::Grpc::new(ProstCodec::default()).unary(Echo, request).await)
        })
    }
}

struct Tonic;

impl Peer for Tonic {
    type Client = tonic::client::Grpc<Channel>;

    async fn serve(listener: TcpListener) -> Result<(), Error> {
        Server::builder()
            .max_concurrent_streams(4096)
            .initial_stream_window_size(STREAM)
            .initial_connection_window_size(CONNECTION)
            .serve_with_incoming(EchoServer, TcpIncoming::from(listener).with_nodelay(Some(true)))
            .await?;
        Ok(())
    }

    async fn connect(to: SocketAddr) -> Result<Self::Client, Error> {
        let endpoint = Endpoint::from_shared(format!("http://{to}"))?
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM)
            .initial_connection_window_size(CONNECTION)
            .buffer_size(4096);
        Ok(tonic::client::Grpc::new(endpoint.connect().await?))
    }

    async fn echo(client: &mut Self::Client, value: Bytes) -> Result<usize, Error> {
        client.ready().await?;
        let request = Request::new(BytesValue { value });
        let codec = ProstCodec::<BytesValue, BytesValue>::default();
        let reply = client.unary(request, PathAndQuery::from_static(PATH), codec).await?;
        Ok(reply.into_inner().value.len())
    }
}

fn main() -> std::process::ExitCode {
    bench_harness::main::<Tonic>()
}
