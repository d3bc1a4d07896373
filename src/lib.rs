//! `znn` trains and runs 3D convolutional networks on many-core CPUs.
#![deny(unsafe_code)]

pub mod atomic_file;
pub mod conv;
pub mod data;
pub mod engine;
pub mod fft;
pub mod infer;
pub mod machine;
pub mod network;
pub mod ops;
pub mod plan;
pub mod pool;
pub mod train;
pub mod volume;
