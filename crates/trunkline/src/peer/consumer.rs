//! The service that a peer is: its functions by name, and their index.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::message::Blob;
use crate::{Code, Message, NamedService, Result, Status};

/// What zrpc says of a function that is not there, to the byte.
pub(super) const NOT_FOUND: &str = "Function Name Not Find ";

/// What `Deal` and `GetIndex` take. Empty fields do not travel, and an empty argument is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Params {
    pub(super) fun_name: String,
    pub(super) data: Blob,
}

/// zrpc's service.
#[crate::service(name = "Consumer")]
pub(super) trait Consumer {
    /// Calls the function of this name.
    async fn deal(&self, params: Params) -> Result<Bytes>;
    /// The names of all functions, in MessagePack.
    async fn get_index(&self, params: Params) -> Result<Bytes>;
}

/// What `GetIndex` gives.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Index {
    index: Vec<String>,
}

type Function = Box<dyn Fn(Bytes) -> Pin<Box<dyn Future<Output = Result<Bytes>> + Send>> + Send + Sync>;

/// Functions by their names, to be offered by a [`NamedPeer`](super::NamedPeer) or by any server.
///
/// ```
/// use trunkline::{Bytes, Server, peer::Functions};
/// let functions = Functions::new().function("echo", |bytes: Bytes| async move { Ok(bytes) });
/// let server = Server::builder().serve(functions.into_service());
/// # let _ = server;
/// ```
#[derive(Default)]
pub struct Functions {
    all: BTreeMap<String, Function>,
    /// A name that is empty or was there before.
    pub(super) wrong: Option<String>,
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.all.keys()).finish()
    }
}

impl Functions {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a function. An empty argument is no bytes; whether its caller has sent none or an empty list of them cannot be
    /// told. The empty name means no function, and of two of one name the last one counts; a peer does not start with
    /// either.
    #[must_use]
    pub fn function<F, R>(mut self, name: &str, function: F) -> Self
    where
        F: Fn(Bytes) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Bytes>> + Send + 'static,
    {
        let function: Function = Box::new(move |argument| Box::pin(function(argument)));
        if name.is_empty() || self.all.insert(name.to_owned(), function).is_some() {
            self.wrong.get_or_insert_with(|| name.to_owned());
        }
        self
    }

    /// Adds a function of values, which travel as MessagePack, structs as maps from names.
    #[must_use]
    pub fn typed<F, A, T, R>(self, name: &str, function: F) -> Self
    where
        F: Fn(A) -> R + Send + Sync + 'static,
        A: DeserializeOwned,
        T: Serialize,
        R: Future<Output = Result<T>> + Send + 'static,
    {
        self.function(name, move |bytes| {
            let running = decode(&bytes).map(&function);
            async move { encode(&running?.await?) }
        })
    }

    /// The service that zrpc's brokers call: `Consumer.Deal` and `Consumer.GetIndex`.
    pub fn into_service(self) -> impl NamedService {
        ConsumerServer::new(self)
    }
}

impl Consumer for Functions {
    async fn deal(&self, params: Params) -> Result<Bytes> {
        match self.all.get(&params.fun_name) {
            Some(function) => function(params.data.into_bytes()).await,
            None => Err(not_found()),
        }
    }

    async fn get_index(&self, _: Params) -> Result<Bytes> {
        encode(&Index { index: self.all.keys().cloned().collect() })
    }
}

pub(super) fn not_found() -> Status {
    Status::new(Code::NotFound, NOT_FOUND).not_begun()
}

/// The names in an index. A Go peer's begins with as many empty ones as it has functions; they mean nothing.
pub(super) fn names(index: &[u8]) -> Result<Vec<String>> {
    let Index { mut index } = decode(index)?;
    index.retain(|name| !name.is_empty());
    index.sort_unstable();
    index.dedup();
    Ok(index)
}

/// A value as MessagePack, structs as maps from names.
pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Bytes> {
    let mut bytes = Vec::new();
    crate::codec::msgpack_any::encode(value, &mut bytes)?;
    Ok(bytes.into())
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    Ok(crate::codec::msgpack_any::decode(bytes)?)
}
