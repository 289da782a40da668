//! Calls a Go server of the interop suite through the library: one process, many calls on a channel.
//!
//! `trunkline-interop rpcx|easymicro -addr ADDR -server PROGRAM [-token T] [-case NAME] [-long]`
//!
//! It prints a line for each case, as the Go clients do. Exit code: 0 all as wanted, 1 a failure, 2 usage.

mod auth;
mod bodies;
mod codecs;
mod connection;
mod failures;
mod meter;
mod peer;
mod services;
mod suite;
mod time;

use std::process::ExitCode;

use peer::{Kind, Peer};
use suite::Suite;

const USAGE: &str = "usage: trunkline-interop rpcx|easymicro -addr ADDR -server PROGRAM [-token T] \
    [-case NAME] [-long]";

struct Options {
    peer: Peer,
    token: Option<String>,
    only: String,
    long: bool,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Option<Self> {
        let kind = match args.next()?.as_str() {
            "rpcx" => Kind::Rpcx,
            "easymicro" => Kind::Easymicro,
            _ => return None,
        };
        let peer = Peer { kind, address: String::new(), program: String::new().into() };
        let mut options = Self { peer, token: None, only: String::new(), long: false };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "-addr" => options.peer.address = args.next()?,
                "-server" => options.peer.program = args.next()?.into(),
                "-token" => options.token = Some(args.next()?),
                "-case" => options.only = args.next()?,
                "-long" => options.long = true,
                _ => return None,
            }
        }
        Some(options).filter(|options| !options.peer.address.is_empty())
    }
}

fn main() -> ExitCode {
    let Some(options) = Options::parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(options)),
        Err(error) => {
            eprintln!("trunkline-interop: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> ExitCode {
    let mut suite = Suite::new(options.only, options.long);
    let peer = &options.peer;
    if let Some(token) = &options.token {
        auth::cases(&mut suite, peer, token).await;
    } else {
        codecs::cases(&mut suite, peer).await;
        bodies::cases(&mut suite, peer).await;
        failures::cases(&mut suite, peer).await;
        connection::cases(&mut suite, peer).await;
        time::cases(&mut suite, peer).await;
    }
    suite.close()
}
