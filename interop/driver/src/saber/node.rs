//! Our node: the same services as the Go node has.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use trunkline::node::{Cluster, ClusterTable, Node, State};
use trunkline::server::RunningServer;
use trunkline::{Bytes, Call, Message, Result, Serialization, Server, Service, Status, service};

use crate::suite::{Check, Told};

#[derive(Debug, Clone, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Login {
    gid: u64,
    name: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
pub(super) struct LoggedIn {
    status: i64,
}

#[service(mailbox, name = "lobby")]
pub(super) trait Lobby {
    async fn req_login(&self, player: Login) -> Result<LoggedIn>;
    async fn echo(&self, json: Bytes) -> Result<Bytes>;
    async fn fail(&self, text: Bytes) -> Result<Bytes>;
    async fn panic(&self, any: Bytes) -> Result<Bytes>;
    async fn wait(&self, millis: Bytes) -> Result<Bytes>;
    async fn big(&self, length: Bytes) -> Result<Bytes>;
}

struct Open;

fn number(json: &Bytes) -> Result<u64> {
    serde_json::from_slice(json).map_err(|error| Status::failed(error.to_string()))
}

impl Lobby for Open {
    async fn req_login(&self, player: Login) -> Result<LoggedIn> {
        if player.gid == 0 || player.name.is_empty() {
            return Err(Status::failed("no Gid or no Name"));
        }
        Ok(LoggedIn { status: 200 })
    }

    async fn echo(&self, json: Bytes) -> Result<Bytes> {
        Ok(json)
    }

    async fn fail(&self, text: Bytes) -> Result<Bytes> {
        let text: String =
            serde_json::from_slice(&text).map_err(|error| Status::failed(error.to_string()))?;
        Err(Status::failed(text))
    }

    #[expect(clippy::panic, reason = "the cases want one")]
    async fn panic(&self, _: Bytes) -> Result<Bytes> {
        panic!("as it was told")
    }

    async fn wait(&self, millis: Bytes) -> Result<Bytes> {
        tokio::time::sleep(Duration::from_millis(number(&millis)?)).await;
        Ok(millis)
    }

    async fn big(&self, length: Bytes) -> Result<Bytes> {
        let length = usize::try_from(number(&length)?).unwrap_or(0);
        Ok(format!("\"{}\"", "b".repeat(length)).into())
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
pub(super) struct More {
    pub(super) n: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Sum {
    total: i64,
}

#[service(mailbox)]
pub(super) trait Count {
    async fn add(&self, more: More) -> Result<Sum>;
}

#[derive(Default)]
struct Counter(State<i64>);

impl Count for Counter {
    async fn add(&self, more: More) -> Result<Sum> {
        Ok(Sum {
            total: self.0.with(|total| {
                *total += more.n;
                *total
            }),
        })
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, Message)]
pub(super) struct Whom {
    pub(super) node: String,
}

/// Tells another node's counter of a tick.
#[service(mailbox)]
pub(super) trait Ticker {
    async fn tick(&self, whom: Whom) -> Result<()>;
}

struct Telling(Arc<OnceLock<Cluster>>);

impl Ticker for Telling {
    async fn tick(&self, whom: Whom) -> Result<()> {
        let Some(cluster) = self.0.get() else { return Ok(()) };
        let call = Call::new("Count", "Add", Serialization::Json, r#"{"N":1}"#).one_way();
        cluster.service(&whom.node, "Count", 1).call(call).await.map(drop)
    }
}

/// One of our nodes.
pub(super) struct OurNode {
    pub(super) name: &'static str,
    pub(super) cluster: Cluster,
    pub(super) ticker: TickerHandle,
    pub(super) address: String,
    _server: RunningServer,
}

impl OurNode {
    pub(super) async fn start(name: &'static str) -> Check<Self> {
        let node = Node::builder(name).start().told(name)?;
        for id in 101..=104 {
            node.serve(id, LobbyServer::new(Open)).told("lobby")?;
        }
        node.serve(1, CountServer::new(Counter::default())).told("Count")?;
        let own = Arc::<OnceLock<Cluster>>::default();
        let ticker = node.serve(1, TickerServer::new(Telling(Arc::clone(&own)))).told("Ticker")?;
        let cluster = Cluster::start(&node, &ClusterTable::new(name)).told("cluster")?;
        let _ = own.set(cluster.clone());
        let server =
            Server::builder().cluster(&cluster).listen("127.0.0.1:0").start().await.told("server")?;
        let address = server.addresses().first().cloned().unwrap_or_default();
        Ok(Self { name, cluster, ticker, address, _server: server })
    }
}
