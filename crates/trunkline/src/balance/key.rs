//! What calls have in common that shall go to the same endpoint.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::uri::{self, Client};
use crate::{Body, Call};

/// What of a call says where it goes: calls with the same key go to the same endpoint.
#[derive(Clone)]
pub struct Key(Kind);

#[derive(Clone)]
enum Kind {
    Call,
    Client,
    Metadata(String),
    Parameter(String),
    Function(Arc<Function>),
}

type Function = dyn Fn(&Call) -> Option<String> + Send + Sync;

impl Key {
    /// Service, method and body: the same call goes to the same endpoint. A streamed body does not count.
    #[must_use]
    pub fn call() -> Self {
        Self(Kind::Call)
    }

    /// The client's address, without its port: of the connection that the call came by, where it is passed on, or what
    /// the metadata [`CLIENT`](super::CLIENT) says. A call that is made here for nobody has none.
    #[must_use]
    pub fn client() -> Self {
        Self(Kind::Client)
    }

    /// The value of a key of the call's metadata.
    #[must_use]
    pub fn metadata(key: impl Into<String>) -> Self {
        Self(Kind::Metadata(key.into()))
    }

    /// The value of a parameter of the call's URI (the metadata [`URI`](super::URI)), decoded; of several the first.
    #[must_use]
    pub fn parameter(name: impl Into<String>) -> Self {
        Self(Kind::Parameter(name.into()))
    }

    /// What a function says.
    #[must_use]
    pub fn with(function: impl Fn(&Call) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Kind::Function(Arc::new(function)))
    }

    /// The call's key as a number, the same in every process; none where the call has no such key.
    pub(super) fn hash(&self, call: &Call) -> Option<u64> {
        match &self.0 {
            Kind::Call => {
                let body: &[u8] = match &call.body {
                    Body::Full(body) => body,
                    Body::Stream(_) => &[],
                };
                Some(hash([call.service().as_bytes(), call.method().as_bytes(), body]))
            }
            Kind::Client => uri::client(call).map(|client| match client {
                Client::Named(name) => hash([name]),
                Client::At(IpAddr::V4(address)) => hash([&address.octets()[..]]),
                Client::At(IpAddr::V6(address)) => hash([&address.octets()[..]]),
            }),
            Kind::Metadata(key) => {
                call.metadata().pairs().get_bytes(key.as_bytes()).map(|value| hash([value]))
            }
            Kind::Parameter(name) => uri::parameters(call)
                .find(|(key, _)| **key == *name.as_bytes())
                .map(|(_, value)| hash([&value[..]])),
            Kind::Function(function) => function(call).map(|key| hash([key.as_bytes()])),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Call => f.write_str("call"),
            Kind::Client => f.write_str("client"),
            Kind::Metadata(key) => write!(f, "metadata {key}"),
            Kind::Parameter(name) => write!(f, "parameter {name}"),
            Kind::Function(_) => f.write_str("function"),
        }
    }
}

/// FNV-1a over the parts, each closed by its length, and mixed. Its result must be the same in every process and
/// version, which no crate's hash for tables promises.
pub(super) fn hash<const N: usize>(parts: [&[u8]; N]) -> u64 {
    const PRIME: u64 = 0x100_0000_01b3;
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    let all = parts.iter().fold(0xcbf2_9ce4_8422_2325, |begun, part| {
        let hash = part.iter().copied().fold(begun, step);
        let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
        length.to_le_bytes().into_iter().fold(hash, step)
    });
    mixed(all)
}

/// Spreads every bit over all of them (the finaliser of splitmix64).
pub(super) fn mixed(mut hash: u64) -> u64 {
    hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ hash >> 31
}
