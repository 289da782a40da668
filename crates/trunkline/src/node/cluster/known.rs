//! What a connection has called before: the names behind handles.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use trunkline_wire::saber::{Handle, Request};

use super::Shared;
use crate::call::Names;
use crate::server::saber::Plain;
use crate::{Code, Name, Result, Status};

/// The most services, and the most methods of each, that a connection remembers.
const MOST: usize = 256;

/// A method of a service.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) names: Names,
    /// As the caller wrote it.
    pub(super) method: Box<[u8]>,
    /// It belongs to a service of the server's, not to a mailbox.
    pub(super) is_plain: bool,
}

/// The methods that were called on a connection, by the handles of their services.
#[derive(Debug, Default)]
pub(super) struct KnownMethods(HashMap<u64, Vec<Arc<Known>>, FixedState>);

impl KnownMethods {
    /// The service and the method that are called.
    ///
    /// # Errors
    /// [`Code::NotFound`]: nobody has this handle, or a service without a mailbox no such method. (That a mailbox service
    /// has the method is looked at where the call is delivered.) [`Code::Unauthenticated`]: the server asks for a token.
    pub(super) fn find(
        &mut self,
        shared: &Shared,
        plain: &dyn Plain,
        request: &Request<'_>,
    ) -> Result<Arc<Known>> {
        let handle = request.destination.0;
        let methods = self.0.get(&handle);
        let found = methods.and_then(|all| all.iter().find(|known| *known.method == *request.method));
        if let Some(known) = found {
            return Ok(Arc::clone(known));
        }
        let known = Arc::new(look_up(shared, plain, request)?);
        if self.0.len() >= MOST {
            self.0.clear();
        }
        let methods = self.0.entry(handle).or_default();
        // Names that no service has are as many as a caller likes.
        if methods.len() < MOST {
            methods.push(Arc::clone(&known));
        }
        Ok(known)
    }
}

#[cold]
fn look_up(shared: &Shared, plain: &dyn Plain, request: &Request<'_>) -> Result<Known> {
    let destination = request.destination;
    let method = String::from_utf8_lossy(request.method).into_owned();
    let known = |service: Name, is_plain| Known {
        names: Names::new(service, method.clone().into()),
        method: request.method.into(),
        is_plain,
    };
    if let Some(service) = shared.service_name(destination) {
        if plain.asks_for_token() {
            let text = "invalid token: the saber wire carries none, and this server asks for one";
            return Err(Status::new(Code::Unauthenticated, text).not_begun());
        }
        return Ok(known(service, false));
    }
    let node = shared.node_name();
    let is = |name: &str| Handle::new(node, name, 1) == destination;
    let text = match plain.find(&is, request.method) {
        Some((service, true)) => return Ok(known(service, true)),
        Some((_, false)) => format!("unknown rpc func {method}"),
        None => format!("no service of the node {node} has the handle {destination}"),
    };
    Err(Status::new(Code::NotFound, text).not_begun())
}
