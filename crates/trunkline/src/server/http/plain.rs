//! The plain form: `POST /Service/Method` with a JSON body, no special header needed.

use http::{HeaderValue, Method, StatusCode, header};

use super::body::{BadBody, CODINGS};
use super::dispatch::{Answer, Asked, Gateway, Wanted, deadline, respond, respond_text};
use super::head::Refusal;
use super::page;
use crate::net::http_body::error_body;
use crate::net::pairs;
use crate::{Body, Code, Metadata, Result, Serialization, Service, Status};

pub(super) const JSON: &str = "application/json";

/// The status of a failed call.
fn status_of(code: Code) -> StatusCode {
    match code {
        Code::InvalidInput | Code::Unsupported => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::Limited => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable | Code::Draining => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Failed | Code::Internal | Code::Cancelled => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The code of a request that was refused before it was one.
pub(super) fn code_of(status: StatusCode) -> Code {
    match status {
        StatusCode::REQUEST_TIMEOUT => Code::DeadlineExceeded,
        StatusCode::SERVICE_UNAVAILABLE => Code::Draining,
        StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Code::TooLarge,
        _ => Code::InvalidInput,
    }
}

/// The status of a refusal.
pub(super) fn status(refusal: Refusal) -> StatusCode {
    StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST)
}

/// The answer to a failed call.
pub(super) fn failed(status: &Status) -> Answer {
    failed_as(status_of(status.code()), status)
}

fn failed_as(http: StatusCode, status: &Status) -> Answer {
    let mut answer = respond(http, JSON, error_body(status.code(), status.message()));
    if http == StatusCode::UNAUTHORIZED {
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    answer
}

/// Answers a request without special headers.
pub(super) async fn answer<S: Service>(gateway: &Gateway<S>, asked: Asked) -> Answer {
    match asked.parts.uri.path() {
        "/" => return page::answer(gateway, &asked).await,
        page::OPENAPI => return page::answer_openapi(gateway, &asked).await,
        "/_rpcx_" | "/_goRPC_" => return not_a_handshake(&asked),
        _ => {}
    }
    let Some((service, method)) = names(asked.parts.uri.path()) else {
        return failed(&Status::new(Code::NotFound, "the path is not /Service/Method"));
    };
    if asked.parts.method != Method::POST {
        return other_method(gateway, &asked, &service, &method);
    }
    if let Err(bad) = &asked.body {
        return refused(bad);
    }
    match call(gateway, asked, service, method).await {
        Ok(answer) => answer,
        Err(status) => failed(&status),
    }
}

/// The answer to a request whose body cannot be given to a call.
pub(super) fn refused(bad: &BadBody) -> Answer {
    let mut answer = failed_as(bad.http, &bad.status);
    if bad.http == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        answer.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static(CODINGS));
    }
    answer
}

async fn call<S: Service>(
    gateway: &Gateway<S>,
    asked: Asked,
    service: String,
    method: String,
) -> Result<Answer> {
    let headers = &asked.parts.headers;
    let content_type = headers.get(header::CONTENT_TYPE).cloned();
    let wanted = Wanted {
        service,
        method,
        serialization: Serialization::Json,
        one_way: false,
        metadata: pairs::read(headers, &pairs::META, &gateway.core.limits)?,
        deadline: deadline(headers, asked.arrived)?,
        body: Body::default(),
    };
    let body = asked.body.map_err(|bad| bad.status)?;
    let untyped = gateway.core.router.is_untyped(wanted.service.as_bytes(), wanted.method.as_bytes());
    let sent = untyped.then(|| body.clone());
    let wanted = Wanted { body: body.into(), ..wanted };
    let (body, metadata) = gateway.call(wanted).await?;
    // What comes back as it went keeps its type; no browser is to take it for another one.
    let same = content_type.filter(|_| sent.is_some_and(|sent| sent == body));
    let mut answer = respond(StatusCode::OK, JSON, body);
    if let Some(same) = same {
        answer.headers_mut().insert(header::CONTENT_TYPE, same);
        answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    write_metadata(&metadata, &mut answer)?;
    Ok(answer)
}

/// Writes the reply's metadata, if there is any.
pub(super) fn write_metadata(metadata: &Metadata, answer: &mut Answer) -> Result<()> {
    if !metadata.is_empty() {
        let value = HeaderValue::try_from(pairs::write(metadata));
        let too_large = |_| Status::new(Code::TooLarge, "the reply's metadata does not fit a header");
        answer.headers_mut().insert(pairs::META, value.map_err(too_large)?);
    }
    Ok(())
}

/// The two names of a path, decoded.
pub(super) fn names(path: &str) -> Option<(String, String)> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let decode = |text: &str| {
        let bytes = pairs::decode(text.as_bytes(), false)?;
        String::from_utf8(bytes).ok().filter(|name| !name.is_empty())
    };
    if method.contains('/') {
        return None;
    }
    Some((decode(service)?, decode(method)?))
}

fn other_method<S>(gateway: &Gateway<S>, asked: &Asked, service: &str, method: &str) -> Answer {
    if gateway.core.router.find(service.as_bytes(), method.as_bytes()).is_none() {
        let text = format!("there is no method {method} of a service {service} here");
        return failed(&Status::new(Code::NotFound, text));
    }
    not_allowed(asked, "POST")
}

/// The answer to a request with another method than the path takes.
pub(super) fn not_allowed(asked: &Asked, allow: &'static str) -> Answer {
    let text = format!("{} is not allowed here; use {allow}", asked.parts.method);
    let mut answer = failed_as(StatusCode::METHOD_NOT_ALLOWED, &Status::new(Code::Unsupported, text));
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    answer
}

/// What asks a path of the handshakes for something else.
fn not_a_handshake(asked: &Asked) -> Answer {
    let headers = &asked.parts.headers;
    if asked.parts.uri.path() == "/_rpcx_" && headers.contains_key(header::UPGRADE) {
        let text = "the upgrade is not a WebSocket of version 13 with a key of 16 bytes";
        let mut answer = failed(&Status::new(Code::InvalidInput, text));
        answer.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return answer;
    }
    respond_text(StatusCode::METHOD_NOT_ALLOWED, "405 must CONNECT\n", "CONNECT")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openapi::FAILURES;

    #[test]
    fn the_openapi_document_knows_the_status_of_every_code() {
        let all =
            (0..100).map(Code::from_number).zip(0..100).filter(|(code, number)| code.number() == *number);
        let mut known = 0;
        for (code, _) in all {
            let of = |(status, _, _, codes): &&(u16, _, _, &[Code])| {
                codes.contains(&code) && *status == status_of(code).as_u16()
            };
            assert!(FAILURES.iter().find(of).is_some(), "{code}");
            known += 1;
        }
        assert!(known >= 12);
    }
}
