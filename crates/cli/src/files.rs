//! `put` and `get`: a file there or here, with progress, resumed after a break, verified at the end.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use percent_encoding::percent_decode_str;
use tokio::sync::Mutex;
use trunkline::client::{Channel, Url};
use trunkline::file::{FileClient, FileError, Progress, Transferred};
use trunkline::{Call, Code, Metadata, Reply, Result, Service};

use crate::args;
use crate::bench::units;
use crate::endpoint;
use crate::exit::{Failure, clean_line};
use crate::values;

/// How often the line on a terminal is written.
const EVERY: Duration = Duration::from_millis(100);
/// The longest name in that line, in characters.
const NAME: usize = 30;

pub(crate) async fn put(args: args::Put) -> Result<(), Failure> {
    let place = Place::parse(&args.url)?;
    let files = place.open(&args.headers).await?;
    let line = Line::new(&place.name);
    let files = line.watch(files);
    let done = files.put(&args.file, &place.name).await;
    line.end(&args.file, done, &place.url)
}

pub(crate) async fn get(args: args::Get) -> Result<(), Failure> {
    let place = Place::parse(&args.url)?;
    let files = place.open(&args.headers).await?;
    let line = Line::new(&place.name);
    let files = line.watch(files);
    let done = files.get(&place.name, &args.file).await;
    line.end(&args.file, done, &place.url)
}

/// A file at a server.
struct Place {
    url: Url,
    name: String,
}

impl Place {
    /// Reads `iip://HOST:PORT/NAME`.
    fn parse(text: &str) -> Result<Self, Failure> {
        let refused = |why: &str| Failure::usage(format!("{}: {why}", clean_line(text)));
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(refused("the scheme is missing, as in iip://HOST:PORT/NAME"));
        };
        if scheme == "unix" {
            return Err(refused("the path of a Unix socket leaves no place for a name"));
        }
        let (address, name) = rest.split_once('/').unwrap_or((rest, ""));
        // The endpoint first: what cannot be called is refused whatever the name is.
        let url = endpoint::url(&format!("{scheme}://{address}"))?;
        if name.contains(['?', '#']) {
            return Err(refused("? and # in a name are written %3F and %23"));
        }
        let name = percent_decode_str(name).decode_utf8();
        let name = name.map_err(|_| refused("the name is not UTF-8"))?.into_owned();
        if name.is_empty() {
            return Err(refused("the name is missing, as in iip://HOST:PORT/NAME"));
        }
        Ok(Self { url, name })
    }

    /// Connects.
    async fn open(&self, headers: &[(String, String)]) -> Result<FileClient<Redialled>, Failure> {
        let service = Redialled {
            url: self.url.clone(),
            metadata: values::metadata_of(headers)?,
            channel: Mutex::new(None),
        };
        let connected = service.channel().await;
        connected.map_err(|status| Failure::of_call(&status, &self.url.address.to_string()))?;
        Ok(FileClient::new(service, self.url.to_string()))
    }
}

/// A channel that is made anew when it broke. One that dials again by itself waits longer each time, which is right
/// for a service that runs for days, and too long for somebody who waits for a file.
struct Redialled {
    url: Url,
    metadata: Metadata,
    channel: Mutex<Option<Arc<Channel>>>,
}

impl Redialled {
    async fn channel(&self) -> Result<Arc<Channel>> {
        let mut channel = self.channel.lock().await;
        if let Some(channel) = &*channel {
            return Ok(Arc::clone(channel));
        }
        let deadline = tokio::time::Instant::now() + endpoint::DEFAULT_TIMEOUT;
        let dialled = Arc::new(endpoint::connect(&self.url, deadline).await?);
        *channel = Some(Arc::clone(&dialled));
        Ok(dialled)
    }
}

impl Service for Redialled {
    async fn call(&self, call: Call) -> Result<Reply> {
        let used = self.channel().await?;
        let call = if self.metadata.is_empty() { call } else { call.with_metadata(self.metadata.clone()) };
        let answer = used.call(call).await;
        if answer.as_ref().is_err_and(|status| matches!(status.code(), Code::Unavailable | Code::Draining)) {
            let mut channel = self.channel.lock().await;
            if channel.as_ref().is_some_and(|channel| Arc::ptr_eq(channel, &used)) {
                *channel = None;
            }
        }
        answer
    }
}

