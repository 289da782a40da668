//! The form of rpcx's gateway: the call in `X-RPCX-` headers, to any path, with any serialisation.

use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::dispatch::{Answer, Asked, Gateway, Wanted, deadline, header_text, respond, respond_text};
use crate::net::pairs::{self, META};
use crate::{Code, Result, Serialization, Service, Status};

const VERSION: HeaderName = HeaderName::from_static("x-rpcx-version");
const MESSAGE_ID: HeaderName = HeaderName::from_static("x-rpcx-messageid");
const SERVICE_PATH: HeaderName = HeaderName::from_static("x-rpcx-servicepath");
const SERVICE_METHOD: HeaderName = HeaderName::from_static("x-rpcx-servicemethod");
const SERIALIZE_TYPE: HeaderName = HeaderName::from_static("x-rpcx-serializetype");
const ONEWAY: &str = "x-rpcx-oneway";
const STATUS_TYPE: HeaderName = HeaderName::from_static("x-rpcx-messagestatustype");
const ERROR_MESSAGE: HeaderName = HeaderName::from_static("x-rpcx-errormessage");

/// Answers a request with rpcx's headers.
pub(super) async fn answer<S: Service>(gateway: &Gateway<S>, mut asked: Asked) -> Answer {
    if !matches!(asked.parts.method, Method::POST | Method::GET | Method::PUT) {
        return respond_text(
            StatusCode::METHOD_NOT_ALLOWED,
            "Method Not Allowed\n",
            "GET, OPTIONS, POST, PUT",
        );
    }
    let body = std::mem::replace(&mut asked.body, Ok(bytes::Bytes::new()));
    let wanted = match body {
        Err(bad) => return failed(&asked, bad.http, &bad.status),
        Ok(body) => wanted(gateway, &asked, body),
    };
    // rpcx answers a request that it does not understand with 200, and Go's clients look at the header alone.
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(status) => return failed(&asked, StatusCode::OK, &status),
    };
    let content_type = content_type(wanted.serialization);
    let one_way = wanted.one_way;
    match gateway.call(wanted).await {
        Ok((body, metadata)) => {
            let body = if one_way { bytes::Bytes::new() } else { body };
            let mut answer = respond(StatusCode::OK, content_type, body);
            repeat(&asked, &mut answer);
            answer.headers_mut().insert(META, header_value(&pairs::write(&metadata)));
            answer
        }
        Err(status) if status.code() == Code::Unauthenticated => {
            failed(&asked, StatusCode::UNAUTHORIZED, &status)
        }
        Err(status) => failed(&asked, StatusCode::INTERNAL_SERVER_ERROR, &status),
    }
}

fn wanted<S>(gateway: &Gateway<S>, asked: &Asked, body: bytes::Bytes) -> Result<Wanted> {
    let headers = &asked.parts.headers;
    let text = |name: &HeaderName| headers.get(name).map(|value| value.as_bytes()).unwrap_or_default();
    let id = text(&MESSAGE_ID);
    if !id.is_empty() {
        go_number::<u64>(id, "ParseUint")?;
    }
    let serialization = match text(&SERIALIZE_TYPE) {
        [] => return Err(invalid("empty serialized type")),
        number => serialization(number)?,
    };
    let metadata = pairs::read(headers, &META, &gateway.core.limits)?;
    let service = service_path(asked);
    if service.is_empty() {
        return Err(invalid("empty servicepath"));
    }
    let method = text(&SERVICE_METHOD);
    if method.is_empty() {
        return Err(invalid("empty servicemethod"));
    }
    Ok(Wanted {
        service: String::from_utf8_lossy(&service).into_owned(),
        method: String::from_utf8_lossy(method).into_owned(),
        serialization,
        one_way: !text(&HeaderName::from_static(ONEWAY)).is_empty(),
        metadata,
        deadline: deadline(headers, asked.arrived)?,
        body: body.into(),
    })
}

/// The service path: from its header, else the path of the request.
fn service_path(asked: &Asked) -> Vec<u8> {
    match asked.parts.headers.get(&SERVICE_PATH) {
        Some(path) if !path.is_empty() => path.as_bytes().to_vec(),
        _ => {
            let path = asked.parts.uri.path();
            let path = path.strip_prefix('/').unwrap_or(path);
            pairs::decode(path.as_bytes(), false).unwrap_or_default()
        }
    }
}

/// A serialisation by the number that a header names.
pub(super) fn serialization(number: &[u8]) -> Result<Serialization> {
    Ok(match go_number::<i16>(number, "ParseInt")? {
        0 => Serialization::Raw,
        1 => Serialization::Json,
        2 => Serialization::Protobuf,
        3 => Serialization::MessagePack,
        4 => Serialization::Thrift,
        other => Serialization::Other(u8::try_from(other).unwrap_or(u8::MAX)),
    })
}

/// Reads a number; the failure has the text of Go's strconv, which clients may look for.
pub(super) fn go_number<N: std::str::FromStr>(text: &[u8], function: &str) -> Result<N> {
    let text = String::from_utf8_lossy(text);
    text.parse().map_err(|_| {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(&text);
        let number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let why = if number { "value out of range" } else { "invalid syntax" };
        invalid(format!("strconv.{function}: parsing {text:?}: {why}"))
    })
}

/// The type of a body in this serialisation.
pub(super) fn content_type(serialization: Serialization) -> &'static str {
    match serialization {
        Serialization::Json => "application/json",
        _ => "application/octet-stream",
    }
}

fn invalid(text: impl Into<std::borrow::Cow<'static, str>>) -> Status {
    Status::new(Code::InvalidInput, text).not_begun()
}

fn failed(asked: &Asked, http: StatusCode, status: &Status) -> Answer {
    let mut answer = respond(http, "", "");
    repeat(asked, &mut answer);
    answer.headers_mut().insert(STATUS_TYPE, HeaderValue::from_static("Error"));
    answer.headers_mut().insert(ERROR_MESSAGE, header_text(status.message()));
    answer
}

/// Repeats what the request said of itself: two headers always, the others where they were there.
fn repeat(asked: &Asked, answer: &mut Answer) {
    let to = answer.headers_mut();
    for name in [VERSION, MESSAGE_ID] {
        let value = asked.parts.headers.get(&name).cloned();
        to.insert(name, value.unwrap_or(HeaderValue::from_static("")));
    }
    match HeaderValue::from_bytes(&service_path(asked)) {
        Ok(path) if !path.is_empty() => drop(to.insert(SERVICE_PATH, path)),
        _ => {}
    }
    for name in [SERVICE_METHOD, SERIALIZE_TYPE] {
        if let Some(value) = asked.parts.headers.get(&name) {
            to.insert(name, value.clone());
        }
    }
}

/// A text that has only characters that a header may have.
pub(super) fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fail_with_the_texts_of_go() {
        let text = |number: &[u8]| go_number::<u64>(number, "ParseUint").unwrap_err().message().to_owned();
        assert_eq!(text(b"x"), "strconv.ParseUint: parsing \"x\": invalid syntax");
        assert_eq!(
            text(b"18446744073709551616"),
            "strconv.ParseUint: parsing \"18446744073709551616\": value out of range"
        );
        assert_eq!(serialization(b"3").unwrap(), Serialization::MessagePack);
        assert_eq!(serialization(b"99").unwrap(), Serialization::Other(99));
        assert!(serialization(b"").is_err());
    }
}
