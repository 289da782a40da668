//! The command against the Go servers: codecs, sizes, failures, metadata, files and exit codes.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use super::{Options, Outcome, Report, TOKEN};
use crate::process::{Output, Server, run_limited};

/// Generated messages for each codec: with four codecs 200 a server.
const MESSAGES: u64 = 50;
const CODECS: [&str; 4] = ["json", "msgpack", "protobuf", "thrift"];
const SIZES: [usize; 9] = [0, 1, 1024, 1025, 4095, 4096, 65536, 1 << 20, 4_194_304];

/// One Go server, seen from our command.
struct Peer<'a> {
    trunkline: &'a Path,
    url: String,
}

impl Peer<'_> {
    fn call(&self, method: &str, body: &str, more: &[&str]) -> Result<Output, String> {
        run_limited(Command::new(self.trunkline).args(["call", &self.url, method, body]).args(more))
    }

    fn answers(&self, method: &str, body: &str, more: &[&str], want: &str) -> Result<(), String> {
        let out = self.call(method, body, more)?;
        if out.code == Some(0) && same_json(&out.stdout, want) {
            return Ok(());
        }
        Err(format!("{method} {body} {}: expected {want}, {}", more.join(" "), told(&out)))
    }

    /// Wants an exit code and a text on stderr.
    fn fails(&self, method: &str, body: &str, more: &[&str], code: i32, text: &str) -> Result<(), String> {
        let out = self.call(method, body, more)?;
        if out.code == Some(code) && out.stderr.contains(text) {
            return Ok(());
        }
        Err(format!("{method} {body}: expected exit code {code} and {text:?} on stderr, {}", told(&out)))
    }
}

fn told(out: &Output) -> String {
    let start = |s: &str| s.trim().chars().take(200).collect::<String>();
    format!("got code {:?}, stdout {:?}, stderr {:?}", out.code, start(&out.stdout), start(&out.stderr))
}

/// The answers here have no blanks inside texts, so JSON that differs only in layout is the same without any.
fn same_json(a: &str, b: &str) -> bool {
    let bare = |s: &str| s.split_whitespace().collect::<String>();
    bare(a) == bare(b)
}

/// A small generator (xorshift), so that each run makes the same messages.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A pair whose product fits 64 bits, of all magnitudes and signs.
    fn pair(&mut self) -> (i64, i64) {
        let (a, b) = (self.half(), self.half());
        if self.next().is_multiple_of(8) { (a, 0) } else { (a, b) }
    }

    fn half(&mut self) -> i64 {
        let shift = self.next() % 31;
        let n = i64::from((self.next() >> 33) as u32 >> shift);
        if self.next().is_multiple_of(2) { n } else { -n }
    }
}

fn generated(peer: &Peer<'_>, codec: &str) -> Result<(), String> {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for i in 0..MESSAGES {
        let (a, b) = numbers.pair();
        let body = format!("{{\"A\":{a},\"B\":{b}}}");
        let (method, c) = if i % 2 == 0 { ("Arith.Mul", a * b) } else { ("Arith.Add", a + b) };
        peer.answers(method, &body, &["--codec", codec], &format!("{{\"C\":{c}}}"))?;
    }
    Ok(())
}

fn sizes(peer: &Peer<'_>, logs: &Path) -> Result<(), String> {
    for size in SIZES {
        for method in ["Echo.Echo", "Echo.Owned"] {
            size_of(peer, method, size, logs)?;
        }
    }
    Ok(())
}

/// A body of this size there and back.
fn size_of(peer: &Peer<'_>, method: &str, size: usize, logs: &Path) -> Result<(), String> {
    let file = logs.join("body");
    let body: Vec<u8> = b"trunkline ".iter().copied().cycle().take(size).collect();
    fs::write(&file, &body).map_err(|e| format!("{}: {e}", file.display()))?;
    let out = peer.call(method, &format!("@{}", file.display()), &["--codec", "raw"])?;
    // A line feed after the answer is the command's own.
    let got = out.raw.strip_suffix(b"\n").filter(|s| s.len() == size).unwrap_or(&out.raw);
    if out.code == Some(0) && got == body {
        return Ok(());
    }
    Err(format!("{method} of {size} bytes: {} came back, {}", got.len(), told(&out)))
}

