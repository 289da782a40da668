//! What is measured: tables of systems, each under several loads.

use std::path::Path;

use super::build::{Programs, is_general};
use super::{Options, root};

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
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Client {
    /// The command line of `bench/peers/README.md`.
    Peer,
    /// `trunkline bench` on the wire of this scheme, in a closed loop, or at so many calls a second.
    Bench { scheme: &'static str, rate: Option<f64> },
}

/// So many connections with so many calls in flight each, of so many bytes.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub(super) connections: usize,
    pub(super) in_flight: usize,
    pub(super) size: usize,
    pub(super) cores: Cores,
}

/// Where server and client run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cores {
    /// On a core each.
    Each,
    /// Both on one: a single call at a time is else a measure of how one core wakes another.
    One,
    /// Wherever the kernel puts their threads, on the first two.
    Both,
}

impl Load {
    pub(super) fn name(self) -> String {
        let cores = match self.cores {
            Cores::Each => "",
            Cores::One => ", one core",
            Cores::Both => ", unpinned",
        };
        format!("{} × {}, {} B{cores}", self.connections, self.in_flight, self.size)
    }
}

/// One table. The first system is the one that the others are compared with.
pub(super) struct Plan {
    pub(super) name: &'static str,
    /// How many times longer than usual a run lasts.
    pub(super) stretch: f64,
    pub(super) loads: Vec<Load>,
    pub(super) systems: Vec<System>,
}

const fn load(connections: usize, in_flight: usize, size: usize) -> Load {
    let cores = if connections * in_flight == 1 { Cores::One } else { Cores::Each };
    Load { connections, in_flight, size, cores }
}

fn loads(sizes: &[usize]) -> Vec<Load> {
    let shapes = [(1, 1), (100, 1), (1000, 1), (1, 1000), (10, 100)];
    sizes.iter().flat_map(|size| shapes.map(|(c, d)| load(c, d, *size))).collect()
}

fn program(path: &Path, arguments: &str) -> Program {
    let arguments = arguments.split_whitespace().map(str::to_owned).collect();
    Program { path: path.display().to_string(), arguments }
}

/// The table, the load and the system whose throughput the open loop is set by.
pub(super) const SERVER_ALONE: &str = "server alone, under the limit's client";
pub(super) const MANY: Load = load(10, 100, 581);
pub(super) const OWNED: &str = "Echo.Owned";

/// The latency of servers at the same rate, in an open loop.
pub(super) fn open_loop(programs: &Programs, rate: f64) -> Plan {
    let bench = |name: &str, server: Program, method: &str| System {
        name: name.to_owned(),
        server,
        client: program(&programs.trunkline, &format!("bench {method}")),
        kind: Client::Bench { scheme: "rpcx", rate: Some(rate) },
    };
    Plan {
        name: "open loop at half the lower rate, by `trunkline bench -q`",
        // The slowest call in a hundred of a short run is whatever the machine did beside it.
        stretch: 5.0,
        loads: vec![MANY],
        systems: vec![
            bench("limit", program(&programs.limit, SERVER), "Echo.Echo"),
            bench("trunkline", program(&programs.trunkline, DEMO), OWNED),
        ],
    }
}

const DEMO: &str = "demo --no-calls --threads 1 --listen 127.0.0.1:0";
const SERVER: &str = "server --threads 1 --listen 127.0.0.1:0";

/// One of the three benchmarks of the Go library, so many connections with so many calls in flight each, on a core each
/// and both on one.
fn own(name: &'static str, (connections, in_flight): (usize, usize), systems: Vec<System>) -> Plan {
    let loads = [Cores::Each, Cores::One].map(|cores| Load { cores, ..load(connections, in_flight, 14_000) });
    Plan { name, stretch: 1.0, loads: loads.into(), systems }
}

