//! One thread of the run: a runtime, a task for each of its connections, and its figures at the end.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use trunkline::client::Wire;
use trunkline::wire::iip::Iip;
use trunkline::wire::rpcx::Rpcx;

use super::connection::{self, DIAL_TIMEOUT};
use super::figures::Figures;
use super::http::Http;
use super::pace;
use super::plan::Plan;
use super::stream::Stream;
use super::thread::{Thread, Times};

/// What a thread tells.
pub(super) enum Told {
    /// How many connections were made, and what went wrong with another.
    Dialled(usize, Option<String>),
    /// It is done.
    Done(Box<Figures>),
    /// It could not begin or go on, and why.
    Failed(String),
}

/// What the threads are told.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    /// Nothing yet.
    Wait,
    Begin(Times),
    /// The user has seen enough: what is in flight is not waited for.
    Stop,
}

/// Runs one thread to its end.
pub(super) fn run(
    plan: Arc<Plan>,
    number: usize,
    progress: Arc<AtomicU64>,
    tell: &mpsc::UnboundedSender<Told>,
    orders: watch::Receiver<Order>,
) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let told = match runtime {
        Ok(runtime) => runtime.block_on(load(plan, number, progress, tell, orders)),
        Err(error) => Err(format!("cannot start a runtime: {error}")),
    };
    // Nobody listens any more where the run was called off.
    let _ = match told {
        Ok(Some(figures)) => tell.send(Told::Done(Box::new(figures))),
        Ok(None) => Ok(()),
        Err(why) => tell.send(Told::Failed(why)),
    };
}

async fn load(
    plan: Arc<Plan>,
    number: usize,
    progress: Arc<AtomicU64>,
    tell: &mpsc::UnboundedSender<Told>,
    mut orders: watch::Receiver<Order>,
) -> Result<Option<Figures>, String> {
    let mine = (number..plan.connections).step_by(plan.threads);
    let mut dials = JoinSet::new();
    for _ in mine {
        let plan = Arc::clone(&plan);
        dials.spawn_local(async move { Stream::dial(&plan.address, plan.timeout.min(DIAL_TIMEOUT)).await });
    }
    let streams = dials.join_all().await;
    let made = streams.iter().filter(|stream| stream.is_ok()).count();
    let failure = streams.iter().find_map(|stream| stream.as_ref().err().cloned());
    if tell.send(Told::Dialled(made, failure)).is_err() {
        return Ok(None);
    }
    let order = orders.wait_for(|order| !matches!(order, Order::Wait)).await.map(|order| *order);
    let Ok(Order::Begin(times)) = order else { return Ok(None) };

    let thread = Rc::new(Thread::new(Arc::clone(&plan), times, number, progress));
    let mut tasks = JoinSet::new();
    for stream in streams {
        let thread = Rc::clone(&thread);
        match plan.wire {
            Wire::Http => tasks.spawn_local(connection::run::<Http>(thread, stream)),
            Wire::Iip => tasks.spawn_local(connection::run::<Iip>(thread, stream)),
            _ => tasks.spawn_local(connection::run::<Rpcx>(thread, stream)),
        };
    }
    let pacer = tokio::task::spawn_local(pace::run(Rc::clone(&thread)));
    let all = async { while tasks.join_next().await.is_some() {} };
    tokio::select! {
        () = all => {}
        _ = orders.wait_for(|order| matches!(order, Order::Stop)) => {}
    }
    tasks.shutdown().await;
    if pacer.is_finished() {
        let paced = pacer.await.unwrap_or(Ok(()));
        paced.map_err(|error| format!("cannot keep the time: {error}"))?;
    } else {
        pacer.abort();
        let _ = pacer.await;
    }
    Ok(Rc::into_inner(thread).map(|thread| thread.figures.into_inner()))
}
