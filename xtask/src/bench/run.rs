//! Runs the rounds of one table.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::plan::{Client, Cores, Load, Plan, SABER, System};
use super::{Options, report};

/// What one run of one system gave.
#[derive(Clone, Copy, Default)]
pub(super) struct Figures {
    pub(super) rps: f64,
    pub(super) failed: f64,
    pub(super) p50: f64,
    pub(super) p99: f64,
    /// Microseconds of processor time a request, of the server and of the client.
    pub(super) server: f64,
    pub(super) client: f64,
    /// How much of a core the busier side had.
    pub(super) busy: f64,
    /// What the second busiest thread of the server had of what the busiest had.
    pub(super) balance: f64,
}

/// The medians of a system under one load.
pub(super) struct Cell {
    pub(super) system: String,
    pub(super) median: Figures,
    /// Against the first system of the table, in the same rounds: throughput, and the server's processor time.
    pub(super) ratio: f64,
    pub(super) server_ratio: f64,
    /// Rounds in which it had no whole core in any of three tries.
    pub(super) starved: usize,
}

/// The cells of one load.
pub(super) struct Row {
    pub(super) load: Load,
    pub(super) cells: Vec<Cell>,
}

/// What was measured of a plan.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) rounds: usize,
    pub(super) rows: Vec<Row>,
}

impl Table {
    /// The lowest throughput of these systems under the load.
    pub(super) fn lowest(&self, load: Load, systems: &[&str]) -> Option<f64> {
        let row = self.rows.iter().find(|row| row.load.name() == load.name())?;
        let cells = row.cells.iter().filter(|cell| systems.contains(&cell.system.as_str()));
        cells.map(|cell| cell.median.rps).min_by(f64::total_cmp)
    }
}

/// How much of a core counts as all of it.
const WHOLE: f64 = 0.85;
const WARM_UP: Duration = Duration::from_millis(120);

pub(super) fn measure(plan: &Plan, options: &Options) -> Result<Table, String> {
    let mut rows = Vec::new();
    for load in &plan.loads {
        let count = plan.systems.len();
        let mut rounds: Vec<Vec<Figures>> = vec![Vec::new(); count];
        for round in 0..options.rounds {
            for turn in 0..count {
                let index = (round + turn) % count;
                let system = &plan.systems[index];
                rounds[index].push(whole(system, *load, options.seconds * plan.stretch)?);
            }
        }
        let cells = plan.systems.iter().zip(&rounds).map(|(system, own)| cell(system, own, &rounds[0]));
        let row = Row { load: *load, cells: cells.collect() };
        print!("{}", report::row(&row, options.rounds));
        rows.push(row);
    }
    Ok(Table { name: plan.name, rounds: options.rounds, rows })
}

/// Runs once, and again where others had the processor.
fn whole(system: &System, load: Load, seconds: f64) -> Result<Figures, String> {
    let mut best = Figures::default();
    for _ in 0..3 {
        let figures = once(system, load, seconds)
            .map_err(|error| format!("{}, {}: {error}", system.name, load.name()))?;
        if figures.busy > best.busy {
            best = figures;
        }
        // One call at a time on one core shares the core, and a given rate leaves time.
        if load.cores == Cores::One
            || matches!(system.kind, Client::Bench { rate: Some(_), .. })
            || best.busy >= WHOLE
        {
            break;
        }
    }
    Ok(best)
}

fn cell(system: &System, own: &[Figures], first: &[Figures]) -> Cell {
    let of = |figure: fn(&Figures) -> f64| median(own.iter().map(figure));
    let against = |figure: fn(&Figures) -> f64| {
        median(own.iter().zip(first).map(|(own, first)| figure(own) / figure(first)))
    };
    Cell {
        system: system.name.clone(),
        median: Figures {
            rps: of(|f| f.rps),
            failed: of(|f| f.failed),
            p50: of(|f| f.p50),
            p99: of(|f| f.p99),
            server: of(|f| f.server),
            client: of(|f| f.client),
            busy: of(|f| f.busy),
            balance: of(|f| f.balance),
        },
        ratio: against(|f| f.rps),
        server_ratio: against(|f| f.server),
        starved: own.iter().filter(|figures| figures.busy < WHOLE).count(),
    }
}

pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// A process that ends with its handle.
pub(super) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// Starts a program on one core; its lines come from the reader.
    pub(super) fn start(
        cores: &str,
        path: &str,
        arguments: &[String],
    ) -> Result<(Self, BufReader<ChildStdout>), String> {
        let mut child = Command::new("taskset")
            .args(["-c", cores, path])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{path}: {error}"))?;
        let lines = child.stdout.take().map(BufReader::new).ok_or("no output")?;
        Ok((Self(child), lines))
    }

    /// Seconds of processor time so far, of each thread.
    pub(super) fn processor(&self) -> HashMap<OsString, f64> {
        let Ok(tasks) = std::fs::read_dir(format!("/proc/{}/task", self.0.id())) else {
            return HashMap::new();
        };
        let of = |task: std::fs::DirEntry| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            Some((task.file_name(), text.split(' ').next()?.parse::<f64>().ok()? / 1e9))
        };
        tasks.flatten().filter_map(of).collect()
    }
}

