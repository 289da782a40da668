//! What runs on this thread: whose handler, and for which call. A call that the handler makes asks here.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use tokio::time::Instant;

use super::chain::Chain;
use super::core::Core;
use crate::Result;

thread_local! {
    static CURRENT: Current = const {
        Current {
            service: RefCell::new(None),
            deadline: Cell::new(None),
            chain: Cell::new(Chain::NONE),
            waits_for: Cell::new(0),
        }
    };
}

struct Current {
    service: RefCell<Option<Arc<Core>>>,
    /// Of the call that the handler runs for; none for a notify.
    deadline: Cell<Option<Instant>>,
    /// The serial services that wait for that call.
    chain: Cell<Chain>,
    /// The handle of the service that the handler waits for; 0 for none.
    waits_for: Cell<u64>,
}

/// Runs a part of a handler for a call. Handlers are not polled within each other. The handler may add its own service to
/// the chain, which is put back for the next part.
#[inline]
pub(crate) fn for_call<T>(deadline: Option<Instant>, chain: &mut Chain, run: impl FnOnce() -> T) -> T {
    CURRENT.with(|current| {
        current.deadline.set(deadline);
        current.chain.set(std::mem::take(chain));
    });
    let _leave = Leave(chain);
    run()
}

/// Puts the chain back, after a panic as well.
struct Leave<'a>(&'a mut Chain);

impl Drop for Leave<'_> {
    #[inline]
    fn drop(&mut self) {
        CURRENT.with(|current| {
            current.deadline.set(None);
            *self.0 = current.chain.take();
        });
    }
}

/// Runs a turn of a service on this thread. The reference moves there and back.
pub(crate) fn turn<T>(service: &mut Option<Arc<Core>>, run: impl FnOnce() -> T) -> T {
    CURRENT.with(|current| current.service.replace(service.take()));
    let _leave = EndTurn(service);
    run()
}

struct EndTurn<'a>(&'a mut Option<Arc<Core>>);

impl Drop for EndTurn<'_> {
    fn drop(&mut self) {
        *self.0 = CURRENT.with(|current| current.service.take());
    }
}

/// Looks at the service whose handler runs on this thread.
pub(crate) fn with<T>(look: impl FnOnce(Option<&Arc<Core>>) -> T) -> T {
    CURRENT.with(|current| look(current.service.borrow().as_ref()))
}

/// Whether a handler runs on this thread.
pub(crate) fn is_inside() -> bool {
    with(|service| service.is_some())
}

/// The deadline of the call that the handler runs for.
pub(crate) fn deadline() -> Option<Instant> {
    CURRENT.with(|current| current.deadline.get())
}

/// The serial services that wait for a call which is made now: those of the handler's call, and the handler's own
/// service where it is a serial one.
pub(crate) fn chain() -> Result<Chain> {
    CURRENT.with(|current| {
        let service = current.service.borrow();
        let Some(service) = &*service else { return Ok(Chain::NONE) };
        let chain = current.chain.take();
        let extended = if service.is_serial() && !chain.ends_with(service.identity.handle()) {
            chain.with(service.identity.handle(), service.full_name())
        } else {
            Ok(chain.clone())
        };
        // A notify's handler has no place for it and makes it anew.
        let kept =
            if current.deadline.get().is_some() { extended.as_ref().unwrap_or(&chain) } else { &chain };
        current.chain.set(kept.clone());
        extended
    })
}

/// The handler waits for an answer of this service.
pub(crate) fn waits_for(handle: u64) {
    CURRENT.with(|current| current.waits_for.set(handle));
}

/// For which service the handler that was just polled waits.
pub(crate) fn take_waits_for() -> u64 {
    CURRENT.with(|current| current.waits_for.take())
}
