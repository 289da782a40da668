//! A server of our own that the Go clients call, for what the demo does not show.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use trunkline::describe::{MethodInfo, ServiceInfo};
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

/// Prints `ready ADDR` and serves until TERM.
pub(crate) async fn serve() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("trunkline-interop: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Check {
    let mut term = signal(SignalKind::terminate()).told("TERM")?;
    let server = Server::builder()
        .serve(Paths)
        .serve(TypesServer::new(Mirror))
        .listen("127.0.0.1:0")
        .bind()
        .await
        .told("bind")?;
    let (handle, addresses) = (server.handle(), server.addresses());
    let running = tokio::spawn(server.run());
    println!("ready {}", addresses.join(" "));
    term.recv().await;
    handle.drain(Duration::from_secs(5));
    running.await.told("server")?.told("server")
}