/// A file there and back, one that is not there, and one that is refused.
fn files(peer: &Peer<'_>, there: &Path, logs: &Path) -> Result<(), String> {
    let (source, target) = (logs.join("put"), logs.join("got"));
    let told_of = |path: &Path| format!("{}: ", path.display());
    let run = |args: [&str; 3]| run_limited(Command::new(peer.trunkline).args(args));
    let (from, to) = (source.to_string_lossy(), target.to_string_lossy());
    for size in [1, 10_236, 10_237, 1 << 20, 25 << 20] {
        let body: Vec<u8> = b"trunkline ".iter().copied().cycle().take(size).collect();
        fs::write(&source, &body).map_err(|e| told_of(&source) + &e.to_string())?;
        let url = format!("{}/file%20{size}.bin", peer.url);
        for args in [["put", &from, &url], ["get", &url, &to]] {
            let out = run(args)?;
            if out.code != Some(0) {
                return Err(format!("{} of {size} bytes: {}", args[0], told(&out)));
            }
        }
        for path in [there.join(format!("file {size}.bin")), target.clone()] {
            if fs::read(&path).map_err(|e| told_of(&path) + &e.to_string())? != body {
                return Err(told_of(&path) + "other bytes");
            }
        }
    }
    let out = run(["get", &format!("{}/not-there.bin", peer.url), &to])?;
    if out.code == Some(1) { Ok(()) } else { Err(format!("not there: {}", told(&out))) }
}

fn metadata(peer: &Peer<'_>) -> Result<(), String> {
    let out = peer.call("Meta.Echo", "{}", &["-H", "some-key:some-value", "-H", "other:größer", "-v"])?;
    let shown = ["some-key", "some-value", "other", "größer"].iter().all(|t| out.stderr.contains(t));
    if out.code == Some(0) && shown { Ok(()) } else { Err(told(&out)) }
}

fn nobody(trunkline: &Path, scheme: &str) -> Result<(), String> {
    // The port was free a moment ago and is bound by nobody now.
    let addr = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).map_err(|e| e.to_string())?;
    let peer = Peer { trunkline, url: format!("{scheme}://{addr}") };
    peer.fails("Arith.Mul", "{}", &["--timeout", "2s"], 3, "")
}

/// Runs the cases that are wanted.
struct Cases<'a> {
    pair: &'static str,
    options: &'a Options,
    report: &'a mut Report,
}

impl Cases<'_> {
    fn case(&mut self, name: &str, run: impl FnOnce() -> Result<(), String>) {
        if self.options.wants(name) {
            self.report.check(self.pair, name, run());
        }
    }

    /// A case that ends in a known defect of the Go side: what our caller sees of it is checked.
    fn expected(&mut self, name: &str, id: &str, run: impl FnOnce() -> Result<(), String>) {
        if self.options.wants(name) {
            let outcome = run().map_or_else(Outcome::Failed, |()| Outcome::Expected(id.to_owned()));
            self.report.add(self.pair, name, &outcome);
        }
    }

    fn shared(&mut self, peer: &Peer<'_>, scheme: &str) {
        for codec in CODECS {
            self.case(&format!("codec-{codec}"), || generated(peer, codec));
        }
        self.case("typed", || peer.answers("Slow.Sleep", "{\"Millis\":1}", &[], "{\"Slept\":1}"));
        self.case("deadline", || {
            peer.fails("Slow.Sleep", "{\"Millis\":5000}", &["--timeout", "200ms"], 4, "")
        });
        self.case("meta", || metadata(peer));
        self.case("nobody-there", || nobody(peer.trunkline, scheme));
        self.case("still-serves", || peer.answers("Arith.Mul", "{\"A\":6,\"B\":7}", &[], "{\"C\":42}"));
    }
}

