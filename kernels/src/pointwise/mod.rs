//! Element-wise kernels.

pub mod add;
