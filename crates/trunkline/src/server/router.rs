//! From names to methods.

use hashbrown::{Equivalent, HashMap};
use std::future::Future;
use std::hash::{Hash, Hasher};

use trunkline_wire::netrpc::NetRpc;
use trunkline_wire::{CallHead, Session as _};

use crate::asked;
use crate::call::Names;
use crate::describe::{MethodInfo, ServiceInfo};
use crate::service::{Answer, DynService, NamedService, ReplyBuf, Request, Service};
use crate::{Asked, Call, Code, MethodId, Name, Reply, Result, Status};

/// Finds the method of a call and hands the call on. It is the one place where the types of services are erased,
/// since a server holds different ones.
#[derive(Default)]
pub struct Router {
    services: Vec<(ServiceInfo, Box<dyn DynService>)>,
    methods: Vec<Route>,
    /// Places in `methods`.
    exact: HashMap<Key, u32, foldhash::fast::FixedState>,
    lowered: HashMap<Key, u32, foldhash::fast::FixedState>,
    /// Some method streams.
    streams: bool,
}

/// What the router knows of a method before the call is made.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) id: MethodId,
    pub(crate) names: Names,
    pub(crate) in_place: bool,
    pub(crate) spawned: bool,
    /// Somebody may look at the connection that a call came by.
    pub(crate) context: bool,
}

/// What the names of a call have found. It is small: what is returned for every call travels in registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// The method's place in the server's table.
    pub(crate) place: u32,
    /// The names are the method's own, letter by letter.
    pub(crate) exact: bool,
}

/// The method that a connection called last, by its exact names.
#[derive(Debug)]
pub(crate) struct Last {
    place: u32,
    /// How long the service's name is.
    service: u32,
    /// Both names, in one allocation: an idle connection has to be small.
    names: Box<[u8]>,
}

impl Last {
    #[inline]
    fn is(&self, service: &[u8], method: &[u8]) -> bool {
        let split = usize::try_from(self.service).unwrap_or(usize::MAX);
        self.names.split_at_checked(split).is_some_and(|(s, m)| *m == *method && *s == *service)
    }
}

#[derive(PartialEq, Eq)]
struct Key {
    service: Box<[u8]>,
    method: Box<[u8]>,
}

#[derive(Clone, Copy)]
struct KeyRef<'a> {
    service: &'a [u8],
    method: &'a [u8],
}

// The table holds names of this program only, so no peer can choose what collides in it.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        KeyRef { service: &self.service, method: &self.method }.hash(state);
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.service);
        state.write_u8(b'.');
        state.write(self.method);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self.method == *key.method && *self.service == *key.service
    }
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.services.iter().map(|(info, _)| &info.name)).finish()
    }
}

impl Router {
    /// Adds a service under the name that it gives itself.
    ///
    /// # Errors
    /// A service of that name is there already, or the server has 65,536 services or the service as many methods.
    pub fn add<S: NamedService>(&mut self, service: S) -> Result<(), DuplicateService> {
        let info = service.describe();
        self.add_described(info, Box::new(service))
    }

    pub(crate) fn add_described(
        &mut self,
        info: ServiceInfo,
        service: Box<dyn DynService>,
    ) -> Result<(), DuplicateService> {
        let duplicate = || DuplicateService(info.name.to_string());
        if self.services.iter().any(|(other, _)| other.name == info.name) && !info.is_paths() {
            return Err(duplicate());
        }
        let taken = |path: &MethodInfo| self.find(b"", path.name.as_bytes()).is_some();
        if let Some(path) = info.methods.iter().find(|path| info.is_paths() && taken(path)) {
            return Err(DuplicateService(path.name.to_owned()));
        }
        let number = u16::try_from(self.services.len()).map_err(|_| duplicate())?;
        for (index, method) in info.methods.iter().enumerate() {
            let id = MethodId {
                service: number,
                method: u16::try_from(index).map_err(|_| duplicate())?,
                flat: u32::try_from(self.methods.len()).map_err(|_| duplicate())?,
            };
            self.methods.push(Route {
                id,
                names: Names::new(info.name.clone(), Name::from_static(method.name)),
                in_place: method.in_place,
                spawned: method.spawned,
                context: method.context,
            });
            self.exact.insert(Key::new(&info.name, method.name), id.flat);
            if info.is_paths() {
                continue;
            }
            let lowered = Key::new(&info.name.to_ascii_lowercase(), &method.name.to_ascii_lowercase());
            self.lowered.entry(lowered).or_insert(id.flat);
        }
        self.streams |= info.methods.iter().any(|method| method.takes_stream || method.gives_stream);
        self.services.push((info, service));
        Ok(())
    }

    /// Calls of this path are calls of the method; whether there is such a method, and the path was free.
    pub(crate) fn add_path(&mut self, path: &str, service: &str, method: &str) -> bool {
        let found = self.exact.get(&KeyRef { service: service.as_bytes(), method: method.as_bytes() });
        let Some(place) = found.copied() else { return false };
        path.starts_with('/') && self.exact.insert(Key::new("", path), place).is_none()
    }

    /// There are layers that may look at the connection of any call.
    pub(crate) fn keep_connections(&mut self) {
        for route in &mut self.methods {
            route.context = true;
        }
    }

