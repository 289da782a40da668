//! Files go to and fro and are the same, with both protocols.

use std::sync::{Arc, Mutex};

use super::super::message::GO_PIECE;
use super::*;
use crate::Server;
use crate::client::Channel;

fn sizes() -> Vec<usize> {
    vec![0, 1, GO_PIECE, 2 * GO_PIECE + 5, block() - 1, block(), block() + 1, 5 * block() + 17]
}

#[tokio::test]
async fn files_of_every_size_are_the_same_after_a_journey_to_and_fro() {
    let (there, here) = (Folder::new(), Folder::new());
    let files = client(there.service());
    for size in sizes() {
        let content = bytes(1, size);
        let sent = files.put(here.write("a", &content), "b").await.unwrap();
        assert_eq!((sent.size, sent.resumed), (size.try_into().unwrap(), 0));
        assert_eq!(sent.hash, hash(&content), "{size}");
        assert_eq!(there.read("b"), content, "{size}");
        assert_eq!(files.get("b", here.path("c")).await.unwrap(), sent);
        assert_eq!(here.read("c"), content, "{size}");
    }
    only(&there, &["b"]);
    only(&here, &["a", "c"]);
}

#[tokio::test]
async fn files_of_every_size_go_to_and_from_a_go_server() {
    let (there, here) = (Folder::new(), Folder::new());
    let files = client(GoServer(there.service()));
    for size in sizes() {
        let content = bytes(2, size);
        let sent = files.put(here.write("a", &content), "b").await.unwrap();
        assert_eq!((sent.size, sent.hash), (size.try_into().unwrap(), None));
        assert_eq!(there.read("b"), content, "{size}");
        let fetched = files.get("b", here.path("c")).await.unwrap();
        assert_eq!((fetched.size, fetched.resumed), (sent.size, 0));
        assert_eq!(here.read("c"), content, "{size}");
    }
    only(&there, &["b"]);
    only(&here, &["a", "c"]);
}

#[tokio::test]
async fn they_go_over_a_wire() {
    let (there, here) = (Folder::new(), Folder::new());
    let server = Server::builder().serve(there.service()).listen("127.0.0.1:0").start().await.unwrap();
    let files = client(Channel::connect(server.url()).await.unwrap());
    let content = bytes(3, 3 * block() + 1);
    let sent = files.put(here.write("a", &content), "b").await.unwrap();
    assert_eq!(sent.hash, hash(&content));
    assert_eq!(files.get("b", here.path("c")).await.unwrap(), sent);
    assert_eq!(here.read("c"), content);
}

#[tokio::test]
async fn a_server_without_files_refuses() {
    let here = Folder::new();
    let server = Server::builder().listen("127.0.0.1:0").start().await.unwrap();
    let files = client(Channel::connect(server.url()).await.unwrap());
    let error = files.put(here.write("a", "x"), "b").await.unwrap_err();
    assert!(matches!(error, FileError::Refused(_)), "{error:?}");
    let error = files.get("b", here.path("c")).await.unwrap_err();
    assert!(matches!(error, FileError::Refused(_)), "{error:?}");
    only(&here, &["a"]);
}

#[tokio::test]
async fn folders_below_the_root_are_served_and_none_is_made() {
    let (there, here) = (Folder::new(), Folder::new());
    std::fs::create_dir(there.path("d")).unwrap();
    std::os::unix::fs::symlink("d", there.path("inner")).unwrap();
    let files = client(there.service());
    files.put(here.write("a", "x"), "d/ä b.txt").await.unwrap();
    assert_eq!(there.read("d/ä b.txt"), b"x");
    files.put(here.path("a"), "inner/c").await.unwrap();
    assert_eq!(there.read("d/c"), b"x");
    let error = files.put(here.path("a"), "e/c").await.unwrap_err();
    assert!(matches!(error, FileError::Refused(_)), "{error:?}");
    only(&there, &["d", "inner"]);
}

#[tokio::test]
async fn what_is_not_there_is_refused_and_leaves_nothing() {
    let (there, here) = (Folder::new(), Folder::new());
    for go in [false, true] {
        let error = if go {
            client(GoServer(there.service())).get("b", here.path("c")).await
        } else {
            client(there.service()).get("b", here.path("c")).await
        };
        let FileError::Refused(status) = error.unwrap_err() else { panic!("not refused") };
        assert_eq!(status.message(), "open b: no such file");
        only(&here, &[]);
    }
}

