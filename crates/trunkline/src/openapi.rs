//! The OpenAPI 3.1 document of a server's services: what `GET /openapi.json` gives.
//!
//! It tells of the plain HTTP form, `POST /Service/Method` with a JSON body. Message types are components; schemas are
//! JSON Schema 2020-12.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::Code;
use crate::describe::ServiceInfo;
use crate::message::{Kind, MessageSchema, Schema, Type, fingerprint};

/// What a call may fail with: the HTTP status, its name in the document, what it means, and the codes in its body.
pub(crate) const FAILURES: [(u16, &str, &str, &[Code]); 10] = [
    (400, "BadInput", "The request does not fit", &[Code::InvalidInput, Code::Unsupported]),
    (401, "Unauthenticated", "The token is missing or wrong", &[Code::Unauthenticated]),
    (404, "NotFound", "There is no such service or method", &[Code::NotFound]),
    (408, "TooSlow", "The request's body came too slowly", &[Code::DeadlineExceeded]),
    (413, "TooLarge", "The body of the request or of the reply is over the limit", &[Code::TooLarge]),
    (415, "UnknownCoding", "The request's Content-Encoding is not gzip or identity", &[Code::Unsupported]),
    (429, "Limited", "A limit of calls is reached", &[Code::Limited]),
    (500, "Failed", "The service failed the call", &[Code::Failed, Code::Internal, Code::Cancelled]),
    (503, "Unavailable", "The server is about to stop", &[Code::Unavailable, Code::Draining]),
    (504, "DeadlineExceeded", "The time that the caller gave is over", &[Code::DeadlineExceeded]),
];

/// The OpenAPI 3.1 document of these services, as a text of JSON: an operation for each method, a component for each type of message.
/// With `asks_token` every operation asks for a bearer token.
///
/// - The first line of a method's documentation is its `summary`; where there is more, all of it the `description`.
/// - Methods that stream have `x-takes-stream: true` or `x-gives-stream: true`; the schema is that of each item, which is
///   a line (`application/x-ndjson`) or an event (`text/event-stream`).
/// - Methods that may run twice without harm have `x-idempotent: true`.
/// - `x-fingerprint` is a number in 16 hex digits that stays the same while nothing is changed: of a component
///   ([`Schema::fingerprint`]), of an operation (its names, request and reply), and of the document (all
///   operations), where it is the version, too.
/// - No field is `required`: what a request does not have reads as empty.
/// - Methods that take or give types of prost's are left out: those travel as protobuf, and plain HTTP carries JSON.
///
/// ```
/// use trunkline::{NamedService, Result};
///
/// #[trunkline::service]
/// trait Clock {
///     /// The time in seconds.
///     #[idempotent]
///     async fn now(&self) -> Result<()>;
/// }
/// # struct Wall;
/// # impl Clock for Wall { async fn now(&self) -> Result<()> { Ok(()) } }
///
/// let document = trunkline::openapi::document([&ClockServer::new(Wall).describe()], false);
/// let document: serde_json::Value = serde_json::from_str(&document).unwrap();
/// let operation = &document["paths"]["/Clock/Now"]["post"];
/// assert_eq!(operation["operationId"], "Clock.Now");
/// assert_eq!(operation["summary"], "The time in seconds.");
/// ```
#[must_use]
pub fn document<'a>(services: impl IntoIterator<Item = &'a ServiceInfo>, asks_token: bool) -> String {
    let mut document = Document::default();
    for service in services {
        for method in &service.methods {
            document.operation(&Operation {
                service: &service.name,
                service_doc: service.doc,
                method: method.name,
                doc: method.doc,
                idempotent: method.idempotent,
                request: method.request.as_ref(),
                reply: method.reply.as_ref(),
                takes_stream: method.takes_stream,
                gives_stream: method.gives_stream,
            });
        }
    }
    document.finish(asks_token).to_string()
}

