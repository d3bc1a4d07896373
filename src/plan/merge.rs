//! Tasks too small to be worth a node of the graph.

use std::collections::BTreeSet;
use std::ops::Range;

use super::builder::{PlanBuilder, TaskInfo};
use super::dependencies::Dependencies;

/// A node of the graph has at least this much work, in nanoseconds, where the program permits: some twenty times what it
/// costs to pass a task to another worker.
const LEAST: u32 = 5000;

/// The tasks of each node: runs of tasks of the program with one label, together at least [`LEAST`] of work where a single
/// one is less. A node runs its tasks in the order of the program, so that it may wait for all that they wait for.
pub(super) fn nodes(builder: &PlanBuilder) -> Vec<Range<usize>> {
    let mut nodes: Vec<Range<usize>> = Vec::new();
    let mut work = 0_u32;
    for (t, task) in builder.tasks.iter().enumerate() {
        match nodes.last_mut() {
            Some(node) if work < LEAST && task.cost < LEAST && alike(&builder.tasks[node.start], task) => {
                node.end = t + 1;
                work = work.saturating_add(task.cost);
            }
            _ => {
                nodes.push(t..t + 1);
                work = task.cost;
            }
        }
    }
    nodes
}

fn alike(a: &TaskInfo, b: &TaskInfo) -> bool {
    a.label == b.label && a.deferred == b.deferred && a.preparation == b.preparation
}

/// From the order of tasks to that of nodes. Tasks of one node need none: it runs them in order, and no run of a node
/// begins before its last one has ended.
pub(super) fn contract(order: &Dependencies, nodes: &[Range<usize>]) -> Dependencies {
    let mut node_of = vec![0; order.before.len()];
    for (n, tasks) in nodes.iter().enumerate() {
        node_of[tasks.clone()].fill(n);
    }
    let side = |of: &[BTreeSet<usize>]| -> Vec<BTreeSet<usize>> {
        let waits = |(n, tasks): (usize, &Range<usize>)| {
            of[tasks.clone()].iter().flatten().map(|&p| node_of[p]).filter(|&p| p != n).collect()
        };
        nodes.iter().enumerate().map(waits).collect()
    };
    Dependencies { before: side(&order.before), carried: side(&order.carried) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Label;

    fn set(tasks: &[usize]) -> BTreeSet<usize> {
        tasks.iter().copied().collect()
    }

    #[test]
    fn small_neighbours_share_a_node() {
        let mut b = PlanBuilder::new(2, false);
        for (layer, cost, deferred) in [
            ("a", 2000.0, false),
            ("a", 2000.0, false),
            ("a", 2000.0, false),
            ("a", 2000.0, false),
            ("a", 9000.0, false),
            ("b", 100.0, false),
            ("b", 100.0, true),
            ("b", 100.0, true),
            ("a", 100.0, true),
        ] {
            let task = b.task(Label::new(&layer.into(), "t"), cost);
            if deferred { task.deferred().run(|_| ()) } else { task.run(|_| ()) }
        }
        assert_eq!(nodes(&b), [0..3, 3..4, 4..5, 5..6, 6..8, 8..9]);
    }

    #[test]
    fn a_node_waits_for_what_its_tasks_wait_for() {
        // 0 and 1 before 2 and 3, 3 before 4; the next 0 after 2, the next 2 after 3.
        let order = Dependencies {
            before: vec![set(&[]), set(&[]), set(&[0]), set(&[1]), set(&[3])],
            carried: vec![set(&[2]), set(&[]), set(&[3]), set(&[]), set(&[])],
        };
        let contracted = contract(&order, &[0..1, 1..2, 2..4, 4..5]);
        assert_eq!(contracted.before, [set(&[]), set(&[]), set(&[0, 1]), set(&[2])]);
        assert_eq!(contracted.carried, [set(&[2]), set(&[]), set(&[]), set(&[])]);
    }
}
