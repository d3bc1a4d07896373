//! From the tasks and edges of a builder to a graph: order, priorities and the check that iterations stay apart.

use std::cmp::Reverse;

use super::graph::{Class, Exit, Graph, GraphBuilder, GraphError, task_id};

/// Lists of neighbours, one after another: those of `i` lie in `starts[i]..starts[i + 1]`.
struct Adjacency {
    starts: Vec<u32>,
    items: Vec<u32>,
}

impl Adjacency {
    /// The list of `i` holds `b` for each pair `(i, b)`, in the order of the pairs.
    fn new(len: usize, pairs: impl Iterator<Item = (u32, u32)> + Clone) -> Self {
        let mut starts = vec![0_u32; len + 1];
        for (a, _) in pairs.clone() {
            starts[a as usize + 1] += 1;
        }
        for i in 0..len {
            starts[i + 1] += starts[i];
        }
        let mut next = starts.clone();
        let mut items = vec![0; starts[len] as usize];
        for (a, b) in pairs {
            items[next[a as usize] as usize] = b;
            next[a as usize] += 1;
        }
        Self { starts, items }
    }

    fn of(&self, i: u32) -> &[u32] {
        &self.items[self.starts[i as usize] as usize..self.starts[i as usize + 1] as usize]
    }
}

pub(super) fn graph(builder: &GraphBuilder) -> Result<Graph, GraphError> {
    let len = builder.costs.len();
    let successors = Adjacency::new(len, builder.edges.iter().copied());
    let order = topological_order(len, &successors)?;

    let mut gated: Vec<bool> = builder.classes.iter().map(|&class| class == Class::Gated).collect();
    for &task in order.iter().rev() {
        gated[task as usize] |= successors.of(task).iter().any(|&after| gated[after as usize]);
    }

    // A gated task is done before the next step begins: nothing needs to be carried from it.
    let carried: Vec<(u32, u32)> =
        builder.carried.iter().copied().filter(|&(before, _)| !gated[before as usize]).collect();
    check_iterations(builder, &order, &successors, &gated, &carried)?;

    let ranked = by_priority(builder, &order, &successors, &gated, &carried);
    let mut ranks = vec![0_u32; len];
    for (rank, &task) in ranked.iter().enumerate() {
        ranks[task as usize] = rank as u32;
    }
    let to_rank = |&(before, after): &(u32, u32)| (ranks[before as usize], ranks[after as usize]);
    let inside = builder.edges.iter().map(to_rank);
    let all = Adjacency::new(len, inside.clone().chain(carried.iter().map(to_rank)));

    let mut first_waits = vec![0_u32; len];
    inside.for_each(|(_, after)| first_waits[after as usize] += 1);
    let sources: Vec<u32> = (0..len as u32).filter(|&rank| first_waits[rank as usize] == 0).collect();
    sources.iter().for_each(|&rank| first_waits[rank as usize] = 1);
    let mut waits = first_waits.clone();
    carried.iter().map(to_rank).for_each(|(_, after)| waits[after as usize] += 1);

    let exits = ranked.iter().map(|&task| {
        let mut after = successors.of(task).iter();
        match gated[task as usize] {
            true if !after.any(|&after| gated[after as usize]) => Exit::Gate,
            false if after.len() == 0 => Exit::Drain,
            _ => Exit::None,
        }
    });
    Ok(Graph {
        tasks: ranked.iter().map(|&task| task_id(task as usize)).collect(),
        costs: builder.costs.clone().into(),
        starts: all.starts.into(),
        successors: all.items.into(),
        waits: waits.into(),
        first_waits: first_waits.into(),
        exits: exits.collect(),
        sources: sources.into(),
        n_gated: gated.iter().filter(|&&gated| gated).count() as u32,
        ranks: ranks.into(),
    })
}

/// Predecessors first (Kahn's algorithm).
fn topological_order(len: usize, successors: &Adjacency) -> Result<Vec<u32>, GraphError> {
    let mut missing = vec![0_u32; len];
    successors.items.iter().for_each(|&after| missing[after as usize] += 1);
    let mut order: Vec<u32> = (0..len as u32).filter(|&task| missing[task as usize] == 0).collect();
    let mut done = 0;
    while let Some(&task) = order.get(done) {
        done += 1;
        for &after in successors.of(task) {
            missing[after as usize] -= 1;
            if missing[after as usize] == 0 {
                order.push(after);
            }
        }
    }
    if done == len {
        return Ok(order);
    }
    // Every task left has a predecessor that is left: going back far enough ends on a cycle.
    let mut predecessor = vec![0_u32; len];
    for before in (0..len as u32).filter(|&before| missing[before as usize] > 0) {
        successors.of(before).iter().for_each(|&after| predecessor[after as usize] = before);
    }
    let left = (0..len).find(|&task| missing[task] > 0).unwrap_or(0);
    let on_cycle = (0..len).fold(left, |task, _| predecessor[task] as usize);
    Err(GraphError::Cycle(task_id(on_cycle)))
}

