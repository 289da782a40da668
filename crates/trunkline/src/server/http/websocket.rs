//! The server's side of a WebSocket (RFC 6455) as a stream of bytes, so that the one driver runs over it.
//!
//! What the messages carry, text or binary, is strung together; no message is ever held whole, so their size needs
//! no limit here. Go's rpcx client sends raw bytes as text: nothing looks whether it is UTF-8. Each frame of rpcx
//! that is written becomes one binary message; its length stands in its own head.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::Peer;

const CONTINUED: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// The bit that ends a message.
const FINAL: u8 = 0x80;

/// The most bytes of a control frame.
const CONTROL: usize = 125;
/// How many answers to pings wait for their turn, in bytes; further pings stay unanswered.
const PONGS: usize = 1 << 10;
/// The close codes that are sent: going away orderly, and a broken rule.
const NORMAL: u16 = 1000;
const PROTOCOL_ERROR: u16 = 1002;

/// A frame that is being read.
#[derive(Debug)]
struct Frame {
    opcode: u8,
    left: u64,
    /// Turned so that its first byte belongs to the next byte that is read.
    mask: [u8; 4],
}

/// Reads the frames of a client: bytes in, payload out.
#[derive(Debug, Default)]
struct Decoder {
    /// The bytes of a frame's head that have come.
    head: Vec<u8>,
    frame: Option<Frame>,
    /// A message has begun and not ended.
    in_message: bool,
    control: Vec<u8>,
    /// What is to be answered to pings.
    answers: Vec<u8>,
    /// The code of the peer's close, once that has come. It is the last thing that is read.
    closed: Option<Vec<u8>>,
    /// How many bytes were looked at.
    seen: u64,
}

impl Decoder {
    /// Decodes in place: the payload that was in `bytes` stands at its beginning afterwards. Its length.
    ///
    /// # Errors
    /// The rule that was broken.
    fn decode(&mut self, bytes: &mut [u8]) -> Result<usize, &'static str> {
        let mut from = 0;
        let result = self.decode_from(bytes, &mut from);
        self.seen = self.seen.saturating_add(u64::try_from(from).unwrap_or(u64::MAX));
        result
    }

    fn decode_from(&mut self, bytes: &mut [u8], from: &mut usize) -> Result<usize, &'static str> {
        let mut to = 0usize;
        while let Some(&byte) = bytes.get(*from) {
            if self.closed.is_some() {
                break;
            }
            let Some(frame) = &mut self.frame else {
                self.head.push(byte);
                *from = from.saturating_add(1);
                self.frame = frame_of(&self.head)?;
                if let Some(frame) = &self.frame {
                    self.head.clear();
                    let is_final = frame.opcode & FINAL != 0;
                    self.begin(frame.opcode & 0x0f, is_final, frame.left)?;
                }
                self.end_frame();
                continue;
            };
            let rest = bytes.len().saturating_sub(*from);
            let length = usize::try_from(frame.left).map_or(rest, |left| left.min(rest));
            let end = from.saturating_add(length);
            for byte in bytes.get_mut(*from..end).unwrap_or_default() {
                *byte ^= frame.mask[0];
                frame.mask.rotate_left(1);
            }
            frame.left = frame.left.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
            if frame.opcode & 0x08 == 0 {
                bytes.copy_within(*from..end, to);
                to = to.saturating_add(length);
            } else {
                self.control.extend_from_slice(bytes.get(*from..end).unwrap_or_default());
            }
            *from = end;
            self.end_frame();
        }
        Ok(to)
    }

    fn begin(&mut self, opcode: u8, is_final: bool, length: u64) -> Result<(), &'static str> {
        match opcode {
            CONTINUED if !self.in_message => return Err("a message is continued that has not begun"),
            TEXT | BINARY if self.in_message => return Err("a message begins within another one"),
            CONTINUED | TEXT | BINARY => self.in_message = !is_final,
            CLOSE | PING | PONG if !is_final => return Err("a control frame is fragmented"),
            CLOSE | PING | PONG if usize::try_from(length).is_ok_and(|length| length <= CONTROL) => {}
            CLOSE | PING | PONG => return Err("a control frame is over 125 bytes"),
            _ => return Err("the opcode has no meaning"),
        }
        Ok(())
    }

    fn end_frame(&mut self) {
        if self.frame.as_ref().is_none_or(|frame| frame.left > 0) {
            return;
        }
        let opcode = self.frame.take().map_or(0, |frame| frame.opcode & 0x0f);
        let control = std::mem::take(&mut self.control);
        match opcode {
            PING if self.answers.len() < PONGS => encode(PONG, &control, &mut self.answers),
            CLOSE => self.closed = Some(control.get(..2).unwrap_or_default().to_vec()),
            _ => {}
        }
    }
}

