//! `cargo xtask golden [--check]`: the bytes that were recorded from the Go programs, copied into the tests.
//!
//! They stand beside the project, in `../shared/wire/golden`. With `--check` nothing is written, and a copy that
//! differs is a failure. Where the recordings are not there, the copy is what there is: it says SKIPPED.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

/// What is copied: the folder of each wire that is built, and files of their own.
const FOLDERS: [&str; 5] = ["rpcx", "easymicro", "iip", "netrpc", "saber"];
const FILES: [&str; 2] = ["say-request.bin", "say-reply.bin"];

/// Runs the command. Exit code 2 for a wrong command line, 1 where the copy differs or a file cannot be used.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let check = match arguments {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => {
            eprintln!("usage: cargo xtask golden [--check]");
            return ExitCode::from(2);
        }
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let source = root.join("../shared/wire/golden");
    let copy = root.join("crates/wire/testdata");
    if !source.is_dir() {
        println!("golden: SKIPPED, there are no recordings in ../shared/wire/golden");
        return ExitCode::SUCCESS;
    }
    let outcome = if check { compare(&source, &copy) } else { update(&source, &copy) };
    match outcome {
        Ok(differences) if check && !differences.is_empty() => {
            for difference in &differences {
                eprintln!("golden: {difference}");
            }
            eprintln!("golden: the copy differs from the recordings; run cargo xtask golden");
            ExitCode::FAILURE
        }
        Ok(_) if check => {
            println!("golden: the copy is equal");
            ExitCode::SUCCESS
        }
        Ok(changed) => {
            println!("golden: {} files changed", changed.len());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("golden: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Every recorded file below a root, by its path from there.
fn files(root: &Path) -> io::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for folder in FOLDERS {
        let entries = match fs::read_dir(root.join(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            found.insert(Path::new(folder).join(entry.file_name()), fs::read(entry.path())?);
        }
    }
    for file in FILES {
        match fs::read(root.join(file)) {
            Ok(bytes) => found.insert(file.into(), bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
    }
    Ok(found)
}

/// What is not the same in the copy, one line a file.
fn compare(source: &Path, copy: &Path) -> io::Result<Vec<String>> {
    let (recorded, copied) = (files(source)?, files(copy)?);
    let changed = recorded.iter().filter_map(|(path, bytes)| match copied.get(path) {
        None => Some(format!("{} is missing", path.display())),
        Some(other) if other != bytes => Some(format!("{} differs", path.display())),
        Some(_) => None,
    });
    let extra = copied.keys().filter(|path| !recorded.contains_key(*path));
    let extra = extra.map(|path| format!("{} was not recorded", path.display()));
    Ok(changed.chain(extra).collect())
}

/// Makes the copy equal; gives what it changed.
fn update(source: &Path, copy: &Path) -> io::Result<Vec<String>> {
    let changed = compare(source, copy)?;
    let (recorded, copied) = (files(source)?, files(copy)?);
    for folder in FOLDERS {
        fs::create_dir_all(copy.join(folder))?;
    }
    for (path, bytes) in &recorded {
        if copied.get(path) != Some(bytes) {
            fs::write(copy.join(path), bytes)?;
        }
    }
    for path in copied.keys().filter(|path| !recorded.contains_key(*path)) {
        fs::remove_file(copy.join(path))?;
    }
    Ok(changed)
}
