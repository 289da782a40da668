//! To and from [`tower`]: its services and layers around ours, and ours where it wants one.
//!
//! | there is | wanted is | |
//! | --- | --- | --- |
//! | a [`Service`] (a channel, a handler) | a `tower::Service<Call>` | [`to_tower`] |
//! | a `tower::Service<Call>` | a [`Service`] | [`from_tower`] |
//! | a `tower::Layer` | a [`Layer`] | [`tower_layer`] |
//!
//! A call that is dropped drops tower's future with it, so that deadlines and cancellation pass through. What
//! tower's middleware fails with becomes a [`Status`] as the `From` in this module says.
//!
//! A policy around a server:
//!
//! ```
//! use tower::limit::ConcurrencyLimitLayer;
//! use trunkline::{Server, tower::tower_layer};
//!
//! # fn f() {
//! let server = Server::builder()
//!     // Five handlers run at a time; further calls wait.
//!     .layer(tower_layer(ConcurrencyLimitLayer::new(5)))
//!     .listen("127.0.0.1:8972");
//! # drop(server);
//! # }
//! ```
//!
//! A policy around a client:
//!
//! ```
//! use std::time::Duration;
//! use tower::timeout::Timeout;
//! use trunkline::tower::{from_tower, to_tower};
//! use trunkline::{Call, Code, Reply, Serialization, Service, service_fn};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
//! # runtime.block_on(async {
//! let slow = service_fn(|_: Call| async {
//!     tokio::time::sleep(Duration::from_secs(60)).await;
//!     Ok(Reply::default())
//! });
//! let quick = from_tower(Timeout::new(to_tower(slow), Duration::from_millis(100)));
//! let status = quick.call(Call::new("Slow", "Sleep", Serialization::Raw, "")).await.unwrap_err();
//! assert_eq!(status.code(), Code::DeadlineExceeded);
//! # });
//! ```

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use crate::layer::Layer;
use crate::{BoxFuture, Call, Code, Reply, Result, Serialization, Service, Status};

/// A service for tower. It is always ready; a clone is the same service.
pub fn to_tower<S: Service>(service: S) -> ToTower<S> {
    ToTower(Arc::new(service))
}

/// See [`to_tower`].
pub struct ToTower<S>(Arc<S>);

impl<S> Clone for ToTower<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> fmt::Debug for ToTower<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ToTower")
    }
}

impl<S: Service> tower::Service<Call> for ToTower<S> {
    type Response = Reply;
    type Error = Status;
    type Future = BoxFuture<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> BoxFuture<'static> {
        let service = Arc::clone(&self.0);
        Box::pin(async move { service.call(call).await })
    }
}

/// A service of tower's as one of ours. Each call goes through a clone of its own, which is waited for until it is
/// ready: so what is to be shared between calls must be shared between clones, as tower's limits share theirs.
/// What cannot be cloned goes behind tower's `Buffer`.
///
/// What a client around it sends messages in cannot be asked through tower; where that is not MessagePack, say it by
/// [`with_serialization`](FromTower::with_serialization). [`tower_layer`] keeps what the service inside says.
pub fn from_tower<T>(service: T) -> FromTower<T> {
    FromTower { service: Mutex::new(service), serialization: Serialization::MessagePack }
}

/// See [`from_tower`]. The lock is held for the time of a clone: services of tower's need not be `Sync`.
pub struct FromTower<T> {
    service: Mutex<T>,
    serialization: Serialization,
}

impl<T> FromTower<T> {
    /// What a client around it sends messages in where nothing else says: [`Service::serialization`] of the channel
    /// inside, as a rule. Default MessagePack.
    #[must_use]
    pub fn with_serialization(mut self, serialization: Serialization) -> Self {
        self.serialization = serialization;
        self
    }
}

impl<T> fmt::Debug for FromTower<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromTower")
    }
}

impl<T: Clone> Clone for FromTower<T> {
    fn clone(&self) -> Self {
        from_tower(self.get()).with_serialization(self.serialization)
    }
}

impl<T: Clone> FromTower<T> {
    fn get(&self) -> T {
        self.service.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<T> Service for FromTower<T>
where
    T: tower::Service<Call, Response = Reply> + Clone + Send + 'static,
    T::Error: Into<Status>,
    T::Future: Send,
{
    fn call(&self, call: Call) -> impl Future<Output = Result<Reply>> + Send {
        let mut service = self.get();
        async move {
            poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
            service.call(call).await.map_err(Into::into)
        }
    }

    fn serialization(&self) -> Serialization {
        self.serialization
    }
}

/// A layer of tower's as one of ours. Methods that are a plain `fn` leave the fast path behind it.
pub fn tower_layer<L>(layer: L) -> TowerLayer<L> {
    TowerLayer(layer)
}

/// See [`tower_layer`].
#[derive(Debug, Clone)]
pub struct TowerLayer<L>(L);

impl<S, L> Layer<S> for TowerLayer<L>
where
    S: Service,
    L: tower::Layer<ToTower<S>>,
    FromTower<L::Service>: Service,
{
    type Service = FromTower<L::Service>;

    fn layer(self, inner: S) -> Self::Service {
        let serialization = inner.serialization();
        from_tower(self.0.layer(to_tower(inner))).with_serialization(serialization)
    }
}

/// What tower's middleware fails with. A [`Status`] in it, or behind it, comes out as it went in. A timeout is
/// [`Code::DeadlineExceeded`], a call that was shed is [`Code::Limited`] and was not begun; anything else is
/// [`Code::Failed`] with its text.
impl From<Box<dyn Error + Send + Sync>> for Status {
    fn from(error: Box<dyn Error + Send + Sync>) -> Self {
        let mut cause: Option<&(dyn Error + 'static)> = Some(&*error);
        while let Some(this) = cause {
            if let Some(status) = this.downcast_ref::<Self>() {
                return status.clone();
            }
            if this.is::<tower::timeout::error::Elapsed>() {
                return Self::new(Code::DeadlineExceeded, this.to_string());
            }
            if this.is::<tower::load_shed::error::Overloaded>() {
                return Self::new(Code::Limited, this.to_string()).not_begun();
            }
            cause = this.source();
        }
        Self::failed(error.to_string())
    }
}

/// What never fails.
impl From<Infallible> for Status {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
