//! `GET /`: one page that says what is served.

use std::fmt::Write;

use bytes::Bytes;
use http::{Method, StatusCode, header};

use super::dispatch::{Answer, Asked, Gateway, Wanted, respond};
use super::plain;
use crate::net::pairs;
use crate::server::router::Router;
use crate::{Code, Serialization, Service};

/// The service that says the same to callers. It is not listed, here as there.
const OWN: &str = "Trunkline";

/// Answers a request for `/`.
pub(super) async fn answer<S: Service>(gateway: &Gateway<S>, asked: &Asked) -> Answer {
    if !matches!(asked.parts.method, Method::GET | Method::HEAD) {
        return plain::not_allowed(asked, "GET, HEAD");
    }
    let metadata = match pairs::read(&asked.parts.headers, &pairs::META, &gateway.core.limits) {
        Ok(metadata) => metadata,
        Err(status) => return plain::failed(&status),
    };
    // Who may not call what describes the services may not see the page either: the call passes the token.
    let describe = Wanted {
        service: OWN.into(),
        method: "Describe".into(),
        serialization: Serialization::Json,
        one_way: false,
        metadata,
        deadline: None,
        body: Bytes::from_static(b"{}"),
    };
    match gateway.call(describe).await {
        Err(status) if status.code() == Code::Unauthenticated => return plain::failed(&status),
        _ => {}
    }
    let accept = asked.parts.headers.get(header::ACCEPT).map(|value| value.as_bytes()).unwrap_or_default();
    if accept.windows(9).any(|word| word.eq_ignore_ascii_case(b"text/html")) {
        respond(StatusCode::OK, "text/html; charset=utf-8", html(&gateway.core.router))
    } else {
        respond(StatusCode::OK, "text/plain; charset=utf-8", text(&gateway.core.router))
    }
}

fn methods(router: &Router) -> impl Iterator<Item = (&str, &str, &str)> {
    router
        .methods()
        .filter(|(service, _)| *service.name != *OWN)
        .map(|(service, method)| (&*service.name, method.name, first_line(method.doc)))
}

fn first_line(doc: &str) -> &str {
    doc.trim().lines().next().unwrap_or_default()
}

fn text(router: &Router) -> String {
    let mut page = String::from("Trunkline serves here:\n\n");
    for (service, method, doc) in methods(router) {
        // Writing to a string cannot fail.
        let _ = write!(page, "  POST /{service}/{method}");
        let _ = if doc.is_empty() { writeln!(page) } else { writeln!(page, "  {doc}") };
    }
    page.push_str("\nThe body is JSON. X-Timeout: 200ms gives a call its deadline.\n");
    page
}

fn html(router: &Router) -> String {
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Trunkline</title>\n\
         <h1>Trunkline serves here</h1>\n<table>\n",
    );
    for (service, method, doc) in methods(router) {
        let (service, method, doc) = (escape(service), escape(method), escape(doc));
        let _ = writeln!(page, "<tr><td><code>POST /{service}/{method}</code><td>{doc}");
    }
    page.push_str(
        "</table>\n<p>The body is JSON. <code>X-Timeout: 200ms</code> gives a call its deadline.\n</html>\n",
    );
    page
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_cannot_break_out_of_the_page() {
        assert_eq!(super::escape("<a href=\"&\">"), "&lt;a href=&quot;&amp;&quot;&gt;");
    }
}
