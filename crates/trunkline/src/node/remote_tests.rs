//! Typed handles to services of another node, over a way there that is no wire: what they hand to it, and what comes of
//! its answers.
#![allow(clippy::unwrap_used, reason = "tests say so by panicking")]

use std::sync::Mutex;

use super::deliver::Outbound;
use super::*;
use crate::Message as Fields;
use crate::service::BoxFuture;

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, Fields)]
struct Path {
    /// `CLUSTER/ID` of the desks that are still to be asked.
    stops: Vec<String>,
}

#[crate::service(mailbox)]
trait Desk {
    /// Asks the next desk to pass it on, and gives what that gave.
    async fn pass(&self, path: Path) -> Result<Path>;
    async fn hang(&self) -> Result<()>;
}

struct Office;

impl Desk for Office {
    async fn pass(&self, path: Path) -> Result<Path> {
        let Some((next, rest)) = path.stops.split_first() else { return Ok(path) };
        let (cluster, id) = next.split_once('/').unwrap();
        let desk: DeskHandle = Node::current().unwrap().at(cluster, id.parse().unwrap());
        desk.pass(Path { stops: rest.to_vec() }).await
    }

    async fn hang(&self) -> Result<()> {
        std::future::pending().await
    }
}

/// Leads to one other node, through the names of the chain as they would travel.
#[derive(Debug)]
struct Link {
    to: Node,
    seen: Mutex<Vec<(u64, String, bool)>>,
}

impl Link {
    fn note(&self, outbound: &Outbound) {
        let names = outbound.chain.names().join(" ");
        self.seen.lock().unwrap().push((outbound.source, names, outbound.call.context.deadline.is_some()));
    }
}

impl Remote for Link {
    fn notify(&self, outbound: Outbound) -> Result<()> {
        self.note(&outbound);
        let Outbound { service, id, call, .. } = outbound;
        let delivery = Delivery { call, chain: Chain::default(), slot: None };
        self.to.deliver(Destination::Named(&service, id), From::Cluster, delivery)
    }

    fn call(&self, outbound: Outbound) -> BoxFuture<'static> {
        self.note(&outbound);
        let to = self.to.clone();
        Box::pin(async move {
            let names = outbound.chain.names();
            let chain = Chain::from_names(names.iter().map(|name| &**name))?;
            let destination = Destination::Named(&outbound.service, outbound.id);
            to.call_to(destination, From::Cluster, outbound.call, chain).await
        })
    }
}

/// Two nodes that know each other, each with a serial desk 1; and the way from the first to the second.
fn pair() -> (Node, Node, Arc<Link>) {
    let desk = || Mailbox::new(DeskServer::new(Office)).serial();
    let [one, two] = ["one", "two"].map(|name| Node::builder(name).serve(1, desk()).start().unwrap());
    let link = Arc::new(Link { to: two.clone(), seen: Mutex::default() });
    one.attach(Arc::clone(&link) as Arc<dyn Remote>);
    two.attach(Arc::new(Link { to: one.clone(), seen: Mutex::default() }));
    (one, two, link)
}

fn path(stops: &[&str]) -> Path {
    Path { stops: stops.iter().map(|stop| (*stop).to_owned()).collect() }
}

#[tokio::test(start_paused = true)]
async fn a_handle_reaches_another_node() {
    let (one, two, link) = pair();
    let there: DeskHandle = one.at("two", 1);
    assert!(!there.mailbox().is_local() && one.at::<DeskHandle>("one", 1).mailbox().is_local());
    assert_eq!(there.mailbox().name(), "two/Desk/1");
    assert_eq!(there.pass(path(&[])).await.unwrap(), path(&[]));
    there.notify().pass(path(&[])).await.unwrap();
    assert_eq!(*link.seen.lock().unwrap(), [(0, String::new(), true), (0, String::new(), false)]);
    // Both ends know the deadline.
    assert_eq!(there.hang().await.unwrap_err().code(), Code::DeadlineExceeded);
    assert!(
        there.notify().hang().after(Duration::from_secs(1)).is_err() && there.mailbox().stop().await.is_err()
    );
    let status = one.at::<DeskHandle>("two", 9).pass(path(&[])).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::NotFound, "no service Desk/9"));
    let status = one.at::<DeskHandle>("one", 9).pass(path(&[])).await.unwrap_err();
    assert_eq!(status.message(), "no service Desk/9");
    let alone = Node::builder("alone").start().unwrap();
    let status = alone.at::<DeskHandle>("two", 1).pass(path(&[])).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "no node two is known here"));
    assert_eq!(two.find::<DeskHandle>(1).unwrap().mailbox().view().unwrap().handled, 3);
}

#[tokio::test]
async fn a_cycle_across_nodes_fails_at_once() {
    let (one, _two, link) = pair();
    let desk = one.find::<DeskHandle>(1).unwrap();
    let status = desk.pass(path(&["two/1", "one/1"])).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Failed, "cycle: Desk/1 → two/Desk/1 → Desk/1"));
    let source = handle_of("one", "Desk", 1);
    assert_eq!(*link.seen.lock().unwrap(), [(source, "one/Desk/1".to_owned(), true)]);
}
