//! `CONNECT` before a wire, as Go's `rpc.DialHTTP` has it: one line out, one head in, and HTTP is over.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::net::transport::Stream;

/// The most bytes of an answer's head.
const HEAD: usize = 4 << 10;

/// Leaves HTTP by a `CONNECT` of this path. What the peer has said behind its answer comes back.
///
/// # Errors
/// The connection fails, or the answer is not status 200.
pub(super) async fn leave_http(stream: &mut Stream, path: &str) -> io::Result<Bytes> {
    // Bare line feeds and no headers: to the byte what Go's client sends.
    stream.write_all(format!("CONNECT {path} HTTP/1.0\n\n").as_bytes()).await?;
    let mut head = BytesMut::with_capacity(256);
    let end = loop {
        if let Some(end) = end_of_head(&head) {
            break end;
        }
        if head.len() >= HEAD {
            return Err(refused(path, "the answer's head is over 4 KiB"));
        }
        if stream.read_buf(&mut head).await? == 0 {
            return Err(refused(path, "the server closed within its answer"));
        }
    };
    let rest = head.split_off(end).freeze();
    let line = head.as_ref().split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let mut words = line.splitn(3, |byte| *byte == b' ');
    let (version, status) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if version.starts_with(b"HTTP/1.") && status == b"200" {
        return Ok(rest);
    }
    Err(refused(path, &format!("the server answers {}", line.get(..80).unwrap_or(line).escape_ascii())))
}

/// Where the head ends: behind the first empty line, with or without carriage returns.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let mut after_line = false;
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b'\n' if after_line => return Some(index + 1),
            b'\n' => after_line = true,
            b'\r' => {}
            _ => after_line = false,
        }
    }
    None
}

fn refused(path: &str, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, format!("CONNECT {path}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a peer that answers so makes of it.
    async fn answered(answer: &[u8]) -> io::Result<Bytes> {
        let (near, mut far) = tokio::io::duplex(16 << 10);
        let answer = answer.to_vec();
        let peer = tokio::spawn(async move {
            let mut asked = [0; 27];
            far.read_exact(&mut asked).await.unwrap();
            assert_eq!(&asked, b"CONNECT /_goRPC_ HTTP/1.0\n\n");
            far.write_all(&answer).await.unwrap();
        });
        let left = leave_http(&mut Stream::Memory(near), "/_goRPC_").await;
        peer.await.unwrap();
        left
    }

    #[tokio::test]
    async fn gos_answer_is_understood_and_what_comes_behind_it_kept() {
        assert_eq!(answered(b"HTTP/1.0 200 Connected to Go RPC\n\nrest").await.unwrap(), "rest");
        assert_eq!(answered(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n").await.unwrap(), "");
    }

    #[tokio::test]
    async fn any_other_answer_is_an_error() {
        for (answer, why) in [
            (&b"HTTP/1.0 404 Not Found\r\n\r\n"[..], "404 Not Found"),
            (b"hello\n\n", "hello"),
            (b"HTTP/1.0 200 Connected", "closed within"),
            (&[b'x'; 5000], "over 4 KiB"),
        ] {
            let error = answered(answer).await.unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