fn once(system: &System, load: Load, seconds: f64) -> Result<Figures, String> {
    let (server_core, client_core) = match load.cores {
        Cores::Each => ("0", "1"),
        Cores::One => ("0", "0"),
        Cores::Both => ("0,1", "0,1"),
    };
    let (server, mut lines) = Running::start(server_core, &system.server.path, &system.server.arguments)?;
    let ready = next(&mut lines)?;
    let address = ready.strip_prefix("ready ").ok_or_else(|| format!("the server said {ready}"))?;
    let address = address.split(' ').next().unwrap_or_default();
    let arguments = client_arguments(system, load, seconds, address);
    let (client, mut lines) = Running::start(client_core, &system.client.path, &arguments)?;
    if system.kind == Client::Peer {
        next(&mut lines)?;
    } else {
        std::thread::sleep(WARM_UP);
    }
    let (begun, before) = (Instant::now(), (server.processor(), client.processor()));
    // `trunkline bench` does not say when its time begins: the middle of it is taken.
    let window = if system.kind == Client::Peer { seconds } else { seconds * 0.6 };
    std::thread::sleep(Duration::from_secs_f64(window));
    let (took, after) = (begun.elapsed().as_secs_f64(), (server.processor(), client.processor()));
    let server_threads = used(&before.0, &after.0);
    let (server, client): (f64, f64) = (server_threads.iter().sum(), used(&before.1, &after.1).iter().sum());
    let line = next(&mut lines)?;
    let field = |name| field(&line, name).ok_or_else(|| format!("the client said {line}"));
    let rps = field("rps")?;
    let a_request = |processor: f64| processor / (rps * took) * 1e6;
    Ok(Figures {
        rps,
        failed: field("failed")?,
        p50: field("p50_us")?,
        p99: field("p99_us")?,
        server: a_request(server),
        client: a_request(client),
        busy: server.max(client) / took,
        balance: server_threads
            .get(1)
            .zip(server_threads.first())
            .map_or(0.0, |(second, first)| second / first),
    })
}

/// What each thread used in between, the busiest first.
fn used(before: &HashMap<OsString, f64>, after: &HashMap<OsString, f64>) -> Vec<f64> {
    let mut used: Vec<f64> =
        after.iter().map(|(thread, now)| now - before.get(thread).copied().unwrap_or(0.0)).collect();
    used.sort_by(|a, b| b.total_cmp(a));
    used
}

fn client_arguments(system: &System, load: Load, seconds: f64, address: &str) -> Vec<String> {
    let mut arguments = system.client.arguments.clone();
    let Load { connections, in_flight, size, .. } = load;
    match system.kind {
        Client::Peer => {
            arguments.insert(1, address.to_owned());
            let rest = format!(
                "--connections {connections} --in-flight {in_flight} --size {size} --seconds {seconds} --warmup-ms {}",
                WARM_UP.as_millis()
            );
            arguments.extend(rest.split(' ').map(str::to_owned));
        }
        Client::Bench { scheme: SABER, .. } => {
            arguments.insert(1, format!("saber://{address}"));
            let rest = format!("-c {in_flight} -z {seconds}s --json");
            arguments.extend(rest.split(' ').map(str::to_owned));
        }
        Client::Bench { scheme, rate } => {
            let body = std::env::temp_dir().join(format!("trunkline-bench-{size}"));
            let _ = std::fs::write(&body, vec![b'x'; size]);
            arguments.insert(1, format!("{scheme}://{address}"));
            let rate = rate.map(|rate| format!(" -q {rate:.0}")).unwrap_or_default();
            let rest = format!(
                "--codec raw -c {connections} -p {in_flight} -z {seconds}s --threads 1 --json -d @{}{rate}",
                body.display()
            );
            arguments.extend(rest.split(' ').map(str::to_owned));
        }
    }
    arguments
}

pub(super) fn next(lines: &mut BufReader<ChildStdout>) -> Result<String, String> {
    let mut line = String::new();
    match lines.read_line(&mut line) {
        Ok(0) | Err(_) => Err("it ended without a word".to_owned()),
        Ok(_) => Ok(line.trim_end().to_owned()),
    }
}

/// A number in an object of one line.
pub(super) fn field(line: &str, name: &str) -> Option<f64> {
    let (_, rest) = line.split_once(&format!("\"{name}\":"))?;
    rest.split([',', '}']).next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_and_the_median_is_in_the_middle() {
        let line = r#"{"rps":12.5,"n":3,"p99_us":7}"#;
        assert_eq!(field(line, "rps"), Some(12.5));
        assert_eq!(field(line, "p99_us"), Some(7.0));
        assert_eq!(field(line, "p50_us"), None);
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
    }
}
