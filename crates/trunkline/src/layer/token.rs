//! Asks every caller for a token.

use std::future::Future;

use crate::layer::{Layer, Proceed};
use crate::metadata;
use crate::service::{Answer, ReplyBuf, Request, Service};
use crate::{Call, Code, Reply, Result, Serialization, Status};

/// Makes [`Token`].
#[derive(Clone, Default)]
pub struct TokenLayer {
    token: Option<String>,
}

impl std::fmt::Debug for TokenLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenLayer").field("asks", &self.token.is_some()).finish()
    }
}

impl TokenLayer {
    /// Asks for this token: the value of `__AUTH` in the metadata, bare or after `Bearer `
    /// in letters of any case.
    #[must_use]
    pub fn new(token: impl Into<String>) -> Self {
        Self { token: Some(token.into()) }
    }

    /// Whether it asks for a token.
    #[cfg(feature = "http")]
    pub(crate) fn asks(&self) -> bool {
        self.token.is_some()
    }

    /// Asks for nothing.
    #[must_use]
    pub fn open() -> Self {
        Self::default()
    }
}

/// See [`TokenLayer`]. Where the token is refused the call fails and, on rpcx, the connection is closed.
#[derive(Clone)]
pub struct Token<S> {
    inner: S,
    token: Option<String>,
}

impl<S: std::fmt::Debug> std::fmt::Debug for Token<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S: Service> Layer<S> for TokenLayer {
    type Service = Token<S>;

    fn layer(self, inner: S) -> Token<S> {
        Token { inner, token: self.token }
    }
}

impl<S> Token<S> {
    fn check(&self, given: Option<&[u8]>) -> Result<()> {
        let Some(token) = &self.token else {
            return Ok(());
        };
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
}

impl<S: Service> Service for Token<S> {
    fn call(&self, call: Call) -> impl Future<Output = Result<Reply>> + Send {
        if self.token.is_some()
            && let Err(status) = self.check(call.metadata().pairs().get_bytes(metadata::AUTH.as_bytes()))
        {
            return Proceed::refused(status);
        }
        Proceed::with(self.inner.call(call))
    }

    fn answer(&self, request: &Request<'_>, reply: &mut ReplyBuf<'_>) -> Answer {
        if self.token.is_some()
            && let Err(status) = self.check(request.metadata().get_bytes(metadata::AUTH.as_bytes()))
        {
            return Answer::Done(Err(status));
        }
        self.inner.answer(request, reply)
    }

    fn serialization(&self) -> Serialization {
        self.inner.serialization()
    }
}

/// Compares in a time that does not tell how much of the text was right.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0u8, |differences, (x, y)| differences | (x ^ y)) == 0
}
