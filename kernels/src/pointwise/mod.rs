//! Element-wise kernels.

pub mod add;
mod exp;
pub mod transfer;