/// IIP's own tables: the server beside rpcx on the same shapes, and the benchmarks of the Go library. There two calls are
/// in flight, as on two cores: with more the Go client takes hundreds of milliseconds a call.
fn iip(programs: &Programs) -> Vec<Plan> {
    let peer = |name: &str, server: &Program, client: &Program| System {
        name: name.to_owned(),
        server: server.clone(),
        client: client.clone(),
        kind: Client::Peer,
    };
    let (demo, rpcx) = (program(&programs.trunkline, DEMO), "client --method Echo.Owned");
    let limit_server = program(&programs.limit, &format!("{SERVER} --wire iip"));
    let limit_client = |method: &str, channels: usize| {
        let line = format!("client --wire iip --method {method} --channels {channels}");
        program(&programs.limit, &line)
    };
    let bench = |scheme: &'static str, method: &str| System {
        kind: Client::Bench { scheme, rate: None },
        ..peer("trunkline, both", &demo, &program(&programs.trunkline, &format!("bench {method}")))
    };
    let alone = |name, load: Load, channels| Plan {
        stretch: 1.0,
        name,
        loads: vec![load],
        systems: vec![
            peer("rpcx Echo.Owned", &demo, &program(&programs.limit, rpcx)),
            peer("limit", &limit_server, &limit_client("/echo", channels)),
            peer("/echo", &demo, &limit_client("/echo", channels)),
            peer("/Echo/Owned", &demo, &limit_client("/Echo/Owned", channels)),
        ],
    };
    let mut plans = vec![
        alone("IIP, server alone, under the limit's client, 1 channel", load(1, 1000, 581), 1),
        alone("IIP, server alone, under the limit's client, 4 channels a connection", MANY, 4),
    ];
    if let Some((_, path)) = programs.peers.iter().find(|(name, _)| *name == "iip") {
        let (server, client) = (program(path, SERVER), program(path, "client --threads 1"));
        let limit = peer("limit, both", &limit_server, &limit_client("/echo", 1));
        let both = bench("iip", "/echo");
        plans.push(own(
            "IIP, the Go library's own benchmark: 14 kB through one channel",
            (1, 2),
            vec![
                peer("Go, both", &server, &client),
                peer("Go client alone", &demo, &client),
                peer("Go client, limit", &limit_server, &client),
                both,
                limit,
            ],
        ));
        let client = program(path, "client --threads 1 --balanced");
        let both = program(&programs.peer_trunkline, "client --threads 1 --balanced");
        plans.push(own(
            "IIP, the same through the load-balancing client with 2 connections",
            (1, 2),
            vec![
                peer("Go, both", &server, &client),
                peer("Go client alone", &demo, &client),
                peer("Go client, limit", &limit_server, &client),
                peer("trunkline, both", &demo, &both),
            ],
        ));
    }
    if let Some((_, path)) = programs.peers.iter().find(|(name, _)| *name == "net/http") {
        let (server, client) = (program(path, SERVER), program(path, "client --threads 1"));
        plans.push(own(
            "IIP, the same beside it: net/http, 2 connections",
            (2, 1),
            vec![
                peer("Go, both", &server, &client),
                peer("Go client alone", &demo, &client),
                bench("http", "Echo.Echo"),
            ],
        ));
    }
    plans
}

/// Go's net/rpc, whose library is a client of a task a call as ours is.
fn netrpc(programs: &Programs) -> Option<Plan> {
    let (_, path) = programs.peers.iter().find(|(name, _)| *name == "net/rpc")?;
    let (server, client) = (program(path, SERVER), program(path, "client --threads 1"));
    let demo = program(&programs.trunkline, DEMO);
    let ours = program(&programs.peer_trunkline, "client --threads 1 --netrpc");
    let system = |name: &str, server: &Program, client: &Program| System {
        name: name.to_owned(),
        server: server.clone(),
        client: client.clone(),
        kind: Client::Peer,
    };
    Some(Plan {
        name: "net/rpc, as Go's own programs speak it",
        stretch: 1.0,
        loads: vec![load(100, 1, 581), MANY],
        systems: vec![
            system("Go, both", &server, &client),
            system("Go client alone", &demo, &client),
            system("trunkline, both", &demo, &ours),
        ],
    })
}

/// zrpc's own test: very many calls at once, each by a goroutine or a task of its own, over one connection.
fn zrpc(programs: &Programs) -> Option<Plan> {
    let (_, path) = programs.peers.iter().find(|(name, _)| *name == "zrpc")?;
    let pair = |name: &str, path: &Path, flag: &str| System {
        name: name.to_owned(),
        server: program(path, &format!("{SERVER}{flag}")),
        client: program(path, &format!("client --threads 1 --at-once{flag}")),
        kind: Client::Peer,
    };
    let load = Load { cores: Cores::Each, ..load(1, 100_000, 5) };
    Some(Plan {
        name: "zrpc, its own test: 100,000 calls at once",
        stretch: 3.0,
        loads: vec![load],
        systems: vec![
            pair("Go, both", path, ""),
            pair("trunkline, both", &programs.peer_trunkline, " --zrpc"),
        ],
    })
}

