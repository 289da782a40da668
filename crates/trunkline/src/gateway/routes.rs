//! Which backend a request goes to: by host and regular expression, or by a function.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use regex::Regex;

use crate::client::Client;

/// Which backend a request goes to. A clone is the same table; what changes counts from the next request on.
///
/// A request is looked for by its host, without the port, and its URI as it came, with its query. First the host's
/// function is asked; where that says nothing the first expression counts that matches the whole URI, and where none
/// does the first one that matches a part of it.
#[derive(Clone, Default)]
pub struct Routes(Arc<RwLock<HashMap<String, Host>>>);

/// Says where a request of this host and URI goes.
type Function = Arc<dyn Fn(&str, &str) -> Option<Client> + Send + Sync>;

#[derive(Default)]
struct Host {
    function: Option<Function>,
    rules: Vec<Rule>,
}

struct Rule {
    expression: Regex,
    backend: Client,
}

/// Why there is no such route.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRoute {
    /// No host, or one with a port.
    #[error("{0:?} is no host: a name or an address without a port is")]
    Host(String),
    /// No regular expression, or one that is too large.
    #[error("{expression:?} is no regular expression: {why}")]
    Expression {
        /// The text.
        expression: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Routes {
    /// A table without a route.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a route behind those that this host has. The backend is a [`Client`] or a
    /// [`Channel`](crate::client::Channel).
    ///
    /// # Errors
    /// The host or the expression is none.
    pub fn push(&self, host: &str, expression: &str, backend: impl Into<Client>) -> Result<(), InvalidRoute> {
        let (host, rule) = checked(host, expression, backend.into())?;
        self.write().entry(host).or_default().rules.push(rule);
        Ok(())
    }

    /// Adds a route before those that this host has.
    ///
    /// # Errors
    /// As for [`push`](Self::push).
    pub fn push_front(
        &self,
        host: &str,
        expression: &str,
        backend: impl Into<Client>,
    ) -> Result<(), InvalidRoute> {
        let (host, rule) = checked(host, expression, backend.into())?;
        self.write().entry(host).or_default().rules.insert(0, rule);
        Ok(())
    }

    /// Removes all routes of this host with this expression; whether there was one. Requests that are under way go on.
    pub fn remove(&self, host: &str, expression: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let mut hosts = self.write();
        let Some(entry) = hosts.get_mut(&host) else { return false };
        let before = entry.rules.len();
        entry.rules.retain(|rule| rule.expression.as_str() != expression);
        let removed = entry.rules.len() < before;
        if entry.rules.is_empty() && entry.function.is_none() {
            hosts.remove(&host);
        }
        removed
    }

    /// Has a function asked first for requests of this host, with host and URI. It must not wait for anything.
    ///
    /// # Errors
    /// The host is none.
    pub fn set_function(
        &self,
        host: &str,
        function: impl Fn(&str, &str) -> Option<Client> + Send + Sync + 'static,
    ) -> Result<(), InvalidRoute> {
        let host = checked_host(host)?;
        self.write().entry(host).or_default().function = Some(Arc::new(function));
        Ok(())
    }

    /// Removes the function of this host; whether there was one.
    pub fn remove_function(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let mut hosts = self.write();
        let Some(entry) = hosts.get_mut(&host) else { return false };
        let removed = entry.function.take().is_some();
        if entry.rules.is_empty() {
            hosts.remove(&host);
        }
        removed
    }

    /// Where a request of this host, in lower case, and this URI goes.
    pub(super) fn find(&self, host: &str, uri: &str) -> Option<Client> {
        let function = self.read().get(host)?.function.clone();
        // It may change the table itself.
        if let Some(backend) = function.and_then(|function| function(host, uri)) {
            return Some(backend);
        }
        let hosts = self.read();
        let rules = &hosts.get(host)?.rules;
        let whole = |rule: &&Rule| rule.expression.find(uri).is_some_and(|found| found.len() == uri.len());
        let rule =
            rules.iter().find(whole).or_else(|| rules.iter().find(|rule| rule.expression.is_match(uri)));
        rule.map(|rule| rule.backend.clone())
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<String, Host>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<String, Host>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn checked(host: &str, expression: &str, backend: Client) -> Result<(String, Rule), InvalidRoute> {
    let invalid = |why: &str| InvalidRoute::Expression { expression: expression.into(), why: why.into() };
    if expression.is_empty() {
        return Err(invalid("it is empty"));
    }
    let regex = Regex::new(expression).map_err(|error| invalid(&error.to_string()))?;
    Ok((checked_host(host)?, Rule { expression: regex, backend }))
}

fn checked_host(host: &str) -> Result<String, InvalidRoute> {
    let bare = host.parse::<std::net::Ipv6Addr>().is_ok() || !host.contains([':', '[', '/', '@']);
    if host.is_empty() || !bare {
        return Err(InvalidRoute::Host(host.to_owned()));
    }
    Ok(host.to_ascii_lowercase())
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.read();
        let rules = |host: &Host| -> Vec<String> {
            host.rules.iter().map(|rule| rule.expression.to_string()).collect()
        };
        f.debug_map().entries(hosts.iter().map(|(name, host)| (name, rules(host)))).finish()
    }
}