/// One method, whoever described it.
pub(crate) struct Operation<'a> {
    pub(crate) service: &'a str,
    pub(crate) service_doc: &'a str,
    pub(crate) method: &'a str,
    pub(crate) doc: &'a str,
    pub(crate) idempotent: bool,
    /// `None` for a body of any kind.
    pub(crate) request: Option<&'a Schema>,
    pub(crate) reply: Option<&'a Schema>,
    /// What it takes, or gives, comes item by item.
    pub(crate) takes_stream: bool,
    pub(crate) gives_stream: bool,
}

/// A document that operations are added to.
#[derive(Default)]
pub(crate) struct Document {
    paths: Map<String, Value>,
    tags: BTreeMap<String, Value>,
    operation_ids: BTreeSet<String>,
    components: BTreeMap<String, Component>,
    fingerprints: BTreeSet<String>,
}

struct Component {
    /// Says what the type is: another one that says the same is the same component.
    canonical: String,
    schema: Value,
}

impl Document {
    /// Adds a method, unless plain HTTP cannot carry what it takes or gives.
    pub(crate) fn operation(&mut self, operation: &Operation<'_>) {
        let Operation { service, method, .. } = *operation;
        if [operation.request, operation.reply].into_iter().flatten().any(Schema::is_opaque) {
            return;
        }
        let canonical = |schema: Option<&Schema>| schema.map_or_else(String::new, Schema::canonical);
        let streamed = |streams: bool, of: String| if streams { format!("stream {of}") } else { of };
        let takes = streamed(operation.takes_stream, canonical(operation.request));
        let gives = streamed(operation.gives_stream, canonical(operation.reply));
        let fingerprint = hex(&format!("{service:?} {method:?} {takes} {gives}"));
        let mut request = self.content(operation.request);
        let mut reply = self.content(operation.reply);
        if operation.takes_stream {
            request = by_items(&request, &["application/x-ndjson"]);
        }
        if operation.gives_stream {
            reply = by_items(&reply, &["application/x-ndjson", "text/event-stream"]);
        }
        let with_fields = operation.request.and_then(Schema::message).is_some_and(|m| !m.fields.is_empty())
            && !operation.takes_stream;
        let mut responses = Map::new();
        responses.insert("200".to_owned(), json!({ "description": "The reply.", "content": reply }));
        for (status, name, ..) in FAILURES {
            let reference = json!({ "$ref": format!("#/components/responses/{name}") });
            responses.insert(status.to_string(), reference);
        }
        let mut post = json!({
            "operationId": self.operation_id(service, method),
            "tags": [service],
            "parameters": [{ "$ref": "#/components/parameters/Timeout" }],
            "requestBody": { "required": with_fields, "content": request },
            "responses": responses,
            "x-fingerprint": fingerprint,
        });
        let doc = operation.doc.trim();
        let summary = doc.lines().next().unwrap_or_default();
        set(&mut post, "summary", (!summary.is_empty()).then(|| summary.into()));
        set(&mut post, "description", (summary != doc).then(|| doc.into()));
        set(&mut post, "x-idempotent", operation.idempotent.then(|| true.into()));
        set(&mut post, "x-takes-stream", operation.takes_stream.then(|| true.into()));
        set(&mut post, "x-gives-stream", operation.gives_stream.then(|| true.into()));
        self.fingerprints.insert(fingerprint);
        self.paths.insert(format!("/{}/{}", escaped(service), escaped(method)), json!({ "post": post }));
        let mut tag = json!({ "name": service });
        let doc = operation.service_doc.trim();
        set(&mut tag, "description", (!doc.is_empty()).then(|| doc.into()));
        self.tags.insert(service.to_owned(), tag);
    }

    /// `Service.Method`, or with a number where names with dots give the same twice.
    fn operation_id(&mut self, service: &str, method: &str) -> String {
        let name = format!("{service}.{method}");
        let id = numbered(&name).find(|id| !self.operation_ids.contains(id)).unwrap_or_default();
        self.operation_ids.insert(id.clone());
        id
    }

