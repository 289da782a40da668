//! Where saber's calls go: a node of a cluster, and one of its services.

use std::time::Duration;

use tokio::time::Instant;
use trunkline::node::{Cluster, ClusterTable, Node};
use trunkline::server::RunningServer;
use trunkline::{Limits, Result, Server, Status};

use crate::endpoint::REPLY_LIMIT;
use crate::exit::Failure;

/// The node that is called where the URL names none.
const CLUSTER: &str = "trunkline";
/// The node that calls, where nobody says.
pub(crate) const NODE: &str = "trunkline_call";

/// `saber://HOST:PORT[/CLUSTER]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) address: String,
    pub(crate) cluster: String,
}

/// Whether a URL is saber's.
pub(crate) fn is_saber(url: &str) -> bool {
    url.starts_with("saber://")
}

impl Target {
    pub(crate) fn parse(url: &str) -> Result<Self, Failure> {
        let wrong = |why: &str| Failure::usage(format!("cannot call {url}: {why}"));
        let rest = url.strip_prefix("saber://").unwrap_or_default();
        if rest.contains([',', '#', '?']) {
            return Err(wrong("one node is called, as in saber://HOST:PORT/CLUSTER"));
        }
        let (address, cluster) = rest.split_once('/').unwrap_or((rest, CLUSTER));
        let cluster = if cluster.is_empty() { CLUSTER } else { cluster };
        let parsed: Result<trunkline::Address, _> = address.parse();
        match parsed {
            Ok(trunkline::Address::Tcp(_)) => {}
            Ok(_) => return Err(wrong("the address is HOST:PORT")),
            Err(error) => return Err(wrong(&error.to_string())),
        }
        Ok(Self { address: address.to_owned(), cluster: cluster.to_owned() })
    }

    /// Becomes a node of the cluster: `listen` is where answers may come to.
    pub(crate) async fn join(&self, node: &str, listen: Option<&str>) -> Result<Joined, Failure> {
        let usage = |status: Status| Failure::usage(status.message());
        let own = Node::builder(node).start().map_err(usage)?;
        let table = ClusterTable::new(node).remote(&self.cluster, &self.address);
        let mut limits = Limits::default();
        limits.body = REPLY_LIMIT;
        let cluster = Cluster::start_with(&own, &table, limits).map_err(usage)?;
        let listen = listen.unwrap_or("127.0.0.1:0");
        let server = Server::builder().cluster(&cluster).listen(listen).start().await;
        let server = server.map_err(|error| Failure::usage(error.to_string()))?;
        Ok(Joined { target: self.clone(), cluster, server })
    }
}

/// A node that calls another one.
pub(crate) struct Joined {
    target: Target,
    pub(crate) cluster: Cluster,
    server: RunningServer,
}

impl Joined {
    /// The service that is called: `Name[/ID]`.
    pub(crate) fn service(&self, service: &str) -> Result<trunkline::node::RemoteService, Failure> {
        let (name, id) = service_of(service)?;
        Ok(self.cluster.service(&self.target.cluster, name, id))
    }

    /// Waits for the connection.
    pub(crate) async fn connected(&self, deadline: Instant) -> Result<(), Failure> {
        while Instant::now() < deadline {
            if self.cluster.connected(&self.target.cluster, Duration::from_millis(1)).await {
                return Ok(());
            }
            let remotes = self.cluster.remotes();
            if let Some(reason) = remotes.first().and_then(|remote| remote.reason.as_ref()) {
                return Err(Failure::transport(format!("cannot reach {}: {reason}", self.target.address)));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Err(Failure::transport(format!("cannot reach {}: no connection in time", self.target.address)))
    }

    /// Lets what was written leave.
    pub(crate) async fn leave(self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        self.cluster.stop(left).await;
        let _ = self.server.stop(Duration::ZERO).await;
    }
}

/// `Name[/ID]` as a name and a number.
pub(crate) fn service_of(text: &str) -> Result<(&str, u32), Failure> {
    let (name, id) = text.split_once('/').unwrap_or((text, "1"));
    let id = id
        .parse()
        .map_err(|_| Failure::usage(format!("{text}: the id is no number from 0 to 4294967295")))?;
    if name.is_empty() {
        return Err(Failure::usage(format!("{text}: the service's name is missing")));
    }
    Ok((name, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_services_are_read() {
        let target = Target::parse("saber://h:1").unwrap();
        assert_eq!((&*target.address, &*target.cluster), ("h:1", "trunkline"));
        assert_eq!(Target::parse("saber://h:1/game").unwrap().cluster, "game");
        assert_eq!(Target::parse("saber://h:1/").unwrap().cluster, "trunkline");
        for bad in ["saber://", "saber://h", "saber://h:1,h:2", "saber://unix:///a", "saber://h:1?a=b"] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(service_of("lobby/101").unwrap(), ("lobby", 101));
        assert_eq!(service_of("Count").unwrap(), ("Count", 1));
        for bad in ["lobby/x", "lobby/-1", "/1", "lobby/4294967296", ""] {
            assert!(service_of(bad).is_err(), "{bad}");
        }
    }
}
