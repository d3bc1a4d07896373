//! The convergent sum and its buffers.

use super::*;

#[derive(Clone, PartialEq, Debug)]
struct Numbers(Vec<u64>);

impl Accumulate for Numbers {
    fn accumulate(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a += b);
    }
}

fn buffers(count: usize) -> Arc<Buffers<Numbers>> {
    Arc::new(Buffers::new(count, || Numbers(vec![0; 3])))
}

#[test]
fn buffers_are_taken_once() {
    for count in [0, 1, 64, 65, 130] {
        let buffers = buffers(count);
        assert_eq!(buffers.capacity(), count);
        let mut taken: Vec<_> = (0..count).map(|_| buffers.take().unwrap()).collect();
        assert!(buffers.take().is_none());
        taken.iter_mut().enumerate().for_each(|(i, buffer)| buffer.0[0] = i as u64);
        assert!(taken.iter().enumerate().all(|(i, buffer)| buffer.0[0] == i as u64));
        if let Some(last) = taken.pop() {
            let kept = last.0[0];
            drop(last);
            assert_eq!(buffers.take().unwrap().0[0], kept);
        }
    }
}

#[test]
fn the_last_contribution_gets_the_sum() {
    let buffers = buffers(ConvergentSum::<Numbers>::buffers_needed(1, 1));
    let sum = ConvergentSum::new(3, Arc::clone(&buffers));
    for round in 0..4 {
        for i in 0..3 {
            let mut buffer = sum.buffers().take().unwrap();
            buffer.0.fill(10_u64.pow(i) + round);
            match (i, sum.add(buffer)) {
                (0 | 1, None) => {}
                (2, Some(total)) => assert_eq!(total.0, [111 + 3 * round; 3]),
                (_, result) => panic!("contribution {i}: {:?}", result.map(|total| total.0.clone())),
            }
        }
    }
    // An iteration that ends early.
    assert!(sum.add(buffers.take().unwrap()).is_none());
    sum.reset();
    let all: Vec<_> = (0..buffers.capacity()).map(|_| buffers.take()).collect();
    assert!(all.iter().all(Option::is_some), "the reset gives the partial sum back");
}

#[test]
#[should_panic(expected = "belongs to another sum")]
fn a_foreign_buffer_is_refused() {
    let sum = ConvergentSum::new(1, buffers(1));
    sum.add(buffers(1).take().unwrap());
}

/// Sums of a graph as a network has them, again and again, with no more buffers than are said to be enough.
#[test]
fn sums_of_an_iterated_graph() {
    const SUMS: usize = 3;
    const PARTS: usize = 7;
    for threads in [1, 2, 4] {
        let shared = buffers(ConvergentSum::<Numbers>::buffers_needed(threads, SUMS));
        let sums: Vec<_> = (0..SUMS).map(|_| ConvergentSum::new(PARTS, Arc::clone(&shared))).collect();
        let (count, counted) = counter();
        let mut executor = executor(&pool(threads), independent(SUMS * PARTS), move |task, _| {
            let (node, part) = (task.index() % SUMS, task.index() / SUMS);
            let mut buffer = sums[node].buffers().take().expect("enough buffers");
            buffer.0.fill(1 << part);
            if let Some(total) = sums[node].add(buffer) {
                assert_eq!(total.0, [(1 << PARTS) - 1; 3]);
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        });
        let steps = if cfg!(miri) { 5 } else { 500 };
        for step in 1..=steps {
            executor.step().unwrap();
            assert_eq!(counted(), step * SUMS);
        }
    }
}
