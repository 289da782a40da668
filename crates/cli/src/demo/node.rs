//! The demo's node: mailbox services that other nodes call on saber.

use std::sync::Arc;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use trunkline::node::{Cluster, ClusterTable, Node, State};
use trunkline::{Bytes, Code, Limits, Message, Result, Status, service};

use crate::exit::Failure;

/// The numbers of the lobbies, as in saber's stress test.
pub(super) const LOBBIES: std::ops::RangeInclusive<u32> = 101..=104;

/// Who logs in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Login {
    #[serde(default)]
    gid: u64,
    #[serde(default)]
    name: String,
}

/// How it went: 200.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct LoggedIn {
    status: i64,
}

/// Where players log in.
#[service(mailbox, name = "lobby")]
pub(crate) trait Lobby {
    /// Lets a player in.
    async fn req_login(&self, player: Login) -> Result<LoggedIn>;
    /// The same JSON back.
    async fn echo(&self, json: Bytes) -> Result<Bytes>;
}

struct Open;

impl Lobby for Open {
    async fn req_login(&self, _: Login) -> Result<LoggedIn> {
        Ok(LoggedIn { status: 200 })
    }

    async fn echo(&self, json: Bytes) -> Result<Bytes> {
        match serde_json::from_slice::<IgnoredAny>(&json) {
            Ok(_) => Ok(json),
            Err(error) => Err(Status::new(Code::InvalidInput, format!("the body is no JSON: {error}"))),
        }
    }
}

/// A number to add.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct More {
    n: i64,
}

/// The sum so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Sum {
    total: i64,
}

/// A counter in the state of its service.
#[service(mailbox)]
pub(crate) trait Count {
    /// Adds N, and gives the sum.
    async fn add(&self, more: More) -> Result<Sum>;
}

#[derive(Default)]
struct Counter(State<i64>);

impl Count for Counter {
    async fn add(&self, more: More) -> Result<Sum> {
        self.0.with(|total| {
            *total = total.checked_add(more.n).ok_or_else(|| Status::failed("overflow"))?;
            Ok(Sum { total: *total })
        })
    }
}

/// The node of this name with its services, and its way to the others.
pub(super) fn start(name: &str, remotes: &[(String, String)], body_limit: usize) -> Result<Cluster, Failure> {
    let usage = |status: Status| Failure::usage(status.message());
    let node = Node::builder(name).serve(1, CountServer::new(Counter::default()));
    let lobby = Arc::new(Open);
    let node = LOBBIES.fold(node, |node, id| node.serve(id, LobbyServer::new(Arc::clone(&lobby))));
    let node = node.start().map_err(usage)?;
    let table = ClusterTable::new(name);
    let table = remotes.iter().fold(table, |table, (name, address)| table.remote(name, address));
    let mut limits = Limits::default();
    limits.body = body_limit;
    Cluster::start_with(&node, &table, limits).map_err(usage)
}
