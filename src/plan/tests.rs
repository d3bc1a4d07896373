//! Plans as their callers see them: results, sums, failures, and the caller's memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use znn_kernels::{Isa, Kernels};

use super::{Buffer, Label, Plan, PlanBuilder};
use crate::pool::{Pool, PoolOptions};

mod programs;

/// Workers that are not bound: the tests have more of them than some machines have processors.
fn pool(threads: usize) -> Pool {
    Pool::new(PoolOptions { threads: Some(threads), pin: false, ..PoolOptions::default() }).expect("a pool")
}

fn kernels() -> Kernels {
    Kernels::new(Isa::best()).expect("the tier of this machine")
}

fn label(stage: &'static str) -> Label {
    Label::new(&Arc::from("test"), stage)
}

fn build(builder: PlanBuilder, pool: &Pool) -> Plan {
    builder.build(pool, kernels())
}

/// Adds a task that multiplies `from` by `factor` into `to`.
fn scale(plan: &mut PlanBuilder, from: Buffer, to: Buffer, factor: f32) {
    let (read, write) = (plan.whole(from), plan.whole(to));
    plan.task(label("scale"), 0.0).read(read).write(write).run(move |views| {
        let ([from], [mut to]) = (views.reads.take(), views.writes.take());
        let pairs = to.contiguous().iter_mut().zip(from.contiguous());
        pairs.for_each(|(to, from)| *to = factor * from);
    });
}

/// A plan that adds up the rows of its input in `contributions` tasks of some rows each.
fn column_sums(builder: &mut PlanBuilder, rows: usize, cols: usize, contributions: usize) -> Buffer {
    let (given, total) = (builder.input(rows, cols), builder.persistent(1, cols));
    let inside = builder.transient(rows, cols);
    scale(builder, given, inside, 1.0);
    let sum = builder.sum(cols, contributions);
    for part in 0..contributions {
        let rows = PlanBuilder::part(rows, 1, contributions, part);
        let region = builder.rows(inside, rows);
        builder.task(label("contribute"), 0.0).read(region).contribute(sum).deferred().run(|views| {
            let [rows] = views.reads.take();
            views.sum.fill(0.0);
            for row in 0..rows.rows() {
                views.sum.iter_mut().zip(rows.row(row)).for_each(|(sum, value)| *sum += value);
            }
        });
    }
    let write = builder.whole(total);
    builder.task(label("collect"), 0.0).write(write).collect(sum).deferred().run(|views| {
        let [mut total] = views.writes.take();
        total.row_mut(0).copy_from_slice(views.sum);
    });
    total
}

#[test]
fn sums_of_many_contributions() {
    const COLS: usize = 37;
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for contributions in [1, 2, 3, 7, 64, 301] {
        // Terms of many sizes, so that another order gives other bits.
        let given: Vec<f32> = (0..contributions * COLS)
            .map(|_| rng.random_range(-1.0f32..1.0) * 10f32.powi(rng.random_range(-3..4)))
            .collect();
        let column = |col: usize| given[col..].iter().step_by(COLS).map(|&value| f64::from(value));
        let mut fixed: Option<Vec<f32>> = None;
        for threads in [1, 2, 5] {
            let pool = pool(threads);
            for deterministic in [false, true] {
                let mut builder = PlanBuilder::new(threads, deterministic);
                let total = column_sums(&mut builder, contributions, COLS, contributions);
                let mut plan = build(builder, &pool);
                for _ in 0..5 {
                    plan.step(&[&given], &mut []).expect("a step");
                    let found = plan.buffer(total).expect("a sum").to_vec();
                    for (col, &found) in found.iter().enumerate() {
                        let (sum, size) = (column(col).sum::<f64>(), column(col).map(f64::abs).sum::<f64>());
                        let error = (f64::from(found) - sum).abs();
                        assert!(
                            error <= 1e-6 * size,
                            "{contributions} of {threads} threads: {found} for {sum}"
                        );
                    }
                    if deterministic {
                        let bits = fixed.get_or_insert_with(|| found.clone());
                        assert!(*bits == found, "{contributions} contributions, {threads} threads");
                    }
                }
            }
        }
    }
}

