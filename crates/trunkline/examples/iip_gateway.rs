//! HTTP in front of an IIP service: routes by host and expression, headers as metadata of the call.
//! Run it: `cargo run --features gateway --example iip_gateway`

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use trunkline::client::Client;
use trunkline::gateway::{IipGateway, Routes};
use trunkline::{Context, Result, Server};

#[trunkline::service]
trait Weather {
    async fn report(&self, cx: &Context, city: String) -> Result<String>;
}

struct Station;

impl Weather for Station {
    async fn report(&self, cx: &Context, city: String) -> Result<String> {
        let who = cx.metadata().get("x-user").unwrap_or("a stranger").to_owned();
        Ok(format!("rain in {city}, {who}"))
    }
}

/// What `curl -H 'Host: weather.example' -H 'X-User: Ann' -d BODY http://ADDRESS/PATH` does.
async fn post(address: &str, path: &str, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: weather.example\r\nX-User: Ann\r\nConnection: close\r\n");
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.lines().next().unwrap_or_default();
    Ok(format!("{} {}", status, answer.split("\r\n\r\n").nth(1).unwrap_or_default()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder().serve(WeatherServer::new(Station)).listen("127.0.0.1:0").start().await?;

    // A backend is a client, of as many servers as it likes.
    let backend = Client::builder(&format!("iip://{}", server.addresses()[0])).connect().await?;
    let routes = Routes::new();
    routes.push("weather.example", "/Weather/.*", backend.clone())?;
    let gateway = IipGateway::new(routes.clone()).listen("127.0.0.1:0").start().await?;
    let at = &gateway.addresses()[0];

    println!("{}", post(at, "/Weather/Report?lang=en", "Oslo").await?);
    println!("no such method: {}", post(at, "/Weather/Snow", "Oslo").await?);
    println!("no route: {}", post(at, "/other", "").await?);
    println!("not for callers: {}", post(at, "/sys/delete_channel", "").await?);

    // Routes change while it runs.
    routes.remove("weather.example", "/Weather/.*");
    println!("removed: {}", post(at, "/Weather/Report", "Oslo").await?);
    Ok(())
}
