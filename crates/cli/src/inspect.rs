//! `ls`, `describe` and `template`: what a Trunkline server says of itself.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use trunkline::client::Wire;
use trunkline::reflect::{
    Description, MethodDescription, ReflectionClient, SchemaDescription, ServiceDescription,
};
use trunkline::{Code, Metadata, Result, Serialization, Service};

use crate::args;
use crate::endpoint;
use crate::exit::{Failure, clean, clean_line, print, print_json};
use crate::saber;
use crate::values;

/// How long a peer has to say what it serves: below the 5 s that users are promised.
const PATIENCE: Duration = Duration::from_secs(4);

/// Asks a peer what it serves.
pub(crate) async fn ask<S: Service + Clone>(
    channel: &S,
    metadata: &Metadata,
    by: Instant,
) -> Result<Description> {
    let deadline = by.min(Instant::now() + PATIENCE);
    let client = ReflectionClient::new(channel.clone());
    // JSON, so that a peer which only passes calls on can do it.
    let asked = client.describe().serialization(Serialization::Json).metadata(metadata.clone());
    asked.deadline(deadline).send().await
}

async fn described(target: &args::Target) -> Result<(Description, String), Failure> {
    let metadata = values::metadata_of(&target.headers)?;
    let deadline = Instant::now() + PATIENCE;
    let (asked, address) = if saber::is_saber(&target.url) {
        let target = saber::Target::parse(&target.url)?;
        let joined = target.join(saber::NODE, None).await?;
        (ask(&joined.service("Trunkline")?, &metadata, deadline).await, target.address)
    } else {
        let url = endpoint::url(&target.url)?;
        values::on_wire(Serialization::Json, url.wire == Wire::Netrpc, &metadata)?;
        let asked = async {
            let channel = endpoint::connect(&url, deadline).await?;
            ask(&channel, &metadata, deadline).await
        };
        (asked.await, url.address.to_string())
    };
    let description = asked.map_err(|status| match status.code() {
        Code::Unavailable => Failure::of_call(&status, &address),
        Code::DeadlineExceeded if status.may_retry() => {
            Failure::transport(format!("cannot reach {address}: {}", status.message()))
        }
        _ => {
            let why =
                Some(status.message()).filter(|why| !why.trim().is_empty()).unwrap_or("it gave no reason");
            Failure::service(format!("trunkline: {address} does not say what it serves: {why}"))
        }
    })?;
    if description.services.is_empty() {
        // A peer that answers everything with something.
        return Err(Failure::service(format!("trunkline: {address} does not say what it serves")));
    }
    Ok((description, address))
}

pub(crate) async fn ls(args: args::Ls) -> Result<(), Failure> {
    let (description, _) = described(&args.target).await?;
    let mut names: Vec<String> = Vec::new();
    for service in &description.services {
        names.extend(service.methods.iter().map(|method| format!("{}.{}", service.name, method.name)));
    }
    names.sort_unstable();
    if args.json {
        return print_json(&json!(names).to_string());
    }
    print(names.iter().fold(String::new(), |text, name| text + &clean_line(name) + "\n"))
}

pub(crate) async fn describe(args: args::Describe) -> Result<(), Failure> {
    let (description, address) = described(&args.target).await?;
    let unknown = || Failure::service(format!("trunkline: {address} has no {}", args.name));
    if let Some(service) = description.service(&args.name) {
        if args.json {
            return print_as_json(service);
        }
        return print(clean(&service_text(service)));
    }
    let (service, method) = args.name.rsplit_once('.').ok_or_else(unknown)?;
    let service = description.service(service).ok_or_else(unknown)?;
    let method = service.method(method).ok_or_else(unknown)?;
    if args.json {
        return print_as_json(method);
    }
    let mut text = String::new();
    method_text(&mut text, &service.name, method);
    print(clean(&text))
}

pub(crate) async fn template(args: args::Template) -> Result<(), Failure> {
    let (service, method) = values::method(&args.method)?;
    let (description, address) = described(&args.target).await?;
    let known = description.method(service, method);
    let known =
        known.ok_or_else(|| Failure::service(format!("trunkline: {address} has no {}", args.method)))?;
    let schema = known.request.schema();
    let schema = schema
        .map_err(|why| Failure::service(format!("trunkline: {address} describes itself badly: {why}")))?;
    print_json(&schema.template())
}

fn print_as_json(what: &impl serde::Serialize) -> Result<(), Failure> {
    print_json(&serde_json::to_string(what).unwrap_or_default())
}

fn service_text(service: &ServiceDescription) -> String {
    let mut text = format!("{}\n", service.name);
    indented(&mut text, "  ", &service.doc);
    for method in &service.methods {
        text.push('\n');
        method_text(&mut text, &service.name, method);
    }
    text
}

fn method_text(text: &mut String, service: &str, method: &MethodDescription) {
    let mark = if method.idempotent { "  (idempotent)" } else { "" };
    _ = writeln!(text, "{service}.{}{mark}", method.name);
    indented(text, "  ", &method.doc);
    schema_text(text, if method.takes_stream { "request, a stream of" } else { "request" }, &method.request);
    schema_text(text, if method.gives_stream { "reply, a stream of" } else { "reply" }, &method.reply);
}

fn schema_text(text: &mut String, what: &str, described: &SchemaDescription) {
    match described.schema() {
        Ok(schema) => {
            let all = schema.describe();
            let (first, rest) = all.split_once('\n').unwrap_or((&all, ""));
            _ = writeln!(text, "  {what} {first}");
            indented(text, "  ", rest);
        }
        Err(why) => _ = writeln!(text, "  {what} cannot be read: {why}"),
    }
}

fn indented(text: &mut String, by: &str, lines: &str) {
    for line in lines.lines() {
        _ = writeln!(text, "{by}{line}");
    }
}
