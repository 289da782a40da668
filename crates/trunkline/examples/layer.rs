//! An own policy as a layer: each tenant may make so many calls. Run it: `cargo run --example layer`

use std::collections::HashMap;
use std::sync::Mutex;

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

/// The settings: how many calls a tenant may make. It makes the service below out of the one that it wraps.
struct QuotaLayer(u32);

struct Quota<S> {
    inner: S,
    limit: u32,
    used: Mutex<HashMap<String, u32>>,
}

impl<S: Service> Layer<S> for QuotaLayer {
    type Service = Quota<S>;

    fn layer(self, inner: S) -> Quota<S> {
        Quota { inner, limit: self.0, used: Mutex::default() }
    }
}

impl<S: Service> Service for Quota<S> {
    async fn call(&self, call: Call) -> Result<Reply> {
        let tenant = call.metadata().get("tenant").unwrap_or_default().to_owned();
        let used = self.used.lock().map(|mut used| *used.entry(tenant).and_modify(|n| *n += 1).or_insert(1));
        if used.is_ok_and(|used| used > self.limit) {
            return Err(Status::new(Code::Limited, "the quota is used up").not_begun());
        }
        self.inner.call(call).await
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let builder = Server::builder().serve(WeatherServer::new(Sunny)).layer(QuotaLayer(2));
    let server = builder.listen("127.0.0.1:0").bind().await?;
    let weather = WeatherClient::connect(&server.url()).await?;
    tokio::spawn(server.run());
    for (tenant, expected) in [("a", true), ("a", true), ("a", false), ("b", true)] {
        let result = weather.report().metadata_pair("tenant", tenant).await;
        println!("tenant {tenant}: {}", result.as_ref().map_or_else(Status::to_string, |()| "sunny".into()));
        assert_eq!(result.is_ok(), expected);
    }
    Ok(())
}
