//! The serial services that wait for a call's answer, so that one that would wait for itself is found out.

use std::fmt;
use std::sync::Arc;

use crate::{Code, Result, Status};

/// The most services in a chain. A call that would make it longer fails.
pub(crate) const LONGEST: usize = 64;

/// The longest text of one link as it travels: a cluster, a service and a number.
const LONGEST_LINK: usize = 255 + 1 + 255 + 1 + 10;

/// The serial services that wait for a call, from the first to the last. A clone is one reference.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Chain(Option<Arc<Waiting>>);

#[derive(PartialEq, Eq)]
struct Waiting {
    handle: u64,
    /// `CLUSTER/SERVICE/ID`.
    name: Arc<str>,
    before: Chain,
    length: usize,
}

impl Chain {
    /// Nobody waits.
    pub(crate) const NONE: Self = Self(None);

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether this service waits for the call.
    pub(crate) fn has(&self, handle: u64) -> bool {
        self.links().any(|link| link.handle == handle)
    }

    /// Whether this service is its last.
    pub(crate) fn ends_with(&self, handle: u64) -> bool {
        self.0.as_ref().is_some_and(|last| last.handle == handle)
    }

    /// The same chain with one more at its end.
    ///
    /// # Errors
    /// [`Code::Limited`]: the chain is as long as it may be.
    pub(crate) fn with(&self, handle: u64, name: Arc<str>) -> Result<Self> {
        let length = self.0.as_ref().map_or(0, |last| last.length) + 1;
        if length > LONGEST {
            let text = format!("more than {LONGEST} serial services wait for each other");
            return Err(Status::new(Code::Limited, text).not_begun());
        }
        Ok(Self(Some(Arc::new(Waiting { handle, name, before: self.clone(), length }))))
    }

    /// What travels: `CLUSTER/SERVICE/ID` of each, from the first to the last; at most [`LONGEST`].
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        let mut names: Vec<_> = self.links().map(|link| Arc::clone(&link.name)).collect();
        names.reverse();
        names
    }

    /// The chain of what travelled.
    ///
    /// # Errors
    /// [`Code::InvalidInput`] or [`Code::Limited`]: it is longer than one may be, or a name cannot be read.
    pub(crate) fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut chain = Self::default();
        for name in names {
            let handle = handle(name).ok_or_else(|| {
                let text = "a link of the chain of calls is no CLUSTER/SERVICE/ID";
                Status::new(Code::InvalidInput, text).not_begun()
            })?;
            chain = chain.with(handle, name.into())?;
        }
        Ok(chain)
    }

    /// The failure of a call that would make `to` wait for itself: `cycle: a → b → a`, from the first time that it
    /// waits. Services of `cluster` are named without it.
    pub(crate) fn cycle(&self, to: u64, cluster: &str) -> Status {
        let mut around: Vec<_> = Vec::new();
        for link in self.links() {
            around.push(short(&link.name, cluster));
            if link.handle == to {
                break;
            }
        }
        around.reverse();
        around.extend(around.first().copied());
        Status::new(Code::Failed, format!("cycle: {}", around.join(" → "))).not_begun()
    }

    /// From the last to the first.
    fn links(&self) -> impl Iterator<Item = &Waiting> {
        std::iter::successors(self.0.as_deref(), |link| link.before.0.as_deref())
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

fn handle(name: &str) -> Option<u64> {
    if name.len() > LONGEST_LINK {
        return None;
    }
    let (cluster, rest) = name.split_once('/')?;
    let (service, id) = rest.split_once('/')?;
    Some(super::identity::handle_of(cluster, service, id.parse().ok()?))
}

fn short<'a>(name: &'a str, cluster: &str) -> &'a str {
    name.split_once('/').filter(|(own, _)| *own == cluster).map_or(name, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::identity::handle_of;

    #[test]
    fn a_chain_travels_and_names_its_cycle() {
        let chain = Chain::from_names(["here/a/1", "here/b/2", "there/c/3"]).unwrap();
        assert_eq!(
            chain.names().iter().map(|name| &**name).collect::<Vec<_>>(),
            ["here/a/1", "here/b/2", "there/c/3"]
        );
        assert!(chain.has(handle_of("here", "b", 2)) && !chain.has(handle_of("here", "c", 3)));
        let status = chain.cycle(handle_of("here", "b", 2), "here");
        assert_eq!(status.message(), "cycle: b/2 → there/c/3 → b/2");
        assert_eq!(chain, Chain::from_names(chain.names().iter().map(|name| &**name)).unwrap());
    }

    #[test]
    fn what_is_no_chain_is_refused() {
        assert!(Chain::from_names(["a"]).is_err() && Chain::from_names(["a/b/c"]).is_err());
        assert!(Chain::from_names(std::iter::repeat_n("a/b/1", LONGEST)).is_ok());
        let status = Chain::from_names(std::iter::repeat_n("a/b/1", LONGEST + 1)).unwrap_err();
        assert_eq!(status.code(), Code::Limited);
    }
}
