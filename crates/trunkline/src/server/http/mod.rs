//! HTTP in, calls out, on the same port as all other wires.
//!
//! hyper speaks HTTP/1; what it reads has passed the [`framer`], which refuses what two readers could take
//! differently. A request is one of four forms: plain JSON, rpcx's headers, easymicro's headers, or JSON-RPC 2.0.
//! A `CONNECT` and a WebSocket leave HTTP and go on as rpcx.

mod dispatch;
mod easymicro_headers;
mod framer;
mod gate;
mod handshake;
mod head;
mod jsonrpc;
mod page;
mod plain;
mod rpcx_headers;
mod websocket;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::context::ConnectionInfo;
use crate::net::transport::Stream;
use crate::push::PushQueue;
use crate::server::Core;
use crate::server::drain::DrainWatch;
use crate::{Peer, Service};
use dispatch::Gateway;
use gate::{End, Gate, Slow};
use head::{MAX_HEAD, Refusal};
pub(crate) use page::OpenApi;

/// How much of a peer's bytes is thrown away after the last answer, and for how long, so that the answer is not
/// destroyed by them on its way.
const LINGER: (u64, Duration) = (1 << 20, Duration::from_secs(1));

/// Serves a connection that begins like HTTP to its end; `first` was read from it already.
pub(crate) async fn serve<S: Service>(core: Arc<Core<S>>, stream: Stream, peer: Peer, first: Bytes) {
    let info = ConnectionInfo { peer, wire: "http", can_push: false, pushes: PushQueue::open() };
    let gateway = Arc::new(Gateway { core, info: Arc::new(info) });
    let gate = Gate::new(stream, &first);
    drop(first);
    // Counts the connection until its very end, whatever it speaks by then.
    let mut drain = gateway.core.drain.watch();
    if !serve_http(&gateway, &gate, &mut drain).await {
        return;
    }
    let left = gate.take();
    let Some(mut stream) = left.stream else { return };
    let peer = &gateway.info.peer;
    match left.end {
        // A stop waits for answers, not for peers that may have more to say.
        None => goodbye(stream, left.may_send && !gateway.core.drain.has_begun()).await,
        Some(End::Broken(refusal)) => {
            tracing::warn!(%peer, wire = "http", rule = refusal.rule, "closed");
            goodbye(stream, left.may_send).await;
        }
        Some(End::Refused(refusal)) => {
            tracing::warn!(%peer, wire = "http", rule = refusal.rule, "closed");
            // Where the peer is gone there is nobody to tell.
            let _ = stream.write_all(&refused(refusal)).await;
            goodbye(stream, left.may_send).await;
        }
        Some(End::Leave(handover)) => {
            handshake::leave(&gateway, &mut drain, stream, handover, left.rest).await;
        }
    }
}

/// Serves requests until hyper is done. Whether the peer may be told more.
async fn serve_http<S: Service>(gateway: &Arc<Gateway<S>>, gate: &Gate, drain: &mut DrainWatch) -> bool {
    let service = service_fn(|request| {
        let (gateway, running) = (Arc::clone(gateway), gate.running());
        async move {
            let response = dispatch::answer(&gateway, request).await;
            drop(running);
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        // Who ended its side is watched by the gate.
        .half_close(true)
        .header_read_timeout(None)
        // As Go's clients and servers write them.
        .title_case_headers(true)
        .max_buf_size(4 * MAX_HEAD)
        .serve_connection(gate.clone(), service);
    let mut connection = pin!(connection);
    let mut timer = pin!(tokio::time::sleep_until(Instant::now()));
    // A request that has come before the stop is answered. The runtime has to look at its sockets once more, so that
    // it is read before hyper is told that no other one is wanted.
    let mut stop = pin!(async {
        drain.begun().await;
        tokio::task::yield_now().await;
    });
    let mut draining = false;
    std::future::poll_fn(|cx| {
        loop {
            if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                if let Err(error) = result {
                    tracing::debug!(peer = %gateway.info.peer, wire = "http", %error, "closed");
                }
                return Poll::Ready(true);
            }
            if !draining && stop.as_mut().poll(cx).is_ready() {
                draining = true;
                connection.as_mut().graceful_shutdown();
                continue;
            }
            match gate.poll_ahead(cx) {
                Poll::Ready(Ok(())) => continue,
                Poll::Ready(Err(_)) => return Poll::Ready(false),
                Poll::Pending => {}
            }
            let Some((at, slow)) = gate.due() else { return Poll::Pending };
            if timer.deadline() != at {
                timer.as_mut().reset(at);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            match slow {
                Slow::Head => gate.refuse_slow_head(),
                Slow::Write | Slow::HalfClosed => {
                    tracing::debug!(peer = %gateway.info.peer, wire = "http", ?slow, "closed");
                    return Poll::Ready(false);
                }
            }
        }
    })
    .await
}

/// The answer to a request that hyper has not seen.
fn refused(refusal: Refusal) -> Vec<u8> {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
    let body = plain::error_body(plain::code_of(status), refusal.rule);
    let reason = status.canonical_reason().unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {} {reason}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        refusal.status,
        body.len()
    );
    [head.into_bytes(), body].concat()
}

/// Ends a connection so that what was written last arrives.
async fn goodbye(mut stream: Stream, may_send: bool) {
    let (most, time) = LINGER;
    let end = async {
        if stream.shutdown().await.is_ok() && may_send {
            let _ = tokio::io::copy(&mut (&mut stream).take(most), &mut tokio::io::sink()).await;
        }
    };
    let _ = tokio::time::timeout(time, end).await;
}
