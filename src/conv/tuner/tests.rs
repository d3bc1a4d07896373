use std::fs;

use znn_kernels::{Isa, Kernels};

use super::model::{Candidates, shares, work};
use super::*;
use crate::conv::{Accuracy, Pass, Variant};
use crate::fft::{Effort, Planner};
use crate::pool::PoolOptions;
use crate::volume::Extent;

fn tools(planner: &Planner, accuracy: Accuracy, workspace: usize) -> Tools<'_> {
    let kernels = Kernels::new(Isa::best()).unwrap();
    Tools { kernels, planner, accuracy, workspace }
}

fn pool() -> Pool {
    Pool::new(PoolOptions { threads: Some(2), pin: false, ..PoolOptions::default() }).unwrap()
}

fn problem(c_in: usize, c_out: usize, output: [usize; 3], kernel: [usize; 3]) -> Problem {
    let kernel = Extent::from(kernel);
    Problem::valid(c_in, c_out, Extent::from(output) + kernel - Extent::ONE, kernel, Extent::ONE)
}

const ALL: [Passes; 3] = [Passes::Inference, Passes::FirstLayer, Passes::Training];

#[test]
fn the_model_prefers_each_method_where_it_is_at_home() {
    let planner = Planner::new(Effort::Estimate);
    let tools = tools(&planner, Accuracy::Standard, usize::MAX);
    for (problem, passes, method) in [
        (problem(40, 40, [32; 3], [1; 3]), Passes::Training, Method::Direct),
        (problem(1, 1, [4; 3], [2; 3]), Passes::Training, Method::Direct),
        (problem(40, 40, [32; 3], [7; 3]), Passes::Training, Method::Fft),
        (problem(20, 20, [1, 64, 64], [1, 20, 20]), Passes::FirstLayer, Method::Fft),
        (problem(64, 64, [8; 3], [3; 3]), Passes::Inference, Method::Winograd),
    ] {
        let decision = estimate(&problem, passes, tools);
        for &pass in passes.list() {
            assert_eq!(decision.of(pass).method(), method, "{problem} {passes:?} {pass:?}");
        }
    }
}

#[test]
fn an_estimate_is_the_best_of_the_mixtures_of_the_best() {
    let planner = Planner::new(Effort::Estimate);
    let tools = tools(&planner, Accuracy::Standard, usize::MAX);
    for passes in ALL {
        for problem in [problem(1, 40, [48; 3], [5; 3]), problem(20, 20, [24; 3], [3; 3])] {
            let best = work(estimate(&problem, passes, tools), &problem, passes, tools);
            for method in Method::ALL {
                assert!(best <= work(of_method(method, &problem, passes, tools), &problem, passes, tools));
            }
        }
    }
    assert_eq!(shares(Passes::FirstLayer).len(), 3);
    assert_eq!(shares(Passes::Training)[0], Passes::Training.list());
}

#[test]
fn spectra_share_the_work_of_transforms() {
    let planner = Planner::new(Effort::Estimate);
    let tools = tools(&planner, Accuracy::Standard, usize::MAX);
    let problem = problem(10, 20, [24; 3], [5; 3]);
    let size = Variant::TiledFft(Extent::new(12, 12, 12));
    let cost = |decision| work(decision, &problem, Passes::Training, tools);
    let others = Variant::TiledFft(Extent::new(12, 12, 14));
    let (alike, apart) = (Decision::all(size), Decision::all(size).with(&[Pass::BackwardData], others));
    assert!(cost(alike) < 0.9 * cost(apart), "{} {}", cost(alike), cost(apart));
}

#[test]
fn no_candidate_exceeds_the_workspace_or_the_accuracy() {
    let planner = Planner::new(Effort::Estimate);
    let problem = problem(8, 8, [16; 3], [3; 3]);
    let none = Candidates::new(&problem, Passes::Training, tools(&planner, Accuracy::Standard, 0));
    assert!(none.fft.is_empty());
    let some = Candidates::new(&problem, Passes::Training, tools(&planner, Accuracy::Standard, 1 << 20));
    let all = Candidates::new(&problem, Passes::Training, tools(&planner, Accuracy::Fast, usize::MAX));
    assert!(!some.fft.is_empty() && some.fft.len() < all.fft.len());
    let largest = |candidates: &Candidates| {
        let large = Variant::Winograd(Extent::new(4, 4, 4));
        candidates.single.iter().filter(|(_, found)| found.iter().any(|&(found, _)| found == large)).count()
    };
    assert_eq!((largest(&some), largest(&all)), (0, 3));
    let decision = estimate(&problem, Passes::Training, tools(&planner, Accuracy::Standard, 0));
    assert!(Passes::Training.list().iter().all(|&pass| decision.of(pass).method() != Method::Fft));
}