/// All cases of the rpcx server.
pub(super) fn rpcx(trunkline: &Path, server: &Server, logs: &Path, options: &Options, report: &mut Report) {
    let peer = Peer { trunkline, url: format!("rpcx://{}", server.addr()) };
    let mut cases = Cases { pair: "trunkline -> Go rpcx", options, report };
    cases.case("sizes-raw", || sizes(&peer, logs));
    cases
        .case("fail-text", || peer.fails("Fault.Fail", "{\"Message\":\"größer: 10\"}", &[], 1, "größer: 10"));
    cases.case("divide-by-zero", || {
        CODECS.iter().try_for_each(|c| {
            peer.fails("Arith.Div", "{\"A\":1,\"B\":0}", &["--codec", c], 1, "divide by zero")
        })
    });
    cases.case("unknown-service", || peer.fails("Nope.Mul", "{}", &[], 1, "rpcx: can't find service Nope"));
    cases.case("unknown-method", || peer.fails("Arith.Nope", "{}", &[], 1, "rpcx: can't find method Nope"));
    cases.case("panic", || peer.fails("Fault.Panic", "{}", &[], 1, "service internal error"));
    cases.case("one-way", || peer.answers("Fault.Fail", "{\"Message\":\"x\"}", &["--oneway"], ""));
    cases.shared(&peer, "rpcx");
}

/// The rpcx server that asks for a token.
pub(super) fn token(trunkline: &Path, server: &Server, options: &Options, report: &mut Report) {
    let peer = Peer { trunkline, url: format!("rpcx://{}", server.addr()) };
    let mut cases = Cases { pair: "trunkline -> Go rpcx", options, report };
    let header = format!("__AUTH:{TOKEN}");
    cases
        .case("auth-good", || peer.answers("Arith.Mul", "{\"A\":6,\"B\":7}", &["-H", &header], "{\"C\":42}"));
    cases.case("auth-refused", || peer.fails("Arith.Mul", "{\"A\":6,\"B\":7}", &[], 1, "invalid token"));
}

/// All cases of the easymicro server. It answers no failed call (E5), so those end by the deadline.
pub(super) fn easymicro(trunkline: &Path, server: &Server, options: &Options, report: &mut Report) {
    let peer = Peer { trunkline, url: format!("easymicro://{}", server.addr()) };
    let mut cases = Cases { pair: "trunkline -> Go easymicro", options, report };
    for (name, method) in [("fail", "Fault.Fail"), ("panic", "Fault.Panic"), ("unknown-method", "Arith.Nope")]
    {
        cases.expected(name, "E5", || peer.fails(method, "{}", &["--timeout", "400ms"], 4, ""));
    }
    cases.shared(&peer, "easymicro");
}

/// All cases of the IIP server, whose files lie in a folder.
pub(super) fn iip(trunkline: &Path, server: &Server, there: &Path, options: &Options, report: &mut Report) {
    let peer = Peer { trunkline, url: format!("iip://{}", server.addr()) };
    let logs = there.parent().unwrap_or(there);
    let mut cases = Cases { pair: "trunkline -> Go iip", options, report };
    cases.case("iip-codec-json", || generated(&peer, "json"));
    cases.case("iip-sizes", || {
        // A body of no bytes goes as {}: the wire has none.
        let mut sizes = SIZES.into_iter().filter(|size| *size > 0);
        sizes.try_for_each(|size| size_of(&peer, "Echo.Owned", size, logs))
    });
    cases.case("iip-fail-text", || {
        peer.fails("Fault.Fail", "{\"Message\":\"größer: 10\"}", &[], 1, "größer: 10")
    });
    cases.case("iip-divide-by-zero", || {
        peer.fails("Arith.Div", "{\"A\":1,\"B\":0}", &[], 1, "divide by zero")
    });
    cases.case("iip-unknown", || {
        ["Nope.Mul", "Arith.Nope"].iter().try_for_each(|name| peer.fails(name, "{}", &[], 1, ""))
    });
    cases.case("iip-panic", || peer.fails("Fault.Panic", "{}", &[], 1, "handle no response"));
    cases.case("iip-typed", || peer.answers("Slow.Sleep", "{\"Millis\":1}", &[], "{\"Slept\":1}"));
    cases.case("iip-deadline", || {
        peer.fails("Slow.Sleep", "{\"Millis\":1500}", &["--timeout", "200ms"], 4, "")
    });
    cases.case("iip-meta", || {
        let seen = "{\"some-key\":[\"some-value\"]}";
        peer.answers("Meta.Echo", "{}", &["-H", "some-key:some-value"], seen)
    });
    cases.case("iip-nobody-there", || nobody(trunkline, "iip"));
    cases.case("iip-put-get", || files(&peer, there, logs));
    cases.case("iip-still-serves", || peer.answers("Arith.Mul", "{\"A\":6,\"B\":7}", &[], "{\"C\":42}"));
}

