//! The queue and the turn on one thread, and under many.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};

use super::super::queue::RankQueue;
use super::super::turn::Turn;
use super::*;

#[test]
fn a_queue_is_an_ordered_set() {
    let rng = &mut Rng(1);
    // Lengths beside the borders of words and of summary words.
    for len in [1, 63, 64, 65, 4096, 4097, 9000] {
        let queue = RankQueue::new(len);
        let mut set = BTreeSet::new();
        for _ in 0..if cfg!(miri) { 50 } else { 2000 } {
            let rank = rng.below(len) as u32;
            if rng.below(2) == 0 {
                if set.insert(rank) {
                    queue.push(rank);
                }
            } else {
                let limit = 1 + rng.below(len) as u32;
                let expected = set.first().copied().filter(|&first| first < limit);
                assert_eq!(queue.pop(limit, || panic!("nobody pushes meanwhile")), expected);
                expected.map(|rank| set.remove(&rank));
            }
            assert_eq!(queue.first(), set.first().copied());
        }
        let rest: Vec<u32> = std::iter::from_fn(|| queue.pop(len as u32, || {})).collect();
        assert!(rest.iter().eq(set.iter()));
    }
}

/// Each rank goes round: whoever takes it pushes it again, a fixed number of times.
#[test]
fn nothing_is_lost_or_doubled_under_contention() {
    const LEN: u32 = 130;
    const ROUNDS: u32 = if cfg!(miri) { 3 } else { 500 };
    let queue = RankQueue::new(LEN as usize);
    let taken: Vec<AtomicU32> = (0..LEN).map(|_| AtomicU32::new(0)).collect();
    let left = AtomicU32::new(LEN * ROUNDS);
    (0..LEN).for_each(|rank| queue.push(rank));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while left.load(Relaxed) > 0 {
                    let Some(rank) = queue.pop(LEN, || {}) else {
                        std::thread::yield_now();
                        continue;
                    };
                    if taken[rank as usize].fetch_add(1, Relaxed) + 1 < ROUNDS {
                        queue.push(rank);
                    }
                    left.fetch_sub(1, Relaxed);
                }
            });
        }
    });
    assert!(taken.iter().all(|taken| taken.load(Relaxed) == ROUNDS));
    assert_eq!(queue.first(), None);
}

#[test]
fn turns_exclude_each_other_and_remember_the_last() {
    let turn = Turn::new();
    assert_eq!(turn.enter(1), 0);
    turn.leave(1, 1);
    assert_eq!(turn.enter(1), 1);
    turn.leave(1, 0);
    assert_eq!(turn.enter(2), 0);
    turn.leave(2, 2);
    let busy = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for id in 1..5 {
            let (turn, busy) = (&turn, &busy);
            scope.spawn(move || {
                for _ in 0..if cfg!(miri) { 5 } else { 2000 } {
                    assert!((1..5).contains(&turn.enter(id)));
                    assert!(!busy.swap(true, Relaxed));
                    busy.store(false, Relaxed);
                    turn.leave(id, id);
                }
            });
        }
    });
}
