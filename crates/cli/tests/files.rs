//! `put` and `get` against a server that runs in the test.
#![allow(clippy::unwrap_used, reason = "it is a test that ends there")]

mod support;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use support::run;
use trunkline::describe::ServiceInfo;
use trunkline::file::FileService;
use trunkline::server::RunningServer;
use trunkline::{Call, NamedService, Reply, Result, Server, Service};

/// A file service that says nothing more after so many calls.
#[derive(Clone)]
struct Stalls {
    files: FileService,
    calls: Arc<AtomicU64>,
    most: Arc<AtomicU64>,
}

impl Service for Stalls {
    async fn call(&self, call: Call) -> Result<Reply> {
        if self.calls.fetch_add(1, Ordering::Relaxed) >= self.most.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.files.call(call).await
    }
}

impl NamedService for Stalls {
    fn describe(&self) -> ServiceInfo {
        self.files.describe()
    }
}

/// A server on a runtime of its own, with a folder that it serves (`there`) and one that it does not (`here`).
struct Files {
    folder: PathBuf,
    service: Stalls,
    server: Option<RunningServer>,
    runtime: tokio::runtime::Runtime,
}

impl Files {
    fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("trunkline-cli-{name}-{}", std::process::id()));
        for part in ["here", "there"] {
            std::fs::create_dir_all(folder.join(part)).unwrap();
        }
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let service = Stalls {
            files: FileService::open(folder.join("there")).unwrap(),
            calls: Arc::default(),
            most: Arc::new(u64::MAX.into()),
        };
        let mut files = Self { folder, service, server: None, runtime };
        files.serve("127.0.0.1:0");
        files
    }

    fn serve(&mut self, address: &str) {
        let server = Server::builder().serve(self.service.clone()).listen(address);
        self.server = Some(self.runtime.block_on(server.start()).unwrap());
    }

    /// Stops the server at once; its address.
    fn stop(&mut self) -> String {
        let server = self.server.take().unwrap();
        let address = server.addresses()[0].clone();
        self.runtime.block_on(server.stop(Duration::ZERO)).unwrap();
        self.service.most.store(u64::MAX, Ordering::Relaxed);
        address
    }

    fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.server.as_ref().unwrap().url())
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.join(folder)).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Runs a command until the server has answered so many calls, and says nothing more.
    fn stalled_after(&self, calls: u64, args: &[&str]) -> Child {
        self.service.calls.store(0, Ordering::Relaxed);
        self.service.most.store(calls, Ordering::Relaxed);
        let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline"));
        let mut child = command.args(args).stderr(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        while self.service.calls.load(Ordering::Relaxed) <= calls {
            assert!(begun.elapsed() < Duration::from_secs(30) && child.try_wait().unwrap().is_none());
            std::thread::sleep(Duration::from_millis(2));
        }
        child
    }

    /// The same, and kills it.
    fn killed_after(&self, calls: u64, args: &[&str]) {
        let mut child = self.stalled_after(calls, args);
        child.kill().unwrap();
        child.wait().unwrap();
        self.service.calls.store(0, Ordering::Relaxed);
        self.service.most.store(u64::MAX, Ordering::Relaxed);
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _enter = self.runtime.enter();
        drop(self.server.take());
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn content(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fastrand::Rng::with_seed(1).fill(&mut bytes);
    bytes
}

#[test]
fn a_file_goes_there_and_comes_back() {
    let files = Files::start("round");
    let content = content(3_000_001);
    let source = files.write("here/a", &content);
    run(&["put", &source, &files.url("my%20file")]).says("");
    assert_eq!(std::fs::read(files.path("there/my file")).unwrap(), content);
    run(&["get", &files.url("my%20file"), &files.path("here/b")]).says("");
    assert_eq!(std::fs::read(files.path("here/b")).unwrap(), content);
    assert_eq!(files.names("here"), ["a", "b"]);
    assert_eq!(files.names("there"), ["my file"]);
}

#[test]
fn what_fails_says_why_by_its_exit_code() {
    let files = Files::start("fails");
    let source = files.write("here/a", b"x");
    let target = files.path("here/b");
    run(&["get", &files.url("none"), &target]).fails(1, "open none: no such file");
    run(&["get", &files.url("..%2fhere%2fa"), &target]).fails(1, "refused file name");
    run(&["put", &source, &files.url("..%2fb")]).fails(1, "refused file name");
    run(&["put", &files.path("here/none"), &files.url("b")]).fails(2, "No such file");
    run(&["get", &files.url("none"), &files.path("nowhere/b")]).fails(1, "no such file");
    files.write("there/c", b"y");
    run(&["get", &files.url("c"), &files.path("nowhere/b")]).fails(2, "No such file");
    run(&["get", &files.url("c"), &files.path("here")]).fails(2, "directory");
    run(&["put", &source, &files.url("")]).fails(2, "the name is missing");
    for args in [["put", &source, "rpcx://127.0.0.1:1/a"], ["get", "rpcx://127.0.0.1:1/a", &target]] {
        run(&args).fails(3, "127.0.0.1:1");
    }
    assert_eq!(files.names("here"), ["a"]);
    assert_eq!(files.names("there"), ["c"]);
}

#[test]
fn a_killed_command_is_taken_up_by_the_next() {
    let files = Files::start("killed");
    // Of 256 KiB each; every one is a call.
    let blocks = 20;
    let content = content(blocks * (256 << 10));
    files.write("there/a", &content);
    let (url, target) = (files.url("a"), files.path("here/b"));
    files.killed_after(14, &["get", &url, &target]);
    assert_eq!(files.names("here").len(), 1);
    assert!(!std::path::Path::new(&target).exists());
    run(&["get", &url, &target]).says("");
    assert_eq!(std::fs::read(&target).unwrap(), content);
    assert_eq!(files.names("here"), ["b"]);
    let asked = files.service.calls.load(Ordering::Relaxed);
    assert!(asked < 18, "{asked} calls: it was not resumed");

    let url = files.url("c");
    files.killed_after(14, &["put", &target, &url]);
    assert_eq!(files.names("there").len(), 2);
    run(&["put", &target, &url]).says("");
    assert_eq!(std::fs::read(files.path("there/c")).unwrap(), content);
    assert_eq!(files.names("there"), ["a", "c"]);
    let asked = files.service.calls.load(Ordering::Relaxed);
    assert!(asked < 18, "{asked} calls: it was not resumed");
}

#[test]
fn a_break_is_mended_when_the_server_is_back() {
    let mut files = Files::start("break");
    let content = content(5 << 20);
    let source = files.write("here/a", &content);
    let put = ["put", &source, &files.url("a")].map(str::to_owned);
    let get = ["get", &files.url("a"), &files.path("here/b")].map(str::to_owned);
    for args in [put, get] {
        let mut child = files.stalled_after(8, &args.each_ref().map(String::as_str));
        let address = files.stop();
        files.serve(&address);
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    assert_eq!(std::fs::read(files.path("here/b")).unwrap(), content);
    assert_eq!(files.names("there"), ["a"]);
    assert_eq!(files.names("here"), ["a", "b"]);
}

#[test]
fn a_break_that_lasts_is_exit_3_after_ten_seconds() {
    let mut files = Files::start("lasts");
    files.write("there/a", &content(5 << 20));
    let mut child = files.stalled_after(8, &["get", &files.url("a"), &files.path("here/b")]);
    let begun = Instant::now();
    files.stop();
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert!((7..25).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert!(!std::path::Path::new(&files.path("here/b")).exists());
}
