//! saber's wire as the load tool drives it: each place for a call is a caller, a mailbox service with a handle of its own.

use std::collections::HashMap;
use std::sync::Arc;

use trunkline::wire::Limits;
use trunkline::wire::saber::{self, Decoder, Frame, Handle, Hello, Hint, Request, write_stop};

use super::exchange::{Exchange, Heard, message};
use super::plan::Target;
use crate::endpoint::REPLY_LIMIT;
use crate::exit::Failure;
use crate::saber::service_of;

/// What the callers are called, and the number of the first one, as in saber's own stress test.
const CALLERS: &str = "trunkline_bench";
const FIRST_CALLER: u64 = 2;
/// The first of the services that `--services` spreads the callers over.
const FIRST_SERVICE: u64 = 101;
/// What `Gid` is beside the caller's number in saber's own stress test.
const GID: u64 = 10_100_000;

/// Who calls whom, with what.
#[derive(Default)]
pub(super) struct Callers {
    /// The callers' handles, and whom each calls.
    all: Vec<(Handle, Handle)>,
    /// The places of the callers by their handles.
    places: HashMap<Handle, u32>,
    /// The bodies of saber's own stress test, one a caller; empty where bodies were given.
    logins: Vec<Vec<u8>>,
    /// The names of the callers' node, and of the one that is called.
    from: String,
    to: String,
}

impl Callers {
    /// So many callers of the node `from` for `service`, which is `Name` or `Name/ID`, at the node `to`. With `spread` the
    /// caller of number i calls the service of number 101 + i mod `spread`. With `login` they carry what saber's own stress
    /// test sends, and where nobody says, all call number 101 as there.
    ///
    /// # Errors
    /// The name has no number that is one, or one that `spread` says already; and which.
    pub(super) fn new(
        (from, to): (&str, &str),
        service: &str,
        spread: Option<u64>,
        callers: u32,
        login: bool,
    ) -> Result<Self, Failure> {
        let numbered = service.contains('/');
        if numbered && spread.is_some() {
            return Err(Failure::usage(format!("'{service}': --services says the numbers")));
        }
        let (name, id) = service_of(service)?;
        let spread = spread.or((login && !numbered).then_some(1));
        let numbers = (FIRST_CALLER..).take(callers as usize);
        let called = |caller: u64| match spread {
            Some(spread) => FIRST_SERVICE + caller % spread.max(1),
            None => id.into(),
        };
        let all: Vec<_> = numbers
            .clone()
            .map(|caller| (Handle::new(from, CALLERS, caller), Handle::new(to, name, called(caller))))
            .collect();
        let places: HashMap<_, _> = all.iter().map(|(caller, _)| *caller).zip(0..).collect();
        if places.len() != all.len() {
            let text = "two of the callers have the same handle: take another name with --node";
            return Err(Failure::usage(text));
        }
        let body = |caller| {
            let name = fastrand::u32(..);
            format!(r#"{{"Gid":{},"Name":"{name:08x}"}}"#, GID + caller).into_bytes()
        };
        let logins = if login { numbers.map(body).collect() } else { Vec::new() };
        Ok(Self { all, places, logins, from: from.to_owned(), to: to.to_owned() })
    }
}

/// The callers' side of a connection.
pub(super) struct Saber {
    decoder: Decoder,
    callers: Arc<Callers>,
    /// How many bytes of bodies came with answers since that was asked last.
    bodies: u64,
}

/// The place of a call, and the number of its use as the wire's session, which is never 0.
fn parts(id: u64) -> (usize, u32) {
    let [index, used] = [id & u64::from(u32::MAX), id >> 32].map(|part| u32::try_from(part).unwrap_or(0));
    (index as usize, used.wrapping_add(1).max(1))
}

impl Exchange for Saber {
    fn new(target: &Target) -> Self {
        let mut limits = Limits::default();
        limits.body = REPLY_LIMIT;
        let callers = target.callers.as_ref().map(Arc::clone).unwrap_or_default();
        Self { decoder: Decoder::new(&limits), callers, bodies: 0 }
    }

