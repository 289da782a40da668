//! The limit: an epoll loop that echoes whole frames of rpcx or IIP, and the client that loads it.
//!
//! Level-triggered, one read an event, one write a read, at most 64 KiB at once: nothing that answers frames one
//! by one over TCP does less. A server is measured by how near it comes under this client, and a client by how near
//! it comes before this server.

mod client;
mod floor;
mod frame;
mod iip;
mod server;

use std::process::ExitCode;

const USAGE: &str = "usage: limit server --listen ADDR [--wire rpcx|iip] [--answers in-place|copied|owned]
       limit client ADDR [--connections C] [--in-flight D] [--size BYTES] [--seconds S] [--warmup-ms MS] [--calls N]
                    [--method Service.Method] [--body FILE] [--format N]
                    [--wire iip --method /PATH --channels N]: of each connection; --in-flight is of all of them";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.split_first() {
        Some((role, rest)) if role == "server" => server::run(rest),
        Some((role, rest)) if role == "client" => client::run(rest),
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Whether the wire is IIP; else it is rpcx.
fn is_iip(arguments: &[String]) -> Result<bool> {
    match option(arguments, "--wire", "rpcx".to_owned())?.as_str() {
        "rpcx" => Ok(false),
        "iip" => Ok(true),
        other => Err(format!("--wire {other}: rpcx or iip").into()),
    }
}

/// The value behind an option, or the default.
fn option<T: std::str::FromStr>(arguments: &[String], name: &str, default: T) -> Result<T> {
    let Some(at) = arguments.iter().position(|argument| argument == name) else { return Ok(default) };
    let text = arguments.get(at + 1).ok_or_else(|| format!("{name} wants a value"))?;
    text.parse().map_err(|_| format!("{name} {text}: not understood").into())
}
