//! What a mailbox service is called by, whether it is in this node or in another one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use trunkline_wire::Serialization;

use super::deliver::{Deliver, Destination, Outbound, Remote, nowhere};
use super::mailbox::{Message, Shared};
use super::registry::unknown;
use super::view::ServiceView;
use super::{Chain, Inner, current};
use crate::{Body, Call, Code, Name, Result, Status};

/// What a mailbox service is called by. Typed handles (`LobbyHandle`) stand around one; a clone is the same.
pub struct Handle<M>(pub(super) Target<M>);

pub(super) enum Target<M> {
    Local(Arc<Shared<M>>),
    Remote(Arc<Elsewhere>),
}

/// A service of another node.
pub(super) struct Elsewhere {
    pub(super) node: Arc<Inner>,
    pub(super) cluster: Name,
    pub(super) service: Name,
    pub(super) id: u32,
    pub(super) serialization: Serialization,
}

impl<M> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Target::Local(shared) => Target::Local(Arc::clone(shared)),
            Target::Remote(elsewhere) => Target::Remote(Arc::clone(elsewhere)),
        })
    }
}

impl<M> fmt::Debug for Handle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Target::Local(shared) => write!(f, "Handle({})", shared.core.identity),
            Target::Remote(elsewhere) => write!(f, "Handle({})", elsewhere.name()),
        }
    }
}

impl<M: Message> Handle<M> {
    /// Its name and number, `lobby/101`; of a service of another node with that one's name before it.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.0 {
            Target::Local(shared) => shared.core.identity.to_string(),
            Target::Remote(elsewhere) => elsewhere.name(),
        }
    }

    /// Whether the service is in this node.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self.0, Target::Local(_))
    }

    /// The same handle, whose calls to another node are serialised this way; JSON unless said otherwise. Within a node
    /// nothing is serialised.
    #[must_use]
    pub fn serialization(self, serialization: Serialization) -> Self {
        match self.0 {
            Target::Remote(elsewhere) => Self(Target::Remote(Arc::new(elsewhere.with(serialization)))),
            local @ Target::Local(_) => Self(local),
        }
    }

    /// Stops the service: it takes no more messages, handles those that wait, and ends; at the latest when its grace is
    /// over. Then its name and number are free.
    ///
    /// # Errors
    /// [`Code::Unsupported`] for a service of another node.
    pub async fn stop(&self) -> Result<()> {
        let stopped = self.local()?.stop();
        // A service that is gone answers no more, and that is what is waited for.
        drop(stopped.await);
        Ok(())
    }

    /// Makes a supervised service anew, when the handlers that have begun have ended. What waits in the mailbox waits on.
    ///
    /// # Errors
    /// [`Code::Unsupported`] for a service that is not supervised, or one of another node; [`Code::Unavailable`] for
    /// one that stops.
    pub async fn restart(&self) -> Result<()> {
        let shared = self.local()?;
        let done = shared.restart();
        done.await.unwrap_or_else(|_| Err(shared.core.stopped()))
    }

    /// Its figures; none of a service of another node. What its handlers do is in [`Node::view`](super::Node::view).
    #[must_use]
    pub fn view(&self) -> Option<ServiceView> {
        self.local().ok().map(|shared| shared.view())
    }

    fn local(&self) -> Result<&Arc<Shared<M>>> {
        match &self.0 {
            Target::Local(shared) => Ok(shared),
            Target::Remote(elsewhere) => {
                let text = format!("{} is in another node, which alone can do that", elsewhere.name());
                Err(Status::new(Code::Unsupported, text).not_begun())
            }
        }
    }

    pub(super) fn call_timeout(&self) -> Duration {
        match &self.0 {
            Target::Local(shared) => shared.core.node.call_timeout,
            Target::Remote(elsewhere) => elsewhere.node.call_timeout,
        }
    }
}

impl Elsewhere {
    pub(super) fn name(&self) -> String {
        format!("{}/{}/{}", self.cluster, self.service, self.id)
    }

    fn with(&self, serialization: Serialization) -> Self {
        Self {
            node: Arc::clone(&self.node),
            cluster: self.cluster.clone(),
            service: self.service.clone(),
            id: self.id,
            serialization,
        }
    }

    /// The way there.
    pub(super) fn remote(&self) -> Result<&Arc<dyn Remote>> {
        if *self.cluster == *self.node.name {
            // It was not in this node when the handle was made.
            return Err(unknown(Destination::Named(&self.service, self.id)));
        }
        self.node.remote.get().ok_or_else(|| nowhere(&self.cluster))
    }

    pub(super) fn outbound(&self, method: &'static str, body: Body, chain: Chain) -> Outbound {
        Outbound {
            source: current::with(|service| service.map_or(0, |service| service.identity.handle())),
            cluster: self.cluster.clone(),
            service: self.service.clone(),
            id: self.id,
            call: Call::new(self.service.clone(), Name::from_static(method), self.serialization, body),
            chain,
        }
    }

    /// The failure of an argument that cannot be serialised.
    pub(super) fn unsaid(&self, method: &str, error: &crate::codec::Error) -> Status {
        let code = if error.is_unsupported() { Code::Unsupported } else { Code::InvalidInput };
        Status::new(code, format!("the argument of {}.{method}: {error}", self.name())).not_begun()
    }
}
