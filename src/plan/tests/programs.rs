//! Random programs against a serial loop over their tasks.
//!
//! Values are whole numbers below 2^20, so that sums are exact in any order: what a plan computes must be what the loop
//! does, bit for bit, for any number of threads and however steps overlap.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{kernels, label, pool};
use crate::plan::builder::Region;
use crate::plan::{Buffer, Plan, PlanBuilder, Sum, Views};
use crate::pool::Pool;

/// Values of tasks are taken modulo this.
const MODULUS: u64 = 4093;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Input,
    Output,
    Transient,
    Persistent,
}

/// A part of a buffer of the program.
#[derive(Clone)]
struct Part {
    buffer: usize,
    rows: std::ops::Range<usize>,
    cols: std::ops::Range<usize>,
}

/// What a task does: each written value becomes a hash of some read ones, and of what it was unless `fresh`.
#[derive(Clone)]
struct Step {
    seed: u64,
    reads: Vec<Part>,
    write: Option<Part>,
    /// The task is the first of its iteration to write the buffer, so that its content is undefined before.
    fresh: bool,
    deferred: bool,
    contribute: Option<usize>,
    collect: Option<usize>,
    /// Iterations of idle work, to vary the order.
    spin: u32,
}

struct Program {
    buffers: Vec<(Kind, usize, usize)>,
    steps: Vec<Step>,
    /// Lengths and contributions.
    sums: Vec<(usize, usize)>,
}

