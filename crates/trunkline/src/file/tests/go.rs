//! The Go examples' protocol, to the byte, and what its clients do.

use super::super::message::{GO_DOWNLOAD, GO_PIECE, GO_UPLOAD};
use super::*;
use crate::Server;
use crate::client::Channel;

/// The file of the recorded cases `download` and `upload` of truexf/iip.
fn recorded() -> Vec<u8> {
    b"0123456789abcdef".iter().copied().cycle().take(25_000).collect()
}

fn piece(end: u8, bytes: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, end], bytes].concat()
}

fn upload(task: i64, name: &str, at: usize, completed: bool, bytes: &[u8]) -> Bytes {
    let json =
        format!(r#"{{"TaskId":{task},"FilePath":"{name}","UploadStartPos":{at},"Completed":{completed}}}"#);
    let length = u32::try_from(json.len()).unwrap().to_be_bytes();
    [&length, json.as_bytes(), bytes].concat().into()
}

fn download(name: &str, at: usize) -> Bytes {
    format!(r#"{{"TaskId":1,"FilePath":"{name}","DownloadStartPos":{at}}}"#).into()
}

#[tokio::test]
async fn the_recorded_download_is_answered_as_recorded() {
    let there = Folder::new();
    let (file, service) = (recorded(), there.service());
    there.write("data.bin", &file);
    for (at, answer) in [
        (0, piece(0, &file[..10_236])),
        (10_236, piece(0, &file[10_236..20_472])),
        (20_472, piece(0, &file[20_472..])),
        (25_000, piece(1, b"")),
        (99_999, piece(1, b"")),
        (3, piece(0, &file[3..10_239])),
    ] {
        assert_eq!(ask(&service, GO_DOWNLOAD, download("data.bin", at)).await.unwrap(), answer, "{at}");
    }
    let missing = ask(&service, GO_DOWNLOAD, download("nope.bin", 0)).await.unwrap_err();
    assert_eq!(missing.message(), "open nope.bin: no such file");
}

#[tokio::test]
async fn the_recorded_upload_is_answered_as_recorded() {
    let there = Folder::new();
    let (file, service) = (recorded(), there.service());
    let mut at = 0;
    for length in [10_000, 10_000, 5_000, 0] {
        assert!(!exists(&there.path("data.bin")));
        let request = upload(1, "data.bin", at, length == 0, &file[at..at + length]);
        let answer = ask(&service, GO_UPLOAD, request).await.unwrap();
        assert_eq!(answer, format!(r#"{{"TaskId":1,"DoneBytes":{length}}}"#));
        at += length;
    }
    assert_eq!(there.read("data.bin"), file);
    only(&there, &["data.bin"]);
}

/// One download is read in longer and longer readings; of many each has short ones, and all have a bound together.
#[tokio::test]
async fn readings_grow_where_a_download_goes_on_and_have_a_bound_together() {
    let there = Folder::new();
    let (service, file) = (there.service(), bytes(1, 3 << 20));
    let names: Vec<String> = (0..40).map(|n| format!("file-{n}")).collect();
    for name in &names {
        there.write(name, &file);
    }
    let whole = |count: usize| count * GO_PIECE;
    for at in (0..file.len()).step_by(GO_PIECE) {
        ask(&service, GO_DOWNLOAD, download(&names[0], at)).await.unwrap();
    }
    assert_eq!(service.readings()[..5], [12, 24, 48, 96, 96].map(whole));
    for at in (0..file.len()).step_by(GO_PIECE) {
        for name in &names {
            let answer = ask(&service, GO_DOWNLOAD, download(name, at)).await.unwrap();
            assert!(answer[4..] == file[at..file.len().min(at + GO_PIECE)], "{name} {at}");
        }
        let kept: usize = service.readings().iter().sum();
        assert!(kept <= 8 << 20, "{kept} bytes are kept");
    }
}

#[tokio::test]
async fn a_download_sees_the_file_of_now() {
    let there = Folder::new();
    let service = there.service();
    for round in 0..50 {
        let file = bytes(round, GO_PIECE * 3);
        // In its place, and by another file.
        if round % 2 == 0 {
            there.write("a", &file);
        } else {
            there.write("new", &file);
            std::fs::rename(there.path("new"), there.path("a")).unwrap();
        }
        for at in [0, GO_PIECE, 2 * GO_PIECE] {
            let answer = ask(&service, GO_DOWNLOAD, download("a", at)).await.unwrap();
            assert!(answer == piece(0, &file[at..at + GO_PIECE]), "{round} {at}");
        }
    }
    std::fs::remove_file(there.path("a")).unwrap();
    assert!(ask(&service, GO_DOWNLOAD, download("a", 0)).await.is_err());
}

#[tokio::test]
async fn more_files_than_readings_are_kept_come_whole() {
    let there = Folder::new();
    let service = there.service();
    for number in 0..80 {
        there.write(&format!("f{number}"), bytes(number, 5 * GO_PIECE + 3));
    }
    let mut at = 0;
    loop {
        let mut longest = 0;
        for number in 0..80 {
            let file = bytes(number, 5 * GO_PIECE + 3);
            let answer = ask(&service, GO_DOWNLOAD, download(&format!("f{number}"), at)).await.unwrap();
            let end = (at + GO_PIECE).min(file.len());
            assert!(answer == piece(u8::from(at == file.len()), &file[at..end]), "{number} {at}");
            longest = end;
        }
        if at == longest {
            return;
        }
        at = longest;
    }
}

/// Connections to a server, each a peer of its own.
async fn peers<const N: usize>(there: &Folder) -> (crate::server::ServerHandle, [Channel; N]) {
    let server = Server::builder().serve(there.service()).listen("127.0.0.1:0").start().await.unwrap();
    let mut channels = Vec::new();
    for _ in 0..N {
        channels.push(Channel::connect(server.url()).await.unwrap());
    }
    (server.handle(), channels.try_into().unwrap())
}

#[tokio::test]
async fn two_uploads_of_one_name_and_task_do_not_mix() {
    let there = Folder::new();
    let (_server, [one, two]) = peers(&there).await;
    for (channel, letter) in [(&one, b'a'), (&two, b'b')] {
        ask(channel, GO_UPLOAD, upload(1, "c", 0, false, &[letter; 100])).await.unwrap();
    }
    for (channel, letter) in [(&one, b'a'), (&two, b'b')] {
        ask(channel, GO_UPLOAD, upload(1, "c", 100, false, &[letter; 50])).await.unwrap();
    }
    ask(&two, GO_UPLOAD, upload(1, "c", 150, true, b"")).await.unwrap();
    assert_eq!(there.read("c"), [b'b'; 150]);
    ask(&one, GO_UPLOAD, upload(1, "c", 150, true, b"")).await.unwrap();
    assert_eq!(there.read("c"), [b'a'; 150]);
    only(&there, &["c"]);
}

#[tokio::test]
async fn an_upload_goes_on_from_another_connection() {
    let there = Folder::new();
    let (_server, [one, two, three]) = peers(&there).await;
    ask(&one, GO_UPLOAD, upload(1, "c", 0, false, b"0123456789")).await.unwrap();
    ask(&two, GO_UPLOAD, upload(1, "c", 0, false, b"abc")).await.unwrap();
    drop(one);
    ask(&three, GO_UPLOAD, upload(1, "c", 10, true, b"xyz")).await.unwrap();
    assert_eq!(there.read("c"), b"0123456789xyz");
    ask(&two, GO_UPLOAD, upload(1, "c", 3, true, b"d")).await.unwrap();
    assert_eq!(there.read("c"), b"abcd");
    only(&there, &["c"]);
}

#[tokio::test]
async fn an_upload_goes_on_at_the_next_server() {
    let there = Folder::new();
    ask(&there.service(), GO_UPLOAD, upload(1, "c", 0, false, b"0123456789")).await.unwrap();
    ask(&there.service(), GO_UPLOAD, upload(1, "c", 10, true, b"xyz")).await.unwrap();
    assert_eq!(there.read("c"), b"0123456789xyz");
    only(&there, &["c"]);
}

#[tokio::test]
async fn a_piece_that_is_sent_twice_is_there_once_and_a_gap_is_refused() {
    let there = Folder::new();
    let service = there.service();
    ask(&service, GO_UPLOAD, upload(1, "c", 0, false, b"0123")).await.unwrap();
    ask(&service, GO_UPLOAD, upload(1, "c", 4, false, b"4567")).await.unwrap();
    ask(&service, GO_UPLOAD, upload(1, "c", 4, false, b"4567")).await.unwrap();
    let gap = ask(&service, GO_UPLOAD, upload(1, "c", 9, false, b"9")).await.unwrap_err();
    assert_eq!(gap.message(), "the upload cannot go on at 9: 8 bytes of it are here");
    let other = ask(&service, GO_UPLOAD, upload(2, "c", 8, false, b"8")).await.unwrap_err();
    assert_eq!(other.message(), "the upload cannot go on at 8: 0 bytes of it are here");
    ask(&service, GO_UPLOAD, upload(1, "c", 8, true, b"8")).await.unwrap();
    assert_eq!(there.read("c"), b"012345678");
    only(&there, &["c"]);
}

#[tokio::test]
async fn an_upload_that_begins_anew_is_as_long_as_it_is_then() {
    let there = Folder::new();
    let service = there.service();
    ask(&service, GO_UPLOAD, upload(1, "c", 0, false, b"0123456789")).await.unwrap();
    ask(&service, GO_UPLOAD, upload(1, "c", 0, true, b"abc")).await.unwrap();
    assert_eq!(there.read("c"), b"abc");
}

#[tokio::test]
async fn many_unfinished_uploads_do_not_stop_the_next() {
    let there = Folder::new();
    let service = there.service();
    for task in 0..600 {
        ask(&service, GO_UPLOAD, upload(task, "c", 0, false, b"0123")).await.unwrap();
    }
    // The first one was forgotten, and is found again.
    ask(&service, GO_UPLOAD, upload(0, "c", 4, true, b"4")).await.unwrap();
    assert_eq!(there.read("c"), b"01234");
}
