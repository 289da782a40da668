//! Trunkline: one service, every wire.
//!
//! A service is a trait with [`macro@service`]: it makes a server, a client and a mock. [`Server::builder`] serves it on
//! every wire from one port; the client goes through a [`client::Channel`] to `rpcx://`, `easymicro://`, `http://`,
//! `unix://` or, in tests, `mem://` addresses. [`Message`](derive@Message) makes a struct travel in every codec.
//!
//! ```
//! use trunkline::{Result, Server};
//!
//! #[trunkline::service]
//! trait Greeter {
//!     async fn greet(&self, name: String) -> Result<String>;
//! }
//!
//! struct Polite;
//!
//! impl Greeter for Polite {
//!     async fn greet(&self, name: String) -> Result<String> {
//!         Ok(format!("hello {name}"))
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::builder().serve(GreeterServer::new(Polite)).listen("127.0.0.1:0").start().await?;
//! let greeter = GreeterClient::connect(server.url()).await?;
//! assert_eq!(greeter.greet("Ada".into()).await?, "hello Ada");
//! # Ok(()) }
//! ```
//!
//! - [`Streaming`]: requests that are read as they arrive, replies that leave as they are made.
//! - [`Status`] says why a call failed; [`Context`] is what a handler may know of its call.
//! - [`client::Client`]: several endpoints behind one client, picked as [`balance`] says.
//! - [`layer::Resume`] and [`client::Resuming`]: streams that survive a lost connection.
//! - [`layer`]: policies around services and channels, one's own too ([`layer::layer_fn`]).
//! - `peer` (feature `netrpc`): named peers, which offer functions to each other.
//! - [`codec`] and [`message`]: bodies. [`reflect`], [`openapi`]: a server describes itself.
//! - `file` (feature `file`): files given and taken, resumed after a break, hashed as a whole.
//! - `gateway` (feature `gateway`): HTTP in front of IIP.
//! - `node` (feature `node`): mailbox services, their timers, and what they call each other by.
//! - [`random`]: a seed that makes a run repeat, for tests of a whole cluster on paused time.

// What the macros generate names this crate from outside; inside it must have that name too.
extern crate self as trunkline;

mod asked;
pub mod balance;
mod body;
mod call;
pub mod client;
pub mod codec;
mod context;
pub mod describe;
#[cfg(all(feature = "file", target_os = "linux"))]
pub mod file;
#[cfg(feature = "gateway")]
pub mod gateway;
pub mod layer;
#[cfg(all(test, trunkline_loom))]
mod loom_tests;
pub mod message;
pub mod metadata;
mod net;
#[cfg(feature = "node")]
pub mod node;
pub mod openapi;
#[cfg(feature = "netrpc")]
pub mod peer;
mod push;
pub mod random;
pub mod reflect;
pub mod server;
mod service;
mod status;
mod streaming;
mod sync;
#[cfg(feature = "tower")]
pub mod tower;
mod trace;
mod typed;

pub use asked::Asked;
pub use body::{Body, BodySender, BodyStream};
pub use bytes::Bytes;
pub use call::{Call, MethodId, Name, Reply};
pub use context::{Context, Peer};
pub use message::{Blob, Message};
pub use net::{Address, InvalidAddress};
pub use push::{Push, Pusher};
pub use server::Server;
pub use service::{
    Answer, BoxFuture, DynService, NamedService, ReplyBuf, Request, Service, ServiceFn, service_fn,
};
pub use status::{Code, Origin, Result, Status};
pub use streaming::{StreamSender, Streaming};
pub use trace::Trace;
#[doc(inline)]
pub use trunkline_macros::{Message, service};
pub use trunkline_wire as wire;
pub use trunkline_wire::{Limits, Metadata, MetadataBuilder, Pairs, Serialization};
pub use typed::{Annotated, Argument, FromReply, IntoReply};

/// What generated code names. Not for direct use, and not covered by any promise.
#[doc(hidden)]
pub mod __private {
    pub use std::result::Result::Ok;

    pub use serde::{Serialize, de::DeserializeOwned};

    pub use crate::message::{
        Field, Fields, Form, Kind, Message, Reader, Registry, Spec, Type, Value, Writer,
    };

    pub mod service {
        pub use crate::typed::{
            Calls, Missing, MissingPanic, MissingStatus, answer, answer_borrowed, argument, arrive, ask,
            borrow, call, is_arriving, method, reply, schema, stream, take_context, unknown,
        };
    }
    #[cfg(feature = "node")]
    pub mod node {
        pub use crate::node::{answer, answering, context};
    }
    #[cfg(feature = "protobuf")]
    pub use crate::codec::{prost_decode, prost_encode};
    /// For the fuzz target of HTTP.
    #[cfg(feature = "http")]
    pub use crate::server::http::frames as http;

    pub type Result<T> = std::result::Result<T, crate::codec::Error>;
}

/// The code of the README runs as a test.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
