//! Files at a Go server, as the module's examples serve them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fastrand::Rng;
use tokio::sync::Notify;
use trunkline::client::Channel;
use trunkline::file::FileClient;

use super::Peer;
use crate::peer::GoServer;
use crate::suite::{Check, Suite, Told, ensure};

pub(super) async fn cases(suite: &mut Suite, peer: &Peer) {
    suite.case("iip-files", there_and_back(peer)).await;
    suite.case("iip-files-put-killed", killed(peer, true)).await;
    suite.case("iip-files-get-killed", killed(peer, false)).await;
    suite.case("iip-files-get-resumed", resumed(peer)).await;
    suite.case("iip-files-missing", missing(peer)).await;
}

/// A folder for one case.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Check<Self> {
        let path = std::env::temp_dir().join(format!("trunkline-interop-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("there")).told(path.display())?;
        Ok(Self(path))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Where the server's files are.
    fn there(&self) -> PathBuf {
        self.0.join("there")
    }

    async fn server(&self, peer: &Peer, address: &str) -> Check<GoServer> {
        let mut command = Command::new(&peer.program);
        command.args(["-addr", address, "-files"]).arg(self.there());
        GoServer::start_as(command).await
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left lies in the folder for such things.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn write(path: &Path, size: usize) -> Check<Vec<u8>> {
    let mut data = vec![0; size];
    Rng::with_seed(31).fill(&mut data);
    fs::write(path, &data).told(path.display())?;
    Ok(data)
}

fn is(path: &Path, data: &[u8]) -> Check {
    let got = fs::read(path).told(path.display())?;
    ensure(got == data, || {
        format!("{}: {} bytes, expected {}, or others", path.display(), got.len(), data.len())
    })
}

async fn there_and_back(peer: &Peer) -> Check {
    let folder = Folder::new("files")?;
    let server = folder.server(peer, "127.0.0.1:0").await?;
    let channel = Channel::connect(&format!("iip://{}", server.address)).await.told("connect")?;
    let client = FileClient::new(channel, server.address.clone());
    for size in [1, 10_235, 10_236, 10_237, 1 << 20, 25 << 20] {
        let data = write(&folder.file("a"), size)?;
        client.put(folder.file("a"), "name.bin").await.told(format!("put {size}"))?;
        is(&folder.there().join("name.bin"), &data)?;
        client.get("name.bin", folder.file("b")).await.told(format!("get {size}"))?;
        is(&folder.file("b"), &data)?;
    }
    Ok(())
}

/// The server is killed in the midst of a file and started again: the file arrives whole.
async fn killed(peer: &Peer, put: bool) -> Check {
    let folder = Folder::new(if put { "put" } else { "get" })?;
    let mut server = folder.server(peer, "127.0.0.1:0").await?;
    let address = server.address.clone();
    let channel = Channel::connect(&format!("iip://{address}")).await.told("connect")?;
    let size = 30 << 20;
    let data = write(&if put { folder.file("a") } else { folder.there().join("a") }, size)?;
    let (half, once) = (Arc::new(Notify::new()), AtomicBool::new(false));
    let reached = Arc::clone(&half);
    let client = FileClient::new(channel, address.clone()).on_progress(move |progress| {
        if progress.done > 8 << 20 && !once.swap(true, Ordering::Relaxed) {
            reached.notify_one();
        }
    });
    let transfer = async {
        if put { client.put(folder.file("a"), "a").await } else { client.get("a", folder.file("b")).await }
    };
    let kill = async {
        half.notified().await;
        server.kill()?;
        folder.server(peer, &address).await
    };
    let (done, _again) = tokio::join!(transfer, kill);
    let (done, _again) = (done.told("transfer")?, _again?);
    ensure(done.size == size as u64, || format!("{done:?}"))?;
    is(&if put { folder.there().join("a") } else { folder.file("b") }, &data)
}

/// A download that is given up midway is gone on with by the next one.
async fn resumed(peer: &Peer) -> Check {
    let folder = Folder::new("resumed")?;
    let server = folder.server(peer, "127.0.0.1:0").await?;
    let channel = Channel::connect(&format!("iip://{}", server.address)).await.told("connect")?;
    let data = write(&folder.there().join("a"), 4 << 20)?;
    let half = Arc::new(Notify::new());
    let reached = Arc::clone(&half);
    let client = FileClient::new(channel.clone(), "the server").on_progress(move |progress| {
        // What came last is not written yet: up to 1 MiB.
        if progress.done > 5 << 19 {
            reached.notify_one();
        }
    });
    tokio::select! {
        () = half.notified() => {}
        done = client.get("a", folder.file("b")) => return Err(format!("it ended before its middle: {done:?}")),
    }
    ensure(!folder.file("b").exists(), || "half a file shows under its name".to_owned())?;
    let client = FileClient::new(channel, "the server");
    let done = client.get("a", folder.file("b")).await.told("get")?;
    ensure(done.resumed >= 2 << 20, || format!("{done:?}: it began anew"))?;
    is(&folder.file("b"), &data)
}

async fn missing(peer: &Peer) -> Check {
    let folder = Folder::new("missing")?;
    let server = folder.server(peer, "127.0.0.1:0").await?;
    let channel = Channel::connect(&format!("iip://{}", server.address)).await.told("connect")?;
    let client = FileClient::new(channel, server.address.clone());
    let outcome = client.get("not-there.bin", folder.file("b")).await;
    ensure(outcome.is_err(), || format!("{outcome:?}"))?;
    let left = fs::read_dir(&folder.0).told("folder")?.count();
    ensure(left == 1, || format!("{left} files are left, expected the server's folder"))
}
