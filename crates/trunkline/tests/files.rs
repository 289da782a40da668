//! What a large file costs: memory, and with `--release -- --ignored --nocapture` the time of 1 GiB.
#![cfg(all(feature = "file", target_os = "linux"))]
#![allow(clippy::unwrap_used, reason = "it is a test that ends there")]

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use trunkline::client::Channel;
use trunkline::file::{FileClient, FileService};
use trunkline::{Call, Code, Reply, Result, Serialization, Server, Service, Status};

/// One at a time: they look at the memory of the process.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("trunkline-{name}-{}", std::process::id()));
        std::fs::create_dir_all(path.join("there")).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn write(path: &Path, mebibytes: usize) {
    let mut random = fastrand::Rng::with_seed(1);
    let mut block = vec![0; 1 << 20];
    let mut file = File::create(path).unwrap();
    for _ in 0..mebibytes {
        random.fill(&mut block);
        file.write_all(&block).unwrap();
    }
}

/// The most memory that the process had since the mark was set back, in KiB.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Sets the mark back; the memory of now.
fn set_back() -> u64 {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    most_memory()
}

/// A server that does not know our own paths.
struct Go(Channel);

impl Service for Go {
    async fn call(&self, call: Call) -> Result<Reply> {
        if call.method().starts_with("/trunkline/") {
            return Err(Status::new(Code::NotFound, "no handler"));
        }
        self.0.call(call).await
    }

    fn serialization(&self) -> Serialization {
        self.0.serialization()
    }
}

/// Sends and fetches a file of so many MiB; the memory that both ends took more than before, in MiB.
async fn there_and_back(mebibytes: usize, go: bool) -> u64 {
    let folder = Folder::new(if go { "go-files" } else { "files" });
    let (source, target) = (folder.0.join("a"), folder.0.join("b"));
    write(&source, mebibytes);
    // sendfile's file is not written through either.
    let files = FileService::builder(folder.0.join("there")).durable(false).open().unwrap();
    let server = Server::builder().serve(files).listen("127.0.0.1:0").start().await.unwrap();
    let before = set_back();
    let channel = Channel::connect(server.url()).await.unwrap();
    let rate = |begun: Instant| mebibytes as f64 / begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let (put, get) = if go {
        let client = FileClient::new(Go(channel), "test");
        client.put(&source, "a").await.unwrap();
        let put = rate(begun);
        let begun = Instant::now();
        client.get("a", &target).await.unwrap();
        (put, rate(begun))
    } else {
        let client = FileClient::new(channel, "test");
        let sent = client.put(&source, "a").await.unwrap();
        let put = rate(begun);
        let begun = Instant::now();
        assert_eq!(client.get("a", &target).await.unwrap(), sent);
        (put, rate(begun))
    };
    let took = most_memory().saturating_sub(before) / 1024;
    println!(
        "{mebibytes} MiB, go: {go}: put {put:.0} MiB/s, get {get:.0} MiB/s, {took} MiB of memory at both ends"
    );
    took
}

/// Both ends are in this process, each may take 32 MiB.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_takes_little_memory() {
    let _turn = TURN.lock().await;
    for go in [false, true] {
        let took = there_and_back(128, go).await;
        assert!(took <= 64, "{took} MiB");
    }
}

/// What there is to reach: `sendfile` into a program that hashes and writes what it reads, in MiB a second.
fn limit(mebibytes: usize) -> f64 {
    let folder = Folder::new("limit");
    let (source, target) = (folder.0.join("a"), folder.0.join("b"));
    write(&source, mebibytes);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut sender = std::net::TcpStream::connect(address).unwrap();
            std::io::copy(&mut File::open(&source).unwrap(), &mut sender).unwrap();
        });
        let (mut receiver, _) = listener.accept().unwrap();
        let (mut file, mut hasher) = (File::create(&target).unwrap(), blake3::Hasher::new());
        let mut block = vec![0; 1 << 20];
        loop {
            let length = receiver.read(&mut block).unwrap();
            if length == 0 {
                break;
            }
            hasher.update(&block[..length]);
            file.write_all(&block[..length]).unwrap();
        }
        hasher.finalize();
    });
    mebibytes as f64 / begun.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes 3 GiB: run it with --release"]
async fn a_gibibyte_takes_no_more() {
    let _turn = TURN.lock().await;
    for go in [false, true, false] {
        println!("the limit: {:.0} MiB/s", limit(1024));
        let took = there_and_back(1024, go).await;
        assert!(took <= 64, "{took} MiB");
    }
}
