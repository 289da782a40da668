//! How the pickers spread calls, by a seed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::context::ConnectionInfo;
use crate::push::PushQueue;
use crate::{Metadata, Peer, Serialization, random as chance};

fn member(number: usize, weight: u32) -> Arc<Member> {
    let endpoint = Endpoint::new(format!("mem://{number}")).with_weight(weight);
    Arc::new(Member::new(endpoint, Instant::now()))
}

fn members(weights: &[u32]) -> Members {
    let all = weights.iter().enumerate().map(|(number, weight)| member(number, *weight));
    Members::new(all.collect(), |_| true)
}

fn call() -> Call {
    Call::new("Test", "Echo", Serialization::Raw, "body")
}

fn with(key: &str, value: &str) -> Call {
    call().with_metadata(Metadata::builder().with(key, value).build())
}

/// How often each is picked of so many calls.
fn spread(picker: &impl Picker, members: &Members, calls: usize) -> Vec<usize> {
    let mut counts = vec![0; members.len()];
    for _ in 0..calls {
        counts[picker.pick(members, &call()).unwrap()] += 1;
    }
    counts
}

/// Each count is within so many hundredths of its weight's share.
fn assert_by_weight(counts: &[usize], weights: &[u32], percent: usize) {
    let calls: usize = counts.iter().sum();
    let all: usize = weights.iter().map(|weight| *weight as usize).sum();
    for (count, weight) in counts.iter().zip(weights) {
        let wanted = calls * *weight as usize / all;
        assert!(count.abs_diff(wanted) * 100 <= wanted * percent, "{counts:?} for {weights:?}");
    }
}

#[test]
fn round_robin_goes_in_turn_exactly_by_weight() {
    let picker = RoundRobin::new();
    let equal = members(&[7, 7, 7]);
    let order: Vec<usize> = (0..6).map(|_| picker.pick(&equal, &call()).unwrap()).collect();
    assert_eq!(order, [0, 1, 2, 0, 1, 2]);
    for weights in [&[5, 1, 1][..], &[3, 1], &[100, 1], &[2, 4, 6], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 100]] {
        let members = members(weights);
        let all: u32 = weights.iter().sum();
        let counts = spread(&RoundRobin::new(), &members, all as usize * 12);
        let wanted: Vec<usize> = weights.iter().map(|weight| *weight as usize * 12).collect();
        assert_eq!(counts, wanted);
    }
}

#[test]
fn round_robin_spreads_the_turns_of_one_endpoint_over_the_round() {
    // Between two turns of an endpoint lie about as many others as its weight says, never a burst.
    for weights in [&[5, 1, 1][..], &[3, 1], &[50, 30, 20], &[100, 99, 1, 1, 1]] {
        let (members, all) = (members(weights), weights.iter().sum::<u32>() as usize);
        for (place, weight) in weights.iter().enumerate() {
            let turns: Vec<usize> = (0..2 * all).filter(|turn| members.turn(*turn) == place).collect();
            let usual = all.div_ceil(*weight as usize);
            for pair in turns.windows(2) {
                let apart = pair[1] - pair[0];
                assert!(
                    apart <= usual + weights.len() && 2 * apart + weights.len() >= usual,
                    "{weights:?}: {turns:?}"
                );
            }
        }
    }
}

#[test]
fn turns_are_bounded_and_leave_nobody_out() {
    let mut weights = vec![99; 2_000];
    weights[7] = 1;
    let members = members(&weights);
    let mut counts = vec![0; weights.len()];
    (0..80_000).for_each(|turn| counts[members.turn(turn)] += 1);
    assert!(counts.iter().all(|count| *count > 0));
    assert!(counts[7] * 10 < counts[8]);
}

#[test]
fn random_is_by_weight() {
    chance::seed(42);
    for weights in [&[1, 1, 1, 1][..], &[3, 1], &[10, 20, 70]] {
        assert_by_weight(&spread(&Random::new(), &members(weights), 50_000), weights, 5);
    }
}

#[test]
fn a_seed_repeats_what_chance_picks() {
    let members = members(&[1, 2, 3, 4, 5]);
    let run = |seed| {
        chance::seed(seed);
        let pick = |n: usize| {
            let picker: &dyn Picker = if n.is_multiple_of(2) { &Random::new() } else { &P2cEwma::new() };
            picker.pick(&members, &call()).unwrap()
        };
        (0..200).map(pick).collect::<Vec<_>>()
    };
    assert_eq!(run(9), run(9));
    assert_ne!(run(9), run(10));
}

