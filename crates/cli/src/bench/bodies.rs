//! What the calls carry: bodies that are encoded once, and templates that are encoded for each call.

use std::fmt::Write as _;

use trunkline::Serialization;
use trunkline::codec::dynamic;
use trunkline::message::Schema;

use crate::call;
use crate::exit::Failure;

/// The largest number that `{{rand}}` stands for.
const RAND_MOST: u32 = (1 << 31) - 1;

/// Bodies in turn.
pub(super) struct Bodies {
    all: Vec<Body>,
    codec: Serialization,
    schema: Option<Schema>,
}

enum Body {
    /// What the wire repeats.
    Fixed(Vec<u8>),
    Template(Vec<Piece>),
}

/// What one call carries.
pub(super) enum Carried<'a> {
    /// A body, to be encoded.
    Body(&'a [u8]),
    /// A call that was prepared, to be repeated.
    Call(&'a [u8]),
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Seq,
    Rand,
}

/// Memory and chance for templates; each thread has its own.
#[derive(Default)]
pub(super) struct Scratch {
    text: String,
    body: Vec<u8>,
    random: fastrand::Rng,
}

impl Bodies {
    /// The bodies as they were given, each of which is encoded once to see that it fits; `prepare` makes of a
    /// body what the wire repeats.
    pub(super) fn new(
        codec: Serialization,
        given: Vec<Option<Vec<u8>>>,
        how: &call::Bodies,
        prepare: impl Fn(&[u8]) -> Result<Vec<u8>, String>,
    ) -> Result<Self, Failure> {
        let schema = match how {
            call::Bodies::Json { request, .. } => request.clone(),
            call::Bodies::Bytes => None,
        };
        let mut bodies = Self { all: Vec::new(), codec, schema };
        for body in given {
            let pieces = match (&body, how) {
                (Some(bytes), call::Bodies::Json { .. }) => std::str::from_utf8(bytes).ok().and_then(pieces),
                _ => None,
            };
            let body = match pieces {
                None => {
                    let body = call::encode(codec, body, how)?;
                    Body::Fixed(prepare(&body).map_err(Failure::usage)?)
                }
                Some(pieces) => {
                    let mut scratch = Scratch::default();
                    let fits = bodies.fill(&pieces, 0, RAND_MOST, &mut scratch);
                    fits.map_err(Failure::usage)?;
                    Body::Template(pieces)
                }
            };
            bodies.all.push(body);
        }
        Ok(bodies)
    }

    /// What this call carries.
    ///
    /// # Errors
    /// What the template makes does not fit any more (a number has grown out of its field), and why.
    #[inline]
    pub(super) fn get<'a>(&'a self, seq: u64, scratch: &'a mut Scratch) -> Result<Carried<'a>, String> {
        let turn = match self.all.len() {
            0 | 1 => 0,
            // The remainder is below a length.
            n => usize::try_from(seq % n as u64).unwrap_or_default(),
        };
        match self.all.get(turn) {
            None => Ok(Carried::Body(&[])),
            Some(Body::Fixed(call)) => Ok(Carried::Call(call)),
            Some(Body::Template(pieces)) => {
                let random = scratch.random.u32(..=RAND_MOST);
                self.fill(pieces, seq, random, scratch)?;
                Ok(Carried::Body(&scratch.body))
            }
        }
    }

    fn fill(&self, pieces: &[Piece], seq: u64, random: u32, scratch: &mut Scratch) -> Result<(), String> {
        scratch.text.clear();
        scratch.body.clear();
        let mut random = Some(random);
        for piece in pieces {
            // Writing to a text cannot fail.
            _ = match piece {
                Piece::Text(text) => scratch.text.write_str(text),
                Piece::Seq => write!(scratch.text, "{seq}"),
                Piece::Rand => {
                    let number = random.take().unwrap_or_else(|| scratch.random.u32(..=RAND_MOST));
                    write!(scratch.text, "{number}")
                }
            };
        }
        dynamic::encode(self.codec, &scratch.text, self.schema.as_ref(), &mut scratch.body)
            .map_err(|error| format!("the body does not fit: {error}"))
    }
}

/// The pieces of a template; nothing where the text is none.
fn pieces(text: &str) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    loop {
        let found = [("{{seq}}", Piece::Seq), ("{{rand}}", Piece::Rand)]
            .into_iter()
            .filter_map(|(name, piece)| rest.split_once(name).map(|(before, after)| (before, after, piece)))
            .min_by_key(|(before, ..)| before.len());
        let Some((before, after, piece)) = found else { break };
        pieces.push(Piece::Text(before.to_owned()));
        pieces.push(piece);
        rest = after;
    }
    if pieces.is_empty() {
        return None;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    Some(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(given: &[&str]) -> Result<Bodies, Failure> {
        let given = given.iter().map(|text| Some(text.as_bytes().to_vec())).collect();
        Bodies::new(Serialization::Json, given, &call::Bodies::Json { request: None, reply: None }, |body| {
            Ok(body.to_vec())
        })
    }

    fn text(bodies: &Bodies, seq: u64) -> String {
        match bodies.get(seq, &mut Scratch::default()).unwrap() {
            Carried::Body(bytes) | Carried::Call(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    #[test]
    fn bodies_come_in_turn_and_templates_are_filled() {
        let bodies =
            json(&[r#"{"A":1}"#, r#"{"A":{{seq}},"B":"x{{seq}}"}"#, r#"[{{rand}},{{rand}}]"#]).unwrap();
        assert_eq!(text(&bodies, 0), r#"{"A":1}"#);
        assert_eq!(text(&bodies, 4), r#"{"A":4,"B":"x4"}"#);
        assert_eq!(text(&bodies, 3), r#"{"A":1}"#);
        let [a, b]: [u32; 2] = serde_json::from_str(&text(&bodies, 2)).unwrap();
        assert!(a <= RAND_MOST && b <= RAND_MOST && (a, b) != (0, 0));
        assert_ne!(text(&bodies, 2), text(&bodies, 2));
    }

    #[test]
    fn what_does_not_fit_is_said_at_once() {
        assert!(json(&["{"]).is_err());
        assert!(json(&[r#"{"A":{{seq}}"#]).is_err());
        assert_eq!(pieces("{{other}} {seq}"), None);
    }

    #[test]
    fn raw_bytes_are_no_template() {
        let given = vec![Some(b"{{seq}}".to_vec()), None];
        let bodies =
            Bodies::new(Serialization::Raw, given, &call::Bodies::Bytes, |body| Ok(body.to_vec())).unwrap();
        assert_eq!((text(&bodies, 0), text(&bodies, 1)), ("{{seq}}".to_owned(), String::new()));
    }
}
