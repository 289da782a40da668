//! Every input of the fuzzers' corpora of messages, of files and of HTTP, on the stable compiler.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail loudly"
)]
#[cfg(all(feature = "file", target_os = "linux"))]
#[path = "../../../fuzz/src/files.rs"]
mod files;
#[cfg(feature = "netrpc")]
#[path = "../../../fuzz/src/gob.rs"]
mod gob;
#[cfg(feature = "http")]
#[path = "../../../fuzz/src/http.rs"]
mod http;
#[cfg(all(feature = "protobuf", feature = "thrift", feature = "gzip"))]
#[path = "../../../fuzz/src/payload.rs"]
mod payload;

/// Gives all files of a target's corpus to a check; how many.
#[cfg(any(
    feature = "http",
    feature = "netrpc",
    all(feature = "file", target_os = "linux"),
    all(feature = "protobuf", feature = "thrift", feature = "gzip")
))]
fn replay(target: &str, check: impl Fn(&[u8])) -> usize {
    let folder = format!("{}/../../fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        println!("{}", path.display());
        check(&std::fs::read(&path).unwrap());
        count += 1;
    }
    count
}

#[cfg(all(feature = "protobuf", feature = "thrift", feature = "gzip"))]
#[test]
fn the_corpus_of_messages_holds() {
    let count = replay("payload", payload::payload);
    assert!(count >= 20, "{count} inputs");
}

#[cfg(feature = "http")]
#[test]
fn the_corpus_of_http_holds() {
    let count = replay("http", http::http);
    assert!(count >= 100, "{count} inputs");
}

#[cfg(feature = "netrpc")]
#[test]
fn the_corpus_of_gob_holds() {
    let count = replay("gob", gob::gob);
    assert!(count >= 60, "{count} inputs");
}

#[cfg(all(feature = "file", target_os = "linux"))]
#[test]
fn the_corpus_of_files_holds() {
    let count = replay("files", files::files);
    assert!(count >= 20, "{count} inputs");
}
