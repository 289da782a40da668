//! How the command ends: an exit code, and one line that says why.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use trunkline::{Code, Status};

/// Why a command did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    code: u8,
    line: String,
}

impl Failure {
    /// Exit 1: the service, or whoever answered, says no.
    pub(crate) fn service(line: impl Into<String>) -> Self {
        Self { code: 1, line: line.into() }
    }

    /// Exit 2: the command line or the input is wrong. The program's name goes before the line, and the line is
    /// one line.
    pub(crate) fn usage(line: impl AsRef<str>) -> Self {
        Self { code: 2, line: named(line.as_ref()) }
    }

    /// Exit 3: nobody there, or the connection was lost.
    pub(crate) fn transport(line: impl AsRef<str>) -> Self {
        Self { code: 3, line: named(line.as_ref()) }
    }

    /// Exit 4: the time is over.
    pub(crate) fn deadline(line: impl AsRef<str>) -> Self {
        Self { code: 4, line: named(line.as_ref()) }
    }

    /// What a failed call to this address exits with. What the service says is printed exactly
    /// as it says it, but for control characters.
    pub(crate) fn of_call(status: &Status, address: &str) -> Self {
        let message = status.message();
        match status.code() {
            Code::Unavailable if status.may_retry() => {
                Self::transport(format!("cannot reach {address}: {message}"))
            }
            Code::Unavailable => Self::transport(format!("{address}: {message}")),
            Code::DeadlineExceeded => Self::deadline(format!("{address}: {message}")),
            code if message.trim().is_empty() => {
                Self::service(format!("trunkline: {address}: the call failed without a text ({code})"))
            }
            _ => Self::service(message),
        }
    }

    /// Has been said already, each where it belongs: so many calls failed, and this is the worst exit code.
    pub(crate) fn told(code: u8) -> Self {
        Self { code, line: String::new() }
    }

    /// What it says, without the program's name.
    pub(crate) fn line(&self) -> &str {
        self.line.strip_prefix("trunkline: ").unwrap_or(&self.line)
    }

    /// What the command exits with.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// Says it on stderr.
    pub(crate) fn report(&self) -> ExitCode {
        if !self.line.is_empty() {
            // Where stderr is gone there is nobody to tell.
            let _ = writeln!(io::stderr(), "{}", clean(&self.line));
        }
        ExitCode::from(self.code)
    }
}

/// A text from elsewhere for people: control characters other than line ends and tabs, which could do things to a
/// terminal, are written as escapes.
pub(crate) fn clean(text: &str) -> String {
    escaped(text, |c| c.is_control() && !matches!(c, '\n' | '\t'))
}

/// The same in one line.
pub(crate) fn clean_line(text: &str) -> String {
    escaped(text, char::is_control)
}

fn escaped(text: &str, bad: impl Fn(char) -> bool) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if bad(c) {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
    }
    clean
}

fn named(line: &str) -> String {
    format!("trunkline: {}", line.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Writes JSON, one value or one a line, and a line's end to stdout. For a terminal the control characters that JSON leaves as they are (DEL and
/// those from U+0080 to U+009F) become JSON's own escapes: the same value, and nothing that a terminal obeys.
pub(crate) fn print_json(json: &str) -> Result<(), Failure> {
    let text = if io::stdout().is_terminal() { for_terminal(json) } else { Cow::Borrowed(json) };
    print(format!("{text}\n"))
}

fn for_terminal(json: &str) -> Cow<'_, str> {
    let bad = |c: char| c.is_control() && c >= '\x7f';
    if !json.contains(bad) {
        return Cow::Borrowed(json);
    }
    json.chars()
        .fold(String::with_capacity(json.len()), |mut text, c| {
            if bad(c) {
                text.push_str(&format!("\\u{:04x}", u32::from(c)));
            } else {
                text.push(c);
            }
            text
        })
        .into()
}

/// Writes to stdout. A reader who has seen enough is no failure.
pub(crate) fn print(bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes.as_ref()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::usage(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_become_escapes() {
        let text = "a\0b\u{1b}[31m\r\u{9b}1m\x7fü\n\t.";
        assert_eq!(clean(text), "a\\u{0}b\\u{1b}[31m\\r\\u{9b}1m\\u{7f}ü\n\t.");
        assert_eq!(clean_line("a\nb\t"), "a\\nb\\t");
    }

    #[test]
    fn json_for_a_terminal_is_the_same_json() {
        let json = "{\"a\":\"\u{9b}31m\u{85}\u{7f}ü\u{a0}\"}";
        let text = for_terminal(json);
        assert_eq!(text, "{\"a\":\"\\u009b31m\\u0085\\u007fü\u{a0}\"}");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&text), value(json));
    }

    #[test]
    fn a_failure_without_a_text_says_something() {
        let failure = Failure::of_call(&Status::failed(" "), "a:1");
        assert_eq!(failure.line, "trunkline: a:1: the call failed without a text (failed)");
    }
}
