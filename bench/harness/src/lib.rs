//! What the Rust peers have in common: the command line, a closed loop, and the figures as one line of JSON.
//!
//! ```text
//! PEER server --listen 127.0.0.1:0 --threads N
//! PEER client ADDR --connections C --in-flight D --size BYTES --seconds S --warmup-ms 120 --threads N [--calls N]
//!      [--at-once]
//! ```
//!
//! A server's first line is `ready ADDR`; it runs until TERM or the end of its standard input. A client calls over
//! C connections from D tasks each, every one in a loop, and counts the calls that end after the warm-up, whose end it
//! says by a line `begin`. With `--calls` it ends after so many calls (rounded down to as many for each task), with no
//! warm-up and whatever the time: instructions are counted so. With `--at-once` it calls in rounds: all C times D calls
//! begin at once, each in a task of its own, and the next round begins when all have ended; the first one is the warm-up.
//! One thread is Tokio's current-thread runtime, more are the multi-thread one.

mod latency;

use std::future::Future;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Whatever went wrong, in words.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A framework: how it serves an echo, and how it calls one.
pub trait Peer: 'static {
    /// One connection. Each task that calls has a clone.
    type Client: Clone + Send + 'static;

    /// Serves for ever.
    fn serve(listener: TcpListener) -> impl Future<Output = Result<(), Error>>;

    /// Connects.
    fn connect(to: SocketAddr) -> impl Future<Output = Result<Self::Client, Error>>;

    /// Has `body` echoed; how many bytes came back.
    fn echo(client: &mut Self::Client, body: Bytes) -> impl Future<Output = Result<usize, Error>> + Send;

    /// Has `body` echoed so many times side by side, from one task; how many bytes came back in all.
    fn batch(
        client: &mut Self::Client,
        body: Bytes,
        calls: usize,
    ) -> impl Future<Output = Result<usize, Error>> + Send {
        let _ = (client, body, calls);
        async { Err("no batches here".into()) }
    }
}

/// The command line, taken apart: flags with their values.
struct Args(Vec<String>);

impl Args {
    fn text(&self, name: &str) -> Result<&str, Error> {
        let at = self.0.iter().position(|arg| arg == name).and_then(|at| self.0.get(at + 1));
        Ok(at.ok_or_else(|| format!("{name} is missing"))?)
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|arg| arg == name)
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<T, Error> {
        self.text(name)?.parse().map_err(|_| format!("{name}: not a number").into())
    }
}

/// What a client is to do.
#[derive(Clone, Copy)]
struct Load {
    to: SocketAddr,
    connections: usize,
    in_flight: usize,
    size: usize,
    time: Duration,
    warm_up: Duration,
    /// How many calls each task makes, where that is what ends them and not the time.
    calls_each: Option<usize>,
    /// The calls of a connection are batches of one task.
    batches: bool,
    /// Each call is made by a task of its own, and all begin at once.
    at_once: bool,
}

impl Load {
    fn parse(args: &Args) -> Result<Self, Error> {
        let mut load = Self {
            to: args.0.get(1).map(String::as_str).unwrap_or_default().parse()?,
            connections: args.number("--connections")?,
            in_flight: args.number("--in-flight")?,
            size: args.number("--size")?,
            time: Duration::from_secs_f64(args.number("--seconds")?),
            warm_up: Duration::from_millis(args.number("--warmup-ms")?),
            calls_each: None,
            batches: args.has("--batches"),
            at_once: args.has("--at-once"),
        };
        if args.has("--calls") {
            let tasks = load.connections * if load.batches { 1 } else { load.in_flight };
            load.calls_each = Some(args.number::<usize>("--calls")? / tasks.max(1));
            load.warm_up = Duration::ZERO;
        }
        Ok(load)
    }
}

