//! The other end of an IIP connection, frame by frame.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use trunkline_wire::Limits;
use trunkline_wire::iip::Frame;

/// A connection that is written and read by hand.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    read: Vec<u8>,
}

/// A frame that was read: status, path, channel, data.
pub(crate) type Seen = (u8, String, u32, Vec<u8>);

/// The bytes of a frame.
pub(crate) fn frame(status: u8, path: &str, channel: u32, data: impl AsRef<[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    let (path, data) = (path.as_bytes(), data.as_ref());
    Frame { status, path, channel, data }.encode(&Limits::default(), &mut out).unwrap();
    out
}

/// The frame that the bytes begin with, and its length.
pub(crate) fn decode(bytes: &[u8]) -> Option<(Seen, usize)> {
    let frame = Frame::decode(bytes, &Limits::default()).unwrap()?;
    let path = String::from_utf8(frame.path.to_vec()).unwrap();
    Some(((frame.status, path, frame.channel, frame.data.to_vec()), frame.length()))
}

impl Raw {
    pub(crate) async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        Self { stream, read: Vec::new() }
    }

    /// Connected, and with so many channels beside channel 0.
    pub(crate) async fn with_channels(address: &str, channels: u32) -> Self {
        let mut raw = Self::connect(address).await;
        for channel in 1..=channels {
            let granted = format!(r#"{{"code":0,"channel_id":{channel}}}"#);
            assert_eq!(raw.ask("/sys/new_channel", 0, "{}").await, granted);
        }
        raw
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next frame; `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Seen> {
        loop {
            if let Some((seen, length)) = decode(&self.read) {
                self.read.drain(..length);
                return Some(seen);
            }
            if self.stream.read_buf(&mut self.read).await.unwrap() == 0 {
                assert!(self.read.is_empty(), "cut within a frame");
                return None;
            }
        }
    }

    /// Asks, and waits for the one answer.
    pub(crate) async fn ask(&mut self, path: &str, channel: u32, data: &str) -> String {
        self.send(&frame(1, path, channel, data)).await;
        let (status, answered, on, data) = self.next().await.unwrap();
        assert_eq!((status, answered.as_str(), on), (5, path.split('?').next().unwrap(), channel));
        String::from_utf8(data).unwrap()
    }
}
