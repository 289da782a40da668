//! The seam to a node of mailbox services: connections that speak saber are handed to it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;

use super::Core;
use super::drain::DrainWatch;
use crate::context::ConnectionInfo;
use crate::describe::ServiceInfo;
use crate::net::transport::{Stream, Unwatched};
use crate::push::PushQueue;
use crate::service::{BoxFuture, DynService};
use crate::{Call, Code, Name, Peer, Service, Status};

/// Serves connections that speak saber.
pub(crate) trait Saber: fmt::Debug + Send + Sync {
    /// Serves one to its end; dropping the future cuts it off.
    fn serve(&self, accepted: Accepted) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// What says how the node is; `token`: every caller has shown one before.
    fn view(&self, token: bool) -> (ServiceInfo, Box<dyn DynService>);

    /// The server has stopped: all that was answered leaves, and the connections to other nodes end.
    fn stop(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// A connection whose first bytes are saber's.
pub(crate) struct Accepted {
    pub(crate) stream: Unwatched,
    pub(crate) first: Bytes,
    pub(crate) info: Arc<ConnectionInfo>,
    pub(crate) plain: Arc<dyn Plain>,
    pub(crate) drain: DrainWatch,
}

/// The services of the server that have no mailbox.
pub(crate) trait Plain: Send + Sync {
    /// The name of the service that is meant, by what tells it, and whether it has this method.
    fn find(&self, is: &dyn Fn(&str) -> bool, method: &[u8]) -> Option<(Name, bool)>;

    /// Answers a call through all that stands around services.
    fn call(&self, call: Call) -> BoxFuture<'static>;

    /// Whether callers have to show a token.
    fn asks_for_token(&self) -> bool;
}

struct Services<S>(Arc<Core<S>>);

impl<S: Service> Plain for Services<S> {
    fn find(&self, is: &dyn Fn(&str) -> bool, method: &[u8]) -> Option<(Name, bool)> {
        let service = self.0.router.services().find(|service| is(&service.name))?;
        let has = self.0.router.find(service.name.as_bytes(), method).is_some();
        Some((service.name.clone(), has))
    }

    fn call(&self, call: Call) -> BoxFuture<'static> {
        let core = Arc::clone(&self.0);
        // Calls are bounded by their connection; those that nobody waits for are by the server, as on other wires.
        let place = call.is_one_way().then(|| Arc::clone(&core.outliving).try_acquire_owned());
        if let Some(Err(_)) = place {
            let status = Status::new(Code::Limited, "too many one-way calls are under way").not_begun();
            return Box::pin(std::future::ready(Err(status)));
        }
        Box::pin(async move {
            let _place = place;
            // A server that stops waits for the call.
            let _watch = core.drain.watch();
            core.stack.call(call).await
        })
    }

    fn asks_for_token(&self) -> bool {
        self.0.sys.asks_for_token()
    }
}

/// Hands a connection over.
pub(super) async fn serve<S: Service>(
    saber: Arc<dyn Saber>,
    core: Arc<Core<S>>,
    stream: Stream,
    peer: Peer,
    first: Bytes,
) {
    let stream = match stream.unwatched() {
        Ok(stream) => stream,
        Err(error) => {
            tracing::warn!(%peer, %error, "a connection was lost on its way to the node");
            return;
        }
    };
    let info = Arc::new(ConnectionInfo {
        peer,
        wire: trunkline_wire::saber::NAME,
        can_push: false,
        can_resume: false,
        leaving: AtomicBool::new(false),
        pushes: PushQueue::open(),
    });
    let drain = core.drain.watch();
    let plain = Arc::new(Services(core));
    saber.serve(Accepted { stream, first, info, plain, drain }).await;
}
