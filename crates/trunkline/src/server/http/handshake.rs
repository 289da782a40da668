//! Leaving HTTP: the answer to a `CONNECT` or a WebSocket's upgrade, and what is spoken after it.

use std::sync::Arc;

use base64::Engine;
use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use trunkline_wire::detect::{Detected, Detection, after_connect};
#[cfg(feature = "netrpc")]
use trunkline_wire::netrpc::NetRpc;
use trunkline_wire::rpcx::Rpcx;

use super::dispatch::Gateway;
use super::framer::Handover;
use super::gate::Left;
use super::goodbye;
use super::websocket::WebSocket;
use crate::Service;
use crate::net::buffers::Inbound;
use crate::net::transport::Stream;
use crate::server::drain::DrainWatch;
use crate::server::serve_wire;

/// What RFC 6455 has a server append to the key.
const ACCEPT: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const NOT_FOUND: &[u8] = b"HTTP/1.0 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 19\r\nConnection: close\r\n\r\n404 page not found\n";

/// Answers what asked to leave HTTP, and serves what comes after; `left` says what has come with it.
pub(super) async fn leave<S: Service>(
    gateway: &Gateway<S>,
    drain: &mut DrainWatch,
    mut stream: Stream,
    handover: Handover,
    left: Left,
) {
    let (rest, offset) = (left.rest, left.offset);
    let (core, peer) = (Arc::clone(&gateway.core), gateway.info.peer.clone());
    match handover {
        Handover::WebSocket(key) => {
            if stream.write_all(&switching(&key)).await.is_ok() {
                let socket = WebSocket::new(stream, peer.clone(), rest, offset);
                serve_wire::<Rpcx, S>(core, socket, peer, Bytes::new()).await;
            }
        }
        Handover::Connect(path) => {
            // Bare line feeds and HTTP/1.0: Go's clients compare the text.
            let answer: &[u8] = match path.as_slice() {
                b"/_goRPC_" => b"HTTP/1.0 200 Connected to Go RPC\n\n",
                b"/_rpcx_" => b"HTTP/1.0 200 Connected to rpcx\n\n",
                _ => {
                    let _ = stream.write_all(NOT_FOUND).await;
                    return goodbye(stream, true).await;
                }
            };
            if stream.write_all(answer).await.is_err() {
                return;
            }
            let first = if rest.is_empty() { first_bytes(&mut stream, drain).await } else { Some(rest) };
            let Some(first) = first else { return };
            match after_connect(&path, &first) {
                Detection::Wire(Detected::Rpcx) => serve_wire::<Rpcx, S>(core, stream, peer, first).await,
                #[cfg(feature = "netrpc")]
                Detection::Wire(Detected::Gob) => serve_wire::<NetRpc, S>(core, stream, peer, first).await,
                other => {
                    let path = path.escape_ascii();
                    tracing::warn!(%peer, %path, wire = ?other, offset, "closed: this wire is not served after a CONNECT");
                }
            }
        }
    }
}

/// The bytes after a CONNECT; a client may take its time with them, unless the server stops.
async fn first_bytes(stream: &mut Stream, drain: &mut DrainWatch) -> Option<Bytes> {
    let mut inbound = Inbound::default();
    tokio::select! {
        read = std::future::poll_fn(|cx| inbound.poll_read(stream, cx)) => read.ok().flatten(),
        () = drain.begun() => None,
    }
}

fn switching(key: &[u8]) -> Vec<u8> {
    let hash = sha1_smol::Sha1::from([key, ACCEPT].concat()).digest().bytes();
    let accept = base64::engine::general_purpose::STANDARD.encode(hash);
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    /// The key and the answer that Go's client and server exchanged (golden case `websocket` of rpcx).
    #[test]
    fn the_recorded_key_gives_the_recorded_answer() {
        let answer = String::from_utf8(super::switching(b"IMlAD8RNU0bGdYHGX5M23A==")).unwrap();
        assert!(answer.contains("\r\nSec-WebSocket-Accept: Kzz1SBmJ+NBB9O/EB+uvd7fADlM=\r\n"), "{answer}");
    }
}
