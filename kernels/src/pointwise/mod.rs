//! Element-wise kernels.

pub mod add;
pub mod transfer;
