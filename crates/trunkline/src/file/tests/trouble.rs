//! Full disks, quotas, sources that change, bytes that are damaged on the way.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use serde_json::json;

use super::super::message::{GO_UPLOAD, READ, WRITE, framed};
use super::*;

/// The failed transfer's status.
#[track_caller]
fn refusal(error: FileError) -> Status {
    match error {
        FileError::Refused(status) => status,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_file_over_its_limit_is_refused() {
    let (there, here) = (Folder::new(), Folder::new());
    let service = FileService::builder(&there.0).file_limit(BLOCK).open().unwrap();
    let source = here.write("a", bytes(30, block() + 1));
    let status = refusal(client(service.clone()).put(&source, "b").await.unwrap_err());
    let text = format!(
        "quota: b would have {} bytes, over the limit of {BLOCK} bytes for a file (file_limit)",
        BLOCK + 1
    );
    assert_eq!(status.message(), text);
    assert!(client(GoServer(service.clone())).put(&source, "b").await.is_err());
    only(&there, &[]);
    client(service).put(here.write("a", bytes(30, block())), "b").await.unwrap();
    only(&there, &["b"]);
}

#[tokio::test]
async fn files_over_the_limit_of_all_are_refused_and_what_goes_gives_room() {
    let (there, here) = (Folder::new(), Folder::new());
    there.write("old", bytes(31, block()));
    let service = FileService::builder(&there.0).total_limit(3 * BLOCK).open().unwrap();
    let large = here.write("large", bytes(32, 2 * block() + 1));
    let fits = here.write("fits", bytes(33, 2 * block()));
    for _ in 0..3 {
        let status = refusal(client(service.clone()).put(&large, "b").await.unwrap_err());
        assert!(
            status.message().contains(&format!("over the limit of {} bytes for all files", 3 * BLOCK)),
            "{status}"
        );
        assert!(client(GoServer(service.clone())).put(&large, "b").await.is_err());
        only(&there, &["old"]);
    }
    client(service.clone()).put(&fits, "b").await.unwrap();
    // In place of a file its room is needed beside it, until it is whole.
    assert!(client(service.clone()).put(&fits, "b").await.is_err());
    only(&there, &["b", "old"]);
    std::fs::remove_file(there.path("b")).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    client(GoServer(service)).put(&fits, "c").await.unwrap();
    only(&there, &["c", "old"]);
}

/// The disk is not really full: the write fails as it does on a full one.
#[tokio::test]
async fn a_full_disk_is_said_and_leaves_nothing() {
    let (there, here) = (Folder::new(), Folder::new());
    there.write("b", "old");
    let service = there.service();
    service.store().full_from.store(2 * BLOCK, Ordering::Relaxed);
    let source = here.write("a", bytes(34, 5 * block()));
    for go in [false, true] {
        let error = if go {
            client(GoServer(service.clone())).put(&source, "b").await
        } else {
            client(service.clone()).put(&source, "b").await
        };
        let status = refusal(error.unwrap_err());
        assert_eq!(status.message(), "write b: no space left on the server's disk");
        only(&there, &["b"]);
    }
    assert_eq!(there.read("b"), b"old");
    service.store().full_from.store(u64::MAX, Ordering::Relaxed);
    client(service).put(&source, "b").await.unwrap();
}

#[tokio::test]
async fn a_server_that_only_gives_takes_nothing() {
    let (there, here) = (Folder::new(), Folder::new());
    there.write("b", "x");
    let service = FileService::builder(&there.0).read_only().open().unwrap();
    let source = here.write("a", "y");
    assert!(
        refusal(client(service.clone()).put(&source, "c").await.unwrap_err())
            .message()
            .contains("only gives")
    );
    assert!(client(GoServer(service.clone())).put(&source, "c").await.is_err());
    client(service).get("b", here.path("b")).await.unwrap();
    only(&there, &["b"]);
}

/// A service whose folder changes before some of its calls.
fn changing<S: Service>(
    service: S,
    path: &'static str,
    change: impl Fn(u64) + Send + Sync + 'static,
) -> impl Service {
    let count = AtomicU64::new(0);
    Line::new(service, move |_, called| {
        if called == path {
            change(count.fetch_add(1, Ordering::Relaxed));
        }
        Fate::Passes
    })
}

#[tokio::test]
async fn a_source_that_changes_while_it_is_fetched_comes_whole_and_new() {
    let (there, here) = (Folder::new(), Folder::new());
    let (old, new) = (bytes(35, 6 * block()), bytes(36, 7 * block() + 3));
    for in_place in [true, false] {
        there.write("b", &old);
        let (path, other, content) = (there.path("b"), there.path("other"), new.clone());
        let service = changing(there.service(), READ, move |read| {
            if read == 3 {
                if in_place {
                    std::fs::write(&path, &content).unwrap();
                } else {
                    std::fs::write(&other, &content).unwrap();
                    std::fs::rename(&other, &path).unwrap();
                }
            }
        });
        let done = client(service).get("b", here.path("c")).await.unwrap();
        assert_eq!(done.hash, hash(&new));
        assert!(here.read("c") == new);
        only(&here, &["c"]);
    }
}

#[tokio::test]
async fn a_source_that_changes_all_the_time_or_goes_leaves_nothing() {
    let (there, here) = (Folder::new(), Folder::new());
    there.write("b", bytes(37, 3 * block()));
    let path = there.path("b");
    let service = changing(there.service(), READ, move |read| {
        let mut content = bytes(read, 3 * block());
        content.truncate(3 * block() - usize::try_from(read).unwrap());
        std::fs::write(&path, content).unwrap();
    });
    let error = client(service).get("b", here.path("c")).await.unwrap_err();
    assert!(matches!(error, FileError::Changed(_)), "{error:?}");
    only(&here, &[]);
    let path = there.path("b");
    let service = changing(there.service(), READ, move |_| _ = std::fs::remove_file(&path));
    let status = refusal(client(service).get("b", here.path("c")).await.unwrap_err());
    assert_eq!(status.message(), "open b: no such file");
    only(&here, &[]);
}

#[tokio::test]
async fn a_source_that_changes_while_it_is_sent_arrives_whole_and_new() {
    let (there, here) = (Folder::new(), Folder::new());
    let (old, new) = (bytes(38, 6 * block()), bytes(39, 5 * block() + 3));
    for go in [false, true] {
        let source = here.write("a", &old);
        let (path, content) = (source.clone(), new.clone());
        let change = move |call| {
            if call == 1 {
                std::fs::write(&path, &content).unwrap();
            }
        };
        if go {
            client(GoServer(changing(there.service(), GO_UPLOAD, change))).put(&source, "b").await.unwrap();
        } else {
            let done = client(changing(there.service(), WRITE, change)).put(&source, "b").await.unwrap();
            assert_eq!(done.hash, hash(&new));
        }
        assert!(there.read("b") == new);
    }
}

#[tokio::test]
async fn a_source_that_goes_while_it_is_sent_leaves_nothing() {
    let (there, here) = (Folder::new(), Folder::new());
    let source = here.write("a", bytes(40, 6 * block()));
    let path = source.clone();
    let service = changing(there.service(), WRITE, move |_| _ = std::fs::remove_file(&path));
    let error = client(service).put(&source, "b").await.unwrap_err();
    assert!(matches!(error, FileError::Local { .. }), "{error:?}");
    only(&there, &[]);
}

#[tokio::test]
async fn a_block_that_was_damaged_is_sent_again() {
    let (there, here) = (Folder::new(), Folder::new());
    let content = bytes(41, 4 * block() + 1);
    let source = here.write("a", &content);
    for (path, fate) in [(WRITE, Fate::Damaged), (READ, Fate::AnswerDamaged)] {
        let done = AtomicBool::new(false);
        let line = Line::new(there.service(), move |_, called| {
            if called == path && !done.swap(true, Ordering::Relaxed) { fate } else { Fate::Passes }
        });
        let files = client(line);
        files.put(&source, "b").await.unwrap();
        files.get("b", here.path("c")).await.unwrap();
        assert!(there.read("b") == content && here.read("c") == content);
    }
}

#[tokio::test]
async fn a_line_that_damages_everything_leaves_nothing() {
    let (there, here) = (Folder::new(), Folder::new());
    there.write("b", bytes(42, 2 * block()));
    let line = Line::new(there.service(), |_, path| match path {
        WRITE => Fate::Damaged,
        READ => Fate::AnswerDamaged,
        _ => Fate::Passes,
    });
    let files = client(line);
    for error in [
        files.get("b", here.path("c")).await.unwrap_err(),
        files.put(here.write("a", bytes(43, 2 * block())), "d").await.unwrap_err(),
    ] {
        assert!(matches!(error, FileError::Corrupt(_)), "{error:?}");
    }
    only(&there, &["b"]);
    only(&here, &["a"]);
}

#[tokio::test]
async fn answers_that_make_no_sense_fail_and_leave_nothing() {
    let here = Folder::new();
    let source = here.write("a", bytes(44, 3 * block()));
    let answers = [
        vec![],
        vec![0, 0, 0, 0],
        vec![0xff; 40],
        b"\0\0\0\x02{}".to_vec(),
        framed(&json!({ "outcome": "strange" }), 0).unwrap(),
        framed(&json!({ "outcome": "done", "size": u64::MAX, "version": "x" }), 0).unwrap(),
        framed(&json!({ "outcome": "done", "size": 5_000_000, "version": "x" }), 0).unwrap(),
    ];
    for (index, answer) in answers.into_iter().enumerate() {
        let reply = Mutex::new(Bytes::from(answer));
        let service = crate::service_fn(move |_| {
            let reply = reply.lock().unwrap().clone();
            async move { Ok(Reply::new(reply)) }
        });
        let files = client(service);
        let got = files.get("b", here.path("c")).await;
        // An empty answer to everything reads as an empty file in one case; nothing else is taken.
        assert!(got.is_err() || got.unwrap().size == 0, "{index}");
        let put = files.put(&source, "d").await;
        assert!(put.is_err(), "{index}: {put:?}");
        let _ = std::fs::remove_file(here.path("c"));
        only(&here, &["a"]);
    }
}

#[tokio::test]
async fn what_nobody_took_up_for_a_week_is_removed() {
    let (there, here) = (Folder::new(), Folder::new());
    std::fs::create_dir(there.path("d")).unwrap();
    let service = there.service();
    for (name, task) in [("new", 1), ("d/old", 2)] {
        let mut body = framed(&json!({ "TaskId": task, "FilePath": name }), 0).unwrap();
        body.extend_from_slice(b"part");
        ask(&service, GO_UPLOAD, body).await.unwrap();
    }
    let old = std::fs::read_dir(there.path("d")).unwrap().next().unwrap().unwrap().path();
    let file = std::fs::File::options().write(true).open(&old).unwrap();
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(8 * 86_400)).unwrap();
    drop(there.service());
    assert!(!exists(&old));
    assert_eq!(there.names().len(), 2);
    drop(here);
}
