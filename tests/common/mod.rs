//! What several of these tests need.
#![allow(dead_code, reason = "each of them uses a part")]

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use znn::network::{Network, spec};
use znn::train::{TrainingStep, Wanted};
use znn::{Engine, EngineOptions, Extent, Tensor};

pub fn engine(threads: usize, deterministic: bool) -> Engine {
    Engine::new(&EngineOptions { threads: Some(threads), deterministic, ..EngineOptions::default() })
        .expect("an engine")
}

/// The network of a text with one group to a line: `nodes NAME key=value key=value ...`.
pub fn network(text: &str) -> Arc<Network> {
    let mut file = String::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let (kind, name) = (words.next().expect("a kind"), words.next().expect("a name"));
        file += &format!("{kind} {name}\n");
        for word in words {
            file += &format!("{}\n", word.replacen('=', " ", 1));
        }
    }
    let parsed = spec::parse(&file, "test.znn").unwrap_or_else(|error| panic!("{error}"));
    assert!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
    Arc::new(parsed.network)
}

pub fn random(seed: u64, channels: usize, extent: Extent) -> Tensor {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    Tensor::from_fn(channels, extent, |_| rng.random_range(-1.0f32..1.0))
}

/// The images of one training iteration.
pub struct Images {
    inputs: Vec<Tensor>,
    targets: Vec<Tensor>,
    weights: Vec<Option<Tensor>>,
}

impl Images {
    /// Inputs within -1..1, targets within 0..1.
    pub fn random(network: &Network, step: &TrainingStep, seed: u64) -> Self {
        let image = |node: znn::network::NodeId, seed| random(seed, network[node].size, step.extent(node));
        let inputs = network.inputs().map(|node| image(node, 1000 * seed + node.0 as u64)).collect();
        let targets: Vec<Tensor> = network
            .outputs()
            .map(|node| {
                let mut target = image(node, 1000 * seed + 500 + node.0 as u64);
                target.data_mut().iter_mut().for_each(|t| *t = 0.5 + 0.5 * *t);
                target
            })
            .collect();
        let weights = targets.iter().map(|_| None).collect();
        Self { inputs, targets, weights }
    }

    /// Every voxel counts as much as this.
    pub fn with_weight(mut self, weight: f32) -> Self {
        let constant =
            |target: &Tensor| Some(Tensor::from_fn(target.channels(), target.extent(), |_| weight));
        self.weights = self.targets.iter().map(constant).collect();
        self
    }

    pub fn inputs(&self) -> Vec<&Tensor> {
        self.inputs.iter().collect()
    }

    pub fn wanted(&self) -> Vec<Wanted<'_>> {
        let pairs = self.targets.iter().zip(&self.weights);
        pairs.map(|(target, weight)| Wanted { target, weight: weight.as_ref() }).collect()
    }
}
