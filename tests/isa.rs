//! Every instruction-set tier of this machine computes the same.

mod common;

use std::process::{Command, Output};
use std::sync::Arc;

use common::{Images, network, random};
use znn::conv::{Choice, Method};
use znn::engine::{Engine, EngineError, EngineOptions};
use znn::infer::{DenseOptions, dense};
use znn::network::{Network, Parameters};
use znn::ops::loss::Loss;
use znn::train::{Settings, StepOptions, TrainingStep};
use znn::volume::Extent;
use znn_kernels::Isa;

const NETWORK: &str = "
nodes in type=input size=2
edges c1 type=conv input=in output=n1 size=2,3,3 init=msra
nodes n1 type=transfer size=5 function=tanh
edges f type=max_filter input=n1 output=n2 size=1,2,2 stride=1,2,2
nodes n2 type=sum size=5
edges d type=dropout input=n2 output=n3 ratio=0.8
nodes n3 type=sum size=5
edges c2 type=conv input=n3 output=n4 size=1,3,2 init=msra
nodes n4 type=transfer size=3 function=rectify_linear init=constant init_args=0.1
edges c3 type=conv input=n4 output=out size=1,1,1 init=xavier
nodes out type=transfer size=2 function=forward_logistics
";

fn engine(isa: Isa) -> Result<Engine, EngineError> {
    Engine::new(&EngineOptions {
        threads: Some(2),
        isa: Some(isa),
        deterministic: true,
        ..Default::default()
    })
}

/// The losses and the parameters of five iterations.
fn train(engine: &Engine, network: &Arc<Network>, method: Method) -> (Vec<f64>, Parameters) {
    let options = StepOptions {
        loss: Loss::BINOMIAL_CROSS_ENTROPY,
        momentum: 0.9,
        weight_decay: 1e-3,
        algorithm: Choice::Fixed(method),
        ..StepOptions::default()
    };
    let mut step = TrainingStep::new(engine, network, Extent::new(2, 5, 19), &options).expect("a plan");
    let mut parameters = Parameters::init(network, 2);
    step.load(&parameters).expect("load");
    let losses = (0..5)
        .map(|iteration| {
            let images = Images::random(network, &step, iteration);
            let settings = Settings { eta: 0.02, factor: 1.0, key: iteration };
            step.run(&images.inputs(), &images.wanted(), settings).expect("an iteration").loss
        })
        .collect();
    step.store(&mut parameters).expect("store");
    (losses, parameters)
}

#[test]
fn engines_are_of_the_tier_that_is_asked_for() {
    for isa in Isa::ALL {
        match engine(isa) {
            Ok(engine) => {
                assert!(isa.is_available());
                assert_eq!(engine.kernels().isa(), isa);
            }
            Err(EngineError::Isa { wanted }) => {
                assert!(!isa.is_available() && wanted == isa);
                let text = EngineError::Isa { wanted }.to_string();
                assert!(text.contains(isa.name()) && text.contains(Isa::best().name()), "{text}");
            }
            Err(other) => panic!("{other}"),
        }
    }
    let lacking: Vec<&str> =
        Isa::ALL.iter().filter(|isa| !isa.is_available()).map(|isa| isa.name()).collect();
    if lacking.is_empty() {
        println!("skipped: this machine has every tier, so that none can be refused");
    }
}

/// The program in an environment that names a tier.
fn plan_with(isa: Option<&str>) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_znn"));
    program.args([
        "info",
        "--plan",
        "--output-size",
        "1,8,8",
        "--algorithm",
        "direct",
        "--threads",
        "1",
        "--net",
    ]);
    program.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/networks/hello.znn")).env_remove("ZNN_ISA");
    program.envs(isa.map(|isa| ("ZNN_ISA", isa))).output().expect("the program runs")
}

#[test]
fn the_environment_chooses_a_tier_where_the_caller_does_not() {
    for (isa, taken) in
        [(None, Isa::best()), (Some("scalar"), Isa::Scalar), (Some(Isa::best().name()), Isa::best())]
    {
        let output = plan_with(isa);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            text.contains(&format!(" threads, {taken}, ")),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let output = plan_with(Some("sse9"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && text.contains("ZNN_ISA is `sse9`: expected one of scalar,"),
        "{text}"
    );
}

/// The error's text, which no engine of this machine may give.
#[test]
fn the_refusal_names_the_wanted_and_the_best_tier() {
    let text = EngineError::Isa { wanted: Isa::Avx512f }.to_string();
    assert_eq!(
        text,
        format!("this machine has no avx512f; its widest instruction-set tier is {}", Isa::best())
    );
}

#[test]
fn tiers_train_alike() {
    let network = network(NETWORK);
    for method in Method::ALL {
        let (losses, mut parameters) =
            train(&engine(Isa::Scalar).expect("the portable tier"), &network, method);
        assert!(losses[4] != losses[0] && losses.iter().all(|loss| loss.is_finite()), "{losses:?}");
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let (found, mut other) = train(&engine(isa).expect("an engine"), &network, method);
            for (a, b) in losses.iter().zip(found) {
                assert!((a - b).abs() <= 1e-5 * a.abs(), "{isa}: loss {b}, scalar {a}");
            }
            for ((group, a), (_, b)) in parameters.groups_mut(&network).zip(other.groups_mut(&network)) {
                for (a, b) in a.values().iter().zip(b.values()) {
                    assert!(
                        (a - b).abs() <= 1e-5 * a.abs().max(1.0),
                        "{isa} by {method}, {group}: {b}, scalar {a}"
                    );
                }
            }
        }
    }
}

#[test]
fn tiers_predict_alike() {
    let network = network(NETWORK);
    let parameters = Parameters::init(&network, 3);
    let volume = random(9, 2, Extent::new(5, 12, 77));
    for method in Method::ALL {
        let algorithm = Choice::Fixed(method);
        let options = DenseOptions { memory: 1 << 30, algorithm, ..DenseOptions::default() };
        let predict = |isa| {
            let engine = engine(isa).expect("an engine");
            let found = dense(&engine, &network, &parameters, &volume, &options, |_, _| true);
            found.expect("a prediction").expect("not ended").swap_remove(0)
        };
        let scalar = predict(Isa::Scalar);
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            for (a, b) in scalar.data().iter().zip(predict(isa).data()) {
                assert!((a - b).abs() <= 1e-5, "{isa} by {method}: {b}, scalar {a}");
            }
        }
    }
}
