//! I19: names and bodies that must not lead anywhere.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use serde_json::json;

use super::super::message::{Ask, BEGIN, GO_DOWNLOAD, GO_UPLOAD, READ, STAT, framed};
use super::*;

/// A served folder with everything in it that must not be opened, and a secret beside it.
struct Trap {
    _outside: Folder,
    root: Folder,
    service: FileService,
    _socket: UnixListener,
}

impl Trap {
    fn new() -> Self {
        let (outside, root) = (Folder::new(), Folder::new());
        let secret = outside.write("secret", "secret");
        root.write("file", "file");
        std::fs::create_dir(root.path("folder")).unwrap();
        symlink(&secret, root.path("link")).unwrap();
        symlink(
            format!("../{}/secret", outside.0.file_name().unwrap().to_str().unwrap()),
            root.path("relative"),
        )
        .unwrap();
        symlink(&outside.0, root.path("out")).unwrap();
        symlink("loop", root.path("loop")).unwrap();
        symlink("/proc/self/root/etc/passwd", root.path("magic")).unwrap();
        symlink("/proc/self/fd/0", root.path("descriptor")).unwrap();
        symlink("/dev/zero", root.path("zero")).unwrap();
        symlink("..", root.path("up")).unwrap();
        mknodat(CWD, root.path("fifo"), FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
        let (device, mode) = (root.path("device"), Mode::from_raw_mode(0o666));
        if mknodat(CWD, &device, FileType::CharacterDevice, mode, makedev(1, 5)).is_err() {
            // Only root may make one; then the test shows no more than that of the FIFO.
            mknodat(CWD, &device, FileType::Fifo, mode, 0).unwrap();
        }
        let _socket = UnixListener::bind(root.path("socket")).unwrap();
        let service = root.service();
        Self { _outside: outside, root, service, _socket }
    }

    /// Refused on every path, at once, and nothing is there that was not before.
    async fn refuses(&self, name: &str) {
        let before = self.root.names();
        let asked = async {
            let get = json!({ "TaskId": 1, "FilePath": name, "DownloadStartPos": 0 }).to_string();
            let answer = ask(&self.service, GO_DOWNLOAD, get).await;
            assert!(answer.is_err(), "download {name:?}: {answer:?}");
            let mut put = framed(&json!({ "TaskId": 1, "FilePath": name, "Completed": true }), 0).unwrap();
            put.extend_from_slice(b"evil");
            let answer = ask(&self.service, GO_UPLOAD, put).await;
            assert!(answer.is_err(), "upload {name:?}: {answer:?}");
            for path in [STAT, READ, BEGIN] {
                let own = Ask { name: name.to_owned(), upload: "a".into(), size: 4, ..Ask::default() };
                let answer = ask(&self.service, path, framed(&own, 0).unwrap()).await;
                let answer = answer.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                let nothing =
                    answer.as_ref().map_or(true, |told| told.contains("missing") || told.contains("changed"));
                assert!(nothing, "{path} {name:?}: {answer:?}");
            }
        };
        tokio::time::timeout(Duration::from_secs(20), asked).await.expect("it hangs");
        assert_eq!(self.root.names(), before, "{name:?}");
    }
}

/// A test for each name.
macro_rules! hostile {
    ($($test:ident: $name:expr,)*) => {$(
        #[tokio::test]
        async fn $test() {
            Trap::new().refuses(&$name).await;
        }
    )*};
}

hostile! {
    i19_empty: "",
    i19_dot: ".",
    i19_dot_dot: "..",
    i19_three_dots: "...",
    i19_blank: " ",
    i19_dot_and_blank: ". ",
    i19_slash: "/",
    i19_two_slashes: "//",
    i19_absolute: "/etc/passwd",
    i19_absolute_twice: "//etc/passwd",
    i19_up: "../secret",
    i19_up_twice: "../../etc/passwd",
    i19_up_many_times: "../".repeat(60) + "etc/passwd",
    i19_up_in_the_middle: "folder/../../secret",
    i19_up_and_down_again: "folder/../file",
    i19_up_at_the_end: "folder/..",
    i19_dot_in_the_middle: "folder/./file",
    i19_dot_first: "./file",
    i19_empty_segment: "folder//file",
    i19_trailing_slash: "file/",
    i19_folder: "folder",
    i19_folder_with_slash: "folder/",
    i19_below_a_file: "file/x",
    i19_nul_at_the_end: "file\0",
    i19_nul_and_suffix: "file\0.txt",
    i19_line_end: "file\n",
    i19_log_line: "a\n[INFO] ok",
    i19_carriage_return: "file\r",
    i19_escape: "\u{1b}[31mfile",
    i19_delete: "file\u{7f}",
    i19_c1_control: "file\u{9b}31m",
    i19_tab: "fi\tle",
    i19_backslash: "..\\secret",
    i19_windows_drive: "C:\\secret",
    i19_network_share: "\\\\host\\share",
    i19_encoded_slash: "..%2fsecret",
    i19_encoded_capitals: "..%2Fsecret",
    i19_encoded_dots: "%2e%2e/secret",
    i19_encoded_backslash: "..%5csecret",
    i19_encoded_twice: "%252e%252e%252fsecret",
    i19_encoded_nul: "file%00",
    i19_overlong_in_percent: "%c0%ae%c0%ae/secret",
    i19_fullwidth_dots: "\u{ff0e}\u{ff0e}/secret",
    i19_fullwidth_slash: "..\u{ff0f}secret",
    i19_division_slash: "..\u{2215}secret",
    i19_fraction_slash: "..\u{2044}secret",
    i19_two_dot_leader: "\u{2025}/secret",
    i19_right_to_left: "file\u{202e}txt.exe",
    i19_isolate: "a\u{2066}b\u{2069}",
    i19_zero_width_space: "fi\u{200b}le",
    i19_zero_width_joiner_in_dots: ".\u{200d}./secret",
    i19_byte_order_mark: "\u{feff}file",
    i19_soft_hyphen: "fi\u{ad}le",
    i19_line_separator: "fi\u{2028}le",
    i19_tag_characters: "file\u{e0041}",
    i19_no_break_blank_around: "\u{a0}file",
    i19_leading_blank: " file",
    i19_trailing_blank: "file ",
    i19_long: "a".repeat(1025),
    i19_long_segment: "a".repeat(256),
    i19_very_long: "a/".repeat(1 << 20) + "a",
    i19_deep: "d/".repeat(500) + "a",
    i19_link_out: "link",
    i19_relative_link_out: "relative",
    i19_through_a_link_out: "out/secret",
    i19_new_file_through_a_link_out: "out/new",
    i19_through_a_link_up: "up/secret",
    i19_loop: "loop",
    i19_through_a_loop: "loop/file",
    i19_magic_link: "magic",
    i19_descriptor: "descriptor",
    i19_link_to_a_device: "zero",
    i19_fifo: "fifo",
    i19_socket: "socket",
    i19_device: "device",
    i19_own_unfinished_file: ".trunkline-0123456789abcdef0123456789abcdef.part",
    i19_own_name_in_capitals: ".TrunkLine-x",
    i19_own_name_below: "folder/.trunkline-x",
}

#[tokio::test]
async fn i19_bodies_that_are_no_upload() {
    let trap = Trap::new();
    let before = trap.root.names();
    let frame = |json: &str| {
        let length = u32::try_from(json.len()).unwrap().to_be_bytes();
        [&length, json.as_bytes()].concat()
    };
    let mut bodies: Vec<Vec<u8>> = vec![
        vec![],
        b"\xff\xff\xff\xff".to_vec(),
        b"\xff\xff\xff\xff{}".to_vec(),
        [&b"\xff\xff\xff\xff"[..], &[b'{'; 4096]].concat(),
        b"\xff\xff\xff\xfb".repeat(3),
        b"\x00\x00\x00\x00".to_vec(),
        b"\x00\x00\x00\x00x".to_vec(),
        b"\x00\x00\x00\x01{".to_vec(),
        b"\x00\x00\x00\x02{".to_vec(),
        b"\x00\x00\x00\x05{}".to_vec(),
        b"\x80\x00\x00\x00{}".to_vec(),
        b"12345".to_vec(),
        b"\x00\x00\x00\x02{}x".to_vec(),
        b"\x00\x00\x00\x02\xff\xfe".to_vec(),
        framed(&"[".repeat(200), 0).unwrap(),
    ];
    for json in [
        "null",
        "[]",
        "1",
        r#""file""#,
        "{}",
        r#"{"TaskId":1}"#,
        r#"{"FilePath":1}"#,
        r#"{"FilePath":["new"]}"#,
        r#"{"FilePath":null}"#,
        r#"{"FilePath":"new","TaskId":"1"}"#,
        r#"{"FilePath":"new","TaskId":1e99}"#,
        r#"{"FilePath":"new","TaskId":9223372036854775808}"#,
        r#"{"FilePath":"new","UploadStartPos":-1}"#,
        r#"{"FilePath":"new","UploadStartPos":9223372036854775807}"#,
        r#"{"FilePath":"new","UploadStartPos":1.5}"#,
        r#"{"FilePath":"new","Completed":1}"#,
        r#"{"FilePath":"new","FilePath":"file"}"#,
    ] {
        bodies.push(frame(json));
        bodies.push([&frame(json)[..], b"bytes"].concat());
    }
    for body in bodies {
        let answer = ask(&trap.service, GO_UPLOAD, body.clone()).await;
        assert!(answer.is_err(), "{:?}: {answer:?}", String::from_utf8_lossy(&body));
        for path in [STAT, READ, BEGIN] {
            let answer = ask(&trap.service, path, body.clone()).await;
            let harmless = answer.as_ref().map_or(true, |told| told.ends_with(b"}"));
            assert!(harmless, "{path} {:?}: {answer:?}", String::from_utf8_lossy(&body));
        }
    }
    assert_eq!(trap.root.names(), before);
    assert_eq!(trap.root.read("file"), b"file");
}

#[tokio::test]
async fn i19_bodies_that_are_no_download() {
    let trap = Trap::new();
    for body in [
        "",
        "\0",
        "{",
        "null",
        "[]",
        "{}",
        r#"{"FilePath":""}"#,
        r#"{"FilePath":1}"#,
        r#"{"FilePath":"file"} x"#,
        r#"{"FilePath":"file","DownloadStartPos":-1}"#,
        r#"{"FilePath":"file","DownloadStartPos":"0"}"#,
        r#"{"FilePath":"file","DownloadStartPos":18446744073709551616}"#,
        r#"{"FilePath":"\ud800"}"#,
    ] {
        let answer = ask(&trap.service, GO_DOWNLOAD, body).await;
        assert!(answer.is_err(), "{body:?}: {answer:?}");
    }
    let end =
        ask(&trap.service, GO_DOWNLOAD, r#"{"FilePath":"file","DownloadStartPos":9223372036854775807}"#);
    assert_eq!(end.await.unwrap(), &b"\0\0\0\x01"[..]);
}

#[tokio::test]
async fn numbers_of_our_own_messages_that_are_beyond_everything() {
    let trap = Trap::new();
    let told = ask(&trap.service, STAT, framed(&json!({ "name": "file" }), 0).unwrap()).await.unwrap();
    let told: serde_json::Value = serde_json::from_slice(&told[4..]).unwrap();
    for (block, count) in [(1, 1), (u64::MAX, 1), (0, u64::MAX), (u64::MAX, u64::MAX), (1 << 44, 3)] {
        let own = json!({ "name": "file", "version": told["version"], "block": block, "count": count });
        for path in [READ, super::super::message::HASHES] {
            let answer = ask(&trap.service, path, framed(&own, 0).unwrap()).await.unwrap();
            assert!(answer.len() < 4096, "{path} {own}");
        }
    }
    let begin = json!({ "name": "new", "upload": "a", "size": u64::MAX });
    assert!(ask(&trap.service, BEGIN, framed(&begin, 0).unwrap()).await.is_err());
    for upload in ["", "../a", "a/b", "é", &"a".repeat(65)] {
        let begin = json!({ "name": "new", "upload": upload, "size": 1 });
        assert!(ask(&trap.service, BEGIN, framed(&begin, 0).unwrap()).await.is_err(), "{upload}");
    }
}
