//! From declared memory to order.
//!
//! The program is walked twice, as two iterations in a row, with the history of accesses that later ones may
//! conflict with. What the first walk finds orders tasks inside an iteration; what the second walk finds against
//! the history of the first orders tasks of one iteration after tasks of the one before. An access leaves the
//! history when a write covers it: whatever conflicts with it later conflicts with that write too.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::builder::{PlanBuilder, Region, Sum, SumRole};
use super::layout::Layout;

/// Which tasks, or nodes of several tasks, wait for which. Indices past those are joints ([`insert_joints`]).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Dependencies {
    /// For each task, those that come before it in the same iteration.
    pub before: Vec<BTreeSet<usize>>,
    /// For each task, those of the iteration before that come before it.
    pub carried: Vec<BTreeSet<usize>>,
}

struct Access<'a> {
    task: usize,
    iteration: usize,
    region: &'a Region,
    writes: bool,
}

/// The order that the declarations of all tasks demand.
pub(super) fn derive(builder: &PlanBuilder, layout: &Layout) -> Dependencies {
    let count = builder.tasks.len();
    let mut order =
        Dependencies { before: vec![BTreeSet::new(); count], carried: vec![BTreeSet::new(); count] };
    let neighbours = sharing_memory(layout);
    let mut history: Vec<Vec<Access>> = (0..builder.buffers.len()).map(|_| Vec::new()).collect();
    for iteration in 0..2 {
        for (t, task) in builder.tasks.iter().enumerate() {
            let reads = task.reads.iter().map(|region| (region, false));
            let writes = task.writes.iter().map(|region| (region, true));
            let accesses = || reads.clone().chain(writes.clone());
            for (region, writes) in accesses() {
                for &buffer in &neighbours[region.buffer.0] {
                    history[buffer].retain(|old| {
                        let conflict = (writes || old.writes) && touches(builder, layout, region, old.region);
                        if !conflict {
                            return true;
                        }
                        if old.iteration == iteration {
                            if old.task != t {
                                order.before[t].insert(old.task);
                            }
                        } else if old.task > t {
                            // A task before this one in the program is before it within each iteration too, and no
                            // run of a task begins before its last one has ended.
                            order.carried[t].insert(old.task);
                        }
                        !(writes && contains(builder, layout, region, old.region))
                    });
                }
            }
            for (region, writes) in accesses() {
                history[region.buffer.0].push(Access { task: t, iteration, region, writes });
            }
        }
    }
    order_sums(builder, &mut order);
    order
}

/// For each buffer, those whose memory meets its own, itself included.
fn sharing_memory(layout: &Layout) -> Vec<Vec<usize>> {
    let meet = |a: &Range<usize>, b: &Range<usize>| a.start.max(b.start) < a.end.min(b.end);
    (0..layout.places.len())
        .map(|a| {
            (0..layout.places.len())
                .filter(|&b| a == b || meet(&layout.places[a], &layout.places[b]))
                .collect()
        })
        .collect()
}

/// A region as it lies in the arena: `count` runs of `len` floats, `stride` apart.
struct Runs {
    start: usize,
    count: usize,
    len: usize,
    stride: usize,
}

impl Runs {
    fn new(builder: &PlanBuilder, layout: &Layout, region: &Region) -> Self {
        let (_, stride) = builder.dimensions(region.buffer);
        let (rows, cols) = (region.rows.len(), region.cols.len());
        let start = layout.places[region.buffer.0].start + region.rows.start * stride + region.cols.start;
        // Whole rows follow each other without a gap.
        let (count, len) = if cols == stride { (1, rows * cols) } else { (rows, cols) };
        let count = if len == 0 { 0 } else { count };
        Self { start, count, len, stride }
    }

    /// From the first to the last element.
    fn span(&self) -> Range<usize> {
        match self.count {
            0 => 0..0,
            count => self.start..self.start + (count - 1) * self.stride + self.len,
        }
    }

    /// Whether a run has an element of `range`, which is not empty.
    fn meet(&self, range: &Range<usize>) -> bool {
        // Of the runs that end behind the beginning of the range, the first begins before its end, if any does.
        let beyond = (range.start + 1).saturating_sub(self.start + self.len);
        let first = beyond.div_ceil(self.stride);
        first < self.count && self.start + first * self.stride < range.end
    }

    fn touch(&self, other: &Self) -> bool {
        let (few, many) = if self.count <= other.count { (self, other) } else { (other, self) };
        let (a, b) = (few.span(), many.span());
        a.start.max(b.start) < a.end.min(b.end)
            && (0..few.count)
                .map(|i| few.start + i * few.stride)
                .any(|start| many.meet(&(start..start + few.len)))
    }
}

