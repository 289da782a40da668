//! A hierarchical timing wheel: inserting and cancelling take the same time however many timers there are.
//!
//! Six levels of 128 slots; a slot has 64 times as many ticks as one of the level below, and a level reaches to the end
//! of the next slot of the level above. So a slot above may be emptied into the level below a whole slot before its first
//! tick, and timers move down while nothing is due: a million of them that move at once make no other one late. It knows
//! no clock: ticks are numbers. What is due is popped one by one, and so are timers moved down, so that nobody who shares
//! the wheel waits long for it.

const LEVELS: usize = 6;
const BITS: u32 = 6;
const WIDTH: usize = 2 << BITS;
const SLOTS: u64 = WIDTH as u64;
/// A timer that is farther off than this stands as if it were so far off, and is looked at again then.
const FARTHEST: u64 = ((1 << BITS) - 1) << (BITS * 5);
/// Entries are kept in pages, so that growing moves none of them.
const PAGE: usize = 1024;
const NONE: u32 = u32::MAX;
/// The list of a timer that is due and in none.
const DUE: u16 = u16::MAX;

/// What a timer is cancelled by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    index: u32,
    number: u32,
}

struct Entry<A> {
    due: u64,
    next: u32,
    before: u32,
    /// Tells it from those that had its place before; 0 where it is free.
    number: u32,
    list: u16,
    action: Option<A>,
}

#[derive(Clone, Copy)]
struct Level {
    occupied: u128,
    heads: [u32; WIDTH],
}

/// See the module.
pub(crate) struct Wheel<A> {
    /// All ticks before this one are over.
    now: u64,
    levels: Box<[Level; LEVELS]>,
    pages: Vec<Box<[Entry<A>]>>,
    /// The free entries, by `next`.
    free: u32,
    number: u32,
    len: usize,
}

/// What [`Wheel::pop`] found.
pub(crate) enum Popped<A> {
    /// A timer is due. Its place is kept until it is set again or let go.
    Due(Key, A),
    /// Timers were moved; there may be more to do.
    Moved,
    /// Nothing is due.
    Nothing,
}

impl<A> Default for Wheel<A> {
    fn default() -> Self {
        let levels = Box::new([Level { occupied: 0, heads: [NONE; WIDTH] }; LEVELS]);
        Self { now: 0, levels, pages: Vec::new(), free: NONE, number: 0, len: 0 }
    }
}

impl<A> Wheel<A> {
    /// How many timers are pending.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a timer for a tick; one that is over is due at once. None where there are too many timers already.
    pub(crate) fn insert(&mut self, due: u64, action: A) -> Option<Key> {
        if self.free == NONE {
            self.grow()?;
        }
        let index = self.free;
        self.number = self.number.wrapping_add(1).max(1);
        let number = self.number;
        let entry = self.entry(index)?;
        let free = entry.next;
        *entry = Entry { due, next: NONE, before: NONE, number, list: 0, action: Some(action) };
        self.free = free;
        self.len += 1;
        self.link(index, due);
        Some(Key { index, number })
    }

    /// Takes a timer out, unless it was due or cancelled before.
    pub(crate) fn cancel(&mut self, key: Key) -> Option<A> {
        let entry = self.entry(key.index).filter(|entry| entry.number == key.number)?;
        let action = entry.action.take();
        self.unlink(key.index);
        self.release(key.index);
        action
    }

    /// Sets a timer that was due again: for the first tick after `over` that is some times `every` after the one that it
    /// was set for. So ticks that were missed are left out. Gives the action back where it was cancelled meanwhile.
    pub(crate) fn again(&mut self, key: Key, every: u64, over: u64, action: A) -> Result<(), A> {
        let Some(entry) = self.entry(key.index).filter(|entry| entry.number == key.number) else {
            return Err(action);
        };
        entry.action = Some(action);
        let (every, due) = (every.max(1), entry.due);
        let times = over.saturating_sub(due) / every + 1;
        let next = due.saturating_add(times.saturating_mul(every));
        entry.due = next;
        self.link(key.index, next);
        Ok(())
    }

