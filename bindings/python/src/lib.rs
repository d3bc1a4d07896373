//! Python interface of `znn`: the native half, `znn._znn`. Arrays are numpy's, used where they are; the interpreter is
//! free while the engine computes. The package `python/znn` gives it its Python shape.

mod arrays;
mod engine;
mod network;

use pyo3::prelude::*;

/// The native half of the package `znn`.
#[pymodule]
mod _znn {
    #[pymodule_export]
    use crate::engine::Engine;
    #[pymodule_export]
    use crate::engine::processors;
    #[pymodule_export]
    use crate::network::Network;

    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
}
