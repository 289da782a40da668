//! Trunkline as a peer of the benchmarks: a lean server of `Echo`, and its client with a task for each call in
//! flight. The command line is the same for all peers; see `../README.md`.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::runtime::Runtime;
use trunkline::client::Channel;
use trunkline::{Body, Call, Name, Reply, ReplyBuf, Serialization, Server, Service, service};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The same bytes back: borrowed, and through a handler that owns them.
#[service]
trait Echo {
    fn echo(&self, body: &[u8], reply: &mut ReplyBuf<'_>) -> trunkline::Result<()>;
    async fn owned(&self, body: Bytes) -> trunkline::Result<Bytes>;
}

struct Mirror;

impl Echo for Mirror {
    fn echo(&self, body: &[u8], reply: &mut ReplyBuf<'_>) -> trunkline::Result<()> {
        reply.extend_from_slice(body);
        Ok(())
    }

    async fn owned(&self, body: Bytes) -> trunkline::Result<Bytes> {
        Ok(body)
    }
}

fn main() -> Result {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("server") => server(&arguments),
        Some("client") => client(&arguments),
        _ => Err("usage: bench-trunkline server|client; see bench/README.md".into()),
    }
}

/// The value behind an option, or the default.
fn option<T: std::str::FromStr>(arguments: &[String], name: &str, default: T) -> Result<T> {
    let Some(at) = arguments.iter().position(|argument| argument == name) else { return Ok(default) };
    let text = arguments.get(at + 1).ok_or_else(|| format!("{name} wants a value"))?;
    text.parse().map_err(|_| format!("{name} {text}: not understood").into())
}

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn server(arguments: &[String]) -> Result {
    let listen = option(arguments, "--listen", "127.0.0.1:0".to_owned())?;
    let threads = option(arguments, "--threads", 1)?;
    runtime()?.block_on(async {
        let server = Server::builder().serve(EchoServer::new(Mirror)).threads(threads).listen(listen);
        let server = server.bind().await?;
        println!("ready {}", server.addresses().join(" "));
        Ok(server.run().await?)
    })
}

/// What all tasks share.
struct Load {
    body: Bytes,
    serialization: Serialization,
    service: Name,
    method: Name,
    ended: AtomicBool,
    /// One for all: a thousand histograms would not stay in the cache.
    figures: Mutex<Figures>,
}

/// What was counted since the warm-up.
struct Figures {
    latency: Histogram<u64>,
    calls: u64,
    failed: u64,
}

impl Figures {
    fn new() -> Result<Self> {
        Ok(Self { latency: Histogram::new_with_bounds(100, 60_000_000_000, 2)?, calls: 0, failed: 0 })
    }
}

fn client(arguments: &[String]) -> Result {
    let address = arguments.get(1).ok_or("client wants an address")?;
    let connections: usize = option(arguments, "--connections", 1)?;
    let in_flight: usize = option(arguments, "--in-flight", 1)?;
    let method = option(arguments, "--method", "Echo.Owned".to_owned())?;
    let (service, method) = method.split_once('.').ok_or("--method wants Service.Method")?;
    let body = vec![b'x'; option(arguments, "--size", 581)?];
    let seconds = Duration::from_secs_f64(option(arguments, "--seconds", 1.0)?);
    let warm = Duration::from_millis(option(arguments, "--warmup-ms", 120)?);
    let load = Arc::new(Load {
        body: body.into(),
        serialization: Serialization::Raw,
        service: Name::from_static(service.to_owned().leak()),
        method: Name::from_static(method.to_owned().leak()),
        ended: AtomicBool::new(false),
        figures: Mutex::new(Figures::new()?),
    });
    runtime()?.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        let start = Instant::now() + warm;
        for _ in 0..connections {
            let channel = Channel::connect(&format!("rpcx://{address}")).await?;
            for _ in 0..in_flight {
                tasks.spawn(call_on(Arc::clone(&load), channel.clone(), start));
            }
        }
        tokio::time::sleep_until(start.into()).await;
        println!("begin");
        std::io::stdout().flush()?;
        let begun = Instant::now();
        tokio::time::sleep(seconds).await;
        load.ended.store(true, Ordering::Relaxed);
        let duration = begun.elapsed();
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        report(&load.figures.lock().unwrap_or_else(PoisonError::into_inner), duration);
        Ok(())
    })
}

/// One call after the other, until the end.
async fn call_on(load: Arc<Load>, channel: Channel, start: Instant) -> Result {
    let mut begun = Instant::now();
    loop {
        let call = Call::new(load.service.clone(), load.method.clone(), load.serialization, load.body.clone());
        let reply = channel.call(call).await;
        if load.ended.load(Ordering::Relaxed) {
            return Ok(());
        }
        let now = Instant::now();
        let good = matches!(reply.map(Reply::into_body), Ok(Body::Full(body)) if body.len() == load.body.len());
        if begun >= start {
            let mut figures = load.figures.lock().unwrap_or_else(PoisonError::into_inner);
            figures.latency.saturating_record(u64::try_from((now - begun).as_nanos())?);
            figures.calls += 1;
            figures.failed += u64::from(!good);
        }
        begun = now;
    }
}

fn report(figures: &Figures, duration: Duration) {
    let at = |quantile| figures.latency.value_at_quantile(quantile) as f64 / 1000.0;
    println!(
        r#"{{"rps":{:.1},"n":{},"failed":{},"duration_s":{:.6},"p50_us":{:.1},"p99_us":{:.1},"p999_us":{:.1}}}"#,
        figures.calls as f64 / duration.as_secs_f64(),
        figures.calls,
        figures.failed,
        duration.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(0.999),
    );
}
