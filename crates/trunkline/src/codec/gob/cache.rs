//! What a thread has worked out about types: how ours look in gob, and how those of peers are read.

use std::any::TypeId;
use std::cell::RefCell;
use std::rc::Rc;
use std::thread::LocalKey;

use foldhash::HashMap;
use trunkline_wire::gob::Types;

use super::plan::Plan;
use super::{Error, any, layout};
use crate::codec::Payload;
use crate::message::Message;

/// How many plans of one type are kept: peers of several versions. The one that was used longest ago goes first.
const PLANS: usize = 8;

/// What all plans of a thread may take, in bytes, about. Beyond it they are worked out anew.
const PLAN_BYTES: usize = 4 << 20;

/// How a peer's types are read, by ours and by the peer's definitions.
struct Plans<P> {
    by_type: HashMap<TypeId, Vec<Known<P>>>,
    bytes: usize,
}

struct Known<P> {
    definitions: Box<[u8]>,
    root: i64,
    size: usize,
    plan: Rc<P>,
}

type Layouts<L> = RefCell<HashMap<TypeId, Rc<L>>>;

thread_local! {
    static MESSAGES: Layouts<layout::Layout> = RefCell::default();
    static ANY: Layouts<any::Layout> = RefCell::default();
    static MESSAGES_OF_PEERS: RefCell<Plans<Plan>> = RefCell::default();
    static TYPES_OF_PEERS: RefCell<Plans<Types>> = RefCell::default();
}

/// How `M` looks in gob.
pub(super) fn layout<M: Message>() -> Result<Rc<layout::Layout>, Error> {
    known(&MESSAGES, TypeId::of::<M>(), || layout::Layout::of(&M::schema(), true))
}

/// How another type looks in gob.
pub(super) fn any_layout(
    ty: TypeId,
    make: impl FnOnce() -> Result<any::Layout, Error>,
) -> Result<Rc<any::Layout>, Error> {
    known(&ANY, ty, make)
}

fn known<L>(
    layouts: &'static LocalKey<Layouts<L>>,
    ty: TypeId,
    make: impl FnOnce() -> Result<L, Error>,
) -> Result<Rc<L>, Error> {
    if let Some(layout) = layouts.with_borrow(|known| known.get(&ty).cloned()) {
        return Ok(layout);
    }
    let layout = Rc::new(make()?);
    layouts.with_borrow_mut(|known| known.insert(ty, Rc::clone(&layout)));
    Ok(layout)
}

/// How a value of the root of these definitions is read into an `M`.
pub(super) fn plan<M: Message>(definitions: &[u8], root: i64) -> Result<Rc<Plan>, Error> {
    planned(&MESSAGES_OF_PEERS, TypeId::of::<M>(), definitions, root, || {
        let plan = Plan::of(&M::schema(), definitions, root)?;
        let size = plan.size;
        Ok((plan, size))
    })
}

/// The types of these definitions, checked against the one that is wanted.
pub(super) fn any_types(
    ty: TypeId,
    definitions: &[u8],
    root: i64,
    make: impl FnOnce() -> Result<Types, Error>,
) -> Result<Rc<Types>, Error> {
    // A field takes some eight times the memory of its bytes.
    let make = || make().map(|types| (types, definitions.len().saturating_mul(8)));
    planned(&TYPES_OF_PEERS, ty, definitions, root, make)
}

fn planned<P>(
    plans: &'static LocalKey<RefCell<Plans<P>>>,
    ty: TypeId,
    definitions: &[u8],
    root: i64,
    make: impl FnOnce() -> Result<(P, usize), Error>,
) -> Result<Rc<P>, Error> {
    if let Some(plan) = plans.with_borrow_mut(|plans| plans.find(ty, definitions, root)) {
        return Ok(plan);
    }
    let (plan, size) = make()?;
    let plan = Rc::new(plan);
    let known = Known { definitions: definitions.into(), root, size, plan: Rc::clone(&plan) };
    plans.with_borrow_mut(|plans| plans.keep(ty, known));
    Ok(plan)
}

impl<P> Default for Plans<P> {
    fn default() -> Self {
        Self { by_type: HashMap::default(), bytes: 0 }
    }
}

impl<P> Plans<P> {
    fn find(&mut self, ty: TypeId, definitions: &[u8], root: i64) -> Option<Rc<P>> {
        let known = self.by_type.get_mut(&ty)?;
        let place = known.iter().position(|one| one.root == root && *one.definitions == *definitions)?;
        if place > 0 {
            known.get_mut(..=place)?.rotate_right(1);
        }
        known.first().map(|one| Rc::clone(&one.plan))
    }

    fn keep(&mut self, ty: TypeId, plan: Known<P>) {
        self.bytes = self.bytes.saturating_add(plan.size);
        if self.bytes > PLAN_BYTES {
            self.by_type.clear();
            self.bytes = plan.size;
        }
        let known = self.by_type.entry(ty).or_default();
        known.insert(0, plan);
        if known.len() > PLANS
            && let Some(last) = known.pop()
        {
            self.bytes = self.bytes.saturating_sub(last.size);
        }
    }
}
