//! gob values of every kind, there and back: Go writes them, we read and write them again, Go compares.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use trunkline::codec::gob::{Complex, Gob};
use trunkline::codec::{Payload, dynamic};
use trunkline::{Blob, Message, Serialization};

use crate::suite::{Check, Suite, Told};

/// How many values a run has, and how many runs there are.
const VALUES: usize = 250;
const SEEDS: u32 = 4;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Base {
    #[serde(rename = "ID")]
    id: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
struct Inner {
    name: String,
    n: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
struct Tree {
    v: i64,
    left: Option<Box<Tree>>,
    right: Option<Box<Tree>>,
    all: Vec<Tree>,
}

/// Go's `All`, in full, by serde.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct All {
    base: Base,
    truth: bool,
    i8: i8,
    i16: i16,
    i32: i32,
    i64: i64,
    u8: u8,
    u16: u16,
    u32: u32,
    u64: u64,
    f32: f32,
    f64: f64,
    complex: Complex,
    text: String,
    bytes: Blob,
    rune: char,
    array: [i16; 3],
    octets: [u8; 4],
    ints: Vec<i64>,
    texts: Vec<String>,
    truths: Vec<bool>,
    floats: Vec<f32>,
    nest: Vec<Vec<String>>,
    deep: Vec<Vec<Vec<i8>>>,
    blobs: Vec<Blob>,
    map: BTreeMap<String, i64>,
    by_num: BTreeMap<i32, Inner>,
    map_map: BTreeMap<String, BTreeMap<u16, Vec<String>>>,
    inner: Inner,
    ptr: Option<Inner>,
    ptr_ptr: Option<String>,
    number: Option<i64>,
    inners: Vec<Inner>,
    ptrs: Vec<Inner>,
    tree: Option<Box<Tree>>,
    empty: (),
}

/// What a message can have of Go's `All`.
#[derive(Debug, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
struct Part {
    tree: Option<Box<Tree>>,
    truth: bool,
    i8: i8,
    u64: u64,
    f32: f32,
    text: String,
    bytes: Blob,
    ints: Vec<i64>,
    texts: Vec<String>,
    floats: Vec<f32>,
    blobs: Vec<Blob>,
    map: BTreeMap<String, i64>,
    by_num: BTreeMap<i32, Inner>,
    inner: Inner,
    ptr: Option<Inner>,
    inners: Vec<Inner>,
}

/// Reads a value of Go's and writes it again.
fn again<T: Serialize + DeserializeOwned + 'static>(body: &[u8], out: &mut Vec<u8>) -> Check {
    let value = Gob::<T>::decode(Serialization::Gob, body).told("read")?;
    value.encode(Serialization::Gob, out).told("write")
}

/// The value at a place of Go's sequence.
fn value(place: usize, body: &[u8], out: &mut Vec<u8>) -> Check {
    match place % 16 {
        1 => again::<i64>(body, out),
        2 => String::decode(Serialization::Gob, body)
            .told("read")?
            .encode(Serialization::Gob, out)
            .told("write"),
        3 => Vec::<u8>::decode(Serialization::Gob, body)
            .told("read")?
            .encode(Serialization::Gob, out)
            .told("write"),
        4 => again::<Vec<i64>>(body, out),
        5 => again::<BTreeMap<String, Inner>>(body, out),
        6 => again::<[f64; 3]>(body, out),
        7 => again::<Complex>(body, out),
        8 => again::<bool>(body, out),
        9 => again::<u64>(body, out),
        10 => {
            Tree::decode(Serialization::Gob, body).told("read")?.encode(Serialization::Gob, out).told("write")
        }
        11 => again::<f64>(body, out),
        12 => again::<Vec<Vec<u16>>>(body, out),
        _ => again::<All>(body, out),
    }
}

fn go(program: &Path, what: &str, file: &Path, seed: u32) -> Check {
    let mut command = Command::new(program);
    command.arg(what).arg(file).args(["-seed", &seed.to_string(), "-n", &VALUES.to_string()]);
    let output = command.output().told("run")?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("{what} with seed {seed}: {}", String::from_utf8_lossy(&said)))
}

/// The streams that Go wrote.
fn streams(program: &Path, file: &Path, seed: u32) -> Check<Vec<Vec<u8>>> {
    go(program, "write", file, seed)?;
    let all = fs::read(file).told("file")?;
    let (mut rest, mut found) = (&all[..], vec![]);
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = usize::try_from(u32::from_be_bytes(*length)).told("file")?;
        let (stream, behind) = behind.split_at_checked(length).ok_or("a stream is cut")?;
        found.push(stream.to_vec());
        rest = behind;
    }
    if found.len() == VALUES { Ok(found) } else { Err(format!("{} values", found.len())) }
}

/// `gob-values`: what we read is written again, and Go reads the value that it wrote.
fn values(program: &Path, file: &Path) -> Check {
    for seed in 1..=SEEDS {
        let mut all = vec![];
        for (place, stream) in streams(program, file, seed)?.iter().enumerate() {
            let mut out = vec![];
            value(place, stream, &mut out).map_err(|why| format!("seed {seed}, value {place}: {why}"))?;
            all.extend_from_slice(&u32::try_from(out.len()).told("file")?.to_be_bytes());
            all.extend_from_slice(&out);
        }
        fs::write(file, all).told("file")?;
        go(program, "read", file, seed)?;
    }
    Ok(())
}

/// `gob-json`: every value as JSON is what Go's encoding/json makes of it.
fn json(program: &Path, file: &Path) -> Check {
    for seed in 1..=SEEDS {
        let mut all = String::new();
        for (place, stream) in streams(program, file, seed)?.iter().enumerate() {
            let text = dynamic::decode(Serialization::Gob, stream, None);
            all.push_str(&text.map_err(|why| format!("seed {seed}, value {place}: {why}"))?);
            all.push('\n');
        }
        fs::write(file, all).told("file")?;
        go(program, "json", file, seed)?;
    }
    Ok(())
}

/// `gob-messages`: a message takes its own fields of Go's struct and passes over the others, as serde does.
fn messages(program: &Path, file: &Path) -> Check {
    for seed in 1..=SEEDS {
        for (place, stream) in streams(program, file, seed)?.iter().enumerate() {
            if (1..=12).contains(&(place % 16)) {
                continue;
            }
            let at = |why: String| format!("seed {seed}, value {place}: {why}");
            let part = Part::decode(Serialization::Gob, stream).told("read").map_err(at)?;
            let by_serde = Gob::<Part>::decode(Serialization::Gob, stream).told("read").map_err(at)?;
            let all = Gob::<All>::decode(Serialization::Gob, stream).told("read").map_err(at)?.0;
            let taken = part.text == all.text && part.ints == all.ints && part.tree == all.tree;
            if part != by_serde.0 || !taken || part.by_num != all.by_num {
                return Err(at(format!("{part:?} is not {all:?}")));
            }
        }
    }
    Ok(())
}

/// Runs the cases with the Go program `interop/gob`.
pub(crate) async fn cases(suite: &mut Suite, program: &Path) {
    let file = std::env::temp_dir().join(format!("trunkline-interop-gob-{}", std::process::id()));
    suite.case("gob-values", async { values(program, &file) }).await;
    suite.case("gob-json", async { json(program, &file) }).await;
    suite.case("gob-messages", async { messages(program, &file) }).await;
    _ = fs::remove_file(&file);
}
