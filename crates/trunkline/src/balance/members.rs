//! The endpoints of a client at a moment, with the turns of those that take calls.

use std::sync::Arc;

use super::Member;

/// The most turns in a round. Where the weights need more they are rounded; no endpoint is left out.
const TURNS: u32 = 65_536;

/// The endpoints of a client at a moment, in the order in which they were added. It does not change: where endpoints
/// come, go, pause or return there is another one.
#[derive(Debug)]
pub struct Members {
    all: Arc<[Arc<Member>]>,
    /// The places of those that take calls.
    open: Box<[usize]>,
    /// The places in the order of their turns, each as often as its weight says; empty where weights do not differ.
    turns: Box<[usize]>,
}

impl Members {
    pub(crate) fn new(all: Arc<[Arc<Member>]>, is_open: impl Fn(usize) -> bool) -> Self {
        let open: Box<[usize]> = (0..all.len()).filter(|place| is_open(*place)).collect();
        let weights: Vec<(usize, u32)> =
            open.iter().filter_map(|place| Some((*place, all.get(*place)?.endpoint().weight()))).collect();
        let turns = turns(&weights);
        Self { all, open, turns }
    }

    /// The same endpoints, of which others are open.
    pub(crate) fn with_open(&self, is_open: impl Fn(usize) -> bool) -> Self {
        Self::new(Arc::clone(&self.all), is_open)
    }

    /// How many endpoints there are, paused ones too.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The endpoint of a place.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<&Member> {
        self.all.get(place).map(|member| &**member)
    }

    /// All endpoints.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.all.iter().map(|member| &**member)
    }

    /// The places of those that take calls.
    #[must_use]
    pub fn open(&self) -> &[usize] {
        &self.open
    }

    /// Whether the weights of those that take calls differ.
    #[must_use]
    pub fn is_weighted(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Whose turn number `number` is: counted up, every open endpoint comes as often as its weight says, evenly spread.
    /// 0 where none is open.
    #[must_use]
    pub fn turn(&self, number: usize) -> usize {
        let turns = if self.turns.is_empty() { &self.open } else { &self.turns };
        let place = number.checked_rem(turns.len()).and_then(|turn| turns.get(turn));
        place.copied().unwrap_or_default()
    }
}

/// The turns of endpoints with these weights. Each would like its turns evenly spread over the round; the turns are
/// those wishes in order, begun apart so that endpoints of one weight do not come in a row.
fn turns(weights: &[(usize, u32)]) -> Box<[usize]> {
    let Some((_, first)) = weights.first() else { return Box::default() };
    if weights.iter().all(|(_, weight)| weight == first) {
        return Box::default();
    }
    let common = weights.iter().fold(0, |common, (_, weight)| common_divisor(common, *weight)).max(1);
    let all: u32 = weights.iter().map(|(_, weight)| weight / common).sum();
    let scale = (f64::from(TURNS) / f64::from(all)).min(1.0);
    let mut wishes: Vec<(f64, usize)> = Vec::new();
    let count = f64::from(u32::try_from(weights.len()).unwrap_or(u32::MAX));
    let mut begins = 0.5 / count;
    for (place, weight) in weights {
        let weight = f64::from(weight / common) * scale;
        let mut wish = begins;
        loop {
            wishes.push((wish / weight, *place));
            wish += 1.0;
            if wish >= weight {
                break;
            }
        }
        begins += 1.0 / count;
    }
    wishes.sort_by(|a, b| a.0.total_cmp(&b.0));
    wishes.into_iter().map(|(_, place)| place).collect()
}

fn common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}
