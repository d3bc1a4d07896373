//! Ranks, and graphs that are refused.

use super::*;

fn ids(builder: &mut GraphBuilder, costs: &[u32], class: Class) -> Vec<TaskId> {
    costs.iter().map(|&cost| builder.task(cost, class)).collect()
}

#[test]
fn longest_way_to_the_end_goes_first() {
    let mut builder = GraphBuilder::new();
    let t = ids(&mut builder, &[10, 10, 500, 10, 100], Class::Gated);
    // 0 -> 1 -> 4 takes 120, 2 takes 500, 3 -> 4 takes 110.
    builder.edge(t[0], t[1]);
    builder.edge(t[1], t[4]);
    builder.edge(t[3], t[4]);
    let graph = builder.build().unwrap();
    let mut order = vec![];
    graph.run_serial(|task| order.push(task));
    assert_eq!(order, [t[2], t[0], t[1], t[3], t[4]]);
    assert!(order.iter().enumerate().all(|(rank, &task)| graph.rank(task) == rank));
    assert_eq!(graph.longest_path(|task| f64::from(graph.cost(task))), (500.0, vec![t[2]]));
}

#[test]
fn equals_that_converge_lie_together() {
    let mut builder = GraphBuilder::new();
    let nodes = ids(&mut builder, &[10; 3], Class::Gated);
    let edges = ids(&mut builder, &[10; 9], Class::Gated);
    // Added in turn, they belong to the three nodes in turn.
    edges.iter().enumerate().for_each(|(i, &edge)| builder.edge(edge, nodes[i % 3]));
    let graph = builder.build().unwrap();
    let mut order = vec![];
    graph.run_serial(|task| order.push(task.index()));
    assert_eq!(order, [3, 6, 9, 4, 7, 10, 5, 8, 11, 0, 1, 2]);
}

#[test]
fn updates_come_last_and_those_of_the_first_layers_first() {
    let mut builder = GraphBuilder::new();
    let forward = ids(&mut builder, &[10; 3], Class::Gated);
    let backward = ids(&mut builder, &[10; 3], Class::Gated);
    let update = ids(&mut builder, &[10_000; 3], Class::Deferred);
    let after_gate = builder.task(1, Class::Deferred);
    let gates = builder.task(1, Class::Gated);
    builder.edge(forward[0], after_gate);
    builder.edge(after_gate, gates);
    for layer in 0..3 {
        if layer < 2 {
            builder.edge(forward[layer], forward[layer + 1]);
            builder.edge(backward[layer + 1], backward[layer]);
        }
        builder.edge(forward[layer], backward[layer]);
        builder.edge(backward[layer], update[layer]);
        builder.carried(update[layer], forward[layer]);
    }
    let graph = builder.build().unwrap();
    let ranks = |tasks: &[TaskId]| tasks.iter().map(|&task| graph.rank(task)).collect::<Vec<_>>();
    assert_eq!(ranks(&update), [8, 9, 10]);
    // Deferred in name, but the gate waits for what comes after it.
    assert!(graph.rank(after_gate) < graph.rank(gates) && graph.rank(gates) < 8);
}

#[test]
fn cycles_are_refused() {
    let mut builder = GraphBuilder::new();
    let t = ids(&mut builder, &[1; 6], Class::Gated);
    for (a, b) in [(0, 1), (1, 2), (2, 3), (3, 1), (3, 4), (5, 0)] {
        builder.edge(t[a], t[b]);
    }
    let Err(GraphError::Cycle(task)) = builder.build() else { panic!("a cycle was accepted") };
    assert!(t[1..4].contains(&task), "{task} is not on the cycle");
}

#[test]
fn carried_edges_need_a_way_back() {
    let mut builder = GraphBuilder::new();
    let (a, b) = (builder.task(1, Class::Gated), builder.task(1, Class::Gated));
    let update = builder.task(1, Class::Deferred);
    builder.edge(a, update);
    builder.carried(update, a);
    assert!(builder.build().is_ok());
    // Holds anyway: a step begins after the gated tasks of the last.
    builder.carried(a, b);
    assert!(builder.build().is_ok());
    builder.carried(update, b);
    let error = builder.build().unwrap_err();
    assert_eq!(error, GraphError::CarriedWithoutPath { before: update, after: b });
    assert_eq!(
        error.to_string(),
        "the carried edge from task 2 to task 1 needs a path of edges from task 1 to task 2"
    );
}

#[test]
fn deferred_tasks_must_not_be_overtaken() {
    let mut builder = GraphBuilder::new();
    let lonely = builder.task(1, Class::Deferred);
    assert_eq!(builder.build().unwrap_err(), GraphError::DeferredSource(lonely));
    let first = builder.task(1, Class::Gated);
    let middle = builder.task(1, Class::Gated);
    builder.edge(first, middle);
    builder.edge(middle, lonely);
    assert_eq!(builder.build().unwrap_err(), GraphError::Overtaken { before: middle, after: lonely });
    // Through a task before the predecessor and one after the deferred task.
    let last = builder.task(1, Class::Deferred);
    builder.edge(lonely, last);
    builder.carried(last, first);
    assert!(builder.build().is_ok());
    // A second predecessor that no carried edge holds back.
    let other = builder.task(1, Class::Gated);
    builder.edge(other, lonely);
    assert_eq!(builder.build().unwrap_err(), GraphError::Overtaken { before: other, after: lonely });
}

/// More carried edges than fit one word of the check.
#[test]
fn many_carried_edges_are_all_checked() {
    let mut builder = GraphBuilder::new();
    let source = builder.task(1, Class::Gated);
    let updates = ids(&mut builder, &[1; 200], Class::Deferred);
    let forward = ids(&mut builder, &[1; 200], Class::Gated);
    for (&update, &forward) in updates.iter().zip(&forward) {
        builder.edge(source, forward);
        builder.edge(forward, update);
        builder.carried(update, forward);
    }
    assert!(builder.build().is_ok());
    builder.carried(updates[170], forward[171]);
    let expected = GraphError::CarriedWithoutPath { before: updates[170], after: forward[171] };
    assert_eq!(builder.build().unwrap_err(), expected);
}
