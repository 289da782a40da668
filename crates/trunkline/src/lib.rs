//! Trunkline: one service, every wire.

mod body;
mod call;
pub mod codec;
mod context;
pub mod describe;
#[cfg(feature = "http")]
mod gateway;
pub mod layer;
pub mod message;
pub mod metadata;
mod net;
pub mod server;
mod service;
mod status;

pub use body::{Body, BodySender, BodyStream};
pub use bytes::Bytes;
pub use call::{Call, MethodId, Name, Reply};
pub use context::{Context, Peer};
pub use net::{Address, InvalidAddress, Push, Pusher};
pub use server::Server;
pub use service::{
    Answer, BoxFuture, DynService, NamedService, ReplyBuf, Request, Service, ServiceFn, service_fn,
};
pub use status::{Code, Origin, Result, Status};
pub use trunkline_wire::{Limits, Metadata, MetadataBuilder, Pairs, Serialization};
