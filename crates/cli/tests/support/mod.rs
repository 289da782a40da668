//! Runs the built command: the demo as a process that is killed at the end, and every other verb to its end.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "it is a test that ends there")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take before a test gives it up.
const PATIENCE: Duration = Duration::from_secs(30);

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline"));
    command.args(args).env_remove("RUST_LOG").env("RUST_BACKTRACE", "0");
    command
}

/// How a command ended.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    /// It must have ended so, with one line on stderr that has this in it and nothing on stdout.
    #[track_caller]
    pub fn fails(&self, code: i32, with: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.stderr.contains(with), "{with}: {self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
    }

    /// It must have answered this, and have said nothing else.
    #[track_caller]
    pub fn says(&self, stdout: &str) {
        assert_eq!((self.code, self.stdout.as_str(), self.stderr.as_str()), (0, stdout, ""), "{self:?}");
    }
}

/// Runs the command to its end.
pub fn run(args: &[&str]) -> Done {
    run_with(args, b"")
}

/// As [`run`], with standard input.
pub fn run_with(args: &[&str], input: &[u8]) -> Done {
    let mut command = command(args);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Running(command.spawn().unwrap());
    let mut stdin = child.0.stdin.take().unwrap();
    let (mut stdout, mut stderr) = (child.0.stdout.take().unwrap(), child.0.stderr.take().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A command that does not read its input may be gone.
            let _ = stdin.write_all(input);
        });
        let errors = scope.spawn(move || text(&mut stderr));
        let out = scope.spawn(move || text(&mut stdout));
        let code = child.wait();
        Done { code, stdout: out.join().unwrap(), stderr: errors.join().unwrap() }
    })
}

fn text(from: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A process that does not outlive its test.
struct Running(Child);

impl Running {
    fn wait(&mut self) -> i32 {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < end, "the command did not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A demo that serves.
pub struct Demo {
    process: Running,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
    /// The first line, without its end.
    pub ready: String,
    /// The first address of it.
    pub address: String,
}

impl Demo {
    /// A demo on a free port that does not call itself.
    pub fn start() -> Self {
        Self::with(&["--listen", "127.0.0.1:0", "--no-calls"])
    }

    /// A demo with these arguments.
    pub fn with(args: &[&str]) -> Self {
        let args: Vec<&str> = ["demo"].iter().chain(args).copied().collect();
        Self::of(command(&args).stdin(Stdio::null()))
    }

    /// The demo that this command starts.
    pub fn of(command: &mut Command) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Running(command.spawn().unwrap());
        let mut stdout = BufReader::new(process.0.stdout.take().unwrap());
        let stderr = BufReader::new(process.0.stderr.take().unwrap());
        let mut ready = String::new();
        stdout.read_line(&mut ready).unwrap();
        let ready = ready.trim_end_matches('\n').to_owned();
        let address = ready.split(' ').nth(1).unwrap_or_default().to_owned();
        Self { process, stdout, stderr, ready, address }
    }

    /// A URL of it.
    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.address)
    }

    /// Calls a method over rpcx.
    pub fn call(&self, method: &str, body: &str) -> Done {
        run(&["call", &self.url("rpcx"), method, body])
    }

    /// Calls until the answer has this in it.
    pub fn call_until(&self, method: &str, with: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let done = self.call(method, "{}");
            if done.stdout.contains(with) {
                return;
            }
            assert!(Instant::now() < end, "{with}: {done:?}");
        }
    }

    /// The next line on stdout.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    /// Reads stderr to the first line that has this in it.
    pub fn error_line(&mut self, with: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.stderr.read_line(&mut line).unwrap(), 0, "no line with {with}");
            if line.contains(with) {
                return line;
            }
        }
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.process.0.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.process.0.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end: the exit code, and what it still said on stdout and on stderr.
    pub fn end(mut self) -> Done {
        let code = self.process.wait();
        Done { code, stdout: text(&mut self.stdout), stderr: text(&mut self.stderr) }
    }
}

/// The address of a Trunkline server without services that does not describe itself.
pub fn undescribed_server() -> String {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = trunkline::Server::builder().listen("127.0.0.1:0").bind().await.unwrap();
            tell.send(server.addresses().remove(0)).unwrap();
            server.run().await.unwrap();
        });
    });
    told.recv().unwrap()
}

/// The address of a peer that takes connections and does this with each.
pub fn peer(with: impl Fn(std::net::TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            with(stream.unwrap());
        }
    });
    address
}

/// The address of a peer that reads and never answers.
pub fn silent_peer() -> String {
    peer(|mut stream| {
        std::thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()));
    })
}

/// The address of a peer that reads a little and closes.
pub fn closing_peer() -> String {
    peer(|mut stream| {
        let _ = stream.read(&mut [0; 64]);
    })
}

/// An address at which nobody listens.
pub fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// A folder for one test; it goes with the value.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("trunkline-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
