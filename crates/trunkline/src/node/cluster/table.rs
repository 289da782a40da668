//! The table of nodes: who is in the cluster, and where.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use serde::Deserialize;
use trunkline_wire::saber::cluster_hash;

use super::remote::RemoteNode;
use crate::net::Address;
use crate::node::identity::check_name;
use crate::{Code, Result, Status};

/// Which nodes there are, and where each listens: what one node of a cluster is configured with.
///
/// ```
/// use trunkline::node::ClusterTable;
///
/// let json = r#"{"ClusterName": "game", "LocalAddr": "127.0.0.1:8908", "RemoteAddrs": {"gate": "127.0.0.1:8907"}}"#;
/// let table = ClusterTable::from_json(json).unwrap();
/// assert_eq!(table, ClusterTable::new("game").listen("127.0.0.1:8908").remote("gate", "127.0.0.1:8907"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterTable {
    name: String,
    listen: Option<String>,
    remotes: BTreeMap<String, String>,
    tick: Option<Duration>,
}

/// The configuration of the Go program.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GoTable {
    cluster_name: String,
    #[serde(default)]
    local_addr: String,
    #[serde(default)]
    remote_addrs: BTreeMap<String, String>,
    #[serde(default)]
    tick_interval_ms: u64,
}

/// A configuration of Trunkline's. Other sections are for other parts of the program.
#[cfg(feature = "config")]
#[derive(Deserialize)]
struct Sections {
    cluster: Section,
}

#[cfg(feature = "config")]
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    name: String,
    listen: Option<String>,
    tick_ms: Option<u64>,
    #[serde(default)]
    remotes: BTreeMap<String, String>,
}

impl ClusterTable {
    /// The table of the node of this name, without others yet.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), listen: None, remotes: BTreeMap::new(), tick: None }
    }

    /// Reads saber's configuration: `{"ClusterName", "LocalAddr", "RemoteAddrs": {name: address}, "TickIntervalMs"}`.
    /// Only the first one has to be there; others than these are passed over.
    ///
    /// # Errors
    /// [`Code::InvalidInput`]: it is no such JSON.
    pub fn from_json(text: &str) -> Result<Self> {
        let go: GoTable = serde_json::from_str(text)
            .map_err(|error| Status::new(Code::InvalidInput, format!("the table of nodes: {error}")))?;
        Ok(Self {
            name: go.cluster_name,
            listen: Some(go.local_addr).filter(|address| !address.is_empty()),
            remotes: go.remote_addrs,
            tick: (go.tick_interval_ms > 0).then(|| Duration::from_millis(go.tick_interval_ms)),
        })
    }

    /// Reads the section `[cluster]` of a `trunkline.toml`: `name`, and where they are said `listen`, `tick_ms` and the
    /// table `remotes` of names with addresses. What else stands in the section is refused, since it may be a slip of the
    /// pen.
    ///
    /// ```
    /// use trunkline::node::ClusterTable;
    ///
    /// let toml = r#"
    ///     [cluster]
    ///     name = "game"
    ///     listen = "127.0.0.1:8908"
    ///     remotes.gate = "127.0.0.1:8907"
    /// "#;
    /// let table = ClusterTable::from_toml(toml).unwrap();
    /// assert_eq!(table, ClusterTable::new("game").listen("127.0.0.1:8908").remote("gate", "127.0.0.1:8907"));
    /// ```
    ///
    /// # Errors
    /// [`Code::InvalidInput`]: it is no such TOML; the text says where.
    #[cfg(feature = "config")]
    pub fn from_toml(text: &str) -> Result<Self> {
        let Sections { cluster } = toml::from_str(text)
            .map_err(|error| Status::new(Code::InvalidInput, format!("the table of nodes: {error}")))?;
        let Section { name, listen, tick_ms, remotes } = cluster;
        Ok(Self { name, listen, remotes, tick: tick_ms.map(Duration::from_millis) })
    }

    /// Where this node listens, as others have it in their tables.
    #[must_use]
    pub fn listen(mut self, address: &str) -> Self {
        self.listen = Some(address.to_owned());
        self
    }

    /// Adds a node, or moves it: its name, and the address where it listens.
    #[must_use]
    pub fn remote(mut self, name: &str, address: &str) -> Self {
        self.remotes.insert(name.to_owned(), address.to_owned());
        self
    }

    /// The name of this node.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where this node listens, where the table says so. The server that serves the node does listen there; the table
    /// does not.
    #[must_use]
    pub fn listen_address(&self) -> Option<&str> {
        self.listen.as_deref()
    }

    /// The other nodes with their addresses, by name.
    pub fn remotes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.remotes.iter().map(|(name, address)| (name.as_str(), address.as_str()))
    }

    /// How often the node looks at its timers, where the table says so.
    #[must_use]
    pub fn tick(&self) -> Option<Duration> {
        self.tick
    }
}

/// The other nodes of a moment.
#[derive(Debug, Default)]
pub(super) struct Remotes {
    by_name: BTreeMap<Box<str>, Arc<RemoteNode>>,
    by_hash: HashMap<u32, Arc<RemoteNode>, foldhash::fast::FixedState>,
}

