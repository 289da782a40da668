//! Breaks, lost answers and dropped transfers: what follows goes on, and the whole is right.

use std::time::Duration;

use tokio::time::Instant;

use super::super::message::{COMMIT, GO_PIECE};
use super::*;
use crate::file::Transferred;

type AnyFate = Box<dyn Fn(u64, &str) -> Fate + Send + Sync>;

/// Runs a transfer that hangs at its n-th call, and drops it there; `Some` where it ended before.
async fn killed<S: Service>(
    service: S,
    at: u64,
    run: impl AsyncFnOnce(FileClient<Line<S, AnyFate>>) -> Result<Transferred, FileError>,
) -> Option<Transferred> {
    let fate: AnyFate = Box::new(move |call, _| if call >= at { Fate::Hangs } else { Fate::Passes });
    let line = Line::new(service, fate);
    let hangs = Arc::clone(&line.hangs);
    tokio::select! {
        biased;
        done = run(client(line)) => Some(done.unwrap()),
        () = hangs.notified() => None,
    }
}

/// A download that is killed 20 times at random places.
async fn kill_downloads<S: Service>(there: &Folder, service: impl Fn() -> S, size: usize, most: u64) -> u64 {
    let here = Folder::new();
    let content = bytes(9, size);
    there.write("b", &content);
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..20 {
        let target = here.path("c");
        let ended =
            killed(service(), random.u64(1..most), async move |files| files.get("b", target).await).await;
        assert!(ended.is_some() == exists(&here.path("c")), "the target shows before it is whole");
        let names = here.names();
        assert!(names.len() <= 1, "{names:?}");
        if ended.is_some() {
            std::fs::remove_file(here.path("c")).unwrap();
        }
    }
    // One that is surely killed on its way, to be resumed.
    client(service()).get("b", here.path("c")).await.unwrap();
    std::fs::remove_file(here.path("c")).unwrap();
    let ended = killed(service(), most / 2, async |files| files.get("b", here.path("c")).await).await;
    assert!(ended.is_none());
    let done = client(service()).get("b", here.path("c")).await.unwrap();
    assert_eq!(here.read("c"), content);
    only(&here, &["c"]);
    done.resumed
}

#[tokio::test]
async fn a_download_killed_twenty_times_is_resumed() {
    let there = Folder::new();
    let resumed = kill_downloads(&there, || there.service(), 24 * block() + 77, 24).await;
    assert!(resumed >= BLOCK, "{resumed}");
}

#[tokio::test]
async fn a_download_from_a_go_server_killed_twenty_times_is_resumed() {
    let there = Folder::new();
    let pieces = 900;
    let resumed = kill_downloads(&there, || GoServer(there.service()), pieces * GO_PIECE + 77, 700).await;
    assert!(resumed >= BLOCK, "{resumed}");
}

#[tokio::test]
async fn an_upload_killed_twenty_times_is_resumed_by_servers_old_and_new() {
    let (there, here) = (Folder::new(), Folder::new());
    let content = bytes(12, 24 * block() + 77);
    let source = here.write("a", &content);
    let mut random = fastrand::Rng::with_seed(13);
    let mut service = there.service();
    for round in 0..20 {
        let source = source.clone();
        let ended =
            killed(service.clone(), random.u64(1..24), async move |files| files.put(source, "b").await).await;
        assert!(ended.is_some() == exists(&there.path("b")), "the file shows before it is whole");
        assert!(there.names().len() <= 1, "{:?}", there.names());
        if ended.is_some() {
            std::fs::remove_file(there.path("b")).unwrap();
        }
        if round % 3 == 0 {
            service = there.service();
        }
    }
    // One that is surely killed on its way, to be resumed.
    client(service.clone()).put(&source, "b").await.unwrap();
    std::fs::remove_file(there.path("b")).unwrap();
    let ended = killed(service.clone(), 14, async |files| files.put(&source, "b").await).await;
    assert!(ended.is_none());
    let done = client(service).put(&source, "b").await.unwrap();
    assert!(done.resumed >= BLOCK, "{done:?}");
    assert_eq!((done.hash, there.read("b")), (hash(&content), content));
    only(&there, &["b"]);
}