#[test]
fn least_pending_fills_the_emptiest() {
    let picker = LeastPending::new();
    let members = members(&[1, 1, 1]);
    members.get(0).unwrap().begin();
    members.get(2).unwrap().begin();
    for _ in 0..5 {
        assert_eq!(picker.pick(&members, &call()).unwrap(), 1);
    }
    members.get(1).unwrap().begin();
    // Among equals in turn.
    assert_by_weight(&spread(&picker, &members, 300), &[1, 1, 1], 0);
    members.get(2).unwrap().end();
    assert_eq!(picker.pick(&members, &call()).unwrap(), 2);
}

#[test]
fn least_pending_gives_a_heavier_endpoint_more_in_flight() {
    let (picker, weights) = (LeastPending::new(), [4, 2, 1]);
    let members = members(&weights);
    for _ in 0..700 {
        let place = picker.pick(&members, &call()).unwrap();
        members.get(place).unwrap().begin();
    }
    let pending: Vec<usize> = members.iter().map(Member::pending).collect();
    assert_by_weight(&pending, &weights, 3);
    // One at a time it is by weight as well.
    assert_by_weight(&spread(&LeastPending::new(), &self::members(&weights), 700), &weights, 0);
}

#[tokio::test(start_paused = true)]
async fn p2c_ewma_avoids_the_slow_one() {
    chance::seed(3);
    let (picker, members) = (P2cEwma::new(), members(&[1, 1, 1, 1]));
    assert_by_weight(&spread(&picker, &members, 40_000), &[1, 1, 1, 1], 5);
    let millis = [10, 10, 10, 100];
    let mut counts = [0; 4];
    for _ in 0..2_000 {
        let place = picker.pick(&members, &call()).unwrap();
        counts[place] += 1;
        let took = Duration::from_millis(millis[place]);
        tokio::time::advance(Duration::from_millis(2)).await;
        members.get(place).unwrap().latency.sample(took, Instant::now());
    }
    assert!(counts[3] * 20 < counts[0], "{counts:?}");
    // It is not given up: its latency sinks while nobody calls it.
    tokio::time::advance(Duration::from_secs(60)).await;
    for place in 0..3 {
        members.get(place).unwrap().latency.sample(Duration::from_millis(10), Instant::now());
    }
    assert!(spread(&picker, &members, 100)[3] > 20);
}

#[test]
fn p2c_ewma_counts_what_is_in_flight() {
    chance::seed(4);
    let (picker, members) = (P2cEwma::new(), members(&[1, 1]));
    let now = Instant::now();
    members.iter().for_each(|member| member.latency.sample(Duration::from_millis(5), now));
    (0..3).for_each(|_| members.get(0).unwrap().begin());
    // Of two it is always the one with less.
    assert_eq!(spread(&picker, &members, 100), [0, 100]);
}

#[test]
fn p2c_ewma_is_by_weight_where_all_are_idle() {
    chance::seed(5);
    let weights = [1, 2, 4, 8];
    let counts = spread(&P2cEwma::new(), &members(&weights), 60_000);
    assert!(counts.windows(2).all(|pair| pair[1] > pair[0] * 3 / 2), "{counts:?}");
    // One alone is picked, too.
    assert_eq!(spread(&P2cEwma::new(), &members(&[9]), 10), [10]);
}

/// Where each of so many keys goes, by the endpoint's URL.
fn homes(members: &Members, keys: usize) -> Vec<String> {
    let picker = ConsistentHash::new(Key::metadata("user"));
    let home = |key: usize| {
        let place = picker.pick(members, &with("user", &format!("user-{key}"))).unwrap();
        members.get(place).unwrap().endpoint().url().to_owned()
    };
    (0..keys).map(home).collect()
}

#[test]
fn consistent_hash_moves_few_keys() {
    const KEYS: usize = 10_000;
    let ten = members(&[1; 10]);
    let before = homes(&ten, KEYS);
    assert_eq!(before, homes(&members(&[1; 10]), KEYS), "the same for everybody");
    // One more: what moves goes there, and it is about a share.
    let after = homes(&members(&[1; 11]), KEYS);
    let moved: Vec<_> = before.iter().zip(&after).filter(|(a, b)| a != b).collect();
    assert!(moved.iter().all(|(_, to)| *to == "mem://10"));
    assert!((KEYS / 11 * 8 / 10..KEYS / 11 * 12 / 10).contains(&moved.len()), "{}", moved.len());
    // One less: only its keys move.
    let without = homes(&ten.with_open(|place| place != 3), KEYS);
    for (a, b) in before.iter().zip(&without) {
        assert!(a == b || a == "mem://3");
        assert_ne!(b, "mem://3");
    }
}

