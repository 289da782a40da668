//! HTTP in, calls out, on the same port as all other wires.
//!
//! hyper speaks HTTP/1; what it reads has passed the [`framer`], which refuses what two readers could take
//! differently. A request is one of four forms: plain JSON, rpcx's headers, easymicro's headers, or JSON-RPC 2.0.
//! A `CONNECT` leaves HTTP and goes on as rpcx or net/rpc, a WebSocket as rpcx.

mod body;
mod dispatch;
mod easymicro_headers;
mod framer;
pub mod frames;
#[cfg(feature = "gateway")]
mod front;
mod gate;
mod handshake;
mod head;
mod jsonrpc;
mod page;
mod plain;
mod rpcx_headers;
mod streams;
mod websocket;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::context::ConnectionInfo;
use crate::net::http_body::{OutBody, error_body};
use crate::net::transport::Stream;
use crate::push::PushQueue;
use crate::server::Core;
use crate::server::drain::DrainWatch;
use crate::{Peer, Service};
use dispatch::Gateway;
#[cfg(feature = "gateway")]
pub(crate) use front::{Front, Request as FrontRequest};
use gate::{End, Gate, Slow};
use head::{MAX_HEAD, Refusal};
pub(crate) use page::OpenApi;

/// How much of a peer's bytes is thrown away after the last answer, and for how long, so that the answer is not
/// destroyed by them on its way.
const LINGER: (u64, Duration) = (1 << 20, Duration::from_secs(1));

/// Serves a connection that begins like HTTP to its end; `first` was read from it already.
// Written so that a future does not hold its arguments twice, and what comes last is apart: an idle connection has
// to be small.
pub(crate) fn serve<S: Service>(
    core: Arc<Core<S>>,
    stream: Stream,
    peer: Peer,
    first: Bytes,
) -> impl Future<Output = ()> + Send {
    let info = ConnectionInfo {
        peer,
        wire: "http",
        can_push: false,
        can_resume: false,
        leaving: AtomicBool::new(false),
        pushes: PushQueue::open(),
    };
    let gateway = Arc::new(Gateway { core, info: Arc::new(info), refused: AtomicBool::new(false) });
    let gate = Gate::new(stream, &first);
    drop(first);
    async move {
        // Counts the connection until its very end, whatever it speaks by then.
        let mut drain = gateway.core.drain.watch();
        if serve_http(&gateway, &gate, &mut drain).await {
            Box::pin(end(&gateway, &gate, &mut drain)).await;
        }
    }
}

/// What comes behind the last answer.
async fn end<S: Service>(gateway: &Gateway<S>, gate: &Gate, drain: &mut DrainWatch) {
    let mut left = gate.take();
    let Some(mut stream) = left.stream.take() else { return };
    let peer = &gateway.info.peer;
    match left.end.take() {
        // A stop waits for answers, not for peers that may have more to say.
        None => goodbye(stream, left.may_send && !gateway.core.drain.has_begun()).await,
        Some(End::Broken(refusal)) => {
            log_refusal(peer, refusal);
            goodbye(stream, left.may_send).await;
        }
        Some(End::Refused(refusal)) => {
            log_refusal(peer, refusal);
            // Where the peer is gone there is nobody to tell.
            let _ = stream.write_all(&refused(refusal)).await;
            goodbye(stream, left.may_send).await;
        }
        // A front has nothing to leave HTTP for.
        #[cfg(feature = "gateway")]
        Some(End::Leave(_)) if gateway.core.front.is_some() => {
            let refusal = Refusal::new(501, "nothing but HTTP is spoken here");
            let _ = stream.write_all(&refused(refusal)).await;
            goodbye(stream, true).await;
        }
        Some(End::Leave(handover)) => handshake::leave(gateway, drain, stream, handover, left).await,
    }
}

fn log_refusal(peer: &Peer, refusal: Refusal) {
    tracing::warn!(%peer, wire = "http", rule = refusal.rule, offset = refusal.at, "closed");
}

