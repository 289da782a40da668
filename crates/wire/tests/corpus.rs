//! Every input of the fuzzers' corpora, and every byte recorded from the Go programs, on the stable compiler.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail loudly"
)]

#[path = "../../../fuzz/src/iip.rs"]
mod iip;
#[path = "../../../fuzz/src/iip_channels.rs"]
mod iip_channels;
#[path = "../../../fuzz/src/netrpc.rs"]
mod netrpc;
#[path = "../../../fuzz/src/saber.rs"]
mod saber;
#[path = "../../../fuzz/src/wire.rs"]
mod wire;

use std::path::Path;

/// Gives all files of a folder to a check; how many.
fn replay(folder: &str, check: impl Fn(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let Ok(files) = std::fs::read_dir(&folder) else { panic!("{} is missing", folder.display()) };
    let mut count = 0;
    for file in files {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        // Names the input of a check that fails.
        println!("{}", path.display());
        check(&bytes);
        count += 1;
    }
    count
}

#[test]
fn the_corpora_hold() {
    for (target, check) in [
        ("rpcx_frame", wire::rpcx_frame as fn(&[u8])),
        ("rpcx_session", wire::rpcx_session),
        ("metadata", wire::metadata),
        ("detect", wire::detect),
        ("iip_session", iip::iip_session),
        ("iip_channels", iip_channels::iip_channels),
        ("netrpc_session", netrpc::netrpc_session),
        ("saber", saber::saber),
    ] {
        let count = replay(&format!("../../fuzz/corpus/{target}"), check);
        assert!(count >= 20, "{target}: {count} inputs");
    }
}

#[test]
fn what_was_recorded_holds() {
    for folder in ["testdata/rpcx", "testdata/easymicro", "testdata/iip", "testdata/saber"] {
        let count = replay(folder, |bytes| {
            wire::rpcx_frame(bytes);
            wire::rpcx_session(bytes);
            wire::metadata(bytes);
            wire::detect(bytes);
            iip::iip_session(bytes);
            iip_channels::iip_channels(bytes);
            saber::saber(bytes);
        });
        assert!(count > 50, "{folder}: {count}");
    }
}