#[test]
fn deterministic_plans_divide_work_alike_for_any_number_of_threads() {
    let splits: Vec<usize> = [1, 2, 5, 64].map(|threads| PlanBuilder::new(threads, true).splits()).into();
    assert!(splits.iter().all(|&n| n == splits[0]), "{splits:?}");
    assert_eq!(PlanBuilder::new(1, false).splits(), 1, "a single worker gains nothing by splits");
}

#[test]
fn parts_cover_a_range_in_whole_units() {
    for len in [1usize, 5, 64, 100, 1000] {
        for unit in [1, 8, 64] {
            for parts in 1..=len.div_ceil(unit) {
                let mut end = 0;
                for index in 0..parts {
                    let part = PlanBuilder::part(len, unit, parts, index);
                    assert_eq!(part.start, end, "{index} of {parts} parts of {len}");
                    assert!(!part.is_empty() && part.start.is_multiple_of(unit));
                    end = part.end;
                }
                assert_eq!(end, len);
            }
        }
    }
}

#[test]
fn inputs_and_outputs_are_the_callers_memory() {
    for threads in [1, 3] {
        let pool = pool(threads);
        let mut builder = PlanBuilder::new(threads, false);
        let (a, b) = (builder.input(2, 3), builder.input(1, 4));
        let (twice, thrice) = (builder.output(1, 4), builder.output(2, 3));
        scale(&mut builder, b, twice, 2.0);
        scale(&mut builder, a, thrice, 3.0);
        let mut plan = build(builder, &pool);
        for step in 0..20 {
            let a: Vec<f32> = (0..6).map(|i| (step * 10 + i) as f32).collect();
            let b: Vec<f32> = (0..4).map(|i| (step * 100 + i) as f32).collect();
            let (mut twice, mut thrice) = ([0.0; 4], [0.0; 6]);
            plan.step(&[&a, &b], &mut [&mut twice, &mut thrice]).expect("a step");
            assert!(twice.iter().zip(&b).all(|(y, x)| *y == 2.0 * x), "{twice:?}");
            assert!(thrice.iter().zip(&a).all(|(y, x)| *y == 3.0 * x), "{thrice:?}");
        }
        assert_eq!(plan.tasks(), 2);
    }
}

#[test]
#[should_panic(expected = "length of the plan's slice 0")]
fn an_input_of_another_length_is_refused() {
    let pool = pool(1);
    let mut builder = PlanBuilder::new(1, false);
    let (a, y) = (builder.input(1, 3), builder.output(1, 3));
    scale(&mut builder, a, y, 1.0);
    let _ = build(builder, &pool).step(&[&[1.0; 4]], &mut [&mut [0.0; 3]]);
}

#[test]
#[should_panic(expected = "test shout declares overlapping regions")]
fn a_task_that_writes_what_it_reads_is_refused() {
    let mut builder = PlanBuilder::new(1, false);
    let buffer = builder.persistent(4, 4);
    let (read, write) = (builder.region(buffer, 0..2, 0..2), builder.region(buffer, 1..3, 1..3));
    builder.task(label("shout"), 0.0).read(read).write(write).run(|_| ());
}

#[test]
#[should_panic(expected = "a deferred task touches the caller's memory")]
fn a_deferred_task_on_the_callers_memory_is_refused() {
    let mut builder = PlanBuilder::new(1, false);
    let buffer = builder.input(1, 4);
    let read = builder.whole(buffer);
    builder.task(label("shout"), 0.0).read(read).deferred().run(|_| ());
}

