//! The command line: verbs, flags, help.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use trunkline::Serialization;

use crate::bench::{self, Bench};
use crate::values;

const EXIT_CODES: &str = "\
Exit codes: 0 answered, 1 the service failed the call, 2 usage or bad input, 3 transport, 4 deadline";

/// One service, every wire: serve it, call it, look at it.
#[derive(Debug, Parser)]
#[command(name = "trunkline", version, max_term_width = 100, subcommand_required = true)]
#[command(after_help = "\
Examples:
  trunkline demo
  trunkline call rpcx://127.0.0.1:8972 Arith.Mul '{\"A\":6,\"B\":7}'
  trunkline ls rpcx://127.0.0.1:8972")]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Serves the sample services on one port, and calls itself once on each wire
    Demo(Demo),
    /// Makes one call; the reply's JSON goes to stdout
    Call(Call),
    /// Puts load on a method, and says how fast it was answered
    #[command(long_about = bench::ABOUT)]
    Bench(Bench),
    /// Sends a file, resumed after a break and verified at the end
    Put(Put),
    /// Fetches a file, resumed after a break and verified at the end
    Get(Get),
    /// Lists the methods of a Trunkline server, one a line
    Ls(Ls),
    /// Says what a service's methods take and give
    Describe(Describe),
    /// Prints a JSON body with every field of a method's request
    Template(Template),
    /// Shows what the mailbox services of a node do
    Top(Top),
}

#[derive(Debug, Args)]
#[command(after_help = "\
The first line on stdout is `ready ADDR…`, once every listener accepts. Logs go to stderr.
INT or TERM drains: calls in flight are answered; a second signal ends at once.

Examples:
  trunkline demo
  trunkline demo --listen 127.0.0.1:0 --once
  trunkline demo --listen 0.0.0.0:8972 --listen unix:///tmp/demo.sock --no-calls
  trunkline demo --node game --remote gate=127.0.0.1:8907
  trunkline demo --token secret")]
pub(crate) struct Demo {
    /// Where to listen: HOST:PORT, tcp://HOST:PORT or unix://PATH; port 0 picks one; may repeat
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8972")]
    pub(crate) listen: Vec<String>,
    /// How many runtimes of one thread each [default: one a core]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Does not call itself
    #[arg(long, conflicts_with = "once")]
    pub(crate) no_calls: bool,
    /// Ends after the calls to itself: 0 if every answer was right, else 1
    #[arg(long)]
    pub(crate) once: bool,
    /// Prints JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// The largest body of a request and of a reply, in bytes, after inflation
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true, default_value_t = 4 << 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) body_limit: u32,
    /// Asks every caller for this token
    #[arg(long, value_name = "T", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) token: Option<String>,
    /// The name of the node that other nodes call on saber
    #[arg(long, value_name = "NAME", default_value = "trunkline")]
    pub(crate) node: String,
    /// Another node, and where it listens (repeats); answers to its callers go there
    #[arg(long, value_name = "NAME=HOST:PORT", value_parser = values::remote)]
    pub(crate) remote: Vec<(String, String)>,
    /// Serves the files below this directory to IIP's file programs and to put and get
    #[arg(long, value_name = "DIR")]
    pub(crate) files: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Target {
    /// rpcx://HOST:PORT, easymicro://HOST:PORT, http://HOST:PORT, iip://HOST:PORT, netrpc://HOST:PORT[?connect=/_goRPC_],
    /// saber://HOST:PORT[/NODE] (whose services are NAME/ID) or unix://PATH[?wire=rpcx]; for call also several with
    /// commas, each with #WEIGHT from 1 to 100 where they differ: rpcx://a:1#3,b:2
    pub(crate) url: String,
    /// Sends this metadata (repeats); the token is `Authorization: Bearer T` on every wire
    #[arg(short = 'H', long = "header", value_name = "KEY:VALUE", value_parser = values::header)]
    pub(crate) headers: Vec<(String, String)>,
}

#[derive(Debug, Args)]
#[command(after_help = format!("\
JSON is sent in the codec that is asked for; raw sends the bytes as they are. For protobuf and thrift the schema
is asked from the server (Trunkline.Describe). A server that does not describe itself, as those written in Go, is
taken at its names: Arith.Mul and the other methods of `trunkline demo` have the fields that they have there.
{EXIT_CODES}

Examples:
  trunkline call rpcx://127.0.0.1:8972 Arith.Mul '{{\"A\":6,\"B\":7}}'
  trunkline call http://127.0.0.1:8972 Arith.Div @args.json -v
  trunkline call rpcx://127.0.0.1:8972 Hello.Say --codec protobuf --timeout 200ms
  trunkline call saber://127.0.0.1:8972 lobby/101.ReqLogin '{{\"Gid\":10100002,\"Name\":\"ada\"}}'
  trunkline call 'rpcx://127.0.0.1:8972#3,127.0.0.1:8973' Arith.Mul '{{\"A\":6,\"B\":7}}' -v
  head -c 1024 /dev/urandom | trunkline call 'unix:///tmp/demo.sock?wire=rpcx' Echo.Echo @- --codec raw | wc -c
  echo 'Arith.Mul {{\"A\":6,\"B\":7}}' | trunkline call rpcx://127.0.0.1:8972 --batch -"))]
