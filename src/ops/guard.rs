//! Whether an iteration may change parameters.

use super::Site;
use super::loss;
use super::update::Shared;
use crate::plan::{Buffer, PlanBuilder};

/// Adds the task that copies what the losses found, `stats` one after another, to `found`, and forbids any change where a loss
/// is not finite, or a gradient of the step before was not; `fault` gets 1 in the latter case, else 0.
pub fn guard(
    plan: &mut PlanBuilder,
    site: &Site,
    stats: &[Buffer],
    shared: &Shared,
    found: Buffer,
    fault: Buffer,
) {
    let whole = |plan: &PlanBuilder, buffer| plan.whole(buffer);
    let (report, norm, guard) =
        (whole(plan, shared.report), whole(plan, shared.norm), whole(plan, shared.guard));
    let (found, fault) = (whole(plan, found), whole(plan, fault));
    let stats: Vec<_> = stats.iter().map(|&stats| plan.whole(stats)).collect();
    let mut task = plan.task(site.label("guard"), 0.0).read(report).read(norm);
    for stats in stats {
        task = task.read(stats);
    }
    task.write(guard).write(found).write(fault).run(move |views| {
        let mut reads = views.reads.each();
        let mut next = || reads.next().expect("declared");
        let (report, norm) = (next(), next());
        let [mut guard, mut found, mut fault] = views.writes.take();
        let mut to = &mut *found.row_mut(0);
        for stats in reads {
            let (own, rest) = to.split_at_mut(stats.cols());
            own.copy_from_slice(stats.row(0));
            to = rest;
        }
        let is_sound = is_sound(report.row(0), norm.row(0));
        let is_finite = loss::total(found.row(0)).loss.is_finite();
        guard.row_mut(0)[0] = f32::from(is_sound && is_finite);
        fault.row_mut(0)[0] = f32::from(!is_sound);
    });
}

/// Whether the gradients were finite that the blocks' `faults` and the `norm` tell of.
pub fn is_sound(faults: &[f32], norm: &[f32]) -> bool {
    faults.iter().all(|&fault| fault == 0.0) && norm.iter().all(|value| value.is_finite())
}
