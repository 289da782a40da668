//! One call of a mailbox service.

use std::io::Write as _;
use std::time::Duration;

use tokio::time::Instant;
use trunkline::{Call, Serialization, Service};

use super::{Bodies, check, deadline, encode, show};
use crate::args;
use crate::endpoint::{DEFAULT_TIMEOUT, REPLY_LIMIT};
use crate::exit::Failure;
use crate::refuse;
use crate::saber::{NODE, Target};
use crate::values;

/// Makes the call.
pub(super) async fn run(args: &args::Call) -> Result<(), Failure> {
    let target = Target::parse(&args.target.url)?;
    let later = [
        ("--batch", args.batch.is_some()),
        ("-H", !args.target.headers.is_empty()),
        ("--select", args.select.is_some()),
        ("--codec", !matches!(args.codec, Serialization::Json | Serialization::Raw)),
    ];
    if let Some((flag, _)) = later.iter().find(|(_, given)| *given) {
        return Err(refuse::later(&format!("call {flag} on saber://")));
    }
    let name = args.method.as_deref().unwrap_or_default();
    let (service, method) = values::method(name)?;
    crate::saber::service_of(service)?;
    let given = args.body.as_deref().map(values::body).transpose()?;
    check(args.codec, given.as_deref(), None)?;
    let bodies = match args.codec {
        Serialization::Raw => Bodies::Bytes,
        _ => Bodies::Json { request: None, reply: None },
    };
    let body = encode(args.codec, given, &bodies)?;
    let begun = Instant::now();
    let until = deadline(begun, args.timeout.unwrap_or(DEFAULT_TIMEOUT));
    let joined = target.join(args.node.as_deref().unwrap_or(NODE), args.listen.as_deref()).await?;
    let called = joined.service(service)?;
    // The bytes are the body whatever it is; nodes take them for JSON.
    let call = Call::new(service, method, Serialization::Json, body).with_deadline(until);
    if args.oneway {
        joined.connected(until).await?;
        let sent = called.call(call.one_way()).await;
        sent.map_err(|status| Failure::of_call(&status, &target.address))?;
        joined.leave(until).await;
        return Ok(());
    }
    let outcome = called.call(call).await;
    if args.verbose {
        tell(&target, begun.elapsed());
    }
    let reply = outcome.map_err(|status| Failure::of_call(&status, &target.address))?;
    let whole = reply.into_body().whole(REPLY_LIMIT).await;
    let body = whole.map_err(|status| Failure::of_call(&status, &target.address))?;
    show(args, Serialization::Json, &body, &bodies)
}

fn tell(target: &Target, took: Duration) {
    let (address, cluster) = (&target.address, &target.cluster);
    let millis = took.as_secs_f64() * 1000.0;
    let text =
        format!("address: {address}\nurl: saber://{address}/{cluster}\nattempts: 1\ntime: {millis:.3} ms\n");
    let _ = std::io::stderr().write_all(text.as_bytes());
}