    /// Asks a Trunkline node for its name. A Go node passes over it.
    fn greet(&mut self, out: &mut Vec<u8>) {
        Hello { asks: true, cluster: &self.callers.from }.encode(out);
    }

    #[inline]
    fn call(&mut self, target: &Target, id: u64, body: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let (index, session) = parts(id);
        let &(source, destination) = self.callers.all.get(index).ok_or("no such caller")?;
        let body = self.callers.logins.get(index).map_or(body, Vec::as_slice);
        if let Some(left) = target.timeout.as_ref().and_then(|timeout| timeout.parse().ok()) {
            Hint::write(Some(left), std::iter::empty(), out);
        }
        let request = Request { source, session, destination, method: target.method.as_bytes() };
        let mark = saber::begin_request(&request, out).map_err(|error| error.to_string())?;
        out.extend_from_slice(body);
        saber::finish(mark, REPLY_LIMIT, out).map_err(|error| error.to_string())
    }

    #[inline]
    fn receive(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(usize, Heard), String> {
        let step = self.decoder.step(input).map_err(|error| error.to_string())?;
        let (response, body) = match step.next {
            saber::Next::Frame(Frame::Response(response, body)) => (response, body.len()),
            saber::Next::ResponseTooLarge(response, body) => (response, body),
            saber::Next::NeedMore(length) => return Ok((step.consumed, Heard::NeedMore(length))),
            saber::Next::Frame(Frame::Hello(hello)) if hello.cluster != self.callers.to => {
                let (is, not) = (hello.cluster.escape_debug(), &self.callers.to);
                let text = format!("the node is {is}, not {not}: call saber://HOST:PORT/{is}");
                return Ok((step.consumed, Heard::Stranger(text)));
            }
            saber::Next::Frame(Frame::Stop) => {
                // No call leaves behind it.
                write_stop(out);
                return Ok((step.consumed, Heard::Draining));
            }
            _ => return Ok((step.consumed, Heard::Nothing)),
        };
        let Some(place) = self.callers.places.get(&response.destination) else {
            return Ok((step.consumed, Heard::Nothing));
        };
        let id = u64::from(response.session.wrapping_sub(1)) << 32 | u64::from(*place);
        let heard = match response.failure {
            _ if body > REPLY_LIMIT => {
                let text = format!("the reply's body of {body} bytes is over the limit of {REPLY_LIMIT}");
                Heard::Failure(id, text)
            }
            Some((_, text)) => Heard::Failure(id, message(String::from_utf8_lossy(text))),
            None => {
                self.bodies += body as u64;
                Heard::Answer(id)
            }
        };
        Ok((step.consumed, heard))
    }

    fn take_bodies(&mut self) -> u64 {
        std::mem::take(&mut self.bodies)
    }

    /// A late answer finds nobody.
    fn give_up(&mut self, _: u64, _: &mut Vec<u8>) -> bool {
        true
    }

    fn ping(&mut self, _: &mut Vec<u8>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_spread_as_saber_spreads_them() {
        let callers = Callers::new(("a", "b"), "lobby", Some(4), 6, true).unwrap();
        let called = [103, 104, 101, 102, 103, 104].map(|id| Handle::new("b", "lobby", id));
        assert_eq!(callers.all.iter().map(|(_, called)| *called).collect::<Vec<_>>(), called);
        assert_eq!(callers.all.first().unwrap().0, Handle::new("a", "trunkline_bench", 2));
        let body: serde_json::Value = serde_json::from_slice(callers.logins.last().unwrap()).unwrap();
        assert_eq!(body["Gid"], 10_100_007);
        let one = Callers::new(("a", "b"), "Count/7", None, 1, false).unwrap();
        assert_eq!(one.all.first().unwrap().1, Handle::new("b", "Count", 7));
        let login = Callers::new(("a", "b"), "lobby", None, 1, true).unwrap();
        assert_eq!(login.all.first().unwrap().1, Handle::new("b", "lobby", 101));
        for (service, spread) in [("lobby/x", None), ("lobby/1", Some(4))] {
            assert!(Callers::new(("a", "b"), service, spread, 1, false).is_err(), "{service}");
        }
    }
}
