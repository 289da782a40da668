//! Refuses calls while as many as the server may have are in flight.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::layer::{Layer, Proceed};
use crate::service::{Answer, ReplyBuf, Request, Service};
use crate::{Call, Code, Reply, Result, Serialization, Status};

/// Makes [`Admission`]. What one connection may have in flight is a limit of its own
/// ([`Limits::calls`](trunkline_wire::Limits::calls)), and there the next call waits unread.
#[derive(Debug, Clone, Default)]
pub struct AdmissionLayer {
    in_flight: Option<usize>,
}

impl AdmissionLayer {
    /// At most so many calls in flight on all connections together; one more fails with [`Code::Limited`].
    #[must_use]
    pub fn in_flight(limit: usize) -> Self {
        Self { in_flight: Some(limit) }
    }
}

/// See [`AdmissionLayer`].
#[derive(Debug, Clone)]
pub struct Admission<S> {
    inner: S,
    limit: Option<usize>,
    in_flight: Arc<AtomicUsize>,
}

impl<S: Service> Layer<S> for AdmissionLayer {
    type Service = Admission<S>;

    fn layer(self, inner: S) -> Admission<S> {
        Admission { inner, limit: self.in_flight, in_flight: Arc::default() }
    }
}

/// One admitted call; its place is free again when it is dropped.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pin_project! {
    /// The future of an admitted call. Its place is free as soon as it has ended.
    struct Admitted<'a, F> {
        #[pin]
        inner: F,
        place: Option<Place<'a>>,
    }
}

impl<F: Future<Output = Result<Reply>>> Future for Admitted<'_, F> {
    type Output = Result<Reply>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Reply>> {
        let this = self.project();
        let result = ready!(this.inner.poll(cx));
        *this.place = None;
        Poll::Ready(result)
    }
}

impl<S> Admission<S> {
    fn admit(&self) -> Result<Option<Place<'_>>> {
        let Some(limit) = self.limit else {
            return Ok(None);
        };
        let place = Place(&self.in_flight);
        if self.in_flight.fetch_add(1, Ordering::Relaxed) < limit {
            return Ok(Some(place));
        }
        let text = format!("the server has {limit} calls in flight, its limit (max_in_flight)");
        Err(Status::new(Code::Limited, text).not_begun())
    }
}

impl<S: Service> Service for Admission<S> {
    fn call(&self, call: Call) -> impl Future<Output = Result<Reply>> + Send {
        match self.admit() {
            Ok(place) => Proceed::with(Admitted { inner: self.inner.call(call), place }),
            Err(status) => Proceed::refused(status),
        }
    }

    fn answer(&self, request: &Request<'_>, reply: &mut ReplyBuf<'_>) -> Answer {
        match self.admit() {
            Ok(_place) => self.inner.answer(request, reply),
            Err(status) => Answer::Done(Err(status)),
        }
    }

    fn serialization(&self) -> Serialization {
        self.inner.serialization()
    }
}
