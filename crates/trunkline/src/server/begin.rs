//! How a call is begun: found, made, and asked once where it lies.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;
use trunkline_wire::{CallHead, Compression, Mark, Payload, Session, iip};

use super::connection::ServerRole;
use super::router::{Found, Route};
use super::uri;
use super::work::{ReplyTo, Spawned, Work, answer, deadline, name};
use crate::asked::{Outcome, written_nowhere};
use crate::call::Names;
use crate::codec::gzip;
use crate::context::MaybeMetadata;
use crate::net::buffers::{owned, share};
use crate::service::{ReplyBuf, Request, Service};
use crate::{Asked, Body, Call, Code, Context, MethodId, Reply, Result, Status};

impl<'a, W: Session, S: Service> ServerRole<'a, W, S> {
    pub(super) fn on_call(
        &mut self,
        head: &CallHead<'_>,
        body: &Payload<'_>,
        end: bool,
        batch: &Bytes,
        out: &mut Vec<u8>,
    ) {
        let core = self.core;
        let found = match core.router.find_again(&mut self.last, head) {
            None if !head.uri.is_empty() => self.find_decoded(head),
            found => found,
        };
        let route = found.and_then(|found| core.router.route(found));
        let inflated;
        let body = match head.compression {
            Compression::None => body,
            Compression::Gzip => match gzip::inflate(body.as_slice(), core.limits.body) {
                Ok(bytes) => {
                    inflated = Payload::Owned(bytes.into());
                    &inflated
                }
                Err(error) => return self.write_failure_to(head, &error.into(), out),
            },
        };
        // What the URI says is metadata that a call on the spot would not see.
        let by_uri = head.has_query();
        if let Some(route) = route
            && route.in_place
            && end
            && !by_uri
            && self.answer_in_place(route.id, head, body, batch, out)
        {
            return;
        }
        let said = if head.metadata.is_empty() && !by_uri {
            (None, MaybeMetadata::default())
        } else {
            match self.said(head, batch) {
                Ok(said) => said,
                Err(status) => return self.write_failure_to(head, &status, out),
            }
        };
        // The handle is made some time before it is moved into the call: what is moved at once waits for its own words.
        let body = owned(body, batch);
        let held = body.len();
        let exact = route.filter(|_| found.is_some_and(|found| found.exact)).map(|route| route.id);
        let spawned = head.one_way || route.is_some_and(|route| route.spawned);
        let compress = head.compression != Compression::None;
        let mark = if compress || spawned { None } else { self.session.begin(head, out) };
        let buffer = mark.map(|_| ReplyBuf::new(out, core.limits.body));
        let mut asked = Asked::new(self.make_call(head, route, body, said), buffer);
        if !end {
            self.open_body(&mut asked.call, head.id);
        }
        if spawned {
            let spawned = Spawned::begin(core, asked.call);
            return self.wait_for(ReplyTo::new(head, exact, held, batch), Work::Spawned(spawned));
        }
        // Most handlers are ready at once. Only one that is not is kept, and asked again with a waker of its own.
        core.stack.start(&mut asked);
        if let (Outcome::Written, Some(mark)) = (&asked.outcome, mark) {
            return self.finish_written(mark, out);
        }
        let outcome = asked.outcome;
        if let Some(mark) = mark {
            out.truncate(mark.start);
        }
        let result = match outcome {
            Outcome::Waits(future) => {
                return self.wait_for(ReplyTo::new(head, exact, held, batch), Work::Here(future));
            }
            Outcome::Ended(result) => result,
            Outcome::Written => Err(written_nowhere()),
        };
        match result {
            Ok(Reply { body: Body::Full(body), metadata }) => {
                self.write_waiting_pushes(out);
                self.write_reply(head, metadata.get(), &body, out);
            }
            result => self.finish(ReplyTo::new(head, exact, 0, batch), result, out),
        }
    }

    /// A path that is not known as it is written is looked up decoded, as Go's server does it.
    #[cold]
    fn find_decoded(&self, head: &CallHead<'_>) -> Option<Found> {
        let path = uri::decoded_path(head.uri)?;
        let (service, method) = iip::names(&path);
        self.core.router.find(service, method).map(|found| Found { exact: false, ..found })
    }

