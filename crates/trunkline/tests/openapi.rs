//! The OpenAPI document of services, and where a server gives it.
#![cfg(feature = "http")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what is not there fails the test"
)]

mod http_support;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use http_support::ask;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline::codec::Payload;
use trunkline::describe::{MethodInfo, ServiceInfo};
use trunkline::message::Schema;
use trunkline::{Blob, Bytes, Message, NamedService, Result, Server, openapi};

#[derive(Debug, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
struct Order {
    id: u64,
    note: Option<String>,
    #[message(kind = "sint")]
    balance: i64,
    lines: Vec<Line>,
    receipt: Blob,
    counts: BTreeMap<i32, Line>,
    words: HashMap<String, f32>,
    parent: Option<Box<Order>>,
}

#[derive(Debug, Serialize, Deserialize, Message)]
struct Line {
    name: String,
    small: u8,
    open: bool,
    share: f64,
}

mod other {
    use super::{Deserialize, Message, Serialize};

    /// Of the same name, but another type.
    #[derive(Debug, Serialize, Deserialize, Message)]
    pub(crate) struct Line {
        pub(crate) number: i32,
    }

    /// Looks like the body of a failure by its name.
    #[derive(Debug, Serialize, Deserialize, Message)]
    pub(crate) struct Error {
        pub(crate) lines: Vec<Line>,
    }
}

/// Orders of customers.
#[trunkline::service]
trait Shop {
    /// Finds an order.
    #[idempotent]
    async fn find(&self, line: Line) -> Result<Order>;
    /// Changes an order.
    ///
    /// Whoever changes it last wins.
    async fn change(&self, order: Order) -> Result<()>;
    async fn pass(&self, body: Bytes) -> Result<Bytes>;
    async fn fail(&self, line: other::Line) -> Result<other::Error>;
    async fn ping(&self) -> Result<()>;
}

struct Empty;

impl Shop for Empty {
    async fn find(&self, _: Line) -> Result<Order> {
        Err(trunkline::Status::failed("no"))
    }
    async fn change(&self, _: Order) -> Result<()> {
        Ok(())
    }
    async fn pass(&self, body: Bytes) -> Result<Bytes> {
        Ok(body)
    }
    async fn fail(&self, _: other::Line) -> Result<other::Error> {
        Ok(other::Error { lines: Vec::new() })
    }
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

fn document_of<'a>(services: impl IntoIterator<Item = &'a ServiceInfo>, asks_token: bool) -> Value {
    serde_json::from_str(&openapi::document(services, asks_token)).unwrap()
}

fn shop() -> ServiceInfo {
    ShopServer::new(Empty).describe()
}

fn service(name: &str, methods: Vec<MethodInfo>) -> ServiceInfo {
    ServiceInfo { name: name.into(), doc: "", methods }
}

fn method(name: &'static str, request: Option<Schema>, reply: Option<Schema>) -> MethodInfo {
    MethodInfo { request, reply, ..MethodInfo::new(name) }
}

/// Every `$ref` leads somewhere, every operation has an id of its own, every name is one that may be there.
fn check(document: &Value) {
    fn walk(value: &Value, whole: &Value, ids: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(to)) = members.get("$ref") {
                    assert!(whole.pointer(to.strip_prefix('#').unwrap()).is_some(), "{to} leads nowhere");
                    assert_eq!(members.len(), 1, "what stands beside a reference may be passed over");
                }
                if let Some(Value::String(id)) = members.get("operationId") {
                    assert!(ids.insert(id.clone()), "{id} is there twice");
                }
                members.values().for_each(|value| walk(value, whole, ids));
            }
            Value::Array(items) => items.iter().for_each(|value| walk(value, whole, ids)),
            _ => {}
        }
    }
    walk(document, document, &mut BTreeSet::new());
    assert_eq!(document["openapi"], "3.1.0");
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        assert!(!name.is_empty() && name.chars().all(allowed), "{name}");
    }
    for path in document["paths"].as_object().unwrap().keys() {
        assert!(path.starts_with('/') && !path.contains(['{', '}', '?', '#', ' ']), "{path}");
    }
}

