//! Schemas as text, as JSON, and as a number.

use std::fmt::{self, Write as _};

use serde_json::{Value, json};

use super::field::{Form, Kind};
use super::schema::{Body, FieldSchema, MessageSchema, Schema, Type};

/// Most values in a template. A schema of few messages can describe a tree without end; past this the rest is
/// left empty.
const TEMPLATE_VALUES: usize = 10_000;

/// Whether a type of this name would be taken for a scalar.
pub(super) fn is_scalar(name: &str) -> bool {
    SCALARS.iter().any(|(scalar, ..)| *scalar == name)
}

/// How many `list<`, `optional<` and `map<` a type may have around each other.
const TYPE_DEPTH: usize = 4;

/// Every scalar by its name: protobuf's, and for the narrow integers the like.
const SCALARS: &[(&str, Kind, Form)] = &[
    ("bool", Kind::Bool, Form::Plain),
    ("int8", Kind::I8, Form::Plain),
    ("int16", Kind::I16, Form::Plain),
    ("int32", Kind::I32, Form::Plain),
    ("int64", Kind::I64, Form::Plain),
    ("sint8", Kind::I8, Form::Signed),
    ("sint16", Kind::I16, Form::Signed),
    ("sint32", Kind::I32, Form::Signed),
    ("sint64", Kind::I64, Form::Signed),
    ("sfixed8", Kind::I8, Form::Fixed),
    ("sfixed16", Kind::I16, Form::Fixed),
    ("sfixed32", Kind::I32, Form::Fixed),
    ("sfixed64", Kind::I64, Form::Fixed),
    ("uint8", Kind::U8, Form::Plain),
    ("uint16", Kind::U16, Form::Plain),
    ("uint32", Kind::U32, Form::Plain),
    ("uint64", Kind::U64, Form::Plain),
    ("fixed8", Kind::U8, Form::Fixed),
    ("fixed16", Kind::U16, Form::Fixed),
    ("fixed32", Kind::U32, Form::Fixed),
    ("fixed64", Kind::U64, Form::Fixed),
    ("float", Kind::F32, Form::Plain),
    ("double", Kind::F64, Form::Plain),
    ("string", Kind::Text, Form::Plain),
    ("bytes", Kind::Blob, Form::Plain),
];