    /// What a pending timer does.
    pub(crate) fn action(&mut self, key: Key) -> Option<&mut A> {
        self.entry(key.index).filter(|entry| entry.number == key.number)?.action.as_mut()
    }

    /// The first tick at which there is something to do.
    pub(crate) fn next(&self) -> Option<u64> {
        let ready = self.above().map(|(level, slot)| slot.saturating_sub(1) << bits(level));
        self.first(0).into_iter().chain(ready).min().map(|tick| tick.max(self.now))
    }

    /// Goes on to a tick, as far as the next timer that is due by then; timers that may move down do so when none is.
    pub(crate) fn pop(&mut self, to: u64) -> Popped<A> {
        let due = self.first(0).filter(|tick| *tick <= to);
        // What begins above by then may be due as well.
        let begins = self.above().map(|(level, slot)| (slot << bits(level), level, slot)).min();
        if let Some((tick, level, slot)) = begins
            && tick <= due.unwrap_or(to)
        {
            self.now = self.now.max(tick);
            return self.move_down(level, slot);
        }
        let Some(tick) = due else {
            self.now = self.now.max(to);
            let ready = self.above().find(|(level, slot)| slot - (self.now >> bits(*level)) <= 1);
            return ready.map_or(Popped::Nothing, |(level, slot)| self.move_down(level, slot));
        };
        self.now = self.now.max(tick);
        let head = self.take(0, tick);
        let Some(entry) = self.entry(head) else { return Popped::Nothing };
        (entry.next, entry.before, entry.list) = (NONE, NONE, DUE);
        let (action, number) = (entry.action.take(), entry.number);
        match action {
            Some(action) => Popped::Due(Key { index: head, number }, action),
            None => Popped::Moved,
        }
    }

    /// The first slot of a level that has timers; slots are counted from tick 0.
    fn first(&self, level: usize) -> Option<u64> {
        let occupied = self.levels.get(level)?.occupied;
        let slot = self.now >> bits(level);
        (occupied != 0).then(|| slot + u64::from(occupied.rotate_right(place(slot)).trailing_zeros()))
    }

    /// The levels above the lowest that have timers, each with its first slot.
    fn above(&self) -> impl Iterator<Item = (usize, u64)> {
        (1..LEVELS).filter_map(|level| Some((level, self.first(level)?)))
    }

    /// Takes a timer out of a slot.
    fn take(&mut self, level: usize, slot: u64) -> u32 {
        let heads = self.levels.get(level).map(|level| &level.heads);
        let head = heads.and_then(|heads| heads.get(index(slot))).copied().unwrap_or(NONE);
        self.unlink(head);
        head
    }

    /// Puts a timer of a slot to where it stands by now.
    fn move_down(&mut self, level: usize, slot: u64) -> Popped<A> {
        let head = self.take(level, slot);
        let Some(entry) = self.entry(head) else { return Popped::Nothing };
        let due = entry.due;
        self.link(head, due);
        Popped::Moved
    }

    fn link(&mut self, timer: u32, due: u64) {
        let due = due.clamp(self.now, self.now.saturating_add(FARTHEST));
        // The lowest level that reaches so far.
        let reaches = |level: &usize| (due >> bits(level + 1)) - (self.now >> bits(level + 1)) <= 1;
        let level = (0..LEVELS).find(reaches).unwrap_or(LEVELS - 1);
        let slot = due >> bits(level);
        let Some(list) = self.levels.get_mut(level) else { return };
        list.occupied |= 1 << place(slot);
        let head = list.heads.get_mut(index(slot)).map_or(NONE, |head| std::mem::replace(head, timer));
        if let Some(head) = self.entry(head) {
            head.before = timer;
        }
        if let Some(entry) = self.entry(timer) {
            entry.next = head;
            entry.before = NONE;
            entry.list = u16::try_from(level * WIDTH + index(slot)).unwrap_or(0);
        }
    }

