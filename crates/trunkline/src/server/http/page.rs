//! What is served here: `GET /` says it to people, `GET /openapi.json` to programs.

use std::fmt::Write;
use std::sync::OnceLock;

use bytes::Bytes;
use http::{Method, StatusCode, header};

use super::dispatch::{Answer, Asked, Gateway, Wanted, respond};
use super::plain;
use crate::net::pairs;
use crate::server::router::Router;
use crate::{Code, Result, Serialization, Service, openapi};

/// The service that says the same to callers. It is not listed, here as there.
const OWN: &str = "Trunkline";

/// Where the document for programs is.
pub(super) const OPENAPI: &str = "/openapi.json";

/// Answers a request for `/`.
pub(super) async fn answer<S: Service>(gateway: &Gateway<S>, asked: &Asked) -> Answer {
    if let Err(refused) = admit(gateway, asked).await {
        return refused;
    }
    let accept = asked.parts.headers.get(header::ACCEPT).map(|value| value.as_bytes()).unwrap_or_default();
    if accept.windows(9).any(|word| word.eq_ignore_ascii_case(b"text/html")) {
        respond(StatusCode::OK, "text/html; charset=utf-8", html(&gateway.core.router))
    } else {
        respond(StatusCode::OK, "text/plain; charset=utf-8", text(&gateway.core.router))
    }
}

/// Answers a request for [`OPENAPI`].
pub(super) async fn answer_openapi<S: Service>(gateway: &Gateway<S>, asked: &Asked) -> Answer {
    match admit(gateway, asked).await {
        Ok(()) => respond(StatusCode::OK, "application/json", gateway.core.document.of(&gateway.core.router)),
        Err(refused) => refused,
    }
}

/// The OpenAPI document of a server, made when it is first asked for.
#[derive(Default)]
pub(crate) struct OpenApi {
    asks_token: bool,
    text: OnceLock<Bytes>,
}

impl OpenApi {
    pub(crate) fn new(asks_token: bool) -> Self {
        Self { asks_token, text: OnceLock::new() }
    }

    fn of(&self, router: &Router) -> Bytes {
        let make = || {
            let services = router.services().filter(|service| *service.name != *OWN);
            openapi::document(services, self.asks_token).into()
        };
        self.text.get_or_init(make).clone()
    }
}

/// Whether the caller may know what is served here.
///
/// # Errors
/// The answer that says no.
async fn admit<S: Service>(gateway: &Gateway<S>, asked: &Asked) -> Result<(), Answer> {
    if !matches!(asked.parts.method, Method::GET | Method::HEAD) {
        return Err(plain::not_allowed(asked, "GET, HEAD"));
    }
    let metadata = pairs::read(&asked.parts.headers, &pairs::META, &gateway.core.limits);
    let metadata = metadata.map_err(|status| plain::failed(&status))?;
    // Who may not call what describes the services may not see the page either: the call passes the token.
    let describe = Wanted {
        service: OWN.into(),
        method: "Describe".into(),
        serialization: Serialization::Json,
        one_way: false,
        metadata,
        deadline: None,
        body: Bytes::from_static(b"{}").into(),
    };
    match gateway.call(describe).await {
        Err(status) if status.code() == Code::Unauthenticated => Err(plain::failed(&status)),
        _ => Ok(()),
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
    let _ = writeln!(page, "\n  GET {OPENAPI}  The same for programs (OpenAPI 3.1).");
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
    let _ = writeln!(
        page,
        "<tr><td><code>GET <a href=\"{OPENAPI}\">{OPENAPI}</a></code><td>The same for programs (OpenAPI 3.1)."
    );
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
