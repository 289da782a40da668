//! A layer made of a closure.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use super::Layer;
use crate::service::DynService;
use crate::{Call, Reply, Result, Serialization, Service};

/// A layer made of a closure: it gets the call and what comes next, and gives the answer. For a policy of a few lines;
/// one that has settings, or is to stay on the fast path, implements [`Layer`].
///
/// It costs an allocation for each call, and plain `fn` methods leave the fast path behind it.
///
/// ```
/// use trunkline::layer::{Next, layer_fn};
/// use trunkline::{Call, Code, Result, Server, Status};
///
/// #[trunkline::service]
/// trait Weather {
///     async fn report(&self) -> Result<String>;
/// }
///
/// struct Sunny;
///
/// impl Weather for Sunny {
///     async fn report(&self) -> Result<String> {
///         Ok("sunny".into())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tenants_only = layer_fn(|call: Call, next: Next| async move {
///     if call.metadata().get("tenant").is_none() {
///         return Err(Status::new(Code::Unauthenticated, "who are you?").not_begun());
///     }
///     next.call(call).await
/// });
/// let weather = WeatherServer::new(Sunny);
/// let server = Server::builder().serve(weather).layer(tenants_only).listen("mem://layer-fn").start().await?;
///
/// let weather = WeatherClient::connect(server.url()).await?;
/// assert_eq!(weather.report().metadata_pair("tenant", "ann").await?, "sunny");
/// assert_eq!(weather.report().await.unwrap_err().message(), "who are you?");
/// # Ok(()) }
/// ```
pub fn layer_fn<F, R>(function: F) -> LayerFn<F>
where
    F: Fn(Call, Next) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Reply>> + Send + 'static,
{
    LayerFn(function)
}

/// What [`layer_fn`] makes.
#[derive(Clone)]
pub struct LayerFn<F>(F);

impl<F> fmt::Debug for LayerFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LayerFn")
    }
}

impl<S, F, R> Layer<S> for LayerFn<F>
where
    S: Service,
    F: Fn(Call, Next) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Reply>> + Send + 'static,
{
    type Service = Around<F>;

    fn layer(self, inner: S) -> Around<F> {
        Around { function: self.0, next: Next(Arc::new(inner)) }
    }
}

/// The service that a closure stands around; see [`layer_fn`].
#[derive(Clone)]
pub struct Around<F> {
    function: F,
    next: Next,
}

impl<F> fmt::Debug for Around<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Around")
    }
}

impl<F, R> Service for Around<F>
where
    F: Fn(Call, Next) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Reply>> + Send + 'static,
{
    fn call(&self, call: Call) -> impl Future<Output = Result<Reply>> + Send {
        (self.function)(call, self.next.clone())
    }

    fn serialization(&self) -> Serialization {
        self.next.serialization()
    }
}

/// What a closure's layer stands around: further layers, and at the end the service. A clone is the same.
#[derive(Clone)]
pub struct Next(Arc<dyn DynService>);

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Next")
    }
}

impl Next {
    /// Lets the call through.
    ///
    /// # Errors
    /// Whatever ended the call.
    pub async fn call(&self, call: Call) -> Result<Reply> {
        self.0.call_boxed(call).await
    }
}

impl Service for Next {
    async fn call(&self, call: Call) -> Result<Reply> {
        self.0.call_boxed(call).await
    }

    fn serialization(&self) -> Serialization {
        self.0.serialization_dyn()
    }
}