#[test]
fn consistent_hash_is_by_weight() {
    let weights = [1, 3, 6];
    let members = members(&weights);
    let homes = homes(&members, 30_000);
    let count = |place: usize| homes.iter().filter(|url| **url == format!("mem://{place}")).count();
    assert_by_weight(&[count(0), count(1), count(2)], &weights, 5);
}

/// Where a key of a call puts it.
fn place(key: &Key, call: &Call) -> usize {
    ConsistentHash::new(key.clone()).pick(&members(&[1; 100]), call).unwrap()
}

#[test]
fn keys_are_what_they_say() {
    let room = Key::parameter("room");
    let by_uri = |uri: &str| place(&room, &with(URI, uri));
    assert_eq!(by_uri("/a?room=7&x=1"), by_uri("/b/c?x=2&room=7&room=8"));
    assert_eq!(by_uri("/a?room=a+b%2F"), by_uri("/a?room=a%20b/"));
    assert_ne!(by_uri("/a?room=7"), by_uri("/a?room=8"));
    let (metadata, function) =
        (Key::metadata("k"), Key::with(|call| call.metadata().get("k").map(str::to_owned)));
    for value in ["1", "2", "3"] {
        assert_eq!(place(&metadata, &with("k", value)), place(&function, &with("k", value)));
    }
    let other = Call::new("Test", "Echo", Serialization::Raw, "another body");
    assert_ne!(place(&Key::call(), &call()), place(&Key::call(), &other));
    assert_eq!(place(&Key::call(), &call()), place(&Key::call(), &call()));
}

/// A call that came from this address.
fn from(address: &str) -> Call {
    let mut call = call();
    call.context.connection = Some(Arc::new(ConnectionInfo {
        peer: Peer::Tcp(address.parse::<SocketAddr>().unwrap()),
        wire: "rpcx",
        can_push: false,
        can_resume: false,
        leaving: AtomicBool::new(false),
        pushes: PushQueue::open(),
    }));
    call
}

#[test]
fn the_client_is_its_address_without_the_port() {
    let client = Key::client();
    assert_eq!(place(&client, &from("10.1.2.3:5")), place(&client, &from("10.1.2.3:6")));
    assert_ne!(place(&client, &from("10.1.2.3:5")), place(&client, &from("10.1.2.4:5")));
    assert_eq!(place(&client, &with(CLIENT, "ann")), place(&client, &with(CLIENT, "ann")));
    assert_ne!(place(&client, &with(CLIENT, "ann")), place(&client, &with(CLIENT, "bob")));
}

#[test]
fn calls_without_a_key_go_in_turn() {
    for key in [Key::client(), Key::metadata("user"), Key::parameter("room"), Key::with(|_| None)] {
        assert_eq!(spread(&ConsistentHash::new(key), &members(&[1; 4]), 40), [10; 4]);
    }
}

#[test]
fn paused_endpoints_are_not_picked() {
    chance::seed(6);
    let members = members(&[1, 2, 3, 4]).with_open(|place| place % 2 == 1);
    for name in NAMES {
        let counts = spread(&by_name(name).unwrap(), &members, 200);
        assert_eq!((counts[0], counts[2]), (0, 0), "{name}");
    }
    assert!(by_name("ping").is_none());
    assert_eq!(self::members(&[1]).with_open(|_| false).turn(5), 0);
}

#[test]
fn picking_in_turn_allocates_nothing() {
    let (call, members) = (call(), members(&[3, 1, 2]));
    let (turns, least) = (RoundRobin::new(), LeastPending::new());
    let info = allocation_counter::measure(|| {
        for _ in 0..1_000 {
            let places = (turns.pick(&members, &call), least.pick(&members, &call));
            assert!(places.0.is_ok() && places.1.is_ok());
        }
    });
    assert_eq!(info.count_total, 0);
}

#[cfg(feature = "expressions")]
mod expressions {
    use super::*;

    fn pick(text: &str, call: &Call) -> Result<usize> {
        Expression::new(text).unwrap().pick(&members(&[1; 5]), call)
    }