/// hyper's part of a connection: it reads what the gate lets pass, and has each request answered.
fn hyper_over<S: Service>(
    gateway: &Arc<Gateway<S>>,
    gate: &Gate,
) -> http1::Connection<Gate, impl HttpService<Incoming, ResBody = OutBody, Future: Send>> {
    let (gateway, of_service) = (Arc::clone(gateway), gate.clone());
    let service = service_fn(move |request| {
        let (gateway, gate) = (Arc::clone(&gateway), of_service.clone());
        let running = gate.running();
        async move {
            let response = dispatch::answer(&gateway, &gate, running, request).await;
            Ok::<_, Infallible>(response)
        }
    });
    http1::Builder::new()
        // Who ended its side is watched by the gate.
        .half_close(true)
        .header_read_timeout(None)
        // As Go's clients and servers write them.
        .title_case_headers(true)
        .max_buf_size(4 * MAX_HEAD)
        .serve_connection(gate.clone(), service)
}

/// Serves requests until hyper is done. Whether the peer may be told more.
///
/// hyper holds 16 KiB for a connection, used or not. So it comes with the first bytes of a request and goes with the
/// last of its answer, as [`Gate::is_idle`] says: between them a connection is the gate and a timer.
async fn serve_http<S: Service>(gateway: &Arc<Gateway<S>>, gate: &Gate, drain: &mut DrainWatch) -> bool {
    let mut connection = gate.has_passed().then(|| Box::pin(hyper_over(gateway, gate)));
    let mut timer = pin!(tokio::time::sleep_until(Instant::now()));
    // A request that has come before the stop is answered. The runtime has to look at its sockets once more, so that
    // it is read before hyper is told that no other one is wanted.
    let mut stop = pin!(async {
        drain.begun().await;
        tokio::task::yield_now().await;
    });
    let (mut draining, mut told) = (false, false);
    std::future::poll_fn(|cx| {
        loop {
            if let Some(hyper) = connection.as_mut() {
                if let Poll::Ready(result) = hyper.as_mut().poll(cx) {
                    if let Err(error) = result {
                        tracing::debug!(peer = %gateway.info.peer, wire = "http", %error, "closed");
                    }
                    return Poll::Ready(true);
                }
                if draining && !told {
                    told = true;
                    hyper.as_mut().graceful_shutdown();
                    continue;
                }
                if !draining && gate.is_idle() {
                    connection = None;
                    continue;
                }
            } else if gate.has_passed() {
                connection = Some(Box::pin(hyper_over(gateway, gate)));
                continue;
            } else if gate.is_over() {
                return Poll::Ready(true);
            }
            if !draining && stop.as_mut().poll(cx).is_ready() {
                draining = true;
                gate.stop();
                continue;
            }
            match gate.poll_ahead(cx) {
                Poll::Ready(Ok(())) => continue,
                Poll::Ready(Err(error)) => {
                    log_reset(gateway, gate, &error);
                    return Poll::Ready(false);
                }
                Poll::Pending if draining && connection.is_none() => return Poll::Ready(true),
                Poll::Pending => {}
            }
            let Some((at, slow)) = gate.due() else { return Poll::Pending };
            if timer.deadline() != at {
                timer.as_mut().reset(at);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if !too_late(gateway, gate, slow) {
                return Poll::Ready(false);
            }
        }
    })
    .await
}

fn log_reset<S>(gateway: &Gateway<S>, gate: &Gate, error: &std::io::Error) {
    let (peer, offset) = (&gateway.info.peer, gate.position());
    if gate.is_in_body() {
        let rule = "the peer broke the connection off within a body";
        tracing::warn!(%peer, wire = "http", rule, offset, "closed");
    } else {
        tracing::debug!(%peer, wire = "http", %error, offset, "closed");
    }
}

/// Does what a time that is over asks for. Whether the connection goes on.
fn too_late<S>(gateway: &Gateway<S>, gate: &Gate, slow: Slow) -> bool {
    let (peer, offset) = (&gateway.info.peer, gate.position());
    match slow {
        Slow::Head => gate.refuse_slow_head(),
        Slow::Stop => gate.refuse_late_body(),
        Slow::There => gate.look_for_peer(),
        Slow::Write => {
            let rule = "the peer does not read what is written to it";
            tracing::warn!(%peer, wire = "http", rule, offset, "closed");
            return false;
        }
        Slow::HalfClosed => {
            tracing::debug!(%peer, wire = "http", rule = "the caller is gone", offset, "closed");
            return false;
        }
    }
    true
}

/// The answer to a request that hyper has not seen.
fn refused(refusal: Refusal) -> Vec<u8> {
    let status = plain::status(refusal);
    let body = error_body(plain::code_of(status), refusal.rule);
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
