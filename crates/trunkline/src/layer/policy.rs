//! A policy that does not wait: it looks at a call before it is begun, and at how it ended.
//!
//! A layer may do anything around a call, and costs a future around every call. Most of what a server does with each
//! call only lets it through or refuses it, and counts: that is a policy, and all of a server's policies together are
//! one future ([`Guarded`](super::Guarded)).

use trunkline_wire::Pairs;

use crate::{Call, MethodId, Request, Result};

/// See the module's documentation.
pub trait Policy: Send + Sync + 'static {
    /// What is kept while a call runs. Where the call is dropped before it has ended, so is this, without
    /// [`ended`](Policy::ended).
    type Guard<'a>: Send
    where
        Self: 'a;

    /// A call has come: what is kept of it.
    fn begin(&self, facts: &Facts<'_>) -> Self::Guard<'_>;

    /// Whether the call that has come is made.
    ///
    /// # Errors
    /// It is refused; this is its failure.
    #[inline(always)]
    fn admit(&self, facts: &Facts<'_>, guard: &Self::Guard<'_>) -> Result<()> {
        let _ = (facts, guard);
        Ok(())
    }

    /// The call could not be answered at once: it waits from here on.
    fn waits<'a>(guard: Self::Guard<'a>) -> Self::Guard<'a> {
        guard
    }

    /// The method cannot be answered in place: the same call begins once more.
    fn declined(guard: Self::Guard<'_>) {
        let _ = guard;
    }

    /// The call has ended, and whether it has failed.
    fn ended(guard: Self::Guard<'_>, failed: bool) {
        let _ = (guard, failed);
    }
}

/// What policies know of a call.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    pub(crate) method: Option<MethodId>,
    pub(crate) metadata: Pairs<'a>,
}

impl<'a> Facts<'a> {
    /// The method's number, where the server has one of the name.
    #[must_use]
    pub fn method_id(&self) -> Option<MethodId> {
        self.method
    }

    /// The caller's metadata.
    #[must_use]
    pub fn metadata(&self) -> Pairs<'a> {
        self.metadata
    }
}

impl<'a> From<&'a Call> for Facts<'a> {
    fn from(call: &'a Call) -> Self {
        Self { method: call.method, metadata: call.metadata().pairs() }
    }
}

impl<'a> From<&Request<'a>> for Facts<'a> {
    fn from(request: &Request<'a>) -> Self {
        Self { method: Some(request.method), metadata: request.metadata() }
    }
}

/// The first stands above the second: it is asked first, and told of a refusal by the second as of any failure.
impl<A: Policy, B: Policy> Policy for (A, B) {
    type Guard<'a>
        = (A::Guard<'a>, B::Guard<'a>)
    where
        Self: 'a;

    #[inline(always)]
    fn begin(&self, facts: &Facts<'_>) -> Self::Guard<'_> {
        (self.0.begin(facts), self.1.begin(facts))
    }

    #[inline(always)]
    fn admit(&self, facts: &Facts<'_>, guard: &Self::Guard<'_>) -> Result<()> {
        self.0.admit(facts, &guard.0)?;
        self.1.admit(facts, &guard.1)
    }

    #[inline(always)]
    fn waits<'a>(guard: Self::Guard<'a>) -> Self::Guard<'a> {
        (A::waits(guard.0), B::waits(guard.1))
    }

    #[inline(always)]
    fn declined(guard: Self::Guard<'_>) {
        B::declined(guard.1);
        A::declined(guard.0);
    }

    #[inline(always)]
    fn ended(guard: Self::Guard<'_>, failed: bool) {
        B::ended(guard.1, failed);
        A::ended(guard.0, failed);
    }
}

/// No policy.
impl Policy for () {
    type Guard<'a> = ();

    fn begin(&self, _: &Facts<'_>) {}
}