#[test]
fn a_failed_step_names_the_task_and_the_next_one_works() {
    const ROWS: usize = 12;
    const COLS: usize = 5;
    for deterministic in [false, true] {
        for threads in [1, 2, 5] {
            let pool = pool(threads);
            let mut builder = PlanBuilder::new(threads, deterministic);
            let (trigger, y) = (builder.input(1, 1), builder.output(1, 1));
            let (read, write) = (builder.whole(trigger), builder.whole(y));
            let name = Arc::from("conv7");
            builder.task(Label::new(&name, "forward"), 0.0).read(read).write(write).run(|views| {
                let ([trigger], [mut y]) = (views.reads.take(), views.writes.take());
                assert!(trigger.row(0)[0] >= 0.0, "a number below zero");
                y.row_mut(0)[0] = trigger.row(0)[0];
            });
            let total = column_sums(&mut builder, ROWS, COLS, ROWS);
            let mut plan = build(builder, &pool);
            let mut y = [0.0];
            for step in 1..40u16 {
                let fails = step.is_multiple_of(3);
                let given = [f32::from(step); ROWS * COLS];
                let trigger = [if fails { -1.0 } else { f32::from(step) }];
                let result = plan.step(&[&trigger, &given], &mut [&mut y]);
                if fails {
                    let error = result.expect_err("a task that panics");
                    assert_eq!(error.task, "conv7 forward");
                    assert_eq!(error.message, "a number below zero");
                    assert!(error.to_string().contains("`conv7 forward` failed: a number below zero"));
                } else {
                    result.expect("a step");
                    assert_eq!(y, trigger);
                    let expected = ROWS as f32 * f32::from(step);
                    let total = plan.buffer(total).expect("a sum");
                    assert!(total.iter().all(|&sum| sum == expected), "{total:?} in step {step}");
                }
            }
        }
    }
}

/// The contributions that an abandoned iteration made are forgotten, whichever they are.
#[test]
fn a_failed_contribution_leaves_no_trace_in_its_sum() {
    const PARTS: usize = 9;
    for deterministic in [false, true] {
        let pool = pool(3);
        let mut builder = PlanBuilder::new(3, deterministic);
        let (given, inside) = (builder.input(PARTS, 1), builder.transient(PARTS, 1));
        scale(&mut builder, given, inside, 1.0);
        let (sum, total) = (builder.sum(1, PARTS), builder.output(1, 1));
        for part in 0..PARTS {
            let read = builder.rows(inside, part..part + 1);
            builder.task(label("part"), 0.0).read(read).contribute(sum).run(|views| {
                let [value] = views.reads.take();
                assert!(value.row(0)[0].is_finite(), "not finite");
                views.sum[0] = value.row(0)[0];
            });
        }
        let write = builder.whole(total);
        builder.task(label("total"), 0.0).write(write).collect(sum).run(|views| {
            views.writes.take::<1>()[0].row_mut(0)[0] = views.sum[0];
        });
        let mut plan = build(builder, &pool);
        let mut total = [0.0];
        for step in 0..60 {
            let mut given: Vec<f32> = (0..PARTS).map(|part| (part + step) as f32).collect();
            let expected: f32 = given.iter().sum();
            if step % 2 == 0 {
                given[step / 2 % PARTS] = f32::NAN;
                let error = plan.step(&[&given], &mut [&mut total]).expect_err("a task that panics");
                assert_eq!(error.task, "test part");
            } else {
                plan.step(&[&given], &mut [&mut total]).expect("a step");
                assert_eq!(total[0], expected, "step {step}");
            }
        }
    }
}

#[test]
fn the_failure_of_a_deferred_task_is_reported_later() {
    for finish in [false, true] {
        let pool = pool(2);
        let mut builder = PlanBuilder::new(2, false);
        let (given, inside) = (builder.input(1, 1), builder.transient(1, 1));
        let kept = builder.persistent(1, 1);
        scale(&mut builder, given, inside, 1.0);
        let (read, write) = (builder.whole(inside), builder.whole(kept));
        builder.task(label("late"), 0.0).read(read).write(write).deferred().run(|views| {
            let ([value], [mut kept]) = (views.reads.take(), views.writes.take());
            assert!(value.row(0)[0] > 0.0, "not above zero");
            kept.row_mut(0)[0] += value.row(0)[0];
        });
        let mut plan = build(builder, &pool);
        plan.step(&[&[1.0]], &mut []).expect("a step");
        assert_eq!(plan.buffer(kept).expect("the first step is done"), [1.0]);
        // The panic may come before the step returns.
        let step = plan.step(&[&[-1.0]], &mut []);
        let later = if finish { plan.finish() } else { plan.step(&[&[2.0]], &mut []) };
        let error = step.and(later).expect_err("a task that panics");
        assert_eq!(error.task, "test late");
        plan.finish().expect("an error is reported once");
        let before = plan.buffer(kept).expect("nothing failed since")[0];
        plan.step(&[&[5.0]], &mut []).expect("a step");
        assert_eq!(plan.buffer(kept).expect("nothing failed"), [before + 5.0]);
    }
}

