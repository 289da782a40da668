//! Calls a Go server of the interop suite through the library: one process, many calls on a channel.
//!
//! `trunkline-interop rpcx|easymicro -addr ADDR -server PROGRAM [-token T] [-case NAME] [-long]`
//! `trunkline-interop iip -addr ADDR -server PROGRAM -frames ADDR [-case NAME] [-long]`
//! `trunkline-interop netrpc -addr ADDR -server PROGRAM -connect ADDR -zrpc ADDR [-case NAME]`
//! `trunkline-interop gob -server PROGRAM [-case NAME]`: values of gob, with the program `interop/gob`
//! `trunkline-interop saber -server PROGRAM [-case NAME] [-long]`
//! `trunkline-interop serve`: a server that the Go clients call, for what the demo does not show
//!
//! It prints a line for each case, as the Go clients do. Exit code: 0 all as wanted, 1 a failure, 2 usage.

mod auth;
mod bodies;
mod codecs;
mod connection;
mod failures;
mod gob;
mod iip;
mod meter;
mod netrpc;
mod own;
mod peer;
mod saber;
mod services;
mod suite;
mod time;

use std::path::PathBuf;
use std::process::ExitCode;

use peer::{Kind, Peer};
use suite::Suite;

const USAGE: &str = "usage: trunkline-interop rpcx|easymicro -addr ADDR -server PROGRAM [-token T] \
    [-case NAME] [-long]
       trunkline-interop iip -addr ADDR -server PROGRAM -frames ADDR [-case NAME] [-long]
       trunkline-interop netrpc -addr ADDR -server PROGRAM -connect ADDR -zrpc ADDR [-case NAME]
       trunkline-interop gob -server PROGRAM [-case NAME]
       trunkline-interop saber -server PROGRAM [-case NAME] [-long]
       trunkline-interop serve
       trunkline-interop gateway -addr ADDR";

/// What runs.
enum Mode {
    Calls(Peer),
    Iip(iip::Peer),
    Netrpc(netrpc::Peer),
    Gob(PathBuf),
    /// The Go program of a node; the cases start it.
    Saber(PathBuf),
    Serve,
    /// HTTP in front of an IIP server.
    Gateway(String),
}

struct Options {
    mode: Mode,
    token: Option<String>,
    only: String,
    long: bool,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Option<Self> {
        let mode = args.next()?;
        let (mut address, mut program, mut frames) = (String::new(), PathBuf::new(), String::new());
        let (mut connect, mut zrpc) = (String::new(), String::new());
        let mut options = Self { mode: Mode::Serve, token: None, only: String::new(), long: false };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "-addr" => address = args.next()?,
                "-server" => program = args.next()?.into(),
                "-frames" => frames = args.next()?,
                "-connect" => connect = args.next()?,
                "-zrpc" => zrpc = args.next()?,
                "-token" => options.token = Some(args.next()?),
                "-case" => options.only = args.next()?,
                "-long" => options.long = true,
                _ => return None,
            }
        }
        if mode == "serve" {
            return Some(options);
        }
        options.mode = match mode.as_str() {
            "rpcx" => Mode::Calls(Peer { kind: Kind::Rpcx, address, program }),
            "easymicro" => Mode::Calls(Peer { kind: Kind::Easymicro, address, program }),
            "saber" => Mode::Saber(program),
            "iip" => Mode::Iip(iip::Peer { address, program, frames }),
            "netrpc" => Mode::Netrpc(netrpc::Peer { address, connect, zrpc, program }),
            "gob" => {
                options.mode = Mode::Gob(program);
                return Some(options);
            }
            "gateway" => Mode::Gateway(address),
            _ => return None,
        };
        let address = match &options.mode {
            Mode::Calls(peer) => &peer.address,
            Mode::Iip(peer) => &peer.address,
            Mode::Gateway(backend) => backend,
            Mode::Netrpc(peer) => &peer.address,
            Mode::Saber(program) => return program.exists().then_some(options),
            Mode::Gob(_) | Mode::Serve => return None,
        };
        (!address.is_empty()).then_some(options)
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
    let peer = match &options.mode {
        Mode::Calls(peer) => peer,
        Mode::Iip(peer) => {
            iip::cases(&mut suite, peer).await;
            return suite.close();
        }
        Mode::Netrpc(peer) => {
            netrpc::cases(&mut suite, peer).await;
            return suite.close();
        }
        Mode::Gob(program) => {
            gob::cases(&mut suite, program).await;
            return suite.close();
        }
        Mode::Saber(program) => {
            saber::cases(&mut suite, program).await;
            return suite.close();
        }
        Mode::Serve => return own::serve(None).await,
        Mode::Gateway(backend) => return own::serve(Some(backend)).await,
    };
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