impl Schema {
    /// The message and those that it uses, as lines: a name, then `  NUMBER NAME TYPE` for each field.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = String::new();
        match &self.body {
            Body::Raw => text.push_str("bytes\n"),
            Body::Opaque(name) => _ = writeln!(text, "{name}"),
            Body::Messages(messages) => {
                for message in messages {
                    _ = writeln!(text, "{}", message.name);
                    for field in &message.fields {
                        _ = writeln!(
                            text,
                            "  {} {} {}",
                            field.number,
                            field.name,
                            Named(&field.ty, messages)
                        );
                    }
                }
            }
        }
        text
    }

    /// A JSON body with every field in it, in their order: zeros, empty texts, lists and maps of one element.
    /// Where a message holds itself it is `null` or left out of its list.
    #[must_use]
    pub fn template(&self) -> String {
        let mut text = String::new();
        match &self.body {
            Body::Raw => text.push_str("\"\""),
            Body::Opaque(_) => text.push_str("{}"),
            Body::Messages(messages) => {
                Template { messages, text: &mut text, open: Vec::new(), left: TEMPLATE_VALUES }.message(0);
            }
        }
        text
    }

    /// The schema as a text of JSON, as it travels in `Trunkline.Describe`.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.to_value().to_string()
    }

    pub(crate) fn to_value(&self) -> Value {
        let messages: Vec<Value> = self.messages().iter().map(|m| message_json(m, self.messages())).collect();
        match &self.body {
            Body::Raw => json!({ "kind": "raw" }),
            Body::Opaque(name) => json!({ "kind": "opaque", "name": name }),
            Body::Messages(_) => json!({
                "kind": "message",
                "name": self.name(),
                "fingerprint": format!("{:016x}", self.fingerprint()),
                "messages": messages,
            }),
        }
    }

    /// Reads what [`to_json`](Self::to_json) gives; what it does not know in it is passed over.
    ///
    /// # Errors
    /// What is wrong with it, as a text.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let value = serde_json::from_str(text).map_err(|error| format!("schema: {error}"))?;
        Self::from_value(&value)
    }

    pub(crate) fn from_value(value: &Value) -> Result<Self, String> {
        match value.get("kind").and_then(Value::as_str) {
            Some("raw") => return Ok(Self::raw()),
            Some("opaque") => return Ok(Self::opaque(text_of(value, "name")?)),
            Some("message") => {}
            _ => return Err("schema: `kind` is not raw, opaque or message".to_owned()),
        }
        let list = value.get("messages").and_then(Value::as_array).ok_or("schema: `messages` is no list")?;
        let names: Vec<&str> = list.iter().map(|m| text_of(m, "name")).collect::<Result<_, _>>()?;
        if names.is_empty() {
            return Err("schema: no message".to_owned());
        }
        let messages = list.iter().map(|m| message_of(m, &names)).collect::<Result<_, _>>()?;
        Ok(Self { body: Body::Messages(messages) })
    }

    /// A number that two schemas share when their bodies mean the same in every codec: names, numbers and
    /// types of all fields, whatever the order of declaration and the names of the Rust types. It is the same
    /// in every version of this crate.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        fingerprint(&self.canonical())
    }

    /// The text behind the fingerprint: fields by number, messages by the order in which that meets them.
    pub(crate) fn canonical(&self) -> String {
        self.canonical_of(0)
    }

    /// The same of the message at this index and those that it uses.
    pub(crate) fn canonical_of(&self, first: usize) -> String {
        let messages = match &self.body {
            Body::Raw => return "raw".to_owned(),
            Body::Opaque(name) => return format!("opaque {name:?}"),
            Body::Messages(messages) => messages,
        };
        let mut text = String::new();
        let mut met = vec![first];
        let mut next = 0;
        while let Some(message) = met.get(next).and_then(|index| messages.get(*index)) {
            let mut fields: Vec<&FieldSchema> = message.fields.iter().collect();
            fields.sort_by_key(|field| field.number);
            text.push('{');
            for field in fields {
                _ = write!(text, "{} {:?} ", field.number, field.name);
                canonical_type(&field.ty, &mut met, &mut text);
                text.push(';');
            }
            text.push('}');
            next = next.saturating_add(1);
        }
        text
    }
}

/// The number of such a text: FNV-1a, 64 bits.
pub(crate) fn fingerprint(canonical: &str) -> u64 {
    canonical.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn canonical_type(ty: &Type, met: &mut Vec<usize>, text: &mut String) {
    match ty {
        Type::Scalar(kind, form) => text.push_str(scalar_name(*kind, *form)),
        Type::Message(index) => {
            let place = met.iter().position(|known| known == index).unwrap_or_else(|| {
                met.push(*index);
                met.len().saturating_sub(1)
            });
            _ = write!(text, "#{place}");
        }
        Type::Optional(inner) => {
            text.push('?');
            canonical_type(inner, met, text);
        }
        Type::List(inner) => {
            text.push('*');
            canonical_type(inner, met, text);
        }
        Type::Map(key, value) => {
            text.push('%');
            canonical_type(key, met, text);
            text.push(' ');
            canonical_type(value, met, text);
        }
    }
}

fn message_json(message: &MessageSchema, messages: &[MessageSchema]) -> Value {
    let fields: Vec<Value> = message
        .fields
        .iter()
        .map(|field| {
            json!({
                "name": field.name,
                "number": field.number,
                "type": Named(&field.ty, messages).to_string(),
            })
        })
        .collect();
    json!({ "name": message.name, "fields": fields })
}

fn text_of<'a>(value: &'a Value, key: &str) -> Result<&'a str, String> {
    value.get(key).and_then(Value::as_str).ok_or_else(|| format!("schema: `{key}` is no text"))
}

fn message_of(value: &Value, names: &[&str]) -> Result<MessageSchema, String> {
    let name = text_of(value, "name")?;
    let list = value.get("fields").and_then(Value::as_array).ok_or("schema: `fields` is no list")?;
    let mut fields: Vec<FieldSchema> = Vec::new();
    for field in list {
        let number = field.get("number").and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
        let number =
            number.filter(|n| (1..1 << 29).contains(n)).ok_or("schema: `number` is no field number")?;
        let ty = parse_type(text_of(field, "type")?, names, 0)?;
        fields.push(FieldSchema { name: text_of(field, "name")?.to_owned(), number, ty });
    }
    Ok(MessageSchema { name: name.to_owned(), fields })
}