    #[test]
    fn every_name_is_there() {
        let call = with(URI, "/a/b?shard=3&x=a%20b&x=c");
        assert_eq!(pick("int(params.shard)", &call).unwrap(), 3);
        assert_eq!(pick("params.x == 'a b' ? 1 : 0", &call).unwrap(), 1);
        assert_eq!(pick("path == '/a/b' ? 2 : 0", &call).unwrap(), 2);
        assert_eq!(pick("path.matches('^/a') ? 2 : 0", &call).unwrap(), 2);
        assert_eq!(pick("path == '/Test/Echo' ? 2 : 0", &super::call()).unwrap(), 2);
        assert_eq!(pick("service == 'Test' && method == 'Echo' ? 4 : 0", &call).unwrap(), 4);
        assert_eq!(pick("endpoints - 1", &call).unwrap(), 4);
        assert_eq!(pick("params.exists(name, params[name] == '3') ? 1 : 0", &call).unwrap(), 1);
        assert_eq!(pick("[4, 2].filter(n, n < 3)[0]", &call).unwrap(), 2);
        assert_eq!(pick("{service: 3}['Test']", &call).unwrap(), 3);
        assert_eq!(pick("client == '10.1.2.3' ? 1 : 0", &from("10.1.2.3:5")).unwrap(), 1);
        assert_eq!(pick("client == '' ? 1 : 0", &call).unwrap(), 1);
        assert_eq!(pick("'mem://' + params.shard", &call).unwrap(), 3);
    }

    #[test]
    fn what_says_nothing_is_a_failure_of_the_call() {
        for (text, why) in [
            ("int(params.shard)", "shard"),
            ("5", "5 endpoints"),
            ("-1", "none such"),
            ("'nobody'", "none such"),
            ("true", "neither"),
            ("1 / 0", "1 / 0"),
        ] {
            let status = pick(text, &call()).unwrap_err();
            assert_eq!(status.code(), crate::Code::InvalidInput);
            assert!(status.may_retry() && status.message().contains(why), "{status}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_at_once() {
        for (text, why) in [
            ("1 +", "1 +"),
            ("user + 1", "the name user"),
            ("[1].exists(x, x == y) ? x : 0", "the name y"),
            ("", "no expression"),
        ] {
            let error = Expression::new(text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(Expression::new(&"1+".repeat(20_000)).is_err());
        assert!(Expression::new(&format!("{}1{}", "(".repeat(5_000), ")".repeat(5_000))).is_err());
    }

    #[test]
    fn no_uri_breaks_an_expression() {
        let texts = [
            "int(params.a) % endpoints",
            "size(params) > 2 ? 1 : 0",
            "path.matches(params.a) ? 1 : 0",
            "params.exists(name, params[name].contains(path)) ? 1 : 4",
            "int(double(params.a) * 3.0) + int(params.b)",
            "params.a + client + service",
        ];
        let expressions = texts.map(|text| Expression::new(text).unwrap());
        let (members, mut chance) = (members(&[1; 5]), fastrand::Rng::with_seed(1));
        let parts = [
            "a",
            "=",
            "&",
            "b",
            "?",
            "%",
            "2",
            "%00",
            "%ff",
            "-9223372036854775808",
            "1e308",
            "+",
            "(",
            "*",
            "ü",
        ];
        let mut picked = 0;
        for round in 0..5_000 {
            let rest: String = (0..chance.usize(..12)).map(|_| parts[chance.usize(..parts.len())]).collect();
            let place = expressions[round % texts.len()].pick(&members, &with(URI, &format!("/x?a={rest}")));
            match place {
                Ok(place) => {
                    assert!(place < members.len());
                    picked += 1;
                }
                Err(status) => assert!(status.may_retry()),
            }
        }
        assert!(picked > 500, "{picked}");
    }

    /// I14: the parameters of one call never decide for another one.
    #[test]
    fn i14_each_call_has_a_context_of_its_own() {
        let expression = Arc::new(Expression::new("int(params.shard)").unwrap());
        let threads: Vec<_> = (0..5usize)
            .map(|shard| {
                let expression = Arc::clone(&expression);
                std::thread::spawn(move || {
                    let (members, call) = (members(&[1; 5]), with(URI, &format!("/a?shard={shard}")));
                    (0..500).all(|_| expression.pick(&members, &call).unwrap() == shard)
                })
            })
            .collect();
        for thread in threads {
            assert!(thread.join().unwrap());
        }
        // Nor does a call without one inherit it.
        assert!(expression.pick(&members(&[1; 5]), &call()).is_err());
    }
}
