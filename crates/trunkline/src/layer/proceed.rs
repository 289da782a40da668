//! The future of a layer that lets a call through or refuses it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::{Reply, Result, Status};

pin_project! {
    /// What a layer gives that decides at once: the inner future, or the failure of the refused call.
    #[project = ProceedProjection]
    pub(crate) enum Proceed<F> {
        With { #[pin] inner: F },
        Refused { status: Option<Status> },
    }
}

impl<F> Proceed<F> {
    /// Lets the call through.
    pub(crate) fn with(inner: F) -> Self {
        Self::With { inner }
    }

    /// Refuses the call.
    #[cold]
    pub(crate) fn refused(status: Status) -> Self {
        Self::Refused { status: Some(status) }
    }
}

impl<F: Future<Output = Result<Reply>>> Future for Proceed<F> {
    type Output = Result<Reply>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Reply>> {
        match self.project() {
            ProceedProjection::With { inner } => inner.poll(cx),
            ProceedProjection::Refused { status } => {
                status.take().map_or(Poll::Pending, |status| Poll::Ready(Err(status)))
            }
        }
    }
}
