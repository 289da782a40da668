//! Programs that are bounded in time: commands that run to their end, and servers that are stopped when done with.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// No program may take longer than this.
const PROGRAM_LIMIT: Duration = Duration::from_secs(120);
/// How long a server may take until its `ready` line, and how long until it has stopped.
const START_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// What a program said and how it ended; no code where a signal ended it.
pub(crate) struct Output {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) raw: Vec<u8>,
    pub(crate) stderr: String,
}

/// Runs a command to its end; one that takes too long is killed, and that is the error.
pub(crate) fn run_limited(command: &mut Command) -> Result<Output, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("{name}: {e}"))?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let Some(status) = wait(&mut child, PROGRAM_LIMIT)? else {
        return Err(format!("{name} did not end within {PROGRAM_LIMIT:?}{}", kill(&mut child)));
    };
    let raw = stdout.join().unwrap_or_default();
    let stderr = String::from_utf8_lossy(&stderr.join().unwrap_or_default()).into_owned();
    Ok(Output { code: status.code(), stdout: String::from_utf8_lossy(&raw).into_owned(), raw, stderr })
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        if let Some(mut pipe) = pipe {
            // What came before a broken pipe is still worth showing.
            let _ = pipe.read_to_end(&mut all);
        }
        all
    })
}

/// Waits for a child; `None` where the time is over.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>, String> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        match child.try_wait() {
            Ok(None) if Instant::now() < end => thread::sleep(pause),
            Ok(status) => return Ok(status),
            Err(e) => return Err(e.to_string()),
        }
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Kills a child and takes it off the process table; the text tells of a failure to.
fn kill(child: &mut Child) -> String {
    match child.kill().and_then(|()| child.wait()) {
        Ok(_) => String::new(),
        Err(e) => format!(", and could not be killed: {e}"),
    }
}

/// A server that runs until it is stopped or dropped.
pub(crate) struct Server {
    child: Child,
    name: String,
    ready: Vec<String>,
}

impl Server {
    /// Starts a server and waits for its line `ready ADDR [NAME=ADDR]…`. Its log goes to a file in `logs`.
    pub(crate) fn start(program: &Path, args: &[&str], logs: &Path) -> Result<Server, String> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let log = logs.join(format!("{name}.log"));
        let file = File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .map_err(|e| format!("{name}: {e}"))?;
        let (send, receive) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    // After the first line nobody listens; the pipe is still emptied.
                    let _ = send.send(line);
                }
            });
        }
        let mut server = Server { child, name, ready: Vec::new() };
        let line = receive.recv_timeout(START_LIMIT).unwrap_or_default();
        server.ready =
            line.strip_prefix("ready ").unwrap_or_default().split(' ').map(str::to_owned).collect();
        if server.addr().is_empty() {
            return Err(format!(
                "{} said {line:?} and not `ready ADDR`; its log is {}",
                server.name,
                log.display()
            ));
        }
        Ok(server)
    }

    /// The address that it serves on.
    pub(crate) fn addr(&self) -> &str {
        self.ready.first().map_or("", String::as_str)
    }

    /// A further address of its ready line.
    pub(crate) fn other(&self, name: &str) -> Option<&str> {
        self.ready.iter().skip(1).find_map(|a| a.strip_prefix(name)?.strip_prefix('='))
    }

    /// Asks it to stop as an operator does, by TERM, and kills it where it does not.
    pub(crate) fn stop(mut self) -> Result<(), String> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Err(format!("{} had ended by itself: {status}", self.name));
        }
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        if !asked.is_ok_and(|s| s.success()) {
            return Err(format!("{} could not be sent TERM{}", self.name, kill(&mut self.child)));
        }
        match wait(&mut self.child, STOP_LIMIT)? {
            Some(status) if status.code() == Some(0) => Ok(()),
            Some(status) => Err(format!("{} ended with {status} at TERM", self.name)),
            None => Err(format!("{} ran on {STOP_LIMIT:?} after TERM{}", self.name, kill(&mut self.child))),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            kill(&mut self.child);
        }
    }
}
