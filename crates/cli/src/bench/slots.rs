//! The calls in flight on one connection: each id is of one call, and completes it once.

/// One call in flight.
#[derive(Debug, Clone, Copy)]
pub(super) struct InFlight {
    /// What its latency counts from, in nanoseconds of the run.
    pub(super) begun: u64,
    /// What its timeout counts from.
    pub(super) sent: u64,
}

/// A place for a call. An id is the place's index with the number of its use, so that an answer which is late,
/// doubled or made up finds nobody.
#[derive(Debug)]
struct Slot {
    used: u32,
    call: Option<InFlight>,
}

#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    busy: usize,
    most: u32,
    /// How many calls each place makes at most.
    each: u32,
}

impl Slots {
    /// Places for so many calls; memory is taken as they are used. Each place has `each` calls, one after the other, and
    /// then no more.
    pub(super) fn new(most: u32, each: u32) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), busy: 0, most, each }
    }

    /// How many calls are in flight.
    pub(super) fn busy(&self) -> usize {
        self.busy
    }

    /// How many calls are in flight at most.
    pub(super) fn most(&self) -> usize {
        self.most as usize
    }

    pub(super) fn has_free(&self) -> bool {
        !self.free.is_empty() || self.slots.len() < self.most as usize
    }

    /// Gives the call a place; nothing where all are taken.
    pub(super) fn insert(&mut self, call: InFlight) -> Option<u64> {
        let Some(index) = self.free.pop() else {
            let index = u32::try_from(self.slots.len()).ok().filter(|index| *index < self.most)?;
            self.slots.push(Slot { used: 0, call: Some(call) });
            self.busy += 1;
            return Some(u64::from(index));
        };
        let slot = self.slots.get_mut(index as usize)?;
        slot.call = Some(call);
        self.busy += 1;
        Some(u64::from(slot.used) << 32 | u64::from(index))
    }

    /// Ends the call of this id; nothing where there is none.
    pub(super) fn remove(&mut self, id: u64) -> Option<InFlight> {
        let [index, used] = [id & u64::from(u32::MAX), id >> 32];
        let slot = self.slots.get_mut(usize::try_from(index).ok()?)?;
        if u64::from(slot.used) != used {
            return None;
        }
        let call = slot.call.take()?;
        slot.used = slot.used.wrapping_add(1);
        self.busy -= 1;
        if slot.used != self.each {
            self.free.push(u32::try_from(index).ok()?);
        }
        Some(call)
    }

    /// Ends all calls that were sent at this time or before, and says which.
    pub(super) fn expire(&mut self, time: u64, mut ended: impl FnMut(u64, InFlight)) {
        for (index, slot) in (0..).zip(&mut self.slots) {
            if let Some(call) = slot.call.take_if(|call| call.sent <= time) {
                ended(u64::from(slot.used) << 32 | u64::from(index), call);
                slot.used = slot.used.wrapping_add(1);
                self.busy -= 1;
                if slot.used != self.each {
                    self.free.push(index);
                }
            }
        }
    }

    /// Ends all calls.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = InFlight> {
        self.busy = 0;
        self.free.clear();
        self.slots.drain(..).filter_map(|slot| slot.call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(sent: u64) -> InFlight {
        InFlight { begun: sent, sent }
    }

    #[test]
    fn an_id_completes_one_call_once() {
        let mut slots = Slots::new(2, u32::MAX);
        let (a, b) = (slots.insert(call(1)).unwrap(), slots.insert(call(2)).unwrap());
        assert!(slots.insert(call(3)).is_none() && !slots.has_free());
        assert_eq!(slots.remove(b).unwrap().begun, 2);
        assert!(slots.remove(b).is_none(), "doubled");
        let again = slots.insert(call(4)).unwrap();
        assert_ne!(again, b);
        assert!(slots.remove(b).is_none(), "late");
        assert!(slots.remove(7).is_none() && slots.remove(u64::MAX).is_none(), "made up");
        assert_eq!(slots.busy(), 2);
        let mut ended = Vec::new();
        slots.expire(1, |id, call| ended.push((id, call.sent)));
        assert_eq!(ended, [(a, 1)]);
        assert!(slots.remove(a).is_none(), "expired");
        assert_eq!(slots.drain().map(|call| call.begun).collect::<Vec<_>>(), [4]);
        assert_eq!((slots.busy(), slots.has_free()), (0, true));
    }

    #[test]
    fn a_place_makes_so_many_calls_and_no_more() {
        let mut slots = Slots::new(2, 2);
        for _ in 0..2 {
            let (a, b) = (slots.insert(call(1)).unwrap(), slots.insert(call(1)).unwrap());
            slots.remove(a).unwrap();
            slots.expire(1, |id, _| assert_eq!(id, b));
        }
        assert!(!slots.has_free() && slots.insert(call(1)).is_none());
        assert_eq!(slots.busy(), 0);
    }
}