/// The command against the Go server of net/rpc.
pub(super) fn netrpc(trunkline: &Path, server: &Server, options: &Options, report: &mut Report) {
    let peer = Peer { trunkline, url: format!("netrpc://{}", server.addr()) };
    let mut cases = Cases { pair: "trunkline -> Go netrpc", options, report };
    cases.case("netrpc-codec-json", || generated(&peer, "json"));
    cases.case("netrpc-connect", || {
        let url = format!("netrpc://{}?connect=/_goRPC_", server.other("connect").unwrap_or_default());
        Peer { trunkline, url }.answers("Arith.Mul", "{\"A\":6,\"B\":7}", &[], "{\"C\":42}")
    });
    cases.case("netrpc-raw", || {
        let out = peer.call("Echo.Owned", "hello", &["--codec", "raw"])?;
        if out.code == Some(0) && out.stdout == "hello" { Ok(()) } else { Err(told(&out)) }
    });
    cases.case("netrpc-types", || {
        let zeros = "{\"Base\":{\"ID\":0},\"Bool\":false,\"I8\":0,\"I16\":0,\"I32\":0,\"I64\":-5,\"U8\":0,\"U16\":0,\
                     \"U32\":0,\"U64\":0,\"F32\":0,\"F64\":2.5,\"Str\":\"s\",\"Bytes\":null,\"Ints\":[1,-2],\"Strs\":null,\
                     \"Floats\":null,\"Map\":{\"k\":3},\"Inner\":{\"Name\":\"n\",\"N\":0},\"Ptr\":null,\"Nest\":[[\"a\"],[]],\
                     \"Inners\":null,\"Maps\":null}";
        let given = "{\"I64\":-5,\"F64\":2.5,\"Str\":\"s\",\"Ints\":[1,-2],\"Map\":{\"k\":3},\
                     \"Inner\":{\"Name\":\"n\"},\"Nest\":[[\"a\"],[]]}";
        peer.answers("Types.All", given, &[], zeros)
    });
    cases.case("netrpc-fail-text", || {
        peer.fails("Fault.Fail", "{\"Message\":\"größer: 10\"}", &[], 1, "größer: 10")
    });
    cases.case("netrpc-divide-by-zero", || {
        peer.fails("Arith.Div", "{\"A\":1,\"B\":0}", &[], 1, "divide by zero")
    });
    cases.case("netrpc-unknown", || {
        peer.fails("Nope.Mul", "{}", &[], 1, "rpc: can't find service Nope.Mul")?;
        peer.fails("Arith.Nope", "{}", &[], 1, "rpc: can't find method Arith.Nope")
    });
    cases.case("netrpc-typed", || peer.answers("Slow.Sleep", "{\"Millis\":1}", &[], "{\"Slept\":1}"));
    cases.case("netrpc-deadline", || {
        peer.fails("Slow.Sleep", "{\"Millis\":1500}", &["--timeout", "200ms"], 4, "")
    });
    cases.case("netrpc-meta", || peer.fails("Arith.Mul", "{}", &["-H", "a:b"], 2, "no metadata"));
    cases.case("netrpc-nobody-there", || nobody(trunkline, "netrpc"));
    cases.case("netrpc-still-serves", || peer.answers("Arith.Mul", "{\"A\":6,\"B\":7}", &[], "{\"C\":42}"));
}
