//! The services of a node, by handle, by name and number.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hashbrown::HashMap;

use super::deliver::{Deliver, Destination};
use crate::{Code, Result, Status};

/// The services of a node.
#[derive(Default)]
pub(crate) struct Registry {
    tables: RwLock<Tables>,
    /// Counts changes: whoever keeps a service that was found looks again after one.
    version: AtomicU64,
}

#[derive(Default)]
struct Tables {
    by_handle: HashMap<u64, Arc<dyn Deliver>>,
    by_name: BTreeMap<Box<str>, BTreeMap<u32, u64>>,
}

impl Registry {
    /// Adds a service.
    ///
    /// # Errors
    /// [`Code::InvalidInput`]: its handle is taken, by a service of the same name and number or by one whose name has
    /// the same hash (defect S14).
    pub(crate) fn add(&self, service: Arc<dyn Deliver>) -> Result<()> {
        let identity = service.identity().clone();
        let mut tables = self.write();
        if let Some(other) = tables.by_handle.get(&identity.handle()) {
            let text = match other.identity() {
                other if *other == identity => format!("the service {identity} is there already"),
                other => {
                    format!("{identity} and {other} have the same handle; give one of them another number")
                }
            };
            return Err(Status::new(Code::InvalidInput, text));
        }
        tables.by_name.entry(identity.name().into()).or_default().insert(identity.id(), identity.handle());
        tables.by_handle.insert(identity.handle(), service);
        self.version.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Takes a service out, so that its name and number are free again.
    pub(crate) fn remove(&self, name: &str, id: u32) -> Option<Arc<dyn Deliver>> {
        let mut tables = self.write();
        let ids = tables.by_name.get_mut(name)?;
        let handle = ids.remove(&id)?;
        if ids.is_empty() {
            tables.by_name.remove(name);
        }
        self.version.fetch_add(1, Ordering::Release);
        tables.by_handle.remove(&handle)
    }

    /// Which services there are: another number where one came or went.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The service that a frame or a caller means.
    pub(crate) fn find(&self, destination: Destination<'_>) -> Option<Arc<dyn Deliver>> {
        let tables = self.read();
        let handle = match destination {
            Destination::Handle(handle) => handle,
            Destination::Named(name, id) => *tables.by_name.get(name)?.get(&id)?,
        };
        tables.by_handle.get(&handle).cloned()
    }

    /// All services of a name, by their numbers.
    pub(crate) fn named(&self, name: &str) -> Vec<Arc<dyn Deliver>> {
        let tables = self.read();
        let ids = tables.by_name.get(name).into_iter().flat_map(BTreeMap::values);
        ids.filter_map(|handle| tables.by_handle.get(handle).cloned()).collect()
    }

    /// All services, by name and number.
    pub(crate) fn all(&self) -> Vec<Arc<dyn Deliver>> {
        let tables = self.read();
        let handles = tables.by_name.values().flat_map(BTreeMap::values);
        handles.filter_map(|handle| tables.by_handle.get(handle).cloned()).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nobody of this name or handle is in the node.
pub(crate) fn unknown(destination: Destination<'_>) -> Status {
    let text = match destination {
        Destination::Handle(handle) => format!("no service has the handle {handle:016x}"),
        Destination::Named(name, id) => format!("no service {name}/{id}"),
    };
    Status::new(Code::NotFound, text).not_begun()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::core::Core;
    use crate::node::mailbox::Shared;
    use crate::node::{Identity, Message, Mode, Overflow};

    enum Nothing {}

    impl Message for Nothing {
        fn is_notify(&self) -> bool {
            match *self {}
        }
    }

    fn nobody(name: &str, id: u32) -> Arc<dyn Deliver> {
        let node = crate::node::Inner::without_tasks("c");
        let identity = Identity::new("c", name.into(), id).unwrap();
        let core = Core::new(identity, node, Mode::Serial, 1);
        Arc::new(Shared::<Nothing>::new(core, Overflow::Refuse, &[]))
    }

    #[test]
    fn services_are_found_by_handle_and_name() {
        let registry = Registry::default();
        for (name, id) in [("lobby", 102), ("lobby", 101), ("gate", 1)] {
            registry.add(nobody(name, id)).unwrap();
        }
        let lobby = registry.find(Destination::Named("lobby", 101)).unwrap();
        let again = registry.find(Destination::Handle(lobby.identity().handle())).unwrap();
        assert_eq!(again.identity().to_string(), "lobby/101");
        let all: Vec<_> = registry.all().iter().map(|service| service.identity().to_string()).collect();
        assert_eq!(all, ["gate/1", "lobby/101", "lobby/102"]);
        assert_eq!(registry.named("lobby").len(), 2);
        assert!(registry.remove("lobby", 101).is_some() && registry.remove("lobby", 101).is_none());
        assert!(registry.find(Destination::Named("lobby", 101)).is_none());
        registry.add(nobody("lobby", 101)).unwrap();
    }

    /// S14: two names of the same hash are told apart as the second one starts, and not by wrong answers.
    #[test]
    fn s14_a_collision_is_found_at_the_start() {
        let name = |number: u32| format!("{:x}", number.wrapping_mul(0x9e37_79b1));
        let mut seen = std::collections::HashMap::new();
        let pair = (0..1_000_000).find_map(|number| {
            let other = seen.insert(crate::node::identity::handle_of("c", &name(number), 1), number)?;
            Some((name(other), name(number)))
        });
        let (one, other) = pair.unwrap();
        let registry = Registry::default();
        registry.add(nobody(&one, 1)).unwrap();
        let status = registry.add(nobody(&other, 1)).unwrap_err();
        assert!(status.message().contains("the same handle"), "{status}");
        let status = registry.add(nobody(&one, 1)).unwrap_err();
        assert!(status.message().contains("is there already"), "{status}");
    }
}