    fn unlink(&mut self, index: u32) {
        let Some(entry) = self.entry(index) else { return };
        let (next, before, list) = (entry.next, entry.before, usize::from(entry.list));
        if let Some(next) = self.entry(next) {
            next.before = before;
        }
        match self.entry(before) {
            Some(before) => before.next = next,
            None => {
                let Some(level) = self.levels.get_mut(list / WIDTH) else { return };
                if let Some(head) = level.heads.get_mut(list % WIDTH) {
                    *head = next;
                }
                if next == NONE {
                    level.occupied &= !(1 << (list % WIDTH));
                }
            }
        }
    }

    fn release(&mut self, index: u32) {
        let free = self.free;
        if let Some(entry) = self.entry(index) {
            entry.number = 0;
            entry.next = free;
        }
        self.free = index;
        self.len -= 1;
        if self.len == 0 && self.pages.len() > 1 {
            self.pages.clear();
            self.free = NONE;
        }
    }

    fn grow(&mut self) -> Option<()> {
        let start = u32::try_from(self.pages.len().checked_mul(PAGE)?).ok()?;
        let end = start.checked_add(u32::try_from(PAGE).ok()?)?;
        let free = |index: u32| Entry {
            due: 0,
            next: if index + 1 == end { NONE } else { index + 1 },
            before: NONE,
            number: 0,
            list: 0,
            action: None,
        };
        self.pages.push((start..end).map(free).collect());
        self.free = start;
        Some(())
    }

    fn entry(&mut self, index: u32) -> Option<&mut Entry<A>> {
        let index = usize::try_from(index).ok()?;
        self.pages.get_mut(index / PAGE)?.get_mut(index % PAGE)
    }
}

/// How many bits of a tick do not say in which slot of a level it is.
fn bits(level: usize) -> u32 {
    u32::try_from(level).unwrap_or(0) * BITS
}

/// Where a slot stands in its level.
fn place(slot: u64) -> u32 {
    u32::try_from(slot % SLOTS).unwrap_or(0)
}

