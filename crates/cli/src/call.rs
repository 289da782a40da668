//! `trunkline call`: one call, its answer on stdout.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::Duration;

use tokio::time::Instant;
use trunkline::codec::dynamic;
use trunkline::message::Schema;
use trunkline::{Call, Code, Metadata, Result, Serialization, Service, Status};

use crate::args;
use crate::endpoint::{self, DEFAULT_TIMEOUT, Endpoint, REPLY_LIMIT};
use crate::exit::{Failure, print};
use crate::inspect;
use crate::values;

/// How the bodies of a call are written and read.
enum Bodies {
    /// The bytes as they are.
    Bytes,
    /// JSON in, JSON out, in this codec and by these schemas where there are some.
    Json { request: Option<Schema>, reply: Option<Schema> },
}

pub(crate) async fn run(args: args::Call) -> Result<(), Failure> {
    let url = endpoint::url(&args.target.url)?;
    let (service, method) = values::method(&args.method)?;
    let given = args.body.as_deref().map(values::body).transpose()?;
    let metadata = values::metadata_of(&args.target.headers);
    let begun = Instant::now();
    let deadline = deadline(begun, args.timeout.unwrap_or(DEFAULT_TIMEOUT));
    let address = url.address.to_string();
    let endpoint =
        Endpoint::connect(&url, deadline).await.map_err(|status| Failure::of_call(&status, &address))?;
    let bodies = bodies(&endpoint, args.codec, (service, method), &metadata, deadline, &address).await?;
    let body = encode(args.codec, given, &bodies)?;
    let mut call = Call::new(service, method, args.codec, body).with_metadata(metadata);
    if args.timeout.is_some() {
        call = call.with_deadline(deadline);
    }
    if args.oneway {
        call = call.one_way();
    }
    let outcome = match tokio::time::timeout_at(deadline, endpoint.call(call)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Status::new(Code::DeadlineExceeded, "context deadline exceeded")),
    };
    if args.verbose {
        tell(&url, begun.elapsed(), outcome.as_ref().map(trunkline::Reply::metadata).ok());
    }
    let reply = outcome.map_err(|status| Failure::of_call(&status, &address))?;
    if args.oneway {
        endpoint.close(deadline).await;
        return Ok(());
    }
    let whole = reply.into_body().whole(REPLY_LIMIT).await;
    let body = whole.map_err(|status| Failure::of_call(&status, &address))?;
    show(&args, &body, &bodies)
}

fn deadline(begun: Instant, time: Duration) -> Instant {
    begun.checked_add(time).unwrap_or_else(|| begun + Duration::from_secs(365 * 86_400))
}

/// What the codec needs to know of the method.
async fn bodies(
    endpoint: &Endpoint,
    codec: Serialization,
    (service, method): (&str, &str),
    metadata: &Metadata,
    deadline: Instant,
    address: &str,
) -> Result<Bodies, Failure> {
    match codec {
        Serialization::Raw => return Ok(Bodies::Bytes),
        Serialization::Protobuf | Serialization::Thrift => {}
        _ => return Ok(Bodies::Json { request: None, reply: None }),
    }
    let name = if codec == Serialization::Protobuf { "protobuf" } else { "thrift" };
    let description = match inspect::ask(endpoint, metadata, deadline).await {
        Ok(description) => description,
        Err(status) if matches!(status.code(), Code::Unavailable | Code::Unauthenticated) => {
            return Err(Failure::of_call(&status, address));
        }
        Err(status) => {
            let why = status.message();
            return Err(Failure::usage(format!(
                "--codec {name} sends the numbers of fields and needs the schema of {service}.{method}, but \
                 {address} does not describe itself ({why}); use --codec json or msgpack"
            )));
        }
    };
    let Some(known) = description.method(service, method) else {
        let kind = description.service(service).map_or("service", |_| "method");
        let name = if kind == "service" { service } else { method };
        return Err(Failure::service(format!("rpcx: can't find {kind} {name}")));
    };
    let schema = |described: &trunkline::reflect::SchemaDescription| {
        described.schema().map_err(|why| Failure::service(format!("{address} describes itself badly: {why}")))
    };
    let (request, reply) = (schema(&known.request)?, schema(&known.reply)?);
    if request.is_raw() && reply.is_raw() {
        return Ok(Bodies::Bytes);
    }
    Ok(Bodies::Json { request: Some(request), reply: Some(reply) })
}

fn encode(codec: Serialization, given: Option<Vec<u8>>, bodies: &Bodies) -> Result<Vec<u8>, Failure> {
    let Bodies::Json { request, .. } = bodies else { return Ok(given.unwrap_or_default()) };
    let text = match given {
        None => "{}".to_owned(),
        Some(bytes) => String::from_utf8(bytes)
            .map_err(|_| Failure::usage("the body is not UTF-8; send it with --codec raw"))?,
    };
    let mut body = Vec::new();
    dynamic::encode(codec, &text, request.as_ref(), &mut body)
        .map_err(|error| Failure::usage(format!("the body does not fit: {error}")))?;
    Ok(body)
}

fn show(args: &args::Call, body: &[u8], bodies: &Bodies) -> Result<(), Failure> {
    match bodies {
        Bodies::Bytes if args.json => {
            let text = match std::str::from_utf8(body) {
                Ok(text) => serde_json::to_string(text),
                Err(_) => serde_json::to_string(&trunkline::Blob::from(body)),
            };
            print(text.unwrap_or_default() + "\n")
        }
        Bodies::Bytes => {
            print(body)?;
            if std::io::stdout().is_terminal() { print("\n") } else { Ok(()) }
        }
        Bodies::Json { reply, .. } => {
            let text = dynamic::decode(args.codec, body, reply.as_ref());
            let text = text.map_err(|error| {
                Failure::service(format!("{} answered what cannot be read: {error}", args.method))
            })?;
            print(text + "\n")
        }
    }
}

/// Where the call went, and how.
fn tell(url: &trunkline::client::Url, took: Duration, metadata: Option<&Metadata>) {
    let mut text = String::new();
    let millis = took.as_secs_f64() * 1000.0;
    _ = writeln!(text, "address: {}\nurl: {url}\nattempts: 1\ntime: {millis:.3} ms", url.address);
    for (key, value) in metadata.iter().flat_map(|metadata| metadata.iter()) {
        _ = writeln!(text, "metadata: {}: {}", key.escape_ascii(), String::from_utf8_lossy(value));
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
}
