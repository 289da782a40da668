//! `trunkline call --batch`: many calls at once, one answer a line.

use std::collections::HashMap;
use std::io::{Read, Write};

use tokio::time::Instant;
use trunkline::client::{Channel, Client};
use trunkline::{Call, Code, Reply, Result, Serialization, Service, Status};

use super::{Bodies, bodies, check, deadline, decode, encode};
use crate::args;
use crate::demo;
use crate::endpoint::{self, DEFAULT_TIMEOUT, REPLY_LIMIT};
use crate::exit::{Failure, print_json};
use crate::values;

/// So many calls are made together; the next ones follow when these have ended.
const TOGETHER: usize = 1000;

/// One line of the file.
struct Line<'a> {
    number: usize,
    name: &'a str,
    body: Option<Vec<u8>>,
}

pub(super) async fn run(args: &args::Call, file: &str) -> Result<(), Failure> {
    let target = endpoint::target(&args.target.url)?;
    let text = read(file)?;
    let lines = lines(&text, args.codec)?;
    let metadata = values::metadata_of(&args.target.headers)?;
    let (codec, raw) = values::on_wire(args.codec, target.is_gob(), &metadata)?;
    let begun = Instant::now();
    let time = args.timeout.unwrap_or(DEFAULT_TIMEOUT);
    let address = target.address();
    let connected = target.connect(args.select.as_deref(), deadline(begun, time)).await;
    let (client, channel) = connected.map_err(|status| Failure::of_call(&status, &address))?;
    let mut known: HashMap<&str, Bodies> = HashMap::new();
    for line in &lines {
        if !known.contains_key(line.name) {
            let (service, method) = values::method(line.name)?;
            let sample = demo::description().method(service, method).cloned();
            let until = deadline(Instant::now(), time);
            let found = match raw {
                true => Bodies::Bytes,
                false => bodies(&client, codec, line.name, &target, &metadata, until, sample).await?,
            };
            known.insert(line.name, found);
        }
    }
    let mut calls = Vec::new();
    for line in lines {
        let Some(bodies) = known.get(line.name) else { continue };
        let (service, method) = values::method(line.name)?;
        let body = encode(codec, line.body, bodies).map_err(|failure| at(line.number, &failure))?;
        let call = Call::new(service, method, codec, body).with_metadata(metadata.clone());
        calls.push((if args.oneway { call.one_way() } else { call }, bodies));
    }
    let (all, mut failed, mut worst) = (calls.len(), 0usize, 0);
    let mut calls = calls.into_iter().peekable();
    while calls.peek().is_some() {
        let (mut batch, mut together) = (Vec::new(), Vec::new());
        let until = deadline(Instant::now(), time);
        for (call, bodies) in calls.by_ref().take(TOGETHER) {
            batch.push(if args.timeout.is_some() { call.with_deadline(until) } else { call });
            together.push(bodies);
        }
        let mut out = String::new();
        for (reply, bodies) in make(&client, channel.as_ref(), batch).await.into_iter().zip(together) {
            match answer(codec, reply, bodies).await {
                Ok(_) if args.oneway => {}
                Ok(line) => out += &(line + "\n"),
                Err(status) => {
                    failed += 1;
                    worst = worst.max(Failure::of_call(&status, &address).code());
                    let message = serde_json::to_string(status.message()).unwrap_or_default();
                    out += &format!("{{\"error\":{message}}}\n");
                }
            }
        }
        if let Some(lines) = out.strip_suffix('\n') {
            print_json(lines)?;
        }
    }
    if args.verbose {
        let millis = begun.elapsed().as_secs_f64() * 1000.0;
        let _ = writeln!(
            std::io::stderr(),
            "address: {address}\nurl: {}\ncalls: {all}\nfailed: {failed}\ntime: {millis:.3} ms",
            target.url()
        );
    }
    endpoint::close((client, channel), deadline(Instant::now(), time)).await;
    if worst == 0 { Ok(()) } else { Err(Failure::told(worst)) }
}

/// Makes calls together: over one channel in one go, to several endpoints side by side. The replies are in the order of
/// the calls.
async fn make(client: &Client, channel: Option<&Channel>, calls: Vec<Call>) -> Vec<Result<Reply>> {
    if let Some(channel) = channel {
        let mut batch = channel.batch();
        for call in calls {
            batch.push(call);
        }
        return batch.send().await.into_vec();
    }
    let running: Vec<_> = calls
        .into_iter()
        .map(|call| {
            let client = client.clone();
            tokio::spawn(async move { client.call(call).await })
        })
        .collect();
    let mut replies = Vec::new();
    for call in running {
        let broken = |error| Err(Status::new(Code::Internal, format!("the call broke: {error}")));
        replies.push(call.await.unwrap_or_else(broken));
    }
    replies
}

/// The reply as one line.
async fn answer(codec: Serialization, reply: Result<Reply>, bodies: &Bodies) -> Result<String> {
    let body = reply?.into_body().whole(REPLY_LIMIT).await?;
    decode(codec, &body, bodies)
        .map_err(|error| Status::new(Code::InvalidInput, format!("the answer cannot be read: {error}")))
}

fn read(file: &str) -> Result<String, Failure> {
    let unreadable = |error| Failure::usage(format!("cannot read {file}: {error}"));
    if file != "-" {
        return std::fs::read_to_string(file).map_err(unreadable);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

/// Every line is looked at before the first call is made.
fn lines(text: &str, codec: Serialization) -> Result<Vec<Line<'_>>, Failure> {
    let description = demo::description();
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let (name, body) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let said = |failure: Failure| at(number, &failure);
        let (service, method) = values::method(name).map_err(said)?;
        let body = (!body.trim().is_empty()).then(|| body.trim().as_bytes().to_vec());
        check(codec, body.as_deref(), description.method(service, method)).map_err(said)?;
        lines.push(Line { number, name, body });
    }
    Ok(lines)
}

fn at(number: usize, failure: &Failure) -> Failure {
    Failure::usage(format!("line {number}: {}", failure.line()))
}
