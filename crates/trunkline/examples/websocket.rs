//! rpcx over a WebSocket, by hand: the upgrade, one call in one frame, its answer in another.
//! Run it: `cargo run --example websocket`

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use trunkline::wire::rpcx::{Frame, Header};
use trunkline::{Bytes, Limits, Pairs, Result, Server};

#[trunkline::service]
trait Echo {
    async fn echo(&self, body: Bytes) -> Result<Bytes>;
}

struct Mirror;

impl Echo for Mirror {
    async fn echo(&self, body: Bytes) -> Result<Bytes> {
        Ok(body)
    }
}

const UPGRADE: &str = "GET /_rpcx_ HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder().serve(EchoServer::new(Mirror)).listen("127.0.0.1:0").start().await?;
    let mut stream = TcpStream::connect(server.addresses()[0].clone()).await?;

    stream.write_all(UPGRADE.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    println!("{}", String::from_utf8_lossy(&head).lines().next().unwrap_or_default());
    assert!(head.starts_with(b"HTTP/1.1 101 "));

    // The call as rpcx has it: without flags, its body raw.
    let header = Header { version: 0, flags: 0, format: 0, seq: 7, total: 0 };
    let metadata = Pairs::default();
    let call = Frame { header, service: b"Echo", method: b"Echo", metadata, body: b"hello" };
    let mut payload = Vec::new();
    call.encode(&Limits::default(), &mut payload)?;

    // One binary message (82), masked (80), of less than 126 bytes.
    let mask = [1, 2, 3, 4];
    let mut message = vec![0x82, 0x80 | u8::try_from(payload.len())?];
    message.extend(mask);
    message.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    stream.write_all(&message).await?;

    let [_, length] = [stream.read_u8().await?, stream.read_u8().await?];
    let mut payload = vec![0; length.into()];
    stream.read_exact(&mut payload).await?;
    let reply = Frame::decode(&payload, &Limits::default())?.ok_or("half a frame")?;
    println!("reply {}: {}", reply.header.seq, String::from_utf8_lossy(reply.body));
    assert_eq!((reply.header.seq, reply.body), (7, &b"hello"[..]));
    Ok(())
}