/// The line on a terminal.
struct Line {
    shown: bool,
    name: String,
    begun: Instant,
}

impl Line {
    fn new(name: &str) -> Self {
        let mut shown: String = clean_line(name).chars().take(NAME).collect();
        if name.chars().count() > NAME {
            shown.push('…');
        }
        Self { shown: std::io::stderr().is_terminal(), name: shown, begun: Instant::now() }
    }

    fn watch<S: Service>(&self, files: FileClient<S>) -> FileClient<S> {
        if !self.shown {
            return files;
        }
        let (name, mut last) = (self.name.clone(), None::<Instant>);
        files.on_progress(move |progress| {
            let now = Instant::now();
            if last.is_none_or(|last| now.saturating_duration_since(last) >= EVERY) {
                last = Some(now);
                say(&format!("\r\x1b[K{name}  {}", text(progress)));
            }
        })
    }

    /// Says how it ended.
    fn end(&self, file: &Path, done: Result<Transferred, FileError>, url: &Url) -> Result<(), Failure> {
        if self.shown {
            say("\r\x1b[K");
        }
        let done = done.map_err(|error| failure(&error, url))?;
        if self.shown {
            let time = self.begun.elapsed();
            let moved = done.size.saturating_sub(done.resumed) as f64;
            let resumed = match done.resumed {
                0 => String::new(),
                resumed => format!(", {} of it before", units::bytes(resumed as f64)),
            };
            let hash = done.hash.map(|hash| format!(", BLAKE3 {hash}")).unwrap_or_default();
            say(&format!(
                "{}: {} in {}, {}/s{resumed}{hash}\n",
                clean_line(&file.display().to_string()),
                units::bytes(done.size as f64),
                units::time(time.as_secs_f64() * 1e9),
                units::bytes(moved / time.as_secs_f64().max(1e-6)),
            ));
        }
        Ok(())
    }
}

/// How far it is, in words.
fn text(progress: &Progress) -> String {
    let done = units::bytes(progress.done as f64);
    let rate = units::bytes(progress.rate);
    let Some(total) = progress.total else { return format!("{done}  {rate}/s") };
    let part = if total == 0 { 100.0 } else { progress.done as f64 / total as f64 * 100.0 };
    let left = progress.left.map(|left| format!("  {} left", duration(left))).unwrap_or_default();
    format!("{part:.0}%  {done} of {}  {rate}/s{left}", units::bytes(total as f64))
}

/// A time as people say it.
fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        _ => format!("{}:{:02} h", seconds / 3600, seconds % 3600 / 60),
    }
}

fn say(text: &str) {
    // Where stderr is gone nobody looks at it.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// What a failed transfer exits with.
fn failure(error: &FileError, url: &Url) -> Failure {
    match error {
        FileError::Local { .. } => Failure::usage(error.to_string()),
        FileError::Broken(status) => Failure::transport(format!("{}: {}", url.address, status.message())),
        FileError::Refused(status) => Failure::of_call(status, &url.address.to_string()),
        other => Failure::service(format!("trunkline: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        let place = Place::parse("rpcx://127.0.0.1:1/a%20b/c%2Cd,e").ok().unwrap();
        assert_eq!(
            (place.url.to_string().as_str(), place.name.as_str()),
            ("rpcx://127.0.0.1:1", "a b/c,d,e")
        );
        for (url, why) in [
            ("127.0.0.1:1/a", "scheme is missing"),
            ("rpcx://127.0.0.1:1", "name is missing"),
            ("rpcx://127.0.0.1:1/", "name is missing"),
            ("rpcx://127.0.0.1/a", "port is missing"),
            ("rpcx://127.0.0.1:1/a?b", "%3F"),
            ("rpcx://127.0.0.1:1/%ff", "not UTF-8"),
            ("unix:///run/a/b", "Unix socket"),
            ("rpcx://a:1,b:2/c", "several endpoints"),
        ] {
            let failure = Place::parse(url).err().unwrap();
            assert!(failure.code() == 2 && failure.line().contains(why), "{url}: {}", failure.line());
        }
    }

    #[test]
    fn times_are_read_at_a_glance() {
        let told = [5, 65, 3725].map(|seconds| duration(Duration::from_secs(seconds)));
        assert_eq!(told, ["5 s", "1:05 min", "1:02 h"]);
    }
}
