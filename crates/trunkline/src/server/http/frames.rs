//! The framer by itself, for the fuzz target: what passes of a stream of bytes that comes in pieces.

use super::framer::{Framer, Step};

/// What the framer makes of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frames {
    /// Where the heads begin that were passed.
    pub heads: Vec<usize>,
    /// How many bytes were passed.
    pub passed: usize,
    /// How it ended.
    pub end: FramesEnd,
}

/// How a stream ended for the framer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FramesEnd {
    /// It waits for more bytes.
    NeedMore,
    /// Behind a head of so many bytes it is not HTTP any more.
    Leave(usize),
    /// It is refused with this status, so many bytes behind what was passed.
    Refused(u16, u64),
}

/// Gives `stream` to a framer in pieces of so many bytes.
#[must_use]
pub fn frames(stream: &[u8], piece: usize) -> Frames {
    let mut framer = Framer::default();
    let mut heads = Vec::new();
    let (mut passed, mut come) = (0usize, 0usize);
    let end = loop {
        let before = framer.heads();
        match framer.step(stream.get(passed..come).unwrap_or_default()) {
            Ok(Step::Pass(length)) => {
                if framer.heads() > before {
                    heads.push(passed);
                }
                passed = passed.saturating_add(length);
            }
            Ok(Step::NeedMore) if come < stream.len() => {
                come = come.saturating_add(piece.max(1)).min(stream.len());
            }
            Ok(Step::NeedMore) => break FramesEnd::NeedMore,
            Ok(Step::Leave(length, _)) => break FramesEnd::Leave(length),
            Err(refusal) => break FramesEnd::Refused(refusal.status, refusal.at),
        }
    };
    Frames { heads, passed, end }
}
