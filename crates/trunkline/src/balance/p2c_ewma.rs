//! The better of two, by latency and calls in flight.

use std::time::Duration;

use tokio::time::Instant;

use super::random::any;
use super::{Member, Members, Picker};
use crate::{Call, Result, random};

/// Of two endpoints by chance (each as likely as its weight says), the one with less latency times calls in flight.
/// Latency is a moving average that jumps up with a slow call and sinks within some 10 s. Before both are known, calls
/// in flight alone count.
#[derive(Debug, Default)]
pub struct P2cEwma(());

impl P2cEwma {
    /// Chance comes from [`crate::random`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Picker for P2cEwma {
    fn pick(&self, members: &Members, _call: &Call) -> Result<usize> {
        let (one, mut other) = (any(members), any(members));
        if one == other {
            // The one behind it in a list of at least two is another one.
            let open = members.open();
            let from = random::number();
            let turn = |offset: usize| {
                let at = from.wrapping_add(offset).checked_rem(open.len())?;
                open.get(at).copied()
            };
            other = turn(0).filter(|place| *place != one).or_else(|| turn(1)).unwrap_or(one);
        }
        let (Some(a), Some(b)) = (members.get(one), members.get(other)) else { return Ok(one) };
        Ok(if worse(a, b, Instant::now()) { other } else { one })
    }

    fn wants_latency(&self) -> bool {
        true
    }
}

/// Whether `a` costs more than `b`.
fn worse(a: &Member, b: &Member, now: Instant) -> bool {
    // Between endpoints that are both busy the heavier one may have more calls in flight.
    let pending = |member: &Member| {
        let pending = f64::from(u32::try_from(member.pending()).unwrap_or(u32::MAX));
        pending / f64::from(member.endpoint().weight().max(1))
    };
    let (mut pending_a, mut pending_b) = (pending(a), pending(b));
    let weight = f64::from(a.endpoint().weight().max(b.endpoint().weight()).max(1));
    (pending_a, pending_b) = (pending_a * weight + 1.0, pending_b * weight + 1.0);
    let cost = |latency: Duration, pending: f64| latency.as_secs_f64() * pending;
    match (a.latency.get(now), b.latency.get(now)) {
        (Some(of_a), Some(of_b)) => cost(of_a, pending_a) > cost(of_b, pending_b),
        _ => pending_a > pending_b,
    }
}
