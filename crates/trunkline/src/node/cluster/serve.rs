//! Connections of a server that speak saber, on the runtime of their node.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::Cluster;
use super::one_way::OneWay;
use super::role::Peer;
use super::view::ViewService;
use crate::NamedService;
use crate::describe::ServiceInfo;
use crate::net::driver::{Connection, Patience};
use crate::server::ServerBuilder;
use crate::server::saber::{Accepted, Saber};
use crate::server::serve::log_close;
use crate::service::DynService;

/// How long answers that are ready may take to leave when the server stops.
const LEAVING: Duration = Duration::from_secs(1);

impl<L> ServerBuilder<L> {
    /// Serves the mailbox services of a node, too: to other nodes, which speak saber. The services of the server itself
    /// are reached there as `Name/1`, where no mailbox service has that name.
    pub fn cluster(self, cluster: &Cluster) -> Self {
        self.saber(Arc::new(cluster.clone()))
    }
}

impl Saber for Cluster {
    fn serve(&self, accepted: Accepted) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let shared = Arc::clone(&self.0);
        let serve = async move {
            let stream = match accepted.stream.into_stream() {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(peer = %accepted.info.peer, %error, "an accepted connection was lost");
                    return;
                }
            };
            let info = Arc::clone(&accepted.info);
            let first = accepted.first;
            let role = Peer::<true>::accepted(shared, accepted.info, accepted.plain, accepted.drain);
            let stream = OneWay::new(stream);
            let close = Connection::new(stream, role, &Patience::USUAL, first).run().await;
            log_close(&info, &close);
        };
        // Before anything is awaited: who drops the future cuts the connection off.
        let task = Task(self.0.runtime.spawn(serve));
        Box::pin(async move {
            let mut task = task;
            let _ = (&mut task.0).await;
        })
    }

    fn view(&self, token: bool) -> (ServiceInfo, Box<dyn DynService>) {
        let service = ViewService { cluster: self.clone(), token };
        (service.describe(), Box::new(service))
    }

    fn stop(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(Cluster::stop(self, LEAVING))
    }
}

/// A task that ends with whoever waits for it.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