#[tokio::test]
async fn a_target_that_is_no_file_is_refused_here() {
    let (there, here) = (Folder::new(), Folder::new());
    there.write("b", "x");
    let files = client(there.service());
    for target in [here.path("none/c"), here.0.clone(), here.path("c/"), "/dev/null".into()] {
        let error = files.get("b", &target).await.unwrap_err();
        assert!(matches!(error, FileError::Local { .. }), "{target:?}: {error:?}");
    }
    for source in [here.path("none"), here.0.clone(), "/dev/zero".into()] {
        let error = files.put(&source, "d").await.unwrap_err();
        assert!(matches!(error, FileError::Local { .. }), "{source:?}: {error:?}");
    }
    only(&here, &[]);
    only(&there, &["b"]);
}

#[tokio::test]
async fn a_target_behind_a_link_is_replaced_and_the_link_stays() {
    let (there, here) = (Folder::new(), Folder::new());
    there.write("b", "new");
    here.write("old", "old");
    std::os::unix::fs::symlink("old", here.path("link")).unwrap();
    client(there.service()).get("b", here.path("link")).await.unwrap();
    assert_eq!(here.read("old"), b"new");
    assert!(std::fs::symlink_metadata(here.path("link")).unwrap().is_symlink());
}

#[tokio::test]
async fn progress_grows_to_the_whole() {
    let (there, here) = (Folder::new(), Folder::new());
    let told = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&told);
    let files = client(there.service()).on_progress(move |progress| seen.lock().unwrap().push(*progress));
    let size = 3 * BLOCK + 5;
    files.put(here.write("a", bytes(4, size.try_into().unwrap())), "b").await.unwrap();
    let told: Vec<_> = std::mem::take(&mut *told.lock().unwrap());
    assert_eq!(told.first().map(|progress| (progress.done, progress.total)), Some((0, Some(size))));
    assert!(told.windows(2).all(|pair| pair[0].done <= pair[1].done));
    let last = told.last().unwrap();
    assert_eq!((last.done, last.left), (size, Some(std::time::Duration::ZERO)));
    assert!(last.rate > 0.0);
}

#[tokio::test]
async fn two_uploads_of_one_name_do_not_mix() {
    let (there, here) = (Folder::new(), Folder::new());
    let service = there.service();
    let (first, second) = (bytes(5, 4 * block()), bytes(6, 4 * block() + 9));
    let files = [client(service.clone()), client(service)];
    let sources = [here.write("a", &first), here.write("b", &second)];
    for _ in 0..5 {
        let (one, two) = tokio::join!(files[0].put(&sources[0], "c"), files[1].put(&sources[1], "c"));
        assert_eq!((one.unwrap().hash, two.unwrap().hash), (hash(&first), hash(&second)));
        let got = there.read("c");
        assert!(got == first || got == second);
        only(&there, &["c"]);
    }
}

#[tokio::test]
async fn the_same_upload_twice_at_once_is_whole_or_refused() {
    let (there, here) = (Folder::new(), Folder::new());
    let service = there.service();
    let content = bytes(7, 6 * block());
    let source = here.write("a", &content);
    let files = [client(service.clone()), client(service)];
    let (one, two) = tokio::join!(files[0].put(&source, "c"), files[1].put(&source, "c"));
    assert!(one.is_ok() || two.is_ok(), "{one:?} {two:?}");
    assert_eq!(there.read("c"), content);
    only(&there, &["c"]);
}

#[tokio::test]
async fn the_same_target_twice_at_once_is_refused_here() {
    let (there, here) = (Folder::new(), Folder::new());
    let content = bytes(8, 2 * block());
    there.write("b", &content);
    // The first one holds its target as long as it waits.
    let line = Line::new(there.service(), |call, _| if call == 3 { Fate::Hangs } else { Fate::Passes });
    let hangs = Arc::clone(&line.hangs);
    let first = client(line);
    let mut first = Box::pin(first.get("b", here.path("c")));
    tokio::select! {
        done = &mut first => panic!("{done:?}"),
        () = hangs.notified() => {}
    }
    let error = client(there.service()).get("b", here.path("c")).await.unwrap_err();
    assert!(error.to_string().contains("fetched already"), "{error}");
    drop(first);
    let done = client(there.service()).get("b", here.path("c")).await.unwrap();
    assert_eq!(done.hash, hash(&content));
    only(&here, &["c"]);
}