#[test]
fn the_model_leaves_few_to_measure_and_never_none() {
    let planner = Planner::new(Effort::Estimate);
    let tools = tools(&planner, Accuracy::Fast, usize::MAX);
    for passes in ALL {
        for kernel in [[1; 3], [3; 3], [5; 3], [1, 3, 3], [1, 20, 20]] {
            for maps in [1, 20, 64] {
                let problem = problem(maps, 20, [1, 40, 40].map(|n| n.max(1)), kernel);
                let Candidates { single, fft } = Candidates::new(&problem, passes, tools).prune();
                let singles: usize = single.iter().map(|(_, variants)| variants.len()).sum();
                let all = singles + fft.len();
                assert!((1..=13).contains(&all), "{problem} {passes:?}: {all}");
                assert!(single.iter().all(|(_, variants)| !variants.is_empty()));
            }
        }
    }
}

#[test]
fn measured_decisions_can_be_computed_and_are_remembered() {
    let (planner, pool) = (Planner::new(Effort::Estimate), pool());
    let tools = tools(&planner, Accuracy::Standard, usize::MAX);
    let tuner = Tuner::default();
    let padded = Problem { padding: [Extent::ONE; 2], ..problem(3, 4, [6; 3], [3; 3]) };
    for passes in ALL {
        for problem in [problem(3, 5, [6, 7, 9], [3; 3]), problem(2, 3, [1, 9, 30], [1, 6, 5]), padded] {
            let decision = tuner.measure(&problem, passes, &pool, tools);
            assert_eq!(decision, decision.or_direct(&problem));
            assert_eq!(tuner.measure(&problem, passes, &pool, tools), decision);
            let costs = costs(decision, &problem, passes, &pool, tools);
            assert_eq!(costs.len(), passes.list().len());
            for (cost, &pass) in costs.iter().zip(passes.list()) {
                assert_eq!((cost.pass, cost.variant), (pass, decision.of(pass)));
                assert!(cost.time.is_some());
            }
        }
    }
    assert!(tuner.take_warnings().is_empty());
}

#[test]
fn costs_tell_the_memory_of_spectra() {
    let (planner, pool) = (Planner::new(Effort::Estimate), pool());
    let tools = tools(&planner, Accuracy::Standard, usize::MAX);
    let problem = problem(16, 16, [12; 3], [3; 3]);
    let bytes = |variant, passes| -> usize {
        costs(Decision::all(variant), &problem, passes, &pool, tools).iter().map(|cost| cost.bytes).sum()
    };
    // Of the weights: complex numbers for about half of the frequencies.
    let spectra = 8 * 16 * 16 * 12 * 12 * 6;
    let fft = Variant::TiledFft(Extent::new(12, 12, 12));
    assert!(bytes(fft, Passes::Training) > spectra);
    assert!(bytes(Variant::Direct, Passes::Training) < spectra);
    assert!(bytes(fft, Passes::Inference) < bytes(fft, Passes::Training));
}

#[test]
fn the_file_decides_where_it_can() {
    let (planner, pool) = (Planner::new(Effort::Estimate), pool());
    let tools = tools(&planner, Accuracy::Standard, usize::MAX);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tuning.jsonl");
    let file = || TuningFile::new(path.clone(), Isa::best(), 2, Accuracy::Standard, usize::MAX);
    let problem = problem(3, 5, [6, 7, 9], [3; 3]);
    // Nobody would choose that.
    let odd = Decision {
        forward: Variant::WholeFft,
        backward_data: Variant::Direct,
        backward_weights: Variant::TiledFft(Extent::new(4, 6, 8)),
    };
    file().add(problem, Passes::Training, odd).unwrap();
    let tuner = Tuner::with_file(file());
    assert_eq!(tuner.measure(&problem, Passes::Training, &pool, tools), odd);
    let measured = tuner.measure(&problem, Passes::Inference, &pool, tools);
    assert!(tuner.take_warnings().is_empty());
    assert_eq!(file().read().unwrap()[&(problem, Passes::Inference)], measured);

    fs::write(&path, "precious\n").unwrap();
    let tuner = Tuner::with_file(file());
    assert_ne!(tuner.measure(&problem, Passes::Training, &pool, tools), odd);
    tuner.measure(&problem, Passes::Inference, &pool, tools);
    let warnings = tuner.take_warnings();
    assert!(warnings.len() == 1 && warnings[0].starts_with(&path.display().to_string()), "{warnings:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious\n");
}

#[test]
fn choices_have_names() {
    let fixed = Method::ALL.map(Choice::Fixed);
    for choice in [Choice::Measure, Choice::Estimate].into_iter().chain(fixed) {
        assert_eq!(choice.to_string().parse(), Ok(choice));
    }
    assert!("magic".parse::<Choice>().is_err());
}
