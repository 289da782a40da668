//! What a service says of itself: names, documentation, the types of its methods.

use crate::Name;
use crate::message::Schema;

/// A service's name and its methods. A service without a name answers paths: its methods are called by their names alone,
/// which begin with a slash, on a wire that has paths (IIP). There may be several of those, and they are not listed.
#[derive(Debug, Clone)]
pub struct ServiceInfo {
    /// The name it is called by.
    pub name: Name,
    /// Its documentation, from the trait's.
    pub doc: &'static str,
    /// Its methods; a call's [`MethodId::index`](crate::MethodId::index) counts in this order.
    pub methods: Vec<MethodInfo>,
}

impl ServiceInfo {
    /// Whether it answers paths.
    pub(crate) fn is_paths(&self) -> bool {
        self.name.is_empty()
    }

    /// The same service under another name.
    #[must_use]
    pub fn named(mut self, name: impl Into<Name>) -> Self {
        self.name = name.into();
        self
    }
}

/// A method of a service.
#[derive(Debug, Clone)]
pub struct MethodInfo {
    /// The name it is called by.
    pub name: &'static str,
    /// Its documentation, from the trait's.
    pub doc: &'static str,
    /// It may run twice without harm, so that a call may be tried again.
    pub idempotent: bool,
    /// It is a plain `fn`, answered on the spot.
    pub in_place: bool,
    /// Each call gets a task of its own, so that a method that computes for long holds nobody up.
    pub spawned: bool,
    /// It looks at the circumstances of its calls. Where it does not, and no layer of the user's may, a call does
    /// not hold on to its connection, which saves two atomic operations.
    pub context: bool,
    /// What it takes; `None` for a body of any kind. Of a stream that is each item.
    pub request: Option<Schema>,
    /// What it gives; `None` for a body of any kind. Of a stream that is each item.
    pub reply: Option<Schema>,
    /// It takes a stream: its request may arrive frame by frame.
    pub takes_stream: bool,
    /// It gives a stream: its reply may leave frame by frame.
    pub gives_stream: bool,
}

impl MethodInfo {
    /// A method that takes and gives bodies of any kind.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            doc: "",
            idempotent: false,
            in_place: false,
            spawned: false,
            context: true,
            request: None,
            reply: None,
            takes_stream: false,
            gives_stream: false,
        }
    }
}