#[test]
fn preparations_run_once_for_each_change() {
    let pool = pool(2);
    let mut builder = PlanBuilder::new(2, false);
    let (source, derived) = (builder.persistent(1, 4), builder.persistent(1, 4));
    let (trigger, y) = (builder.input(1, 1), builder.output(1, 4));
    let runs = Arc::new(AtomicUsize::new(0));
    let (read, write) = (builder.whole(source), builder.whole(derived));
    let counter = runs.clone();
    builder.task(label("prepare"), 0.0).read(read).write(write).preparation().run(move |views| {
        let ([source], [mut derived]) = (views.reads.take(), views.writes.take());
        derived.row_mut(0).iter_mut().zip(source.row(0)).for_each(|(d, s)| *d = s * s);
        // Relaxed: the end of the step orders it before the test's look.
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let (read, fuse, write) = (builder.whole(derived), builder.whole(trigger), builder.whole(y));
    builder.task(label("use"), 0.0).read(read).read(fuse).write(write).run(|views| {
        let ([derived, trigger], [mut y]) = (views.reads.take(), views.writes.take());
        assert!(trigger.row(0)[0] >= 0.0);
        y.row_mut(0).copy_from_slice(derived.row(0));
    });
    let mut plan = build(builder, &pool);
    let mut y = [0.0; 4];
    let mut step = |plan: &mut Plan, trigger: f32| {
        let result = plan.step(&[&[trigger]], &mut [&mut y]);
        // Relaxed: as above.
        (result.map(|()| y), runs.load(Ordering::Relaxed))
    };
    assert_eq!(step(&mut plan, 0.0), (Ok([0.0; 4]), 1), "the first step prepares");
    assert_eq!(step(&mut plan, 0.0), (Ok([0.0; 4]), 1));
    for change in 1..5u8 {
        plan.buffer_mut(source).expect("no failure").fill(f32::from(change));
        let expected = [f32::from(change).powi(2); 4];
        for _ in 0..3 {
            assert_eq!(step(&mut plan, 0.0), (Ok(expected), usize::from(change) + 1));
        }
        assert_eq!(plan.buffer(source).expect("no failure"), [f32::from(change); 4]);
        assert_eq!(step(&mut plan, 0.0).1, usize::from(change) + 1, "a look is no change");
    }
    let (result, before) = step(&mut plan, -1.0);
    assert_eq!(result.expect_err("a task that panics").task, "test use");
    assert_eq!(step(&mut plan, 0.0), (Ok([16.0; 4]), before + 1), "what a failed step left is not trusted");
}

#[test]
fn persistent_buffers_begin_at_zero_and_keep_their_content() {
    let pool = pool(2);
    let mut builder = PlanBuilder::new(2, false);
    let (kept, other) = (builder.persistent(3, 70), builder.persistent(2, 9));
    let given = builder.input(1, 50);
    // Transient buffers that come and go around them.
    let mut from = given;
    for _ in 0..6 {
        let to = builder.transient(1, 50);
        scale(&mut builder, from, to, 1.5);
        from = to;
    }
    let middle = builder.region(kept, 1..2, 10..20);
    builder.task(label("count"), 0.0).write(middle).deferred().run(|views| {
        views.writes.take::<1>()[0].row_mut(0).iter_mut().for_each(|value| *value += 1.0);
    });
    let bytes = builder.bytes(2);
    let mut plan = build(builder, &pool);
    assert_eq!(plan.bytes(), bytes, "the builder foresees the memory of a plan without sums");
    assert!(plan.buffer(kept).expect("nothing failed").iter().all(|&value| value == 0.0));
    plan.buffer_mut(other).expect("nothing failed").fill(7.0);
    for step in 1..30u8 {
        plan.step(&[&[1.0; 50]], &mut []).expect("a step");
        if step.is_multiple_of(7) {
            for (i, &value) in plan.buffer(kept).expect("nothing failed").iter().enumerate() {
                let counted = i / 70 == 1 && (10..20).contains(&(i % 70));
                assert_eq!(value, if counted { f32::from(step) } else { 0.0 }, "{i}");
            }
        }
    }
    assert!(plan.buffer(other).expect("nothing failed").iter().all(|&value| value == 7.0));
}
