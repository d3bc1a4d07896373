//! Placing buffers in the arena.

use std::ops::Range;

use super::builder::{PlanBuilder, Storage, TaskInfo};

/// Buffers start at multiples of this many floats (two cache lines: neighbours never share a pair that the
/// spatial prefetcher fetches together).
const ALIGNMENT: usize = 32;

/// The place of each buffer in the arena, in floats; empty for the caller's buffers.
pub(super) struct Layout {
    pub places: Vec<Range<usize>>,
    pub len: usize,
}

/// Memory that a deferred task reads is used again within the iteration only if the arena would otherwise be so many
/// times larger: who writes there next has to wait for a task that should fill gaps.
const WORTH_WAITING: f64 = 1.5;

/// A place for each buffer.
pub(super) fn place(builder: &PlanBuilder) -> Layout {
    let tight = by_size(builder, &lives(builder, |task| task + 1));
    let loose = by_size(builder, &lives(builder, |_| builder.tasks.len()));
    if loose.len as f64 <= WORTH_WAITING * tight.len as f64 { loose } else { tight }
}

/// Buffers in order of size, each at the lowest place where no buffer of a meeting life lies (greedy by size,
/// as in Pisarchyk and Lee, arXiv 2001.03288).
fn by_size(builder: &PlanBuilder, lives: &[Life]) -> Layout {
    let size = |b: usize| {
        let info = &builder.buffers[b];
        (info.rows * info.cols).next_multiple_of(ALIGNMENT)
    };
    let mut order: Vec<usize> = (0..builder.buffers.len()).filter(|&b| lives[b].is_some()).collect();
    order.sort_by_key(|&b| (std::cmp::Reverse(size(b)), b));
    let mut places = vec![0..0; builder.buffers.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut len = 0;
    for b in order {
        let mut occupied: Vec<Range<usize>> = placed
            .iter()
            .filter(|&&other| meet(&lives[b], &lives[other]))
            .map(|&other| places[other].clone())
            .collect();
        occupied.sort_by_key(|place| place.start);
        let mut start = 0;
        for other in occupied {
            if other.start >= start + size(b) {
                break;
            }
            start = start.max(other.end);
        }
        places[b] = start..start + size(b);
        len = len.max(places[b].end);
        placed.push(b);
    }
    Layout { places, len }
}

/// The program-order interval in which a buffer's content matters; `None` for the caller's buffers.
type Life = Option<Range<usize>>;

fn meet(a: &Life, b: &Life) -> bool {
    matches!((a, b), (Some(a), Some(b)) if a.start.max(b.start) < a.end.min(b.end))
}

/// The lives of all buffers where a deferred task's memory is needed until `deferred_end` of its place in the program.
fn lives(builder: &PlanBuilder, deferred_end: impl Fn(usize) -> usize) -> Vec<Life> {
    let mut lives: Vec<Life> = builder
        .buffers
        .iter()
        .map(|info| match info.storage {
            Storage::Persistent => Some(0..usize::MAX),
            Storage::Transient => Some(0..0),
            Storage::Input(_) | Storage::Output(_) => None,
        })
        .collect();
    for (t, TaskInfo { reads, writes, deferred, .. }) in builder.tasks.iter().enumerate() {
        let end = if *deferred { deferred_end(t) } else { t + 1 };
        for region in reads.iter().chain(writes) {
            if let Some(life) = &mut lives[region.buffer.0] {
                if life.start == life.end {
                    *life = t..t + 1;
                }
                life.end = life.end.max(end);
            }
        }
    }
    lives
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Label;

    #[test]
    fn buffers_share_memory_when_their_lives_do_not_meet() {
        let mut b = PlanBuilder::new(1, false);
        let name = "test".into();
        let chain: Vec<_> = (0..4).map(|_| b.transient(1, 100)).collect();
        let kept = b.persistent(1, 100);
        for pair in chain.windows(2) {
            let (read, write) = (b.whole(pair[0]), b.whole(pair[1]));
            b.task(Label::new(&name, "copy"), 1.0).read(read).write(write).run(|_| ());
        }
        let layout = place(&b);
        assert_eq!(layout.len, 3 * 128, "two neighbours of the chain and the kept buffer");
        for (i, &a) in chain.iter().enumerate() {
            assert!(
                layout.places[a.0].start.max(layout.places[kept.0].start)
                    >= layout.places[a.0].end.min(layout.places[kept.0].end)
            );
            if let Some(&next) = chain.get(i + 1) {
                assert_ne!(layout.places[a.0], layout.places[next.0]);
            }
        }
    }

    #[test]
    fn what_deferred_tasks_read_is_not_used_again_where_memory_allows() {
        let name: std::sync::Arc<str> = "test".into();
        let copy = |b: &mut PlanBuilder, from, to, deferred| {
            let (read, write) = (b.whole(from), b.whole(to));
            let task = b.task(Label::new(&name, "copy"), 1.0).read(read).write(write);
            if deferred { task.deferred().run(|_| ()) } else { task.run(|_| ()) }
        };
        for (kept, shared) in [(400, false), (32, true)] {
            let mut b = PlanBuilder::new(1, false);
            b.persistent(1, kept);
            let [source, read, later] = [32, 100, 100].map(|len| b.transient(1, len));
            let sum = b.transient(1, 32);
            copy(&mut b, source, read, false);
            copy(&mut b, read, sum, true);
            copy(&mut b, source, later, false);
            let layout = place(&b);
            assert_eq!(layout.places[read.0] == layout.places[later.0], shared, "beside {kept} floats");
        }
    }
}
