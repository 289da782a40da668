//! A server in a process of its own, so that what it holds and uses can be told from what the test does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use trunkline::Server;

use super::{Test, frame};

const CHILD: &str = "TRUNKLINE_TEST_SERVE";

/// The server process; to be called by a test named `child_server`, which does nothing when it runs as a test.
pub(crate) fn serve_if_child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = Server::builder().serve(Test::default()).listen("127.0.0.1:0").bind().await.unwrap();
        println!("\nready {}", server.addresses()[0]);
        server.run().await.unwrap();
    });
}

/// A server with [`Test`] on one thread, in a process that ends with this.
pub(crate) struct Serving {
    child: Child,
    /// Held open: the test program writes to it when a test has run for a minute, and would end of a broken pipe.
    _output: BufReader<ChildStdout>,
    pub(crate) address: String,
}

impl Serving {
    pub(crate) fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child_server", "--exact", "--nocapture"])
            .env(CHILD, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut lines = output.by_ref().lines().map_while(Result::ok);
        let ready = lines.find_map(|line| Some(line.split_once("ready ")?.1.to_owned()));
        let address = ready.expect("the server does not start");
        Self { child, _output: output, address }
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id())).unwrap();
        let line = rollup.lines().find(|line| line.starts_with("Rss:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Processor time of all threads so far.
    pub(crate) fn processor(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let nanos = tasks.map(|task| {
            let text = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
            text.split(' ').next().unwrap().parse::<u64>().unwrap()
        });
        Duration::from_nanos(nanos.sum())
    }

    /// A connection, whose reads do not wait for ever.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One call of 581 bytes over rpcx, and its answer.
pub(crate) fn call_rpcx(stream: &mut TcpStream, method: &str) {
    let request = frame(0, 1, method, &[b'x'; 581]);
    stream.write_all(&request).unwrap();
    let mut reply = vec![0; request.len()];
    stream.read_exact(&mut reply).unwrap();
    assert!(reply.ends_with(b"xxx"));
}