fn mix(seed: u64, index: usize, read: u64, old: u64) -> f32 {
    let hash = (seed ^ index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    ((hash + 3 * read + 5 * old) % MODULUS) as f32
}

/// The value that element `index` of what a task writes gets.
fn value(step: &Step, index: usize, reads: &[Vec<f32>], sum: &[f32], old: f32) -> f32 {
    let pick = |values: &[f32], k: usize| {
        if values.is_empty() { 0.0 } else { values[(index * 7 + k) % values.len()] }
    };
    let read: u64 = reads.iter().enumerate().map(|(k, values)| (k as u64 + 2) * pick(values, k) as u64).sum();
    mix(step.seed, index, read + pick(sum, 0) as u64, if step.fresh { 0 } else { old as u64 })
}

impl Program {
    fn random(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut buffers = Vec::new();
        let kinds = [(Kind::Input, 2), (Kind::Persistent, 4), (Kind::Transient, 8), (Kind::Output, 2)];
        for (kind, count) in kinds {
            buffers.extend((0..count).map(|_| (kind, rng.random_range(1..6), rng.random_range(1..40))));
        }
        let mut program = Self { buffers, steps: Vec::new(), sums: Vec::new() };
        let mut written: Vec<bool> =
            program.buffers.iter().map(|buffer| matches!(buffer.0, Kind::Input | Kind::Persistent)).collect();
        for _ in 0..rng.random_range(10..40) {
            if rng.random_range(0..6) == 0 {
                program.add_sum(&mut rng, &written);
            } else {
                let write = rng.random_range(0..program.buffers.len());
                program.add_step(&mut rng, &mut written, write);
            }
        }
        // Every output is written, so that no step leaves the caller's memory as it was.
        for buffer in 0..program.buffers.len() {
            if !written[buffer] && program.buffers[buffer].0 == Kind::Output {
                program.add_step(&mut rng, &mut written, buffer);
            }
        }
        program
    }

    fn part(&self, rng: &mut ChaCha8Rng, buffer: usize) -> Part {
        let (_, rows, cols) = self.buffers[buffer];
        let mut range = |len: usize| {
            let start = rng.random_range(0..len);
            start..rng.random_range(start..len) + 1
        };
        if range(4).start == 0 {
            return Part { buffer, rows: 0..rows, cols: 0..cols };
        }
        Part { buffer, rows: range(rows), cols: range(cols) }
    }

    /// Parts of buffers that hold something and that `except` leaves.
    fn reads(&self, rng: &mut ChaCha8Rng, written: &[bool], except: Option<usize>) -> Vec<Part> {
        let readable: Vec<usize> = (0..written.len())
            .filter(|&b| written[b] && self.buffers[b].0 != Kind::Output && Some(b) != except)
            .collect();
        let count = rng.random_range(0..4);
        (0..count)
            .map(|_| {
                let buffer = readable[rng.random_range(0..readable.len())];
                self.part(rng, buffer)
            })
            .collect()
    }

    fn may_be_deferred(&self, reads: &[Part], write: Option<usize>) -> bool {
        let own = |buffer: usize| matches!(self.buffers[buffer].0, Kind::Transient | Kind::Persistent);
        reads.iter().all(|part| own(part.buffer)) && write.is_none_or(own)
    }

    fn add_step(&mut self, rng: &mut ChaCha8Rng, written: &mut [bool], write: usize) {
        if self.buffers[write].0 == Kind::Input {
            return;
        }
        let reads = self.reads(rng, written, Some(write));
        let fresh = !written[write];
        let (_, rows, cols) = self.buffers[write];
        let part =
            if fresh { Part { buffer: write, rows: 0..rows, cols: 0..cols } } else { self.part(rng, write) };
        let deferred = rng.random::<bool>() && self.may_be_deferred(&reads, Some(write));
        written[write] = true;
        self.steps.push(Step {
            seed: rng.random(),
            reads,
            write: Some(part),
            fresh,
            deferred,
            contribute: None,
            collect: None,
            spin: rng.random_range(0..2000),
        });
    }

    fn add_sum(&mut self, rng: &mut ChaCha8Rng, written: &[bool]) {
        let targets: Vec<usize> = (0..written.len())
            .filter(|&b| written[b] && matches!(self.buffers[b].0, Kind::Transient | Kind::Persistent))
            .collect();
        let (sum, contributions) = (self.sums.len(), rng.random_range(1..12));
        self.sums.push((rng.random_range(1..30), contributions));
        for _ in 0..contributions {
            let reads = self.reads(rng, written, None);
            let deferred = rng.random::<bool>() && self.may_be_deferred(&reads, None);
            self.steps.push(Step {
                seed: rng.random(),
                reads,
                write: None,
                fresh: true,
                deferred,
                contribute: Some(sum),
                collect: None,
                spin: rng.random_range(0..2000),
            });
        }
        let target = targets[rng.random_range(0..targets.len())];
        let write = Some(self.part(rng, target));
        self.steps.push(Step {
            seed: rng.random(),
            reads: Vec::new(),
            write,
            fresh: false,
            deferred: rng.random(),
            contribute: None,
            collect: Some(sum),
            spin: 0,
        });
    }

    fn build(&self, pool: &Pool, deterministic: bool) -> (Plan, Vec<Buffer>) {
        let mut builder = PlanBuilder::new(pool.threads(), deterministic);
        let buffers: Vec<Buffer> = self
            .buffers
            .iter()
            .map(|&(kind, rows, cols)| match kind {
                Kind::Input => builder.input(rows, cols),
                Kind::Output => builder.output(rows, cols),
                Kind::Transient => builder.transient(rows, cols),
                Kind::Persistent => builder.persistent(rows, cols),
            })
            .collect();
        let sums: Vec<Sum> =
            self.sums.iter().map(|&(len, contributions)| builder.sum(len, contributions)).collect();
        for step in &self.steps {
            let region = |builder: &PlanBuilder, part: &Part| -> Region {
                builder.region(buffers[part.buffer], part.rows.clone(), part.cols.clone())
            };
            let reads: Vec<Region> = step.reads.iter().map(|part| region(&builder, part)).collect();
            let write = step.write.as_ref().map(|part| region(&builder, part));
            let mut task = builder.task(label("step"), f64::from(step.spin));
            for read in reads {
                task = task.read(read);
            }
            if let Some(write) = write {
                task = task.write(write);
            }
            if let Some(sum) = step.contribute {
                task = task.contribute(sums[sum]);
            }
            if let Some(sum) = step.collect {
                task = task.collect(sums[sum]);
            }
            let task = if step.deferred { task.deferred() } else { task };
            let step = step.clone();
            task.run(move |views| run_in_plan(&step, views));
        }
        (builder.build(pool, kernels()), buffers)
    }
}

fn run_in_plan(step: &Step, views: Views<'_>) {
    for _ in 0..step.spin {
        std::hint::spin_loop();
    }
    let reads = match step.reads.len() {
        0 => Vec::new(),
        1 => views.reads.take::<1>().to_vec(),
        2 => views.reads.take::<2>().to_vec(),
        _ => views.reads.take::<3>().to_vec(),
    };
    let reads: Vec<Vec<f32>> = reads
        .into_iter()
        .map(|rows| (0..rows.rows()).flat_map(|row| rows.row(row)).copied().collect())
        .collect();
    if step.contribute.is_some() {
        for (index, to) in views.sum.iter_mut().enumerate() {
            *to = value(step, index, &reads, &[], 0.0);
        }
        return;
    }
    let [mut write] = views.writes.take();
    let cols = write.cols();
    for row in 0..write.rows() {
        for (col, to) in write.row_mut(row).iter_mut().enumerate() {
            *to = value(step, row * cols + col, &reads, views.sum, *to);
        }
    }
}

/// The program as one thread would run it, every buffer in memory of its own.
struct Serial<'a> {
    program: &'a Program,
    memory: Vec<Vec<f32>>,
}

