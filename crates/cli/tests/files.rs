//! `put` and `get` against a server that runs in the test.
#![allow(clippy::unwrap_used, reason = "it is a test that ends there")]

mod support;

use std::path::PathBuf;

use support::run;
use trunkline::Server;
use trunkline::file::FileService;
use trunkline::server::ServerHandle;

/// A server on a runtime of its own, with its folder.
struct Files {
    folder: PathBuf,
    url: String,
    _handle: ServerHandle,
    _runtime: tokio::runtime::Runtime,
}

impl Files {
    fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("trunkline-cli-{name}-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("served")).unwrap();
        let runtime = tokio::runtime::Runtime::new_current().unwrap();
        let service = FileService::open(folder.join("served")).unwrap();
        let server = Server::builder().serve(service).listen("127.0.0.1:0");
        let server = runtime.block_on(server.start()).unwrap();
        Self { folder, url: server.url().to_owned(), _handle: server.handle(), _runtime: runtime }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    fn names(&self, folder: &str) -> usize {
        std::fs::read_dir(self.folder.join(folder)).unwrap().count()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
