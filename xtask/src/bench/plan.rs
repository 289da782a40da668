//! What is measured: tables of systems, each under several loads.

use std::path::Path;

use super::Options;
use super::build::Programs;

/// One program with its arguments; an address is put behind a client's first argument.
#[derive(Clone)]
pub(super) struct Program {
    pub(super) path: String,
    pub(super) arguments: Vec<String>,
}

/// A server and a client.
#[derive(Clone)]
pub(super) struct System {
    pub(super) name: String,
    pub(super) server: Program,
    pub(super) client: Program,
    pub(super) kind: Client,
}

/// How a client is told its load, and what it prints.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    /// The command line of `bench/peers/README.md`.
    Peer,
    /// `trunkline bench`.
    Bench,
}

/// So many connections with so many calls in flight each, of so many bytes.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub(super) connections: usize,
    pub(super) in_flight: usize,
    pub(super) size: usize,
    /// Both sides on one core: a single call at a time is else a measure of how one core wakes another.
    pub(super) same_core: bool,
}

impl Load {
    pub(super) fn name(self) -> String {
        let core = if self.same_core { ", one core" } else { "" };
        format!("{} × {}, {} B{core}", self.connections, self.in_flight, self.size)
    }
}

/// One table. The first system is the one that the others are compared with.
pub(super) struct Plan {
    pub(super) name: &'static str,
    pub(super) loads: Vec<Load>,
    pub(super) systems: Vec<System>,
}

const fn load(connections: usize, in_flight: usize, size: usize) -> Load {
    Load { connections, in_flight, size, same_core: connections * in_flight == 1 }
}

fn loads(sizes: &[usize]) -> Vec<Load> {
    let shapes = [(1, 1), (100, 1), (1000, 1), (1, 1000), (10, 100)];
    sizes.iter().flat_map(|size| shapes.map(|(c, d)| load(c, d, *size))).collect()
}

fn program(path: &Path, arguments: &str) -> Program {
    let arguments = arguments.split_whitespace().map(str::to_owned).collect();
    Program { path: path.display().to_string(), arguments }
}

const DEMO: &str = "demo --no-calls --threads 1 --listen 127.0.0.1:0";
const SERVER: &str = "server --threads 1 --listen 127.0.0.1:0";

pub(super) fn plans(options: &Options, programs: &Programs) -> Vec<Plan> {
    let system = |name: &str, server: Program, client: Program| System {
        name: name.to_owned(),
        server,
        client,
        kind: Client::Peer,
    };
    let limit_server = program(&programs.limit, SERVER);
    let demo = program(&programs.trunkline, DEMO);
    let limit_client = |method: &str| program(&programs.limit, &format!("client --method {method}"));
    let own = program(&programs.peer_trunkline, "client --threads 1");
    let limit = system("limit", limit_server.clone(), limit_client("Echo.Echo"));

    let mut ends = vec![limit.clone(), system("trunkline", demo.clone(), own.clone())];
    let mut servers = vec![
        limit.clone(),
        system("Echo.Owned", demo.clone(), limit_client("Echo.Owned")),
        system("Echo.Echo", demo.clone(), limit_client("Echo.Echo")),
    ];
    for (name, path) in &programs.peers {
        ends.push(system(name, program(path, SERVER), program(path, "client --threads 1")));
        let method = match *name {
            "rpcx" => "Echo.Echo",
            "easymicro" => "echo.echo",
            _ => continue,
        };
        servers.push(system(name, program(path, SERVER), limit_client(method)));
    }
    let batches = program(&programs.peer_trunkline, "client --threads 1 --batches");
    let bench = Program { arguments: vec!["bench".to_owned()], ..demo.clone() };
    let bench = System { kind: Client::Bench, ..system("trunkline bench", limit_server.clone(), bench) };
    let clients = vec![limit.clone(), bench, system("trunkline client", limit_server, own)];
    let sizes: &[usize] = if options.quick { &[581] } else { &[581, 16, 16384] };
    let mut plans = vec![
        Plan { name: "end to end, a task a call", loads: loads(sizes), systems: ends },
        Plan {
            name: "end to end, batches of 100 from one task a connection",
            loads: vec![load(10, 100, 581)],
            systems: vec![limit, system("trunkline", demo, batches)],
        },
        Plan { name: "server alone, under the limit's client", loads: loads(&[581]), systems: servers },
        Plan {
            name: "client alone, against the limit's server",
            loads: vec![load(100, 1, 581), load(10, 100, 581)],
            systems: clients,
        },
    ];
    for plan in &mut plans {
        if !options.wants(plan.name) {
            let mut first = true;
            plan.systems.retain(|system| std::mem::take(&mut first) || options.wants(&system.name));
        }
    }
    plans.retain(|plan| plan.systems.len() > 1);
    plans
}
