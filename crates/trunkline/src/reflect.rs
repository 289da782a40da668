//! `Trunkline.Describe`: a server says what it serves.
//!
//! An ordinary service: callers reach it on every wire and in every codec, and whatever the server asks of its
//! callers (a token) it asks here, too. It does not list itself.

use serde::{Deserialize, Serialize};

use crate::describe::{MethodInfo, ServiceInfo};
use crate::message::Schema;
use crate::{Message, Result};

/// What a Trunkline server says of itself.
#[trunkline::service(name = "Trunkline")]
pub trait Reflection {
    /// All services with their methods, and what these take and give.
    #[idempotent]
    fn describe(&self) -> Result<Description>;
}

/// All services of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Message)]
pub struct Description {
    /// In the order in which they were added to the server.
    pub services: Vec<ServiceDescription>,
}

/// One service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Message)]
pub struct ServiceDescription {
    /// The name it is called by.
    pub name: String,
    /// Its documentation.
    pub doc: String,
    /// Its methods, in the order of their declaration.
    pub methods: Vec<MethodDescription>,
}

/// One method.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Message)]
pub struct MethodDescription {
    /// The name it is called by.
    pub name: String,
    /// Its documentation.
    pub doc: String,
    /// It may run twice without harm.
    pub idempotent: bool,
    /// What it takes.
    pub request: SchemaDescription,
    /// What it gives.
    pub reply: SchemaDescription,
    /// It takes a stream: `request` is each item.
    pub takes_stream: bool,
    /// It gives a stream: `reply` is each item.
    pub gives_stream: bool,
}

/// What a body looks like: [`Schema::to_json`] as a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Message)]
#[serde(default)]
pub struct SchemaDescription {
    /// `raw` (bytes of any kind), `opaque` (the name of the type is known, its fields are not) or `message`.
    pub kind: String,
    /// The name of the type, for people.
    pub name: String,
    /// [`Schema::fingerprint`] in 16 hex digits; empty where there are no messages.
    pub fingerprint: String,
    /// The message of the body and, behind it, those that it uses.
    pub messages: Vec<MessageDescription>,
}

/// One message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Message)]
pub struct MessageDescription {
    /// Its name, unique within the schema.
    pub name: String,
    /// Its fields, in the order of their declaration.
    pub fields: Vec<FieldDescription>,
}

/// One field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Message)]
pub struct FieldDescription {
    /// Its name in JSON, MessagePack and gob.
    pub name: String,
    /// Its number in protobuf and Thrift.
    pub number: u32,
    /// Its type, for example `int64` or `list<string>`.
    #[serde(rename = "type")]
    pub ty: String,
}

impl Description {
    /// The description of these services.
    #[must_use]
    pub fn of<'a>(services: impl IntoIterator<Item = &'a ServiceInfo>) -> Self {
        Self { services: services.into_iter().map(ServiceDescription::of).collect() }
    }

    /// A method by its names: exact ones first, then ASCII letters of any case, as a server finds them.
    #[must_use]
    pub fn method(&self, service: &str, method: &str) -> Option<&MethodDescription> {
        self.service(service)?.method(method)
    }

    /// A service by its name, found as by [`method`](Self::method).
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&ServiceDescription> {
        find(&self.services, name, |service| &service.name)
    }
}

impl ServiceDescription {
    fn of(info: &ServiceInfo) -> Self {
        Self {
            name: info.name.to_string(),
            doc: info.doc.to_owned(),
            methods: info.methods.iter().map(MethodDescription::of).collect(),
        }
    }

    /// A method by its name, exact or in letters of another case.
    #[must_use]
    pub fn method(&self, name: &str) -> Option<&MethodDescription> {
        find(&self.methods, name, |method| &method.name)
    }
}

fn find<'a, T>(all: &'a [T], name: &str, name_of: impl Fn(&T) -> &String) -> Option<&'a T> {
    let exact = all.iter().find(|one| name_of(one) == name);
    exact.or_else(|| all.iter().find(|one| name_of(one).eq_ignore_ascii_case(name)))
}

impl MethodDescription {
    fn of(info: &MethodInfo) -> Self {
        Self {
            name: info.name.to_owned(),
            doc: info.doc.to_owned(),
            idempotent: info.idempotent,
            request: SchemaDescription::of(info.request.as_ref()),
            reply: SchemaDescription::of(info.reply.as_ref()),
            takes_stream: info.takes_stream,
            gives_stream: info.gives_stream,
        }
    }
}

impl SchemaDescription {
    /// The description of a schema; of none, that of bytes of any kind.
    #[must_use]
    pub fn of(schema: Option<&Schema>) -> Self {
        let json = schema.map_or_else(|| Schema::raw().to_value(), Schema::to_value);
        // Both sides are of this crate, and a test holds them together.
        serde_json::from_value(json).unwrap_or_default()
    }

    /// The schema.
    ///
    /// # Errors
    /// It is none: what is wrong, as a text. It came from a peer.
    pub fn schema(&self) -> Result<Schema, String> {
        let json = serde_json::to_value(self).map_err(|error| error.to_string())?;
        Schema::from_value(&json)
    }
}

/// Answers with what its server told it at the start.
pub(crate) struct Described(pub(crate) Description);

impl Reflection for Described {
    fn describe(&self) -> Result<Description> {
        Ok(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Payload;
    use crate::{Serialization, Server, client::Channel};

    #[derive(Serialize, Deserialize, Message)]
    struct Args {
        a: i64,
        names: Vec<String>,
        next: Option<Box<Args>>,
    }

    #[trunkline::service]
    trait Sample {
        /// Does it.
        #[idempotent]
        async fn act(&self, args: Args) -> Result<()>;
        async fn pass(&self, body: crate::Bytes) -> Result<crate::Bytes>;
    }

    struct Actor;

    impl Sample for Actor {
        async fn act(&self, _: Args) -> Result<()> {
            Ok(())
        }
        async fn pass(&self, body: crate::Bytes) -> Result<crate::Bytes> {
            Ok(body)
        }
    }

    #[test]
    fn schemas_come_back_as_they_were() {
        for schema in [Args::schema(), Schema::raw(), Schema::opaque("T")] {
            let description = SchemaDescription::of(Some(&schema));
            assert_eq!(description.schema().unwrap(), schema);
        }
        assert!(SchemaDescription::default().schema().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_says_the_same_in_every_codec_and_leaves_itself_out() {
        let builder = Server::builder().with_describe().serve(SampleServer::new(Actor));
        let server = builder.listen("mem://reflect").bind().await.unwrap();
        tokio::spawn(server.run());
        let channel = Channel::connect("mem://reflect?wire=rpcx").await.unwrap();
        let client = ReflectionClient::new(channel);
        let said = client.describe().serialization(Serialization::Json).await.unwrap();
        assert_eq!(said.services.len(), 1);
        let method = said.method("sample", "ACT").unwrap();
        assert!(method.idempotent && method.doc == "Does it.");
        assert_eq!(method.request.schema().unwrap(), Args::schema());
        assert_eq!(said.method("Sample", "Pass").unwrap().request.kind, "raw");
        assert!(said.service("Trunkline").is_none());
        for how in [Serialization::MessagePack, Serialization::Protobuf, Serialization::Thrift] {
            assert_eq!(client.describe().serialization(how).await.unwrap(), said, "{how:?}");
        }
    }
}