    /// Exact names first, then ASCII letters of any case.
    pub(crate) fn find(&self, service: &[u8], method: &[u8]) -> Option<Found> {
        if let Some(place) = self.exact.get(&KeyRef { service, method }) {
            return Some(Found { place: *place, exact: true });
        }
        if service.is_empty() {
            return None;
        }
        let (service, method) = (service.to_ascii_lowercase(), method.to_ascii_lowercase());
        let place = self.lowered.get(&KeyRef { service: &service, method: &method })?;
        Some(Found { place: *place, exact: false })
    }

    /// The method that was found.
    #[inline]
    pub(crate) fn route(&self, found: Found) -> Option<&Route> {
        self.methods.get(usize::try_from(found.place).ok()?)
    }

    /// As [`find`](Router::find), with the method.
    pub(crate) fn find_route(&self, service: &[u8], method: &[u8]) -> Option<&Route> {
        self.find(service, method).and_then(|found| self.route(found))
    }

    /// As [`find`](Router::find), looking first at the method that was found last: mostly it is called again.
    #[inline]
    pub(crate) fn find_again(&self, last: &mut Option<Last>, head: &CallHead<'_>) -> Option<Found> {
        match last {
            Some(last) if head.again || last.is(head.service, head.method) => {
                Some(Found { place: last.place, exact: true })
            }
            _ => self.find_first(last, head),
        }
    }

    #[cold]
    fn find_first(&self, last: &mut Option<Last>, head: &CallHead<'_>) -> Option<Found> {
        let (service, method) = (head.service, head.method);
        // Whatever else is called is not the method that was called last any more.
        *last = None;
        let found = self.find(service, method)?;
        if found.exact
            && let Ok(length) = u32::try_from(service.len())
        {
            let names = [service, method].concat().into();
            *last = Some(Last { place: found.place, service: length, names });
        }
        Some(found)
    }

    /// The names of a method.
    pub(crate) fn names(&self, id: MethodId) -> Option<&Names> {
        self.methods.get(usize::try_from(id.flat).ok()?).map(|route| &route.names)
    }

    /// Whether any method streams: where none does, nobody has to look.
    #[cfg(feature = "http")]
    pub(crate) fn has_streams(&self) -> bool {
        self.streams
    }

    /// What a method says of itself.
    #[cfg(feature = "http")]
    pub(crate) fn describe(&self, service: &[u8], method: &[u8]) -> Option<&MethodInfo> {
        let route = self.find_route(service, method)?;
        let (info, _) = self.services.get(usize::from(route.id.service))?;
        info.methods.get(usize::from(route.id.method))
    }

    /// Whether a method takes and gives bodies of any kind.
    #[cfg(feature = "http")]
    pub(crate) fn is_untyped(&self, service: &[u8], method: &[u8]) -> bool {
        let method = self.describe(service, method);
        method.is_some_and(|method| method.request.is_none() && method.reply.is_none())
    }

    /// How many methods there are.
    #[must_use]
    pub fn method_count(&self) -> usize {
        self.methods.len()
    }

    /// All services that have a name, in the order in which they were added.
    pub fn services(&self) -> impl Iterator<Item = &ServiceInfo> {
        self.services.iter().map(|(info, _)| info).filter(|info| !info.is_paths())
    }

    /// All methods by their place in the tables, with the service of each.
    pub fn methods(&self) -> impl Iterator<Item = (&ServiceInfo, &MethodInfo)> {
        self.methods.iter().filter_map(|Route { id, .. }| {
            let (info, _) = self.services.get(usize::from(id.service))?;
            Some((info, info.methods.get(usize::from(id.method))?))
        })
    }

    /// The failure of a call to a name that is not here. Go's clients match on these texts.
    fn unknown(&self, call: &Call) -> Status {
        let (service, method) = (call.service(), call.method());
        let known = self.services.iter().any(|(info, _)| info.name.eq_ignore_ascii_case(service));
        let text = match (call.context().wire() == NetRpc::NAME, known) {
            (false, true) => format!("rpcx: can't find method {method}"),
            (false, false) => format!("rpcx: can't find service {service}"),
            (true, true) => format!("rpc: can't find method {service}.{method}"),
            (true, false) => format!("rpc: can't find service {service}.{method}"),
        };
        Status::new(Code::NotFound, text).not_begun()
    }
}

impl Key {
    fn new(service: &str, method: &str) -> Self {
        Self { service: service.as_bytes().into(), method: method.as_bytes().into() }
    }
}

impl Service for Router {
    fn call(&self, call: Call) -> impl Future<Output = Result<Reply>> + Send {
        asked::call(self, call)
    }

    #[inline]
    fn start<'a>(&'a self, asked: &mut Asked<'_, 'a>) {
        let call = &mut asked.call;
        if call.method.is_none() {
            let found = self.find_route(call.service().as_bytes(), call.method().as_bytes());
            call.method = found.map(|route| route.id);
        }
        let service = call.method.and_then(|id| self.services.get(usize::from(id.service)));
        match service {
            // Through the box: a box of a service is a service too.
            Some((_, service)) => (**service).start_dyn(asked),
            None => {
                let status = self.unknown(call);
                asked.end(Err(status));
            }
        }
    }

    fn answer(&self, request: &Request<'_>, reply: &mut ReplyBuf<'_>) -> Answer {
        match self.services.get(usize::from(request.method.service)) {
            Some((_, service)) => (**service).answer_dyn(request, reply),
            None => Answer::Declined,
        }
    }
}

/// Two services of one name cannot be told apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a service named {0} is there already, or there are too many")]
pub struct DuplicateService(pub String);
