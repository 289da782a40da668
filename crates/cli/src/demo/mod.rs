//! `trunkline demo`: the sample services on one port, called once on every wire.

mod arith;
mod echo;
mod fault;
mod hello;
mod meta;
mod node;
mod paths;
mod process;
mod push;
mod slow;
mod table;

use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinError;
use trunkline::file::FileService;
use trunkline::peer::Functions;
use trunkline::reflect::Description;
use trunkline::server::{ServerBuilder, ServerError};
use trunkline::{Bytes, NamedService, Server};

use crate::args;
use crate::exit::{Failure, print};
use crate::refuse;
use process::Signals;

/// How long calls in flight have when the server is told to stop.
const DRAIN: Duration = Duration::from_secs(30);

pub(crate) async fn run(args: args::Demo) -> Result<ExitCode, Failure> {
    args.listen.iter().try_for_each(|address| refuse::later_listener(address))?;
    process::log_to_stderr();
    // Before anything is served, so that no signal is lost.
    let mut signals = Signals::install()?;
    let server = builder(&args)?.bind().await.map_err(|error| Failure::usage(reason(&error)))?;
    let (handle, addresses) = (server.handle(), server.addresses());
    let mut running = tokio::spawn(server.run());
    ready(&args, &addresses)?;
    let work = async {
        if let (false, Some(address)) = (args.no_calls, addresses.first()) {
            let rows = table::call_each_wire(address, args.token.as_deref(), &args.node).await;
            print(table::render(&rows, args.json))?;
            if args.once {
                return Ok(rows.iter().all(table::Row::is_right));
            }
        }
        std::future::pending().await
    };
    let exit = tokio::select! {
        result = &mut running => return ended(result).map(|()| ExitCode::SUCCESS),
        all_right = work => if all_right? { ExitCode::SUCCESS } else { ExitCode::FAILURE },
        () = signals.next() => ExitCode::SUCCESS,
    };
    handle.drain(DRAIN);
    match process::wait_for_end(&handle, &mut running, &mut signals).await {
        Some(result) => ended(result).map(|()| exit),
        None => Ok(ExitCode::FAILURE),
    }
}

/// The server with all sample services and the default limits.
fn builder(args: &args::Demo) -> Result<ServerBuilder, Failure> {
    let body_limit = usize::try_from(args.body_limit).unwrap_or(usize::MAX);
    let threads = args.threads.map_or_else(process::cores, usize::from);
    let cluster = node::start(&args.node, &args.remote, body_limit)?;
    let mut builder = Server::builder()
        .cluster(&cluster)
        .serve(arith::ArithServer::new(arith::Calculator))
        .serve(echo::EchoServer::new(echo::Mirror))
        .serve(hello::HelloServer::new(hello::Greeter))
        .serve(slow::SlowServer::new(slow::Sleeper::default()))
        .serve(fault::FaultServer::new(fault::Saboteur { body_limit }))
        .serve(meta::MetaServer::new(meta::Mirror))
        .serve(push::PushServer::new(push::Ticker))
        .serve(paths::Paths)
        .serve_unlisted(consumer())
        .path("/echo", "Echo", "Echo")
        .with_describe()
        .threads(threads)
        .body_limit(body_limit)
        .max_connections(process::most_connections());
    if let Some(token) = &args.token {
        builder = builder.token(token);
    }
    if let Some(directory) = &args.files {
        let refused =
            |error| Failure::usage(format!("cannot serve files of {}: {error}", directory.display()));
        builder = builder.serve(FileService::open(directory).map_err(refused)?);
    }
    Ok(args.listen.iter().fold(builder, |builder, address| builder.listen(address)))
}

/// The functions that zrpc's brokers call.
fn consumer() -> impl NamedService {
    let world = |_: Bytes| async { Ok(Bytes::from_static(b"world")) };
    Functions::new().function("s", world).function("echo", |bytes| async { Ok(bytes) }).into_service()
}

/// What the sample services take and give.
pub(crate) fn description() -> Description {
    Description::of(&[
        arith::ArithServer::new(arith::Calculator).describe(),
        echo::EchoServer::new(echo::Mirror).describe(),
        hello::HelloServer::new(hello::Greeter).describe(),
        slow::SlowServer::new(slow::Sleeper::default()).describe(),
        fault::FaultServer::new(fault::Saboteur { body_limit: 0 }).describe(),
        meta::MetaServer::new(meta::Mirror).describe(),
        push::PushServer::new(push::Ticker).describe(),
    ])
}

/// Why the server does not start, and what to do.
fn reason(error: &ServerError) -> String {
    match error {
        ServerError::Listen { .. } => format!("{error}; free it or choose another with --listen"),
        _ => error.to_string(),
    }
}

fn ready(args: &args::Demo, addresses: &[String]) -> Result<(), Failure> {
    if args.json {
        return print(format!("{}\n", json!({ "event": "ready", "listen": addresses })));
    }
    print(format!("ready {}\n", addresses.join(" ")))
}

fn ended(result: Result<Result<(), ServerError>, JoinError>) -> Result<(), Failure> {
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Failure::service(format!("trunkline: the server ended: {error}"))),
        Err(error) => Err(Failure::service(format!("trunkline: the server broke: {error}"))),
    }
}
