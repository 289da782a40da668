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
const GO: [(&str, &str, &str); 8] = [
    ("rpcx", "peers/go", "rpcx"),
    ("arpc", "peers/go", "arpc"),
    ("grpc-go", "peers/go", "grpc"),
    ("net/rpc", "peers/go", "netrpc"),
    ("easymicro", "peers/go/easymicro", "."),
    ("iip", "peers/go/iip", "."),
    ("iip-files", "peers/go/iip", "files"),
    ("net/http", "peers/go", "nethttp"),
];

/// Those that IIP's tables have.
pub(super) const OF_IIP: [&str; 3] = ["iip", "iip-files", "net/http"];

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
    if !options.only_iip() {
        cargo(&bench, &bench_target, &["-p", "trunkline-bench-peers"])?;
    }
    for name in ["tarpc", "volo", "tonic"].into_iter().filter(|_| !options.only_iip()) {
        programs.peers.push((name, release.join(format!("peer-{name}"))));
    }
    let Some(go) = Go::find(&root)? else { return Ok(programs) };
    let out = bench_target.join("go");
    std::fs::create_dir_all(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    for (name, module, package) in
        GO.into_iter().filter(|(name, ..)| !options.only_iip() || OF_IIP.contains(name))
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
