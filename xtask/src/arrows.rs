//! `cargo xtask arrows`: the parts of the `trunkline` crate name only parts below them, files stay short.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The parts from the lowest to the highest. A part may name those of its own line and of lines before it.
const LEVELS: [&[&str]; 5] = [
    &[
        "asked",
        "body",
        "call",
        "codec",
        "context",
        "describe",
        "message",
        "metadata",
        "openapi",
        "push",
        "random",
        "service",
        "status",
        "streaming",
        "sync",
        "trace",
        "typed",
        "__private",
    ],
    &["layer", "tower", "balance", "discovery"],
    &["net"],
    &["server", "client", "reflect", "openapi"],
    &["gateway", "socket", "node", "peer", "file", "process", "telemetry", "console"],
];

/// The most lines of a file before its tests.
const LINES: usize = 500;

/// Checks, and says what is wrong where.
pub(crate) fn run() -> ExitCode {
    let mut wrong = Vec::new();
    let root = Path::new("crates/trunkline/src");
    let exports = exports(&root.join("lib.rs"));
    for file in rust_files(root) {
        if file.ends_with("lib.rs") || file.to_string_lossy().contains("tests") {
            continue;
        }
        check_file(root, &file, &exports, &mut wrong);
    }
    for folder in ["crates", "interop", "xtask"] {
        for file in rust_files(Path::new(folder)) {
            check_length(&file, &mut wrong);
        }
    }
    for line in &wrong {
        println!("{line}");
    }
    if wrong.is_empty() {
        println!("arrows: every part names only parts below it, every file is short");
        ExitCode::SUCCESS
    } else {
        println!("arrows: {} wrong", wrong.len());
        ExitCode::FAILURE
    }
}

fn level(part: &str) -> Option<usize> {
    LEVELS.iter().position(|parts| parts.contains(&part))
}

fn check_file(root: &Path, file: &Path, exports: &BTreeMap<String, String>, wrong: &mut Vec<String>) {
    let Ok(text) = fs::read_to_string(file) else { return };
    let relative = file.strip_prefix(root).unwrap_or(file);
    let first = relative.components().next().map(|part| part.as_os_str().to_string_lossy().into_owned());
    let part = first.unwrap_or_default().trim_end_matches(".rs").to_owned();
    let Some(own) = level(&part) else {
        wrong.push(format!("{}: the part {part} has no place in xtask/src/arrows.rs", file.display()));
        return;
    };
    let code = text.split("\n#[cfg(test)]").next().unwrap_or_default();
    for name in named(code) {
        let target = exports.get(&name).unwrap_or(&name);
        if level(target).is_some_and(|other| other > own) {
            wrong.push(format!("{}: {part} names {target}, which is above it", file.display()));
        }
    }
}

/// All names that follow `crate::` in the code, each of a group by itself.
fn named(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        // `$crate::`, `pub(crate)` and comments do not matter here; a name more does not harm.
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let end = group.find("};").unwrap_or(group.len());
            let mut depth = 0;
            for item in group[..end].split_inclusive([',', '{', '}']) {
                let name: String = item.trim_start().chars().take_while(|c| is_word(*c)).collect();
                if depth == 0 && !name.is_empty() {
                    names.push(name);
                }
                depth += item.matches('{').count();
                depth = depth.saturating_sub(item.matches('}').count());
            }
        } else {
            names.push(rest.chars().take_while(|c| is_word(*c)).collect());
        }
    }
    names
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Which part each name of the crate's root comes from.
fn exports(lib: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(lib).unwrap_or_default();
    let mut exports = BTreeMap::new();
    for statement in text.split("pub use ").skip(1) {
        let statement = statement.split(';').next().unwrap_or_default();
        let Some((part, names)) = statement.split_once("::") else { continue };
        for name in names.split(|c: char| !is_word(c)).filter(|name| !name.is_empty()) {
            exports.insert(name.to_owned(), part.trim().to_owned());
        }
    }
    exports
}

fn check_length(file: &Path, wrong: &mut Vec<String>) {
    let Ok(text) = fs::read_to_string(file) else { return };
    let in_tests = file.components().any(|part| part.as_os_str() == "tests");
    let code = text.split("\n#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().count();
    if lines > LINES && !in_tests {
        wrong.push(format!("{}: {lines} lines before its tests; {LINES} are the limit", file.display()));
    }
    if !text.starts_with("//!") && !in_tests {
        wrong.push(format!("{}: its first line does not say what it is for (//!)", file.display()));
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}