pub(crate) struct Call {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Whom to call, for example Arith.Mul
    #[arg(value_name = "SERVICE.METHOD", required_unless_present = "batch")]
    pub(crate) method: Option<String>,
    /// The request: JSON, @FILE, or @- for standard input [default: {}; with --codec raw no bytes]
    #[arg(value_name = "JSON|@FILE|@-", allow_negative_numbers = true)]
    pub(crate) body: Option<String>,
    /// Makes many calls at once: one `Service.Method JSON` a line of FILE, or of standard input for -; prints one answer
    /// a line in the same order, {"error":"…"} for a call that failed
    #[arg(long, value_name = "FILE|-", allow_hyphen_values = true, conflicts_with_all = ["method", "body"])]
    pub(crate) batch: Option<String>,
    /// How long the call may take, for example 200ms; the server is told [default: 10s]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = values::duration)]
    pub(crate) timeout: Option<Duration>,
    /// json, msgpack, protobuf, thrift or raw
    #[arg(long, value_name = "CODEC", default_value = "json", value_parser = values::codec)]
    pub(crate) codec: Serialization,
    /// How calls are spread over several endpoints: round-robin, random, weighted, least-pending, p2c-ewma or
    /// consistent-hash [default: round-robin]
    #[arg(long, value_name = "HOW", value_parser = values::select)]
    pub(crate) select: Option<String>,
    /// Wants no answer
    #[arg(long)]
    pub(crate) oneway: bool,
    /// On saber: the node that calls [default: trunkline_call]
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
    /// On saber: where the node that calls listens for the answer [default: a free port]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// Says address, attempts, time and metadata on stderr
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Prints the reply as one line of JSON whatever the codec: raw bytes as a text, in base64 where they are none
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = format!("\
{EXIT_CODES}

Examples:
  trunkline ls rpcx://127.0.0.1:8972
  trunkline ls http://127.0.0.1:8972 --json"))]
pub(crate) struct Ls {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Prints an array of the same texts
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = format!("\
{EXIT_CODES}

Examples:
  trunkline describe rpcx://127.0.0.1:8972 Arith
  trunkline describe rpcx://127.0.0.1:8972 Arith.Mul --json"))]
pub(crate) struct Describe {
    #[command(flatten)]
    pub(crate) target: Target,
    /// What to describe
    #[arg(value_name = "SERVICE[.METHOD]")]
    pub(crate) name: String,
    /// Prints JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = format!("\
{EXIT_CODES}

Examples:
  trunkline template rpcx://127.0.0.1:8972 Arith.Mul
  trunkline template rpcx://127.0.0.1:8972 Hello.Say > say.json"))]
pub(crate) struct Template {
    #[command(flatten)]
    pub(crate) target: Target,
    /// The method
    #[arg(value_name = "SERVICE.METHOD")]
    pub(crate) method: String,
}

#[derive(Debug, Args)]
#[command(after_help = format!("\
On a terminal it shows the node anew every second, till Ctrl-C; else, and with --json, once. A node answers callers on
its own machine, and others only with its token.
{EXIT_CODES}

Examples:
  trunkline top rpcx://127.0.0.1:8972
  trunkline top saber://127.0.0.1:8972 --json"))]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Prints one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

const FILES: &str = "\
A break is mended for up to 10 s. The target shows under its name when it is whole; a command that was killed
leaves .trunkline-….part in the same folder, which the next one for the same source and target takes up.
Exit codes: 0 done, 1 the server refuses or does not have it, 2 usage or the file here, 3 a break that lasted";

#[derive(Debug, Args)]
#[command(after_help = format!("\
{FILES}

Examples:
  trunkline put photo.jpg iip://127.0.0.1:8972/photo.jpg
  trunkline put notes iip://127.0.0.1:8972/my%20notes"))]
pub(crate) struct Put {
    /// What to send
    pub(crate) file: PathBuf,
    /// Where to: iip://HOST:PORT/NAME, the name percent-encoded
    pub(crate) url: String,
    /// Sends this metadata (repeats); the token is `Authorization: Bearer T`
    #[arg(short = 'H', long = "header", value_name = "KEY:VALUE", value_parser = values::header)]
    pub(crate) headers: Vec<(String, String)>,
}

#[derive(Debug, Args)]
#[command(after_help = format!("\
{FILES}

Examples:
  trunkline get iip://127.0.0.1:8972/photo.jpg photo.jpg"))]
pub(crate) struct Get {
    /// What to fetch: iip://HOST:PORT/NAME, the name percent-encoded
    pub(crate) url: String,
    /// Where to
    pub(crate) file: PathBuf,
    /// Sends this metadata (repeats); the token is `Authorization: Bearer T`
    #[arg(short = 'H', long = "header", value_name = "KEY:VALUE", value_parser = values::header)]
    pub(crate) headers: Vec<(String, String)>,
}
