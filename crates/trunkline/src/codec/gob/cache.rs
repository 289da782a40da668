//! What a thread has worked out about types: how ours look in gob, and how those of peers are read.

use std::any::TypeId;
use std::cell::RefCell;
use std::rc::Rc;

use foldhash::HashMap;

use super::Error;
use super::layout::Layout;
use super::plan::Plan;
use crate::codec::Payload;
use crate::message::Message;

/// How many plans of one type are kept: peers of several versions. The one that was used longest ago goes first.
const PLANS: usize = 8;

/// What all plans of a thread may take, in bytes, about. Beyond it they are worked out anew.
const PLAN_BYTES: usize = 4 << 20;

#[derive(Default)]
struct Plans {
    by_type: HashMap<TypeId, Vec<Known>>,
    bytes: usize,
}

struct Known {
    definitions: Box<[u8]>,
    root: i64,
    plan: Rc<Plan>,
}

thread_local! {
    static LAYOUTS: RefCell<HashMap<TypeId, Rc<Layout>>> = RefCell::default();
    static PLANS_OF_PEERS: RefCell<Plans> = RefCell::default();
}

/// How `M` looks in gob.
pub(super) fn layout<M: Message>() -> Result<Rc<Layout>, Error> {
    LAYOUTS.with_borrow_mut(|known| {
        if let Some(layout) = known.get(&TypeId::of::<M>()) {
            return Ok(Rc::clone(layout));
        }
        let layout = Rc::new(Layout::of(&M::schema())?);
        known.insert(TypeId::of::<M>(), Rc::clone(&layout));
        Ok(layout)
    })
}

/// How a value of the root of these definitions is read into an `M`.
pub(super) fn plan<M: Message>(definitions: &[u8], root: i64) -> Result<Rc<Plan>, Error> {
    PLANS_OF_PEERS.with_borrow_mut(|plans| plans.get::<M>(definitions, root))
}

impl Plans {
    fn get<M: Message>(&mut self, definitions: &[u8], root: i64) -> Result<Rc<Plan>, Error> {
        let known = self.by_type.entry(TypeId::of::<M>()).or_default();
        let place = known.iter().position(|one| one.root == root && *one.definitions == *definitions);
        if let Some(place) = place {
            if place > 0 {
                known.get_mut(..=place).unwrap_or_default().rotate_right(1);
            }
            return known.first().map(|one| Rc::clone(&one.plan)).ok_or_else(|| Error::body("", "no plan"));
        }
        let plan = Rc::new(Plan::of(&M::schema(), definitions, root)?);
        if self.bytes.saturating_add(plan.size) > PLAN_BYTES {
            self.by_type.clear();
            self.bytes = 0;
        }
        let known = self.by_type.entry(TypeId::of::<M>()).or_default();
        if known.len() >= PLANS
            && let Some(last) = known.pop()
        {
            self.bytes = self.bytes.saturating_sub(last.plan.size);
        }
        self.bytes = self.bytes.saturating_add(plan.size);
        known.insert(0, Known { definitions: definitions.into(), root, plan: Rc::clone(&plan) });
        Ok(plan)
    }
}
