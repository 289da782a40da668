//! Builds what is measured: in release, as users do.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Options, root, target};
use crate::go::Go;

/// Where the programs are. A peer that could not be built is left out, aloud.
pub(super) struct Programs {
    pub(super) trunkline: PathBuf,
    pub(super) limit: PathBuf,
    pub(super) peer_trunkline: PathBuf,
    pub(super) peer_files: PathBuf,
    /// The other frameworks by their names.
    pub(super) peers: Vec<(&'static str, PathBuf)>,
}

/// Go's peers: the name, the folder of the module and the package.
const GO: [(&str, &str, &str); 10] = [
    ("rpcx", "peers/go", "rpcx"),
    ("arpc", "peers/go", "arpc"),
    ("grpc-go", "peers/go", "grpc"),
    ("net/rpc", "peers/go", "netrpc"),
    ("easymicro", "peers/go/easymicro", "."),
    ("iip", "peers/go/iip", "."),
    ("iip-files", "peers/go/iip", "files"),
    ("net/http", "peers/go", "nethttp"),
    ("saber", "peers/go/saber", "."),
    ("zrpc", "peers/go/zrpc", "."),
];

/// Those that have tables of their own: how the names of the tables begin, and which peers they need.
const OWN: [(&str, &[&str]); 4] = [
    ("IIP", &["iip", "iip-files", "net/http"]),
    ("net/rpc", &["net/rpc"]),
    ("saber", &["saber"]),
    ("zrpc", &["zrpc"]),
];

/// Whether a peer echoes bodies as the general tables have it.
pub(super) fn is_general(name: &str) -> bool {
    name == "net/rpc" || !OWN.iter().any(|(_, peers)| peers.contains(&name))
}

/// The peers that are needed for what `--only` says, where it names tables of their own.
fn own(only: Option<&str>) -> Option<&'static [&'static str]> {
    let (_, peers) = OWN.iter().find(|(table, _)| only.is_some_and(|only| only.starts_with(table)))?;
    Some(peers)
}

pub(super) fn build(options: &Options) -> Result<Programs, String> {
    let (root, bench) = (root(), root().join("bench"));
    let (target, bench_target) = target();
    let release = bench_target.join("release");
    cargo(&root, &target, &["-p", "trunkline-cli"])?;
    cargo(&bench, &bench_target, &["-p", "limit", "-p", "bench-trunkline"])?;
    let mut programs = Programs {
        trunkline: target.join("release/trunkline"),
        limit: release.join("limit"),
        peer_trunkline: release.join("peer-trunkline"),
        peer_files: release.join("peer-trunkline-files"),
        peers: Vec::new(),
    };
    if options.quick {
        return Ok(programs);
    }
    let own = own(options.only.as_deref());
    if own.is_none() {
        cargo(&bench, &bench_target, &["-p", "trunkline-bench-peers"])?;
        for name in ["tarpc", "volo", "tonic"] {
            programs.peers.push((name, release.join(format!("peer-{name}"))));
        }
    }
    let Some(go) = Go::find(&root)? else { return Ok(programs) };
    let out = bench_target.join("go");
    std::fs::create_dir_all(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    for (name, module, package) in
        GO.into_iter().filter(|(name, ..)| own.is_none_or(|own| own.contains(name)))
    {
        let program = out.join(name.replace('/', "-"));
        match go.peer(&bench.join(module), package, &program) {
            Ok(()) => programs.peers.push((name, program)),
            Err(error) => println!("SKIPPED: {name}: {error}"),
        }
    }
    Ok(programs)
}

fn cargo(folder: &Path, target: &Path, packages: &[&str]) -> Result<(), String> {
    let status = Command::new("cargo")
        .args(["build", "--release", "--quiet"])
        .args(packages)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target)
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("cargo build {} failed", packages.join(" "))) }
}