impl<'a> Serial<'a> {
    fn new(program: &'a Program) -> Self {
        let memory = program.buffers.iter().map(|&(_, rows, cols)| vec![0.0; rows * cols]).collect();
        Self { program, memory }
    }

    fn places(&self, part: &Part) -> Vec<usize> {
        let cols = self.program.buffers[part.buffer].2;
        let places = part.rows.clone().flat_map(|row| part.cols.clone().map(move |col| row * cols + col));
        places.collect()
    }

    fn run(&mut self) {
        let mut sums: Vec<Vec<f32>> = self.program.sums.iter().map(|&(len, _)| vec![0.0; len]).collect();
        for step in &self.program.steps {
            let read = |part: &Part| {
                self.places(part).into_iter().map(|at| self.memory[part.buffer][at]).collect::<Vec<f32>>()
            };
            let reads: Vec<Vec<f32>> = step.reads.iter().map(read).collect();
            if let Some(sum) = step.contribute {
                for (index, to) in sums[sum].iter_mut().enumerate() {
                    *to += value(step, index, &reads, &[], 0.0);
                }
            }
            if let Some(part) = &step.write {
                let sum = step.collect.map_or(&[][..], |sum| &sums[sum]);
                for (index, at) in self.places(part).into_iter().enumerate() {
                    let old = self.memory[part.buffer][at];
                    self.memory[part.buffer][at] = value(step, index, &reads, sum, old);
                }
            }
        }
    }
}

/// Runs `steps` iterations both ways and compares outputs after each, what persists now and then.
fn compare(program: &Program, pool: &Pool, deterministic: bool, steps: usize, seed: u64) {
    let what = format!("program {seed}, {} threads, deterministic {deterministic}", pool.threads());
    let (mut plan, buffers) = program.build(pool, deterministic);
    let mut serial = Serial::new(program);
    let of = |kind: Kind| (0..buffers.len()).filter(move |&b| program.buffers[b].0 == kind);
    for step in 0..steps {
        for buffer in of(Kind::Input) {
            for (i, value) in serial.memory[buffer].iter_mut().enumerate() {
                *value = mix(seed, i, step as u64, buffer as u64);
            }
        }
        let inputs: Vec<Vec<f32>> = of(Kind::Input).map(|b| serial.memory[b].clone()).collect();
        let mut outputs: Vec<Vec<f32>> =
            of(Kind::Output).map(|b| vec![f32::NAN; serial.memory[b].len()]).collect();
        plan.step(
            &inputs.iter().map(Vec::as_slice).collect::<Vec<_>>(),
            &mut outputs.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>(),
        )
        .expect("a step");
        // A deferred task that still looked at the inputs would see this.
        drop(inputs);
        serial.run();
        for (found, buffer) in outputs.iter().zip(of(Kind::Output)) {
            assert_eq!(*found, serial.memory[buffer], "{what}: output {buffer} of step {step}");
        }
        if step % 16 == 15 || step + 1 == steps {
            for buffer in of(Kind::Persistent) {
                let found = plan.buffer(buffers[buffer]).expect("no failure");
                assert_eq!(found, serial.memory[buffer], "{what}: buffer {buffer} after step {step}");
            }
        }
    }
}

