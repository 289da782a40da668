//! What answers all requests of a server in the place of services: HTTP in front of something else.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, header, request::Parts};
use hyper::body::Incoming;

use super::body;
use super::dispatch::{Answer, Gateway};
use super::gate::Gate;
use super::plain;
use crate::Service;
use crate::context::ConnectionInfo;
use crate::net::http_body::OutBody;

/// Answers requests whose framing is checked and whose bodies are within their limit.
pub(crate) trait Front: fmt::Debug + Send + Sync {
    fn answer(&self, request: Request) -> Pin<Box<dyn Future<Output = Response<OutBody>> + Send + '_>>;
}

/// A request with its whole body, as it came.
pub(crate) struct Request {
    pub(crate) parts: Parts,
    pub(crate) body: Bytes,
    pub(crate) connection: Arc<ConnectionInfo>,
}

/// Answers one request.
pub(super) async fn answer<S: Service>(
    gateway: &Gateway<S>,
    front: &dyn Front,
    gate: &Gate,
    parts: Parts,
    body: Incoming,
) -> Answer {
    match body::as_it_came(&parts.headers, body, gate, &gateway.core.limits).await {
        Ok(body) => front.answer(Request { parts, body, connection: Arc::clone(&gateway.info) }).await,
        Err(bad) => {
            bad.log(&gateway.info.peer, gate);
            let mut answer = plain::refused(&bad);
            if bad.close {
                gate.close();
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            answer
        }
    }
}
