//! The limit with one more thing after the other: what a server has to do for each call whatever it is made of.
//!
//! Each frame is read to its body, the answer is put together in a write buffer, and nothing else is done: no names are
//! looked up, nothing is counted or limited, nothing can panic or wait. What a framework costs is measured from here.

use std::future::Future;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};

use crate::frame::{self, BATCH};
use crate::server::written;

/// How an answer is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// In place, where the call lies.
    InPlace,
    /// Its head and body are copied to the write buffer, as for a handler that borrows the body.
    Copied,
    /// As [`Copied`](Self::Copied), and the handler is a boxed future, asked once, that has the body as `Bytes`.
    Owned,
}

impl FromStr for Answers {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "in-place" => Ok(Self::InPlace),
            "copied" => Ok(Self::Copied),
            "owned" => Ok(Self::Owned),
            _ => Err(()),
        }
    }
}

/// The buffers of the thread.
pub(crate) struct Floor {
    answers: Answers,
    block: BytesMut,
    out: Vec<u8>,
}

impl Floor {
    pub(crate) fn new(answers: Answers) -> Self {
        Self { answers, block: BytesMut::with_capacity(2 * BATCH), out: Vec::with_capacity(2 * BATCH) }
    }

    /// One read and one write; `rest` is the beginning of a frame before and after. Whether the connection goes on.
    ///
    /// # Errors
    /// The socket fails, or takes less than all of it: it is for peers that read what they are sent.
    pub(crate) fn serve(&mut self, stream: &mut TcpStream, rest: &mut Vec<u8>) -> std::io::Result<bool> {
        let kept = rest.len();
        if !self.block.try_reclaim(kept + BATCH) {
            self.block = BytesMut::with_capacity(2 * BATCH + kept);
        }
        self.block.extend_from_slice(rest);
        rest.clear();
        self.block.resize(kept + BATCH, 0);
        let read = stream.read(&mut self.block[kept..])?;
        self.block.truncate(kept + read);
        let batch = self.block.split().freeze();
        let mut at = 0;
        while let Some(length) = frame::whole(&batch[at..]) {
            self.answer(&batch, &batch[at..at + length]);
            at += length;
        }
        rest.extend_from_slice(&batch[at..]);
        let taken = if self.out.is_empty() { 0 } else { written(stream.write(&self.out))? };
        let all = taken == self.out.len();
        self.out.clear();
        if all { Ok(read > 0) } else { Err(std::io::ErrorKind::WouldBlock.into()) }
    }

    fn answer(&mut self, batch: &Bytes, call: &[u8]) {
        let start = self.out.len();
        let (head, body) = frame::split(call);
        self.out.extend_from_slice(head);
        if self.answers == Answers::Owned {
            let reply = ask(echo(batch.slice_ref(body)));
            self.out.extend_from_slice(&reply);
        } else {
            self.out.extend_from_slice(body);
        }
        frame::answer(&mut self.out[start..]);
    }
}

async fn echo(body: Bytes) -> Bytes {
    body
}

fn ask(handler: impl Future<Output = Bytes> + Send + 'static) -> Bytes {
    let mut handler: Pin<Box<dyn Future<Output = Bytes> + Send>> = std::hint::black_box(Box::pin(handler));
    match handler.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(body) => body,
        Poll::Pending => Bytes::new(),
    }
}
