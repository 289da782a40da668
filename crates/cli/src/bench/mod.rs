//! `trunkline bench`: puts load on a method, and says how fast it was answered.
//!
//! `plan` reads the flags; each thread (`worker`) runs an epoll loop over its connections (`place` dials them,
//! `connection` makes calls), which drive the session of the wire themselves (`exchange`, `http`); `schedule` is the open
//! loop's; `figures` counts, and `report` and `html` say it. On saber's wire answers may come by another connection
//! (`inlet`), and there is a report beside (`saber_report`).

mod args;
mod bodies;
mod chart;
mod connection;
mod exchange;
mod figures;
mod html;
mod http;
mod http_head;
mod inlet;
mod place;
mod plan;
mod progress;
mod report;
mod saber;
mod saber_report;
mod schedule;
mod slots;
mod stream;
mod thread;
mod tunnel;
pub(crate) mod units;
mod worker;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use tokio::sync::mpsc::{Receiver, channel};

pub(crate) use args::{ABOUT, Bench};
use figures::Figures;
use plan::Plan;
use progress::Progress;
use report::Summary;
use thread::Times;
use worker::{Orders, Told};

use crate::exit::{Failure, print};

/// Runs the load and reports.
pub(crate) async fn run(args: Bench) -> Result<ExitCode, Failure> {
    let plan = Arc::new(Plan::new(&args).await?);
    // What cannot be written is better known before the run than after it.
    let page = plan.html.as_deref().map(html::create).transpose()?;
    let (times, figures) = load(&plan).await?;
    let summary = Summary::new(&plan, times, &figures, times.now());
    print(match (args.json, &plan.target.callers) {
        (true, _) => summary.json(),
        (false, None) => summary.text(&plan, &figures),
        (false, Some(_)) => {
            summary.text(&plan, &figures) + "\n" + &saber_report::text(&plan, &summary, &figures)
        }
    })?;
    if let Some(page) = page {
        page.write(&html::page(&plan, &summary, &figures))?;
    }
    verdict(&summary, &figures)
}

/// Starts the threads and adds their figures up.
async fn load(plan: &Arc<Plan>) -> Result<(Times, Figures), Failure> {
    // Each thread tells of its dials and of its end.
    let (tell, mut told) = channel(plan.threads.saturating_mul(2).max(1));
    let (mut begins, stop) = (Vec::new(), Arc::new(AtomicBool::new(false)));
    let progress: Arc<Vec<Arc<AtomicU64>>> = Arc::new((0..plan.threads).map(|_| Arc::default()).collect());
    for (number, ended) in progress.iter().enumerate() {
        let (plan, ended) = (Arc::clone(plan), Arc::clone(ended));
        let (begins_one, begin) = mpsc::channel();
        begins.push(begins_one);
        let (tell, orders) = (tell.clone(), Orders { begin, stop: Arc::clone(&stop) });
        let thread = std::thread::Builder::new().name(format!("load-{number}"));
        let spawned = thread.spawn(move || worker::run(plan, number, ended, &tell, &orders));
        spawned.map_err(|error| Failure::transport(format!("cannot start a thread: {error}")))?;
    }
    drop(tell);
    dialled(plan, &mut told).await?;
    let times = Times::start(plan.stop);
    let mut figures = Figures::new(times.begin, plan.html.is_some());
    for begin in begins {
        // A thread that has ended has told so.
        let _ = begin.send(times);
    }
    let mut line = Progress::new(progress);
    let mut ticks = tokio::time::interval(progress::EVERY);
    let mut left = plan.threads;
    while left > 0 {
        tokio::select! {
            next = told.recv() => match next {
                Some(Told::Done(of_one)) => {
                    figures.add(&of_one);
                    left -= 1;
                }
                Some(Told::Dialled(..)) => {}
                Some(Told::Failed(why)) => return Err(Failure::transport(why)),
                None => return Err(Failure::transport("a thread of the load has ended early")),
            },
            _ = ticks.tick() => line.show(plan, times),
            _ = tokio::signal::ctrl_c() => stop.store(true, Ordering::Relaxed),
        }
    }
    line.clear();
    Ok((times, figures))
}

/// Waits until all connections were dialled. One is enough to begin; the others are dialled on.
async fn dialled(plan: &Plan, told: &mut Receiver<Told>) -> Result<(), Failure> {
    let (mut made, mut failure) = (0, None);
    for _ in 0..plan.threads {
        match told.recv().await {
            Some(Told::Dialled(more, why)) => {
                made += more;
                failure = failure.or(why);
            }
            Some(Told::Failed(why)) => return Err(Failure::transport(why)),
            _ => return Err(Failure::transport("a thread of the load has ended early")),
        }
    }
    match failure {
        Some(why) if made == 0 => Err(plan::unreachable(&plan.address, &why)),
        _ => Ok(()),
    }
}

/// How the command ends: as for the worst call.
fn verdict(summary: &Summary, figures: &Figures) -> Result<ExitCode, Failure> {
    let count = |number: u64| units::count(number as f64);
    let of = count(summary.n);
    if figures.transport > 0 || figures.gave_up {
        let lost = count(figures.transport);
        return Err(Failure::transport(format!("{lost} of {of} calls failed with their connections")));
    }
    if figures.timeouts > 0 {
        return Err(Failure::deadline(format!("{} of {of} calls timed out", count(figures.timeouts))));
    }
    if figures.service > 0 {
        let failed = count(figures.service);
        return Err(Failure::service(format!("trunkline: the service failed {failed} of {of} calls")));
    }
    Ok(ExitCode::SUCCESS)
}
