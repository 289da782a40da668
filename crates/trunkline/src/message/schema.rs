//! What a message looks like, as a value: for `describe`, `template`, OpenAPI, fingerprints, and for reading
//! and writing messages without their Rust types.

use std::any::TypeId;

use super::field::{Form, Kind, Spec};
use super::{Field, Message, render};

/// What a body looks like.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use trunkline::codec::Payload;
///
/// #[derive(Serialize, Deserialize, trunkline::Message)]
/// struct Args {
///     a: i64,
///     names: Vec<String>,
/// }
///
/// let schema = Args::schema();
/// assert_eq!(schema.describe(), "Args\n  1 a int64\n  2 names list<string>\n");
/// assert_eq!(schema.template(), r#"{"a":0,"names":[""]}"#);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    pub(crate) body: Body,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    /// Bytes as they are, in any serialisation.
    Raw,
    /// A type of prost's: its name is known, its fields are not.
    Opaque(String),
    /// The message and, behind it, those that it uses.
    Messages(Vec<MessageSchema>),
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageSchema {
    /// Its name, unique within the schema; it is not sent.
    pub name: String,
    /// Its fields in the order of their declaration.
    pub fields: Vec<FieldSchema>,
}

/// One field of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldSchema {
    /// Its name in JSON, MessagePack and gob.
    pub name: String,
    /// Its number in protobuf and Thrift.
    pub number: u32,
    /// Its type.
    pub ty: Type,
}

/// The type of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Type {
    /// Anything but a message, and how its integers are written in protobuf.
    Scalar(Kind, Form),
    /// The message at this index of [`Schema::messages`].
    Message(usize),
    /// It may be absent.
    Optional(Box<Type>),
    /// A list.
    List(Box<Type>),
    /// A map from one to the other.
    Map(Box<Type>, Box<Type>),
}

impl Schema {
    /// The schema of a message.
    #[must_use]
    pub fn of<M: Message>() -> Self {
        let mut registry = Registry::default();
        registry.message::<M>();
        let mut messages: Vec<MessageSchema> = registry.messages.into_iter().map(|(_, m)| m).collect();
        for index in 0..messages.len() {
            make_unique(&mut messages, index);
        }
        Self { body: Body::Messages(messages) }
    }

    /// The schema of a body of plain bytes.
    #[must_use]
    pub fn raw() -> Self {
        Self { body: Body::Raw }
    }

    /// The schema of a type of which only the name is known.
    #[must_use]
    pub fn opaque(name: impl Into<String>) -> Self {
        Self { body: Body::Opaque(name.into()) }
    }

    /// The messages: first that of the body, then those that it uses. None where the fields are not known.
    #[must_use]
    pub fn messages(&self) -> &[MessageSchema] {
        match &self.body {
            Body::Messages(messages) => messages,
            Body::Raw | Body::Opaque(_) => &[],
        }
    }

    /// The body is plain bytes, whatever the serialisation.
    #[must_use]
    pub fn is_raw(&self) -> bool {
        self.body == Body::Raw
    }

    /// Of the type only the name is known.
    pub(crate) fn is_opaque(&self) -> bool {
        matches!(self.body, Body::Opaque(_))
    }

    /// The message of the body, where its fields are known.
    #[must_use]
    pub fn message(&self) -> Option<&MessageSchema> {
        self.messages().first()
    }

    /// The name of the type, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.body {
            Body::Raw => "bytes",
            Body::Opaque(name) => name,
            Body::Messages(messages) => messages.first().map_or("", |message| &message.name),
        }
    }
}

/// Two types of one name (of two modules, or of two instances of a generic one) get a number each, and so does
/// one that is named like a scalar.
fn make_unique(messages: &mut [MessageSchema], index: usize) {
    let Some((earlier, Some(message))) =
        messages.split_at_mut_checked(index).map(|(a, b)| (a, b.first_mut()))
    else {
        return;
    };
    let taken = |name: &str| render::is_scalar(name) || earlier.iter().any(|other| other.name == name);
    if taken(&message.name) {
        let fresh = (2..).map(|number: u32| format!("{}{number}", message.name)).find(|name| !taken(name));
        message.name = fresh.unwrap_or_default();
    }
}

/// The messages that were met so far, by their Rust types.
#[doc(hidden)]
#[derive(Default)]
pub struct Registry {
    messages: Vec<(TypeId, MessageSchema)>,
}

impl Registry {
    /// The type of `M`; describes it when it is met for the first time.
    pub fn message<M: Message>(&mut self) -> Type {
        let key = TypeId::of::<M>();
        if let Some(known) = self.messages.iter().position(|(name, _)| *name == key) {
            return Type::Message(known);
        }
        let index = self.messages.len();
        self.messages.push((key, MessageSchema { name: M::NAME.to_owned(), fields: Vec::new() }));
        let mut fields = Fields { registry: self, fields: Vec::new() };
        M::describe(&mut fields);
        let described = fields.fields;
        if let Some((_, message)) = self.messages.get_mut(index) {
            message.fields = described;
        }
        Type::Message(index)
    }
}

/// Takes the fields of one message; for generated code.
pub struct Fields<'a> {
    registry: &'a mut Registry,
    fields: Vec<FieldSchema>,
}

impl Fields<'_> {
    #[doc(hidden)]
    pub fn field<F: Field>(&mut self, spec: &Spec<'_>) {
        let ty = F::describe(spec.form, self.registry);
        self.fields.push(FieldSchema { name: spec.name.to_owned(), number: spec.number, ty });
    }
}
