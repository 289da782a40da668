//! Methods that stream, in the plain form: a request read line by line, a reply as lines or as server-sent events.

use std::future::poll_fn;
use std::task::Poll;

use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::body::{self, BODY_TIME, BadBody};
use super::dispatch::{Answer, Gateway, Wanted, deadline, respond};
use super::gate::{Gate, Running};
use super::plain::{self, JSON};
use crate::describe::MethodInfo;
use crate::net::http_body::{EVENTS, Form, InStream, OnFailure, OutBody, OutStream, names};
use crate::net::pairs;
use crate::service::reply_over_limit;
use crate::{Body, BodyStream, Code, Result, Serialization, Service, Status};

/// The method that a request is for.
fn method<'a, S>(gateway: &'a Gateway<S>, parts: &Parts) -> Option<(String, String, &'a MethodInfo)> {
    let (service, method) = plain::names(parts.uri.path())?;
    let info = gateway.core.router.describe(service.as_bytes(), method.as_bytes())?;
    Some((service, method, info))
}

/// Whether a request is for a method that streams.
pub(super) fn are_meant<S>(gateway: &Gateway<S>, parts: &Parts) -> bool {
    let streams = |(_, _, info): (_, _, &MethodInfo)| info.takes_stream || info.gives_stream;
    gateway.core.router.has_streams()
        && parts.method == Method::POST
        && method(gateway, parts).is_some_and(streams)
}

/// Answers a request for a method that streams. The request counts as running until its answer is written.
pub(super) async fn answer<S: Service>(
    gateway: &Gateway<S>,
    gate: &Gate,
    running: Running,
    parts: Parts,
    body: Incoming,
    arrived: Instant,
) -> Answer {
    let Some((service, method, info)) = method(gateway, &parts) else {
        return plain::failed(&Status::new(Code::NotFound, "the path is not /Service/Method"));
    };
    let limits = &gateway.core.limits;
    let body = if info.takes_stream {
        arriving(&parts, body, info, gate, limits.body)
    } else {
        body::read(&parts.headers, body, gate, limits).await.map(Body::Full)
    };
    let body = match body {
        Ok(body) => body,
        Err(bad) => {
            bad.log(&gateway.info.peer, gate);
            let mut answer = plain::refused(&bad);
            if bad.close {
                gate.close();
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            return answer;
        }
    };
    let called = call(gateway, running, &parts, (service, method, info), body, arrived).await;
    called.unwrap_or_else(|status| plain::failed(&status))
}

async fn call<S: Service>(
    gateway: &Gateway<S>,
    running: Running,
    parts: &Parts,
    (service, method, info): (String, String, &MethodInfo),
    body: Body,
    arrived: Instant,
) -> Result<Answer> {
    let wanted = Wanted {
        service,
        method,
        serialization: Serialization::Json,
        one_way: false,
        metadata: pairs::read(&parts.headers, &pairs::META, &gateway.core.limits)?,
        deadline: deadline(&parts.headers, arrived)?,
        body,
    };
    let (body, metadata) = gateway.reply(wanted).await?.into_parts();
    let limit = gateway.core.limits.body;
    let mut answer = match body {
        Body::Full(body) if body.len() > limit => return Err(reply_over_limit(limit)),
        Body::Full(body) if !info.gives_stream => respond(StatusCode::OK, JSON, body),
        body => {
            let stream = match body {
                Body::Stream(stream) => stream,
                Body::Full(body) => BodyStream::whole(body),
            };
            let form = if names(&parts.headers, header::ACCEPT, EVENTS) {
                Form::Events
            } else if info.reply.is_none() {
                Form::Bytes
            } else {
                Form::Lines
            };
            let mut out = OutStream::new(stream, form, (limit, reply_over_limit), OnFailure::Say, running);
            // What has failed already is an answer of its own; what has not begun is not waited for.
            poll_fn(|cx| Poll::Ready(out.look(cx))).await?;
            let mut answer = respond(StatusCode::OK, form.content_type(), "");
            *answer.body_mut() = OutBody::Stream(Box::new(out));
            answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            answer
        }
    };
    plain::write_metadata(&metadata, &mut answer)?;
    Ok(answer)
}

/// The body of a request as it arrives.
///
/// # Errors
/// It is coded in some way.
fn arriving(
    parts: &Parts,
    body: Incoming,
    info: &MethodInfo,
    gate: &Gate,
    limit: usize,
) -> Result<Body, BadBody> {
    if body::coding(&parts.headers).map_err(BadBody::closing)? {
        return Err(BadBody::compressed_stream().closing());
    }
    let form = if info.request.is_none() { Form::Bytes } else { Form::Lines };
    let gate = gate.clone();
    let broken = move |_: &hyper::Error| match gate.broken() {
        Some(refusal) => Status::new(plain::code_of(plain::status(refusal)), refusal.rule),
        None => Status::new(Code::Cancelled, "the request's body is broken off or badly chunked"),
    };
    let items = InStream::new(body, form, limit, line_over_limit, broken).with_patience(BODY_TIME);
    Ok(BodyStream::pulled(items).into())
}

fn line_over_limit(limit: usize) -> Status {
    let text = format!(
        "a line of the request's body is over the limit of {limit} bytes (setting body_limit, flag --body-limit)"
    );
    Status::new(Code::TooLarge, text)
}