fn parse_type(text: &str, names: &[&str], depth: usize) -> Result<Type, String> {
    let inside = |head: &str| text.strip_prefix(head).and_then(|rest| rest.strip_suffix('>'));
    let deeper = depth.saturating_add(1);
    if deeper > TYPE_DEPTH {
        return Err("schema: a type is nested too deeply".to_owned());
    }
    if let Some(inner) = inside("optional<") {
        return Ok(Type::Optional(Box::new(parse_type(inner, names, deeper)?)));
    }
    if let Some(inner) = inside("list<") {
        return Ok(Type::List(Box::new(parse_type(inner, names, deeper)?)));
    }
    if let Some((key, value)) = inside("map<").and_then(|inner| inner.split_once(',')) {
        let key = parse_type(key, names, deeper)?;
        return Ok(Type::Map(Box::new(key), Box::new(parse_type(value, names, deeper)?)));
    }
    if let Some((_, kind, form)) = SCALARS.iter().find(|(name, ..)| *name == text) {
        return Ok(Type::Scalar(*kind, *form));
    }
    let index = names.iter().position(|name| *name == text);
    index.map(Type::Message).ok_or_else(|| format!("schema: unknown type `{text}`"))
}

fn scalar_name(kind: Kind, form: Form) -> &'static str {
    let exact = SCALARS.iter().find(|(_, k, f)| *k == kind && *f == form);
    let any = || SCALARS.iter().find(|(_, k, _)| *k == kind);
    exact.or_else(any).map_or("message", |(name, ..)| name)
}

/// A type with the names of its messages.
struct Named<'a>(&'a Type, &'a [MessageSchema]);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(ty, messages) = *self;
        match ty {
            Type::Scalar(kind, form) => f.write_str(scalar_name(*kind, *form)),
            Type::Message(index) => {
                write!(f, "{}", messages.get(*index).map_or("", |message| &message.name))
            }
            Type::Optional(inner) => write!(f, "optional<{}>", Named(inner, messages)),
            Type::List(inner) => write!(f, "list<{}>", Named(inner, messages)),
            Type::Map(key, value) => {
                write!(f, "map<{},{}>", Named(key, messages), Named(value, messages))
            }
        }
    }
}

/// Writes the template of one message after another into one text.
struct Template<'a> {
    messages: &'a [MessageSchema],
    text: &'a mut String,
    /// The messages around the present one.
    open: Vec<usize>,
    left: usize,
}

impl Template<'_> {
    fn message(&mut self, index: usize) {
        let Some(message) = self.messages.get(index) else { return self.text.push_str("null") };
        self.open.push(index);
        self.text.push('{');
        for (place, field) in message.fields.iter().enumerate() {
            if place > 0 {
                self.text.push(',');
            }
            self.text.push_str(&Value::from(field.name.as_str()).to_string());
            self.text.push(':');
            self.value(&field.ty);
        }
        self.text.push('}');
        self.open.pop();
    }

    /// Whether the type leads back to a message that is being written, or the template is long enough.
    fn ends(&self, ty: &Type) -> bool {
        match ty {
            Type::Scalar(..) => false,
            Type::Message(index) => self.left == 0 || self.open.contains(index),
            Type::Optional(inner) | Type::List(inner) | Type::Map(_, inner) => self.ends(inner),
        }
    }

    fn value(&mut self, ty: &Type) {
        self.left = self.left.saturating_sub(1);
        let ends = self.ends(ty);
        match ty {
            Type::Scalar(Kind::Bool, _) => self.text.push_str("false"),
            Type::Scalar(Kind::Text | Kind::Blob, _) => self.text.push_str("\"\""),
            Type::Scalar(..) => self.text.push('0'),
            Type::Message(_) | Type::Optional(_) if ends => self.text.push_str("null"),
            Type::Message(index) => self.message(*index),
            Type::Optional(inner) => self.value(inner),
            Type::List(_) if ends => self.text.push_str("[]"),
            Type::List(inner) => {
                self.text.push('[');
                self.value(inner);
                self.text.push(']');
            }
            Type::Map(..) if ends => self.text.push_str("{}"),
            Type::Map(key, inner) => {
                let key = if matches!(**key, Type::Scalar(Kind::Text, _)) { "{\"\":" } else { "{\"0\":" };
                self.text.push_str(key);
                self.value(inner);
                self.text.push('}');
            }
        }
    }
}