/// The program of a peer.
pub fn main<P: Peer>() -> ExitCode {
    match run::<P>(Args(std::env::args().skip(1).collect())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is the program's")]
fn run<P: Peer>(args: Args) -> Result<(), Error> {
    let threads = args.number("--threads")?;
    let mut builder = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.worker_threads(threads).enable_all().build()?;
    match args.0.first().map(String::as_str) {
        Some("server") => runtime.block_on(serve::<P>(args.text("--listen")?)),
        Some("client") => {
            let done = runtime.block_on(call::<P>(Load::parse(&args)?))?;
            // Its threads have seen what they have seen when they have ended.
            drop(runtime);
            report(&done)
        }
        _ => Err("server or client?".into()),
    }
}

async fn serve<P: Peer>(listen: &str) -> Result<(), Error> {
    let listener = TcpListener::bind(listen).await?;
    println!("ready {}", listener.local_addr()?);
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    P::serve(listener).await
}

/// How the calls of one task failed.
#[derive(Default)]
struct Failures {
    count: usize,
    first: Option<Error>,
}

impl Failures {
    fn add(&mut self, error: Error) {
        self.count += 1;
        self.first.get_or_insert(error);
    }

    fn done(self, lasted: Duration) -> Done {
        if let Some(error) = &self.first {
            eprintln!("the first failure: {error}");
        }
        Done { seconds: lasted.as_secs_f64(), failed: self.count }
    }
}

/// What became of all calls, beside how long each took.
struct Done {
    seconds: f64,
    failed: usize,
}

async fn call<P: Peer>(load: Load) -> Result<Done, Error> {
    let mut clients = Vec::new();
    for _ in 0..load.connections {
        clients.push(P::connect(load.to).await?);
    }
    if load.at_once {
        return rounds::<P>(&clients, load).await;
    }
    let begin = Instant::now() + load.warm_up;
    std::thread::spawn(move || {
        std::thread::sleep(load.warm_up);
        println!("begin");
    });
    let mut tasks = JoinSet::new();
    let tasks_each = if load.batches { 1 } else { load.in_flight };
    // One for all, as the limit's client has it: what is measured are not the caches that the bodies take.
    let body = Bytes::from(vec![b'x'; load.size]);
    for client in clients {
        for _ in 0..tasks_each {
            tasks.spawn(calls::<P>(client.clone(), load, begin, body.clone()));
        }
    }
    let mut all = Failures::default();
    while let Some(failures) = tasks.join_next().await {
        let failures = failures?;
        all.count += failures.count;
        all.first = all.first.or(failures.first);
    }
    let lasted = if load.calls_each.is_some() { begin.elapsed() } else { load.time };
    Ok(all.done(lasted))
}

/// All calls at once, again and again, until the time is over.
async fn rounds<P: Peer>(clients: &[P::Client], load: Load) -> Result<Done, Error> {
    let body = Bytes::from(vec![b'x'; load.size]);
    let mut all = Failures::default();
    let mut begin = None;
    loop {
        if begin.is_some_and(|begin: Instant| begin.elapsed() >= load.time) {
            break;
        }
        let mut tasks = Vec::with_capacity(clients.len() * load.in_flight);
        for client in clients {
            for _ in 0..load.in_flight {
                let (mut client, body) = (client.clone(), body.clone());
                tasks.push(tokio::spawn(async move {
                    let called = Instant::now();
                    (P::echo(&mut client, body).await, called.elapsed())
                }));
            }
        }
        // Each waits for its turn, and nobody else is told when it ends: as a counter that goroutines count down.
        for task in tasks {
            match task.await? {
                (Ok(size), took) if size == load.size => {
                    if begin.is_some() {
                        latency::record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), 1);
                    }
                }
                (Ok(size), _) => all.add(format!("{size} bytes came back").into()),
                (Err(error), _) => all.add(error),
            }
        }
        if begin.is_none() {
            println!("begin");
            begin = Some(Instant::now());
        }
    }
    Ok(all.done(begin.map_or(Duration::ZERO, |begin| begin.elapsed())))
}

/// One call after the other, until the time is over or all calls are made.
async fn calls<P: Peer>(mut client: P::Client, load: Load, begin: Instant, body: Bytes) -> Failures {
    let calls = if load.batches { load.in_flight } else { 1 };
    let mut failures = Failures::default();
    let (mut made, mut called) = (0, Instant::now());
    loop {
        if load.calls_each.is_some_and(|most| made >= most) {
            return failures;
        }
        made += calls;
        let result = match load.batches {
            true => P::batch(&mut client, body.clone(), calls).await,
            false => P::echo(&mut client, body.clone()).await,
        };
        let now = Instant::now();
        if load.calls_each.is_none() && now >= begin + load.time {
            return failures;
        }
        let before = std::mem::replace(&mut called, now);
        let error = match result {
            Ok(size) if size == load.size * calls => {
                if now >= begin {
                    let took = u64::try_from((now - before).as_nanos()).unwrap_or(u64::MAX);
                    latency::record(took, calls as u64);
                }
                continue;
            }
            Ok(size) => format!("{size} bytes came back").into(),
            Err(error) => error,
        };
        failures.add(error);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Says the figures.
fn report(done: &Done) -> Result<(), Error> {
    let took = latency::all().ok_or("the bounds of the histogram are wrong")?;
    let at = |quantile| took.value_at_quantile(quantile) as f64 / 1000.0;
    let (p50, p99, p999) = (at(0.5), at(0.99), at(0.999));
    let (n, Done { seconds, failed }) = (took.len(), done);
    let rps = n as f64 / seconds;
    println!(
        r#"{{"rps":{rps:.1},"n":{n},"failed":{failed},"duration_s":{seconds},"p50_us":{p50:.1},"p99_us":{p99:.1},"p999_us":{p999:.1}}}"#
    );
    Ok(())
}
