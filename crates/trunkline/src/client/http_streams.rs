//! Streams over our HTTP client: a request in lines, a reply that is read as it arrives.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;

use super::http::Http;
use super::http_connection::{Connection, text};
use crate::body::Frames;
use crate::net::http_body::{BYTES, Form, InStream, LINES, OnFailure, OutBody, OutStream, names};
use crate::service::reply_over_limit;
use crate::{BodyStream, Code, Result, Status};

/// The type of a streamed request.
pub(super) fn content_type(raw: bool) -> HeaderValue {
    HeaderValue::from_static(if raw { BYTES } else { LINES })
}

/// The body of a streamed request; why it was broken off is kept.
pub(super) fn request(stream: BodyStream, headers: &HeaderMap, kept: Arc<Mutex<Option<Status>>>) -> OutBody {
    let form = if names(headers, header::CONTENT_TYPE, LINES) { Form::Lines } else { Form::Bytes };
    // How large an item may be is for the server to say.
    let limit = (usize::MAX, reply_over_limit as fn(usize) -> Status);
    OutBody::Stream(Box::new(OutStream::new(stream, form, limit, OnFailure::Keep(kept), ())))
}

/// How the items of an answer stand in it; none where it is one whole body.
pub(super) fn form(answer: &Response<Incoming>) -> Option<Form> {
    let is = |media_type| names(answer.headers(), header::CONTENT_TYPE, media_type);
    if !answer.status().is_success() {
        return None;
    }
    if is(LINES) { Some(Form::Lines) } else { is(BYTES).then_some(Form::Bytes) }
}

/// An answer that arrives. Whoever reads it drives its connection.
pub(super) struct Arriving {
    /// `None` when it was given back.
    connection: Option<Connection>,
    items: InStream,
    http: Arc<Http>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Arriving {
    pub(super) fn new(
        connection: Connection,
        answer: Response<Incoming>,
        http: Arc<Http>,
        limit: usize,
        place: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let form = form(&answer).unwrap_or(Form::Bytes);
        let origin = http.origin(1);
        let broken = move |error: &hyper::Error| {
            let text = format!("the connection was lost within the reply: {}", text(error));
            Status::new(Code::Unavailable, text).at(origin.clone())
        };
        let items = InStream::new(answer.into_body(), form, limit, line_over, broken);
        let items = if form == Form::Lines { items.with_failure() } else { items };
        Self { connection: Some(connection), items, http, _place: place }
    }
}

impl Frames for Arriving {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        connection.poll_rest(cx);
        let next = ready!(self.items.poll_frame(cx));
        if next.is_none() {
            // Where the request is not whole the connection cannot be used again.
            let connection = self.connection.take();
            self.http.keep_now(connection, cx);
        }
        Poll::Ready(next.map(|next| next.map_err(|status| self.located(status))))
    }
}

impl Arriving {
    /// The failure with where it came from.
    fn located(&self, status: Status) -> Status {
        if status.origin().is_some() { status } else { status.at(self.http.origin(1)) }
    }
}

fn line_over(limit: usize) -> Status {
    let text = format!("a line of the reply is over the limit of {limit} bytes (setting body_limit)");
    Status::new(Code::TooLarge, text)
}