    /// The `content` of a body.
    fn content(&mut self, schema: Option<&Schema>) -> Value {
        let names = schema.map(|schema| self.messages(schema)).unwrap_or_default();
        match names.first() {
            Some(name) => json!({ "application/json": { "schema": reference(name) } }),
            None => json!({ "*/*": {} }),
        }
    }

    /// Makes components of all messages of a schema; their names, by the index of the message.
    fn messages(&mut self, schema: &Schema) -> Vec<String> {
        let mut fresh = Vec::new();
        let mut names = Vec::new();
        for (index, message) in schema.messages().iter().enumerate() {
            let canonical = schema.canonical_of(index);
            let (name, is_new) = self.component(&message.name, canonical);
            if is_new {
                fresh.push((name.clone(), message));
            }
            names.push(name);
        }
        // Only now every message has a name that the others may refer to, itself among them.
        for (name, message) in fresh {
            if let Some(component) = self.components.get_mut(&name) {
                component.schema = object(message, &names, &hex(&component.canonical));
            }
        }
        names
    }

    /// The name of the component of this type, and whether it is a new one. Two types of one name get a number each.
    fn component(&mut self, wanted: &str, canonical: String) -> (String, bool) {
        let allowed =
            |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' };
        let wanted: String =
            if wanted.is_empty() { "_".to_owned() } else { wanted.chars().map(allowed).collect() };
        for name in numbered(&wanted) {
            match self.components.get(&name) {
                Some(other) if other.canonical == canonical => return (name, false),
                Some(_) => {}
                None => {
                    self.components.insert(name.clone(), Component { canonical, schema: Value::Null });
                    return (name, true);
                }
            }
        }
        (wanted, false)
    }

    /// The whole document.
    pub(crate) fn finish(mut self, asks_token: bool) -> Value {
        // No message says this of itself.
        let (error, _) = self.component("Error", "error".to_owned());
        if let Some(component) = self.components.get_mut(&error) {
            component.schema = error_body();
        }
        let fingerprint = hex(&self.fingerprints.into_iter().collect::<String>());
        let schemas: Map<String, Value> =
            self.components.into_iter().map(|(name, component)| (name, component.schema)).collect();
        let mut components = json!({
            "schemas": schemas,
            "responses": responses(&error),
            "parameters": { "Timeout": timeout() },
        });
        let scheme = json!({ "bearer": { "type": "http", "scheme": "bearer" } });
        set(&mut components, "securitySchemes", asks_token.then_some(scheme));
        let mut document = json!({
            "openapi": "3.1.0",
            "info": {
                "title": "Trunkline",
                "description": "Services on plain HTTP: one POST a method, with a JSON body.",
                "version": fingerprint,
            },
            "tags": self.tags.into_values().collect::<Vec<_>>(),
            "paths": self.paths,
            "components": components,
            "x-fingerprint": fingerprint,
        });
        set(&mut document, "security", asks_token.then(|| json!([{ "bearer": [] }])));
        document
    }
}

/// The `content` of a stream, of which each line or event is as `content` says; bytes have no borders but in events.
fn by_items(content: &Value, types: &[&str]) -> Value {
    let Some(item) = content.get("application/json") else {
        let bytes = std::iter::once("application/octet-stream");
        let events = types.iter().copied().filter(|&name| name == "text/event-stream");
        return bytes.chain(events).map(|name| (name.to_owned(), json!({}))).collect::<Map<_, _>>().into();
    };
    types.iter().map(|&name| (name.to_owned(), item.clone())).collect::<Map<_, _>>().into()
}

/// Adds a member, where there is one.
fn set(object: &mut Value, key: &str, value: Option<Value>) {
    if let (Some(object), Some(value)) = (object.as_object_mut(), value) {
        object.insert(key.to_owned(), value);
    }
}

/// A name, and the same with 2, 3 … behind it.
fn numbered(name: &str) -> impl Iterator<Item = String> {
    let further = (2u32..).map(move |number| format!("{name}{number}"));
    std::iter::once(name.to_owned()).chain(further)
}