#[test]
fn random_programs_compute_what_a_serial_loop_does() {
    let pools = [1, 2, 5].map(pool);
    for seed in 0..60 {
        let program = Program::random(seed);
        for pool in &pools {
            compare(&program, pool, seed % 2 == 0, 40, seed);
        }
    }
}

/// The shape of training: gradients and updates are deferred, and go on while the next step begins.
#[test]
fn deferred_updates_over_hundreds_of_steps() {
    const LAYERS: usize = 6;
    const CONTRIBUTIONS: usize = 5;
    let whole = |buffer: usize| Part { buffer, rows: 0..4, cols: 0..16 };
    let mut buffers = vec![(Kind::Input, 4, 16)];
    buffers.extend((0..LAYERS).map(|_| (Kind::Persistent, 4, 16)));
    buffers.extend((0..LAYERS).map(|_| (Kind::Transient, 4, 16)));
    buffers.push((Kind::Output, 4, 16));
    let (weights, values) = (|layer: usize| 1 + layer, |layer: usize| 1 + LAYERS + layer);
    let blank = Step {
        seed: 0,
        reads: Vec::new(),
        write: None,
        fresh: true,
        deferred: false,
        contribute: None,
        collect: None,
        spin: 300,
    };
    let mut steps = Vec::new();
    for layer in 0..LAYERS {
        let before = if layer == 0 { 0 } else { values(layer - 1) };
        let reads = vec![whole(before), whole(weights(layer))];
        steps.push(Step { seed: layer as u64, reads, write: Some(whole(values(layer))), ..blank.clone() });
    }
    let last = whole(values(LAYERS - 1));
    steps.push(Step { seed: 77, reads: vec![last], write: Some(whole(1 + 2 * LAYERS)), ..blank.clone() });
    let mut sums = Vec::new();
    for layer in (0..LAYERS).rev() {
        sums.push((64, CONTRIBUTIONS));
        let sum = sums.len() - 1;
        for part in 0..CONTRIBUTIONS {
            let reads = vec![whole(values(layer))];
            let step = Step {
                seed: 100 + part as u64,
                reads,
                deferred: true,
                contribute: Some(sum),
                ..blank.clone()
            };
            steps.push(step);
        }
        let write = Some(whole(weights(layer)));
        steps.push(Step {
            seed: 200,
            write,
            fresh: false,
            deferred: true,
            collect: Some(sum),
            ..blank.clone()
        });
    }
    let program = Program { buffers, steps, sums };
    for threads in [1, 2, 3, 5] {
        compare(&program, &pool(threads), threads == 3, 400, threads as u64);
    }
}

/// A plan between whose steps another plan of the same pool runs.
#[test]
fn plans_take_turns_on_a_pool() {
    let pool = pool(3);
    let programs = [Program::random(900), Program::random(901)];
    let mut running: Vec<_> =
        programs.iter().map(|program| (program.build(&pool, false), Serial::new(program))).collect();
    for _ in 0..30 {
        for ((plan, _), serial) in &mut running {
            let memory = |kind: Kind| -> Vec<Vec<f32>> {
                let pairs = serial.program.buffers.iter().zip(&serial.memory);
                pairs.filter(|(buffer, _)| buffer.0 == kind).map(|(_, memory)| memory.clone()).collect()
            };
            let (inputs, mut outputs) = (memory(Kind::Input), memory(Kind::Output));
            plan.step(
                &inputs.iter().map(Vec::as_slice).collect::<Vec<_>>(),
                &mut outputs.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>(),
            )
            .expect("a step");
            serial.run();
        }
    }
    for ((plan, buffers), serial) in &mut running {
        for (b, buffer) in buffers.iter().enumerate() {
            if serial.program.buffers[b].0 == Kind::Persistent {
                assert_eq!(plan.buffer(*buffer).expect("no failure"), serial.memory[b]);
            }
        }
    }
    assert_ne!(programs[0].steps.len(), programs[1].steps.len(), "two programs");
}