#[test]
fn a_small_service_is_described_in_full() {
    let document = document_of([&shop()], false);
    check(&document);
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    assert_eq!(paths, ["/Shop/Change", "/Shop/Fail", "/Shop/Find", "/Shop/Pass", "/Shop/Ping"]);
    assert_eq!(document["tags"], json!([{ "name": "Shop", "description": "Orders of customers." }]));

    let find = &document["paths"]["/Shop/Find"]["post"];
    assert_eq!(find["operationId"], "Shop.Find");
    assert_eq!((&find["summary"], find.get("description")), (&json!("Finds an order."), None));
    assert_eq!(find["x-idempotent"], true);
    let body = |name: &str| json!({ "application/json": { "schema": { "$ref": format!("#/components/schemas/{name}") } } });
    assert_eq!(find["requestBody"], json!({ "required": true, "content": body("Line") }));
    assert_eq!(find["responses"]["200"]["content"], body("Order"));
    let change = &document["paths"]["/Shop/Change"]["post"];
    assert_eq!(change["summary"], "Changes an order.");
    assert_eq!(change["description"], "Changes an order.\n\nWhoever changes it last wins.");
    assert_eq!(change.get("x-idempotent"), None);
    let pass = &document["paths"]["/Shop/Pass"]["post"];
    assert_eq!(pass["requestBody"], json!({ "required": false, "content": { "*/*": {} } }));
    assert_eq!(pass["responses"]["200"]["content"], json!({ "*/*": {} }));
    assert_eq!((pass.get("summary"), pass.get("security")), (None, None));

    let schemas = &document["components"]["schemas"];
    let nothing = "Empty";
    let names: Vec<&String> = schemas.as_object().unwrap().keys().collect();
    assert_eq!(names, [nothing, "Error", "Error2", "Line", "Line2", "Order"]);
    assert_eq!(
        schemas["Order"]["properties"],
        json!({
            "Id": { "type": "integer", "format": "uint64", "minimum": 0 },
            "Note": { "type": ["string", "null"] },
            "Balance": { "type": "integer", "format": "int64" },
            "Lines": { "type": "array", "items": { "$ref": "#/components/schemas/Line" } },
            "Receipt": { "type": "string", "contentEncoding": "base64" },
            "Counts": {
                "type": "object",
                "propertyNames": { "pattern": "^-?[0-9]+$" },
                "additionalProperties": { "$ref": "#/components/schemas/Line" },
            },
            "Words": { "type": "object", "additionalProperties": { "type": "number", "format": "float" } },
            "Parent": { "anyOf": [{ "$ref": "#/components/schemas/Order" }, { "type": "null" }] },
        })
    );
    assert_eq!(schemas["Order"]["type"], "object");
    assert_eq!(schemas["Order"]["x-fingerprint"], format!("{:016x}", Order::schema().fingerprint()));
    assert_eq!(schemas["Line"]["x-fingerprint"], format!("{:016x}", Line::schema().fingerprint()));
    assert_eq!(schemas["Line2"]["properties"], json!({ "number": { "type": "integer", "format": "int32" } }));
    // The message of that name keeps it.
    let lines = json!({ "type": "array", "items": { "$ref": "#/components/schemas/Line2" } });
    assert_eq!(schemas["Error"]["properties"], json!({ "lines": lines }));
}

#[test]
fn failures_have_the_body_and_the_statuses_of_plain_http() {
    let document = document_of([&shop()], false);
    let failure = &document["components"]["schemas"]["Error2"]["properties"]["error"];
    assert_eq!(failure["required"], json!(["code", "message"]));
    let codes: BTreeSet<&str> = failure["properties"]["code"]["enum"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c.as_str().unwrap())
        .collect();
    let all: BTreeSet<&str> = (1..100).map(|number| trunkline::Code::from_number(number).name()).collect();
    assert_eq!(codes, all);
    for operation in document["paths"].as_object().unwrap().values() {
        let statuses: Vec<&String> = operation["post"]["responses"].as_object().unwrap().keys().collect();
        assert_eq!(statuses, ["200", "400", "401", "404", "408", "413", "415", "429", "500", "503", "504"]);
    }
    for response in document["components"]["responses"].as_object().unwrap().values() {
        let schema = &response["content"]["application/json"]["schema"];
        assert_eq!(schema, &json!({ "$ref": "#/components/schemas/Error2" }));
    }
}

