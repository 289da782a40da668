//! Layers: policies wrapped around a service. One file a policy.

mod admission;
mod catch_panic;
mod counters;
mod deadline;
mod from_fn;
mod proceed;
mod stack;
mod token;

pub use admission::{Admission, AdmissionLayer};
pub use catch_panic::{CatchPanic, CatchPanicLayer};
pub use counters::{Counted, Counters, CountersLayer, MethodCounters};
pub use deadline::{Deadline, DeadlineLayer};
pub use from_fn::{Around, LayerFn, Next, layer_fn};
pub(crate) use proceed::Proceed;
pub use stack::{NoLayer, Stacked};
pub use token::{Token, TokenLayer};

use crate::Service;

/// Wraps a service in a policy. [`layer_fn`] makes one out of a closure.
///
/// A layer's service implements [`Service::call`]; where it also implements [`Service::answer`], methods that are
/// a plain `fn` stay on the fast path, else they are called as all others are.
pub trait Layer<S: Service> {
    /// The wrapped service.
    type Service: Service;

    /// Wraps.
    fn layer(self, inner: S) -> Self::Service;
}
