//! The four nodes, and how one of them is made to call another.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use trunkline::node::ClusterTable;
use trunkline::{Call, Serialization, Service, Status};

use super::node::OurNode;
use crate::peer::GoServer;
use crate::suite::{Check, Told};

/// The nodes: ours first.
pub(super) const NODES: [&str; 4] = ["rust1", "rust2", "go1", "go2"];

/// How long a call may take that is to be answered.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

pub(super) struct World {
    pub(super) ours: [OurNode; 2],
    pub(super) go: [GoServer; 2],
    program: PathBuf,
    /// How many of the Go nodes' relays were used up.
    spent: AtomicU32,
}

/// What was called: a service, its number, a method, and with what.
#[derive(Debug, Clone)]
pub(super) struct Ask<'a> {
    pub(super) to: &'a str,
    pub(super) service: (&'a str, u32),
    pub(super) method: &'a str,
    pub(super) body: Value,
    pub(super) limit: Duration,
}

impl<'a> Ask<'a> {
    /// A call of `lobby/101`.
    pub(super) fn lobby(to: &'a str, method: &'a str, body: Value) -> Self {
        Self { to, service: ("lobby", 101), method, body, limit: LIMIT }
    }

    pub(super) fn count(to: &'a str, n: i64) -> Self {
        Self { service: ("Count", 1), ..Self::lobby(to, "Add", json!({ "N": n })) }
    }
}

/// A port that nobody listens on now: the Go module does not say which one it took.
fn free_address() -> Check<String> {
    let listener = TcpListener::bind("127.0.0.1:0").told("port")?;
    Ok(listener.local_addr().told("port")?.to_string())
}

impl World {
    pub(super) async fn start(program: &Path) -> Check<Self> {
        let ours = [OurNode::start("rust1").await?, OurNode::start("rust2").await?];
        let addresses = [ours[0].address.clone(), ours[1].address.clone(), free_address()?, free_address()?];
        let start = |index: usize| {
            let mut command = Command::new(program);
            command.args(["-node", NODES[index], "-addr", &addresses[index]]);
            for (name, address) in NODES.iter().zip(&addresses).filter(|(name, _)| **name != NODES[index]) {
                command.args(["-remote", &format!("{name}={address}")]);
            }
            GoServer::start_as(command)
        };
        let go = [start(2).await?, start(3).await?];
        let world = Self { ours, go, program: program.to_owned(), spent: AtomicU32::new(0) };
        for node in &world.ours {
            node.cluster.reload(&world.table(node.name, &[])).told("reload")?;
        }
        Ok(world)
    }

    /// The table of one of our nodes, without some.
    pub(super) fn table(&self, own: &str, without: &[&str]) -> ClusterTable {
        let others = NODES.iter().filter(|name| **name != own && !without.contains(*name));
        others.fold(ClusterTable::new(own), |table, name| table.remote(name, self.address(name)))
    }

    fn address(&self, name: &str) -> &str {
        match name {
            "rust1" => &self.ours[0].address,
            "rust2" => &self.ours[1].address,
            "go1" => &self.go[0].address,
            _ => &self.go[1].address,
        }
    }

    /// Starts the second Go node again where it was.
    pub(super) async fn restart_go2(&mut self) -> Check {
        let mut command = Command::new(&self.program);
        command.args(["-node", "go2", "-addr", &self.go[1].address]);
        for name in &NODES[..3] {
            command.args(["-remote", &format!("{name}={}", self.address(name))]);
        }
        self.go[1] = GoServer::start_as(command).await?;
        Ok(())
    }

    /// All pairs of a caller and a node that is called.
    pub(super) fn pairs() -> impl Iterator<Item = (&'static str, &'static str)> {
        NODES
            .into_iter()
            .flat_map(|from| NODES.into_iter().map(move |to| (from, to)))
            .filter(|(from, to)| from != to)
    }

    /// Has a node call another one: the answer, or the text of the failure.
    pub(super) async fn ask(&self, from: &str, ask: &Ask<'_>) -> Result<Value, String> {
        let failed = |status: Status| status.message().to_owned();
        match self.own(from) {
            Some(node) => call(node, ask).await.map_err(failed),
            None => self.relay(from, "Call", ask, 0).await,
        }
    }

    /// Has a node send a notify.
    pub(super) async fn notify(&self, from: &str, ask: &Ask<'_>) -> Check {
        match self.own(from) {
            Some(node) => {
                let (service, id) = ask.service;
                let call =
                    Call::new(service, ask.method.to_owned(), Serialization::Json, ask.body.to_string());
                node.cluster.service(ask.to, service, id).call(call.one_way()).await.map(drop).told("notify")
            }
            None => self.relay(from, "Notify", ask, 0).await.map(drop),
        }
    }

    pub(super) fn own(&self, name: &str) -> Option<&OurNode> {
        self.ours.iter().find(|node| node.name == name)
    }

    /// Has a Go node do it, and only measure the answer where that is wanted.
    pub(super) async fn relay(
        &self,
        from: &str,
        how: &'static str,
        ask: &Ask<'_>,
        measure: u32,
    ) -> Result<Value, String> {
        let (service, id) = ask.service;
        let body = json!({
            "Cluster": ask.to, "Service": service, "ID": id, "Method": ask.method, "Body": ask.body,
            "Millis": u64::try_from(ask.limit.as_millis()).unwrap_or(0), "Measure": measure,
        });
        // A service of the Go module whose call was not answered in time may take no more messages later (S6): each of
        // these calls has one of its own.
        let relay = if ask.limit < LIMIT { self.spent.fetch_add(1, Ordering::Relaxed) + 2 } else { 1 };
        let relay = Ask { to: from, service: ("Relay", relay), method: how, body, limit: ask.limit + LIMIT };
        let reply =
            call(&self.ours[0], &relay).await.map_err(|status| format!("relay: {}", status.message()))?;
        match reply.get("Error").and_then(Value::as_str) {
            Some(error) => Err(error.to_owned()),
            None => Ok(reply.get("Reply").cloned().unwrap_or_default()),
        }
    }
}

pub(super) async fn call(node: &OurNode, ask: &Ask<'_>) -> Result<Value, Status> {
    let (service, id) = ask.service;
    let call = Call::new(service, ask.method.to_owned(), Serialization::Json, ask.body.to_string());
    let call = call.with_deadline(Instant::now() + ask.limit);
    let reply = node.cluster.service(ask.to, service, id).call(call).await?;
    let body = reply.into_body().whole(64 << 20).await?;
    serde_json::from_slice(&body).map_err(|error| Status::failed(format!("the answer is no JSON: {error}")))
}
