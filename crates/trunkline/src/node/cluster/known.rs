//! What a connection has called before: the methods behind handles and names.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use trunkline_wire::saber::{Handle, Request};

use super::Shared;
use crate::call::Names;
use crate::node::{Deliver, Destination, From as Origin, unknown_method};
use crate::server::saber::Plain;
use crate::{Code, MethodId, Name, Result, Status};

/// The most methods that a connection remembers; then it begins anew.
const MOST: usize = 4096;

/// A method of a service.
pub(super) struct Known {
    pub(super) names: Names,
    /// As the caller wrote it.
    pub(super) method: Box<[u8]>,
    pub(super) place: Place,
}

/// Who answers calls of a method.
pub(super) enum Place {
    Mailbox(Arc<dyn Deliver>, MethodId),
    /// A service of the server's.
    Plain,
}

/// The methods that were called on a connection, by the handles of their services.
#[derive(Default)]
pub(super) struct KnownMethods {
    all: Vec<Arc<Known>>,
    /// Their places in `all` by the handles of their services.
    places: HashMap<u64, Vec<usize>, FixedState>,
    /// Which services the node had: with others all is looked up again.
    version: u64,
}

impl KnownMethods {
    /// The service and the method that are called.
    ///
    /// # Errors
    /// [`Code::NotFound`]: nobody has this handle, or the service no such method. [`Code::Unauthenticated`]: the server
    /// asks for a token.
    pub(super) fn find(
        &mut self,
        shared: &Shared,
        plain: &dyn Plain,
        request: &Request<'_>,
    ) -> Result<&Arc<Known>> {
        let version = shared.node.0.services.version();
        if self.version != version {
            self.forget();
            self.version = version;
        }
        let handle = request.destination.0;
        let is_it = |place: &&usize| self.all.get(**place).is_some_and(|it| *it.method == *request.method);
        let known = self.places.get(&handle).and_then(|places| places.iter().find(is_it)).copied();
        let place = match known {
            Some(place) => place,
            None => {
                let known = Arc::new(look_up(shared, plain, request)?);
                // A name may be written in as many ways as it has letters, twice over.
                if self.all.len() >= MOST {
                    self.forget();
                }
                self.places.entry(handle).or_default().push(self.all.len());
                self.all.push(known);
                self.all.len() - 1
            }
        };
        self.all.get(place).ok_or_else(|| Status::new(Code::Internal, "a method was forgotten"))
    }

    fn forget(&mut self) {
        self.places.clear();
        self.all.clear();
    }
}

#[cold]
fn look_up(shared: &Shared, plain: &dyn Plain, request: &Request<'_>) -> Result<Known> {
    let destination = request.destination;
    let method = String::from_utf8_lossy(request.method);
    let known = |service: Name, name: Name, place| Known {
        names: Names::new(service, name),
        method: request.method.into(),
        place,
    };
    if let Some(service) = shared.node.0.services.find(Destination::Handle(destination.0)) {
        if plain.asks_for_token() {
            let text = "invalid token: the saber wire carries none, and this server asks for one";
            return Err(Status::new(Code::Unauthenticated, text).not_begun());
        }
        let id = service.method(&method).ok_or_else(|| unknown_method(&method, Origin::Cluster))?;
        let name = service.methods().get(id.index()).copied().unwrap_or_default();
        let names = (service.identity().name_shared(), Name::from_static(name));
        return Ok(known(names.0, names.1, Place::Mailbox(service, id)));
    }
    let node = shared.node_name();
    let is = |name: &str| Handle::new(node, name, 1) == destination;
    let text = match plain.find(&is, request.method) {
        Some((service, true)) => return Ok(known(service, method.into_owned().into(), Place::Plain)),
        Some((_, false)) => format!("unknown rpc func {method}"),
        None => format!("no service of the node {node} has the handle {destination}"),
    };
    Err(Status::new(Code::NotFound, text).not_begun())
}