impl Remotes {
    /// The nodes of the table. One that is in the table before at the same address is the same.
    ///
    /// # Errors
    /// [`Code::InvalidInput`]: a name or an address cannot be one, or two names have the same hash (defect S14).
    pub(super) fn of(table: &ClusterTable, before: &Self, calls: usize) -> Result<Self> {
        let invalid = |text| Status::new(Code::InvalidInput, text);
        let mut all = Self::default();
        for (name, text) in &table.remotes {
            check_name("a node's name", name)?;
            let address: Address =
                text.parse().map_err(|error| invalid(format!("the address of the node {name}: {error}")))?;
            let hash = cluster_hash(name);
            let other = all.by_hash.get(&hash).map(|remote| &*remote.name);
            let own = Some(&*table.name).filter(|own| cluster_hash(own) == hash);
            if let Some(other) = other.or(own) {
                let text = match other == name {
                    true => format!("the node {name} is in its own table"),
                    false => {
                        format!("the nodes {name} and {other} have the same hash; one needs another name")
                    }
                };
                return Err(invalid(text));
            }
            let same = before.by_name.get(name.as_str()).filter(|remote| remote.address == address);
            let remote = same.cloned().unwrap_or_else(|| Arc::new(RemoteNode::new(name, address, calls)));
            all.by_hash.insert(hash, Arc::clone(&remote));
            all.by_name.insert(name.as_str().into(), remote);
        }
        Ok(all)
    }

    pub(super) fn by_name(&self, name: &str) -> Option<&Arc<RemoteNode>> {
        self.by_name.get(name)
    }

    pub(super) fn by_hash(&self, hash: u32) -> Option<&Arc<RemoteNode>> {
        self.by_hash.get(&hash)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<RemoteNode>> {
        self.by_name.values()
    }

    /// Those that are not in the other table.
    pub(super) fn without<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Arc<RemoteNode>> {
        self.all().filter(|remote| !other.all().any(|kept| Arc::ptr_eq(kept, remote)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remotes(table: &ClusterTable) -> Result<Remotes> {
        Remotes::of(table, &Remotes::default(), 1)
    }

    #[test]
    fn the_go_programs_configuration_is_read() {
        let json =
            r#"{"ClusterName":"a","LocalAddr":"h:1","RemoteAddrs":{"b":"h:2"},"TickIntervalMs":10,"X":1}"#;
        let table = ClusterTable::from_json(json).unwrap();
        assert_eq!((table.name(), table.listen_address()), ("a", Some("h:1")));
        assert_eq!(table.remotes().collect::<Vec<_>>(), [("b", "h:2")]);
        assert_eq!(table.tick(), Some(Duration::from_millis(10)));
        assert_eq!(ClusterTable::from_json(r#"{"ClusterName":"a"}"#).unwrap(), ClusterTable::new("a"));
    }

    #[cfg(feature = "config")]
    #[test]
    fn a_section_of_our_own_configuration_is_read() {
        let toml = "[server]\nthreads = 2\n[cluster]\nname = 'a'\nlisten = 'h:1'\ntick_ms = 10\n[cluster.remotes]\nb = 'h:2'";
        let go = r#"{"ClusterName":"a","LocalAddr":"h:1","RemoteAddrs":{"b":"h:2"},"TickIntervalMs":10}"#;
        assert_eq!(ClusterTable::from_toml(toml).unwrap(), ClusterTable::from_json(go).unwrap());
        let table = ClusterTable::from_toml("[cluster]\nname = 'a'").unwrap();
        assert_eq!(table, ClusterTable::new("a"));
        for (toml, what) in [
            ("", "cluster"),
            ("[cluster]", "name"),
            ("[cluster]\nname = 1", "string"),
            ("[cluster]\nname = 'a'\nremote = {}", "remote"),
            ("[cluster", "line 1"),
        ] {
            let status = ClusterTable::from_toml(toml).unwrap_err();
            assert!(
                status.code() == Code::InvalidInput && status.message().contains(what),
                "{toml}: {status}"
            );
        }
    }

    /// S16: what is missing is an error, and nothing is asked of the network.
    #[test]
    fn s16_a_broken_configuration_is_an_error_that_says_what() {
        for (json, what) in [("", "EOF"), ("{}", "ClusterName"), (r#"{"ClusterName":1}"#, "string")] {
            let status = ClusterTable::from_json(json).unwrap_err();
            assert!(status.code() == Code::InvalidInput && status.message().contains(what), "{status}");
        }
        let status = remotes(&ClusterTable::new("a").remote("b", "nowhere")).unwrap_err();
        assert!(status.message().contains("address of the node b"), "{status}");
        assert!(remotes(&ClusterTable::new("a").remote("b/c", "h:1")).is_err());
        let status = remotes(&ClusterTable::new("a").remote("a", "h:1")).unwrap_err();
        assert!(status.message().contains("its own table"), "{status}");
    }

    /// S14: two names of one hash are told as the table is read, not by answers that go elsewhere.
    #[test]
    fn s14_nodes_whose_names_have_the_same_hash_are_refused() {
        let mut seen = std::collections::HashMap::new();
        let pair = (0..1_000_000).find_map(|n| {
            let name = format!("node{n}");
            seen.insert(cluster_hash(&name), name.clone()).map(|other| (other, name))
        });
        let (one, other) = pair.unwrap();
        let both = ClusterTable::new("a").remote(&one, "h:1").remote(&other, "h:2");
        let with_own = ClusterTable::new(&one).remote(&other, "h:2");
        for table in [both, with_own] {
            let status = remotes(&table).unwrap_err();
            assert!(status.message().contains("the same hash"), "{status}");
        }
    }

    #[test]
    fn a_node_that_stays_where_it_is_is_the_same() {
        let table = ClusterTable::new("a").remote("b", "h:1").remote("c", "h:2").remote("d", "h:3");
        let before = remotes(&table).unwrap();
        let table = ClusterTable::new("a").remote("b", "h:1").remote("c", "h:9").remote("e", "h:3");
        let after = Remotes::of(&table, &before, 1).unwrap();
        let names = |remotes: &mut dyn Iterator<Item = &Arc<RemoteNode>>| {
            remotes.map(|remote| remote.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(&mut before.without(&after)), ["c", "d"]);
        assert_eq!(names(&mut after.without(&before)), ["c", "e"]);
    }
}
