//! What a channel tells its connections, and what by that has to be done to a call before it is written.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::time::Instant;
use trunkline_wire::{Limits, Session};

use super::links::WRITE_AHEAD;
use crate::net::compress;
use crate::{Body, Call, Code, Origin, Result, Status};

/// What a channel tells each of its connections.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) limits: Arc<Limits>,
    /// The most calls in flight on the connection; one more fails at once.
    pub(crate) calls: usize,
    /// A connection that was silent this long is asked whether it is there, and is given as long to answer.
    pub(crate) heartbeat: Duration,
    /// Names go out in lower case, as easymicro's server wants them.
    pub(crate) lower_case: bool,
    pub(crate) address: String,
}

/// What a channel counts of its connections: what came that nobody waits for, and how many there were.
#[derive(Debug, Default)]
pub(crate) struct Strays {
    pub(crate) replies: AtomicU64,
    pub(crate) connections: AtomicU64,
}

/// What a call needs before it is written, beside what all need.
pub(super) struct Prepared {
    pub(super) compressed: Option<Vec<u8>>,
    /// The time that is left, where the server is told.
    pub(super) milliseconds: Option<String>,
    /// The names in lower case, where the server wants them so.
    pub(super) lowered: Option<(String, String)>,
}

/// Most calls need nothing.
pub(super) type MaybePrepared = Option<Prepared>;

impl Settings {
    pub(super) fn origin<W: Session>(&self) -> Origin {
        Origin { address: self.address.clone(), wire: W::NAME, attempt: 1 }
    }

    pub(super) fn status<W: Session>(&self, code: Code, message: impl Into<Cow<'static, str>>) -> Status {
        Status::new(code, message).at(self.origin::<W>())
    }

    /// What each call of a group needs; empty where none needs anything. No more of them than the write buffer may take,
    /// or what has to wait would be compressed again and again.
    pub(super) fn prepare_all<W: Session>(
        &self,
        calls: &VecDeque<(usize, Call)>,
    ) -> Vec<Result<MaybePrepared>> {
        if !calls.iter().any(|(_, call)| self.is_special(call)) {
            return Vec::new();
        }
        let mut ahead = 0usize;
        let fits = |(_, call): &&(usize, Call)| {
            let fits = ahead < WRITE_AHEAD;
            ahead = ahead.saturating_add(call.body.known_length());
            fits
        };
        calls.iter().take_while(fits).map(|(_, call)| self.prepare::<W>(call)).collect()
    }

    /// Whether there is anything to do for a call before it is written.
    fn is_special(&self, call: &Call) -> bool {
        call.compress
            || call.context.deadline.is_some()
            || self.lower_case
            || call.streams
            || matches!(call.body, Body::Stream(_))
    }

    /// What a call needs before it is written: nothing that the lock has to be held for.
    ///
    /// # Errors
    /// The wire cannot carry it.
    #[inline]
    pub(super) fn prepare<W: Session>(&self, call: &Call) -> Result<MaybePrepared> {
        if self.is_special(call) { self.prepare_special::<W>(call).map(Some) } else { Ok(None) }
    }

    #[cold]
    fn prepare_special<W: Session>(&self, call: &Call) -> Result<Prepared> {
        if !W::STREAMS && (call.streams || matches!(call.body, Body::Stream(_))) {
            let text = format!("the {} wire cannot carry streams", W::NAME);
            return Err(self.status::<W>(Code::Unsupported, text).not_begun());
        }
        let compressed = match &call.body {
            Body::Full(body) if call.compress => compress::worth_it(body),
            _ => None,
        };
        let milliseconds = call.context.deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            left.as_millis().max(1).to_string()
        });
        let lowered = self
            .lower_case
            .then(|| (call.service().to_ascii_lowercase(), call.method().to_ascii_lowercase()));
        Ok(Prepared { compressed, milliseconds, lowered })
    }

    #[cold]
    pub(super) fn too_many<W: Session>(&self) -> Status {
        let text = format!("{} calls are in flight on the connection, its limit", self.calls);
        self.status::<W>(Code::Limited, text).not_begun()
    }
}
