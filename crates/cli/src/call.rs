//! `trunkline call`: one call, its answer on stdout.

mod batch;
mod saber;

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::Duration;

use tokio::time::Instant;
use trunkline::client::Attempt;
use trunkline::codec::{Payload as _, dynamic};
use trunkline::message::Schema;
use trunkline::reflect::{Description, MethodDescription, SchemaDescription};
use trunkline::{Bytes, Call, Code, Metadata, Result, Serialization, Service, Status};

use crate::args;
use crate::demo;
use crate::endpoint::{self, DEFAULT_TIMEOUT, REPLY_LIMIT, Target};
use crate::exit::{Failure, clean_line, print, print_json};
use crate::inspect;
use crate::values;

/// How the bodies of a call are written and read.
pub(crate) enum Bodies {
    /// The bytes as they are.
    Bytes,
    /// JSON in, JSON out, in this codec and by these schemas where there are some.
    Json { request: Option<Schema>, reply: Option<Schema> },
}

pub(crate) async fn run(args: args::Call) -> Result<(), Failure> {
    if crate::saber::is_saber(&args.target.url) {
        return saber::run(&args).await;
    }
    for (flag, given) in [("--node", args.node.is_some()), ("--listen", args.listen.is_some())] {
        if given {
            return Err(Failure::usage(format!("{flag} is for saber:// alone")));
        }
    }
    if let Some(file) = &args.batch {
        return batch::run(&args, file).await;
    }
    let target = endpoint::target(&args.target.url)?;
    let name = args.method.as_deref().unwrap_or_default();
    let (service, method) = values::method(name)?;
    let given = args.body.as_deref().map(values::body).transpose()?;
    // Peers that do not describe themselves may serve the sample services all the same, as the Go programs that
    // these come from do.
    let sample = demo::description().method(service, method).cloned();
    let metadata = values::metadata_of(&args.target.headers)?;
    let (codec, raw) = values::on_wire(args.codec, target.is_gob(), &metadata)?;
    check(args.codec, given.as_deref(), sample.as_ref())?;
    let begun = Instant::now();
    let deadline = deadline(begun, args.timeout.unwrap_or(DEFAULT_TIMEOUT));
    let address = target.address();
    let connected = target.connect(args.select.as_deref(), deadline).await;
    let (client, channel) = connected.map_err(|status| Failure::of_call(&status, &address))?;
    let bodies = match raw {
        true => Bodies::Bytes,
        false => bodies(&client, codec, name, &target, &metadata, deadline, sample).await?,
    };
    let body = encode(codec, given, &bodies)?;
    let mut call = Call::new(service, method, codec, body).with_metadata(metadata);
    if args.timeout.is_some() {
        call = call.with_deadline(deadline);
    }
    if args.oneway {
        call = call.one_way();
    }
    let (outcome, attempts) = match tokio::time::timeout_at(deadline, client.call_traced(call)).await {
        Ok(ended) => ended,
        Err(_) => (Err(Status::new(Code::DeadlineExceeded, "context deadline exceeded")), Vec::new()),
    };
    if args.verbose {
        tell(&target, &attempts, begun.elapsed(), outcome.as_ref().map(trunkline::Reply::metadata).ok());
    }
    let reply = outcome.map_err(|status| Failure::of_call(&status, &address))?;
    if args.oneway {
        endpoint::close((client, channel), deadline).await;
        return Ok(());
    }
    let whole = reply.into_body().whole(REPLY_LIMIT).await;
    let body = whole.map_err(|status| Failure::of_call(&status, &address))?;
    show(&args, codec, &body, &bodies)
}

fn deadline(begun: Instant, time: Duration) -> Instant {
    begun.checked_add(time).unwrap_or_else(|| begun + Duration::from_secs(365 * 86_400))
}

/// What the codec needs to know of the method.
pub(crate) async fn bodies<S: Service + Clone>(
    channel: &S,
    codec: Serialization,
    name: &str,
    target: &Target,
    metadata: &Metadata,
    deadline: Instant,
    sample: Option<MethodDescription>,
) -> Result<Bodies, Failure> {
    match codec {
        Serialization::Raw => return Ok(Bodies::Bytes),
        Serialization::Protobuf | Serialization::Thrift => {}
        _ => return Ok(Bodies::Json { request: None, reply: None }),
    }
    let (service, method) = values::method(name)?;
    let address = target.address();
    // easymicro's server does not even answer the question.
    let asked = match &sample {
        Some(_) if target.is_easymicro() => Err(None),
        _ => inspect::ask(channel, metadata, deadline).await.map_err(Some),
    };
    let known = match asked {
        Ok(description) => match description.method(service, method) {
            Some(known) => known.clone(),
            None => return Err(unknown(&description, service, method)),
        },
        Err(Some(status))
            if matches!(status.code(), Code::Unavailable | Code::Unauthenticated)
                || Instant::now() >= deadline =>
        {
            return Err(Failure::of_call(&status, &address));
        }
        Err(status) => sample.ok_or_else(|| {
            let why = status.map(|status| status.message().to_owned()).unwrap_or_default();
            Failure::usage(format!(
                "protobuf and thrift send the numbers of fields and need the schema of {name}, but {address} does not \
                 describe itself ({why}); use --codec json or msgpack"
            ))
        })?,
    };
    let schema = |described: &SchemaDescription| {
        described.schema().map_err(|why| Failure::service(format!("{address} describes itself badly: {why}")))
    };
    let (request, reply) = (schema(&known.request)?, schema(&known.reply)?);
    if request.is_raw() && reply.is_raw() {
        return Ok(Bodies::Bytes);
    }
    Ok(Bodies::Json { request: Some(request), reply: Some(reply) })
}

