//! The flags of `trunkline bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use trunkline::Serialization;

use crate::args::Target;
use crate::values;

/// Places for calls in all connections together, at most: each takes memory.
pub(super) const MOST_PLACES: u64 = 10_000_000;

/// The top of the long help: what the figures mean.
pub(crate) const ABOUT: &str = "\
Puts load on a method, and says how fast it was answered

Without -q the loop is closed: each place for a call (-c connections with -p places each) makes its next call as
soon as its last one is answered. A server that stalls is then asked less while it stalls, so the percentiles show
what these callers saw, and less than what callers who do not wait for each other would have seen.
With -q the loop is open: calls start by a fixed schedule, and latency counts from the moment that a call was meant
to start, even where it could start only later. That corrects for coordinated omission.";

#[derive(Debug, Args)]
#[command(after_help = "\
Each connection is warmed up for a twentieth of -z, at most 0.5 s, which is in none of the figures. With -n nothing
is warmed up: exactly so many calls are made, and all count. Calls in flight at the end are waited for, up to their
timeout. The percentiles are of all calls, failed ones too.

With -p on http that many requests are pipelined on a connection. On iip each connection has -p channels, 4 at most;
each call takes the one with the fewest in flight, and a method may be a path such as /echo.
On saber there is one connection, -c says how many callers share it, each with one call in flight, and -n how many
calls each of them makes; the report of saber's own stress test follows the usual one. lobby.ReqLogin without -d
carries what that test sends.
In JSON bodies {{seq}} is the number of the call, from 0, and {{rand}} a random whole number from 0 to 2147483647; a
body that has one is encoded for each call. A connection that is lost is dialled again, with growing pauses up to
0.5 s; with -n it is given up after 5 s without an answer.

--json prints one object: rps, n, ok, failed, p50_us, p90_us, p99_us, p999_us, max_us, duration_s, connections,
in_flight (of each connection), bytes_in, bytes_out, errors (how often, by what went wrong: `connection refused`,
`connection closed`, `timeout`, or what the service said); with -q also asked_rps and started_rps.

Exit codes: 0 all calls were answered, 1 the service failed some, 2 usage or bad input, 3 a connection failed or was
lost (nobody there at the start: one line and no report), 4 some calls timed out; of several the one that comes first
in 3, 4, 1.

Examples:
  trunkline bench rpcx://127.0.0.1:8972 Arith.Mul -d '{\"A\":6,\"B\":7}'
  trunkline bench rpcx://127.0.0.1:8972 Echo.Echo -d @body.bin --codec raw -c 10 -p 100 -z 5s --html report.html
  trunkline bench http://127.0.0.1:8972 Arith.Add -d '{\"A\":{{seq}},\"B\":{{rand}}}' -q 20k -z 30s
  trunkline bench iip://127.0.0.1:8972 /echo -d @body.bin --codec raw -c 10 -p 100
  trunkline bench rpcx://127.0.0.1:8972 Hello.Say --codec protobuf -n 100k --json
  trunkline bench saber://127.0.0.1:8972 lobby.ReqLogin -c 200 -n 8000 --services 4")]
pub(crate) struct Bench {
    #[command(flatten)]
    pub(super) target: Target,
    /// Whom to call, for example Arith.Mul, or on iip /echo
    #[arg(value_name = "SERVICE.METHOD")]
    pub(super) method: String,
    /// The request, in turn where there are several: JSON, @FILE, or @- for standard input [default: {}; with
    /// --codec raw no bytes]
    #[arg(short, long = "data", value_name = "JSON|@FILE", allow_hyphen_values = true)]
    pub(super) data: Vec<String>,
    /// json, msgpack, protobuf, thrift or raw
    #[arg(long, value_name = "CODEC", default_value = "json", value_parser = values::codec)]
    pub(super) codec: Serialization,
    /// How many connections
    #[arg(short, long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) connections: u32,
    /// How many calls may be in flight on each connection
    #[arg(short = 'p', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) in_flight: u32,
    /// For how long, for example 10s [default: 10s]
    #[arg(short = 'z', long, value_name = "TIME", value_parser = values::duration, conflicts_with = "calls")]
    pub(super) duration: Option<Duration>,
    /// How many calls, for example 100k
    #[arg(short = 'n', long, value_name = "N", value_parser = calls)]
    pub(super) calls: Option<u64>,
    /// How many calls to start in a second, for example 20k, whatever becomes of them: an open loop, whose latency
    /// counts from the intended start (corrected for coordinated omission)
    #[arg(short = 'q', long, value_name = "RATE", value_parser = number)]
    pub(super) rate: Option<f64>,
    /// On saber: spread the callers over so many services of the name, from number 101 on
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(super) services: Option<u64>,
    /// On saber: the name of the node that the callers are of [default: trunkline_bench]
    #[arg(long, value_name = "NAME")]
    pub(super) node: Option<String>,
    /// On saber: take answers at this address, too, where a Go node that has NAME in its table sends them
    #[arg(long, value_name = "ADDR")]
    pub(super) listen: Option<String>,
    /// How many threads [default: half the cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(super) threads: Option<u16>,
    /// How long each call may take, for example 200ms; the server is told [default: 10s, which it is not told]
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(super) timeout: Option<Duration>,
    /// Prints one JSON object
    #[arg(long)]
    pub(super) json: bool,
    /// Writes a page with plots here
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
}

/// A number above 0 such as `500`, `100k` or `1.5M`.
fn number(text: &str) -> Result<f64, String> {
    let (digits, factor) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (text.get(..at), 1e3),
        Some((at, 'm' | 'M')) => (text.get(..at), 1e6),
        _ => (Some(text), 1.0),
    };
    let plain = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'));
    let value = plain.and_then(|digits| digits.parse::<f64>().ok()).map(|value| value * factor);
    value
        .filter(|value| (1e-3..=1e12).contains(value))
        .ok_or_else(|| "not a number as in 500 or 100k".to_owned())
}

/// A whole number above 0 such as `500` or `100k`.
fn calls(text: &str) -> Result<u64, String> {
    let value = number(text)?;
    if value < 1.0 || value.fract() != 0.0 {
        return Err("not a whole number as in 500 or 100k".to_owned());
    }
    // Whole and at most 1e12, so that nothing is cut off.
    format!("{value:.0}").parse().map_err(|_| "not a number".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_suffixes() {
        assert_eq!(calls("100k"), Ok(100_000));
        assert_eq!(calls("1.5K"), Ok(1500));
        assert_eq!(calls("2M"), Ok(2_000_000));
        assert_eq!(calls("7"), Ok(7));
        assert_eq!(number("0.5"), Ok(0.5));
        assert_eq!(number("50k"), Ok(50_000.0));
        for bad in ["", "k", "0", "-1", "1e9", "1.5", "x", "10s", "1.0001k", "1kk", "µ"] {
            assert!(calls(bad).is_err(), "{bad}");
        }
        for bad in ["", "0", "-5", "inf", "NaN", "1e3", "5/s"] {
            assert!(number(bad).is_err(), "{bad}");
        }
    }
}
