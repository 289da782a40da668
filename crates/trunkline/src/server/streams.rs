//! What a server sends beyond whole replies: bodies frame by frame, and messages of its own.

use std::task::{Context, Poll};

use bytes::Bytes;
use trunkline_wire::{Compression, Metadata, PushFrame, PushHead, ReplyFrame, Session};

use super::connection::ServerRole;
use super::work::{self, ReplyTo};
use crate::net::driver::{Close, Received, is_full};
use crate::service::{Service, reply_over_limit};
use crate::{BodyStream, Push};

/// A reply whose body goes out frame by frame.
pub(crate) struct Outflow {
    pub(crate) to: ReplyTo,
    pub(crate) metadata: Metadata,
    pub(crate) stream: BodyStream,
    pub(crate) begun: bool,
}

impl<W: Session, S: Service> ServerRole<'_, W, S> {
    /// Writes the frames of all streams that are there and whose turn it is.
    pub(crate) fn write_outflows(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) {
        let mut index = 0;
        while index < self.outflows.len() && !is_full(out) {
            if self.write_outflow(index, cx, out) {
                self.outflows.swap_remove(index);
                // On a wire that keeps the order it may now be the turn of one that was looked at before.
                index = 0;
            } else {
                index += 1;
            }
        }
        if is_full(out) && !self.outflows.is_empty() {
            cx.waker().wake_by_ref();
        }
    }

    /// What a round may have made possible: streams that are new or have their turn now, and what the session
    /// held back.
    /// Whether there was some of the latter.
    pub(crate) fn follow_up(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Result<bool, Close> {
        if !self.outflows.is_empty() {
            self.write_outflows(cx, out);
        }
        let mut followed = false;
        while !self.closing
            && !is_full(out)
            && let Some(frame) = self.session.held()
        {
            // A frame that cannot be looked at now after all is given again later.
            if self.receive_from(&frame, 0, cx, out)? != Received::Upto(frame.len(), 0) {
                break;
            }
            followed = true;
            self.write_outflows(cx, out);
        }
        Ok(followed)
    }

    /// Writes the frames of one stream that are there. Whether it has ended.
    fn write_outflow(&mut self, index: usize, cx: &mut Context<'_>, out: &mut Vec<u8>) -> bool {
        let Some(flow) = self.outflows.get_mut(index) else { return false };
        if !self.session.may_write(flow.to.id) {
            return false;
        }
        loop {
            let Poll::Ready(next) = flow.stream.poll_next(cx) else {
                // The caller learns that the reply begins, where the wire can say it without a frame.
                if !flow.begun {
                    let (metadata, compression) = (flow.metadata.pairs(), Compression::None);
                    let frame = ReplyFrame { failure: None, metadata, compression, body: &[], end: false };
                    flow.begun = self.session.reply(&flow.to.head(&self.core.router), &frame, out).is_ok();
                }
                return false;
            };
            let (frame, failure) = match next {
                Some(Ok(frame)) if frame.len() > self.core.limits.body => {
                    (Bytes::new(), Some(reply_over_limit(self.core.limits.body)))
                }
                Some(Ok(frame)) => (frame, None),
                Some(Err(status)) => (Bytes::new(), Some(status)),
                None => (Bytes::new(), None),
            };
            let end = failure.is_some() || flow.stream.is_finished();
            let result = if flow.begun && failure.is_none() {
                self.session.data(flow.to.id, &frame, end, out)
            } else {
                let failure = failure.as_ref().map(work::failure);
                let metadata = flow.metadata.pairs();
                let compression = Compression::None;
                let frame = ReplyFrame { failure, metadata, compression, body: &frame, end };
                self.session.reply(&flow.to.head(&self.core.router), &frame, out)
            };
            flow.begun = true;
            if result.is_err() {
                self.session.forget(flow.to.id, out);
                return true;
            }
            if end {
                return true;
            }
            if is_full(out) || !self.session.may_write(flow.to.id) {
                return false;
            }
        }
    }

    /// Writes all pushes that wait now, whatever their size: they are bounded in number, and a reply of the call
    /// that sent them may follow.
    #[inline]
    pub(crate) fn write_waiting_pushes(&mut self, out: &mut Vec<u8>) {
        if W::PUSHES && self.info.pushes.may_have() {
            self.write_all_pushes(out);
        }
    }

    #[cold]
    fn write_all_pushes(&mut self, out: &mut Vec<u8>) {
        while let Some(push) = self.info.pushes.try_next() {
            self.write_push(&push, out);
        }
    }

    /// Writes the pushes that came up, and asks to be woken for the next one.
    pub(crate) fn write_pushes(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) {
        if !self.info.can_push {
            return;
        }
        while let Poll::Ready(push) = self.info.pushes.poll_next(cx) {
            self.write_push(&push, out);
            if is_full(out) {
                cx.waker().wake_by_ref();
                return;
            }
        }
    }

    fn write_push(&mut self, push: &Push, out: &mut Vec<u8>) {
        let head = PushHead {
            service: push.service.as_bytes(),
            method: push.method.as_bytes(),
            metadata: push.metadata.pairs(),
            serialization: push.serialization,
            compression: Compression::None,
        };
        if let Err(error) = self.session.push(&PushFrame { head, body: &push.body }, out) {
            tracing::warn!(wire = W::NAME, %error, "a push was dropped");
        }
    }
}