#[test]
fn odd_names_and_equal_types_of_several_services_are_told_apart() {
    let line = || Some(Line::schema());
    let services = [
        service("A.B", vec![method("C", line(), None)]),
        service("A", vec![method("B.C", None, Some(other::Line::schema()))]),
        service("a/b {ö}", vec![method("do?", line(), line())]),
        service("Gone", vec![method("Prost", Some(Schema::opaque("Proto")), line())]),
    ];
    let document = document_of(&services, true);
    check(&document);
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    assert_eq!(paths, ["/A.B/C", "/A/B.C", "/a%2Fb%20%7B%C3%B6%7D/do%3F"]);
    assert_eq!(document["paths"]["/A/B.C"]["post"]["operationId"], "A.B.C2");
    let names: Vec<&String> = document["components"]["schemas"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["Error", "Line", "Line2"]);
    assert_eq!(document["security"], json!([{ "bearer": [] }]));
    let bearer = json!({ "bearer": { "type": "http", "scheme": "bearer" } });
    assert_eq!(document["components"]["securitySchemes"], bearer);
    check(&document_of([], false));
    // Names from elsewhere.
    let strange = json!({"kind": "message", "messages": [
        {"name": "größe<T>", "fields": [{"name": "$ref", "number": 1, "type": "größe<T>"}]}, {"name": "", "fields": []},
    ]});
    let strange = Schema::from_json(&strange.to_string()).unwrap();
    let document = document_of([&service("S", vec![method("M", Some(strange), None)])], false);
    let names: Vec<&String> = document["components"]["schemas"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["Error", "_", "gr__e_T_"]);
}

#[test]
fn the_fingerprint_changes_with_the_contract_and_with_nothing_else() {
    let of = |request, reply, doc| {
        let document = document_of(
            [&service("S", vec![MethodInfo { doc, ..method("M", Some(request), Some(reply)) }])],
            false,
        );
        assert_eq!(document["x-fingerprint"], document["info"]["version"]);
        (document["x-fingerprint"].clone(), document["paths"]["/S/M"]["post"]["x-fingerprint"].clone())
    };
    let (whole, operation) = of(Line::schema(), Order::schema(), "");
    assert_eq!(of(Line::schema(), Order::schema(), "Documented."), (whole.clone(), operation.clone()));
    for (request, reply) in [(Order::schema(), Line::schema()), (other::Line::schema(), Order::schema())] {
        let changed = of(request, reply, "");
        assert!(changed.0 != whole && changed.1 != operation);
    }
}

#[tokio::test]
async fn a_server_gives_the_document_to_whom_it_would_answer() {
    let get = |method: &str, more: &str| format!("{method} /openapi.json HTTP/1.1\r\nHost: x\r\n{more}\r\n");
    for token in [None, Some("good")] {
        let mut builder =
            Server::builder().with_describe().serve(ShopServer::new(Empty)).listen("127.0.0.1:0");
        if let Some(token) = token {
            builder = builder.token(token);
        }
        let server = builder.bind().await.unwrap();
        let address = server.addresses()[0].clone();
        tokio::spawn(server.run());
        let answer = ask(&address, get("GET", "")).await;
        assert_eq!(answer.status, if token.is_some() { 401 } else { 200 });
        assert_eq!(answer.text().contains("Shop"), token.is_none());
        let answer = ask(&address, get("GET", "Authorization: Bearer good\r\n")).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
        // It does not list itself, and asks for the token where the server does.
        assert_eq!(answer.json(), document_of([&shop()], token.is_some()));
        let answer = ask(&address, get("POST", "Authorization: Bearer good\r\n")).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")));
        for accept in ["*/*", "text/html"] {
            let headers = format!("Accept: {accept}\r\nAuthorization: Bearer good\r\n");
            let page = ask(&address, format!("GET / HTTP/1.1\r\n{headers}\r\n")).await;
            assert!(page.text().contains("/openapi.json"), "{}", page.text());
        }
    }
}

/// Writes a document into the file that `TRUNKLINE_OPENAPI` names, for a validator.
#[test]
fn a_document_for_a_validator() {
    let services = [shop(), service("a/b {ö}", vec![method("do?", Some(Order::schema()), None)])];
    let document = document_of(&services, true);
    check(&document);
    if let Ok(file) = std::env::var("TRUNKLINE_OPENAPI") {
        std::fs::write(file, document.to_string()).unwrap();
    }
}
