//! Replies whose body leaves frame by frame.

use std::task::{Context, Poll};

use bytes::Bytes;
use trunkline_wire::{Compression, Failure, Metadata, ReplyFrame, Session, WireError};

use super::router::Router;
use super::work::ReplyTo;
use crate::net::driver::is_full;
use crate::service::reply_over_limit;
use crate::{BodyStream, Status};

/// The streamed replies of one connection that have not ended.
#[derive(Default)]
pub(crate) struct Outflows(Vec<Outflow>);

struct Outflow {
    to: ReplyTo,
    metadata: Metadata,
    stream: BodyStream,
    begun: bool,
}

/// What came of a look at one stream.
enum Progress {
    Waits,
    Ended,
    Broken,
}

impl Outflows {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A reply begins whose frames come from `stream`.
    pub(crate) fn open(&mut self, to: ReplyTo, metadata: Metadata, stream: BodyStream) {
        self.0.push(Outflow { to, metadata, stream, begun: false });
    }

    /// Nobody wants the reply any more. Whether there was one.
    pub(crate) fn close(&mut self, id: u64) -> bool {
        let index = self.0.iter().position(|flow| flow.to.id == id);
        index.map(|index| self.0.swap_remove(index)).is_some()
    }

    /// Writes the frames that are there, until `out` is full. Each frame may have `limit` bytes.
    pub(crate) fn write<W: Session>(
        &mut self,
        session: &mut W,
        router: &Router,
        limit: usize,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) {
        let mut index = 0;
        while let Some(flow) = self.0.get_mut(index) {
            if is_full(out) {
                cx.waker().wake_by_ref();
                return;
            }
            match flow.write(session, router, limit, cx, out) {
                Progress::Waits => index += 1,
                Progress::Ended => drop(self.0.swap_remove(index)),
                Progress::Broken => {
                    session.forget(flow.to.id);
                    self.0.swap_remove(index);
                }
            }
        }
    }
}

impl Outflow {
    fn write<W: Session>(
        &mut self,
        session: &mut W,
        router: &Router,
        limit: usize,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Progress {
        while !is_full(out) {
            let Poll::Ready(next) = self.stream.poll_next(cx) else {
                return Progress::Waits;
            };
            let (frame, failure) = match next {
                Some(Ok(frame)) if frame.len() > limit => (Bytes::new(), Some(reply_over_limit(limit))),
                Some(Ok(frame)) => (frame, None),
                Some(Err(status)) => (Bytes::new(), Some(status)),
                None => (Bytes::new(), None),
            };
            let end = failure.is_some() || self.stream.is_finished();
            let written = if self.begun && failure.is_none() {
                session.data(self.to.id, &frame, end, out)
            } else {
                self.reply(session, router, &frame, failure.as_ref(), end, out)
            };
            self.begun = true;
            match written {
                Err(_) => return Progress::Broken,
                Ok(()) if end => return Progress::Ended,
                Ok(()) => {}
            }
        }
        cx.waker().wake_by_ref();
        Progress::Waits
    }

    /// Writes the head with the first frame, or the failure that ends the reply.
    fn reply<W: Session>(
        &self,
        session: &mut W,
        router: &Router,
        body: &[u8],
        failure: Option<&Status>,
        end: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        let failure = failure.map(|status| Failure {
            message: status.message().as_bytes(),
            code: Some(status.code().number()),
            details: status.details_bytes().map(|bytes| &**bytes),
        });
        let metadata = self.metadata.pairs();
        let frame = ReplyFrame { failure, metadata, compression: Compression::None, body, end };
        session.reply(&self.to.head(router), &frame, out)
    }
}
