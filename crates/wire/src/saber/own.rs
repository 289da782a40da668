//! What Trunkline nodes say to each other in frames of type 6.
//!
//! | bytes | hello (kind 1) | hint (kind 2) | code (kind 3) |
//! | --- | --- | --- | --- |
//! | 4+1 | length, type 6 | length, type 6 | length, type 6 |
//! | 1 | 1 | 2 | 3 |
//! | 1 / 4 | 1: an answer is wanted, 0: this is it | milliseconds that the caller waits; all ones: not said | two bytes: the failure's code |
//! | 1+n | name of the node | number of services in the chain, then for each: name (2+n) | |
//!
//! A stop (kind 4) has no fields.
//!
//! What follows these fields is for later versions, and passed over.

use super::OWN;
use crate::Reader;

const HELLO: u8 = 1;
const HINT: u8 = 2;
const CODE: u8 = 3;
const STOP: u8 = 4;

/// The longest chain that travels; of a longer one the end does.
const LINKS: usize = 64;

/// The longest name of a service in a chain, in bytes: its node's name, its own and its number.
const LONGEST_NAME: usize = 600;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The other end wants to know who is here.
    pub asks: bool,
    /// The name of its node.
    pub cluster: &'a str,
}

/// What a request has no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hint<'a> {
    /// How long the caller still waits, in milliseconds, where it says so.
    pub left: Option<u32>,
    /// The serial services that wait for this call, the first caller first.
    pub chain: Chain<'a>,
}

/// The names of a chain of services, as it lies in the frame. All of it was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Chain<'a>(&'a [u8]);

impl<'a> Chain<'a> {
    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names of the services, the first caller first.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut reader = Reader::new(self.0);
        std::iter::from_fn(move || link(&mut reader))
    }
}

fn link<'a>(reader: &mut Reader<'a>) -> Option<&'a str> {
    let length = usize::from(u16::from_be_bytes(reader.array()?));
    std::str::from_utf8(reader.bytes(length)?).ok()
}

fn text<'a>(reader: &mut Reader<'a>) -> Option<&'a str> {
    let length = usize::from(reader.u8()?);
    std::str::from_utf8(reader.bytes(length)?).ok()
}

/// A frame of type 6, from behind its type.
#[derive(Debug)]
pub(super) enum Own<'a> {
    Hello(Hello<'a>),
    Hint(Hint<'a>),
    Code(u16),
    Stop,
}

impl<'a> Own<'a> {
    /// `None` where it is none that is known, or broken.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            HELLO => Some(Self::Hello(Hello { asks: reader.u8()? == 1, cluster: text(&mut reader)? })),
            HINT => {
                let left = Some(reader.u32()?).filter(|left| *left != u32::MAX);
                let links = reader.u8()?;
                let all = reader.rest();
                let mut end = reader;
                for _ in 0..links {
                    link(&mut end)?;
                }
                let length = all.len().checked_sub(end.rest().len())?;
                Some(Self::Hint(Hint { left, chain: Chain(all.get(..length)?) }))
            }
            CODE => Some(Self::Code(u16::from_be_bytes(reader.array()?))),
            STOP => Some(Self::Stop),
            _ => None,
        }
    }
}

/// As much of a text as its length in one byte can say.
pub(super) fn cut(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or_default()
}

fn short(text: &str, out: &mut Vec<u8>) {
    let text = cut(text, 255);
    out.push(u8::try_from(text.len()).unwrap_or(0));
    out.extend_from_slice(text.as_bytes());
}

fn frame(kind: u8, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, OWN, kind]);
    fill(out);
    super::encode::set_length(start, out);
}

/// Appends the code of the failure that follows.
pub fn write_code(code: u16, out: &mut Vec<u8>) {
    frame(CODE, out, |out| out.extend_from_slice(&code.to_be_bytes()));
}

/// Appends that the node stops, or that this was heard.
pub fn write_stop(out: &mut Vec<u8>) {
    frame(STOP, out, |_| {});
}

impl Hello<'_> {
    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        frame(HELLO, out, |out| {
            out.push(u8::from(self.asks));
            short(self.cluster, out);
        });
    }
}

impl Hint<'_> {
    /// Appends a hint: how long the caller waits, in milliseconds, and the names of the chain, of which at most the last 64
    /// are said.
    pub fn write<'n>(left: Option<u32>, chain: impl ExactSizeIterator<Item = &'n str>, out: &mut Vec<u8>) {
        let skipped = chain.len().saturating_sub(LINKS);
        frame(HINT, out, |out| {
            out.extend_from_slice(&left.unwrap_or(u32::MAX).to_be_bytes());
            out.push(u8::try_from(chain.len().min(LINKS)).unwrap_or(0));
            for name in chain.skip(skipped) {
                let name = cut(name, LONGEST_NAME);
                out.extend_from_slice(&u16::try_from(name.len()).unwrap_or(0).to_be_bytes());
                out.extend_from_slice(name.as_bytes());
            }
        });
    }
}
