//! An own policy as a layer (a small one can be a closure: `trunkline::layer::layer_fn`).
//! Run it: `cargo run --example layer`

use trunkline::layer::Layer;
use trunkline::{Call, Code, Reply, Result, Server, Service, Status};

#[trunkline::service]
trait Weather {
    async fn report(&self) -> Result<()>;
}

struct Sunny;

impl Weather for Sunny {
    async fn report(&self) -> Result<()> {
        Ok(())
    }
}

/// The settings. It makes the service below out of the one that it is wrapped around.
struct TenantLayer(&'static [&'static str]);

impl<S: Service> Layer<S> for TenantLayer {
    type Service = Tenant<S>;

    fn layer(self, inner: S) -> Tenant<S> {
        Tenant { inner, known: self.0 }
    }
}

struct Tenant<S> {
    inner: S,
    known: &'static [&'static str],
}

impl<S: Service> Service for Tenant<S> {
    async fn call(&self, call: Call) -> Result<Reply> {
        let tenant = call.metadata().get("tenant").unwrap_or("nobody").to_owned();
        if !self.known.contains(&tenant.as_str()) {
            return Err(Status::new(Code::Unauthenticated, format!("{tenant} is no tenant")).not_begun());
        }
        let what = format!("{}.{}", call.service(), call.method());
        let result = self.inner.call(call).await;
        println!("{tenant} called {what}: {}", if result.is_ok() { "answered" } else { "failed" });
        result
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let builder = Server::builder().serve(WeatherServer::new(Sunny)).layer(TenantLayer(&["ann", "bob"]));
    let server = builder.listen("127.0.0.1:0").start().await?;
    let weather = WeatherClient::connect(server.url()).await?;
    weather.report().metadata_pair("tenant", "ann").await?;
    let status = weather.report().metadata_pair("tenant", "eve").await.err().ok_or("eve was let in")?;
    println!("refused: {}", status.message());
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "eve is no tenant"));
    Ok(())
}