/// Whether both have an element in common. Exactly: [`derive`] relies on it that what touches a region touches whatever
/// contains that region.
fn touches(builder: &PlanBuilder, layout: &Layout, a: &Region, b: &Region) -> bool {
    if a.buffer == b.buffer {
        return a.overlaps(b);
    }
    Runs::new(builder, layout, a).touch(&Runs::new(builder, layout, b))
}

/// Whether every element of `b` is one of `a`. Of different buffers' regions only some are found.
fn contains(builder: &PlanBuilder, layout: &Layout, a: &Region, b: &Region) -> bool {
    if a.buffer == b.buffer {
        return a.covers(b);
    }
    let a = Runs::new(builder, layout, a);
    let one_run = a.count == 1;
    let (a, b) = (a.span(), Runs::new(builder, layout, b).span());
    one_run && a.start <= b.start && b.end <= a.end
}

/// A sum's collector comes after its contributors, and before those of the next iteration.
fn order_sums(builder: &PlanBuilder, order: &mut Dependencies) {
    let mut contributors: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (t, task) in builder.tasks.iter().enumerate() {
        match task.sum {
            Some(SumRole::Contribute(Sum(sum))) => contributors.entry(sum).or_default().push(t),
            Some(SumRole::Collect(Sum(sum))) => {
                let from = contributors.get(&sum).map(Vec::as_slice).unwrap_or_default();
                assert_eq!(
                    from.len(),
                    builder.sums[sum].contributions,
                    "{}: contributions declared",
                    task.label
                );
                for &contributor in from {
                    order.before[t].insert(contributor);
                    order.carried[contributor].insert(t);
                }
            }
            None => {}
        }
    }
}