/// The tasks, first to run first.
///
/// The key is the longest path of costs to the end of the iteration. A path of a gated task ends at the gate. A path
/// of a deferred task goes on through its carried edges into the next iteration: the update that the next step needs
/// first goes first. A cost counts as at least 1, so that a predecessor's path is always the longer one and the order
/// of the keys is one that the edges permit.
fn by_priority(
    builder: &GraphBuilder,
    order: &[u32],
    successors: &Adjacency,
    gated: &[bool],
    carried: &[(u32, u32)],
) -> Vec<u32> {
    let carried = Adjacency::new(gated.len(), carried.iter().copied());
    let mut path = vec![0_u64; gated.len()];
    for class in [true, false] {
        for &task in order.iter().rev().filter(|&&task| gated[task as usize] == class) {
            let inside = successors.of(task).iter().filter(|&&after| gated[after as usize] == class);
            let next = carried.of(task).iter().filter(|&&after| gated[after as usize]);
            let longest = inside.chain(next).map(|&after| path[after as usize]).max().unwrap_or(0);
            path[task as usize] = longest + u64::from(builder.costs[task as usize].max(1));
        }
    }
    let mut ranked: Vec<u32> = (0..gated.len() as u32).collect();
    ranked.sort_unstable_by_key(|&task| {
        let converges_on = successors.of(task).iter().min().copied().unwrap_or(u32::MAX);
        (!gated[task as usize], Reverse(path[task as usize]), converges_on, task)
    });
    ranked
}

/// Checks that no task can report to a run of its successor before the last run of that successor has ended.
///
/// * An edge to a gated task: the step after waits for that task, and every task waits for the step. Nothing to check.
/// * A carried edge `(a, b)`: there must be a path from `b` to `a`.
/// * An edge `(p, t)` to a deferred task: there must be a carried edge `(a, b)` with a path from `t` to `a` and one from
///   `b` to `p` (either may be of no edge at all).
///
/// Paths are followed for 64 carried edges at a time, one bit of a word each, so that the cost is that of a few passes
/// over the graph and not one pass for each carried edge.
fn check_iterations(
    builder: &GraphBuilder,
    order: &[u32],
    successors: &Adjacency,
    gated: &[bool],
    carried: &[(u32, u32)],
) -> Result<(), GraphError> {
    let pair = |(before, after): (u32, u32)| (task_id(before as usize), task_id(after as usize));
    let mut has_predecessor = vec![false; order.len()];
    successors.items.iter().for_each(|&after| has_predecessor[after as usize] = true);
    if let Some(source) = order.iter().find(|&&task| !has_predecessor[task as usize] && !gated[task as usize])
    {
        return Err(GraphError::DeferredSource(task_id(*source as usize)));
    }

    let mut open: Vec<(u32, u32)> =
        builder.edges.iter().copied().filter(|&(_, after)| !gated[after as usize]).collect();
    for batch in carried.chunks(u64::BITS as usize) {
        // Bit i of `reached[task]`: a path from the end of carried edge i; of `reaches[task]`: a path to its start.
        let (mut reached, mut reaches) = (vec![0_u64; order.len()], vec![0_u64; order.len()]);
        for (i, &(before, after)) in batch.iter().enumerate() {
            reached[after as usize] |= 1 << i;
            reaches[before as usize] |= 1 << i;
        }
        for &task in order {
            successors.of(task).iter().for_each(|&after| reached[after as usize] |= reached[task as usize]);
        }
        for &task in order.iter().rev() {
            reaches[task as usize] |=
                successors.of(task).iter().fold(0, |bits, &after| bits | reaches[after as usize]);
        }
        for (i, &edge) in batch.iter().enumerate() {
            if reached[edge.0 as usize] >> i & 1 == 0 {
                let (before, after) = pair(edge);
                return Err(GraphError::CarriedWithoutPath { before, after });
            }
        }
        open.retain(|&(before, after)| reached[before as usize] & reaches[after as usize] == 0);
    }
    match open.first() {
        None => Ok(()),
        Some(&edge) => {
            let (before, after) = pair(edge);
            Err(GraphError::Overtaken { before, after })
        }
    }
}
