//! Timers, on paused time.

use std::time::Duration;

use tokio::time::Instant;

use crate::calls::desk;
use crate::support::{n, until};

const MS: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn a_timer_comes_once_or_so_many_times_or_for_ever() {
    let (node, desk, probe) = desk(|mailbox| mailbox);
    let begun = Instant::now();
    desk.notify().add(n(1)).after(95 * MS).unwrap();
    until(|| probe.order() == [1]).await;
    assert!(begun.elapsed() >= 95 * MS && begun.elapsed() <= 110 * MS, "{:?}", begun.elapsed());

    desk.notify().add(n(2)).times(3, 50 * MS).unwrap();
    let begun = Instant::now();
    until(|| probe.order() == [1, 2, 2, 2]).await;
    assert!(begun.elapsed() >= 150 * MS && begun.elapsed() <= 165 * MS, "{:?}", begun.elapsed());
    assert_eq!(node.view().await.timers, 0);

    let timer = desk.notify().add(n(3)).every(20 * MS).unwrap();
    until(|| probe.order().len() == 54).await;
    assert!(timer.cancel() && !timer.cancel());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(probe.order().len(), 54);
    assert_eq!(node.view().await.timers, 0);
}

#[tokio::test(start_paused = true)]
async fn no_time_at_all_is_once_through_the_mailbox() {
    let (node, desk, probe) = desk(|mailbox| mailbox);
    let timer = desk.notify().add(n(1)).every(Duration::ZERO).unwrap();
    assert!(probe.order().is_empty(), "it goes through the mailbox");
    assert_eq!(desk.sum().await.unwrap(), 1);
    assert!(!timer.cancel());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((probe.order(), node.view().await.timers), (vec![1], 0));
}

#[tokio::test(start_paused = true)]
async fn an_earlier_timer_overtakes_a_later_one() {
    let (_node, desk, probe) = desk(|mailbox| mailbox);
    for (number, after) in [(1, 3_600_000), (2, 500), (3, 40), (4, 100_000)] {
        desk.notify().add(n(number)).after(after * MS).unwrap();
    }
    tokio::time::sleep(Duration::from_secs(4000)).await;
    assert_eq!(probe.order(), [3, 2, 4, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_timer_of_a_full_mailbox_waits_for_room() {
    let (_node, desk, probe) = desk(|mailbox| mailbox.serial().capacity(1));
    desk.notify().wait(n(0)).await.unwrap();
    until(|| probe.begun() == 1).await;
    desk.notify().add(n(1)).await.unwrap();
    desk.notify().add(n(2)).after(20 * MS).unwrap();
    tokio::time::sleep(100 * MS).await;
    assert!(desk.mailbox().view().unwrap().held > 0);
    probe.open(1);
    until(|| probe.order() == [1, 2]).await;
}

#[tokio::test(start_paused = true)]
async fn the_timers_of_a_service_that_stopped_end() {
    let (node, desk, _probe) = desk(|mailbox| mailbox);
    desk.notify().add(n(1)).every(20 * MS).unwrap();
    desk.mailbox().stop().await.unwrap();
    tokio::time::sleep(100 * MS).await;
    assert_eq!(node.view().await.timers, 0);
}