    /// Ends a reply that is in the buffer; what the call pushed goes before it.
    #[inline]
    fn finish_written(&mut self, mark: Mark, out: &mut Vec<u8>) {
        if W::PUSHES && self.info.pushes.may_have() {
            return self.finish_after_pushes(mark, out);
        }
        self.session.finish(mark, out);
    }

    #[cold]
    fn finish_after_pushes(&mut self, mark: Mark, out: &mut Vec<u8>) {
        self.session.finish(mark, out);
        let reply = out.split_off(mark.start);
        self.write_waiting_pushes(out);
        out.extend_from_slice(&reply);
    }

    fn wait_for(&mut self, to: ReplyTo, work: Work<'a>) {
        self.held = self.held.saturating_add(to.held);
        self.pending.insert(to, work);
    }

    /// The fast path: a plain `fn` reads the body where it lies and writes its reply where it leaves from.
    fn answer_in_place(
        &mut self,
        method: MethodId,
        head: &CallHead<'_>,
        body: &Payload<'_>,
        batch: &Bytes,
        out: &mut Vec<u8>,
    ) -> bool {
        let limit = self.core.limits.body;
        let request = Request { method, head, body: body.as_slice(), peer: &self.info.peer };
        let compress = head.compression != Compression::None;
        let mark = if compress { None } else { self.session.begin(head, out) };
        let Some(mark) = mark else {
            let mut scratch = Vec::new();
            let result = answer(&self.core.stack, &request, &mut scratch, limit);
            let Some(result) = result else { return false };
            let to = ReplyTo::as_sent(head, batch);
            self.finish(to, result.map(|()| Reply::new(scratch)), out);
            return true;
        };
        match answer(&self.core.stack, &request, out, limit) {
            Some(Ok(())) => self.session.finish(mark, out),
            Some(Err(status)) => {
                out.truncate(mark.start);
                self.write_failure_to(head, &status, out);
            }
            None => {
                out.truncate(mark.start);
                return false;
            }
        }
        true
    }

    /// The call as its handler gets it, with what has come of its body.
    #[inline(always)]
    fn make_call(
        &self,
        head: &CallHead<'_>,
        route: Option<&Route>,
        body: Bytes,
        (deadline, metadata): (Option<Instant>, MaybeMetadata),
    ) -> Call {
        let names = route.map(|route| route.names.clone());
        let names = names.unwrap_or_else(|| Names::new(name(head.service), name(head.method)));
        let looked_at = route.is_none_or(|route| route.context);
        Call {
            method: route.map(|route| route.id),
            serialization: head.serialization,
            one_way: head.one_way,
            idempotent: false,
            compress: false,
            streams: false,
            body: Body::Full(body),
            context: Context {
                deadline,
                metadata,
                connection: looked_at.then(|| Arc::clone(&self.info)),
                names,
            },
        }
    }

    /// What the caller has said beside names and body: how long it waits, and metadata.
    fn said(&self, head: &CallHead<'_>, batch: &Bytes) -> Result<(Option<Instant>, MaybeMetadata)> {
        let limits = &self.core.limits;
        let metadata = if head.uri.is_empty() {
            head.metadata.share(|bytes| share(batch, bytes))
        } else {
            let own = self.session.metadata_of(head.uri, limits);
            let own = own.map_err(|error| Status::new(Code::InvalidInput, error.to_string()).not_begun())?;
            uri::metadata_of(head.uri, &own, limits)
        };
        Ok((deadline(metadata.pairs()), MaybeMetadata::new(metadata)))
    }

    /// The body of a call goes on after what has come.
    #[cold]
    fn open_body(&mut self, call: &mut Call, id: u64) {
        if let Body::Full(first) = std::mem::take(&mut call.body) {
            call.body = self.inflows.open(id, first, self.core.limits.body).into();
        }
        call.context.connection = Some(Arc::clone(&self.info));
    }
}