/// What the server would say of a name that it does not know.
fn unknown(description: &Description, service: &str, method: &str) -> Failure {
    Failure::service(match description.service(service) {
        Some(_) => format!("rpcx: can't find method {method}"),
        None => format!("rpcx: can't find service {service}"),
    })
}

/// What is no JSON where JSON is wanted is said before anybody is asked. A method that nobody knows here may take
/// bytes in protobuf and thrift; there the server has to say first.
fn check(
    codec: Serialization,
    given: Option<&[u8]>,
    sample: Option<&MethodDescription>,
) -> Result<(), Failure> {
    let json = match codec {
        Serialization::Raw => false,
        Serialization::Protobuf | Serialization::Thrift => {
            sample.is_some_and(|sample| sample.request.schema().is_ok_and(|schema| !schema.is_raw()))
        }
        _ => true,
    };
    let (Some(given), true) = (given, json) else { return Ok(()) };
    let any = Bodies::Json { request: None, reply: None };
    let how = if codec == Serialization::MessagePack { codec } else { Serialization::Json };
    encode(how, Some(given.to_vec()), &any).map(drop)
}

pub(crate) fn encode(
    codec: Serialization,
    given: Option<Vec<u8>>,
    bodies: &Bodies,
) -> Result<Vec<u8>, Failure> {
    let Bodies::Json { request, .. } = bodies else {
        let mut body = Vec::new();
        let bytes = Bytes::from(given.unwrap_or_default());
        bytes.encode(codec, &mut body).map_err(|error| Failure::usage(error.to_string()))?;
        return Ok(body);
    };
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

fn show(args: &args::Call, codec: Serialization, body: &[u8], bodies: &Bodies) -> Result<(), Failure> {
    let name = args.method.as_deref().unwrap_or_default();
    let unreadable =
        |error| Failure::service(format!("trunkline: {name} answered what cannot be read: {error}"));
    if matches!(bodies, Bodies::Bytes) && !args.json {
        print(Bytes::decode(codec, body).map_err(unreadable)?)?;
        return if std::io::stdout().is_terminal() { print("\n") } else { Ok(()) };
    }
    print_json(&decode(codec, body, bodies).map_err(unreadable)?)
}

/// The body as one line of JSON: bytes as a text, in base64 where they are none.
fn decode(codec: Serialization, body: &[u8], bodies: &Bodies) -> Result<String, trunkline::codec::Error> {
    match bodies {
        Bodies::Bytes => {
            let bytes = Bytes::decode(codec, body)?;
            let json = match std::str::from_utf8(&bytes) {
                Ok(text) => serde_json::to_string(text),
                Err(_) => serde_json::to_string(&trunkline::Blob::from(&*bytes)),
            };
            Ok(json.unwrap_or_default())
        }
        Bodies::Json { reply, .. } => dynamic::decode(codec, body, reply.as_ref()),
    }
}

/// Where the call went, and how.
fn tell(target: &Target, attempts: &[Attempt], took: Duration, metadata: Option<&Metadata>) {
    let mut text = String::new();
    let millis = took.as_secs_f64() * 1000.0;
    let last = attempts.last().map(|attempt| &attempt.origin);
    let address = last.map_or_else(|| target.address(), |origin| origin.address.clone());
    let count = last.map_or(1, |origin| origin.attempt);
    for Attempt { origin, failure } in attempts.iter().take(attempts.len().saturating_sub(1)) {
        let why = failure.as_ref().map(Status::message).unwrap_or_default();
        _ = writeln!(text, "attempt {}: {}: {}", origin.attempt, origin.address, clean_line(why));
    }
    _ = writeln!(text, "address: {address}\nurl: {}\nattempts: {count}\ntime: {millis:.3} ms", target.url());
    for (key, value) in metadata.iter().flat_map(|metadata| metadata.iter()) {
        let clean = |bytes| clean_line(&String::from_utf8_lossy(bytes));
        _ = writeln!(text, "metadata: {}: {}", clean(key), clean(value));
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
}