/// saber's own stress test: 200 callers and four services. A Go node answers to an address that it has in its table, so
/// the addresses are fixed (`bench/peers/go/saber`).
fn saber(programs: &Programs) -> Option<Plan> {
    let (_, path) = programs.peers.iter().find(|(name, _)| *name == "saber")?;
    let fixed = |arguments: &str| arguments.replace("127.0.0.1:0", "127.0.7.1:8908");
    let server = program(path, &fixed(SERVER));
    let demo = format!("{} --remote stress_client=127.0.7.2:8907", fixed(DEMO));
    let demo = program(&programs.trunkline, &demo);
    let system = |name: &str, server: &Program, client: Program, kind| System {
        name: name.to_owned(),
        server: server.clone(),
        client,
        kind,
    };
    let bench = program(&programs.trunkline, "bench lobby.ReqLogin --services 4");
    let load = Load { cores: Cores::Each, ..load(1, 200, 38) };
    Some(Plan {
        name: "saber, its stress test: 200 callers, 4 services",
        stretch: 2.0,
        loads: vec![load],
        systems: vec![
            system("Go, both", &server, program(path, "client --threads 1"), Client::Peer),
            system(
                "Go client alone",
                &demo,
                program(path, "client --threads 1 --cluster trunkline"),
                Client::Peer,
            ),
            system("trunkline, both", &demo, bench, Client::Bench { scheme: SABER, rate: None }),
        ],
    })
}

/// The scheme on which callers share a connection, and the body is the stress test's own.
pub(super) const SABER: &str = "saber";

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
    let say = root().join("crates/wire/testdata/say-request.bin");
    let say = limit_client(&format!("Hello.Say --format 2 --body {}", say.display()));
    let mut servers = vec![
        limit.clone(),
        system(OWNED, demo.clone(), limit_client("Echo.Owned")),
        system("Echo.Echo", demo.clone(), limit_client("Echo.Echo")),
        // What both have to do whatever serves them, and nothing more: no names, no limits, no counters.
        system(
            "least for Owned",
            program(&programs.limit, "server --answers owned"),
            limit_client("Echo.Owned"),
        ),
        system(
            "least for Echo",
            program(&programs.limit, "server --answers copied"),
            limit_client("Echo.Echo"),
        ),
        system("Hello.Say, typed", demo.clone(), say),
    ];
    let two = program(&programs.trunkline, &DEMO.replace("--threads 1", "--threads 2"));
    let threads = vec![
        system("one thread", demo.clone(), limit_client("Echo.Owned")),
        system("two threads", two, limit_client("Echo.Owned")),
    ];
    for (name, path) in programs.peers.iter().filter(|(name, _)| is_general(name)) {
        ends.push(system(name, program(path, SERVER), program(path, "client --threads 1")));
        let method = match *name {
            "rpcx" => "Echo.Echo",
            "easymicro" => "echo.echo",
            _ => continue,
        };
        servers.push(system(name, program(path, SERVER), limit_client(method)));
    }
    let batches = program(&programs.peer_trunkline, "client --threads 1 --batches");
    let bench = program(&programs.trunkline, "bench Echo.Echo");
    let bench = System {
        kind: Client::Bench { scheme: "rpcx", rate: None },
        ..system("trunkline bench", limit_server.clone(), bench)
    };
    // The server is there to have an address; it is not called.
    let null = program(&programs.peer_trunkline, "client --threads 1 --in-memory");
    let null = system("both ends in memory", limit_server.clone(), null);
    let clients = vec![limit.clone(), bench, system("trunkline client", limit_server, own), null];
    let sizes: &[usize] = if options.quick { &[581] } else { &[581, 16, 16384] };
    let mut plans = vec![
        Plan { name: "end to end, a task a call", stretch: 1.0, loads: loads(sizes), systems: ends },
        Plan {
            name: "end to end, batches of 100 from one task a connection",
            stretch: 1.0,
            loads: vec![load(10, 100, 581)],
            systems: vec![limit, system("trunkline", demo, batches)],
        },
        Plan { name: SERVER_ALONE, stretch: 1.0, loads: loads(&[581]), systems: servers },
        Plan {
            name: "threads of the server, under the limit's client",
            stretch: 1.0,
            loads: vec![Load { cores: Cores::Both, ..load(10, 100, 581) }],
            systems: threads,
        },
        Plan {
            name: "client alone, against the limit's server",
            stretch: 1.0,
            loads: vec![load(100, 1, 581), load(10, 100, 581)],
            systems: clients,
        },
    ];
    plans.extend(iip(programs));
    plans.extend(netrpc(programs));
    plans.extend(zrpc(programs));
    plans.extend(saber(programs));
    for plan in &mut plans {
        if !options.wants(plan.name) {
            let mut first = true;
            plan.systems.retain(|system| std::mem::take(&mut first) || options.wants(&system.name));
        }
    }
    plans.retain(|plan| plan.systems.len() > 1);
    plans
}