fn index(slot: u64) -> usize {
    usize::try_from(slot % SLOTS).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All that is due by then, in its order.
    fn due<A>(wheel: &mut Wheel<A>, to: u64) -> Vec<A> {
        let mut all = Vec::new();
        loop {
            match wheel.pop(to) {
                Popped::Due(key, action) => {
                    all.push(action);
                    wheel.cancel(key);
                }
                Popped::Moved => {}
                Popped::Nothing => return all,
            }
        }
    }

    /// The first that is due by then.
    fn one<A>(wheel: &mut Wheel<A>, to: u64) -> (Key, A) {
        loop {
            match wheel.pop(to) {
                Popped::Due(key, action) => return (key, action),
                Popped::Moved => {}
                Popped::Nothing => panic!("nothing is due"),
            }
        }
    }

    #[test]
    fn timers_are_due_in_their_order() {
        let mut wheel = Wheel::default();
        let ticks = [5, 64, 63, 4096, 1, 4095, 262_144, 1 << 36, 1 << 40, 0, 5];
        for tick in ticks {
            wheel.insert(tick, tick).unwrap();
        }
        let mut sorted = ticks.to_vec();
        sorted.sort_unstable();
        assert_eq!(due(&mut wheel, 1 << 41), sorted);
        assert_eq!((wheel.len(), wheel.next()), (0, None));
    }

    #[test]
    fn a_cancelled_timer_is_gone_and_its_key_with_it() {
        let mut wheel = Wheel::default();
        let key = wheel.insert(10, 'a').unwrap();
        assert_eq!(wheel.cancel(key), Some('a'));
        let other = wheel.insert(10, 'b').unwrap();
        assert_eq!((wheel.cancel(key), wheel.action(other)), (None, Some(&mut 'b')));
        assert_eq!(due(&mut wheel, 9), []);
        assert_eq!(due(&mut wheel, 10), ['b']);
        assert_eq!(wheel.cancel(other), None);
    }

    #[test]
    fn missed_ticks_are_left_out() {
        let mut wheel = Wheel::default();
        wheel.insert(10, 'a').unwrap();
        let (key, action) = one(&mut wheel, 57);
        assert_eq!(wheel.again(key, 10, 57, action), Ok(()));
        assert_eq!((wheel.next(), wheel.len()), (Some(60), 1));
        let (key, action) = one(&mut wheel, 60);
        assert_eq!(wheel.again(key, 10, 60, action), Ok(()));
        let (key, action) = one(&mut wheel, 70);
        assert_eq!((wheel.cancel(key), wheel.again(key, 10, 70, action)), (None, Err('a')));
        assert_eq!((wheel.len(), wheel.next()), (0, None));
    }

    /// Timers that stand above the lowest level move down a slot before they have to, and what is due goes first.
    #[test]
    fn timers_move_down_before_it_is_their_turn() {
        let mut wheel = Wheel::default();
        let far = 5 * 64;
        for tick in [far, far + 1, far + 63] {
            wheel.insert(tick, tick).unwrap();
        }
        wheel.insert(100, 100).unwrap();
        assert_eq!(due(&mut wheel, 100), [100]);
        // From here on the slot of the far ones is the next one.
        assert_eq!(wheel.next(), Some(4 * 64));
        assert!(due(&mut wheel, 4 * 64 - 1).is_empty());
        wheel.insert(4 * 64, 0).unwrap();
        assert!(matches!(wheel.pop(4 * 64), Popped::Due(_, 0)));
        for _ in 0..3 {
            assert!(matches!(wheel.pop(4 * 64), Popped::Moved));
        }
        assert!(matches!(wheel.pop(4 * 64), Popped::Nothing));
        // Nothing is left to be moved when they are due.
        assert_eq!(wheel.next(), Some(far));
        assert!(matches!(wheel.pop(far), Popped::Due(_, due) if due == far));
    }

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Entry<[u64; 3]>>() <= 56, "{}", size_of::<Entry<[u64; 3]>>());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u64),
        Cancel(usize),
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let far = prop_oneof![0..100u64, 0..10_000u64, 0..10_000_000u64, 0..1u64 << 45];
        prop_oneof![
            4 => far.clone().prop_map(Step::Insert),
            1 => (0..50usize).prop_map(Step::Cancel),
            2 => far.prop_map(Step::Advance),
        ]
    }

    proptest! {
        /// Beside a sorted list: nothing early, nothing late, nothing twice, nothing lost.
        #[test]
        fn it_is_as_a_sorted_list(steps in proptest::collection::vec(step(), 1..200)) {
            let mut wheel = Wheel::default();
            let mut model: Vec<(u64, u32, Key)> = Vec::new();
            let (mut now, mut number) = (0, 0);
            for step in steps {
                match step {
                    Step::Insert(after) => {
                        let key = wheel.insert(now + after, number).unwrap();
                        model.push((now + after, number, key));
                        number += 1;
                    }
                    Step::Cancel(place) if !model.is_empty() => {
                        let (_, number, key) = model.remove(place % model.len());
                        prop_assert_eq!(wheel.cancel(key), Some(number));
                        prop_assert_eq!(wheel.cancel(key), None);
                    }
                    Step::Cancel(_) => {}
                    Step::Advance(by) => {
                        now += by;
                        let next = wheel.next();
                        let first = model.iter().map(|(due, ..)| *due).min();
                        prop_assert!(next <= first || first.is_none());
                        let mut fired = due(&mut wheel, now);
                        let mut expected: Vec<_> = model.extract_if(.., |(due, ..)| *due <= now).collect();
                        expected.sort_by_key(|(_, number, _)| *number);
                        fired.sort_unstable();
                        let expected: Vec<_> = expected.into_iter().map(|(_, number, _)| number).collect();
                        prop_assert_eq!(fired, expected);
                    }
                }
                prop_assert_eq!(wheel.len(), model.len());
            }
        }
    }
}
