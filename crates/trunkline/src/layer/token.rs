//! Asks every caller for a token.

use super::policy::{Facts, Policy};
use crate::{Code, Result, Status, metadata};

/// Asks for a token: the value of `__AUTH` in the metadata, bare or after `Bearer `. Where it is refused the call
/// fails and, on rpcx, the connection is closed.
#[derive(Clone, Default)]
pub struct Token(Option<String>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("asks", &self.0.is_some()).finish()
    }
}

impl Token {
    /// Asks for this token.
    #[must_use]
    pub fn new(token: impl Into<String>) -> Self {
        Self(Some(token.into()))
    }

    /// Asks for nothing.
    #[must_use]
    pub fn open() -> Self {
        Self(None)
    }

    /// Whether it asks for a token.
    pub(crate) fn asks(&self) -> bool {
        self.0.is_some()
    }
}

impl Policy for Token {
    type Guard<'a> = ();

    #[inline(always)]
    fn begin(&self, _: &Facts<'_>) {}

    #[inline]
    fn admit(&self, facts: &Facts<'_>, _: &()) -> Result<()> {
        match &self.0 {
            Some(token) => check(token, facts.metadata().get_bytes(metadata::AUTH.as_bytes())),
            None => Ok(()),
        }
    }
}

fn check(token: &str, given: Option<&[u8]>) -> Result<()> {
    let given = given.unwrap_or_default();
    // The name of a scheme has no case (RFC 9110, 11.1).
    let bare = match given.split_at_checked(b"Bearer ".len()) {
        Some((scheme, bare)) if scheme.eq_ignore_ascii_case(b"Bearer ") => bare.trim_ascii_start(),
        _ => given,
    };
    if same(bare, token.as_bytes()) {
        Ok(())
    } else {
        Err(Status::new(Code::Unauthenticated, "invalid token").ending_connection())
    }
}

/// Compares in a time that does not tell how much of the text was right.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0u8, |differences, (x, y)| differences | (x ^ y)) == 0
}