fn hex(canonical: &str) -> String {
    format!("{:016x}", fingerprint(canonical))
}

/// A name as a part of a path.
fn escaped(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                text.push(char::from(byte));
            }
            _ => _ = write!(text, "%{byte:02X}"),
        }
    }
    text
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// The schema of a message; `names` are those of the components, by the index of the message.
fn object(message: &MessageSchema, names: &[String], fingerprint: &str) -> Value {
    let fields = message.fields.iter().map(|field| (field.name.clone(), value_of(&field.ty, names)));
    json!({
        "type": "object",
        "properties": fields.collect::<Map<_, _>>(),
        "x-fingerprint": fingerprint,
    })
}

/// The schema of a field's value in JSON.
fn value_of(ty: &Type, names: &[String]) -> Value {
    match ty {
        Type::Scalar(kind, _) => scalar(*kind),
        Type::Message(index) => names.get(*index).map_or_else(|| json!({}), |name| reference(name)),
        Type::Optional(inner) => {
            let mut value = value_of(inner, names);
            match value.get("type").cloned() {
                Some(name) => set(&mut value, "type", Some(json!([name, "null"]))),
                None => value = json!({ "anyOf": [value, { "type": "null" }] }),
            }
            value
        }
        Type::List(inner) => json!({ "type": "array", "items": value_of(inner, names) }),
        Type::Map(key, inner) => {
            let mut value = json!({ "type": "object", "additionalProperties": value_of(inner, names) });
            let pattern = match **key {
                Type::Scalar(Kind::Text, _) => None,
                Type::Scalar(Kind::U8 | Kind::U16 | Kind::U32 | Kind::U64, _) => Some("^[0-9]+$"),
                _ => Some("^-?[0-9]+$"),
            };
            set(&mut value, "propertyNames", pattern.map(|pattern| json!({ "pattern": pattern })));
            value
        }
    }
}

fn scalar(kind: Kind) -> Value {
    let integer = |format: &str| json!({ "type": "integer", "format": format });
    let natural = |format: &str| json!({ "type": "integer", "format": format, "minimum": 0 });
    match kind {
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::I8 => integer("int8"),
        Kind::I16 => integer("int16"),
        Kind::I32 => integer("int32"),
        Kind::I64 => integer("int64"),
        Kind::U8 => natural("uint8"),
        Kind::U16 => natural("uint16"),
        Kind::U32 => natural("uint32"),
        Kind::U64 => natural("uint64"),
        Kind::F32 => json!({ "type": "number", "format": "float" }),
        Kind::F64 => json!({ "type": "number", "format": "double" }),
        Kind::Text => json!({ "type": "string" }),
        Kind::Blob => json!({ "type": "string", "contentEncoding": "base64" }),
        Kind::Message => json!({}),
    }
}

/// The body of every failure.
fn error_body() -> Value {
    let mut codes: Vec<&str> =
        FAILURES.iter().flat_map(|(.., codes)| *codes).map(|code| code.name()).collect();
    codes.sort_unstable();
    codes.dedup();
    json!({
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "message"],
                "properties": {
                    "code": { "type": "string", "enum": codes },
                    "message": { "type": "string", "description": "Exactly the service's text." },
                },
            },
        },
    })
}

fn responses(error: &str) -> Value {
    let response = |(_, name, meaning, codes): &(u16, &str, &str, &[Code])| {
        let codes: Vec<String> = codes.iter().map(|code| format!("`{code}`")).collect();
        let response = json!({
            "description": format!("{meaning}: {}.", codes.join(", ")),
            "content": { "application/json": { "schema": reference(error) } },
        });
        ((*name).to_owned(), response)
    };
    FAILURES.iter().map(response).collect::<Map<_, _>>().into()
}

fn timeout() -> Value {
    json!({
        "name": "X-Timeout",
        "in": "header",
        "description": "How long the caller waits: the call ends then.",
        "schema": { "type": "string", "pattern": r"^(0|(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|ms|s|m|h))+)$" },
        "example": "200ms",
    })
}
