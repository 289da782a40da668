//! A file there and back by the Go examples' protocol: the Go programs, and our client at our server.
//!
//! In a round each pair fetches and sends the file once, and the order moves on from round to round; a figure is the
//! median of the times, a ratio the median of the ratios to the Go pair in the same round, of the throughput and of what
//! either end took of the processor. The file lies in memory.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Options;
use super::build::Programs;
use super::run::{Running, field, median, next};

pub(super) const NAME: &str = "IIP, a file by the Go examples' protocol";

/// Programs that serve files, fetch and send them, and what is said to those that do the last two.
struct Pair {
    name: &'static str,
    program: String,
    own: bool,
}

/// What one transfer took, in seconds: of time, and of the processor at either end.
#[derive(Clone, Copy)]
struct Figures {
    seconds: f64,
    server: f64,
    client: f64,
}

/// A folder that goes with its handle.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs the rounds; the rows as JSON objects.
pub(super) fn measure(options: &Options, programs: &Programs) -> Result<Vec<String>, String> {
    let Some((_, go)) = programs.peers.iter().find(|(name, _)| *name == "iip-files") else {
        return Ok(Vec::new());
    };
    let size = options.mebibytes;
    println!("\n{NAME}: {size} MiB");
    let pair = |name, program: &Path, own| Pair { name, program: program.display().to_string(), own };
    let pairs = [
        pair("Go, both", go, false),
        pair("trunkline, both", &programs.peer_files, false),
        pair("trunkline, its own protocol", &programs.peer_files, true),
    ];
    // In memory, where there is a folder for that: the disk would be what is measured.
    let memory = PathBuf::from("/dev/shm");
    let below = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let folder = Folder(below.join(format!("trunkline-bench-files-{}", std::process::id())));
    let source = folder.0.join("source");
    let told = |error| format!("{}: {error}", folder.0.display());
    fs::create_dir_all(folder.0.join("there")).map_err(told)?;
    write(&source, size).map_err(told)?;
    fs::copy(&source, folder.0.join("there/file")).map_err(told)?;
    let mut rows = Vec::new();
    for what in ["get", "put"] {
        let mut rounds: Vec<Vec<Figures>> = vec![Vec::new(); pairs.len()];
        for round in 0..options.rounds {
            for turn in 0..pairs.len() {
                let index = (round + turn) % pairs.len();
                rounds[index].push(once(&pairs[index], what, &folder.0, &source)?);
            }
        }
        println!(
            "  {what}\n    {:<32}{:>10}{:>10}{:>12}{:>12}",
            "", "MiB/s", "ratio", "server cpu", "client cpu"
        );
        for (pair, own) in pairs.iter().zip(&rounds) {
            let against = |figure: fn(&Figures) -> f64| {
                median(own.iter().zip(&rounds[0]).map(|(own, first)| figure(own) / figure(first)))
            };
            let rate = size as f64 / median(own.iter().map(|figures| figures.seconds));
            let ratio = 1.0 / against(|figures| figures.seconds);
            let (server, client) = (against(|figures| figures.server), against(|figures| figures.client));
            println!("    {:<32}{rate:>10.0}{ratio:>10.2}{server:>12.2}{client:>12.2}", pair.name);
            rows.push(format!(
                r#"{{"table":"{NAME}","load":"{what} {size} MiB","system":"{}","rounds":{},"mib_s":{rate:.1},"ratio":{ratio:.4},"server_ratio":{server:.4},"client_ratio":{client:.4}}}"#,
                pair.name, options.rounds
            ));
        }
    }
    Ok(rows)
}

/// Bytes that no piece has twice.
fn write(path: &Path, mebibytes: usize) -> std::io::Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut file = File::create(path)?;
    for _ in 0..mebibytes {
        let block: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_ne_bytes()
        })
        .take((1 << 20) / 8)
        .flatten()
        .collect();
        file.write_all(&block)?;
    }
    Ok(())
}

/// One transfer with a server of its own. What arrived is compared.
fn once(pair: &Pair, what: &str, folder: &Path, source: &Path) -> Result<Figures, String> {
    let there = folder.join("there");
    let arguments = ["server", "--listen", "127.0.0.1:0", "--files", &there.display().to_string()];
    let (server, mut lines) = Running::start("0,1", &pair.program, &arguments.map(str::to_owned))?;
    let ready = next(&mut lines)?;
    let address = ready.strip_prefix("ready ").ok_or_else(|| format!("the server said {ready}"))?;
    let (name, file, arrived) = match what {
        "get" => ("file", folder.join("got"), folder.join("got")),
        _ => ("sent", source.to_owned(), there.join("sent")),
    };
    let path = file.display().to_string();
    let own = pair.own.then_some("--own");
    let arguments: Vec<String> =
        [what, address, name, &path].into_iter().chain(own).map(str::to_owned).collect();
    let (client, mut lines) = Running::start("0,1", &pair.program, &arguments)?;
    let said = next(&mut lines).map_err(|why| format!("{}, {what}: {why}", pair.name))?;
    let seconds = field(&said, "seconds").ok_or_else(|| format!("{}, {what}: {said}", pair.name))?;
    let used = |of: &Running| of.processor().values().sum();
    let figures = Figures { seconds, server: used(&server), client: used(&client) };
    drop((server, client));
    let same = Command::new("cmp").args([source, &arrived]).status();
    if !same.is_ok_and(|status| status.success()) {
        return Err(format!("{}, {what}: other bytes arrived", pair.name));
    }
    fs::remove_file(&arrived).map_err(|error| format!("{}: {error}", arrived.display()))?;
    Ok(figures)
}
