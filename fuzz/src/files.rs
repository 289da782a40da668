//! What must hold whatever files a peer asks for or sends. Used by the fuzz target and by the replay of its corpus.
#![allow(clippy::unwrap_used, reason = "a check fails loudly")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use trunkline::file::FileService;
use trunkline::{Bytes, Call, Result, Serialization, Service};

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().build().unwrap());

/// What lies outside.
const SECRET: &[u8] = b"what nobody may read";
const DOWNLOAD: &str = "/download_file";
const UPLOAD: &str = "/upload_file";
/// Pieces that names are made of, beside bytes of the input.
const PIECES: [&str; 16] = [
    "file",
    "folder",
    "inner",
    "out",
    "secret",
    "up",
    "link",
    "within",
    "loop",
    "fifo",
    "..",
    ".",
    "",
    "new",
    "magic",
    ".trunkline-",
];
/// Links below the root, and where each leads.
const LINKS: [(&str, &str); 6] = [
    ("out", "../outside"),
    ("link", "../outside/secret"),
    ("up", ".."),
    ("within", "folder"),
    ("loop", "loop"),
    ("magic", "/proc/self/root"),
];

/// A list of requests out of bytes.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn number(&mut self) -> usize {
        usize::from(self.byte().unwrap_or(0))
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = self.number().min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }

    /// Up to four pieces, with a slash between two of them.
    fn name(&mut self) -> String {
        let count = self.number() % 4 + 1;
        let pieces = (0..count).map(|_| match PIECES.get(self.number() % 24) {
            Some(piece) => (*piece).to_owned(),
            None => String::from_utf8_lossy(self.bytes()).into_owned(),
        });
        pieces.collect::<Vec<_>>().join("/")
    }
}

/// A served folder with links out of it, and something beside it.
struct Trap {
    all: PathBuf,
    root: PathBuf,
    service: FileService,
}

impl Trap {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("trunkline-fuzz-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let all = std::env::temp_dir().join(name);
        let root = all.join("root");
        fs::create_dir_all(root.join("folder")).unwrap();
        fs::create_dir(all.join("outside")).unwrap();
        fs::write(all.join("outside/secret"), SECRET).unwrap();
        fs::write(root.join("file"), "file").unwrap();
        fs::write(root.join("folder/inner"), "inner").unwrap();
        for (name, to) in LINKS {
            symlink(to, root.join(name)).unwrap();
        }
        mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let service = FileService::builder(&root).durable(false).open().unwrap();
        Self { all, root, service }
    }

    fn ask(&self, path: &str, body: Vec<u8>) -> Result<Bytes> {
        let call = Call::new("", path.to_owned(), Serialization::Raw, Bytes::from(body));
        RUNTIME.block_on(async { self.service.call(call).await?.into_body().whole(usize::MAX).await })
    }

    /// Where a name leads, which has to be a file below the root.
    fn leads_to(&self, name: &str) -> PathBuf {
        let plain = name.split('/').all(|segment| !matches!(segment, "" | "." | ".."));
        assert!(plain && !name.contains(['\\', '\0', '\n']), "{name:?} is taken for a name");
        let path = self.root.join(name).canonicalize().unwrap();
        assert!(path.starts_with(self.root.canonicalize().unwrap()), "{name:?} leads out");
        assert!(path.is_file(), "{name:?} is no file");
        path
    }

    fn download(&self, script: &mut Script<'_>) {
        let (name, at) = (script.name(), script.number() % 8);
        let ask = json!({ "TaskId": 1, "FilePath": name, "DownloadStartPos": at });
        let Ok(answer) = self.ask(DOWNLOAD, ask.to_string().into_bytes()) else { return };
        let there = fs::read(self.leads_to(&name)).unwrap();
        let (head, bytes) = answer.split_at(4);
        let expected = there.get(at..).unwrap_or_default();
        assert!(bytes == expected && (head == [0, 0, 0, 1]) == expected.is_empty(), "{name:?}: {answer:?}");
    }

    fn upload(&self, script: &mut Script<'_>) {
        let (name, how, data) = (script.name(), script.number(), script.bytes());
        let (begins, completed) = (how & 1 == 0, how & 2 == 0);
        let at = if begins { 0 } else { how >> 4 };
        let ask =
            json!({ "TaskId": how >> 2 & 1, "FilePath": name, "UploadStartPos": at, "Completed": completed });
        if self.ask(UPLOAD, framed(&ask, data)).is_ok() && completed {
            let there = fs::read(self.leads_to(&name)).unwrap();
            assert_eq!(there.get(at..), Some(data), "{name:?}");
        }
    }

    fn own(&self, script: &mut Script<'_>) {
        const PATHS: [&str; 7] = ["stat", "read", "hashes", "begin", "write", "commit", "abort"];
        let (path, name) = (PATHS[script.number() % PATHS.len()], script.name());
        let (upload, numbers) =
            (script.number() % 3, [script.number(), script.number(), script.number() % 3]);
        let mut ask =
            json!({ "name": name, "lease": numbers[0], "size": numbers[1], "block": numbers[2], "count": 2 });
        if upload > 0 {
            ask["upload"] = upload.into();
            ask["upload"] = ask["upload"].to_string().into();
        }
        if let Ok(stamp) = self.ask("/trunkline/file/stat", framed(&ask, b"")) {
            let told: Value = serde_json::from_slice(&stamp[4..]).unwrap();
            ask["version"] = told["version"].clone();
            if told["outcome"] == "done" {
                self.leads_to(&name);
            }
        }
        let answer = self.ask(&format!("/trunkline/file/{path}"), framed(&ask, script.bytes()));
        if let Ok(answer) = answer {
            assert!(!contains(&answer, SECRET), "{path} {name:?}");
        }
    }

    /// Nothing outside has changed, nor what leads there.
    fn check(&self) {
        let names = |path: &Path| {
            let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&self.all), ["outside", "root"]);
        assert_eq!(names(&self.all.join("outside")), ["secret"]);
        assert_eq!(fs::read(self.all.join("outside/secret")).unwrap(), SECRET);
        for (name, to) in LINKS {
            assert_eq!(fs::read_link(self.root.join(name)).unwrap(), Path::new(to));
        }
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.all);
    }
}

/// The length of the JSON, the JSON, and what is behind it.
fn framed(ask: &Value, data: &[u8]) -> Vec<u8> {
    let json = ask.to_string().into_bytes();
    [&u32::try_from(json.len()).unwrap().to_be_bytes(), &json[..], data].concat()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Any list of requests: each is answered, what is given is of a regular file below the root and to the byte, what is
/// taken shows there, and nothing else is touched.
pub(crate) fn files(data: &[u8]) {
    // It may write the secret itself, and would read it again.
    if contains(data, SECRET) {
        return;
    }
    let trap = Trap::new();
    let mut script = Script(data);
    for _ in 0..16 {
        let Some(what) = script.byte() else { break };
        match what % 8 {
            0..=1 => trap.download(&mut script),
            2..=3 => trap.upload(&mut script),
            4..=6 => trap.own(&mut script),
            _ => {
                let path = if what & 8 == 0 { DOWNLOAD } else { UPLOAD };
                let _ = trap.ask(path, script.bytes().to_vec());
            }
        }
    }
    trap.check();
}
