//! `trunkline top`: what the mailbox services of a node do.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;
use trunkline::{Call, Metadata, Result, Serialization, Service, Status};

use crate::args;
use crate::bench::units;
use crate::endpoint::{self, REPLY_LIMIT};
use crate::exit::{Failure, clean, print, print_json};
use crate::saber;
use crate::values;

/// How long the node has to say what it does.
const PATIENCE: Duration = Duration::from_secs(4);
/// How often the picture on a terminal is made anew.
const EVERY: Duration = Duration::from_secs(1);

/// What the node says, as far as it is shown.
#[derive(Debug, Deserialize)]
struct View {
    name: String,
    services: Vec<ServiceLine>,
    timers: u64,
    remotes: Vec<Remote>,
}

#[derive(Debug, Deserialize)]
struct ServiceLine {
    name: String,
    id: u32,
    mode: String,
    depth: u64,
    capacity: u64,
    running: u64,
    handlers: Option<Vec<Handler>>,
    handled: u64,
    failed: u64,
    queue_mean_us: f64,
    queue_longest_us: f64,
    handler_mean_us: f64,
    handler_longest_us: f64,
}

#[derive(Debug, Deserialize)]
struct Handler {
    running_ms: u64,
    waits_for: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Remote {
    name: String,
    address: String,
    connected: bool,
    reason: Option<String>,
    calls: u64,
}

/// Asks, and shows what was said: once, or on a terminal again and again.
pub(crate) async fn run(args: args::Top) -> Result<(), Failure> {
    let metadata = values::metadata_of(&args.target.headers)?;
    if saber::is_saber(&args.target.url) {
        let target = saber::Target::parse(&args.target.url)?;
        let joined = target.join(saber::NODE, None).await?;
        let service = joined.service("TrunklineNode")?;
        return show(&args, &service, &metadata, &target.address).await;
    }
    let url = endpoint::url(&args.target.url)?;
    let address = url.address.to_string();
    let channel = endpoint::connect(&url, Instant::now() + PATIENCE).await;
    let channel = channel.map_err(|status| Failure::of_call(&status, &address))?;
    show(&args, &channel, &metadata, &address).await
}

async fn show<S: Service>(
    args: &args::Top,
    node: &S,
    metadata: &Metadata,
    address: &str,
) -> Result<(), Failure> {
    let again = !args.json && std::io::stdout().is_terminal();
    let failed = |status: Status| Failure::of_call(&status, address);
    loop {
        let call =
            Call::new("TrunklineNode", "View", Serialization::Json, "{}").with_metadata(metadata.clone());
        let call = call.with_deadline(Instant::now() + PATIENCE);
        let body =
            node.call(call).await.map_err(failed)?.into_body().whole(REPLY_LIMIT).await.map_err(failed)?;
        if args.json {
            return print_json(&String::from_utf8_lossy(&body));
        }
        let view = serde_json::from_slice(&body);
        let view: View = view.map_err(|error| {
            Failure::service(format!("trunkline: {address} says what cannot be read: {error}"))
        })?;
        let text = clean(&text(&view));
        if !again {
            return print(text);
        }
        print(format!("\x1b[H\x1b[2J{text}"))?;
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

fn text(view: &View) -> String {
    let time = |micros: f64| units::time(micros * 1e3);
    let mut text = format!("node {}: {} services, {} timers\n", view.name, view.services.len(), view.timers);
    let names: Vec<String> = view.services.iter().map(|one| format!("{}/{}", one.name, one.id)).collect();
    let wide = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(7);
    // Writing to a text cannot fail.
    _ = writeln!(
        text,
        "\n{:wide$}  {:9}  {:>11}  {:>7}  {:>10}  {:>7}  {:>18}  {:>18}",
        "service",
        "mode",
        "mailbox",
        "running",
        "handled",
        "failed",
        "in queue (longest)",
        "handler (longest)"
    );
    for (one, name) in view.services.iter().zip(&names) {
        let mailbox = format!("{}/{}", one.depth, one.capacity);
        let queue = format!("{} ({})", time(one.queue_mean_us), time(one.queue_longest_us));
        let handler = format!("{} ({})", time(one.handler_mean_us), time(one.handler_longest_us));
        _ = writeln!(
            text,
            "{name:wide$}  {:9}  {mailbox:>11}  {:>7}  {:>10}  {:>7}  {queue:>18}  {handler:>18}",
            one.mode, one.running, one.handled, one.failed
        );
    }
    let waits = view.services.iter().zip(&names).flat_map(|(one, name)| {
        let handlers = one.handlers.iter().flatten();
        handlers.filter_map(move |handler| Some((name, handler.waits_for.as_ref()?, handler.running_ms)))
    });
    let mut first = true;
    for (name, other, millis) in waits {
        if std::mem::take(&mut first) {
            text += "\nwaits\n";
        }
        _ = writeln!(text, "{name} → {other}  {}", units::time(millis as f64 * 1e6));
    }
    if !view.remotes.is_empty() {
        text += "\nnodes\n";
    }
    for remote in &view.remotes {
        let state = match &remote.reason {
            Some(reason) => format!("down: {reason}"),
            None if remote.connected => "connected".to_owned(),
            None => "dialling".to_owned(),
        };
        _ = writeln!(text, "{}  {}  {state}  {} calls wait", remote.name, remote.address, remote.calls);
    }
    text
}
