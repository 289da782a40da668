//! Peers that break the rules of good company, on paused time: silent, slow, deaf, and gone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail loudly"
)]

mod clients;
mod endings;
mod servers;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use trunkline_wire::rpcx::{Frame, Header};
use trunkline_wire::{Limits, Metadata};

use super::transport::{Address, Listener, Stream};

/// The bytes of a frame.
fn frame(flags: u8, seq: u64, method: &str, body: &[u8]) -> Vec<u8> {
    frame_with(&Metadata::new(), flags, seq, method, body)
}

fn frame_with(metadata: &Metadata, flags: u8, seq: u64, method: &str, body: &[u8]) -> Vec<u8> {
    let header = Header { version: 0, flags, format: 0, seq, total: 0 };
    let frame =
        Frame { header, service: b"Test", method: method.as_bytes(), metadata: metadata.pairs(), body };
    let mut limits = Limits::default();
    limits.body = 64 << 20;
    let mut bytes = Vec::new();
    frame.encode(&limits, &mut bytes).unwrap();
    bytes
}

/// What came in a frame.
#[derive(Debug)]
struct Got {
    flags: u8,
    seq: u64,
    method: String,
    body: Vec<u8>,
}

/// The other end, driven by hand.
struct Peer {
    stream: Stream,
    buffer: BytesMut,
}

impl Peer {
    fn new(stream: Stream) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    async fn dial(name: &str) -> Self {
        Self::new(Stream::dial(&Address::Memory(name.to_owned())).await.unwrap())
    }

    async fn accept(listener: &mut Listener) -> Self {
        Self::new(listener.accept().await.unwrap().0)
    }

    async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The next frame; `None` where the connection has ended.
    async fn frame(&mut self) -> Option<Got> {
        let mut limits = Limits::default();
        limits.body = 64 << 20;
        loop {
            if let Some(frame) = Frame::decode(&self.buffer, &limits).unwrap() {
                let got = Got {
                    flags: frame.header.flags,
                    seq: frame.header.seq,
                    method: String::from_utf8_lossy(frame.method).into_owned(),
                    body: frame.body.to_vec(),
                };
                let length = frame.length();
                let _ = self.buffer.split_to(length);
                return Some(got);
            }
            if self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// The next frame that is no heartbeat.
    async fn call(&mut self) -> Option<Got> {
        loop {
            let got = self.frame().await?;
            if got.flags & 0x40 == 0 {
                return Some(got);
            }
        }
    }
}

async fn listen(name: &str) -> Listener {
    Listener::bind(&Address::Memory(name.to_owned())).await.unwrap()
}