/// One call in seven is lost, and the answer of one in seven; the seed decides which.
fn bad_line<S: Service>(service: S, seed: u64) -> impl Service {
    let random = std::sync::Mutex::new(fastrand::Rng::with_seed(seed));
    Line::new(service, move |_, _| match random.lock().unwrap().u8(..7) {
        0 => Fate::Lost,
        1 => Fate::AnswerLost,
        _ => Fate::Passes,
    })
}

#[tokio::test(start_paused = true)]
async fn breaks_are_mended_within_a_transfer() {
    let (there, here) = (Folder::new(), Folder::new());
    let content = bytes(14, 9 * block() + 1);
    let source = here.write("a", &content);
    for seed in 0..12 {
        let sent = client(bad_line(there.service(), seed)).put(&source, "b").await.unwrap();
        assert_eq!((sent.hash, there.read("b") == content), (hash(&content), true), "{seed}");
        let got = client(bad_line(there.service(), seed)).get("b", here.path("c")).await.unwrap();
        assert_eq!((got.hash, here.read("c") == content), (hash(&content), true), "{seed}");
        only(&there, &["b"]);
        only(&here, &["a", "c"]);
    }
}

#[tokio::test(start_paused = true)]
async fn breaks_are_mended_with_a_go_server() {
    let (there, here) = (Folder::new(), Folder::new());
    let content = bytes(15, 2 * block() + 1);
    let source = here.write("a", &content);
    for seed in 0..5 {
        client(bad_line(GoServer(there.service()), seed)).put(&source, "b").await.unwrap();
        assert!(there.read("b") == content, "{seed}");
        client(bad_line(GoServer(there.service()), seed)).get("b", here.path("c")).await.unwrap();
        assert!(here.read("c") == content, "{seed}");
        only(&here, &["a", "c"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_answer_is_lost_is_done_once() {
    let (there, here) = (Folder::new(), Folder::new());
    let content = bytes(16, 2 * block());
    let lost = std::sync::atomic::AtomicBool::new(false);
    let line = Line::new(there.service(), move |_, path| {
        let first = path == COMMIT && !lost.swap(true, Ordering::Relaxed);
        if first { Fate::AnswerLost } else { Fate::Passes }
    });
    let sent = client(line).put(here.write("a", &content), "b").await.unwrap();
    assert_eq!((sent.hash, there.read("b")), (hash(&content), content));
    only(&there, &["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_break_that_is_not_mended_ends_after_ten_seconds_and_is_taken_up() {
    let (there, here) = (Folder::new(), Folder::new());
    let content = bytes(17, 8 * block());
    there.write("b", &content);
    for hangs in [false, true] {
        let line = Line::new(there.service(), move |call, _| match call {
            0..6 => Fate::Passes,
            _ if hangs => Fate::Hangs,
            _ => Fate::Lost,
        });
        let begun = Instant::now();
        let error = client(line).get("b", here.path("c")).await.unwrap_err();
        assert!(matches!(error, FileError::Broken(_)), "{error:?}");
        let took = begun.elapsed();
        let most = if hangs { 42 } else { 11 };
        assert!(took > Duration::from_secs(9) && took < Duration::from_secs(most), "{took:?}");
        assert!(!exists(&here.path("c")));
        assert_eq!(here.names().len(), 1);
    }
    let done = client(there.service()).get("b", here.path("c")).await.unwrap();
    assert_eq!((done.resumed > 0, done.hash), (true, hash(&content)));
    only(&here, &["c"]);
}

#[tokio::test]
async fn what_does_not_fit_the_source_is_fetched_anew() {
    let (there, here) = (Folder::new(), Folder::new());
    for go in [false, true] {
        let unit = if go { 1 << 20 } else { block() };
        let old = bytes(18, 6 * unit);
        there.write("b", &old);
        let get = async |at| {
            let target = here.path("c");
            if go {
                killed(GoServer(there.service()), at, async |files| files.get("b", target).await).await
            } else {
                killed(there.service(), at, async |files| files.get("b", target).await).await
            }
        };
        assert!(get(if go { 500 } else { 6 }).await.is_none());
        assert_eq!(here.names().len(), 1);
        let new = bytes(19, 4 * unit);
        there.write("b", &new);
        let done = get(u64::MAX).await.unwrap();
        assert_eq!(done.resumed, 0);
        assert!(here.read("c") == new);
        only(&here, &["c"]);
        std::fs::remove_file(here.path("c")).unwrap();
    }
}

#[tokio::test]
async fn another_source_or_target_is_not_taken_up() {
    let (there, here) = (Folder::new(), Folder::new());
    there.write("b", bytes(20, 6 * block()));
    let target = here.path("c");
    assert!(killed(there.service(), 6, async |files| files.get("b", target).await).await.is_none());
    let done = FileClient::new(there.service(), "elsewhere").get("b", here.path("c")).await.unwrap();
    assert_eq!(done.resumed, 0);
    let done = client(there.service()).get("b", here.path("d")).await.unwrap();
    assert_eq!(done.resumed, 0);
    let done = client(there.service()).get("b", here.path("c")).await.unwrap();
    assert!(done.resumed > 0);
    only(&here, &["c", "d"]);
}

/// A server that is started anew before some of its calls.
struct Restarted {
    folder: std::path::PathBuf,
    service: std::sync::Mutex<FileService>,
    calls: AtomicU64,
}

impl Service for Restarted {
    async fn call(&self, call: Call) -> Result<Reply> {
        let service = {
            let mut service = self.service.lock().unwrap();
            if self.calls.fetch_add(1, Ordering::Relaxed) % 6 == 5 {
                *service = FileService::builder(&self.folder).durable(false).open().unwrap();
            }
            service.clone()
        };
        service.call(call).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_started_anew_twenty_times_has_the_file_in_the_end() {
    let (there, here) = (Folder::new(), Folder::new());
    let content = bytes(21, 60 * block() + 5);
    let source = here.write("a", &content);
    let service = Restarted {
        folder: there.0.clone(),
        service: std::sync::Mutex::new(there.service()),
        calls: AtomicU64::new(0),
    };
    let files = client(service);
    let sent = files.put(&source, "b").await.unwrap();
    assert_eq!((sent.hash.clone(), there.read("b") == content), (hash(&content), true));
    assert!(files.service.calls.load(Ordering::Relaxed) > 20 * 6);
    only(&there, &["b"]);
    let fetched = files.get("b", here.path("c")).await.unwrap();
    assert_eq!((fetched.hash, here.read("c") == content), (sent.hash, true));
}

#[tokio::test(start_paused = true)]
async fn a_slow_line_is_only_slow() {
    let (there, here) = (Folder::new(), Folder::new());
    let content = bytes(22, 8 * block());
    let source = here.write("a", &content);
    // A block takes 12 s, and one waits for the other.
    let (files, line) = (there.service(), Arc::new(tokio::sync::Mutex::new(())));
    let service = crate::service_fn(move |call: Call| {
        let (files, line) = (files.clone(), Arc::clone(&line));
        async move {
            if call.method().ends_with("read") || call.method().ends_with("write") {
                let _line = line.lock().await;
                tokio::time::sleep(Duration::from_secs(12)).await;
            }
            files.call(call).await
        }
    });
    let files = client(service);
    files.put(&source, "b").await.unwrap();
    files.get("b", here.path("c")).await.unwrap();
    assert!(here.read("c") == content);
}
