//! What runs on this thread: whose handler, and for which call. A call that the handler makes asks here.

use std::cell::RefCell;
use std::sync::Arc;

use tokio::time::Instant;

use super::chain::Chain;
use super::core::Core;
use crate::Result;

thread_local! {
    static CURRENT: RefCell<Current> = const { RefCell::new(Current { service: None, scope: Scope::NONE, waits_for: 0 }) };
}

struct Current {
    service: Option<Arc<Core>>,
    scope: Scope,
    /// The handle of the service that the handler waits for; 0 for none.
    waits_for: u64,
}

/// The call that a handler runs for.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    pub(crate) deadline: Option<Instant>,
    /// The serial services that wait for the call.
    pub(crate) chain: Chain,
    /// The handler's own service is in the chain.
    extended: bool,
}

impl Scope {
    const NONE: Self = Self { deadline: None, chain: Chain::NONE, extended: false };

    pub(crate) fn new(deadline: Option<Instant>, chain: Chain) -> Self {
        Self { deadline, chain, extended: false }
    }

    /// Runs a part of a handler for this call.
    pub(crate) fn enter<T>(&mut self, run: impl FnOnce() -> T) -> T {
        let outer =
            CURRENT.with_borrow_mut(|current| std::mem::replace(&mut current.scope, std::mem::take(self)));
        let _leave = Leave { outer: Some(outer), own: self };
        run()
    }
}

/// Puts the scopes back where they were, after a panic as well.
struct Leave<'a> {
    outer: Option<Scope>,
    own: &'a mut Scope,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let outer = self.outer.take().unwrap_or_default();
        *self.own = CURRENT.with_borrow_mut(|current| std::mem::replace(&mut current.scope, outer));
    }
}

/// Runs a turn of a service on this thread. The reference moves there and back.
pub(crate) fn turn<T>(service: &mut Option<Arc<Core>>, run: impl FnOnce() -> T) -> T {
    let outer = CURRENT.with_borrow_mut(|current| std::mem::replace(&mut current.service, service.take()));
    let _leave = EndTurn { outer: Some(outer), own: service };
    run()
}

struct EndTurn<'a> {
    outer: Option<Option<Arc<Core>>>,
    own: &'a mut Option<Arc<Core>>,
}

impl Drop for EndTurn<'_> {
    fn drop(&mut self) {
        let outer = self.outer.take().flatten();
        *self.own = CURRENT.with_borrow_mut(|current| std::mem::replace(&mut current.service, outer));
    }
}

/// Looks at the service whose handler runs on this thread.
pub(crate) fn with<T>(look: impl FnOnce(Option<&Arc<Core>>) -> T) -> T {
    CURRENT.with_borrow(|current| look(current.service.as_ref()))
}

/// Whether a handler runs on this thread.
pub(crate) fn is_inside() -> bool {
    with(|service| service.is_some())
}

/// The deadline of the call that the handler runs for.
pub(crate) fn deadline() -> Option<Instant> {
    CURRENT.with_borrow(|current| current.scope.deadline)
}

/// The serial services that wait for a call which is made now: those of the handler's call, and the handler's own
/// service where it is a serial one.
pub(crate) fn chain() -> Result<Chain> {
    CURRENT.with_borrow_mut(|current| {
        let Current { service, scope, .. } = current;
        match service {
            Some(service) if service.is_serial() && !scope.extended => {
                scope.chain = scope.chain.with(service.identity.handle(), service.full_name())?;
                scope.extended = true;
            }
            None => return Ok(Chain::default()),
            _ => {}
        }
        Ok(scope.chain.clone())
    })
}

/// The handler waits for an answer of this service.
pub(crate) fn waits_for(handle: u64) {
    CURRENT.with_borrow_mut(|current| current.waits_for = handle);
}

/// For which service the handler that was just polled waits.
pub(crate) fn take_waits_for() -> u64 {
    CURRENT.with_borrow_mut(|current| std::mem::take(&mut current.waits_for))
}
