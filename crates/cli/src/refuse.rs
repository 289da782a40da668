//! What is not built yet, and command lines that cannot be read: one line each.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::exit::{Failure, clean_line, print};

/// Verbs that will come.
const LATER_VERBS: [&str; 6] = ["gateway", "start", "stop", "reload", "status", "connections"];
/// What `trunkline demo` will take as its next word.
const LATER_DEMO_VERBS: [&str; 6] = ["start", "stop", "reload", "status", "connections", "socket"];
/// Flags that will come, of any verb.
const LATER_FLAGS: [&str; 13] = [
    "--advertise",
    "--console",
    "--discovery",
    "--explain",
    "--fail",
    "--hedge",
    "--log-file",
    "--pid-file",
    "--protocol",
    "--raw-reply",
    "--register",
    "--reply",
    "--retry",
];
/// Where calls will go, some day.
const LATER_SCHEMES: [&str; 7] = ["etcd", "tls", "udp", "https", "ws", "wss", "dns"];

/// Turns what clap says into one line, or prints the help that was asked for.
pub(crate) fn usage(error: &clap::Error) -> Result<(), Failure> {
    let verb = std::env::args_os().nth(1).unwrap_or_default().to_string_lossy().into_owned();
    let help = match verb.as_str() {
        "demo" | "call" | "bench" | "put" | "get" | "ls" | "describe" | "template" | "top" => {
            format!("trunkline {verb} --help")
        }
        _ => "trunkline --help".to_owned(),
    };
    match error.kind() {
        ErrorKind::DisplayHelp => {
            let help = error.render();
            let colours = std::io::IsTerminal::is_terminal(&std::io::stdout()) && !no_color();
            return print(if colours { help.ansi().to_string() } else { help.to_string() });
        }
        ErrorKind::DisplayVersion => return print(error.render().to_string()),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            let text = "say what to do: demo, call, bench, put, get, ls, describe, template or top (see trunkline --help)";
            return Err(Failure::usage(text));
        }
        ErrorKind::UnknownArgument => {
            let word = context(error, ContextKind::InvalidArg).unwrap_or_default();
            let flag = word.split(['=', ' ']).next().unwrap_or_default();
            if verb == "demo" && LATER_DEMO_VERBS.contains(&flag) {
                return Err(later(&format!("demo {flag}")));
            }
            if LATER_FLAGS.contains(&flag) {
                return Err(later(&format!("{verb} {flag}")));
            }
            return Err(Failure::usage(format!("{flag} is not known here; see {help}")));
        }
        ErrorKind::InvalidSubcommand => {
            let word = context(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            if LATER_VERBS.contains(&word.as_str()) {
                return Err(later(&word));
            }
            return Err(Failure::usage(format!("{word} is no command; see {help}")));
        }
        ErrorKind::ValueValidation => {
            let flag = context(error, ContextKind::InvalidArg).unwrap_or_default();
            let value = context(error, ContextKind::InvalidValue).unwrap_or_default();
            let why = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            let value = clean_line(&value);
            return Err(Failure::usage(format!("invalid value '{value}' for '{flag}': {why}; see {help}")));
        }
        _ => {}
    }
    let rendered = error.render().to_string();
    let first: Vec<&str> = rendered.lines().take_while(|line| !line.trim().is_empty()).collect();
    let text = first.join(" ");
    Err(Failure::usage(format!("{}; see {help}", text.trim_start_matches("error: "))))
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => texts.first().cloned(),
        _ => None,
    }
}

/// The refusal of what will come.
pub(crate) fn later(what: &str) -> Failure {
    Failure::usage(format!("{what} is not built yet"))
}

/// Refuses a URL whose scheme will come, or that names several endpoints where one is looked at.
pub(crate) fn later_url(url: &str) -> Result<(), Failure> {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    if LATER_SCHEMES.contains(&scheme) {
        return Err(later(&format!("calling {scheme}:// ({url})")));
    }
    if scheme == "mem" {
        return Err(Failure::usage(format!("{url}: mem:// is for programs that call themselves")));
    }
    match url.split_once(',') {
        Some(_) => Err(later(&format!("this for several endpoints (the comma in {url})"))),
        None => Ok(()),
    }
}

/// Refuses an address to listen on whose scheme will come.
pub(crate) fn later_listener(address: &str) -> Result<(), Failure> {
    match address.split_once("://") {
        None | Some(("tcp" | "unix", _)) => Ok(()),
        Some((scheme @ ("tls" | "udp"), _)) => Err(later(&format!("listening on {scheme}:// ({address})"))),
        Some((scheme, _)) => {
            let text = format!("cannot listen on {address}: {scheme}:// is not one of tcp://, unix://");
            Err(Failure::usage(text))
        }
    }
}

/// Whether the environment asks for no colours.
pub(crate) fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}
