//! An IIP server of hand-written bytes that is not Trunkline: what it answers to `/sys/trunkline` is what Go's does.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What a Go server says of a path that it does not know.
pub const UNKNOWN: &str = r#"{"code":102,"message":"handle error"}"#;

/// One frame as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub connection: usize,
    pub status: u8,
    pub path: String,
    pub channel: u32,
    pub data: Vec<u8>,
}

/// A server that keeps what came, but for what the client's session asks for itself.
#[derive(Clone, Default)]
pub struct Fake(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    connections: usize,
    frames: Vec<Frame>,
}

impl Fake {
    /// Answers whole requests as `answer` says, and leaves those unanswered of which it says nothing. The address.
    pub async fn start(
        answer: impl Fn(&Frame) -> Option<Vec<u8>> + Clone + Send + 'static,
    ) -> (String, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let fake = Self::default();
        let own = fake.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = {
                    let mut seen = own.0.lock().unwrap();
                    seen.connections += 1;
                    seen.connections
                };
                tokio::spawn(own.clone().serve(stream, number, answer.clone()));
            }
        });
        (address, fake)
    }

    pub fn connections(&self) -> usize {
        self.0.lock().unwrap().connections
    }

    pub fn frames(&self) -> Vec<Frame> {
        self.0.lock().unwrap().frames.clone()
    }

    async fn serve(
        self,
        mut stream: TcpStream,
        connection: usize,
        answer: impl Fn(&Frame) -> Option<Vec<u8>>,
    ) {
        let mut granted = 0;
        while let Some(frame) = read_frame(&mut stream, connection).await {
            let system = match frame.path.as_str() {
                "/sys/new_channel" => {
                    granted += 1;
                    Some(format!(r#"{{"code":0,"channel_id":{granted}}}"#))
                }
                path if path.starts_with("/sys/") => Some(UNKNOWN.to_owned()),
                _ => None,
            };
            let answer = match system {
                Some(answer) => Some(answer.into_bytes()),
                None => {
                    self.0.lock().unwrap().frames.push(frame.clone());
                    answer(&frame).filter(|_| frame.status & 1 == 1)
                }
            };
            if let Some(answer) = answer
                && stream.write_all(&written(5, &frame.path, frame.channel, &answer)).await.is_err()
            {
                return;
            }
        }
    }
}

/// The next frame; none at the end.
pub async fn read_frame(stream: &mut TcpStream, connection: usize) -> Option<Frame> {
    let status = stream.read_u8().await.ok()?;
    let mut path = Vec::new();
    loop {
        match stream.read_u8().await.ok()? {
            0 => break,
            byte => path.push(byte),
        }
    }
    let channel = stream.read_u32().await.ok()?;
    let mut data = vec![0; usize::try_from(stream.read_u32().await.ok()?).unwrap()];
    stream.read_exact(&mut data).await.ok()?;
    Some(Frame { connection, status, path: String::from_utf8(path).unwrap(), channel, data })
}

/// The bytes of a frame; of the path what stands before its query.
pub fn written(status: u8, path: &str, channel: u32, data: &[u8]) -> Vec<u8> {
    let mut frame = vec![status];
    frame.extend_from_slice(path.split('?').next().unwrap().as_bytes());
    frame.push(0);
    frame.extend_from_slice(&channel.to_be_bytes());
    frame.extend_from_slice(&u32::try_from(data.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(data);
    frame
}

/// Polls until it is so.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
