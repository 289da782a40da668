//! Layers and policies: what happens to a call around its handler. One file each.
//!
//! A [`Layer`] wraps a service and may do anything; a [`Policy`] only looks at a call before it is begun and at how it
//! ended, and costs no future of its own.

mod admission;
mod counters;
mod deadline;
mod from_fn;
mod guarded;
mod policy;
pub(crate) mod resume;
mod stack;
mod token;

pub use admission::{Admission, Place};
pub use counters::{Counters, InFlight, MethodCounters};
pub use deadline::{Deadline, DeadlineLayer};
pub use from_fn::{Around, LayerFn, Next, layer_fn};
pub use guarded::Guarded;
pub use policy::{Facts, Policy};
pub use resume::{Resumable, Resume};
pub use stack::{NoLayer, Stacked};
pub use token::Token;

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
