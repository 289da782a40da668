//! Every input of the fuzzers' corpus of messages, on the stable compiler.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail loudly"
)]
#![cfg(all(feature = "protobuf", feature = "thrift", feature = "gzip"))]

#[path = "../../../fuzz/src/payload.rs"]
mod payload;

#[test]
fn the_corpus_holds() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/payload");
    let mut count = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        println!("{}", path.display());
        payload::payload(&std::fs::read(&path).unwrap());
        count += 1;
    }
    assert!(count >= 20, "{count} inputs");
}
