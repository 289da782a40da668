//! Servers of our own that the Go programs call: for what the demo does not show, and HTTP in front of a Go server.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use trunkline::client::Client;
use trunkline::describe::{MethodInfo, ServiceInfo};
use trunkline::gateway::{IipGateway, Routes};
use trunkline::server::RunningServer;
use trunkline::{Bytes, Call, Code, NamedService, Reply, Result, Server, Service, Status};

use crate::netrpc::{Mirror, TypesServer};
use crate::suite::{Check, Told};

/// `/headers`: the metadata of the call, as JSON as an HTTP adapter writes it.
struct Paths;

impl NamedService for Paths {
    fn describe(&self) -> ServiceInfo {
        ServiceInfo { name: "".into(), doc: "", methods: vec![MethodInfo::new("/headers")] }
    }
}

impl Service for Paths {
    async fn call(&self, call: Call) -> Result<Reply> {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let mut all = BTreeMap::<_, Vec<_>>::new();
        for (name, value) in call.metadata().iter() {
            all.entry(text(name)).or_default().push(text(value));
        }
        let json = serde_json::to_vec(&all).map_err(|e| Status::new(Code::Internal, e.to_string()))?;
        Ok(Reply::new(Bytes::from(json)))
    }
}

/// Prints `ready ADDR` and serves until TERM: the paths of our own, or HTTP in front of the IIP server at `backend`.
pub(crate) async fn serve(backend: Option<&str>) -> ExitCode {
    let served = match backend {
        Some(backend) => gateway(backend).await,
        None => paths().await,
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("trunkline-interop: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn paths() -> Check {
    let server = Server::builder().serve(Paths).serve(TypesServer::new(Mirror)).listen("127.0.0.1:0");
    run(server.start().await.told("bind")?).await
}

/// As the Go adapter is set up beside it: what is for 127.0.0.1 goes to the backend, a call has 2 s.
async fn gateway(backend: &str) -> Check {
    let client = Client::connect(&format!("iip://{backend}")).await.told("connect")?;
    let routes = Routes::new();
    routes.push("127.0.0.1", "^/", client).told("route")?;
    let gateway = IipGateway::new(routes).timeout(Duration::from_secs(2)).listen("127.0.0.1:0");
    run(gateway.start().await.told("bind")?).await
}

async fn run(server: RunningServer) -> Check {
    let mut term = signal(SignalKind::terminate()).told("TERM")?;
    println!("ready {}", server.addresses().join(" "));
    term.recv().await;
    server.stop(Duration::from_secs(5)).await.told("server")
}