/// Where `n` tasks wait for the same `m` tasks, `n + m` edges through a joint replace `n * m`: a task without work, after
/// all others.
pub(super) fn insert_joints(order: &mut Dependencies) {
    const WORTH_IT: usize = 3;
    let count = order.before.len();
    for carried in [false, true] {
        let mut groups: BTreeMap<BTreeSet<usize>, Vec<usize>> = BTreeMap::new();
        let of = |order: &Dependencies, t: usize| {
            if carried { order.carried[t].clone() } else { order.before[t].clone() }
        };
        for t in 0..count {
            groups.entry(of(order, t)).or_default().push(t);
        }
        for (before, after) in groups {
            if before.len() < WORTH_IT || after.len() < WORTH_IT {
                continue;
            }
            let joint = order.before.len();
            order.before.push(BTreeSet::new());
            order.carried.push(BTreeSet::new());
            let side = |order: &mut Dependencies, t: usize, set| {
                if carried { order.carried[t] = set } else { order.before[t] = set }
            };
            side(order, joint, before);
            for t in after {
                side(order, t, BTreeSet::new());
                order.before[t].insert(joint);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::layout;
    use crate::plan::{Buffer, Label};

    fn task(b: &mut PlanBuilder, reads: &[Region], writes: &[Region]) {
        let mut task = b.task(Label::new(&"t".into(), "t"), 1.0);
        for r in reads {
            task = task.read(r.clone());
        }
        for w in writes {
            task = task.write(w.clone());
        }
        task.run(|_| ());
    }

    fn derived(b: &PlanBuilder) -> Dependencies {
        let mut order = derive(b, &layout::place(b));
        insert_joints(&mut order);
        order
    }

    fn set(tasks: &[usize]) -> BTreeSet<usize> {
        tasks.iter().copied().collect()
    }

    #[test]
    fn weights_are_updated_after_their_use_and_used_after_their_update() {
        let mut b = PlanBuilder::new(1, false);
        let (w, x, g) = (b.persistent(1, 8), b.transient(1, 8), b.transient(1, 8));
        let [w, x, g] = [w, x, g].map(|buffer: Buffer| b.whole(buffer));
        task(&mut b, std::slice::from_ref(&w), std::slice::from_ref(&x)); // 0: forward
        task(&mut b, &[x], std::slice::from_ref(&g)); // 1: gradient
        task(&mut b, &[g], &[w]); // 2: update
        let order = derived(&b);
        assert_eq!(order.before, [set(&[]), set(&[0]), set(&[0, 1])]);
        assert_eq!(
            order.carried[0],
            set(&[1, 2]),
            "the next forward pass waits for the update and for readers of x"
        );
        assert_eq!(order.carried[1], set(&[2]));
    }

    #[test]
    fn disjoint_parts_of_a_buffer_are_independent() {
        let mut b = PlanBuilder::new(1, false);
        let image = b.persistent(4, 10);
        let left = b.region(image, 0..4, 0..5);
        let right = b.region(image, 0..4, 5..10);
        let top = b.rows(image, 0..2);
        task(&mut b, &[], &[left]);
        task(&mut b, &[], &[right]);
        task(&mut b, &[top], &[]);
        let order = derived(&b);
        assert_eq!(order.before, [set(&[]), set(&[]), set(&[0, 1])]);
        assert_eq!(order.carried[0], set(&[2]));
    }

    #[test]
    fn joints_replace_all_to_all_edges() {
        let mut b = PlanBuilder::new(1, false);
        let image = b.persistent(8, 4);
        for row in 0..8 {
            let part = b.rows(image, row..row + 1);
            task(&mut b, &[], &[part]);
        }
        for _ in 0..5 {
            let whole = b.whole(image);
            task(&mut b, &[whole], &[]);
        }
        let order = derived(&b);
        assert_eq!(order.before.len(), 15);
        assert_eq!(order.before[13], (0..8).collect());
        for t in 8..13 {
            assert_eq!(order.before[t], set(&[13]));
        }
        assert_eq!(order.carried[14], (8..13).collect(), "the next writers wait for the readers");
        for t in 0..8 {
            assert_eq!((&order.before[t], &order.carried[t]), (&set(&[14]), &set(&[])));
        }
    }

    /// Random programs: every conflicting pair is ordered by a path, in the iteration and across it.
    #[test]
    fn every_conflict_is_ordered() {
        use proptest::prelude::*;
        let access = (0usize..4, 0usize..6, 1usize..4, 0usize..6, 1usize..4);
        let program =
            proptest::collection::vec((proptest::collection::vec(access.clone(), 0..3), access), 1..14);
        proptest!(ProptestConfig::with_cases(500), |(program in program)| {
            let mut b = PlanBuilder::new(1, false);
            let buffers: Vec<Buffer> = (0..4).map(|i| if i == 0 { b.persistent(8, 8) } else { b.transient(8, 8) }).collect();
            let mut declared = Vec::new();
            for (reads, write) in program {
                let region = |&(buffer, r, nr, c, nc): &(usize, usize, usize, usize, usize)| b.region(buffers[buffer], r..(r + nr).min(8), c..(c + nc).min(8));
                let write = region(&write);
                let reads: Vec<Region> = reads.iter().map(region).filter(|r| !r.overlaps(&write)).collect();
                task(&mut b, &reads, std::slice::from_ref(&write));
                declared.push((reads, write));
            }
            let layout = layout::place(&b);
            let mut order = derive(&b, &layout);
            insert_joints(&mut order);
            let n = declared.len();
            let all = order.before.len();
            // nodes: (iteration, task); reach over two iterations
            let mut ancestors: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); 2 * all];
            for _ in 0..2 * all {
                for i in 0..2 {
                    for t in 0..all {
                        let mut found = BTreeSet::new();
                        for &p in &order.before[t] {
                            found.insert(i * all + p);
                            found.extend(ancestors[i * all + p].iter().copied());
                        }
                        if i == 1 {
                            // The pool never begins a run of a task before the last one has ended.
                            for p in order.carried[t].iter().copied().chain([t]) {
                                found.insert(p);
                                found.extend(ancestors[p].iter().copied());
                            }
                        }
                        ancestors[i * all + t].extend(found);
                    }
                }
            }
            // Element by element: what only the spans of two regions have in common need not be ordered.
            let elements = |region: &Region| -> BTreeSet<usize> {
                let start = layout.places[region.buffer.0].start;
                let row = |row: usize| region.cols.clone().map(move |col| start + 8 * row + col);
                region.rows.clone().flat_map(row).collect()
            };
            let conflict = |a: usize, c: usize| {
                let hits = |x: &Region, y: &Region| !elements(x).is_disjoint(&elements(y));
                let (ra, wa) = &declared[a];
                let (rc, wc) = &declared[c];
                hits(wa, wc) || ra.iter().any(|r| hits(r, wc)) || rc.iter().any(|r| hits(r, wa))
            };
            for a in 0..n {
                for c in 0..n {
                    if conflict(a, c) {
                        if a < c {
                            prop_assert!(ancestors[c].contains(&a), "{a} before {c}");
                        }
                        prop_assert!(ancestors[all + c].contains(&a), "{a} before the next {c}");
                    }
                }
            }
            // a carried edge never runs against the order of the iteration it ends in
            for t in 0..all {
                for &p in &order.carried[t] {
                    prop_assert!(ancestors[p].contains(&t), "path {t} -> {p}");
                }
            }
        });
    }
}
