//! What a thread has worked out about types: how ours look in gob, and how those of peers are read.

use std::any::TypeId;
use std::cell::RefCell;
use std::rc::Rc;
use std::thread::LocalKey;

use foldhash::HashMap;
use trunkline_wire::gob::{self as wire, Types};

use super::plan::Plan;
use super::{CODEC, Error, any, broken, layout};
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
    /// How, or why not: that is not to be worked out for each body either.
    plan: Result<Rc<P>, String>,
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

/// A body's value, and how it is read.
pub(super) struct Planned<'a, P> {
    pub(super) how: Rc<P>,
    /// The id of its type.
    pub(super) id: i64,
    pub(super) value: &'a [u8],
}

/// How the value of a body is read into an `M`.
pub(super) fn plan<M: Message>(body: &[u8]) -> Result<Planned<'_, Plan>, Error> {
    planned(&MESSAGES_OF_PEERS, TypeId::of::<M>(), body, |definitions, root| {
        let plan = Plan::of(&M::schema(), definitions, root)?;
        let size = plan.size;
        Ok((plan, size))
    })
}

/// The types of a body, checked against the one that is wanted.
pub(super) fn any_types(
    ty: TypeId,
    body: &[u8],
    make: impl FnOnce(&[u8], i64) -> Result<Types, Error>,
) -> Result<Planned<'_, Types>, Error> {
    planned(&TYPES_OF_PEERS, ty, body, |definitions, root| {
        // A field takes some eight times the memory of its bytes.
        make(definitions, root).map(|types| (types, definitions.len().saturating_mul(8)))
    })
}

#[inline]
fn planned<'a, P>(
    plans: &'static LocalKey<RefCell<Plans<P>>>,
    ty: TypeId,
    body: &'a [u8],
    make: impl FnOnce(&[u8], i64) -> Result<(P, usize), Error>,
) -> Result<Planned<'a, P>, Error> {
    let known = plans.with_borrow_mut(|plans| {
        let (known, value) = plans.find(ty, body)?;
        Some(match &known.plan {
            Ok(plan) => Ok(Planned { how: Rc::clone(plan), id: known.root, value }),
            Err(why) => Err(Error::body(CODEC, why)),
        })
    });
    match known {
        Some(known) => known,
        None => plan_anew(plans, ty, body, make),
    }
}

#[cold]
fn plan_anew<'a, P>(
    plans: &'static LocalKey<RefCell<Plans<P>>>,
    ty: TypeId,
    body: &'a [u8],
    make: impl FnOnce(&[u8], i64) -> Result<(P, usize), Error>,
) -> Result<Planned<'a, P>, Error> {
    let (definitions, value) = wire::split(body).map_err(broken)?;
    let made = make(definitions, value.id()).map(|(plan, size)| (Rc::new(plan), size));
    let (plan, size) = match &made {
        Ok((plan, size)) => (Ok(Rc::clone(plan)), *size),
        Err(error) => (Err(error.what().to_owned()), definitions.len()),
    };
    let (id, value) = (value.id(), value.rest());
    let known = Known { definitions: definitions.into(), root: id, size, plan };
    plans.with_borrow_mut(|plans| plans.keep(ty, known));
    made.map(|(how, _)| Planned { how, id, value })
}

impl<P> Default for Plans<P> {
    fn default() -> Self {
        Self { by_type: HashMap::default(), bytes: 0 }
    }
}

impl<P> Plans<P> {
    #[inline]
    fn find<'a>(&mut self, ty: TypeId, body: &'a [u8]) -> Option<(&Known<P>, &'a [u8])> {
        let known = self.by_type.get_mut(&ty)?;
        let (place, value) = known.iter().enumerate().find_map(|(place, one)| {
            let value = wire::value_behind(&one.definitions, body)?;
            (value.id() == one.root).then_some((place, value.rest()))
        })?;
        if place > 0 {
            known.get_mut(..=place)?.rotate_right(1);
        }
        known.first().map(|one| (one, value))
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