/// The frame whose head this is, once it is whole.
fn frame_of(head: &[u8]) -> Result<Option<Frame>, &'static str> {
    let Some((&[first, second], rest)) = head.split_first_chunk::<2>() else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err("a reserved bit is set");
    }
    if second & 0x80 == 0 {
        return Err("a client's frame is not masked");
    }
    let (left, rest) = match second & 0x7f {
        126 => match rest.split_first_chunk::<2>() {
            Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk::<8>() {
            Some((length, rest)) => (u64::from_be_bytes(*length), rest),
            None => return Ok(None),
        },
        length => (u64::from(length), rest),
    };
    if left > u64::MAX >> 1 {
        return Err("a frame's length has its highest bit set");
    }
    Ok(rest.first_chunk::<4>().map(|mask| Frame { opcode: first & 0x8f, left, mask: *mask }))
}

/// Appends the head of a frame that is a whole message.
fn encode_head(opcode: u8, length: u64, out: &mut Vec<u8>) {
    out.push(FINAL | opcode);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..126), _) => out.push(short),
        (_, Ok(middle)) => {
            out.push(126);
            out.extend_from_slice(&middle.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
}

fn encode(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    encode_head(opcode, u64::try_from(payload.len()).unwrap_or(u64::MAX), out);
    out.extend_from_slice(payload);
}

/// How long the head of an rpcx frame is, and where in it the length of all that follows stands.
const RPCX_HEAD: usize = 16;
const RPCX_LENGTH: usize = 12;

/// The length of the rpcx frame that begins so.
fn rpcx_length(head: &[u8]) -> Option<u64> {
    let rest = head.get(RPCX_LENGTH..)?.first_chunk::<4>()?;
    Some(u64::from(u32::from_be_bytes(*rest)).saturating_add(16))
}

/// A connection that speaks WebSocket, as the stream of bytes in it.
#[derive(Debug)]
pub(super) struct WebSocket<I> {
    io: I,
    peer: Peer,
    /// What came with the request for it.
    first: Bytes,
    decoder: Decoder,
    /// What goes out before anything else: heads of messages, answers to pings.
    pending: Vec<u8>,
    /// The beginning of a frame of rpcx that is too short to tell its length.
    partial: Vec<u8>,
    /// How much of the message that goes out is still to come.
    left: u64,
    said_goodbye: bool,
    /// How many bytes of the connection came before the first frame.
    offset: u64,
}

impl<I: AsyncRead + AsyncWrite + Unpin> WebSocket<I> {
    /// A WebSocket over `io` whose handshake is done; `first` was read from it already, and before it `offset`
    /// bytes.
    pub(super) fn new(io: I, peer: Peer, first: Bytes, offset: u64) -> Self {
        Self {
            io,
            peer,
            first,
            decoder: Decoder::default(),
            pending: Vec::new(),
            partial: Vec::new(),
            left: 0,
            said_goodbye: false,
            offset,
        }
    }

    /// Puts answers to pings in front, where no message is under way.
    fn stage_answers(&mut self) {
        if self.left == 0 && self.partial.is_empty() && !self.said_goodbye {
            self.pending.append(&mut self.decoder.answers);
        }
    }

    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.pending))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.pending.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    /// Begins the next message from the first bytes of a frame of rpcx; how many of them were taken.
    fn begin_message(&mut self, bytes: &[u8]) -> usize {
        let missing = RPCX_HEAD.saturating_sub(self.partial.len());
        let taken = missing.min(bytes.len());
        self.partial.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        if let Some(length) = rpcx_length(&self.partial) {
            encode_head(BINARY, length, &mut self.pending);
            self.pending.append(&mut self.partial);
            self.left = length.saturating_sub(16);
        }
        taken
    }
}

