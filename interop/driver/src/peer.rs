//! The Go server that is called, and servers of the same program that a case starts and kills.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use trunkline::client::{Channel, ChannelBuilder};
use trunkline::{Code, Result, Serialization};

use crate::suite::{Check, Told, ensure, same};

/// How long a server may take until its `ready` line.
const START_LIMIT: Duration = Duration::from_secs(10);

/// The codecs that carry typed messages.
pub(crate) const CODECS: [(&str, Serialization); 4] = [
    ("json", Serialization::Json),
    ("msgpack", Serialization::MessagePack),
    ("protobuf", Serialization::Protobuf),
    ("thrift", Serialization::Thrift),
];

/// Which framework serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Rpcx,
    Easymicro,
}

/// The server under test.
pub(crate) struct Peer {
    pub(crate) kind: Kind,
    pub(crate) address: String,
    pub(crate) program: PathBuf,
}

impl Peer {
    pub(crate) fn url(&self, address: &str) -> String {
        match self.kind {
            Kind::Rpcx => format!("rpcx://{address}"),
            Kind::Easymicro => format!("easymicro://{address}"),
        }
    }

    pub(crate) fn builder(&self) -> ChannelBuilder {
        Channel::builder(&self.url(&self.address))
    }

    pub(crate) async fn channel(&self) -> Check<Channel> {
        self.builder().connect().await.told("connect")
    }

    /// The service that echoes typed messages.
    pub(crate) fn text_service(&self) -> &'static str {
        match self.kind {
            Kind::Rpcx => "Echo",
            Kind::Easymicro => "Text",
        }
    }
}

/// Nothing came on the channel that nobody waited for.
pub(crate) fn no_strays(channel: &Channel) -> Check {
    same("answers that nobody waited for", &channel.stats().stray_replies, &0)
}

/// A check for later, that the connection of now was not lost in between.
pub(crate) fn kept(channel: &Channel) -> impl FnOnce() -> Check + use<> {
    let mut state = channel.state();
    state.mark_unchanged();
    move || ensure(!state.has_changed().unwrap_or(true), || "the connection was lost".to_owned())
}

/// Wants a failure of this kind with exactly this text, and that it says where it happened.
pub(crate) fn fails<T>(what: &str, outcome: Result<T>, code: Code, text: &str) -> Check {
    let Err(status) = outcome else { return Err(format!("{what} was answered")) };
    same(format!("{what}: code of {status}"), &status.code(), &code)?;
    same(format!("{what}: text"), &status.message(), &text)?;
    ensure(status.origin().is_some(), || format!("{what}: {status:?} does not say where"))
}

/// A server that a case starts for itself. It is killed when it is dropped.
pub(crate) struct GoServer {
    child: Child,
    pub(crate) address: String,
    /// The other addresses of its `ready` line, `name=ADDR`.
    others: String,
}

impl GoServer {
    /// Starts it at an address (port 0: any), and waits until it serves.
    pub(crate) async fn start(program: &Path, address: &str) -> Check<Self> {
        let mut command = Command::new(program);
        command.args(["-addr", address]);
        Self::start_as(command).await
    }

    /// Starts it by this command, and waits until it serves.
    pub(crate) async fn start_as(command: Command) -> Check<Self> {
        tokio::task::spawn_blocking(move || Self::start_now(command)).await.told("start")?
    }

    fn start_now(mut command: Command) -> Check<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server =
            Self { child: command.spawn().told(&name)?, address: String::new(), others: String::new() };
        let stdout = server.child.stdout.take().ok_or("no stdout")?;
        let (send, receive) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(std::result::Result::ok) {
                // After the first line nobody listens; the pipe is still emptied.
                let _ = send.send(line);
            }
        });
        let line = receive.recv_timeout(START_LIMIT).unwrap_or_default();
        let ready = line.strip_prefix("ready ").unwrap_or_default();
        let (address, others) = ready.split_once(' ').unwrap_or((ready, ""));
        address.clone_into(&mut server.address);
        others.clone_into(&mut server.others);
        ensure(!server.address.is_empty(), || format!("{name} said {line:?}"))?;
        Ok(server)
    }

    /// Another address where it serves, by its name.
    pub(crate) fn other(&self, name: &str) -> Check<String> {
        let found = self.others.split(' ').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        found.map(str::to_owned).ok_or_else(|| format!("it does not say where {name} is"))
    }

    /// As `kill -9` does.
    pub(crate) fn kill(&mut self) -> Check {
        self.child.kill().and_then(|()| self.child.wait()).map(drop).told("kill")
    }
}

impl Drop for GoServer {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.kill();
        }
    }
}
