//! Names of files as peers give them: relative, plain, and never one of our own.

use std::fmt::Write as _;

use crate::{Code, Result, Status};

/// The longest name, in bytes; a segment may have 255.
const LONGEST: usize = 1024;
const LONGEST_SEGMENT: usize = 255;

/// What the names of unfinished files begin with. No peer can name one.
const OWN: &str = ".trunkline-";

/// A name below the served directory: segments with single slashes between them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct FileName(String);

impl FileName {
    /// Takes a name from a peer. What could mean anything but one file below the root is refused, although the
    /// kernel would keep it inside ([`Store`](super::store::Store)): nobody who means well asks for it.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        match problem(text) {
            None => Ok(Self(text.to_owned())),
            Some(why) => {
                Err(Status::new(Code::InvalidInput, format!("refused file name {}: {why}", shown(text))))
            }
        }
    }

    /// The whole name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder, where there is one, and the name in it.
    pub(crate) fn split(&self) -> (Option<&str>, &str) {
        self.0.rsplit_once('/').map_or((None, self.0.as_str()), |(folder, leaf)| (Some(folder), leaf))
    }
}

/// The name of an unfinished file: the same for the same kind, target and source, and of no other.
pub(crate) fn part_name(kind: &str, target: &str, source: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    for text in [kind, target, source] {
        hasher.update(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes()).update(text.as_bytes());
    }
    let hash = hasher.finalize();
    let mut name = OWN.to_owned();
    for byte in hash.as_bytes().iter().take(16) {
        _ = write!(name, "{byte:02x}");
    }
    name + ".part"
}

/// Whether this is the name of an unfinished file of ours.
pub(crate) fn is_part(leaf: &[u8]) -> bool {
    leaf.starts_with(OWN.as_bytes()) && leaf.ends_with(b".part")
}

fn problem(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("it is empty");
    }
    if text.len() > LONGEST {
        return Some("it is longer than 1024 bytes");
    }
    if text.starts_with('/') {
        return Some("it is absolute");
    }
    if text.chars().any(char::is_control) {
        return Some("a control character is in it");
    }
    if text.contains('\\') {
        return Some("a backslash is in it");
    }
    if text.chars().any(deceives) {
        return Some("a character is in it that cannot be seen or looks like a slash or a dot");
    }
    if hides(text.as_bytes()) {
        return Some("a slash, a dot or a control character is percent-encoded in it");
    }
    text.split('/').find_map(segment_problem)
}

fn segment_problem(segment: &str) -> Option<&'static str> {
    if segment.is_empty() {
        return Some("a segment of it is empty");
    }
    if segment.len() > LONGEST_SEGMENT {
        return Some("a segment of it is longer than 255 bytes");
    }
    if segment.chars().all(|c| c == '.' || c.is_whitespace()) {
        return Some("a segment of it is only dots and blanks");
    }
    if segment.trim() != segment {
        return Some("a segment of it begins or ends with a blank");
    }
    // A file system that does not tell capitals apart would take the others for ours.
    if segment.get(..OWN.len()).is_some_and(|start| start.eq_ignore_ascii_case(OWN)) {
        return Some("names that begin with .trunkline- are kept for unfinished files");
    }
    None
}

/// Characters without a shape, those that turn the direction of writing, and doubles of `/`, `\` and `.`.
fn deceives(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}' | '\u{e0000}'..='\u{e007f}'
        | '\u{2024}'..='\u{2026}' | '\u{2044}' | '\u{2215}' | '\u{2216}' | '\u{29f5}' | '\u{29f8}' | '\u{29f9}'
        | '\u{fe52}' | '\u{fe68}' | '\u{ff0e}' | '\u{ff0f}' | '\u{ff3c}' | '\u{fffd}')
}

/// Whether something is percent-encoded that would mean another file to whoever decodes it (once more).
fn hides(text: &[u8]) -> bool {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.windows(3).any(|window| match window {
        [b'%', high, low] => match (digit(*high), digit(*low)) {
            (Some(high), Some(low)) => {
                let byte = high << 4 | low;
                byte < b' ' || matches!(byte, b'.' | b'/' | b'\\' | b'%' | 0x7f)
            }
            _ => false,
        },
        _ => false,
    })
}

/// A name for a message: short, in one line.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().nth(80).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_taken() {
        for name in [
            "a",
            "a.b",
            "a/b/c.txt",
            ".hidden",
            "a b",
            "50% of it",
            "ü/漢字.txt",
            "~",
            "a:b",
            "..a",
            "a..b",
            "%20",
        ] {
            assert_eq!(FileName::parse(name).unwrap().as_str(), name);
        }
        assert_eq!(FileName::parse("a/b/c").unwrap().split(), (Some("a/b"), "c"));
        assert_eq!(FileName::parse("c").unwrap().split(), (None, "c"));
    }

    #[test]
    fn names_of_unfinished_files_are_told_apart_and_refused() {
        let name = part_name("get", "ab", "c");
        assert_ne!(name, part_name("get", "a", "bc"));
        assert_eq!(name.len(), OWN.len() + 32 + 5);
        assert!(is_part(name.as_bytes()) && !is_part(b".trunkline-notes"));
        assert!(FileName::parse(&name).is_err());
    }
}