impl<I: crate::net::transport::Io> crate::net::transport::Io for WebSocket<I> {
    fn is_read_closed(&self) -> bool {
        self.io.is_read_closed()
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            this.stage_answers();
            // An answer that the peer does not take waits for the next turn; reading goes on.
            if let Poll::Ready(Err(error)) = this.poll_pending(cx) {
                return Poll::Ready(Err(error));
            }
            if this.decoder.closed.is_some() || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            let mut part = ReadBuf::new(buf.initialize_unfilled());
            if this.first.is_empty() {
                ready!(Pin::new(&mut this.io).poll_read(cx, &mut part))?;
            } else {
                let length = this.first.len().min(part.remaining());
                part.put_slice(this.first.get(..length).unwrap_or_default());
                this.first.advance(length);
            }
            if part.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            match this.decoder.decode(part.filled_mut()) {
                Ok(0) => {}
                Ok(length) => {
                    buf.advance(length);
                    return Poll::Ready(Ok(()));
                }
                Err(rule) => {
                    let offset = this.offset.saturating_add(this.decoder.seen);
                    tracing::warn!(peer = %this.peer, wire = "websocket", rule, offset, "closed");
                    if this.left == 0 && this.partial.is_empty() {
                        encode(CLOSE, &PROTOCOL_ERROR.to_be_bytes(), &mut this.pending);
                        this.said_goodbye = true;
                        // One try: the peer broke the rules, and is not waited for.
                        let _ = this.poll_pending(cx);
                    }
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, rule)));
                }
            }
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<I> {
    /// Takes bytes of rpcx frames. What is staged in `pending` is always followed by more of its message, or was
    /// not counted as written.
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.stage_answers();
        ready!(this.poll_pending(cx))?;
        if this.left == 0 {
            return Poll::Ready(Ok(this.begin_message(buf)));
        }
        let most = usize::try_from(this.left).map_or(buf.len(), |left| left.min(buf.len()));
        let written = ready!(Pin::new(&mut this.io).poll_write(cx, buf.get(..most).unwrap_or_default()))?;
        this.left = this.left.saturating_sub(u64::try_from(written).unwrap_or(u64::MAX));
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_pending(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.stage_answers();
        if !this.said_goodbye && this.left == 0 && this.partial.is_empty() {
            // A close is answered with its own code, after the replies to all that came before it.
            let code = this.decoder.closed.take().unwrap_or_else(|| NORMAL.to_be_bytes().to_vec());
            encode(CLOSE, &code, &mut this.pending);
            this.said_goodbye = true;
        }
        ready!(this.poll_pending(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client sends: any first byte, masked.
    fn client(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x3d, 0x91, 0x11, 0x02];
        let mut frame = Vec::new();
        encode_head(0, payload.len().try_into().unwrap(), &mut frame);
        frame[0] = first;
        frame[1] |= 0x80;
        frame.extend_from_slice(&mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    fn decode(bytes: &[u8], piece: usize) -> (Vec<u8>, Decoder, Result<(), &'static str>) {
        let (mut decoder, mut payload) = (Decoder::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            let mut piece = piece.to_vec();
            match decoder.decode(&mut piece) {
                Ok(length) => payload.extend_from_slice(&piece[..length]),
                Err(rule) => return (payload, decoder, Err(rule)),
            }
        }
        (payload, decoder, Ok(()))
    }

    #[test]
    fn messages_are_strung_together_at_every_segmentation() {
        let long = vec![7u8; 70_000];
        let middle = vec![8u8; 300];
        let stream = [
            client(0x81, b"\xff\xfenot UTF-8"),
            client(0x02, b"one"),
            client(0x89, b"ping"),
            client(0x00, b""),
            client(0x80, b"two"),
            client(0x8a, b"unasked"),
            client(0x82, &middle),
            client(0x82, &long),
        ]
        .concat();
        let expected = [&b"\xff\xfenot UTF-8onetwo"[..], &middle, &long].concat();
        for piece in [1, 2, 3, 7, 64, 100_000] {
            let (payload, decoder, result) = decode(&stream, piece);
            assert_eq!(result, Ok(()));
            assert!(payload == expected, "{piece}");
            assert_eq!(decoder.answers, b"\x8a\x04ping");
        }
    }

    #[test]
    fn broken_rules_are_named() {
        let mut unmasked = client(0x82, b"");
        unmasked[1] = 0;
        let huge = [0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4].to_vec();
        for (stream, rule) in [
            (unmasked, "a client's frame is not masked"),
            (client(0xc2, b""), "a reserved bit is set"),
            (client(0x83, b""), "the opcode has no meaning"),
            (client(0x8b, b""), "the opcode has no meaning"),
            (client(0x80, b""), "a message is continued that has not begun"),
            ([client(0x01, b"a"), client(0x82, b"b")].concat(), "a message begins within another one"),
            (client(0x09, b""), "a control frame is fragmented"),
            (client(0x89, &[0; 126]), "a control frame is over 125 bytes"),
            (huge, "a frame's length has its highest bit set"),
        ] {
            assert_eq!(decode(&stream, 1).2, Err(rule));
        }
    }

    #[test]
    fn a_close_ends_the_stream() {
        let stream = [client(0x88, b"\x03\xe8bye"), client(0x82, b"late")].concat();
        let (payload, decoder, result) = decode(&stream, 5);
        assert!(payload.is_empty() && result.is_ok());
        assert_eq!(decoder.closed, Some(b"\x03\xe8".to_vec()));
    }

    #[test]
    fn pings_without_end_take_no_memory() {
        let pings = client(0x89, &[1; CONTROL]).repeat(1000);
        let (_, decoder, _) = decode(&pings, 1000);
        assert!(decoder.answers.len() <= PONGS + 127);
    }

    /// However a batch of rpcx frames is cut, each goes out as one message.
    #[tokio::test]
    async fn one_frame_one_message() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let frame = |body: usize| {
            let mut frame = vec![8u8; RPCX_LENGTH];
            frame.extend_from_slice(&u32::try_from(body).unwrap().to_be_bytes());
            frame.extend(std::iter::repeat_n(b'x', body));
            frame
        };
        let frames = [frame(16), frame(100), frame(200), frame(70_000), frame(16)];
        let mut expected = Vec::new();
        for frame in &frames {
            encode(BINARY, frame, &mut expected);
        }
        encode(CLOSE, &NORMAL.to_be_bytes(), &mut expected);
        for piece in [1, 3, 15, 16, 17, 1000, 100_000] {
            let (near, mut far) = tokio::io::duplex(64);
            let mut socket = WebSocket::new(near, Peer::Local, Bytes::new(), 0);
            let batch = frames.concat();
            let write = async {
                for piece in batch.chunks(piece) {
                    socket.write_all(piece).await.unwrap();
                }
                socket.shutdown().await.unwrap();
            };
            let mut got = Vec::new();
            let (_, read) = tokio::join!(write, far.read_to_end(&mut got));
            read.unwrap();
            assert!(got == expected, "{piece}");
        }
    }
}
